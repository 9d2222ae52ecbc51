//! The lease machine of one worker and one stream: it bootstraps the table, takes, renews, checkpoints and releases
//! leases, and gates children behind their parents. Pure: `on(now, event)` returns what the shell must do next; the
//! shell answers each action with an event. Times are milliseconds since 1970-01-01 UTC on a clock that does not jump;
//! the only one that leaves a worker is that of a LATEST, with a margin, so clocks need not agree.
//!
//! | phase | leaves when |
//! |---|---|
//! | `Starting` | the table has been read (and filled, when it was empty or incomplete) |
//! | `Running` | `Event::Stop`, or a failure that no retry can mend |
//! | `Stopping` | every held lease is released (or was lost) |
//! | `Stopped` | never |

mod holes;
mod listing;
mod looking;
mod settled;
mod startup;
mod taking;
mod unread;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};

use super::contradiction::Contradictions;
use super::creations::Creations;
use super::held::{Held, Op, Wish};
use super::message::{Action, Epoch, Event, Loss, Settings};
use super::names::Names;
use super::notice::Notice;
use super::row::{Lease, Outcome, Write};
use super::table::{Table, Wait};
use super::upkeep::Upkeep;
use crate::backoff::Backoff;
use crate::kinesis::shard::{ChildShard, ShardId};
use crate::position::Checkpoint;
use crate::random::Random;
use crate::service::ServiceError;
use crate::time::Millis;
use holes::Holes;
use looking::Look;
use taking::{Pace, Taking};

/// How often a start-up step that nobody but a person may mend is tried before the job fails (the Kinesis Client Library's
/// `maxInitializationAttempts`). A service that does not answer is waited for.
pub const START_ATTEMPTS_MAX: u32 = 20;
/// Renewals start this long before a third of the failover time has passed (the Kinesis Client Library's epsilon).
const EPSILON: Millis = 25;
/// How old a look at the table may be to create rows on: what lacked then may have lived and been cleaned up since.
const VIEW_AGE_MAX: Millis = 10_000;
/// Waits between scans, listings, takes and creations that failed.
pub(super) const BACKOFF: Backoff = Backoff { first: 200, longest: 5_000 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping,
    Stopped,
}

/// Why shards are being listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// The table is empty.
    Bootstrap,
    /// It may lack some rows at start-up.
    Complete,
    /// A shard ended, or the upkeep of the table needs it.
    Running,
}

/// The machine; see the module documentation.
pub struct Worker {
    settings: Settings,
    phase: Phase,
    table: Table,
    held: BTreeMap<ShardId, Held>,
    creations: Creations,
    upkeep: Upkeep,
    holes: Holes,
    contradictions: Contradictions,
    /// A listing is needed to confirm a contradiction, or to fill a hole.
    is_check_wanted: bool,
    names: Names,
    taking: BTreeMap<ShardId, Taking>,
    pace: Pace,
    /// Takes in a row that the table did not answer.
    takes_failed: u32,
    /// Rows that this worker created at LATEST and did not read yet.
    created_at_latest: BTreeSet<ShardId>,
    /// The scan on its way.
    scanning: Option<Look>,
    /// The last scan showed rows that can be read, whether they can be used or not.
    is_legible: bool,
    /// The next scan is to be strongly consistent.
    needs_certainty: bool,
    listing: Option<Listing>,
    /// When the last scan that was answered was asked for.
    viewed_at: Millis,
    /// When it was answered. Between looks the age of others' leases says nothing: they were not looked at.
    looked_at: Millis,
    /// When the last event came.
    seen_at: Millis,
    /// Scans and listings in a row that failed.
    failures: u32,
    /// Listings that could not be true.
    implausible_listings: u32,
    epochs: Epoch,
    scan_at: Millis,
    /// No lease is stolen before.
    steal_at: Millis,
    /// It was reported that another process uses this worker's name.
    is_duplicate_reported: bool,
    renew_at: Millis,
    random: Random,
    actions: Vec<Action>,
}

