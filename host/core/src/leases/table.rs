//! What this worker knows of the whole table, and since when on its own clock. Owns expiry and availability; no wall
//! clock is shared between workers.

use std::collections::{BTreeMap, BTreeSet};

use super::message::Settings;
use super::row::Lease;
use super::vanished::{Vanished, wait};
use super::waiting::is_waiting;
use crate::kinesis::shard::ShardId;
use crate::position::Checkpoint;
use crate::time::Millis;

/// How long a write may stay invisible to scans, which read eventually consistently: also to one that is asked for after
/// another one showed it.
const SCAN_LAG: Millis = 2_000;

/// Failover times after which an unrenewed lease is overdue.
const OVERDUE: Millis = 3;

/// What a lease waits for before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// A parent that is not done.
    Parent,
    /// A strongly consistent scan: a parent seems to have no row.
    Certainty,
}

/// The table as of the last scan and this worker's own writes since.
#[derive(Default)]
pub(super) struct Table {
    rows: BTreeMap<ShardId, Row>,
    /// Keys of rows that could not be read, and why. They are left alone, and nothing is decided as if they were not.
    unreadable: BTreeMap<ShardId, String>,
    /// Keys of rows that are for no shard of the stream; they count for nothing.
    ignored: BTreeSet<ShardId>,
    /// Keys of rows that contradict the stream: nobody takes one before it is known what it is.
    suspects: BTreeSet<ShardId>,
    vanished: Vanished,
    /// When the last scan that was answered was asked for.
    asked_at: Millis,
    /// When it was answered. Between scans the age of others' leases says nothing: they were not looked at.
    scanned_at: Millis,
    /// Scans asked for so far, the one on its way included.
    scans: u64,
    /// The last of them that was answered and strongly consistent.
    certain_scan: u64,
}

struct Row {
    lease: Lease,
    /// The scans asked for before this row was told of. That its parents have none, only a consistent one after these
    /// tells: an earlier one may have passed the place before they were there, and who made this row may not have known.
    scans_before: u64,
    /// When the counter was last seen to change, at first when the row was first seen.
    changed_at: Millis,
    /// When an answer last told what the row is.
    told_at: Millis,
    /// Whether the counter was ever seen to change: its owner lives, or did a moment ago.
    alive: bool,
}

impl Table {
    /// Takes in a scan that was asked for at `asked_at`. A row whose counter did not change keeps its age; rows that
    /// vanished are forgotten; what was told a moment ago, or meanwhile, stays.
    pub(super) fn replace(&mut self, now: Millis, asked_at: Millis, leases: Vec<Lease>) {
        (self.asked_at, self.scanned_at) = (asked_at, now);
        let mut old = std::mem::take(&mut self.rows);
        for lease in leases {
            let known = old.remove(&lease.key);
            let is_newer = |row: &Row| row.is_newer_than_scan(asked_at) && row.lease.counter > lease.counter;
            let row = match known {
                Some(mut row) if is_newer(&row) => {
                    row.lease.hash_range = row.lease.hash_range.or(lease.hash_range);
                    row
                }
                known => Row::seen(now, self.scans, known.as_ref(), lease),
            };
            self.vanished.remove(&row.lease.key);
            self.rows.insert(row.lease.key.clone(), row);
        }
        for (key, row) in old {
            match row.is_newer_than_scan(asked_at) {
                true => drop(self.rows.insert(key, row)),
                false => self.missed(now, row.lease),
            }
        }
    }

    /// When the last scan that was answered was asked for.
    pub(super) fn asked_at(&self) -> Millis {
        self.asked_at
    }

    /// When the last scan was answered.
    pub(super) fn scanned_at(&self) -> Millis {
        self.scanned_at
    }

    /// A row is not there any more, though nobody was seen to finish it.
    pub(super) fn missed(&mut self, now: Millis, lease: Lease) {
        if lease.checkpoint != Checkpoint::ShardEnd && !self.ignored.contains(&lease.key) {
            self.vanished.insert(now, lease);
        }
    }

