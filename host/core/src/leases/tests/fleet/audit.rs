//! What must hold in every history, checked when it happens.

use std::collections::{BTreeMap, BTreeSet};

use crate::leases::tests::model::Services;
use crate::leases::{Lease, Millis, Outcome, Write};
use crate::position::Checkpoint;
use crate::shard::ShardId;

/// Calls of one worker within a simulated second: far more than it needs, far fewer than a loop makes.
const CALLS_A_SECOND_MAX: u64 = 40;
/// More of them while shards end: taking a shard, and at its end its children, their names, the seal and the release.
const CALLS_A_SHARD_MAX: u64 = 12;
const TICKS_A_SECOND_MAX: u64 = 60;

/// Who a call comes from: the index of a node, which is one life of a worker.
pub(super) type Life = usize;

#[derive(Default)]
pub(super) struct Audit {
    /// Who took each row last.
    holders: BTreeMap<ShardId, Life>,
    /// How many records of each shard were processed by anybody.
    processed: BTreeMap<ShardId, u64>,
    /// Shards whose rows were deleted.
    pub(super) finished: BTreeSet<ShardId>,
    rates: BTreeMap<(Life, &'static str), (Millis, u64)>,
}

impl Audit {
    /// Carries out a write and checks what it did. `name` is the worker's, `dead` says which lives are over.
    pub(super) fn write(
        &mut self,
        services: &mut Services,
        life: Life,
        name: &str,
        dead: impl Fn(Life) -> bool,
        write: &Write,
    ) -> Outcome {
        let before = services.table.rows.get(write.key()).cloned();
        let outcome = services.table.apply(write);
        if outcome != Outcome::Done {
            return outcome;
        }
        let key = write.key();
        if let Write::Delete { .. } = write {
            self.deleted(services, &before.expect("a row to delete"));
            return outcome;
        }
        let after = services.table.row(key);
        let before = before.as_ref();
        let counts = !matches!(write, Write::Children { .. } | Write::HashRange { .. });
        assert!(
            before.is_none_or(|row| row.counter + u64::from(counts) == after.counter),
            "the counter of {key} grows by one"
        );
        match write {
            Write::Take { .. } => drop(self.holders.insert(key.clone(), life)),
            Write::Renew { .. } | Write::Checkpoint { .. } => {
                let holder = self.holders[key];
                // A new life may go on where the last write of the old one left the row.
                let inherited = dead(holder) && after.owner.as_deref() == Some(name);
                assert!(holder == life || inherited, "life {life} wrote {write:?}, but {holder} took it");
            }
            Write::Create(_) => {
                assert!(!self.finished.contains(key), "{key} is finished, but has a row again from life {life}")
            }
            _ => {}
        }
        if let Write::Checkpoint { checkpoint, .. } = write {
            let old = &before.expect("a checkpoint creates no row").checkpoint;
            assert!(old <= checkpoint, "the checkpoint of {key} went back from {old} to {checkpoint}");
            self.checkpointed(services, key, checkpoint);
        }
        outcome
    }

    /// (56) Nobody needs a row of a finished shard once all of its children were begun.
    fn deleted(&mut self, services: &Services, row: &Lease) {
        assert_eq!(row.checkpoint, Checkpoint::ShardEnd, "{} is deleted before its end", row.key);
        for child in services.stream.children_of(&row.key) {
            let child = services.table.row(&child.id);
            assert!(child.checkpoint > Checkpoint::TrimHorizon, "{} is deleted before {} is begun", row.key, child.key);
        }
        let parent = row.parents.iter().find(|id| services.table.rows.contains_key(*id));
        assert_eq!(parent, None, "{} is deleted before its parent", row.key);
        self.finished.insert(row.key.clone());
    }

    fn checkpointed(&self, services: &Services, key: &str, checkpoint: &Checkpoint) {
        let shard = &services.stream.shards[key];
        let processed = self.processed.get(key).copied().unwrap_or(0);
        assert!(shard.covered_by(checkpoint) <= processed, "{checkpoint} of {key} passes {processed} records");
        if *checkpoint == Checkpoint::ShardEnd {
            assert!(!shard.shard.open, "{key} is sealed while it is open");
            for child in services.stream.children_of(key) {
                assert!(services.table.rows.contains_key(&child.id), "{key} is sealed, {} has no row", child.id);
            }
        }
    }

    /// A worker is told to start a shard.
    pub(super) fn started(&self, services: &Services, key: &str, checkpoint: &Checkpoint) {
        let row = services.table.row(key);
        assert!(*checkpoint <= row.checkpoint, "{key} starts at {checkpoint}, which nobody committed");
        assert_ne!(*checkpoint, Checkpoint::ShardEnd, "{key} is done");
        for parent in row.parents.iter().filter(|id| services.table.rows.contains_key(*id)) {
            assert!(services.table.is_at_end(parent), "{key} starts before its parent {parent} is done");
        }
    }

    pub(super) fn processed(&mut self, key: &str, records: u64) {
        let most = self.processed.entry(key.to_owned()).or_default();
        *most = records.max(*most);
    }

    pub(super) fn ticked(&mut self, life: Life, now: Millis) {
        self.count((life, "ticks"), now, TICKS_A_SECOND_MAX);
    }

    pub(super) fn called(&mut self, life: Life, now: Millis, shards: usize) {
        self.count((life, "calls"), now, CALLS_A_SECOND_MAX + CALLS_A_SHARD_MAX * shards as u64);
    }

    fn count(&mut self, what: (Life, &'static str), now: Millis, most: u64) {
        let (second, count) = self.rates.entry(what).or_default();
        if *second != now / 1_000 {
            (*second, *count) = (now / 1_000, 0);
        }
        *count += 1;
        assert!(*count <= most, "more than {most} {} of life {} in second {second}", what.1, what.0);
    }
}
