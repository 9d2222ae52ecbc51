//! The shell around the lease machine: one task per input that carries out scans, listings and writes and feeds the
//! answers back. Owns the concurrency of the calls; decides nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use shardmill_aws::{Kinesis, LeaseTable};
use shardmill_core::backoff::{Backoff, Waits};
use shardmill_core::config::NewTable;
use shardmill_core::kinesis::shard::{ShardFilter, ShardId};
use shardmill_core::leases::{
    Action, Event, Loss, START_ATTEMPTS_MAX, Scan, Settings, Unread, UnreadReason, Worker, Write,
};
use shardmill_core::service::{ErrorKind, ServiceError};
use tokio::sync::{Semaphore, mpsc};
use tracing::{Instrument, debug, info, warn};

use crate::clock::Clock;
use crate::failures::{Calls, Subject};
use crate::status::Status;
use crate::tasks::Tasks;

/// Writes to the lease table that may be on their way at a time (the Kinesis Client Library's lease renewal threads).
const WRITES_MAX: usize = 20;

/// Waits between attempts to find or make the table.
const ENSURE: Backoff = Backoff { first: 200, longest: 5_000 };

const SCAN: &str = "a scan of the lease table";

/// What a lease worker works on.
pub(crate) struct LeaseWorker {
    pub(crate) settings: Settings,
    pub(crate) table: LeaseTable,
    pub(crate) new_table: NewTable,
    pub(crate) kinesis: Kinesis,
    pub(crate) stream: String,
    pub(crate) clock: Clock,
    pub(crate) status: Arc<Status>,
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
    /// How it stands, when that has changed. Comes after the starts that make it so.
    Standing(Standing),
}

/// Whether an input is read as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The worker reads everything that it may hold, and nothing is left that nobody reads.
    pub is_settled: bool,
    /// It reads everything that it may hold, and the following is left.
    pub is_settled_but_unread: bool,
    /// Shards that nobody reads.
    pub unread: Vec<Unread>,
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
        let mut calls = Tasks::default();
        let writes = Arc::new(Semaphore::new(WRITES_MAX));
        let mut standing = Standing::default();
        let mut event = Event::Tick;
        let mut is_wanted = true;
        let mut unreadable = BTreeSet::new();
        let (table, stream) = (self.table.name(), self.stream.clone());
        let mut scans = self.calls(Subject::TableRead(table.to_owned())).at_start();
        let mut writes_made = self.calls(Subject::TableWrite(table.to_owned()));
        let mut listings = self.calls(Subject::ShardList { stream }).at_start();
        loop {
            match &event {
                Event::Scanned(answer) => {
                    scans.answered(answer.as_ref().err());
                    answer.iter().for_each(|scan| self.tell_unreadable(scan, &mut unreadable));
                }
                Event::Listed(answer) => listings.answered(answer.as_ref().err()),
                Event::Written { result, .. } => writes_made.answered(result.as_ref().err()),
                _ => {}
            }
            for action in worker.on(self.clock.now(), event) {
                debug!(stream = self.stream, ?action, "lease action");
                match action {
                    Action::Scan => drop(calls.spawn(SCAN, scan(self.table.clone()))),
                    Action::ScanConsistently => {
                        drop(calls.spawn(SCAN, scan(self.table.clone().with_consistent_reads(true))));
                    }
                    Action::List(filter) => drop(calls.spawn("a listing of the shards", self.list(filter))),
                    Action::Write(write) => {
                        let write = self.write(write, Arc::clone(&writes)).in_current_span();
                        drop(calls.spawn("a write to the lease table", write));
                    }
                    Action::Stopped => return self.tell(&told, Telling::Action(Action::Stopped)),
                    outward => self.tell(&told, Telling::Action(outward)),
                }
            }
            let now = Standing {
                is_settled: worker.is_settled(),
                is_settled_but_unread: worker.is_settled_but_unread(),
                unread: worker.unread(),
            };
            if now != standing {
                self.log_unread(&standing.unread, &now.unread);
                standing = now.clone();
                self.tell(&told, Telling::Standing(now));
            }
            // Every arm is cancel-safe: a channel receive, a join and a timer lose nothing when dropped.
            event = tokio::select! {
                command = commands.recv(), if is_wanted => {
                    // A job that is gone without a word wants its leases no more.
                    is_wanted = command.is_some();
                    command.unwrap_or(Event::Stop)
                }
                Some((_, answer)) = calls.join_next() => match answer {
                    Ok(event) => event,
                    // The machine waits for the answer, so nothing can go on.
                    Err(panicked) => std::panic::resume_unwind(Box::new(panicked.to_string())),
                },
                () = tokio::time::sleep(self.clock.until(worker.wake_at())) => Event::Tick,
            };
        }
    }

    /// Makes sure that the table is there. A service that does not answer is waited for, unless no name server knows it:
    /// that is a mistake in the configuration, most likely.
    async fn ensure_table(&self) -> Result<(), ServiceError> {
        let mut waits = Waits::new(ENSURE, self.settings.seed);
        let mut reads = self.calls(Subject::TableRead(self.table.name().to_owned())).at_start();
        let mut listings = self.calls(Subject::ShardList { stream: self.stream.clone() }).at_start();
        let mut unknown = 0;
        loop {
            let ensured = self.try_ensure_table().await;
            // The stream is asked for when the table has answered.
            let (of_table, of_stream) = match &ensured {
                Err(error) if error.operation == "ListShards" => (None, Some(error)),
                ensured => (ensured.as_ref().err(), None),
            };
            reads.answered(of_table);
            listings.answered(of_stream);
            match ensured {
                Err(error) if error.kind.is_transient() => {
                    unknown += u32::from(error.kind == ErrorKind::UnknownHost);
                    if unknown >= START_ATTEMPTS_MAX {
                        return Err(error);
                    }
                    tokio::time::sleep(Duration::from_millis(waits.after_failure())).await;
                }
                ensured => return ensured,
            }
        }
    }

    /// A table is made only for a stream that there is: a name that is misspelt leaves nothing behind.
    async fn try_ensure_table(&self) -> Result<(), ServiceError> {
        if self.table.find().await? {
            return Ok(());
        }
        self.kinesis.find_stream(&self.stream).await?;
        self.table.ensure(self.new_table).await.map(drop)
    }

    /// Shards that nobody reads, when they are others than before.
    fn log_unread(&self, before: &[Unread], now: &[Unread]) {
        if before == now {
            return;
        }
        let (stream, table) = (&self.stream, self.table.name());
        match summary(now) {
            Some(summary) => warn!(stream, table, "{summary}"),
            None => info!(stream, table, "every shard is read again"),
        }
    }

    fn calls(&self, subject: Subject) -> Calls {
        Calls::new(subject, Arc::clone(&self.status), self.clock)
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

/// Shards that nobody reads, and why, in one line; `None` when there are none.
pub(crate) fn summary(unread: &[Unread]) -> Option<String> {
    let first = unread.first()?;
    let shards = match unread.len() {
        1 => format!("shard {} is", first.key),
        more => format!("{more} shards ({} and others) are", first.key),
    };
    let cure = match first.why {
        UnreadReason::Limit(_) => "; start more workers, or raise MaxLeasesForWorker",
        UnreadReason::Row(_) => "",
    };
    Some(format!("{shards} read by nobody: {}{cure}", first.why))
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
