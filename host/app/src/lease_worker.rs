//! The shell around the lease machine: one task per input that carries out scans, listings and writes and feeds the
//! answers back. Owns the concurrency of the calls; decides nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use shardmill_aws::{Kinesis, LeaseTable, NewTable};
use shardmill_core::backoff::{Backoff, Waits};
use shardmill_core::leases::{Action, Event, Loss, START_ATTEMPTS_MAX, Scan, Settings, Worker, Write};
use shardmill_core::service::{ErrorKind, ServiceError};
use shardmill_core::shard::{ShardFilter, ShardId};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::{Instrument, debug, info, warn};

use crate::clock::Clock;
use crate::failures::{Failures, Say};

/// Writes to the lease table that may be on their way at a time (the Kinesis Client Library's lease renewal threads).
const WRITES_MAX: usize = 20;

/// Waits between attempts to find or make the table while the service asks for fewer calls.
const THROTTLED: Backoff = Backoff { first: 200, longest: 5_000 };

/// What a lease worker works on.
pub(crate) struct LeaseWorker {
    pub(crate) settings: Settings,
    pub(crate) table: LeaseTable,
    pub(crate) new_table: NewTable,
    pub(crate) kinesis: Kinesis,
    pub(crate) stream: String,
    pub(crate) clock: Clock,
    /// The input's index in the job.
    pub(crate) input: usize,
}

/// Both ways are unbounded, but what goes through is bounded by what the machines have under way: a start, a
/// revocation, one checkpoint and one end per shard. A bounded channel could block a renewal behind a slow task.
pub(crate) type Commands = mpsc::UnboundedReceiver<Event>;
pub(crate) type Told = mpsc::UnboundedSender<(usize, Telling)>;

/// What the job hears of an input.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are actions")]
pub(crate) enum Telling {
    Action(Action),
    /// Whether the worker reads everything that it may hold. Comes after the starts that make it so.
    Settled(bool),
}

