//! Leases that wait for their parents. Nobody holds one: it would take the place of a parent in the hands of a worker
//! that is at its limit, and the parent could then never be read. So it is taken only once its parents are done, counts
//! for nobody's share, and is given back by a worker that took it before it could know.

use super::message::Settings;
use super::row::Lease;
use super::table::{Table, Wait};
use crate::kinesis::shard::ShardId;
use crate::time::Millis;

/// Whether a parent of `lease` is not done.
pub(super) fn is_waiting(table: &Table, lease: &Lease) -> bool {
    table.waits_for(lease) == Some(Wait::Parent)
}

/// Whether some free lease waits for a parent that this worker does not hold: it does not see by itself when that is
/// done. `is_held` says what it holds.
pub(super) fn waits_for_others(
    table: &Table,
    now: Millis,
    settings: &Settings,
    is_held: impl Fn(&ShardId) -> bool,
) -> bool {
    let waits = |lease: &&Lease| is_waiting(table, lease) && !lease.parents.iter().all(&is_held);
    table.available(now, settings).iter().any(waits)
}
