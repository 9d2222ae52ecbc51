//! What the leader of a fleet does for the table, and when: it looks for holes, creates the rows that are missing,
//! completes old rows and deletes those of finished shards. Everything here is safe when two workers do it at once.

use super::cleanup;
use crate::kinesis::shard::Shard;
use crate::leases::audit::{Auditor, Coverage, coverage};
use crate::leases::message::Settings;
use crate::leases::row::{Lease, Write};
use crate::leases::table::Table;
use crate::position::Checkpoint;
use crate::time::Millis;

/// Rows that are changed or deleted after one look; the next look goes on.
const WRITES_MAX: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    Idle,
    Wanted,
    /// On its way.
    Asked,
}

pub(super) struct Upkeep {
    auditor: Auditor,
    listing: Listing,
    /// The listing is to find rows that are missing, which they have been since then.
    sync_since: Option<Millis>,
    audit: Timer,
    sync: Timer,
    completed: Timer,
    garbage: Timer,
}

impl Upkeep {
    /// Upkeep that begins a full interval after `now`.
    pub(super) fn new(now: Millis, settings: &Settings) -> Self {
        Self {
            auditor: Auditor::default(),
            listing: Listing::Idle,
            sync_since: None,
            audit: Timer::new(now, Some(settings.audit_interval)),
            sync: Timer::new(now, settings.shard_sync_interval),
            completed: Timer::new(now, settings.cleanup.as_ref().map(|cleanup| cleanup.completed)),
            garbage: Timer::new(now, settings.cleanup.as_ref().map(|cleanup| cleanup.garbage)),
        }
    }

    /// After the leader read the table: the rows to delete now. More may come of a listing; see
    /// [`Upkeep::needs_listing`].
    pub(super) fn look(&mut self, now: Millis, settings: &Settings, table: &Table) -> Vec<Write> {
        if self.audit.rings(now) {
            self.look_for_holes(now, settings, table);
        }
        if self.sync.rings(now) {
            self.want_sync(now);
        }
        if self.garbage.rings(now) && cleanup::may_have_garbage(table, now, settings) {
            self.want_listing();
        }
        if !self.completed.rings(now) {
            return Vec::new();
        }
        let completed = cleanup::completed(table, now, settings);
        if completed.len() > WRITES_MAX {
            self.completed.ring_at(now);
        }
        completed.iter().take(WRITES_MAX).map(delete).collect()
    }

    fn look_for_holes(&mut self, now: Millis, settings: &Settings, table: &Table) {
        let coverage = coverage(&table.leases());
        if coverage == Coverage::Unknown {
            self.want_listing();
        }
        if let Some(since) = self.auditor.confirms(now, coverage, settings.audit_confidence) {
            self.want_sync(since);
        }
    }

    fn want_sync(&mut self, since: Millis) {
        self.sync_since = Some(self.sync_since.map_or(since, |known| known.min(since)));
        self.want_listing();
    }

    fn want_listing(&mut self) {
        if self.listing == Listing::Idle {
            self.listing = Listing::Wanted;
        }
    }

    /// Whether the stream's shards are needed.
    pub(super) fn needs_listing(&self) -> bool {
        self.listing == Listing::Wanted
    }

    pub(super) fn listing_asked(&mut self) {
        if self.listing == Listing::Wanted {
            self.listing = Listing::Asked;
        }
    }

    pub(super) fn listing_failed(&mut self) {
        if self.listing == Listing::Asked {
            self.listing = Listing::Wanted;
        }
    }

    /// Takes in the stream's shards if they were asked for here. Returns the rows to complete and to delete, and
    /// whether missing ones are to be created: since when they may be missing.
    pub(super) fn listed(
        &mut self,
        now: Millis,
        settings: &Settings,
        table: &Table,
        shards: &[Shard],
    ) -> (Vec<Write>, Option<Millis>) {
        if self.listing != Listing::Asked {
            return (Vec::new(), None);
        }
        self.listing = Listing::Idle;
        let mut writes = missing_hash_ranges(table, shards);
        if settings.cleanup.is_some() {
            writes.extend(cleanup::garbage(table, now, settings, shards).iter().map(delete));
        }
        writes.truncate(WRITES_MAX);
        (writes, self.sync_since.take())
    }
}

fn delete(finished: &Lease) -> Write {
    Write::Delete { key: finished.key.clone(), counter: finished.counter }
}

fn missing_hash_ranges(table: &Table, shards: &[Shard]) -> Vec<Write> {
    let lacks = |shard: &&Shard| {
        let lease = table.get(&shard.id);
        lease.is_some_and(|lease| lease.hash_range.is_none() && lease.checkpoint != Checkpoint::ShardEnd)
    };
    let range = |shard: &Shard| Write::HashRange { key: shard.id.clone(), range: shard.hash_range.clone() };
    shards.iter().filter(lacks).map(range).collect()
}

/// Rings again and again, first a full interval after its making; never without one.
struct Timer {
    interval: Option<Millis>,
    next: Millis,
}

impl Timer {
    fn new(now: Millis, interval: Option<Millis>) -> Self {
        Self { interval, next: now.saturating_add(interval.unwrap_or(Millis::MAX)) }
    }

    fn rings(&mut self, now: Millis) -> bool {
        match self.interval {
            Some(interval) if now >= self.next => {
                self.next = now.saturating_add(interval);
                true
            }
            _ => false,
        }
    }

    fn ring_at(&mut self, when: Millis) {
        self.next = when;
    }
}
