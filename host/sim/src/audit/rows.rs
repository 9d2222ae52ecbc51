//! The part of the audit that watches the lease table.

use shardmill_core::leases::{Lease, Outcome, Write};
use shardmill_core::position::Checkpoint;
use shardmill_core::time::Millis;

use super::{Audit, Life};
use crate::table::LeaseTable;

impl Audit {
    /// Carries out a write and checks what it did. `name` is the worker's, `over` says which lives are over.
    pub(crate) fn write(
        &mut self,
        now: Millis,
        table: &mut LeaseTable,
        life: Life,
        name: &str,
        over: impl Fn(Life) -> bool,
        write: &Write,
    ) -> Outcome {
        let key = write.key();
        if !self.truth.knows(key) {
            self.require(false, || format!("life {life} wrote {write:?}, which is for no shard"));
            return Outcome::ConditionFailed(None);
        }
        let before = table.rows.get(key).cloned();
        let outcome = table.apply(now, write);
        if outcome != Outcome::Done {
            return outcome;
        }
        let Some(after) = table.rows.get(key).cloned() else {
            self.deleted(now, table, &before.expect("a row to delete"));
            return outcome;
        };
        let is_first = before.as_ref().is_none_or(|row| row.latest_since.is_none()) && !self.was_deleted(key);
        if after.latest_since.is_some() && is_first {
            self.truth.begins_here(key);
        }
        let counts = !matches!(write, Write::Children { .. } | Write::HashRange { .. });
        let grew = before.as_ref().is_none_or(|row| row.counter + u64::from(counts) == after.counter);
        self.require(grew, || format!("the counter of {key} went from {before:?} to {after:?}"));
        match write {
            Write::Create(lease) => {
                self.created(life, lease);
                self.refilled(now, lease);
            }
            Write::Restore(lease) if lease.owner.is_none() => self.refilled(now, lease),
            Write::Restore(lease) => self.restored(life, lease),
            Write::Take { .. } => drop(self.holders.insert(key.clone(), life)),
            Write::Renew { .. } | Write::Checkpoint { .. } => {
                let holder = self.holders.get(key).copied();
                // A new life may go on where the last write of the old one left the row.
                let inherited = holder.is_some_and(&over) && after.owner.as_deref() == Some(name);
                self.require(holder == Some(life) || inherited, || {
                    format!("life {life} wrote {write:?}, but life {holder:?} took the lease")
                });
            }
            _ => {}
        }
        if let (Write::Checkpoint { checkpoint, .. }, Some(before)) = (write, &before) {
            self.checkpointed(now, table, key, &before.checkpoint, checkpoint);
        }
        outcome
    }

    fn created(&mut self, life: Life, lease: &Lease) {
        let (key, is_new) = (&lease.key, lease.owner.is_none() && lease.counter == 0);
        self.require(is_new, || format!("a new row is nobody's: {lease:?}"));
        let finished = self.finished.contains(key) && !self.is_related_to_a_deleted(self.truth.index(key));
        self.require(!finished, || format!("{key} is finished, but has a row again from life {life}"));
    }

    /// Nobody needs a row of a finished shard once all of its children were begun.
    fn deleted(&mut self, now: Millis, table: &LeaseTable, row: &Lease) {
        let key = &row.key;
        self.require(row.checkpoint == Checkpoint::ShardEnd, || format!("{key} is deleted before its end"));
        let shard = self.truth.index(key);
        let forgotten = self.truth.is_forgotten(now, shard);
        for child in self.truth.shards[shard].children.clone() {
            if self.truth.is_forgotten(now, child) {
                continue;
            }
            let child = self.truth.shards[child].id.clone();
            let begun = table.rows.get(&child).map(|row| row.checkpoint > Checkpoint::TrimHorizon);
            let is_needed = match begun {
                // Who deletes it may have seen the child's row before that was deleted by hand.
                Some(begun) => !begun && !forgotten && !self.was_deleted(&child),
                None => !self.finished.contains(&child) && !self.was_deleted(&child),
            };
            self.require(!is_needed, || format!("{key} is deleted before its child {child} is begun"));
        }
        let parent = row.parents.iter().find(|id| table.rows.contains_key(*id));
        self.require(parent.is_none(), || format!("{key} is deleted before its parent {parent:?}"));
        self.finished.insert(key.clone());
    }

    fn checkpointed(&mut self, now: Millis, table: &LeaseTable, key: &str, old: &Checkpoint, new: &Checkpoint) {
        self.checkpoints += 1;
        self.require(old <= new, || format!("the checkpoint of {key} went back from {old} to {new}"));
        let shard = self.truth.index(key);
        let (covered, durable) = (self.truth.covered(shard, new), self.truth.shards[shard].durable);
        let is_earned = covered <= durable || self.truth.is_excused(now, shard, covered);
        self.require(is_earned, || format!("{new} of {key} covers {covered} records, but {durable} are durable"));
        if *new != Checkpoint::ShardEnd {
            return;
        }
        self.require(!self.truth.shards[shard].open, || format!("{key} is sealed while it is open"));
        for child in self.truth.shards[shard].children.clone() {
            let forgotten = self.truth.is_forgotten(now, child);
            let child = self.truth.shards[child].id.clone();
            let known = forgotten
                || table.rows.contains_key(&child)
                || self.finished.contains(&child)
                || self.was_deleted(&child);
            self.require(known, || format!("{key} is sealed, but its child {child} has no row"));
        }
    }
}