impl LeaseWorker {
    /// Runs until everything is released, which is told last. What concerns the job (starts, revocations, answers,
    /// failures) goes to `told`; `commands` brings checkpoints, shard ends and the stop.
    pub(crate) async fn run(self, mut commands: Commands, told: Told) {
        let ensured = tokio::select! {
            ensured = self.ensure_table() => ensured,
            // There is nothing yet to be checkpointed: this is the stop.
            _ = commands.recv() => return self.tell(&told, Telling::Action(Action::Stopped)),
        };
        if let Err(error) = ensured {
            self.tell(&told, Telling::Action(Action::Fail(error.to_string())));
            return self.tell(&told, Telling::Action(Action::Stopped));
        }
        let mut worker = Worker::new(self.settings.clone());
        let mut calls = JoinSet::new();
        let writes = Arc::new(Semaphore::new(WRITES_MAX));
        let mut settled = false;
        let mut event = Event::Tick;
        let mut is_wanted = true;
        let mut unreadable = BTreeSet::new();
        let (mut scans, mut listings) = (Failures::at_start(), Failures::at_start());
        loop {
            match &event {
                Event::Scanned(answer) => {
                    self.tell_failures(answer.as_ref().err(), &mut scans, "the lease table");
                    answer.iter().for_each(|scan| self.tell_unreadable(scan, &mut unreadable));
                }
                Event::Listed(answer) => {
                    self.tell_failures(answer.as_ref().err(), &mut listings, "the list of the shards");
                }
                _ => {}
            }
            for action in worker.on(self.clock.now(), event) {
                debug!(stream = self.stream, ?action, "lease action");
                match action {
                    Action::Scan => drop(calls.spawn(scan(self.table.clone()))),
                    Action::ScanConsistently => {
                        drop(calls.spawn(scan(self.table.clone().with_consistent_reads(true))));
                    }
                    Action::List(filter) => drop(calls.spawn(self.list(filter))),
                    Action::Write(write) => drop(calls.spawn(self.write(write, Arc::clone(&writes)).in_current_span())),
                    Action::Stopped => return self.tell(&told, Telling::Action(Action::Stopped)),
                    outward => self.tell(&told, Telling::Action(outward)),
                }
            }
            let is_settled = worker.is_settled();
            if std::mem::replace(&mut settled, is_settled) != is_settled {
                self.tell(&told, Telling::Settled(is_settled));
            }
            // Every arm is cancel-safe: a channel receive, a join and a timer lose nothing when dropped.
            event = tokio::select! {
                command = commands.recv(), if is_wanted => {
                    // A job that is gone without a word wants its leases no more.
                    is_wanted = command.is_some();
                    command.unwrap_or(Event::Stop)
                }
                Some(answer) = calls.join_next() => match answer {
                    Ok(event) => event,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = tokio::time::sleep(self.clock.until(worker.wake_at())) => Event::Tick,
            };
        }
    }

    /// Makes sure that the table is there. Many workers that start at once share a few calls a second.
    async fn ensure_table(&self) -> Result<(), ServiceError> {
        let mut waits = Waits::new(THROTTLED, self.settings.seed);
        for _ in 1..START_ATTEMPTS_MAX {
            match self.table.ensure(self.new_table).await {
                Err(error) if error.kind == ErrorKind::Throttled => {
                    debug!(stream = self.stream, %error, "the lease table is asked for again");
                    tokio::time::sleep(Duration::from_millis(waits.after_failure())).await;
                }
                ensured => return ensured.map(drop),
            }
        }
        self.table.ensure(self.new_table).await.map(drop)
    }

    /// The job may be gone already; then nobody needs to know.
    fn tell(&self, told: &Told, telling: Telling) {
        if let Telling::Action(Action::Revoke { key, why, .. }) = &telling {
            log_loss(&self.stream, key, why);
        }
        if let Telling::Action(Action::Notice(notice)) = &telling {
            warn!(stream = self.stream, table = self.settings.table, shard = notice.key(), "{notice}");
        }
        if told.send((self.input, telling)).is_err() {
            debug!(stream = self.stream, "the job ended before its lease worker");
        }
    }

    /// What is tried for long, and what a start waits for, is in the log.
    fn tell_failures(&self, failure: Option<&ServiceError>, failures: &mut Failures, what: &str) {
        match (failures.after(failure.is_some()), failure) {
            (Say::Failing(failures), Some(error)) => {
                warn!(stream = self.stream, %error, failures, "{what} cannot be read; trying on");
            }
            (Say::Mended, _) => info!(stream = self.stream, "{what} can be read again"),
            _ => {}
        }
    }

    /// Says once of each row.
    fn tell_unreadable(&self, scan: &Scan, told: &mut BTreeSet<ShardId>) {
        for (key, reason) in &scan.undecodable {
            if told.insert(key.clone()) {
                warn!(
                    stream = self.stream,
                    key, reason, "a lease cannot be read: it is left alone, its shard not read"
                );
            }
        }
    }

    fn list(&self, filter: ShardFilter) -> impl Future<Output = Event> + use<> {
        let (kinesis, stream) = (self.kinesis.clone(), self.stream.clone());
        async move { Event::Listed(kinesis.list_shards(&stream, filter).await) }
    }

    fn write(&self, write: Write, writes: Arc<Semaphore>) -> impl Future<Output = Event> + use<> {
        let table = self.table.clone();
        async move {
            let _permit = writes.acquire().await.expect("the semaphore is never closed");
            let result = table.write(&write).await;
            if let (Write::HashRange { key, .. } | Write::Delete { key, .. }, Err(error)) = (&write, &result) {
                warn!(key, %error, "the upkeep of a lease row failed; it is tried again later");
            }
            Event::Written { write, result }
        }
    }
}

async fn scan(table: LeaseTable) -> Event {
    Event::Scanned(table.scan().await)
}

/// That others balance the shards is no trouble; a lease that runs out is.
fn log_loss(stream: &str, shard: &str, why: &Loss) {
    match why {
        Loss::Taken { by: Some(worker) } => info!(stream, shard, worker, "another worker took the lease"),
        Loss::Taken { by: None } => warn!(stream, shard, "somebody changed or removed the row: the lease is lost"),
        Loss::Expired => warn!(stream, shard, "the lease was not renewed in time: others may have it"),
        Loss::Refused => warn!(stream, shard, "the lease is lost: its row cannot be written"),
    }
}