    /// A write found no row.
    pub(super) fn vanish(&mut self, now: Millis, key: &str) {
        if let Some(row) = self.rows.remove(key) {
            self.missed(now, row.lease);
        }
    }

    /// Rows that were deleted before they were finished, and since when they are missed.
    pub(super) fn vanished(&self) -> impl Iterator<Item = (&Lease, Millis)> {
        self.vanished.leases()
    }

    /// When the next row that is missing is to be created, if it still is missing then.
    pub(super) fn fill_at(&self, settings: &Settings) -> Option<Millis> {
        let since = self.vanished().map(|(_, since)| since).min()?;
        Some(since.saturating_add(wait(settings.failover)))
    }

    /// Whether the row vanished.
    pub(super) fn is_missed(&self, key: &str) -> bool {
        self.vanished.contains(key)
    }

    /// Nobody needs a row that vanished.
    pub(super) fn forget_vanished(&mut self, key: &str) {
        self.vanished.remove(key);
    }

    /// A scan is asked for; the one before was answered.
    pub(super) fn scan_begins(&mut self) {
        self.scans += 1;
    }

    /// The scan that was answered now was strongly consistent.
    pub(super) fn scan_was_consistent(&mut self) {
        self.certain_scan = self.scans;
    }

    /// The rows of the same scan that could not be read.
    pub(super) fn replace_unreadable(&mut self, rows: Vec<(ShardId, String)>) {
        self.unreadable = rows.into_iter().collect();
        self.unreadable.keys().for_each(|key| self.vanished.remove(key));
    }

    /// A row is for no shard; `false` when that was known.
    pub(super) fn ignore(&mut self, key: ShardId) -> bool {
        self.ignored.insert(key)
    }

    /// A row is for a shard after all.
    pub(super) fn heed(&mut self, is_listed: impl Fn(&str) -> bool) {
        self.ignored.retain(|key| !is_listed(key));
    }

    pub(super) fn suspect(&mut self, keys: BTreeSet<ShardId>) {
        self.suspects = keys;
    }

    /// Keys of rows that could not be read, and why.
    pub(super) fn unreadable(&self) -> &BTreeMap<ShardId, String> {
        &self.unreadable
    }

    /// What an answered write told of a row. Who took the lease before its hash range was written does not know that.
    pub(super) fn learn(&mut self, now: Millis, mut lease: Lease) {
        let known = self.rows.get(&lease.key);
        lease.hash_range = lease.hash_range.or_else(|| known?.lease.hash_range.clone());
        self.vanished.remove(&lease.key);
        self.rows.insert(lease.key.clone(), Row::seen(now, self.scans, known, lease));
    }

    pub(super) fn forget(&mut self, key: &str) {
        self.rows.remove(key);
    }

    /// Whether no row can be read.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether there is a row, readable or not.
    pub(super) fn has_row(&self, key: &str) -> bool {
        self.rows.contains_key(key) || self.unreadable.contains_key(key)
    }

    /// Keys of the rows that can be read and are for shards of the stream.
    pub(super) fn usable_keys(&self) -> impl Iterator<Item = &ShardId> {
        self.usable().map(|row| &row.lease.key)
    }

    /// Whether a child of the shard was begun, so that the shard is processed to its end.
    pub(super) fn has_begun_child(&self, key: &str) -> bool {
        let is_child = |lease: &Lease| lease.parents.iter().any(|parent| parent == key);
        self.usable().any(|row| row.lease.checkpoint > Checkpoint::TrimHorizon && is_child(&row.lease))
    }

    pub(super) fn get(&self, key: &str) -> Option<&Lease> {
        self.rows.get(key).map(|row| &row.lease)
    }

    /// Of all rows, readable or not.
    pub(super) fn keys(&self) -> BTreeSet<ShardId> {
        self.rows.keys().chain(self.unreadable.keys()).cloned().collect()
    }

    pub(super) fn leases(&self) -> Vec<Lease> {
        self.usable().map(|row| row.lease.clone()).collect()
    }

