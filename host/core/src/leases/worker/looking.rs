//! Looking at the table: when, and what comes of it.

use std::collections::BTreeSet;

use super::{BACKOFF, Phase, START_ATTEMPTS_MAX, Worker};
use crate::leases::held::Held;
use crate::leases::message::{Action, Millis};
use crate::leases::row::{Lease, Scan};
use crate::service::ServiceError;

/// The shortest time from one look at the table to the next while others hold leases: what they give back is taken
/// within a second, and a dead worker's last renewal is seen so soon after it that its leases are taken within the
/// failover time and two seconds.
const LOOK_MIN: Millis = 800;
/// A fleet's looks read no more capacity units than its renewals write. A renewal is one unit, every third of the
/// failover time; a look reads a row of 400 bytes for a twentieth of one; so `n` workers may look every
/// `n / 20 * failover / 3`.
const LOOK_SHARE: Millis = 60;
/// A large table takes long to read: no more than one part of so many of the time goes into it.
const LOOK_REST: Millis = 10;
/// A scan on its way.
#[derive(Clone, Copy)]
pub(super) struct Look {
    asked_at: Millis,
    is_consistent: bool,
}

impl Worker {
    pub(super) fn may_scan(&self) -> bool {
        self.scanning.is_none() && self.listing.is_none() && self.creations.is_empty()
    }

    pub(super) fn scan_by(&mut self, when: Millis) {
        self.scan_at = self.scan_at.min(when);
    }

    pub(super) fn look(&mut self, now: Millis) {
        let is_consistent = std::mem::take(&mut self.needs_certainty);
        self.scanning = Some(Look { asked_at: now, is_consistent });
        self.scan_at = Millis::MAX;
        self.actions.push(if is_consistent { Action::ScanConsistently } else { Action::Scan });
    }

    pub(super) fn scanned(&mut self, now: Millis, result: Result<Scan, ServiceError>) {
        let Some(Look { asked_at, is_consistent }) = self.scanning.take() else { return };
        let scan = match result {
            Ok(scan) => scan,
            Err(error) => return self.call_failed(now, &error),
        };
        self.viewed_at = asked_at;
        self.looked_at = now;
        self.table.replace(now, asked_at, scan.leases);
        self.table.replace_unreadable(scan.undecodable);
        if is_consistent {
            self.table.is_certain_since(asked_at);
        }
        self.scan_by(now + self.look_interval(now, asked_at));
        match self.phase {
            Phase::Starting => self.list_at_start(now),
            Phase::Running => {
                self.take_or_steal(now);
                self.start_ready(now);
                self.look_after_table(now);
                self.list_if_needed(Held::needs_another_listing);
                if self.listing.is_none() {
                    self.failures = 0;
                }
            }
            Phase::Stopping | Phase::Stopped => {}
        }
    }

    /// A scan or a listing failed: try again later, give up when a person must act or start-up does not get anywhere.
    pub(super) fn call_failed(&mut self, now: Millis, error: &ServiceError) {
        self.failures += 1;
        let pause = BACKOFF.pause(self.failures, &mut self.random);
        self.scan_by(now + pause);
        let give_up = self.phase == Phase::Starting && self.failures >= START_ATTEMPTS_MAX;
        if give_up || !error.kind.is_transient() {
            self.scan_at = now + BACKOFF.longest;
            self.fail(error.to_string());
        }
    }

    /// How long from one look at the table, which was asked for at `asked_at`, to the next. Often, while somebody else
    /// holds what this worker could take over; see [`LOOK_MIN`].
    pub(super) fn look_interval(&self, now: Millis, asked_at: Millis) -> Millis {
        let others: BTreeSet<&str> = self.table.of_others(now, &self.settings).map(|(owner, _)| owner).collect();
        if others.is_empty() || self.held.len() >= self.settings.max_leases {
            return self.take_interval();
        }
        let workers = Millis::try_from(others.len() + 1).unwrap_or(Millis::MAX);
        let affordable = self.settings.failover.saturating_mul(workers) / LOOK_SHARE;
        let rest = now.saturating_sub(asked_at).saturating_mul(LOOK_REST);
        affordable.max(rest).max(LOOK_MIN).min(self.take_interval())
    }

    /// A refused write may be the first sign of another worker, or the only one of a worker that came and went.
    pub(super) fn look_after_refusal(&mut self, now: Millis, row: &Lease) {
        let interval = if row.owner.is_none() { LOOK_MIN } else { self.look_interval(now, now) };
        self.scan_by(now + interval);
    }
}
