//! Rows that are missing beside the rows of other workers. Somebody may have deleted them by hand while their owners
//! live, so they are left to those for a while: they know best how far they were.

use std::collections::BTreeSet;

use super::Worker;
use crate::kinesis::shard::{Shard, ShardId};
use crate::leases::held::next_counter;
use crate::leases::notice::Notice;
use crate::leases::row::{Lease, Outcome};
use crate::leases::sync::new_lease;
use crate::leases::vanished::wait;
use crate::position::{Checkpoint, InitialPosition};
use crate::time::Millis;

/// Rows on their way into the table in the place of deleted ones.
#[derive(Default)]
pub(super) struct Holes {
    refilling: BTreeSet<ShardId>,
}

impl Worker {
    /// Of the rows that the table lacks, those that are to be created now. `seen_since` says since when it is known that
    /// something is missing. What is left to others is remembered as missed, so that no child overtakes it meanwhile.
    pub(super) fn fillable(
        &mut self,
        now: Millis,
        seen_since: Millis,
        mut missing: Vec<Lease>,
        shards: &[Shard],
    ) -> Vec<Lease> {
        let orphaned = self.missing_parents(shards);
        missing.retain(|lease| !orphaned.iter().any(|parent| parent.key == lease.key));
        missing.retain(|lease| !self.held.contains_key(&lease.key));
        let is_shared = self.table.has_other_owners(&self.settings.worker);
        match is_shared {
            true => orphaned.into_iter().for_each(|parent| self.table.missed(now, parent)),
            false => drop(missing.splice(..0, orphaned)),
        }
        if is_shared && now.saturating_sub(seen_since) < wait(self.settings.failover) {
            missing.drain(..).for_each(|lease| self.table.missed(seen_since, lease));
        }
        let refilled = self.refillable(now, shards);
        if let Some(when) = self.fill_at() {
            self.scan_by(when.max(now));
        }
        self.holes.refilling =
            refilled.iter().filter(|lease| lease.counter > 0).map(|lease| lease.key.clone()).collect();
        missing.extend(refilled);
        missing
    }

    /// The rows of parents that must have been deleted by hand: a row goes after the shard's children were begun, and one
    /// of these is not. All of the shard is read again, because nobody knows how far it was.
    fn missing_parents(&self, shards: &[Shard]) -> Vec<Lease> {
        let first_record = match self.settings.initial_position {
            InitialPosition::Latest => Checkpoint::TrimHorizon,
            initial => initial.checkpoint(),
        };
        let is_unbegun =
            |shard: &&Shard| self.table.get(&shard.id).is_some_and(|row| row.checkpoint == Checkpoint::TrimHorizon);
        let parents: BTreeSet<&ShardId> = shards.iter().filter(is_unbegun).flat_map(|shard| &shard.parents).collect();
        let is_missing = |shard: &&Shard| {
            parents.contains(&shard.id) && !self.table.has_row(&shard.id) && !self.table.is_missed(&shard.id)
        };
        shards.iter().filter(is_missing).map(|shard| new_lease(shard, first_record.clone())).collect()
    }

    /// Rows that vanished so long ago that their owners are gone too, as they were seen last. What its children show to
    /// be finished stays gone, and so does what the stream has forgotten.
    fn refillable(&mut self, now: Millis, shards: &[Shard]) -> Vec<Lease> {
        let wait = wait(self.settings.failover);
        let due = self.table.vanished().filter(|(_, since)| now.saturating_sub(*since) >= wait);
        let due: Vec<Lease> = due.map(|(lease, _)| lease.clone()).collect();
        let is_needed = |lease: &Lease| {
            let is_listed = shards.iter().any(|shard| shard.id == lease.key);
            let mut children = shards.iter().filter(|shard| shard.parents.contains(&lease.key)).peekable();
            let has_begun =
                |child: &Shard| self.table.get(&child.id).is_some_and(|row| row.checkpoint > Checkpoint::TrimHorizon);
            is_listed && !self.held.contains_key(&lease.key) && (children.peek().is_none() || !children.all(has_begun))
        };
        let (needed, done): (Vec<Lease>, Vec<Lease>) = due.into_iter().partition(is_needed);
        // The others are remembered until their rows are there: a creation may fail.
        done.iter().for_each(|lease| self.table.forget_vanished(&lease.key));
        let free = |lease: Lease| {
            // A row that nobody ever took, or that nobody ever saw, begins as any other.
            let counter = if lease.counter == 0 { 0 } else { next_counter(lease.counter, &mut self.random) };
            Lease { owner: None, counter, owner_switches: 0, checkpoint_owner: None, ..lease }
        };
        needed.into_iter().map(free).collect()
    }

    /// The answer to the creation of a row. Whether it was in the place of a deleted one.
    pub(super) fn refilled(&mut self, lease: &Lease, outcome: &Outcome) -> bool {
        let is_refilled = self.holes.refilling.remove(&lease.key);
        if is_refilled && *outcome == Outcome::Done {
            self.notice(Notice::RowRefilled { key: lease.key.clone(), checkpoint: lease.checkpoint.clone() });
        }
        is_refilled
    }

    /// When the next row that is missing is to be created, if it still is missing then.
    pub(super) fn fill_at(&self) -> Option<Millis> {
        let since = self.table.vanished().map(|(_, since)| since).min()?;
        Some(since.saturating_add(wait(self.settings.failover)))
    }
}
