//! One shard of a history: its records, its lease, its reader, and what the run loop did with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::dice::Dice;
use crate::envelope::{Batch, BatchBuilder, Envelope};
use crate::leases::Epoch;
use crate::position::Checkpoint;
use crate::run_loop::{Event, FailureClass, Generation, InstanceId, SourceId};

/// Records that a reader delivers ahead of the task.
const UNPROCESSED_MAX: usize = 60;

/// A record that makes calls fail.
#[derive(Clone, Copy)]
pub(super) struct Poison {
    pub(super) class: FailureClass,
    /// Calls that fail by it before it turns out well; `MAX` when it never does.
    pub(super) times: u32,
    /// It hurts the versions with even or with odd numbers only; absent when it hurts all.
    pub(super) only: Option<InstanceId>,
    /// Calls that failed by it under the current lease.
    pub(super) failed: u32,
}

/// What is on its way from a reader.
pub(super) enum Delivery {
    Batch(Generation, Batch),
    End(Generation),
}

/// Records are numbered from 1; every position is the number of the last record that it covers.
#[derive(Default)]
pub(super) struct Shard {
    pub(super) records: u64,
    pub(super) closed: bool,
    pub(super) poison: BTreeMap<u64, Poison>,
    /// What the lease table says.
    pub(super) table: u64,
    pub(super) sealed: bool,
    pub(super) epoch: Epoch,
    pub(super) held: bool,
    pub(super) generation: Generation,
    pub(super) in_flight: VecDeque<Delivery>,
    pub(super) instance: InstanceId,
    /// Where it was last routed to, until something happens there.
    pub(super) target: Option<InstanceId>,
    /// The instances that it may be on until then.
    maybe_on: Vec<InstanceId>,
    /// To be read again: its instance died.
    unread: bool,
    /// An instance died on which it may have been, with nothing of it that was not durable.
    may_read: bool,
    next: u64,
    unprocessed: usize,
    end_sent: bool,
    end_delivered: bool,
    /// By the living instance.
    pub(super) processed: u64,
    /// Outputs up to here are durable.
    pub(super) flushed: u64,
    /// The run loop asked for a checkpoint up to here.
    pub(super) committed: u64,
    pub(super) end_asked: bool,
}

impl Shard {
    pub(super) fn is_free(&self) -> bool {
        !self.held && !self.sealed
    }

    pub(super) fn assign(&mut self, instance: InstanceId) -> Checkpoint {
        self.epoch += 1;
        self.held = true;
        (self.instance, self.target, self.unread, self.may_read) = (instance, None, true, false);
        self.generation = 0;
        self.maybe_on = vec![instance];
        (self.committed, self.flushed, self.processed) = (self.table, self.table, self.table);
        self.end_asked = false;
        self.poison.values_mut().for_each(|poison| poison.failed = 0);
        self.position()
    }

    pub(super) fn route(&mut self, to: InstanceId) {
        if self.held {
            self.target = Some(to);
            self.maybe_on.push(to);
        }
    }

    /// An instance died: what it did since the last flush is to be done again.
    pub(super) fn died(&mut self, instance: InstanceId) {
        if !self.held || self.end_asked || !self.maybe_on.contains(&instance) {
            return;
        }
        if self.target.is_none() || (self.instance == instance && self.processed > self.flushed) {
            self.processed = self.flushed;
            self.unread = true;
        } else {
            self.may_read = true;
        }
    }

    /// Whether it has to do with an instance.
    pub(super) fn needs(&self, instance: InstanceId) -> bool {
        self.held && !self.end_asked && self.runs_on() == instance
    }

    /// The instance that processes it, from the next call on.
    pub(super) fn runs_on(&self) -> InstanceId {
        self.target.unwrap_or(self.instance)
    }

    /// Something happened on the instance that it was routed to.
    pub(super) fn arrive(&mut self) {
        if let Some(target) = self.target.take() {
            let stays = target == self.instance;
            assert!(stays || self.flushed == self.processed, "moved before all that was processed is durable");
            self.instance = target;
            self.maybe_on = vec![target];
            self.poison.values_mut().for_each(|poison| poison.failed = 0);
        }
    }

    fn position(&self) -> Checkpoint {
        match self.flushed {
            0 => Checkpoint::TrimHorizon,
            sequence => Checkpoint::from_row(&sequence.to_string(), 0).unwrap(),
        }
    }

