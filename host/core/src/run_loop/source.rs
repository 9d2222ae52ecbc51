//! One shard inside the run loop: what is queued, how far it is processed and committed, and what is being retried.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::{CallFailure, FailureClass, Generation, InstanceId, Retry, Settings, backoff};
use crate::envelope::Batch;
use crate::kinesis::shard::ChildShard;
use crate::leases::Epoch;
use crate::position::{Checkpoint, Position};
use crate::time::Millis;

pub(super) struct Source {
    pub(super) epoch: Epoch,
    pub(super) generation: Generation,
    /// Who processes it.
    pub(super) instance: InstanceId,
    /// Who is to process it, from the next pause between two calls on.
    pub(super) moving_to: Option<InstanceId>,
    /// A checkpoint up to here was asked for.
    pub(super) committed: Checkpoint,
    /// Outputs up to here are durable, and whoever made them said goodbye if he is gone: a replay starts here. Never
    /// before `committed`; beyond it while an earlier checkpoint is on its way.
    durable: Checkpoint,
    /// Whether it is being read; not after a trap until there is an instance again.
    reading: bool,
    /// The reader delivered everything; the children that it was told of.
    pub(super) end: Option<Vec<ChildShard>>,
    ending: bool,
    processed: Option<Position>,
    queue: VecDeque<Queued>,
    trouble: Option<Trouble>,
    /// A batch task named the first envelope that failed: those before it are called alone first.
    prefix: Option<usize>,
    /// The host failed a call that was longer: so many envelopes at most until one succeeds, for that is committed, and what
    /// is failed now and then gets on. It outlives a rewind.
    careful: Option<usize>,
}

struct Queued {
    batch: Arc<Batch>,
    next: usize,
}

/// Envelopes that failed. It outlives a rewind, so that a trap that comes again after a replay is counted again.
struct Trouble {
    attempts: u32,
    retry_at: Millis,
    /// The last envelope of the failed call: once it is processed, the trouble is over.
    until: Position,
    trapped: bool,
}

/// What a call brought.
#[derive(Default)]
pub(super) struct Progress {
    /// Bytes and records of a batch that is through.
    pub(super) through: Option<(usize, usize)>,
    /// What ended an instance before is processed now.
    pub(super) trap_is_over: bool,
}

impl Source {
    /// Not read yet.
    pub(super) fn new(epoch: Epoch, instance: InstanceId, checkpoint: Checkpoint) -> Self {
        Self {
            epoch,
            generation: 0,
            instance,
            moving_to: None,
            committed: checkpoint.clone(),
            durable: checkpoint,
            reading: false,
            end: None,
            ending: false,
            processed: None,
            queue: VecDeque::new(),
            trouble: None,
            prefix: None,
            careful: None,
        }
    }

    pub(super) fn push(&mut self, batch: Batch) {
        if !batch.is_empty() {
            self.queue.push_back(Queued { batch: Arc::new(batch), next: 0 });
        }
    }

    /// Whether there are envelopes and no retry is being waited for.
    pub(super) fn has_call(&self, now: Millis) -> bool {
        let waits = self.trouble.as_ref().is_some_and(|trouble| now < trouble.retry_at);
        !self.queue.is_empty() && !self.ending && !waits
    }

    /// The envelopes of the next call, if there are any.
    pub(super) fn next_call(&mut self, settings: &Settings) -> Option<(Arc<Batch>, Range<usize>)> {
        let queued = self.queue.front()?;
        let start = queued.next;
        let most = self.prefix.take().unwrap_or(settings.call_max_records);
        let most = most.min(self.careful.unwrap_or(usize::MAX)).max(1);
        let limit = queued.batch.len().min(start + most);
        let mut bytes = queued.batch.payload_bytes(start);
        let mut end = start + 1;
        while end < limit {
            bytes += queued.batch.payload_bytes(end);
            if bytes > settings.call_max_bytes {
                break;
            }
            end += 1;
        }
        Some((queued.batch.clone(), start..end))
    }

    /// Which attempt the next call is, from 1.
    pub(super) fn attempt(&self) -> u32 {
        self.trouble.as_ref().map_or(1, |trouble| trouble.attempts + 1)
    }

    /// When a failed call may be tried again; `None` when none is waiting.
    pub(super) fn retry_at(&self) -> Option<Millis> {
        let trouble = self.trouble.as_ref()?;
        (!self.queue.is_empty()).then_some(trouble.retry_at)
    }

