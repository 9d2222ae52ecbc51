//! One lease that this worker holds: which write to its row comes next, and what an answer means. At most one write is
//! on its way, because every one of them needs the counter that the last one left.

use std::collections::BTreeSet;

use super::row::{Lease, Outcome, Write};
use super::sync;
use super::worker::{Epoch, Millis, backoff};
use crate::position::Checkpoint;
use crate::service::ServiceError;
use crate::shard::{ChildShard, Shard, ShardId};

/// Retries of a held lease's writes stay well below any failover time.
const RETRY_MAX: Millis = 1_000;

/// What an answered write means for the holding.
pub(super) enum Op {
    /// Still held; nothing to tell.
    Kept,
    Checkpointed(Checkpoint),
    /// The children's leases exist, the row is at SHARD_END.
    Sealed,
    Released,
    /// Another worker owns the row.
    Lost,
    /// A retry cannot mend it.
    Broken(String),
}

/// A lease between its taking and its release or loss.
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) epoch: Epoch,
    /// When the last successful write was *sent*: expiry must not trust a slow reply.
    pub(super) renewed_at: Millis,
    pub(super) renew_due: bool,
    pub(super) started: bool,
    pub(super) retry_at: Option<Millis>,
    sent_at: Option<Millis>,
    wanted: Option<Checkpoint>,
    end: Option<End>,
    failures: u32,
}

/// The steps at a shard's end, in their order: children's leases, then their names on the parent, then SHARD_END,
/// then the release. A crash in between leaves a state from which the next owner repeats them.
struct End {
    children: Vec<ChildShard>,
    step: Step,
}

#[derive(PartialEq)]
enum Step {
    /// The stream's shards are needed: no child was named, or a child's other parent has no lease yet.
    Listing {
        not_before: Millis,
    },
    Creating {
        missing: Vec<ShardId>,
    },
    Linking,
    Sealing,
    Releasing,
}

impl Held {
    pub(super) fn new(lease: Lease, epoch: Epoch, taken_at: Millis) -> Self {
        Self {
            lease,
            epoch,
            renewed_at: taken_at,
            renew_due: false,
            started: false,
            retry_at: None,
            sent_at: None,
            wanted: None,
            end: None,
            failures: 0,
        }
    }

    pub(super) fn waits_to_start(&self) -> bool {
        !self.started && self.end.is_none()
    }

    /// Asks for a checkpoint; one that waits already is overtaken, a commit only ever moves forward.
    pub(super) fn want_checkpoint(&mut self, checkpoint: Checkpoint) {
        self.wanted = Some(checkpoint);
    }

    pub(super) fn wanted_checkpoint(&self) -> Option<Checkpoint> {
        self.wanted.clone()
    }

    /// The shard is committed to its end.
    pub(super) fn end(&mut self, children: Vec<ChildShard>, known: &BTreeSet<ShardId>) {
        if self.end.is_some() {
            return;
        }
        let told = !children.is_empty();
        let parents_known = children.iter().flat_map(|child| &child.parents).all(|id| known.contains(id));
        let step = if told && parents_known {
            Step::Creating { missing: ids(&children) }
        } else {
            Step::Listing { not_before: 0 }
        };
        self.end = Some(End { children, step });
    }

    pub(super) fn is_ending(&self) -> bool {
        self.end.is_some()
    }

    pub(super) fn needs_listing(&self) -> bool {
        matches!(self.end, Some(End { step: Step::Listing { .. }, .. }))
    }

    pub(super) fn awaits_parent(&self) -> bool {
        matches!(self.end, Some(End { step: Step::Listing { not_before: 1.. }, .. }))
    }

    /// The stream's shards, for an end that waits for them; looked at again at `retry_at` when a parent is awaited.
    pub(super) fn listed(&mut self, retry_at: Millis, known: &BTreeSet<ShardId>, shards: &[Shard]) {
        let Some(end) = self.end.as_mut() else { return };
        if !matches!(end.step, Step::Listing { .. }) {
            return;
        }
        if end.children.is_empty() {
            end.children = sync::children_of(&self.lease.key, shards);
        }
        let awaited = end.children.iter().any(|child| !sync::awaited_parents(child, known, shards).is_empty());
        end.step = match (awaited, end.children.is_empty()) {
            (true, _) => Step::Listing { not_before: retry_at },
            (false, true) => Step::Sealing,
            (false, false) => Step::Creating { missing: ids(&end.children) },
        };
    }

    pub(super) fn is_creating(&self, child: &str) -> bool {
        match &self.end {
            Some(End { step: Step::Creating { missing }, .. }) => missing.iter().any(|id| id == child),
            _ => false,
        }
    }

    /// A child's row exists now.
    pub(super) fn child_exists(&mut self, child: &str) {
        let Some(End { step: Step::Creating { missing }, .. }) = &mut self.end else {
            return;
        };
        let before = missing.len();
        missing.retain(|id| id != child);
        if missing.len() < before {
            self.sent_at = None;
            self.failures = 0;
        }
        if missing.is_empty()
            && let Some(end) = &mut self.end
        {
            end.step = Step::Linking;
        }
    }

