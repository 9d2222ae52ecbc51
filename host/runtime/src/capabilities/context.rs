//! `context`: the identity of the task and its job.

use crate::bindings::shardmill::task::context::{Host, SystemStreamPartition};
use crate::state::State;

impl Host for State {
    fn job_name(&mut self) -> String {
        self.spec.job_name.clone()
    }

    fn job_id(&mut self) -> String {
        self.spec.job_id.clone()
    }

    fn task_name(&mut self) -> String {
        self.spec.task_name.clone()
    }

    fn module_id(&mut self) -> String {
        self.module_id.clone()
    }

    fn source(&mut self, index: u32) -> Option<SystemStreamPartition> {
        self.sources.get(index as usize).map(|source| SystemStreamPartition {
            system: source.system.clone(),
            stream_name: source.stream.clone(),
            partition: source.partition.clone(),
        })
    }

    fn attempt(&mut self) -> u32 {
        self.call.attempt.max(1)
    }

    /// No input provides such facts yet.
    fn attribute(&mut self, _envelope: u32, _name: String) -> Option<Vec<u8>> {
        None
    }
}
