//! The lease table: carries out writes under exactly their conditions, and shows scans what it was a moment ago, page by
//! page, as eventually consistent reads do. Whether a write was right is for the audit to say.

use std::collections::{BTreeMap, VecDeque};

use shardmill_core::kinesis::shard::{Shard, ShardId};
use shardmill_core::leases::{Lease, Outcome, Scan, Write};
use shardmill_core::position::Checkpoint;
use shardmill_core::time::Millis;

use crate::dice::Dice;

/// How long a row's earlier versions are kept for scans.
const STALE_MAX: Millis = 1_500;
/// Rows of a page; another page may be of another moment.
const PAGE: usize = 3;
/// Rows of another kind: a 3.x worker's metrics, a leader lock.
const FOREIGN_ROWS: usize = 2;

#[derive(Default)]
pub(crate) struct LeaseTable {
    pub(crate) rows: BTreeMap<ShardId, Lease>,
    /// Until when a row was so (or was not there).
    past: VecDeque<(Millis, ShardId, Option<Lease>)>,
    /// How old the pages of a scan may be.
    staleness: Millis,
}

impl LeaseTable {
    pub(crate) fn new(staleness: Millis) -> Self {
        Self { staleness, ..Self::default() }
    }

    pub(crate) fn apply(&mut self, now: Millis, write: &Write) -> Outcome {
        let key = write.key();
        let before = self.rows.get(key).cloned();
        let after = match write.applied_to(before.as_ref()) {
            Some(after) => after,
            None => return Outcome::ConditionFailed(before),
        };
        match after {
            Some(row) => drop(self.rows.insert(key.clone(), row)),
            None => drop(self.rows.remove(key)),
        }
        if self.staleness > 0 {
            self.past.push_back((now, key.clone(), before));
            while self.past.front().is_some_and(|(until, ..)| until + STALE_MAX < now) {
                self.past.pop_front();
            }
        }
        Outcome::Done
    }

    pub(crate) fn scan(&self, now: Millis, is_consistent: bool, dice: &mut Dice) -> Scan {
        let mut leases: Vec<Lease> = Vec::with_capacity(self.rows.len());
        if is_consistent || self.staleness == 0 {
            leases.extend(self.rows.values().cloned());
        } else {
            let mut keys: Vec<&ShardId> = self.rows.keys().chain(self.past.iter().map(|(_, key, _)| key)).collect();
            keys.sort_unstable();
            keys.dedup();
            for page in keys.chunks(PAGE) {
                let when = now.saturating_sub(dice.below(self.staleness));
                leases.extend(page.iter().filter_map(|key| self.as_of(when, key)));
            }
        }
        Scan { leases, foreign: FOREIGN_ROWS, undecodable: Vec::new() }
    }

    fn as_of(&self, when: Millis, key: &ShardId) -> Option<Lease> {
        let then = self.past.iter().find(|(until, of, _)| *until > when && of == key);
        then.map_or_else(|| self.rows.get(key).cloned(), |(_, _, row)| row.clone())
    }

    /// A row as another application left it: an old one without a hash range, perhaps of an owner that is gone.
    pub(crate) fn leave(&mut self, shard: Shard, checkpoint: Checkpoint, dice: &mut Dice) {
        let lease = Lease {
            key: shard.id.clone(),
            owner: dice.chance(70).then(|| "java".to_owned()),
            counter: 1 + dice.below(100),
            owner_switches: dice.below(3),
            checkpoint,
            parents: shard.parents,
            children: Vec::new(),
            hash_range: dice.chance(70).then_some(shard.hash_range),
            checkpoint_owner: None,
            latest_since: None,
        };
        self.rows.insert(shard.id, lease);
    }

    /// Somebody deletes a row by hand.
    pub(crate) fn delete(&mut self, now: Millis, key: &str) -> Lease {
        let row = self.rows.remove(key).expect("a row to delete");
        if self.staleness > 0 {
            self.past.push_back((now, key.to_owned(), Some(row.clone())));
        }
        row
    }

    /// Makes a write one whose condition holds, as a client would that sends none.
    pub(crate) fn forge(&self, write: &mut Write) {
        let Some(row) = self.rows.get(write.key()) else { return };
        if let Write::Renew { owner, counter, .. } | Write::Checkpoint { owner, counter, .. } = write {
            *counter = row.counter;
            *owner = row.owner.clone().unwrap_or_default();
        }
    }

    pub(crate) fn is_at_end(&self, key: &str) -> bool {
        self.rows.get(key).is_some_and(|row| row.checkpoint == Checkpoint::ShardEnd)
    }
}
