//! The shell around the polling machine: one task per shard that carries out its calls and delivers batches to the run
//! loop; and what it has in common with that of the fan-out machine. Dropping it at any point is safe: reading has no
//! effect elsewhere, and what it delivered carries its generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shardmill_aws::Kinesis;
use shardmill_core::envelope::Batch;
use shardmill_core::kinesis::aggregate::Report;
use shardmill_core::kinesis::polling::{Action, Event, Reader};
use shardmill_core::kinesis::shard::ChildShard;
use shardmill_core::run_loop::{self, Generation, SourceId};
use shardmill_core::service::ServiceError;
use tokio::sync::{Notify, mpsc};
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::failures::Calls;
use crate::status::Status;

/// What the task is through with, counted back to the reader.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bytes: AtomicUsize,
    records: AtomicUsize,
    changed: Notify,
}

impl Progress {
    pub(crate) fn add(&self, bytes: usize, records: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Waits until there is some; bytes and records since the last time.
    pub(crate) async fn taken(&self) -> (usize, usize) {
        self.changed.notified().await;
        (self.bytes.swap(0, Ordering::Relaxed), self.records.swap(0, Ordering::Relaxed))
    }
}

/// What a shard reader works on.
pub(crate) struct ShardReader {
    pub(crate) kinesis: Kinesis,
    pub(crate) stream: String,
    pub(crate) shard: String,
    pub(crate) source: SourceId,
    pub(crate) generation: Generation,
    pub(crate) clock: Clock,
    pub(crate) progress: Arc<Progress>,
    pub(crate) status: Arc<Status>,
    pub(crate) run_loop: mpsc::Sender<run_loop::Event>,
    /// As it was last shown.
    pub(crate) aggregation: Report,
    /// A few failures are everyday, because readers share a shard's calls.
    pub(crate) calls: Calls,
}

impl ShardReader {
    /// Reads until the shard's end, a failure that no retry mends (returned), or until nobody listens any more.
    pub(crate) async fn run(mut self, mut reader: Reader) -> Result<(), ServiceError> {
        let mut event = Event::Tick;
        loop {
            let mut call = None;
            for action in reader.on(self.clock.now(), event) {
                match action {
                    Action::Deliver(batch) => {
                        if !self.deliver(batch).await {
                            return Ok(());
                        }
                    }
                    Action::End { children } => {
                        self.end(children).await;
                        return Ok(());
                    }
                    Action::Fail(error) => return Err(error),
                    request @ (Action::GetIterator(_) | Action::GetRecords { .. }) => call = Some(request),
                }
            }
            self.show(reader.millis_behind_latest(), reader.aggregation());
            event = match call {
                Some(call) => {
                    let event = self.call(call).await;
                    self.calls.answered(match &event {
                        Event::Iterator(Err(error)) | Event::Fetched(Err(error)) => Some(error),
                        _ => None,
                    });
                    event
                }
                // Both arms are cancel-safe: a missed notification is stored, a timer loses nothing.
                None => tokio::select! {
                    (bytes, records) = self.progress.taken() => Event::Processed { bytes, records },
                    () = tokio::time::sleep(self.clock.until(reader.wake_at())) => Event::Tick,
                },
            };
        }
    }

    async fn call(&self, action: Action) -> Event {
        match action {
            Action::GetIterator(position) => {
                Event::Iterator(self.kinesis.shard_iterator(&self.stream, &self.shard, &position).await)
            }
            Action::GetRecords { iterator, limit } => Event::Fetched(self.kinesis.get_records(&iterator, limit).await),
            Action::Deliver(_) | Action::End { .. } | Action::Fail(_) => Event::Tick,
        }
    }

    /// Passes a batch on, as soon as there is room for it; `false` when nobody listens any more.
    pub(crate) async fn deliver(&self, batch: Batch) -> bool {
        self.delivering(batch.len());
        let (source, generation) = (self.source, self.generation);
        self.run_loop.send(run_loop::Event::Batch { source, generation, batch }).await.is_ok()
    }

    pub(crate) async fn end(&self, children: Vec<ChildShard>) {
        debug!(stream = self.stream, shard = self.shard, ?children, "read to the shard's end");
        let (source, generation) = (self.source, self.generation);
        // Nobody listens once the job has ended.
        drop(self.run_loop.send(run_loop::Event::End { source, generation, children }).await);
    }

    /// Shows how the reading stands.
    pub(crate) fn show(&mut self, behind: Option<u64>, aggregation: Report) {
        self.warn_of_aggregates(aggregation);
        self.aggregation = aggregation;
        self.status.update_reading(self.source, self.generation, |shard| {
            shard.behind = behind;
            shard.aggregation = aggregation;
        });
    }

    /// Says once what is wrong with the producers of this shard.
    fn warn_of_aggregates(&self, now: Report) {
        let Self { stream, shard, aggregation: before, .. } = self;
        if before.malformed == 0 && now.malformed > 0 {
            warn!(stream, shard, "a record begins like an aggregate and is none: delivered as it is");
        }
        if before.foreign == 0 && now.foreign > 0 {
            warn!(stream, shard, "an aggregate holds keys of another shard: delivered, but not in order with that one");
        }
    }

    fn delivering(&self, records: usize) {
        let now = self.clock.now();
        self.status.update(|status| {
            status.first_record_at.get_or_insert(now);
        });
        self.status.update_reading(self.source, self.generation, |shard| shard.waiting += records as u64);
    }
}