    /// What `lease` must wait for; `None` when all of its parents are done. One with a row is done at SHARD_END; one
    /// without when that is certain, as it is if the shard was begun before.
    pub(super) fn waits_for(&self, lease: &Lease) -> Option<Wait> {
        let is_done =
            |id: &&ShardId| self.rows.get(*id).is_some_and(|row| row.lease.checkpoint == Checkpoint::ShardEnd);
        let mut waits = lease.parents.iter().filter(|id| !is_done(id)).peekable();
        waits.peek()?;
        if waits.any(|id| self.has_row(id) || self.vanished.contains(id)) {
            return Some(Wait::Parent);
        }
        (!self.is_certain(lease)).then_some(Wait::Certainty)
    }

    fn is_certain(&self, lease: &Lease) -> bool {
        let is_told = |row: &Row| self.certain_scan > row.scans_before;
        matches!(lease.checkpoint, Checkpoint::At(_)) || self.rows.get(&lease.key).is_some_and(is_told)
    }

    /// The leases that may be taken: with something left to read, and nobody's, expired, or this worker's from before
    /// a restart under the same name.
    pub(super) fn available(&self, now: Millis, settings: &Settings) -> Vec<&Lease> {
        self.unfinished().filter(|row| row.is_available(now, settings)).map(|row| &row.lease).collect()
    }

    /// Those of them that can be read at once, in order not to take places from the others.
    pub(super) fn ready(&self, now: Millis, settings: &Settings) -> Vec<&Lease> {
        let mut free = self.available(now, settings);
        free.retain(|lease| !self.suspects.contains(&lease.key) && !is_waiting(self, lease));
        free
    }

    /// Those of them that this worker has not got, and since when their rows have not changed.
    pub(super) fn left_alone(
        &self,
        now: Millis,
        settings: &Settings,
        is_mine: impl Fn(&ShardId) -> bool,
    ) -> impl Iterator<Item = (&Lease, Millis)> {
        let others = self.ready(now, settings).into_iter().filter(move |lease| !is_mine(&lease.key));
        others.filter_map(|lease| Some((lease, self.rows.get(&lease.key)?.changed_at)))
    }

    /// Whether nobody cared for a lease for so long that it goes before all others (the Kinesis Client Library's "very
    /// old" leases).
    pub(super) fn is_overdue(&self, now: Millis, key: &str, failover: Millis) -> bool {
        self.rows.get(key).is_some_and(|row| row.is_unchanged_for(now, failover.saturating_mul(OVERDUE)))
    }

    /// Who was seen alive: the owners of leases that are not up for taking, finished ones included.
    pub(super) fn live_owners(&self, now: Millis, settings: &Settings) -> impl Iterator<Item = &str> {
        let live = self.usable().filter(move |row| !row.is_available(now, settings));
        live.filter_map(|row| row.lease.owner.as_deref())
    }

    /// When the first lease of another worker that missed a renewal is up for taking, if that is to come.
    pub(super) fn next_expiry(&self, now: Millis, settings: &Settings) -> Option<Millis> {
        let missed = |row: &&Row| row.lease.owner.is_some() && row.is_unchanged_for(now, settings.failover / 2);
        let expiry = |row: &Row| row.changed_at.saturating_add(settings.failover).saturating_add(1);
        self.unfinished().filter(missed).map(expiry).filter(|expiry| *expiry > now).min()
    }

    /// Whether some unfinished lease is another's who has neither shown life nor been silent for long enough: it may
    /// still come to this worker.
    pub(super) fn is_in_doubt(&self, now: Millis, settings: &Settings) -> bool {
        let of_other = |row: &&Row| row.lease.owner.as_ref().is_some_and(|owner| *owner != settings.worker);
        self.unfinished().filter(of_other).any(|row| !row.alive && !row.is_available(now, settings))
    }

