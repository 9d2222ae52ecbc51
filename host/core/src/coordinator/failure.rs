//! Why a job had to stop, in words.

use std::fmt;

use super::{Coordinator, Failure, InputId, Source};
use crate::kinesis::shard::ShardId;
use crate::run_loop::{self, SourceId};

impl Coordinator {
    /// A source, in messages and in deployments.
    #[must_use]
    pub fn name(&self, source: SourceId) -> String {
        let Source { input, shard, .. } = &self.sources[source as usize];
        self.shard_name(*input, shard)
    }

    pub(super) fn shard_name(&self, input: InputId, shard: &ShardId) -> String {
        let (system, stream) = &self.settings.inputs[input];
        format!("shard {shard} of {system}.{stream}")
    }

    pub(super) fn describe(&self, failure: &run_loop::Failure) -> Failure {
        match failure {
            run_loop::Failure::Envelopes { source, first, last, attempts, cause } => {
                let name = self.name(*source);
                let which = if first == last { first.to_string() } else { format!("{first} to {last}") };
                let tries = if *attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
                Failure::Task(format!("{name}: sequence number {which} failed after {tries}: {}", cause.message))
            }
            run_loop::Failure::Flush(reason) => Failure::Output(reason.clone()),
            run_loop::Failure::Rebuild(reason) => Failure::Task(format!("no new task instance after a trap: {reason}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AGAIN: &str = "uncommitted records will be reprocessed";
        match self {
            Self::Task(reason) | Self::Output(reason) | Self::Input { reason, .. } | Self::Part(reason) => {
                f.write_str(reason)
            }
            Self::Reading { error, .. } => error.fmt(f),
            Self::Forced => write!(f, "forced shutdown by a second signal; {AGAIN}"),
            Self::ShutdownTimeout(limit) => {
                write!(f, "the stop took longer than task.shutdown.ms={limit}; {AGAIN}")
            }
        }
    }
}