    /// The run loop wants the shard read.
    pub(super) fn read(&mut self, generation: Generation, from: &Checkpoint) {
        assert!(self.held && !self.end_asked, "reads a shard that is not held or done");
        assert!(self.unread || self.may_read, "reads again what nobody lost");
        self.arrive();
        assert_eq!(*from, self.position(), "reads from what is durable");
        (self.unread, self.may_read) = (false, false);
        self.generation = generation;
        (self.next, self.processed) = (self.flushed, self.flushed);
        (self.unprocessed, self.end_sent, self.end_delivered) = (0, false, false);
    }

    /// The reader gets a response, if it may ask for one.
    pub(super) fn fetch(&mut self, dice: &mut Dice) -> bool {
        if !self.held || self.unread || self.end_asked || self.end_sent || self.unprocessed >= UNPROCESSED_MAX {
            return false;
        }
        if self.next == self.records {
            self.end_sent = self.closed;
            if self.closed {
                self.in_flight.push_back(Delivery::End(self.generation));
            }
            return self.closed;
        }
        let last = self.records.min(self.next + 1 + dice.below(25));
        let batch = batch(self.generation, self.next + 1..=last, dice);
        self.next = last;
        self.unprocessed += batch.len();
        self.in_flight.push_back(Delivery::Batch(self.generation, batch));
        true
    }

    pub(super) fn deliver(&mut self, source: SourceId) -> Option<Event> {
        Some(match self.in_flight.pop_front()? {
            Delivery::Batch(generation, batch) => Event::Batch { source, generation, batch },
            Delivery::End(generation) => {
                self.end_delivered |= generation == self.generation && self.held;
                Event::End { source, generation, children: Vec::new() }
            }
        })
    }

    pub(super) fn through(&mut self, generation: Generation, records: usize) {
        if generation == self.generation {
            assert!(records <= self.unprocessed, "more records are through than were delivered");
            self.unprocessed -= records;
        }
    }

    /// Checks that a call is of the next records, under the reading that counts.
    pub(super) fn check_call(
        &self,
        batch: &Arc<Batch>,
        range: std::ops::Range<usize>,
        attempt: u32,
        most_attempts: u32,
    ) {
        assert!(self.held && !self.end_asked && !self.unread);
        assert!(attempt <= most_attempts, "attempt {attempt}");
        let next = (self.processed + 1..).zip(batch.envelopes(range));
        for (expected, envelope) in next {
            assert_eq!(envelope.sequence, expected.to_string(), "the next record in order");
            assert_eq!(envelope.key, Some(self.generation.to_string().as_str()), "a delivery that is stale");
        }
    }

    pub(super) fn check_checkpoint(&self, epoch: Epoch, position: u64) {
        assert!(self.held && epoch == self.epoch, "a checkpoint under a lease that is gone");
        assert!(position > self.committed, "a checkpoint that says nothing new");
        assert!(position <= self.flushed, "checkpoint {position}, but outputs are durable up to {}", self.flushed);
    }

    pub(super) fn check_end(&self, epoch: Epoch) {
        assert!(self.held && epoch == self.epoch && !self.end_asked);
        assert!(self.end_delivered, "an end that no reader told");
        assert_eq!((self.processed, self.flushed, self.committed), (self.records, self.records, self.records));
    }

    /// The first record of a call that makes it fail: its index and how.
    pub(super) fn poison_in(&mut self, instance: InstanceId, first: u64, len: usize) -> Option<(usize, FailureClass)> {
        let parity = instance % 2;
        let hurts = |poison: &Poison| poison.times > 0 && poison.only.is_none_or(|only| only == parity);
        let (&sequence, poison) = self.poison.range_mut(first..first + len as u64).find(|(_, poison)| hurts(poison))?;
        poison.times -= u32::from(poison.times < u32::MAX);
        poison.failed += 1;
        Some((usize::try_from(sequence - first).unwrap(), poison.class))
    }

    /// Whether a record of it will never succeed, whatever the version.
    pub(super) fn is_hopeless(&self) -> bool {
        self.poison.range(..=self.records).any(|(_, poison)| poison.times == u32::MAX && poison.only.is_none())
    }
}

/// Records whose key names the reading that delivered them.
fn batch(generation: Generation, sequences: std::ops::RangeInclusive<u64>, dice: &mut Dice) -> Batch {
    let mut builder = BatchBuilder::default();
    let key = generation.to_string();
    for sequence in sequences {
        let sequence = sequence.to_string();
        let message = vec![b'x'; dice.index(200)];
        builder.push(Envelope {
            sequence: &sequence,
            sub_sequence: 0,
            key: Some(&key),
            message: &message,
            arrival_ms: 0,
        });
    }
    builder.finish()
}
