//! The leases that this worker holds: renews them, checkpoints, starts their shards, seals those that ended, and ends
//! each holding by a release or a loss. [`HeldLease`] decides on one of them.

mod held_lease;

use std::collections::{BTreeMap, BTreeSet};

use super::context::{Context, Phase};
use super::message::{Action, Epoch, Loss};
use super::notice::Notice;
use super::row::{Lease, Outcome, Write};
use super::table::Wait;
use crate::kinesis::shard::{ChildShard, Shard, ShardId};
use crate::position::{Checkpoint, Latest};
use crate::service::ServiceError;
use crate::time::Millis;
use held_lease::{CheckpointRequest, HeldLease, WriteOutcome};

pub(super) use held_lease::next_counter;

/// How soon the stream is listed again for a shard whose end could not be sealed after the last listing.
const LISTING_POLL: Millis = 1_000;

/// A lease that this worker just took.
pub(super) struct Acquired {
    pub(super) lease: Lease,
    /// When the take was sent.
    pub(super) taken_at: Millis,
    /// What LATEST stands for in its row.
    pub(super) latest: Latest,
}

#[derive(Default)]
pub(super) struct Holdings {
    held: BTreeMap<ShardId, HeldLease>,
    epochs: Epoch,
    renew_at: Millis,
    /// It was reported that another process uses this worker's name.
    is_duplicate_reported: bool,
}

impl Holdings {
    /// Takes a lease in. Whether [`Holdings::start_ready`] has something to look at: an answer that was too slow to be
    /// trusted leads to another scan instead.
    pub(super) fn acquire(&mut self, context: &mut Context, now: Millis, acquired: Acquired) -> bool {
        self.epochs += 1;
        let held = HeldLease::new(acquired.lease, self.epochs, acquired.taken_at, acquired.latest);
        if held.is_sealed() {
            // An earlier life of this worker sealed it with its last write: there is nothing to read.
            return true;
        }
        if held.is_expired(now, context.settings.failover) && context.is_running() {
            context.scan_by(now);
            return false;
        }
        self.held.insert(held.lease.key.clone(), held);
        true
    }

    /// Starts the held shards whose parents are done. Whether only a strongly consistent scan can tell of others.
    pub(super) fn start_ready(&mut self, context: &mut Context, now: Millis) -> bool {
        let mut needs_certainty = false;
        for held in self.held.values_mut().filter(|held| held.waits_to_start()) {
            match context.table.waits_for(&held.lease) {
                Some(Wait::Parent) => held.give_back(),
                Some(Wait::Certainty) => needs_certainty = true,
                None => {
                    held.started = true;
                    context.send(Action::Start {
                        key: held.lease.key.clone(),
                        epoch: held.epoch,
                        checkpoint: held.lease.checkpoint.clone(),
                        hash_range: held.lease.hash_range.clone(),
                        latest: held.latest.at_start(now, held.lease.latest_since),
                    });
                }
            }
        }
        needs_certainty
    }

    pub(super) fn checkpoint(&mut self, context: &mut Context, key: ShardId, epoch: Epoch, checkpoint: Checkpoint) {
        let held = self.held.get_mut(&key).filter(|held| held.epoch == epoch);
        let written = match held.map(|held| held.request_checkpoint(&checkpoint)) {
            Some(CheckpointRequest::WillBeWritten) => return,
            Some(CheckpointRequest::Covered) => true,
            Some(CheckpointRequest::TooLate) | None => false,
        };
        context.send(Action::Checkpointed { key, epoch, checkpoint, written });
    }

    /// A shard is committed to its end. Whether the lease is held under `epoch`, so that it is sealed now.
    pub(super) fn shard_ended(
        &mut self,
        context: &Context,
        key: &ShardId,
        epoch: Epoch,
        children: Vec<ChildShard>,
    ) -> bool {
        let Some(held) = self.held.get_mut(key).filter(|held| held.epoch == epoch) else { return false };
        held.end(children, &context.table.keys());
        true
    }

