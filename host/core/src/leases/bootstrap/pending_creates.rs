//! Rows that the table lacks on their way into it: in their order, a few at a time, and again with a wait when the table
//! refuses them.

use std::collections::{BTreeSet, VecDeque};

use crate::kinesis::shard::ShardId;
use crate::leases::limits::BACKOFF;
use crate::leases::row::Lease;
use crate::random::Random;
use crate::time::Millis;

/// PendingCreates on their way at a time: enough to hide the round trips of a large stream, few enough for a small table.
const AT_ONCE_MAX: usize = 10;
/// So many refusals in a row tell that other workers create the same rows: as many again would be a waste.
const REFUSALS_MAX: usize = AT_ONCE_MAX;

#[derive(Default)]
pub(super) struct PendingCreates {
    waiting: VecDeque<Lease>,
    under_way: BTreeSet<ShardId>,
    /// Rows in a row that were there already.
    refused: usize,
    abandoned: bool,
    /// Rounds of failures in a row.
    failures: u32,
    retry_at: Millis,
}

/// How far creations are after an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Progress {
    Going,
    /// Every row is there.
    Complete,
    /// Others are at it: what is still missing the table tells.
    Abandoned,
}

impl PendingCreates {
    /// Workers that start together begin at different places, unless rows must come before others.
    pub(super) fn new(mut leases: Vec<Lease>, random: &mut Random) -> Self {
        if leases.len() > AT_ONCE_MAX && is_flat(&leases) {
            let bound = u32::try_from(leases.len()).expect("no table has as many rows");
            leases.rotate_left(random.below(bound) as usize);
        }
        Self { waiting: leases.into(), ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// What to send now.
    pub(super) fn next(&mut self, now: Millis) -> Vec<Lease> {
        if now < self.retry_at {
            return Vec::new();
        }
        let free = AT_ONCE_MAX.saturating_sub(self.under_way.len()).min(self.waiting.len());
        let next: Vec<Lease> = self.waiting.drain(..free).collect();
        self.under_way.extend(next.iter().map(|lease| lease.key.clone()));
        next
    }

    /// A row exists now, by this worker's hand or another's.
    pub(super) fn exists(&mut self, key: &str, is_mine: bool) -> Progress {
        if !self.under_way.remove(key) {
            return Progress::Going;
        }
        self.failures = 0;
        self.refused = if is_mine { 0 } else { self.refused + 1 };
        if self.refused >= REFUSALS_MAX && !self.waiting.is_empty() {
            self.waiting.clear();
            self.abandoned = true;
        }
        match (self.is_empty(), self.abandoned) {
            (false, _) => Progress::Going,
            (true, false) => Progress::Complete,
            (true, true) => Progress::Abandoned,
        }
    }

    /// A creation failed and is not tried again.
    pub(super) fn give_up(&mut self, key: &str) {
        self.under_way.remove(key);
    }

    /// A creation failed and may succeed later. Failures of calls that were on their way together count as one.
    pub(super) fn failed(&mut self, now: Millis, lease: Lease, random: &mut Random) {
        if !self.under_way.remove(&lease.key) {
            return;
        }
        self.waiting.push_front(lease);
        if now >= self.retry_at {
            self.failures += 1;
            self.retry_at = now + BACKOFF.pause(self.failures, random);
        }
    }

    /// When [`PendingCreates::next`] has something, unless an answer comes first.
    pub(super) fn wake_at(&self) -> Option<Millis> {
        (!self.waiting.is_empty() && self.under_way.len() < AT_ONCE_MAX).then_some(self.retry_at)
    }
}

/// Whether none of them descends from another.
fn is_flat(leases: &[Lease]) -> bool {
    let keys: BTreeSet<&str> = leases.iter().map(|lease| lease.key.as_str()).collect();
    !leases.iter().flat_map(|lease| &lease.parents).any(|parent| keys.contains(parent.as_str()))
}
