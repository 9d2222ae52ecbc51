//! One lease that this worker holds: which write to its row comes next, and what an answer means. At most one write is
//! on its way, because every one of them needs the counter that the last one left.

mod end;
mod gone;

use std::collections::BTreeSet;

use crate::backoff::Backoff;
use crate::kinesis::shard::{ChildShard, Shard, ShardId};
use crate::leases::message::Epoch;
use crate::leases::row::{Lease, Outcome, Write};
use crate::position::{Checkpoint, Latest};
use crate::random::Random;
use crate::service::ServiceError;
use crate::time::Millis;
use end::End;
use gone::{Gone, is_further};

pub(in crate::leases) use gone::next_counter;

/// Waits between the failed writes of a held lease: well below any failover time.
const BACKOFF: Backoff = Backoff { first: 200, longest: 1_000 };

/// Writes in a row that were refused as if their own reply had been lost, although every call was answered: by then it
/// is another process that writes under this worker's name.
const STRAYS_MAX: u32 = 3;

/// What an answered write means for the holding.
pub(super) enum WriteOutcome {
    /// Still held; nothing to report.
    Kept,
    Checkpointed(Checkpoint),
    /// The children's leases exist, the row is at SHARD_END.
    Sealed,
    Released,
    /// The row had been deleted, and is there again.
    /// The row is missing; the next scan says whether it was deleted by hand, or because the shard is finished.
    Missing,
    Restored,
    /// The row is no longer as this worker left it; who owns it now.
    Lost(Option<String>),
    /// A retry cannot mend it.
    Broken(String),
}

/// What becomes of a request for a checkpoint.
pub(super) enum CheckpointRequest {
    WillBeWritten,
    /// The row covers it already.
    Covered,
    /// The shard's end was asked for before.
    TooLate,
}

/// A lease between its taking and its release or loss.
pub(super) struct HeldLease {
    pub(super) lease: Lease,
    pub(super) epoch: Epoch,
    pub(super) started: bool,
    /// What LATEST stands for in its row.
    pub(super) latest: Latest,
    /// When the last successful write was *sent*: expiry must not trust a slow reply.
    renewed_at: Millis,
    renew_due: bool,
    retry_at: Option<Millis>,
    /// The write on its way and when it was sent. An answer to any other one is about an earlier holding.
    in_flight: Option<(Write, Millis)>,
    requested: Option<Checkpoint>,
    end: Option<End>,
    failures: u32,
    /// When the first of the failed tries of a write was sent: that one may have happened.
    unanswered_since: Option<Millis>,
    /// Somebody deleted the row.
    gone: Option<Gone>,
    /// Committed already, but not known to the row that came in the place of a deleted one.
    recommit: Option<Checkpoint>,
    giving_back: bool,
    strays: u32,
}

impl HeldLease {
    pub(super) fn new(lease: Lease, epoch: Epoch, taken_at: Millis, latest: Latest) -> Self {
        Self {
            lease,
            epoch,
            started: false,
            latest,
            renewed_at: taken_at,
            renew_due: false,
            retry_at: None,
            in_flight: None,
            requested: None,
            end: None,
            failures: 0,
            unanswered_since: None,
            gone: None,
            recommit: None,
            giving_back: false,
            strays: 0,
        }
    }

    pub(super) fn waits_to_start(&self) -> bool {
        !self.started && self.end.is_none() && !self.giving_back
    }

    /// Releases a lease that is not read yet.
    pub(super) fn give_back(&mut self) {
        self.giving_back = true;
    }

    /// Whether this lease counts against the limit: one that is given back, is finished, or ended and waits for other
    /// shards, does not.
    pub(super) fn takes_a_place(&self) -> bool {
        !self.giving_back && !self.is_sealed() && !self.end.as_ref().is_some_and(End::awaits_a_listing)
    }

    /// Whether another process writes to the row under this worker's name.
    pub(super) fn is_shared(&self) -> bool {
        self.strays >= STRAYS_MAX
    }

    pub(super) fn is_ending(&self) -> bool {
        self.end.is_some()
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.lease.checkpoint == Checkpoint::ShardEnd
    }

    pub(super) fn is_expired(&self, now: Millis, failover: Millis) -> bool {
        now > self.renewed_at.saturating_add(failover)
    }

    /// When something falls due that no answer brings: a retry, or the end of the lease's time.
    pub(super) fn wake_at(&self, failover: Millis) -> Millis {
        self.retry_at.unwrap_or(Millis::MAX).min(self.renewed_at.saturating_add(failover).saturating_add(1))
    }

    pub(super) fn renewal_due(&mut self) {
        self.renew_due = true;
    }

    /// Asks for a checkpoint; one that waits already is overtaken.
    pub(super) fn request_checkpoint(&mut self, checkpoint: &Checkpoint) -> CheckpointRequest {
        if *checkpoint <= self.lease.checkpoint {
            return CheckpointRequest::Covered;
        }
        if self.end.is_some() {
            return CheckpointRequest::TooLate;
        }
        self.requested = Some(checkpoint.clone());
        CheckpointRequest::WillBeWritten
    }

