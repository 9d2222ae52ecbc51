//! A row that is not there any more although its lease is held and not expired: somebody deleted it. Its holder knows
//! best how far the shard is committed, so it puts the row back, or takes the one that came in its place.

use crate::leases::row::{Lease, Write};
use crate::position::Checkpoint;

pub(super) enum Gone {
    /// There is no row.
    Deleted,
    /// There is a new one, which knows less.
    Replaced(Lease),
}

impl Gone {
    /// The write that puts it right. The counter goes on from the one that this worker knows.
    pub(super) fn write(&self, lease: &Lease, worker: &str) -> Write {
        let worker = worker.to_owned();
        match self {
            Self::Deleted => Write::Restore(Lease {
                owner: Some(worker),
                counter: lease.counter.saturating_add(1),
                owner_switches: 0,
                checkpoint_owner: None,
                latest_since: lease.latest_since.filter(|_| lease.checkpoint == Checkpoint::Latest),
                ..lease.clone()
            }),
            Self::Replaced(row) => Write::Take { seen: row.clone(), worker },
        }
    }
}

/// Whether the holder of `lease` is further than a row that came in its place. Who fills a hole begins anew.
pub(super) fn is_further(lease: &Lease, row: &Lease) -> bool {
    let is_free_and_same = row.owner.is_none() && row.checkpoint == lease.checkpoint;
    row.checkpoint < lease.checkpoint || is_free_and_same
}
