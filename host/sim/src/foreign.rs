//! Rows in the lease table that no worker of the stream left: for no shard, or with numbers that nothing can count up.
//! Whatever they say, they change nothing for anybody.

use shardmill_core::leases::Lease;
use shardmill_core::position::Checkpoint;

use crate::world::World;

/// A row's name that is no shard's.
pub(crate) const FOREIGN: &str = "foo";

impl World {
    pub(crate) fn leave_foreign_rows(&mut self) {
        let out = &mut self.out;
        for key in [FOREIGN, "shardId-000000009999", "shardId-", ""] {
            if !out.dice.chance(10) {
                continue;
            }
            let numbers = [0, 7, i64::MAX.unsigned_abs(), u64::MAX];
            let checkpoints =
                [Checkpoint::TrimHorizon, Checkpoint::Latest, Checkpoint::ShardEnd, Checkpoint::AtTimestamp];
            let lease = Lease {
                key: key.to_owned(),
                owner: out.dice.chance(50).then(|| "java".to_owned()),
                counter: numbers[out.dice.index(4)],
                owner_switches: numbers[out.dice.index(4)],
                checkpoint: checkpoints[out.dice.index(4)].clone(),
                parents: Vec::new(),
                children: Vec::new(),
                hash_range: None,
                checkpoint_owner: None,
                latest_since: out.dice.chance(50).then_some(u64::MAX),
            };
            out.table.rows.insert(key.to_owned(), lease);
        }
    }
}
