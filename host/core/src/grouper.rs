//! Which task of a job reads which shard: Samza's `SystemStreamPartitionGrouper`, as a pure function of the shard alone,
//! so that a shard keeps its task whatever other shards come and go. It must not know who holds a lease, nor how many
//! processes the job has.

use std::fmt;

/// A task of the job: the shards that one run loop processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u32);

impl TaskId {
    /// The first so many.
    pub fn all(tasks: u32) -> impl Iterator<Item = Self> + Clone {
        (0..tasks).map(Self)
    }
}

impl fmt::Display for TaskId {
    /// Samza's name of the task, as guests and logs see it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task-{}", self.0)
    }
}

/// What is grouped: Samza's SystemStreamPartition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition<'a> {
    pub system: &'a str,
    pub stream: &'a str,
    /// Of a Kinesis stream the shard.
    pub shard: &'a str,
}

/// The task that a partition belongs to. The same on every host of the job, or a shard's order would depend on who reads
/// it.
pub type Group = fn(Partition<'_>) -> TaskId;

/// How the partitions of a job are grouped (`job.systemstreampartition.grouper.factory`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouper {
    /// Samza's `AllSspToSingleTaskGrouper`: one task reads all that its process holds.
    #[default]
    AllToSingleTask,
}

impl Grouper {
    /// Tasks of the job, numbered from 0; one at least.
    #[must_use]
    pub fn tasks(self) -> u32 {
        match self {
            Self::AllToSingleTask => 1,
        }
    }

    #[must_use]
    pub fn group(self) -> Group {
        match self {
            Self::AllToSingleTask => |_| TaskId(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const ALL: [Grouper; 1] = [Grouper::AllToSingleTask];

    type Shard = (String, String, String);

    fn shards() -> impl Strategy<Value = Vec<Shard>> {
        vec(("[ab]", "[a-c]", "shardId-[0-9]{3}"), 0..30)
    }

    /// The task of each shard, asked for in this order.
    fn grouped(grouper: Grouper, shards: &[Shard]) -> BTreeMap<&Shard, TaskId> {
        let mut tasks = BTreeMap::new();
        for key @ (system, stream, shard) in shards {
            let task = (grouper.group())(Partition { system, stream, shard });
            assert!(task.0 < grouper.tasks(), "{key:?} is in {task}, which the job does not have");
            assert_eq!(*tasks.entry(key).or_insert(task), task, "{key:?} is in two tasks");
        }
        tasks
    }

    proptest! {
        #[test]
        fn every_shard_is_in_one_task_and_stays_there_when_others_come(first in shards(), more in shards()) {
            for grouper in ALL {
                let before = grouped(grouper, &first);
                let all: Vec<Shard> = more.iter().chain(&first).cloned().collect();
                let after = grouped(grouper, &all);
                prop_assert_eq!(after.len(), all.iter().collect::<std::collections::BTreeSet<_>>().len());
                for (shard, task) in before {
                    prop_assert_eq!(after[shard], task);
                }
            }
        }
    }

    #[test]
    fn the_single_task_has_samzas_name() {
        assert_eq!(TaskId::default().to_string(), "Task-0");
    }
}
