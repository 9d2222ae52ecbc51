//! Which rows of finished shards are of no use any more. A row is kept as long as it says where somebody must start:
//! until the shard's children were begun, so that nobody ever finds a child without knowing what came before it.

use super::message::{Millis, Settings};
use super::row::Lease;
use super::sync;
use super::table::Table;
use crate::position::Checkpoint;
use crate::shard::{Shard, ShardId};

/// Rows whose every child has a row of its own that was checkpointed at least once.
pub(super) fn completed(table: &Table, now: Millis, settings: &Settings) -> Vec<Lease> {
    let begun = |child: &ShardId| table.get(child).is_some_and(has_begun);
    let is_completed = |lease: &&Lease| !lease.children.is_empty() && lease.children.iter().all(begun);
    oldest_finished(table, now, settings).filter(is_completed).cloned().collect()
}

/// Rows whose shard the stream has forgotten. Children that it has not forgotten need a row, begun or not: without
/// their parent's they would not be known to start at their first record.
pub(super) fn garbage(table: &Table, now: Millis, settings: &Settings, shards: &[Shard]) -> Vec<Lease> {
    let exists = |id: &ShardId| shards.iter().any(|shard| shard.id == *id);
    let is_known = |child: &ShardId| table.get(child).is_some() || !exists(child);
    let is_garbage = |lease: &&Lease| {
        let listed = sync::children_of(&lease.key, shards);
        !exists(&lease.key)
            && lease.children.iter().all(is_known)
            && listed.iter().all(|child| table.get(&child.id).is_some())
    };
    oldest_finished(table, now, settings).filter(is_garbage).cloned().collect()
}

/// Whether a listing could show [`garbage`] that is not [`completed`].
pub(super) fn may_have_garbage(table: &Table, now: Millis, settings: &Settings) -> bool {
    oldest_finished(table, now, settings).next().is_some()
}

/// The finished leases whose parents' rows are gone: a lineage loses its rows from the oldest on. What a worker still
/// holds, as Java workers do, that worker deletes itself.
fn oldest_finished<'a>(table: &'a Table, now: Millis, settings: &'a Settings) -> impl Iterator<Item = &'a Lease> {
    let is_oldest = |lease: &&Lease| lease.parents.iter().all(|parent| table.get(parent).is_none());
    table.finished_and_free(now, settings).filter(is_oldest)
}

fn has_begun(lease: &Lease) -> bool {
    !matches!(lease.checkpoint, Checkpoint::TrimHorizon | Checkpoint::AtTimestamp)
}
