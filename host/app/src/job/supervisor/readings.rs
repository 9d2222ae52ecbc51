//! Readings of shards: begun when the run loop asks, ended when the lease goes or the reader does.

use std::sync::Arc;

use shardmill_core::kinesis::aggregate::Report;
use shardmill_core::kinesis::shard::ShardId;
use shardmill_core::kinesis::{fan_out, polling};
use shardmill_core::leases::Epoch;
use shardmill_core::position::Checkpoint;
use shardmill_core::run_loop::{Event, Generation, SourceId};
use tracing::Instrument;

use super::{Part, Phase, Reading, Supervisor};
use crate::failures::{Calls, Subject};
use crate::kinesis::fan_out::FanOutReader;
use crate::kinesis::polling::{Progress, ShardReader};
use crate::settings;

impl Supervisor {
    pub(super) fn read(&mut self, source: SourceId, generation: Generation, from: &Checkpoint) {
        if self.phase != Phase::Running {
            return;
        }
        let part = Part::Reader { source, name: self.name(source) };
        let state = &mut self.sources[source as usize];
        let input = &self.inputs[state.input];
        self.status.begin_reading(source, generation);
        let progress = Arc::new(Progress::default());
        let stream = input.config.stream_id().to_owned();
        let subject = Subject::Shard { stream: stream.clone(), shard: state.shard.clone() };
        let shard = ShardReader {
            kinesis: input.kinesis.clone(),
            stream,
            shard: state.shard.clone(),
            source,
            generation,
            clock: self.clock,
            progress: Arc::clone(&progress),
            status: Arc::clone(&self.status),
            run_loop: self.data.clone(),
            aggregation: Report::default(),
            calls: Calls::new(subject, Arc::clone(&self.status), self.clock),
        };
        let hash_range = state.hash_range.clone();
        let latest = state.latest.for_reading(self.clock.now());
        let task = match &input.fan_out {
            None => {
                let run = shard.run(polling::Reader::new(settings::reader(&input.config, latest), from, hash_range));
                self.parts.spawn(part, run.in_current_span())
            }
            Some(fan_out) => {
                let reader = fan_out::Reader::new(settings::fan_out(&input.config, latest), from, hash_range);
                let run = FanOutReader { shard, fan_out: Arc::clone(fan_out) }.run(reader);
                self.parts.spawn(part, run.in_current_span())
            }
        };
        if let Some(old) = state.reading.replace(Reading { generation, task, progress }) {
            old.task.abort();
        }
    }

    /// Nothing is to be read any more.
    pub(super) fn stop_readers(&mut self) {
        for reading in self.sources.iter_mut().filter_map(|source| source.reading.take()) {
            reading.task.abort();
        }
    }

    pub(super) fn revoked(&mut self, source: SourceId, epoch: Epoch) {
        self.tell_task(Event::Revoked { source, epoch });
        self.versions.released(source);
        self.status.update(|status| drop(status.shards.remove(&source)));
    }

    /// Nobody writes the checkpoints of this input's shards any more: they are as good as lost.
    pub(super) fn lease_worker_gone(&mut self, input: usize) {
        self.inputs[input].stopped = true;
        let theirs = self.sources.iter().filter(|state| state.input == input);
        let theirs: Vec<(ShardId, Epoch)> = theirs.map(|state| (state.shard.clone(), state.epoch)).collect();
        for (shard, epoch) in theirs {
            if let Some(source) = self.stop_reading(input, &shard) {
                self.revoked(source, epoch);
            }
        }
    }

    pub(super) fn stop_reading(&mut self, input: usize, shard: &str) -> Option<SourceId> {
        let source = *self.by_shard.get(&(input, shard.to_owned()))?;
        if let Some(reading) = self.sources[source as usize].reading.take() {
            reading.task.abort();
        }
        Some(source)
    }
}
