//! The readers of a job's shards: each on an async task of its own, which ends when it is dropped.

use std::collections::HashMap;
use std::sync::Arc;

use shardmill_core::kinesis::aggregate::Report;
use shardmill_core::kinesis::shard::HashRange;
use shardmill_core::kinesis::{fan_out, polling};
use shardmill_core::position::{Checkpoint, Latest};
use shardmill_core::run_loop::{Generation, SourceId};
use tokio::task::AbortHandle;
use tracing::Instrument;

use super::{CoordinatorShell, Part, ReadBy};
use crate::failures::{Calls, Subject};
use crate::kinesis::fan_out::FanOutReader;
use crate::kinesis::polling::{Progress, ShardReader};
use crate::settings;

/// The reader of each shard that is read.
#[derive(Default)]
pub(in crate::job) struct Readers(HashMap<SourceId, Reader>);

struct Reader {
    task: AbortHandle,
    progress: Arc<Progress>,
}

impl Readers {
    pub(super) fn stop(&mut self, source: SourceId) {
        if let Some(reader) = self.0.remove(&source) {
            reader.task.abort();
        }
    }

    pub(super) fn credit(&self, source: SourceId, bytes: usize, records: usize) {
        if let Some(reader) = self.0.get(&source) {
            reader.progress.add(bytes, records);
        }
    }
}

impl CoordinatorShell {
    pub(super) fn start_reader(
        &mut self,
        source: SourceId,
        generation: Generation,
        from: &Checkpoint,
        latest: Latest,
        hash_range: Option<HashRange>,
    ) {
        let part = Part::Reader { source, generation, name: self.coordinator.name(source) };
        let (input, shard, _) = self.coordinator.source(source);
        let input = &self.inputs[input];
        self.status.begin_reading(source, generation);
        let progress = Arc::new(Progress::default());
        let stream = input.config.stream_id().to_owned();
        let subject = Subject::Shard { stream: stream.clone(), shard: shard.clone() };
        let shard = ShardReader {
            kinesis: input.kinesis.clone(),
            stream,
            shard: shard.clone(),
            source,
            generation,
            clock: self.clock,
            progress: Arc::clone(&progress),
            status: Arc::clone(&self.status),
            run_loop: self.data.clone(),
            aggregation: Report::default(),
            calls: Calls::new(subject, Arc::clone(&self.status), self.clock),
        };
        let retrieval = &input.config.retrieval;
        let task = match &input.read_by {
            ReadBy::Polling(polling) => {
                let settings = settings::polling(retrieval, *polling, latest);
                let run = shard.run(polling::Reader::new(settings, from, hash_range));
                self.parts.spawn(part, run.in_current_span())
            }
            ReadBy::FanOut(fan_out) => {
                let reader = fan_out::Reader::new(settings::fan_out(retrieval, latest), from, hash_range);
                let run = FanOutReader { shard, fan_out: Arc::clone(fan_out) }.run(reader);
                self.parts.spawn(part, run.in_current_span())
            }
        };
        self.readers.stop(source);
        self.readers.0.insert(source, Reader { task, progress });
    }
}
