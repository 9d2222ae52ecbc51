//! Rows that are missing beside the rows of other workers. They may have been deleted by hand while their owners
//! live, so they are left to those for a while: they know best how far they were.

use std::collections::BTreeSet;

use crate::kinesis::shard::{Shard, ShardId};
use crate::leases::context::Context;
use crate::leases::holdings::{Holdings, next_counter};
use crate::leases::row::Lease;
use crate::leases::sync::new_lease;
use crate::leases::table::Table;
use crate::leases::vanished::wait;
use crate::position::{Checkpoint, InitialPosition};
use crate::time::Millis;

/// Of the rows that the table lacks, those that are to be created now, and which of them are in the place of deleted
/// ones. `seen_since` says since when it is known that something is missing. What is left to others is remembered as
/// missed, so that no child overtakes it meanwhile.
pub(super) fn fillable(
    context: &mut Context,
    now: Millis,
    holdings: &Holdings,
    seen_since: Millis,
    mut missing: Vec<Lease>,
    shards: &[Shard],
) -> (Vec<Lease>, BTreeSet<ShardId>) {
    let orphaned = missing_parents(context, shards);
    missing.retain(|lease| !orphaned.iter().any(|parent| parent.key == lease.key));
    missing.retain(|lease| !holdings.contains(&lease.key));
    let is_shared = context.table.has_other_owners(&context.settings.worker);
    match is_shared {
        true => orphaned.into_iter().for_each(|parent| context.table.missed(now, parent)),
        false => drop(missing.splice(..0, orphaned)),
    }
    if is_shared && now.saturating_sub(seen_since) < wait(context.settings.failover) {
        missing.drain(..).for_each(|lease| context.table.missed(seen_since, lease));
    }
    let refilled = refillable(context, now, holdings, shards);
    if let Some(when) = context.table.fill_at(&context.settings) {
        context.scan_by(when.max(now));
    }
    let refilling = refilled.iter().filter(|lease| lease.counter > 0).map(|lease| lease.key.clone()).collect();
    missing.extend(refilled);
    (missing, refilling)
}

/// The rows of parents that must have been deleted by hand: a row goes after the shard's children were begun, and one
/// of these is not. All of the shard is read again, because no worker knows how far it was.
fn missing_parents(context: &Context, shards: &[Shard]) -> Vec<Lease> {
    let Context { table, settings, .. } = context;
    let first_record = match settings.initial_position {
        InitialPosition::Latest => Checkpoint::TrimHorizon,
        initial => initial.checkpoint(),
    };
    let is_unbegun = |shard: &&Shard| table.get(&shard.id).is_some_and(|row| row.checkpoint == Checkpoint::TrimHorizon);
    let parents: BTreeSet<&ShardId> = shards.iter().filter(is_unbegun).flat_map(|shard| &shard.parents).collect();
    let is_missing =
        |shard: &&Shard| parents.contains(&shard.id) && !table.has_row(&shard.id) && !table.is_missed(&shard.id);
    shards.iter().filter(is_missing).map(|shard| new_lease(shard, first_record.clone())).collect()
}

/// Whether all children of a shard were begun: those whose rows are gone too, when their own children were.
fn is_finished(table: &Table, shards: &[Shard], key: &ShardId) -> bool {
    let mut children = shards.iter().filter(|shard| shard.parents.contains(key)).peekable();
    let has_begun = |child: &Shard| match table.get(&child.id) {
        Some(row) => row.checkpoint > Checkpoint::TrimHorizon,
        None => !table.has_row(&child.id) && is_finished(table, shards, &child.id),
    };
    children.peek().is_some() && children.all(has_begun)
}

/// Rows that vanished so long ago that their owners are gone too, as they were seen last. What its children show to
/// be finished stays gone, and so does what the stream has forgotten.
fn refillable(context: &mut Context, now: Millis, holdings: &Holdings, shards: &[Shard]) -> Vec<Lease> {
    let Context { table, settings, random, .. } = context;
    let wait = wait(settings.failover);
    let due = table.vanished().filter(|(_, since)| now.saturating_sub(*since) >= wait);
    let due: Vec<Lease> = due.map(|(lease, _)| lease.clone()).collect();
    let is_needed = |lease: &Lease| {
        let is_listed = shards.iter().any(|shard| shard.id == lease.key);
        is_listed && !holdings.contains(&lease.key) && !is_finished(table, shards, &lease.key)
    };
    let (needed, done): (Vec<Lease>, Vec<Lease>) = due.into_iter().partition(is_needed);
    // The others are remembered until their rows are there: a creation may fail.
    done.iter().for_each(|lease| table.forget_vanished(&lease.key));
    let free = |lease: Lease| {
        // A row that no worker ever took, or ever saw, begins as any other.
        let counter = if lease.counter == 0 { 0 } else { next_counter(lease.counter, random) };
        Lease { owner: None, counter, owner_switches: 0, checkpoint_owner: None, ..lease }
    };
    needed.into_iter().map(free).collect()
}
