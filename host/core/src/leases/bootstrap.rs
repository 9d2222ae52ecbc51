//! The rows that the table lacks: at the start, when an empty table is filled, and whenever a listing shows that some are
//! missing (the Kinesis Client Library's shard sync). Says what to list for it, and creates the rows.

mod holes;
mod pending_creates;

use std::collections::{BTreeMap, BTreeSet};

use super::audit::first_hole;
use super::context::{Context, Phase};
use super::holdings::Holdings;
use super::limits::{BACKOFF, START_ATTEMPTS_MAX, VIEW_AGE_MAX};
use super::message::Action;
use super::notice::Notice;
use super::row::{Lease, Outcome, Write};
use super::scan::Listing;
use super::sync;
use crate::kinesis::shard::{Shard, ShardFilter, ShardId};
use crate::position::Checkpoint;
use crate::service::{ErrorKind, ServiceError};
use crate::time::Millis;
use pending_creates::{PendingCreates, Progress};

/// When a starting worker scans the table for what is left after others began to fill it too.
const SCAN_AGAIN: Millis = 500;

/// What came of a listing that may show missing rows.
pub(super) enum Synced {
    /// Some rows are being created.
    Creating,
    Complete,
    /// It cannot be used; another one may be.
    Unusable(ServiceError),
    /// None of many in a row could be used: a person must look.
    Hopeless(ServiceError),
}

#[derive(Default)]
pub(super) struct Bootstrap {
    creates: PendingCreates,
    /// Those of them that are in the place of rows that were deleted.
    refilling: BTreeSet<ShardId>,
    /// Listings that could not be true.
    implausible_listings: u32,
    /// When the last event came.
    seen_at: Option<Millis>,
}

impl Bootstrap {
    /// Whether no row is being created.
    pub(super) fn is_idle(&self) -> bool {
        self.creates.is_empty()
    }

    /// When a creation that failed is tried again.
    pub(super) fn wake_at(&self) -> Millis {
        self.creates.wake_at().unwrap_or(Millis::MAX)
    }

    /// After a pause, what was seen before is no ground to create rows on.
    pub(super) fn drop_outdated(&mut self, context: &mut Context, now: Millis) {
        let pause = self.seen_at.replace(now).map_or(0, |seen_at| now.saturating_sub(seen_at));
        if pause > VIEW_AGE_MAX && !self.creates.is_empty() {
            self.creates = PendingCreates::default();
            context.scan_by(now);
        }
    }

    /// What to list after a scan, so that missing rows show. An empty table is filled by the shards of the initial
    /// position; otherwise all shards tell what is missing. One whose rows cannot be read is not empty: to fill it would
    /// repeat, or skip, what they say is done.
    pub(super) fn to_list(context: &mut Context, now: Millis, is_legible: bool) -> Option<(Listing, ShardFilter)> {
        let has_unreadable = !context.table.unreadable().is_empty();
        if has_unreadable && !is_legible {
            context.fail_by_table(unreadable(context.table.unreadable()));
            context.no_scan_before(now + BACKOFF.longest);
            None
        } else if context.table.is_empty() && !has_unreadable {
            Some((Listing::Bootstrap, sync::bootstrap_filter(context.settings.initial_position)))
        } else {
            Some((Listing::Complete, ShardFilter::All))
        }
    }

    /// Begins to create the rows that `shards` shows to be missing. `seen_since` says since when that is known.
    pub(super) fn create_missing(
        &mut self,
        context: &mut Context,
        now: Millis,
        holdings: &Holdings,
        (why, shards): (Listing, &[Shard]),
        seen_since: Millis,
    ) -> Synced {
        if now.saturating_sub(context.table.asked_at()) > VIEW_AGE_MAX {
            return Synced::Unusable(outdated());
        }
        let initial = context.settings.initial_position;
        let unexpected = sync::unexpected_children(shards);
        if let (Some(child), false) = (unexpected.first(), context.settings.ignore_unexpected_children) {
            return self.implausible(context, inconsistent(child));
        }
        let mut missing = match why {
            Listing::Bootstrap => match first_hole(shards.iter().map(|shard| &shard.hash_range).collect()) {
                Some(hole) => return self.implausible(context, incomplete(shards, hole.start, hole.end)),
                None => sync::first_leases(shards, &unexpected, initial),
            },
            Listing::Complete | Listing::Running => {
                let (known, unreadable) = (known_leases(context, holdings), context.table.unreadable());
                let missing = sync::missing_leases(shards, &known, unreadable, &unexpected, initial);
                let (fillable, refilling) = holes::fillable(context, now, holdings, seen_since, missing, shards);
                self.refilling = refilling;
                fillable
            }
        };
        for lease in &mut missing {
            lease.latest_since = lease.latest_since.or(Some(now)).filter(|_| lease.checkpoint == Checkpoint::Latest);
        }
        self.creates = PendingCreates::new(missing, &mut context.random);
        if self.creates.is_empty() { Synced::Complete } else { Synced::Creating }
    }

