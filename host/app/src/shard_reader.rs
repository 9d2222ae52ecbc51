//! The shell around the reader machine: one task per shard that carries out its calls and delivers batches to the run
//! loop. Dropping it at any point is safe: reading has no effect elsewhere, and what it delivered carries its
//! generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shardmill_aws::Kinesis;
use shardmill_core::aggregate::Report;
use shardmill_core::reader::{Action, Event, Fetched, Reader};
use shardmill_core::run_loop::{self, Generation, SourceId};
use shardmill_core::service::ServiceError;
use tokio::sync::{Notify, mpsc};
use tracing::{debug, warn};

use crate::clock::Clock;
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

    async fn taken(&self) -> Event {
        self.changed.notified().await;
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        let records = self.records.swap(0, Ordering::Relaxed);
        Event::Processed { bytes, records }
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
}

impl ShardReader {
    /// Reads until the shard's end, a failure that no retry mends (returned), or until nobody listens any more.
    pub(crate) async fn run(
        self,
        mut reader: Reader,
        deliver: mpsc::Sender<run_loop::Event>,
    ) -> Result<(), ServiceError> {
        let mut event = Event::Tick;
        let mut aggregation = Report::default();
        loop {
            let mut call = None;
            for action in reader.on(self.clock.now(), event) {
                match action {
                    Action::Deliver(batch) => {
                        self.delivering(batch.len());
                        let (source, generation) = (self.source, self.generation);
                        if deliver.send(run_loop::Event::Batch { source, generation, batch }).await.is_err() {
                            return Ok(());
                        }
                    }
                    Action::End { children } => {
                        debug!(stream = self.stream, shard = self.shard, ?children, "read to the shard's end");
                        let (source, generation) = (self.source, self.generation);
                        // Nobody listens once the job has ended.
                        drop(deliver.send(run_loop::Event::End { source, generation, children }).await);
                        return Ok(());
                    }
                    Action::Fail(error) => return Err(error),
                    request @ (Action::GetIterator(_) | Action::GetRecords { .. }) => call = Some(request),
                }
            }
            self.warn_of_aggregates(aggregation, reader.aggregation());
            aggregation = reader.aggregation();
            self.status.update_shard(self.source, |shard| {
                shard.behind = reader.millis_behind_latest();
                shard.aggregation = aggregation;
            });
            event = match call {
                Some(call) => self.call(call).await,
                // Both arms are cancel-safe: a missed notification is stored, a timer loses nothing.
                None => tokio::select! {
                    event = self.progress.taken() => event,
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
            Action::GetRecords { iterator, limit } => {
                let answer = self.kinesis.get_records(&iterator, limit).await;
                Event::Fetched(answer.map(|records| Fetched {
                    batch: records.batch,
                    next_iterator: records.next_iterator,
                    children: records.children,
                    millis_behind_latest: records.millis_behind_latest,
                }))
            }
            Action::Deliver(_) | Action::End { .. } | Action::Fail(_) => Event::Tick,
        }
    }

    /// Says once what is wrong with the producers of this shard.
    fn warn_of_aggregates(&self, before: Report, now: Report) {
        let Self { stream, shard, .. } = self;
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
            status.shards.entry(self.source).or_default().waiting += records as u64;
        });
    }
}
