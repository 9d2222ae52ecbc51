//! Which rows of finished shards are of no use any more. A row is kept as long as it says where somebody must start:
//! until the shard's children were begun, so that nobody ever finds a child without knowing what came before it.

use std::collections::HashSet;

use crate::kinesis::shard::{Shard, ShardId};
use crate::leases::message::Settings;
use crate::leases::row::Lease;
use crate::leases::table::Table;
use crate::leases::vanished::wait;
use crate::position::Checkpoint;
use crate::time::Millis;

/// Rows whose every child has a row of its own that was checkpointed at least once.
pub(super) fn completed(table: &Table, now: Millis, settings: &Settings) -> Vec<Lease> {
    let begun = |child: &ShardId| table.get(child).is_some_and(has_begun);
    let is_completed = |lease: &&Lease| !lease.children.is_empty() && lease.children.iter().all(begun);
    oldest_finished(table, now, settings).filter(is_completed).cloned().collect()
}

/// Rows whose shard the stream has forgotten. Children that it has not forgotten need a row, begun or not: without
/// their parent's they would not be known to start at their first record.
pub(super) fn garbage(table: &Table, now: Millis, settings: &Settings, shards: &[Shard]) -> Vec<Lease> {
    let listed: HashSet<&str> = shards.iter().map(|shard| shard.id.as_str()).collect();
    let without_row = shards.iter().filter(|shard| table.get(&shard.id).is_none());
    let needed: HashSet<&str> = without_row.flat_map(|shard| shard.parents.iter().map(String::as_str)).collect();
    let is_garbage = |lease: &&Lease| !listed.contains(lease.key.as_str()) && !needed.contains(lease.key.as_str());
    oldest_finished(table, now, settings).filter(is_garbage).cloned().collect()
}

/// Whether a listing could show [`garbage`] that is not [`completed`].
pub(super) fn may_have_garbage(table: &Table, now: Millis, settings: &Settings) -> bool {
    oldest_finished(table, now, settings).next().is_some()
}

/// The finished leases whose parents' rows are gone: a lineage loses its rows from the oldest on. What a worker still
/// holds, as Java workers do, that worker deletes itself. They rest for a while, so that no creation that was decided on
/// before they existed arrives after they are gone, nor a worker that lost one of them takes it for deleted by hand.
fn oldest_finished<'a>(table: &'a Table, now: Millis, settings: &'a Settings) -> impl Iterator<Item = &'a Lease> {
    let is_oldest = |lease: &&Lease| !lease.parents.iter().any(|parent| table.has_row(parent));
    let rest = settings.cleanup.as_ref().map_or(Millis::MAX, |cleanup| cleanup.completed.max(wait(settings.failover)));
    table.finished_and_free(now, settings, rest).filter(is_oldest)
}

fn has_begun(lease: &Lease) -> bool {
    !matches!(lease.checkpoint, Checkpoint::TrimHorizon | Checkpoint::AtTimestamp)
}
