//! Why a job had to stop, with what the configuration knows about it.

use anyhow::anyhow;
use shardmill_core::config::{KinesisInput, LeaseTable};
use shardmill_core::coordinator::Failure;
use shardmill_core::run_loop::SourceId;
use shardmill_core::service::{ErrorKind, ServiceError};

use super::CoordinatorShell;
use crate::job::TaskFailed;

impl CoordinatorShell {
    pub(super) fn describe(&self, failure: Failure) -> anyhow::Error {
        match failure {
            Failure::Task(reason) => TaskFailed(reason).into(),
            Failure::Input { input, reason } => {
                let KinesisInput { system, stream, .. } = &self.inputs[input].config;
                anyhow!("input {system}.{stream}: {reason}")
            }
            Failure::Reading { source, error } => self.describe_reading(source, &error),
            failure => anyhow!("{failure}"),
        }
    }

    /// Why a shard cannot be read. What is wrong with a position is a matter of the lease table, not of the stream.
    fn describe_reading(&self, source: SourceId, error: &ServiceError) -> anyhow::Error {
        let name = self.coordinator.name(source);
        if !is_about_the_position(error) {
            return anyhow!("{name}: {error}");
        }
        let (input, _, _) = self.coordinator.source(source);
        let KinesisInput { system, stream, table: LeaseTable { name: table, .. }, .. } = &self.inputs[input].config;
        anyhow!(
            "{name}: its position in the lease table {table} is none of this stream, which was deleted and made again, or the \
             table is another stream's; give the input another table \
             (systems.{system}.streams.{stream}.aws.kcl.TableName=...), or stop the job on all hosts and delete the rows of \
             {table}, to begin at the initial position: {error}"
        )
    }
}

/// The one thing that can be wrong with these calls, but for the names in them, and of those the service says that they
/// are not found.
fn is_about_the_position(error: &ServiceError) -> bool {
    error.kind == ErrorKind::Invalid
        && matches!(error.operation, "GetShardIterator" | "SubscribeToShard")
        && error.message.contains("InvalidArgumentException")
}
