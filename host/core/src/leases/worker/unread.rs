//! Which shards nobody reads: leases that no live worker holds, and that this worker may not take, or cannot use. A job
//! that has read all of its own shards is not through with its stream while there are such.

use super::Worker;
use crate::kinesis::shard::ShardId;
use crate::leases::notice::{Unread, UnreadReason};
use crate::time::Millis;

/// Failover times that a lease must have been left alone for: other workers may be about to take it until then.
const LEFT_FOR: Millis = 2;

impl Worker {
    /// The shards that nobody reads, as of the last look at the table: their leases can be read, but no live worker has
    /// held them for two failover times, and this one is at its limit; or their rows cannot be used. Empty before the
    /// worker is running.
    #[must_use]
    pub fn unread(&self) -> Vec<Unread> {
        if !self.is_running() {
            return Vec::new();
        }
        let why = || UnreadReason::Limit(self.settings.max_leases);
        let age = self.left_for();
        let is_old = |since: Millis| self.looked_at.saturating_sub(since) > age;
        let left = self.left_alone().filter(|(_, since)| self.is_at_limit() && is_old(*since));
        let left = left.map(|(key, _)| Unread { key: key.clone(), why: why() });
        let unusable = self.table.unreadable().iter().filter(|(key, _)| self.names.is_listed(key));
        let unusable =
            unusable.map(|(key, reason)| Unread { key: key.clone(), why: UnreadReason::Row(reason.clone()) });
        left.chain(unusable).collect()
    }

    /// When the next of them is one, if this worker does not get its lease.
    pub(super) fn next_unread(&self, now: Millis) -> Option<Millis> {
        let due = |(_, since): (&ShardId, Millis)| since.saturating_add(self.left_for()).saturating_add(1);
        self.left_alone().filter(|_| self.is_at_limit()).map(due).filter(|due| *due > now).min()
    }

    fn left_alone(&self) -> impl Iterator<Item = (&ShardId, Millis)> {
        let is_mine = |key: &ShardId| self.held.contains_key(key) || self.taking.contains_key(key);
        let left = self.table.left_alone(self.looked_at, &self.settings, is_mine);
        left.map(|(lease, since)| (&lease.key, since))
    }

    fn left_for(&self) -> Millis {
        self.settings.failover.saturating_mul(LEFT_FOR)
    }
}
