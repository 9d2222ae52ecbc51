//! Looking at the table: when, and what comes of it.

use std::collections::BTreeSet;

use super::{BACKOFF, Phase, START_ATTEMPTS_MAX, Worker};
use crate::kinesis::shard::ShardId;
use crate::leases::held::Held;
use crate::leases::message::Action;
use crate::leases::notice::Notice;
use crate::leases::row::{Lease, Scan};
use crate::leases::waiting::waits_for_others;
use crate::service::{ErrorKind, ServiceError};
use crate::time::Millis;

/// How often workers beside others look: what one that stops gives back is in other hands within a second, and what a dead
/// one had within the failover time and two seconds. They do it in turns, by their names and the clock, so that somebody
/// has seen it sooner. A clock that is wrong makes the turns less even, nothing else.
const LOOK: Millis = 800;
/// The first of so many parts of the time from one look to the next is too early for the next one.
const LOOK_SLACK: Millis = 8;
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

    /// Reads the table. What a start creates is decided on the table as it is: rows that a scan misses would look like
    /// a hole, and lead to rows of ancestors that nobody needs any more.
    pub(super) fn look(&mut self, now: Millis) {
        let is_filling = self.fill_at().is_some_and(|when| when <= now);
        let is_consistent = std::mem::take(&mut self.needs_certainty) || self.phase == Phase::Starting || is_filling;
        self.scanning = Some(Look { asked_at: now, is_consistent });
        self.scan_at = Millis::MAX;
        self.table.scan_begins();
        self.actions.push(if is_consistent { Action::ScanConsistently } else { Action::Scan });
    }

    pub(super) fn scanned(&mut self, now: Millis, result: Result<Scan, ServiceError>) {
        let Some(Look { asked_at, is_consistent }) = self.scanning.take() else { return };
        let scan = match result {
            Ok(scan) => scan,
            Err(error) => {
                let reason = self.of_table(&error);
                return self.call_failed(now, error.kind, reason);
            }
        };
        self.viewed_at = asked_at;
        self.looked_at = now;
        self.take_in(now, asked_at, scan);
        if is_consistent {
            self.table.scan_was_consistent();
        }
        self.scan_by(self.next_look(now, asked_at));
        match self.phase {
            Phase::Starting => self.list_at_start(now),
            Phase::Running => {
                self.take_or_steal(now);
                self.start_ready(now);
                self.look_after_table(now);
                self.want_check(now);
                self.list_if_needed(Held::needs_another_listing);
                self.look_for_own_rows();
                if self.listing.is_none() {
                    self.failures = 0;
                }
            }
            Phase::Stopping | Phase::Stopped => {}
        }
    }

    /// What cannot be used is told from what can, and named once.
    fn take_in(&mut self, now: Millis, asked_at: Millis, mut scan: Scan) {
        self.is_legible = !scan.leases.is_empty();
        let flawed = scan.leases.extract_if(.., |lease| lease.flaw().is_some());
        let flawed: Vec<(ShardId, String)> =
            flawed.map(|lease| (lease.key.clone(), lease.flaw().unwrap_or_default())).collect();
        for (key, reason) in flawed.iter().filter(|(key, _)| !self.table.unreadable().contains_key(key)) {
            self.actions.push(Action::Notice(Notice::RowIgnored { key: key.clone(), reason: reason.clone() }));
        }
        self.table.replace(now, asked_at, scan.leases);
        self.table.replace_unreadable(scan.undecodable.into_iter().chain(flawed).collect());
        let foreign = self.table.usable_keys().filter(|key| self.names.is_foreign(key));
        let foreign: Vec<ShardId> = foreign.filter(|key| !self.held.contains_key(*key)).cloned().collect();
        foreign.into_iter().for_each(|key| self.ignore(key, "no shard of the stream has such a name".to_owned()));
    }

    /// A row of this worker that a look did not show is looked for by a renewal, which puts it back if it is gone.
    fn look_for_own_rows(&mut self) {
        let missing = self.held.iter_mut().filter(|(key, _)| !self.table.has_row(key));
        missing.for_each(|(_, held)| held.renewal_due());
    }

    /// A scan or a listing failed: try again later, however long it takes, but stop when a person must act. A service
    /// that no name server knows when the worker starts is such a case: a wrong region, most likely.
    pub(super) fn call_failed(&mut self, now: Millis, kind: ErrorKind, reason: String) {
        self.failures += 1;
        let pause = BACKOFF.pause(self.failures, &mut self.random);
        self.scan_by(now + pause);
        let is_mistaken = kind == ErrorKind::UnknownHost && self.failures >= START_ATTEMPTS_MAX;
        if (self.phase == Phase::Starting && is_mistaken) || !kind.is_transient() {
            self.scan_at = now + BACKOFF.longest;
            self.fail(reason);
        }
    }

    /// When to look at the table after a look that was asked for at `asked_at`. Often, while somebody else holds what
    /// this worker could take over; see [`LOOK`].
    fn next_look(&self, now: Millis, asked_at: Millis) -> Millis {
        let me = self.settings.worker.as_str();
        let others: BTreeSet<&str> = self.table.of_others(now, &self.settings).map(|(owner, _)| owner).collect();
        if others.is_empty() || self.is_at_limit() {
            return self.next_need(now).min(now + self.take_interval());
        }
        let count = |workers: usize| Millis::try_from(workers).unwrap_or(Millis::MAX);
        let (workers, turn) = (count(others.len() + 1), count(others.range(..me).count()));
        let affordable = self.settings.failover.saturating_mul(workers) / LOOK_SHARE;
        let rest = now.saturating_sub(asked_at).saturating_mul(LOOK_REST);
        let interval = LOOK.max(affordable).max(rest).min(self.take_interval());
        let in_turn = next_in_phase(now + interval / LOOK_SLACK, interval, interval.saturating_mul(turn) / workers);
        let in_turn = in_turn.min(self.next_need(now));
        self.table.next_expiry(now, &self.settings).map_or(in_turn, |expiry| in_turn.min(expiry))
    }

    /// When something falls due that only a look at the table brings.
    fn next_need(&self, now: Millis) -> Millis {
        let is_held = |key: &ShardId| self.held.contains_key(key);
        let waits = !self.is_at_limit() && waits_for_others(&self.table, now, &self.settings, is_held);
        let poll = waits.then(|| now.saturating_add(self.settings.parent_poll));
        // What is due already is on its way.
        let due = [self.fill_at(), self.contradictions.confirm_at()].into_iter().flatten().filter(|when| *when > now);
        let needs = [poll, self.next_unread(now)].into_iter().flatten();
        needs.chain(due).min().unwrap_or(Millis::MAX)
    }

    /// A refused write may be the first sign of another worker, or the only one of a worker that came and went.
    pub(super) fn look_after_refusal(&mut self, now: Millis, row: &Lease) {
        let next = if row.owner.is_none() { now + LOOK } else { self.next_look(now, now) };
        self.scan_by(next);
    }
}

/// The first moment from `earliest` on that is `phase` after a multiple of `interval`.
fn next_in_phase(earliest: Millis, interval: Millis, phase: Millis) -> Millis {
    earliest + (phase + interval - earliest % interval) % interval
}

#[cfg(test)]
mod tests {
    use super::next_in_phase;

    #[test]
    fn a_phase_comes_once_in_an_interval() {
        let next = |earliest| next_in_phase(earliest, 900, 450);
        assert_eq!([0, 450, 451, 1_349, 1_350].map(next), [450, 450, 1_350, 1_350, 1_350]);
        assert_eq!(next_in_phase(900, 900, 0), 900);
    }
}