    /// The answer to a write to a row that this worker holds, or held. Whether it sealed a shard, whose children may be
    /// free now.
    pub(super) fn written(
        &mut self,
        context: &mut Context,
        now: Millis,
        write: Write,
        result: Result<Outcome, ServiceError>,
    ) -> bool {
        let key = write.key().clone();
        let Some(held) = self.held.get_mut(&key) else { return false };
        let me = context.settings.worker.clone();
        let (epoch, outcome) = (held.epoch, held.settle(now, write, result, &me, &mut context.random));
        let is_duplicate = held.is_shared() || matches!(&outcome, WriteOutcome::Lost(Some(by)) if *by == me);
        if is_duplicate && !std::mem::replace(&mut self.is_duplicate_reported, true) {
            context.notice(Notice::DuplicateWorker { key: key.clone(), worker: me });
        }
        if !matches!(outcome, WriteOutcome::Lost(_)) {
            context.table.learn(now, held.lease.clone());
        }
        match outcome {
            WriteOutcome::Kept => {}
            WriteOutcome::Checkpointed(checkpoint) => {
                context.send(Action::Checkpointed { key, epoch, checkpoint, written: true });
            }
            WriteOutcome::Sealed => {
                context.send(Action::ShardSealed { key, epoch });
                return true;
            }
            WriteOutcome::Restored => {
                let checkpoint = held.committed();
                context.notice(Notice::RowRestored { key, checkpoint });
            }
            WriteOutcome::Missing => context.scan_by(now),
            WriteOutcome::Released => drop(self.end_holding(context, &key)),
            WriteOutcome::Lost(by) => {
                if by.is_none() {
                    // Another worker took it and gave it back already.
                    context.scan_by(now);
                }
                self.lose(context, &key, Loss::Taken { by });
            }
            WriteOutcome::Broken(reason) => {
                context.fail_by_table(format_args!("lease {key}: {reason}"));
                self.lose(context, &key, Loss::Refused);
            }
        }
        false
    }

    /// The writes that are due now.
    pub(super) fn send_writes(&mut self, context: &mut Context, now: Millis) {
        let is_stopping = context.phase == Phase::Stopping;
        for held in self.held.values_mut() {
            if let Some(write) = held.next_write(now, is_stopping, &context.settings.worker) {
                context.send(Action::Write(write));
            }
        }
    }

    pub(super) fn renew_if_due(&mut self, context: &Context, now: Millis) {
        if now >= self.renew_at {
            self.renew_at = now + context.settings.renew_interval();
            self.held.values_mut().for_each(HeldLease::renewal_due);
        }
    }

    /// What a scan that was asked for at `asked_at` says of rows that are missing. A child that was begun shows that its
    /// parent is finished, so that its row is not missed.
    pub(super) fn scanned(&mut self, context: &mut Context, asked_at: Millis) {
        let missing = self.held.iter_mut().filter(|(_, held)| held.awaits_scan_of(asked_at));
        let (finished, deleted): (Vec<_>, Vec<_>) = missing.partition(|(key, _)| context.table.has_begun_child(key));
        deleted.into_iter().for_each(|(_, held)| held.row_was_deleted());
        let finished: Vec<ShardId> = finished.into_iter().map(|(key, _)| key.clone()).collect();
        for key in finished {
            self.lose(context, &key, Loss::Taken { by: None });
        }
    }

    /// A row of this worker that a scan did not show is looked for by a renewal, which puts it back if it is gone.
    pub(super) fn look_for_own_rows(&mut self, context: &Context) {
        let missing = self.held.iter_mut().filter(|(key, _)| !context.table.has_row(key));
        missing.for_each(|(_, held)| held.renewal_due());
    }

    /// When the next round of renewals is due.
    pub(super) fn renew_at(&self) -> Millis {
        self.renew_at
    }

    /// When something falls due for a single lease: a retry, or its expiry.
    pub(super) fn wake_at(&self, failover: Millis) -> Millis {
        self.held.values().map(|held| held.wake_at(failover)).min().unwrap_or(Millis::MAX)
    }

