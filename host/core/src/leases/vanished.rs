//! Rows that were there, had something left to read, and are gone: somebody deleted them by hand. Their holder creates
//! them again while it lives, so others wait; what they saw last is remembered until then, so that a hole is filled
//! where the shard was read to, and no child overtakes it meanwhile.

use std::collections::BTreeMap;

use super::row::Lease;
use crate::kinesis::shard::ShardId;
use crate::time::Millis;

/// Failover times that a holder is left to create its row again, before others fill the hole.
const WAIT: Millis = 2;

/// For how long a hole is left to its owner.
pub(super) fn wait(failover: Millis) -> Millis {
    failover.saturating_mul(WAIT)
}

#[derive(Default)]
pub(super) struct Vanished {
    /// As they were last seen, and when they were first missed.
    rows: BTreeMap<ShardId, (Lease, Millis)>,
}

impl Vanished {
    pub(super) fn insert(&mut self, now: Millis, lease: Lease) {
        self.rows.entry(lease.key.clone()).or_insert((lease, now));
    }

    /// The row is there again, or nobody needs it.
    pub(super) fn remove(&mut self, key: &str) {
        self.rows.remove(key);
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.rows.contains_key(key)
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = (&Lease, Millis)> {
        self.rows.values().map(|(lease, since)| (lease, *since))
    }
}