    /// Counts envelopes as processed.
    pub(super) fn advance(&mut self, processed: usize) -> Progress {
        let mut progress = Progress::default();
        let (Some(last), Some(front)) = (processed.checked_sub(1), self.queue.front_mut()) else {
            return progress;
        };
        let position = front.batch.position(front.next + last);
        front.next += processed;
        if front.next >= front.batch.len() {
            progress.through = Some((front.batch.retained_bytes(), front.batch.len()));
            self.queue.pop_front();
        }
        if let Some(trouble) = self.trouble.take_if(|trouble| position >= trouble.until) {
            progress.trap_is_over = trouble.trapped;
        }
        self.processed = Some(position);
        progress
    }

    /// Takes in a failed call of the envelopes `rest`; returns the attempts made when there is no use in another.
    pub(super) fn failed(
        &mut self,
        now: Millis,
        retry: &Retry,
        batch: &Batch,
        rest: Range<usize>,
        failed_at: Option<usize>,
        cause: &CallFailure,
    ) -> Option<u32> {
        let trapped = cause.class == FailureClass::Trap;
        let good = failed_at.map_or(0, |at| at - rest.start);
        // Not after a trap: that replays everything and so must be counted. Nor is there anything more to do for a job
        // that must stop.
        if good > 0 && !trapped && cause.class != FailureClass::Fatal {
            self.prefix = Some(good);
            return None;
        }
        let attempts = self.trouble.as_ref().map_or(0, |trouble| trouble.attempts) + 1;
        let final_class = matches!(cause.class, FailureClass::Reject | FailureClass::Fatal);
        if final_class || attempts >= retry.max_attempts {
            return Some(attempts);
        }
        let wait = match cause.class {
            FailureClass::Retry(Some(ms)) => Millis::from(ms).min(retry.backoff_max),
            _ => backoff(retry, attempts),
        };
        let until = batch.position(failed_at.unwrap_or(rest.end - 1));
        let earlier = self.trouble.take();
        let trapped = trapped || earlier.as_ref().is_some_and(|trouble| trouble.trapped);
        let until = earlier.map_or(until.clone(), |trouble| trouble.until.max(until));
        self.trouble = Some(Trouble { attempts, retry_at: now + wait, until, trapped });
        None
    }

    /// The host failed a call of so many envelopes after some of them.
    pub(super) fn host_failed(&mut self, processed: usize, of: usize) {
        self.careful = Some(if processed > 0 { processed } else { of / 2 });
    }

    /// A call succeeded.
    pub(super) fn got_on(&mut self) {
        self.careful = None;
    }

    /// Whether deliveries under this generation count.
    pub(super) fn reads(&self, generation: Generation) -> bool {
        self.reading && self.generation == generation
    }

    pub(super) fn is_reading(&self) -> bool {
        self.reading
    }

    /// A reading begins; returns where.
    pub(super) fn read(&mut self, generation: Generation) -> Checkpoint {
        self.generation = generation;
        self.reading = true;
        self.durable.clone()
    }

    /// Everything since the last flush will have to be delivered again, by another reading.
    pub(super) fn rewind(&mut self) {
        self.reading = false;
        self.queue.clear();
        self.processed = None;
        self.prefix = None;
        self.end = None;
    }

    /// Another version goes on where this one stopped; the failures of the old one are not its own.
    pub(super) fn move_to(&mut self, instance: InstanceId) {
        self.instance = instance;
        self.moving_to = None;
        self.trouble = None;
        self.prefix = None;
        self.careful = None;
    }

    /// What a commit would write now, if it is more than what is written.
    pub(super) fn uncommitted(&self) -> Option<Checkpoint> {
        match &self.processed {
            Some(position) => Some(Checkpoint::At(position.clone())),
            None if self.durable > self.committed => Some(self.durable.clone()),
            None => None,
        }
        .filter(|position| *position > self.committed)
    }

    /// Outputs up to `checkpoint` are durable.
    pub(super) fn flushed(&mut self, checkpoint: Checkpoint) {
        if checkpoint > self.durable {
            self.durable = checkpoint;
        }
    }

    /// Processed to the end, and the lease machine does not know yet.
    pub(super) fn wants_end(&self) -> bool {
        self.end.is_some() && self.queue.is_empty() && !self.ending
    }

    /// The children to seal the shard with, if a commit just covered its end.
    pub(super) fn take_end(&mut self) -> Option<Vec<ChildShard>> {
        if !self.wants_end() {
            return None;
        }
        self.ending = true;
        self.end.take()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending
    }
}
