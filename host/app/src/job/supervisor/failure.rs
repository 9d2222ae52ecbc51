//! Why a job had to stop, in words.

use anyhow::anyhow;
use shardmill_core::config::Input;
use shardmill_core::run_loop::{Failure, SourceId};

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

    /// A shard, for a message.
    pub(super) fn name(&self, source: SourceId) -> String {
        let state = &self.sources[source as usize];
        let Input { system, stream, .. } = &self.inputs[state.input].config;
        shard_name(system, stream, &state.shard)
    }
}