    /// The unfinished leases that others hold and renew.
    pub(super) fn of_others(&self, now: Millis, settings: &Settings) -> impl Iterator<Item = (&str, &Lease)> {
        let trusted = self.unfinished().filter(|row| !self.suspects.contains(&row.lease.key));
        let live = trusted.filter(move |row| !row.is_available(now, settings));
        let owned = live.filter_map(|row| Some((row.lease.owner.as_deref()?, &row.lease)));
        owned.filter(|(owner, _)| *owner != settings.worker)
    }

    /// The leases at SHARD_END that no live worker has in hand, and that nobody wrote to for `rest`.
    pub(super) fn finished_and_free(
        &self,
        now: Millis,
        settings: &Settings,
        rest: Millis,
    ) -> impl Iterator<Item = &Lease> {
        let finished = self.usable().filter(|row| row.lease.checkpoint == Checkpoint::ShardEnd);
        let free = finished.filter(move |row| row.is_available(now, settings));
        free.filter(move |row| row.is_unchanged_for(now, rest)).map(|row| &row.lease)
    }

    /// How many leases can be read now: they have something left, and wait for no parent.
    pub(super) fn readable_count(&self) -> usize {
        self.unfinished().filter(|row| !is_waiting(self, &row.lease)).count()
    }

    /// Whether some unfinished lease is, or was, another worker's.
    pub(super) fn has_other_owners(&self, me: &str) -> bool {
        let known = self.unfinished().filter(|row| !self.suspects.contains(&row.lease.key));
        known.filter_map(|row| row.lease.owner.as_deref()).any(|owner| owner != me)
    }

    fn unfinished(&self) -> impl Iterator<Item = &Row> {
        self.usable().filter(|row| row.lease.checkpoint != Checkpoint::ShardEnd)
    }

    fn usable(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().filter(|row| !self.ignored.contains(&row.lease.key))
    }
}

impl Row {
    /// A row as it is now, beside what was known of it.
    fn seen(now: Millis, scans: u64, known: Option<&Self>, lease: Lease) -> Self {
        let scans_before = known.map_or(scans, |row| row.scans_before);
        match known {
            Some(row) if row.lease.counter == lease.counter => {
                Self { lease, scans_before, changed_at: row.changed_at, told_at: now, alive: row.alive }
            }
            Some(_) => Self { lease, scans_before, changed_at: now, told_at: now, alive: true },
            None => Self { lease, scans_before, changed_at: now, told_at: now, alive: false },
        }
    }

    fn is_newer_than_scan(&self, asked_at: Millis) -> bool {
        self.told_at + SCAN_LAG >= asked_at
    }

    fn is_unchanged_for(&self, now: Millis, age: Millis) -> bool {
        now.saturating_sub(self.changed_at) > age
    }

    fn is_available(&self, now: Millis, settings: &Settings) -> bool {
        let Some(owner) = &self.lease.owner else {
            return true;
        };
        let resumed = *owner == settings.worker && self.lease.checkpoint_owner.is_none();
        resumed || self.is_unchanged_for(now, settings.failover)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinesis::shard::HashRange;

    fn lease(counter: u64, hash_range: Option<HashRange>) -> Lease {
        Lease {
            key: "s00".to_owned(),
            owner: Some("me".to_owned()),
            counter,
            owner_switches: 0,
            checkpoint: Checkpoint::TrimHorizon,
            parents: Vec::new(),
            children: Vec::new(),
            hash_range,
            checkpoint_owner: None,
            latest_since: None,
        }
    }

    /// Otherwise the leader would list the shards and write it again and again, and could see no hole.
    #[test]
    fn a_hash_range_that_was_written_meanwhile_is_not_forgotten_with_the_next_renewal() {
        let range = HashRange { start: 0, end: u128::MAX };
        let mut table = Table::default();
        table.learn(100, lease(8, None));
        table.replace(120, 110, vec![lease(7, Some(range.clone()))]);
        assert_eq!(table.get("s00"), Some(&lease(8, Some(range.clone()))), "the scan is older, but knows more");
        table.learn(130, lease(9, None));
        assert_eq!(table.get("s00"), Some(&lease(9, Some(range))));
    }
}
