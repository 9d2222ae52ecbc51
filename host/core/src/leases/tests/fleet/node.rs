//! One life of a worker: the machine, and a consumer that stands for the shard readers and the task.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::leases::tests::{at, model::Stream};
use crate::leases::{Epoch, Event, Millis, Settings, Worker};
use crate::position::Checkpoint;
use crate::shard::ShardId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Alive,
    Stopping,
    /// Stopped or killed.
    Over,
}

pub(super) struct Node {
    pub(super) name: String,
    pub(super) worker: Worker,
    pub(super) life: Life,
    pub(super) paused_until: Millis,
    pub(super) readings: BTreeMap<ShardId, Reading>,
    /// What was held when the stop came.
    pub(super) held: Vec<ShardId>,
    /// What the consumer had processed by then, by shard.
    pub(super) left: BTreeMap<ShardId, u64>,
    /// The machine gave leases up while stopping, so it owes nothing for them.
    pub(super) lost_while_stopping: bool,
    pub(super) next_wake: Millis,
}

/// A shard between its start and its end or loss.
pub(super) struct Reading {
    pub(super) epoch: Epoch,
    pub(super) processed: u64,
    committed: u64,
    committing: bool,
    ended: bool,
}

impl Node {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            name: settings.worker.clone(),
            worker: Worker::new(settings),
            life: Life::Alive,
            paused_until: 0,
            readings: BTreeMap::new(),
            held: Vec::new(),
            left: BTreeMap::new(),
            lost_while_stopping: false,
            next_wake: Millis::MAX,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.life == Life::Over
    }

    pub(super) fn start(&mut self, stream: &Stream, key: &str, epoch: Epoch, checkpoint: &Checkpoint) {
        let processed = stream.shards[key].covered_by(checkpoint);
        let reading = Reading { epoch, processed, committed: processed, committing: false, ended: false };
        let old = self.readings.insert(key.to_owned(), reading);
        assert!(old.is_none(), "{key} is started twice without a revocation");
    }

    pub(super) fn revoke(&mut self, key: &str, epoch: Epoch) {
        self.lost_while_stopping |= self.life == Life::Stopping;
        if self.readings.get(key).is_some_and(|reading| reading.epoch == epoch) {
            self.readings.remove(key);
        }
    }

    pub(super) fn checkpointed(&mut self, stream: &Stream, key: &str, epoch: Epoch, written: Option<&Checkpoint>) {
        let Some(reading) = self.readings.get_mut(key).filter(|reading| reading.epoch == epoch) else { return };
        reading.committing = false;
        if let Some(checkpoint) = written {
            reading.committed = stream.shards[key].covered_by(checkpoint);
        }
    }

    /// Processes some records of a shard; returns how many are processed now and what the machine is told.
    pub(super) fn step(&mut self, stream: &Stream, key: &str, dice: &mut Dice) -> (u64, Vec<Event>) {
        let Some(reading) = self.readings.get_mut(key) else { return (0, Vec::new()) };
        let shard = &stream.shards[key];
        let mut events = Vec::new();
        reading.processed = shard.records.min(reading.processed + dice.below(20));
        let (key, epoch) = (key.to_owned(), reading.epoch);
        if !reading.committing && !reading.ended && reading.processed > reading.committed && dice.chance(40) {
            reading.committing = true;
            let checkpoint = at(shard.sequence(reading.processed - 1));
            events.push(Event::Checkpoint { key: key.clone(), epoch, checkpoint });
        }
        if !shard.shard.open && reading.processed == shard.records && !reading.ended {
            reading.ended = true;
            let children = if dice.chance(70) { stream.children_of(&key) } else { Vec::new() };
            events.push(Event::ShardEnded { key, epoch, children });
        }
        (reading.processed, events)
    }

    /// The last commit, then the stop.
    pub(super) fn stop(&mut self, stream: &Stream) -> Vec<Event> {
        self.life = Life::Stopping;
        self.held = self.worker.held().cloned().collect();
        let mut events = Vec::new();
        for (key, reading) in self.readings.iter().filter(|(_, reading)| !reading.ended) {
            self.left.insert(key.clone(), reading.processed);
            if reading.processed > reading.committed {
                let checkpoint = at(stream.shards[key].sequence(reading.processed - 1));
                events.push(Event::Checkpoint { key: key.clone(), epoch: reading.epoch, checkpoint });
            }
        }
        events.push(Event::Stop);
        events
    }
}