impl Worker {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            upkeep: Upkeep::new(0, &settings),
            random: Random::new(settings.seed),
            settings,
            phase: Phase::Starting,
            table: Table::default(),
            held: BTreeMap::new(),
            creations: Creations::default(),
            holes: Holes::default(),
            contradictions: Contradictions::default(),
            is_check_wanted: false,
            names: Names::default(),
            taking: BTreeMap::new(),
            pace: Pace::new(),
            takes_failed: 0,
            created_at_latest: BTreeSet::new(),
            scanning: None,
            is_legible: false,
            needs_certainty: false,
            listing: None,
            viewed_at: 0,
            looked_at: 0,
            seen_at: Millis::MAX,
            failures: 0,
            implausible_listings: 0,
            epochs: 0,
            scan_at: 0,
            steal_at: 0,
            is_duplicate_reported: false,
            renew_at: 0,
            actions: Vec::new(),
        }
    }

    /// Takes in one event and returns what to do now, in order.
    pub fn on(&mut self, now: Millis, event: Event) -> Vec<Action> {
        // First of all: whatever came in while this process was paused finds expired leases gone.
        self.drop_expired(now);
        self.drop_outdated(now);
        match event {
            Event::Tick => {}
            Event::Scanned(result) => self.scanned(now, result),
            Event::Listed(result) => self.listed(now, result),
            Event::Written { write, result } => self.written(now, write, result),
            Event::Checkpoint { key, epoch, checkpoint } => self.checkpoint(key, epoch, checkpoint),
            Event::ShardEnded { key, epoch, children } => self.shard_ended(&key, epoch, children),
            Event::Stop => self.stop(),
        }
        self.advance(now);
        std::mem::take(&mut self.actions)
    }

    /// When the next [`Event::Tick`] is due at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Millis {
        let held = self.held.values().map(|held| held.wake_at(self.settings.failover)).min().unwrap_or(Millis::MAX);
        match self.phase {
            Phase::Stopped => Millis::MAX,
            Phase::Stopping => held,
            Phase::Starting | Phase::Running if self.may_scan() => held.min(self.renew_at).min(self.scan_at),
            Phase::Starting | Phase::Running => {
                held.min(self.renew_at).min(self.creations.wake_at().unwrap_or(Millis::MAX))
            }
        }
    }

    /// The shards held now.
    #[cfg(test)]
    pub(super) fn held(&self) -> impl Iterator<Item = &ShardId> {
        self.held.keys()
    }

    fn renew_interval(&self) -> Millis {
        (self.settings.failover / 3).saturating_sub(EPSILON).max(1)
    }

    /// Everything that is due without an event asking for it.
    fn advance(&mut self, now: Millis) {
        let stopping = match self.phase {
            Phase::Stopped => return,
            Phase::Stopping => true,
            Phase::Starting | Phase::Running => {
                self.advance_calls(now);
                false
            }
        };
        for held in self.held.values_mut() {
            if let Some(write) = held.next_write(now, stopping, &self.settings.worker) {
                self.actions.push(Action::Write(write));
            }
        }
        if stopping && self.held.is_empty() && self.taking.is_empty() {
            self.phase = Phase::Stopped;
            self.actions.push(Action::Stopped);
        }
    }

    /// Scans, creations and renewals; a stopping worker needs none of them.
    fn advance_calls(&mut self, now: Millis) {
        if now >= self.scan_at && self.may_scan() {
            self.look(now);
        }
        let creations = self.creations.next(now).into_iter();
        // A row that was there before counts on.
        let write = |lease: Lease| if lease.counter == 0 { Write::Create(lease) } else { Write::Restore(lease) };
        self.actions.extend(creations.map(|lease| Action::Write(write(lease))));
        if now >= self.renew_at {
            self.renew_at = now + self.renew_interval();
            self.held.values_mut().for_each(Held::renewal_due);
        }
    }

    fn fail(&mut self, reason: String) {
        if matches!(self.phase, Phase::Starting | Phase::Running) {
            self.actions.push(Action::Fail(reason));
        }
    }

    /// Likewise, because of the lease table.
    fn fail_by_table(&mut self, reason: impl std::fmt::Display) {
        self.fail(self.of_table(reason));
    }

    /// A reason, with the table's name. The adapter names it in the errors of its calls.
    fn of_table(&self, reason: impl std::fmt::Display) -> String {
        let (table, reason) = (format!("lease table `{}`", self.settings.table), reason.to_string());
        if reason.contains(&table) { reason } else { format!("{table}: {reason}") }
    }

    fn notice(&mut self, notice: Notice) {
        self.actions.push(Action::Notice(notice));
    }

    fn written(&mut self, now: Millis, write: Write, result: Result<Outcome, ServiceError>) {
        // A row that cannot be used is as one that cannot be read.
        let result = result.map(|outcome| match outcome {
            Outcome::ConditionFailed(Some(row)) if row.flaw().is_some() => Outcome::ConditionFailed(None),
            outcome => outcome,
        });
        if let Ok(Outcome::ConditionFailed(Some(row))) = &result {
            self.table.learn(now, row.clone());
            self.look_after_refusal(now, row);
        }
        match write {
            Write::Create(lease) => self.created(now, lease, result),
            Write::Restore(lease) if lease.owner.is_none() => self.created(now, lease, result),
            Write::Take { seen, .. } if !self.held.contains_key(&seen.key) => self.taken(now, seen, result),
            Write::HashRange { .. } => {}
            Write::Delete { key, .. } => self.deleted(&key, result),
            write => self.settle(now, write, result),
        }
    }

    /// An answer to a write to a row that this worker holds, or held.
    fn settle(&mut self, now: Millis, write: Write, result: Result<Outcome, ServiceError>) {
        let key = write.key().clone();
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        let (epoch, op) = (held.epoch, held.settle(now, write, result, &self.settings.worker, &mut self.random));
        let is_duplicate = held.is_shared() || matches!(&op, Op::Lost(Some(by)) if *by == self.settings.worker);
        if is_duplicate && !std::mem::replace(&mut self.is_duplicate_reported, true) {
            let worker = self.settings.worker.clone();
            self.actions.push(Action::Notice(Notice::DuplicateWorker { key: key.clone(), worker }));
        }
        if !matches!(op, Op::Lost(_)) {
            self.table.learn(now, held.lease.clone());
        }
        match op {
            Op::Kept => {}
            Op::Checkpointed(checkpoint) => {
                self.actions.push(Action::Checkpointed { key, epoch, checkpoint, written: true });
            }
            Op::Sealed => {
                self.actions.push(Action::ShardSealed { key, epoch });
                // The children are known by this worker's own writes; the scan finds those of other parents.
                self.take(now);
                self.start_ready(now);
                self.scan_by(now);
            }
            Op::Restored => {
                let checkpoint = held.committed();
                self.notice(Notice::RowRestored { key, checkpoint });
            }
            Op::Released => drop(self.released(&key)),
            Op::Lost(by) => {
                if by.is_none() {
                    // Somebody took it and gave it back already.
                    self.scan_by(now);
                }
                self.lose(&key, Loss::Taken { by });
            }
            Op::Broken(reason) => {
                self.fail_by_table(format_args!("lease {key}: {reason}"));
                self.lose(&key, Loss::Refused);
            }
        }
    }

    /// Starts the held shards whose parents are done.
    fn start_ready(&mut self, now: Millis) {
        if self.phase != Phase::Running {
            return;
        }
        self.needs_certainty = false;
        for held in self.held.values_mut().filter(|held| held.waits_to_start()) {
            match self.table.waits_for(&held.lease) {
                Some(Wait::Parent) => held.give_back(),
                Some(Wait::Certainty) => self.needs_certainty = true,
                None => {
                    held.started = true;
                    self.actions.push(Action::Start {
                        key: held.lease.key.clone(),
                        epoch: held.epoch,
                        checkpoint: held.lease.checkpoint.clone(),
                        hash_range: held.lease.hash_range.clone(),
                        latest: held.latest.at_start(now, held.lease.latest_since),
                    });
                }
            }
        }
        // The answer to a scan on its way leads here again.
        if self.needs_certainty && self.scanning.is_none() {
            self.scan_by(now);
        }
    }

    fn checkpoint(&mut self, key: ShardId, epoch: Epoch, checkpoint: Checkpoint) {
        let held = self.held.get_mut(&key).filter(|held| held.epoch == epoch);
        let written = match held.map(|held| held.want_checkpoint(&checkpoint)) {
            Some(Wish::WillBeWritten) => return,
            Some(Wish::Covered) => true,
            Some(Wish::TooLate) | None => false,
        };
        self.actions.push(Action::Checkpointed { key, epoch, checkpoint, written });
    }

    fn shard_ended(&mut self, key: &ShardId, epoch: Epoch, children: Vec<ChildShard>) {
        let known = self.table.keys();
        if let Some(held) = self.held.get_mut(key).filter(|held| held.epoch == epoch) {
            held.end(children, &known);
            self.list_if_needed(Held::needs_listing);
        }
    }

    fn stop(&mut self) {
        if self.phase != Phase::Stopped {
            self.phase = Phase::Stopping;
        }
    }

    fn drop_expired(&mut self, now: Millis) {
        let expired = |held: &&Held| held.is_expired(now, self.settings.failover);
        let keys: Vec<ShardId> = self.held.values().filter(expired).map(|held| held.lease.key.clone()).collect();
        for key in keys {
            self.lose(&key, Loss::Expired);
            // Perhaps nobody noticed, and it is taken again at once.
            self.scan_by(now);
        }
    }

    /// After a pause, what was seen before is no ground to create rows on.
    fn drop_outdated(&mut self, now: Millis) {
        let pause = now.saturating_sub(std::mem::replace(&mut self.seen_at, now));
        if pause > VIEW_AGE_MAX && !self.creations.is_empty() {
            self.creations = Creations::default();
            self.scan_by(now);
        }
    }

    fn lose(&mut self, key: &ShardId, why: Loss) {
        if let Some(epoch) = self.released(key) {
            self.actions.push(Action::Revoke { key: key.clone(), epoch, why });
        }
    }

    /// Ends a holding. A checkpoint that was asked for and is not written never will be.
    fn released(&mut self, key: &ShardId) -> Option<Epoch> {
        let held = self.held.remove(key)?;
        let (key, epoch) = (key.clone(), held.epoch);
        if let Some(checkpoint) = held.wanted_checkpoint() {
            self.actions.push(Action::Checkpointed { key, epoch, checkpoint, written: false });
        }
        Some(epoch)
    }
}
