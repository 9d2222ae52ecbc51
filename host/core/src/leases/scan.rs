//! Reads on their way: scans of the table and listings of the stream's shards, their answers and their failures.

use super::context::{Context, Phase};
use super::limits::{BACKOFF, START_ATTEMPTS_MAX};
use super::message::Action;
use super::notice::Notice;
use super::row::Scan;
use crate::kinesis::shard::{Shard, ShardFilter, ShardId};
use crate::service::{ErrorKind, ServiceError};
use crate::time::Millis;

/// Why shards are being listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// The table is empty.
    Bootstrap,
    /// It may lack some rows at start-up.
    Complete,
    /// A shard ended, or the upkeep of the table needs it.
    Running,
}

/// A scan on its way.
#[derive(Clone, Copy)]
struct PendingScan {
    asked_at: Millis,
    is_consistent: bool,
}

#[derive(Default)]
pub(super) struct Reads {
    scan: Option<PendingScan>,
    listing: Option<Listing>,
    /// The next scan is to be strongly consistent.
    needs_certainty: bool,
    /// The last scan showed rows that can be read, whether they can be used or not.
    is_legible: bool,
    /// Scans and listings in a row that failed.
    failures: u32,
}

impl Reads {
    /// Whether none is on its way.
    pub(super) fn are_idle(&self) -> bool {
        self.scan.is_none() && self.listing.is_none()
    }

    pub(super) fn is_listing(&self) -> bool {
        self.listing.is_some()
    }

    /// See [`Reads::is_legible`].
    pub(super) fn is_legible(&self) -> bool {
        self.is_legible
    }

    /// What was read led to something.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Whether a lease cannot start before a strongly consistent scan.
    pub(super) fn set_certainty(&mut self, context: &mut Context, now: Millis, is_needed: bool) {
        self.needs_certainty = is_needed;
        // The answer to a scan on its way leads here again.
        if is_needed && self.scan.is_none() {
            context.scan_by(now);
        }
    }

    /// Reads the table. What a start creates is decided on the table as it is: rows that a scan misses would look like
    /// a hole, and lead to rows of ancestors that nobody needs any more.
    pub(super) fn scan(&mut self, context: &mut Context, now: Millis) {
        let is_filling = context.table.fill_at(&context.settings).is_some_and(|when| when <= now);
        let is_starting = context.phase == Phase::Starting;
        let is_consistent = std::mem::take(&mut self.needs_certainty) || is_starting || is_filling;
        self.scan = Some(PendingScan { asked_at: now, is_consistent });
        context.no_scan_before(Millis::MAX);
        context.table.scan_begins();
        context.send(if is_consistent { Action::ScanConsistently } else { Action::Scan });
    }

    pub(super) fn list(&mut self, context: &mut Context, why: Listing, filter: ShardFilter) {
        self.listing = Some(why);
        context.send(Action::List(filter));
    }

    /// The answer to a scan, taken into the table. When the scan was asked for; `None` when it failed.
    pub(super) fn scanned(
        &mut self,
        context: &mut Context,
        now: Millis,
        result: Result<Scan, ServiceError>,
    ) -> Option<Millis> {
        let PendingScan { asked_at, is_consistent } = self.scan.take()?;
        match result {
            Ok(scan) => {
                self.is_legible = !scan.leases.is_empty();
                take_in(context, now, asked_at, scan);
                if is_consistent {
                    context.table.scan_was_consistent();
                }
                Some(asked_at)
            }
            Err(error) => {
                let reason = context.of_table(&error);
                self.failed(context, now, error.kind, reason);
                None
            }
        }
    }

    /// The answer to a listing: what it was for and the shards, or that it failed.
    pub(super) fn listed(
        &mut self,
        context: &mut Context,
        now: Millis,
        result: Result<Vec<Shard>, ServiceError>,
    ) -> (Option<Listing>, Option<Vec<Shard>>) {
        let why = self.listing.take();
        let shards = result.map_err(|error| self.failed(context, now, error.kind, error.to_string()));
        (why, shards.ok())
    }

    /// A scan or a listing failed, or what it showed is of no use: try again later, however long it takes, but stop when
    /// a person must act. A service that no name server knows when the worker starts is such a case: a wrong region, most
    /// likely.
    pub(super) fn failed(&mut self, context: &mut Context, now: Millis, kind: ErrorKind, reason: String) {
        self.failures += 1;
        let pause = BACKOFF.pause(self.failures, &mut context.random);
        context.scan_by(now + pause);
        let is_mistaken = kind == ErrorKind::UnknownHost && self.failures >= START_ATTEMPTS_MAX;
        if (context.phase == Phase::Starting && is_mistaken) || !kind.is_transient() {
            context.no_scan_before(now + BACKOFF.longest);
            context.fail(reason);
        }
    }

    /// What was listed is of no use once more, and a person must look.
    pub(super) fn failed_for_good(&mut self, context: &mut Context, now: Millis, kind: ErrorKind, reason: String) {
        self.failed(context, now, kind, reason.clone());
        context.no_scan_before(now + BACKOFF.longest);
        context.fail(reason);
    }
}

/// What cannot be used is told from what can, and named once.
fn take_in(context: &mut Context, now: Millis, asked_at: Millis, mut scan: Scan) {
    let flawed = scan.leases.extract_if(.., |lease| lease.flaw().is_some());
    let flawed: Vec<(ShardId, String)> =
        flawed.map(|lease| (lease.key.clone(), lease.flaw().unwrap_or_default())).collect();
    for (key, reason) in &flawed {
        if !context.table.unreadable().contains_key(key) {
            context.notice(Notice::RowIgnored { key: key.clone(), reason: reason.clone() });
        }
    }
    context.table.replace(now, asked_at, scan.leases);
    context.table.replace_unreadable(scan.undecodable.into_iter().chain(flawed).collect());
}