    /// The stream was listed, and the listing cannot be true. Another one may be.
    fn implausible(&mut self, context: &Context, error: ServiceError) -> Synced {
        self.implausible_listings += 1;
        match context.phase == Phase::Starting && self.implausible_listings >= START_ATTEMPTS_MAX {
            true => Synced::Hopeless(error),
            false => Synced::Unusable(error),
        }
    }

    /// The creations that are due now.
    pub(super) fn send_writes(&mut self, context: &mut Context, now: Millis) {
        for lease in self.creates.next(now) {
            // A row that was there before counts on.
            let write = if lease.counter == 0 { Write::Create(lease) } else { Write::Restore(lease) };
            context.send(Action::Write(write));
        }
    }

    /// A row exists now, by this worker's hand or another's. Whether this worker created it, at LATEST.
    pub(super) fn row_exists(&mut self, context: &mut Context, now: Millis, lease: &Lease, outcome: &Outcome) -> bool {
        let is_refilled = self.refilling.remove(&lease.key);
        if *outcome != Outcome::Done {
            return false;
        }
        if is_refilled {
            context.notice(Notice::RowRefilled { key: lease.key.clone(), checkpoint: lease.checkpoint.clone() });
        }
        context.table.learn(now, lease.clone());
        !is_refilled && lease.latest_since.is_some()
    }

    /// Notes that a row exists. Whether with it everything is there that was missing, as far as this worker goes on.
    pub(super) fn is_complete_with(
        &mut self,
        context: &mut Context,
        now: Millis,
        key: &ShardId,
        is_mine: bool,
    ) -> bool {
        match self.creates.exists(key, is_mine) {
            Progress::Going => false,
            Progress::Abandoned if context.phase == Phase::Starting => {
                context.scan_by(now + SCAN_AGAIN);
                false
            }
            Progress::Complete | Progress::Abandoned => true,
        }
    }

    /// The creation of a row failed and may succeed later.
    pub(super) fn creation_failed(&mut self, context: &mut Context, now: Millis, lease: Lease) {
        match context.is_running() {
            // The next scan of the table finds the hole again.
            true => self.creates.give_up(&lease.key),
            false => self.creates.failed(now, lease, &mut context.random),
        }
    }
}

/// Those that the table shows, that this worker holds all the same, and that vanished a moment ago.
fn known_leases(context: &Context, holdings: &Holdings) -> Vec<Lease> {
    let mut known = context.table.leases();
    known.extend(context.table.vanished().map(|(lease, _)| lease.clone()));
    known.extend(holdings.leases().filter(|lease| !context.table.has_row(&lease.key)).cloned());
    known
}

/// What a person must know who gave this worker a table that it can do nothing with.
fn unreadable(rows: &BTreeMap<ShardId, String>) -> String {
    let example = rows.first_key_value().map(|(key, reason)| format!("`{key}`: {reason}")).unwrap_or_default();
    let count = rows.len();
    format!(
        "none of the {count} leases in the table can be read, so nothing is known of what was processed, and nothing is \
         read ({example}); set TableName to this stream's lease table, or delete these rows to begin at the initial \
         position"
    )
}

fn outdated() -> ServiceError {
    let message = format!("the lease table and the stream were not read within {VIEW_AGE_MAX} ms");
    ServiceError { kind: ErrorKind::Unavailable, operation: "ListShards", message }
}

fn inconsistent(child: &str) -> ServiceError {
    let message = format!("the stream lists {child}, but calls a parent of it open: the listing is of two moments");
    ServiceError { kind: ErrorKind::Unavailable, operation: "ListShards", message }
}

fn incomplete(shards: &[Shard], from: u128, to: u128) -> ServiceError {
    let message = format!("the {} shards listed leave hash keys {from}..={to} uncovered", shards.len());
    ServiceError { kind: ErrorKind::Unavailable, operation: "ListShards", message }
}