    pub(super) fn requested_checkpoint(&self) -> Option<Checkpoint> {
        self.requested.clone()
    }

    /// How far the shard is committed, whether the row knows it or not.
    pub(super) fn committed(&self) -> Checkpoint {
        self.recommit.clone().unwrap_or_else(|| self.lease.checkpoint.clone())
    }

    /// The shard is committed to its end.
    pub(super) fn end(&mut self, children: Vec<ChildShard>, known: &BTreeSet<ShardId>) {
        self.end.get_or_insert_with(|| End::new(children, known));
    }

    /// Whether a scan that was asked for at `asked_at` says what became of a row that is missing.
    pub(super) fn awaits_scan_of(&self, asked_at: Millis) -> bool {
        matches!(&self.gone, Some(Gone::Missing { since, .. }) if *since <= asked_at)
    }

    /// The row was deleted by hand: it is put back.
    pub(super) fn row_was_deleted(&mut self) {
        self.gone.iter_mut().for_each(Gone::confirm);
    }

    pub(super) fn needs_listing(&self) -> bool {
        self.end.as_ref().is_some_and(End::needs_listing)
    }

    pub(super) fn needs_another_listing(&self) -> bool {
        self.end.as_ref().is_some_and(End::needs_another_listing)
    }

    pub(super) fn listing_asked(&mut self) {
        self.end.iter_mut().for_each(End::listing_asked);
    }

    pub(super) fn listing_failed(&mut self) {
        self.end.iter_mut().for_each(End::listing_failed);
    }

    /// The stream's shards, for an end that asked for them. Returns why the shard cannot be sealed.
    pub(super) fn listed(&mut self, known: &BTreeSet<ShardId>, shards: &[Shard]) -> Option<String> {
        self.end.as_mut()?.listed(&self.lease.key, known, shards)
    }

    /// A child's row exists now, by whoever's hand.
    pub(super) fn child_exists(&mut self, child: &str) {
        if let Some(end) = &mut self.end {
            end.child_exists(child);
        }
        if self.take_creation(child) {
            self.failures = 0;
        }
    }

    pub(super) fn child_failed(&mut self, now: Millis, child: &str, random: &mut Random) {
        if self.take_creation(child) {
            self.retry_later(now, random);
        }
    }

    /// Whether the creation of `child` was on its way for this lease; it no longer is.
    pub(super) fn take_creation(&mut self, child: &str) -> bool {
        let creation = matches!(&self.in_flight, Some((Write::Create(lease), _)) if lease.key == child);
        if creation {
            self.in_flight = None;
        }
        creation
    }

    /// The write to send now, if any.
    pub(super) fn next_write(&mut self, now: Millis, stopping: bool, worker: &str) -> Option<Write> {
        if self.in_flight.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        self.retry_at = None;
        let write = self.due_write(stopping, worker)?;
        if matches!(write, Write::Renew { .. } | Write::Checkpoint { .. }) {
            self.renew_due = false;
        }
        self.in_flight = Some((write.clone(), now));
        Some(write)
    }

    fn due_write(&self, stopping: bool, worker: &str) -> Option<Write> {
        let (key, counter) = (self.lease.key.clone(), self.lease.counter);
        if let Some(gone) = &self.gone {
            // A stop does not wait for another scan.
            return (stopping || !gone.awaits_scan()).then(|| gone.write(&self.lease, worker));
        }
        let owner = worker.to_owned();
        if let Some(checkpoint) = self.requested.clone().or_else(|| self.recommit.clone()) {
            return Some(Write::Checkpoint { key, owner, counter, checkpoint });
        }
        let step = self.end.as_ref().and_then(|end| end.next_write(&self.lease, worker));
        // A stop takes the steps of an end that can be taken now. What waits, or fails, the next owner does.
        let released = self.giving_back
            || self.end.as_ref().is_some_and(End::is_sealed)
            || (stopping && (step.is_none() || self.failures > 0));
        if released {
            return Some(Write::Evict { key, owner });
        }
        match self.renew_due {
            true => Some(Write::Renew { key, owner, counter }),
            false => step,
        }
    }

    /// Takes in the answer to a write to this lease's row.
    pub(super) fn settle(
        &mut self,
        now: Millis,
        write: Write,
        result: Result<Outcome, ServiceError>,
        worker: &str,
        random: &mut Random,
    ) -> WriteOutcome {
        let Some((_, sent_at)) = self.in_flight.take_if(|(sent, _)| *sent == write) else {
            return WriteOutcome::Kept;
        };
        match result {
            Ok(Outcome::Done) => {
                self.strays = 0;
                self.applied(write, sent_at)
            }
            Ok(Outcome::ConditionFailed(None)) => self.missing(now, &write, random),
            Ok(Outcome::ConditionFailed(Some(row))) => self.refused(write, row, sent_at, worker),
            Err(error) if error.kind.is_transient() => {
                self.retry_later(now, random);
                self.unanswered_since.get_or_insert(sent_at);
                self.renew_due |= matches!(write, Write::Renew { .. });
                WriteOutcome::Kept
            }
            Err(error) => WriteOutcome::Broken(error.to_string()),
        }
    }

