//! Rows that the table lacks on their way into it: in their order, a few at a time, and again with a wait when the table
//! refuses them.

use std::collections::{BTreeSet, VecDeque};

use super::message::Millis;
use super::row::Lease;
use super::worker::{BACKOFF, START_ATTEMPTS_MAX};
use crate::random::Random;
use crate::shard::ShardId;

/// Creations on their way at a time: enough to hide the round trips of a large stream, few enough for a small table.
const AT_ONCE_MAX: usize = 10;

#[derive(Default)]
pub(super) struct Creations {
    waiting: VecDeque<Lease>,
    under_way: BTreeSet<ShardId>,
    /// Rounds of failures in a row.
    failures: u32,
    retry_at: Millis,
}

impl Creations {
    pub(super) fn new(leases: Vec<Lease>) -> Self {
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

    /// A row exists now; whether it was one of these and the last of them.
    pub(super) fn created(&mut self, key: &str) -> bool {
        let is_one = self.under_way.remove(key);
        if is_one {
            self.failures = 0;
        }
        is_one && self.is_empty()
    }

    /// A creation failed and is not tried again.
    pub(super) fn give_up(&mut self, key: &str) {
        self.under_way.remove(key);
    }

    /// A creation failed and may succeed later; `false` when that was tried often enough. Failures of calls that were
    /// on their way together count as one.
    pub(super) fn failed(&mut self, now: Millis, lease: Lease, random: &mut Random) -> bool {
        if !self.under_way.remove(&lease.key) {
            return true;
        }
        self.waiting.push_front(lease);
        if now >= self.retry_at {
            self.failures += 1;
            self.retry_at = now + BACKOFF.pause(self.failures, random);
        }
        self.failures < START_ATTEMPTS_MAX
    }

    /// When [`Creations::next`] has something, unless an answer comes first.
    pub(super) fn wake_at(&self) -> Option<Millis> {
        (!self.waiting.is_empty() && self.under_way.len() < AT_ONCE_MAX).then_some(self.retry_at)
    }
}
