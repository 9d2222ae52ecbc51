//! Why a job had to stop, in words.

use anyhow::anyhow;
use shardmill_core::config::Input;
use shardmill_core::run_loop::{Failure, SourceId};
use shardmill_core::service::{ErrorKind, ServiceError};

use super::{Supervisor, TaskFailed, shard_name};

impl Supervisor {
    pub(super) fn describe(&self, failure: &Failure) -> anyhow::Error {
        match failure {
            Failure::Envelopes { source, first, last, attempts, cause } => {
                let name = self.name(*source);
                let which = if first == last { first.to_string() } else { format!("{first} to {last}") };
                let tries = if *attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
                let text = format!("{name}: sequence number {which} failed after {tries}: {}", cause.message);
                TaskFailed(text).into()
            }
            Failure::Flush(reason) => anyhow!("{reason}"),
            Failure::Rebuild(reason) => TaskFailed(format!("no new task instance after a trap: {reason}")).into(),
        }
    }

    /// Why a shard cannot be read. What is wrong with a position is a matter of the lease table, not of the stream.
    pub(super) fn describe_reading(&self, source: SourceId, error: &ServiceError) -> anyhow::Error {
        let name = self.name(source);
        if !is_about_the_position(error) {
            return anyhow!("{name}: {error}");
        }
        let Input { system, stream, table_name: table, .. } = &self.inputs[self.sources[source as usize].input].config;
        anyhow!(
            "{name}: its position in the lease table {table} is none of this stream, which was deleted and made again, or the \
             table is another stream's; give the input another table \
             (systems.{system}.streams.{stream}.aws.kcl.TableName=...), or stop the job on all hosts and delete the rows of \
             {table}, to begin at the initial position: {error}"
        )
    }

    /// A shard, for a message.
    pub(super) fn name(&self, source: SourceId) -> String {
        let state = &self.sources[source as usize];
        let Input { system, stream, .. } = &self.inputs[state.input].config;
        shard_name(system, stream, &state.shard)
    }
}

/// The one thing that can be wrong with these calls, but for the names in them, and of those the service says that they
/// are not found.
fn is_about_the_position(error: &ServiceError) -> bool {
    error.kind == ErrorKind::Invalid
        && matches!(error.operation, "GetShardIterator" | "SubscribeToShard")
        && error.message.contains("InvalidArgumentException")
}