    pub(super) fn drop_expired(&mut self, context: &mut Context, now: Millis) {
        let expired = |held: &&HeldLease| held.is_expired(now, context.settings.failover);
        let keys: Vec<ShardId> = self.held.values().filter(expired).map(|held| held.lease.key.clone()).collect();
        for key in keys {
            self.lose(context, &key, Loss::Expired);
            // Perhaps no other worker noticed, and it is taken again at once.
            context.scan_by(now);
        }
    }

    fn lose(&mut self, context: &mut Context, key: &ShardId, why: Loss) {
        if let Some(epoch) = self.end_holding(context, key) {
            context.send(Action::Revoke { key: key.clone(), epoch, why });
        }
    }

    /// Ends a holding. A checkpoint that was asked for and is not written never will be.
    fn end_holding(&mut self, context: &mut Context, key: &ShardId) -> Option<Epoch> {
        let held = self.held.remove(key)?;
        let (key, epoch) = (key.clone(), held.epoch);
        if let Some(checkpoint) = held.requested_checkpoint() {
            context.send(Action::Checkpointed { key, epoch, checkpoint, written: false });
        }
        Some(epoch)
    }
}

/// The children of shards that ended: listings that find them, and the creation of their rows.
impl Holdings {
    /// Whether some shard that ended waits for a listing that was not asked for since.
    pub(super) fn needs_listing(&self) -> bool {
        self.held.values().any(HeldLease::needs_listing)
    }

    /// Whether some shard that ended waits for a listing after one that was not enough.
    pub(super) fn needs_another_listing(&self) -> bool {
        self.held.values().any(HeldLease::needs_another_listing)
    }

    pub(super) fn listing_asked(&mut self) {
        self.held.values_mut().for_each(HeldLease::listing_asked);
    }

    pub(super) fn listing_failed(&mut self) {
        self.held.values_mut().for_each(HeldLease::listing_failed);
    }

    pub(super) fn listed(&mut self, context: &mut Context, now: Millis, shards: &[Shard]) {
        let known = context.table.keys();
        for (key, held) in &mut self.held {
            if let Some(reason) = held.listed(&known, shards) {
                context.fail(format!("shard {key}: {reason}"));
            }
        }
        if self.needs_another_listing() {
            context.scan_by(now + LISTING_POLL);
        }
    }

    /// A row exists now, by this worker's hand or another's.
    pub(super) fn row_exists(&mut self, key: &ShardId) {
        self.held.values_mut().for_each(|held| held.child_exists(key));
    }

    /// The creation of a row failed, and is tried again if it is that of a child.
    pub(super) fn creation_failed(&mut self, context: &mut Context, now: Millis, key: &ShardId) {
        self.held.values_mut().for_each(|held| held.child_failed(now, key, &mut context.random));
    }

    /// The table refuses the creation of a row: a shard that waits for it cannot be sealed.
    pub(super) fn creation_refused(&mut self, context: &mut Context, child: &ShardId) {
        let creating = self.held.iter_mut().filter_map(|(key, held)| held.take_creation(child).then_some(key));
        let creating: Vec<ShardId> = creating.cloned().collect();
        creating.iter().for_each(|key| self.lose(context, key, Loss::Refused));
    }
}

/// What other machines ask.
impl Holdings {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.held.contains_key(key)
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &ShardId> {
        self.held.keys()
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.held.values().map(|held| &held.lease)
    }

    /// The leases that are not finished.
    pub(super) fn unsealed(&self) -> BTreeSet<ShardId> {
        self.held.iter().filter(|(_, held)| !held.is_sealed()).map(|(key, _)| key.clone()).collect()
    }

    /// How many of them count against the limit.
    pub(super) fn places_taken(&self) -> usize {
        self.held.values().filter(|held| held.takes_a_place()).count()
    }

    /// Whether every shard is being read and none has ended.
    pub(super) fn are_all_reading(&self) -> bool {
        self.held.values().all(|held| held.started && !held.is_ending())
    }
}