    fn retry_later(&mut self, now: Millis, random: &mut Random) {
        self.failures += 1;
        self.retry_at = Some(now + BACKOFF.pause(self.failures, random));
    }

    fn applied(&mut self, write: Write, sent_at: Millis) -> WriteOutcome {
        self.failures = 0;
        self.unanswered_since = None;
        match write {
            Write::Renew { counter, .. } => {
                self.bump(counter.saturating_add(1), sent_at);
                WriteOutcome::Kept
            }
            Write::Checkpoint { counter, checkpoint, .. } => {
                self.bump(counter.saturating_add(1), sent_at);
                self.lease.checkpoint = checkpoint.clone();
                self.checkpointed(checkpoint)
            }
            Write::Restore(row) => {
                self.bump(row.counter, sent_at);
                self.gone = None;
                WriteOutcome::Restored
            }
            Write::Take { seen, .. } => {
                self.bump(seen.counter.saturating_add(1), sent_at);
                self.gone = None;
                let committed = std::mem::replace(&mut self.lease.checkpoint, seen.checkpoint);
                self.recommit = Some(committed).filter(|committed| *committed > self.lease.checkpoint);
                WriteOutcome::Restored
            }
            Write::Children { children, .. } => {
                self.lease.children = children;
                self.end.iter_mut().for_each(End::children_named);
                WriteOutcome::Kept
            }
            Write::Evict { .. } => {
                self.bump(self.lease.counter.saturating_add(1), sent_at);
                self.lease.owner = None;
                WriteOutcome::Released
            }
            Write::Create(_) | Write::HashRange { .. } | Write::Delete { .. } => WriteOutcome::Kept,
        }
    }

    fn checkpointed(&mut self, checkpoint: Checkpoint) -> WriteOutcome {
        let was_known = self.recommit.take().is_some_and(|recommit| recommit == checkpoint);
        if checkpoint == Checkpoint::ShardEnd {
            self.end.iter_mut().for_each(End::sealed);
            return WriteOutcome::Sealed;
        }
        let was_requested = self.requested.take_if(|requested| *requested == checkpoint).is_some();
        match was_known && !was_requested {
            true => WriteOutcome::Kept,
            false => WriteOutcome::Checkpointed(checkpoint),
        }
    }

    /// The row is not as expected. When it is still this worker's and one step further, the reply of an earlier write
    /// was lost: that is no loss of the lease. Nor is it one that somebody deleted the row.
    fn refused(&mut self, write: Write, row: Lease, sent_at: Millis, worker: &str) -> WriteOutcome {
        let is_own = row.owner.as_deref() == Some(worker);
        match &write {
            Write::Evict { .. } => return WriteOutcome::Released,
            Write::Renew { counter, .. } | Write::Checkpoint { counter, .. }
                if is_own && row.counter == counter.saturating_add(1) =>
            {
                self.strays = if self.unanswered_since.is_none() { self.strays.saturating_add(1) } else { 0 };
            }
            Write::Take { seen, .. } if is_own && row.counter == seen.counter.saturating_add(1) => {}
            Write::Restore(restored) if is_own && row.counter == restored.counter => {}
            // Counters only grow, so a lower one is that of a new row.
            Write::Renew { counter, .. }
            | Write::Checkpoint { counter, .. }
            | Write::Restore(Lease { counter, .. })
                if row.counter < *counter && is_further(&self.lease, &row) =>
            {
                self.gone = Some(Gone::Replaced(Box::new(row)));
                return WriteOutcome::Kept;
            }
            _ => return WriteOutcome::Lost(row.owner),
        }
        let happened_at = self.unanswered_since.take().unwrap_or(sent_at);
        match write {
            Write::Checkpoint { checkpoint, .. } if row.checkpoint != checkpoint => {
                self.bump(row.counter, happened_at);
                WriteOutcome::Kept
            }
            write => self.applied(write, happened_at),
        }
    }

    /// There is no row, or none that can be read.
    fn missing(&mut self, now: Millis, write: &Write, random: &mut Random) -> WriteOutcome {
        match write {
            Write::Evict { .. } if self.is_sealed() => WriteOutcome::Released,
            // It is there, then.
            Write::Restore(_) => WriteOutcome::Lost(None),
            _ => {
                self.gone = Some(Gone::Missing { since: now, counter: next_counter(self.lease.counter, random) });
                WriteOutcome::Missing
            }
        }
    }

    fn bump(&mut self, counter: u64, sent_at: Millis) {
        self.lease.counter = counter;
        self.renewed_at = sent_at;
    }
}
