//! A row that is not there any more although its lease is held and not expired: somebody deleted it. Its holder knows
//! best how far the shard is committed, so it puts the row back, or takes the one that came in its place.

use crate::leases::row::{Lease, Write};
use crate::position::Checkpoint;
use crate::random::Random;
use crate::time::Millis;

/// How far the counter of a row that is put back jumps at most; see [`next_counter`].
const JUMP: u32 = 1 << 20;

/// A counter for a row in the place of one that was last seen at `counter`. It jumps by chance, because other workers may
/// have counted on before the row was deleted, and must not find their own count in the new one.
pub(in crate::leases) fn next_counter(counter: u64, random: &mut Random) -> u64 {
    counter.saturating_add(2 + u64::from(random.below(JUMP)))
}

pub(super) enum Gone {
    /// There is no row. Either it was deleted by hand, or this process stood still for so long that others finished the
    /// shard, and the leader removed its row. A scan tells.
    Missing { since: Millis, counter: u64 },
    /// It was deleted by hand; the counter of the next one.
    Deleted(u64),
    /// There is a new one, which knows less.
    Replaced(Box<Lease>),
}

impl Gone {
    pub(super) fn awaits_scan(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    pub(super) fn confirm(&mut self) {
        if let Self::Missing { counter, .. } = *self {
            *self = Self::Deleted(counter);
        }
    }

    /// The write that puts it right.
    pub(super) fn write(&self, lease: &Lease, worker: &str) -> Write {
        let worker = worker.to_owned();
        match self {
            Self::Missing { counter, .. } | Self::Deleted(counter) => Write::Restore(Lease {
                owner: Some(worker),
                counter: *counter,
                owner_switches: 0,
                checkpoint_owner: None,
                latest_since: lease.latest_since.filter(|_| lease.checkpoint == Checkpoint::Latest),
                ..lease.clone()
            }),
            Self::Replaced(row) => Write::Take { seen: (**row).clone(), worker },
        }
    }
}

/// Whether the holder of `lease` is further than a row that came in its place. Who fills a hole begins anew.
pub(super) fn is_further(lease: &Lease, row: &Lease) -> bool {
    let is_free_and_same = row.owner.is_none() && row.checkpoint == lease.checkpoint;
    row.checkpoint < lease.checkpoint || is_free_and_same
}