    pub(super) fn child_failed(&mut self, child: &str, retry_at: Millis) {
        if self.is_creating(child) {
            self.sent_at = None;
            self.retry_at = Some(retry_at);
        }
    }

    /// The write to send now, if any.
    pub(super) fn next_write(&mut self, now: Millis, stopping: bool, worker: &str) -> Option<Write> {
        if self.sent_at.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        let write = self.due_write(stopping, worker)?;
        if matches!(write, Write::Renew { .. } | Write::Checkpoint { .. }) {
            self.renew_due = false;
        }
        self.retry_at = None;
        self.sent_at = Some(now);
        Some(write)
    }

    fn due_write(&self, stopping: bool, worker: &str) -> Option<Write> {
        let (key, counter) = (self.lease.key.clone(), self.lease.counter);
        let evict = || Write::Evict { key: key.clone(), owner: worker.to_owned() };
        if let Some(checkpoint) = self.wanted.clone() {
            return Some(Write::Checkpoint { key, counter, checkpoint });
        }
        match &self.end {
            Some(End { step: Step::Releasing, .. }) => return Some(evict()),
            Some(_) if self.renew_due => {}
            Some(end) => match &end.step {
                Step::Creating { missing } => {
                    let child = end.children.iter().find(|child| missing.first() == Some(&child.id))?;
                    return Some(Write::Create(sync::child_lease(child)));
                }
                Step::Linking => {
                    return Some(Write::Children { key, children: ids(&end.children) });
                }
                Step::Sealing => {
                    return Some(Write::Checkpoint { key, counter, checkpoint: Checkpoint::ShardEnd });
                }
                // What is not sealed yet, the next owner seals: a stop does not wait for other shards.
                Step::Listing { .. } if stopping => return Some(evict()),
                Step::Listing { .. } | Step::Releasing => {}
            },
            None if stopping => return Some(evict()),
            None => {}
        }
        self.renew_due.then_some(Write::Renew { key, counter })
    }

    /// Takes in the answer to a write to this lease's row.
    pub(super) fn settle(
        &mut self,
        now: Millis,
        write: Write,
        result: Result<Outcome, ServiceError>,
        worker: &str,
    ) -> Op {
        let sent_at = self.sent_at.take().unwrap_or(now);
        match result {
            Ok(Outcome::Done) => self.applied(write, sent_at),
            Ok(Outcome::ConditionFailed(row)) => self.refused(write, row, sent_at, worker),
            Err(error) if error.kind.is_transient() => {
                self.failures += 1;
                self.retry_at = Some(now + backoff(self.failures).min(RETRY_MAX));
                self.renew_due |= matches!(write, Write::Renew { .. });
                Op::Kept
            }
            Err(error) => Op::Broken(error.to_string()),
        }
    }

    fn applied(&mut self, write: Write, sent_at: Millis) -> Op {
        self.failures = 0;
        match write {
            Write::Renew { counter, .. } => {
                self.bump(counter + 1, sent_at);
                Op::Kept
            }
            Write::Checkpoint { counter, checkpoint, .. } => {
                self.bump(counter + 1, sent_at);
                self.lease.checkpoint = checkpoint.clone();
                self.checkpointed(checkpoint)
            }
            Write::Children { children, .. } => {
                self.lease.children = children;
                if let Some(end) = &mut self.end {
                    end.step = Step::Sealing;
                }
                Op::Kept
            }
            Write::Evict { .. } => Op::Released,
            Write::Create(_) | Write::Take { .. } => Op::Kept,
        }
    }

    fn checkpointed(&mut self, checkpoint: Checkpoint) -> Op {
        if checkpoint == Checkpoint::ShardEnd {
            if let Some(end) = &mut self.end {
                end.step = Step::Releasing;
            }
            return Op::Sealed;
        }
        if self.wanted.as_ref() == Some(&checkpoint) {
            self.wanted = None;
        }
        Op::Checkpointed(checkpoint)
    }

    /// The row is not as expected. When it is still this worker's and one step further, the reply of an earlier write
    /// was lost: that is no loss of the lease.
    fn refused(&mut self, write: Write, row: Option<Lease>, sent_at: Millis, worker: &str) -> Op {
        let Some(row) = row else { return Op::Lost };
        match &write {
            Write::Evict { .. } => return Op::Released,
            Write::Renew { counter, .. } | Write::Checkpoint { counter, .. }
                if row.owner.as_deref() == Some(worker) && row.counter == counter + 1 => {}
            _ => return Op::Lost,
        }
        match write {
            Write::Checkpoint { checkpoint, .. } if row.checkpoint != checkpoint => {
                self.bump(row.counter, sent_at);
                Op::Kept
            }
            write => self.applied(write, sent_at),
        }
    }

    fn bump(&mut self, counter: u64, sent_at: Millis) {
        self.lease.counter = counter;
        self.renewed_at = sent_at;
    }
}

fn ids(children: &[ChildShard]) -> Vec<ShardId> {
    children.iter().map(|child| child.id.clone()).collect()
}
