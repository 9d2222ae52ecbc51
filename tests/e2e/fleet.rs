//! Processes of the real binary on one lease table, while a producer writes: started, stopped, paused and killed by the
//! test, and every record accounted for in the end.

#![allow(clippy::print_stderr, reason = "the story of a fleet is told to whoever looks at it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shardmill_core::leases::Lease;
use shardmill_core::position::{Checkpoint, compare_sequence};
use shardmill_local::model::{ListShards, ShardInfo, StreamRef};
use shardmill_local::{Journal, Kinesis};
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Echo, Producer, assert_each_at_least_once, last_sequences};
use shardmill_tests::guests::rust_guest;
use shardmill_tests::ledger::{Ledger, OPERATIONS};
use shardmill_tests::process::{Process, Signal};
use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until_blocking;

use crate::process::{Launch, run_tasks};

/// Enough that no shard is without records.
const KEYS: usize = 40;
/// What the producer puts at a time, and how long it rests.
const PUT: usize = 5;
const REST: Duration = Duration::from_millis(10);
/// Lines of each log that a failed test shows.
const LOG_TAIL: usize = 40;

/// A stream `lines` that is written to, and the processes that read it. Its methods block.
pub(crate) struct Fleet {
    /// What this is about, for messages.
    title: String,
    pub(crate) account: Account,
    journal: Journal,
    /// The living ones, by the name of their run.
    members: BTreeMap<String, Process>,
    /// The worker id of each run there ever was.
    runs: BTreeMap<String, String>,
    producer: Option<Writer>,
}

struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Fleet {
    /// A stream of so many shards and a job that reads it, with nobody at work yet but the producer.
    pub(crate) fn new(
        title: &str,
        account: Account,
        shards: u32,
        failover: Duration,
        set: impl Fn(Properties) -> Properties,
    ) -> Self {
        account.stream("lines", shards);
        let failover = failover.as_millis().to_string();
        account.configure(&set(account.properties(&["lines"]).kcl("FailoverTimeMillis", &failover)));
        drop(account.tasks(&[rust_guest("echo")]));
        let journal = account.journal(OPERATIONS);
        let producer = Some(Writer::start(account.kinesis().clone()));
        Self { title: title.to_owned(), account, journal, members: BTreeMap::new(), runs: BTreeMap::new(), producer }
    }

    pub(crate) fn kinesis(&self) -> &Kinesis {
        self.account.kinesis()
    }

    /// Starts a process under a worker id of its own.
    pub(crate) fn start(&mut self) -> String {
        let worker = format!("worker-{}", self.runs.len());
        self.start_as(&worker)
    }

    /// Starts a process under a worker id that may have been another's; the name of this run.
    pub(crate) fn start_as(&mut self, worker: &str) -> String {
        self.start_with(worker, &[], run_tasks)
    }

    /// What the next run will be called.
    pub(crate) fn next_run(&self) -> String {
        format!("run-{}", self.runs.len())
    }

    /// Starts a process under a worker id, with more arguments; the name of this run.
    pub(crate) fn start_with(&mut self, worker: &str, more: &[&str], launch: Launch) -> String {
        let run_name = self.next_run();
        let settings = [
            format!("systems.kinesis.streams.lines.aws.accessKey={run_name}"),
            format!("systems.kinesis.aws.kcl.WorkerId={worker}"),
            format!("systems.out.file.path={}", self.account.path(&run_name).display()),
        ];
        let settings = settings.iter().flat_map(|setting| ["--config", setting]);
        let arguments: Vec<&str> = settings.chain(more.iter().copied()).collect();
        let process = launch(&self.account, &log_name(&run_name), &arguments);
        self.members.insert(run_name.clone(), process);
        self.runs.insert(run_name.clone(), worker.to_owned());
        run_name
    }

    /// The worker id of a run.
    pub(crate) fn worker(&self, run: &str) -> String {
        self.runs[run].clone()
    }

    /// The shards whose leases a run holds, finished ones aside.
    pub(crate) fn held(&self, run: &str) -> Vec<String> {
        let mut rows = self.rows();
        rows.retain(|row| row.owner.as_ref() == Some(&self.runs[run]) && row.checkpoint != Checkpoint::ShardEnd);
        rows.into_iter().map(|row| row.key).collect()
    }

    /// The living one that holds the most.
    pub(crate) fn busiest(&self) -> String {
        self.living().into_iter().max_by_key(|run| self.held(run).len()).expect("somebody is alive")
    }

    /// What a run said so far.
    pub(crate) fn log(&self, run: &str) -> String {
        std::fs::read_to_string(self.account.path(&log_name(run))).unwrap_or_default()
    }

    pub(crate) fn member(&mut self, run: &str) -> &mut Process {
        self.members.get_mut(run).unwrap_or_else(|| panic!("{run} is not alive"))
    }

    pub(crate) fn living(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// Kills a process as a crash does.
    pub(crate) fn crash(&mut self, run: &str) {
        self.member(run).crash();
        self.members.remove(run);
    }

    /// Waits for a process that is about to die by itself; its exit code, if no signal was the reason.
    pub(crate) fn died(&mut self, run: &str) -> Option<i32> {
        let status = self.member(run).wait();
        self.members.remove(run);
        status.code()
    }

    /// Asks for a graceful stop, once the process can be asked, and waits for it.
    pub(crate) fn stop(&mut self, run: &str) {
        until_blocking("it listens to signals", || self.log(run).contains("starting the lease worker").then_some(()));
        self.member(run).signal(Signal::Terminate);
        self.stopped(run);
    }

    /// Waits for the end of a graceful stop.
    pub(crate) fn stopped(&mut self, run: &str) {
        let status = self.member(run).wait();
        assert_eq!(status.code(), Some(0), "{run} did not stop in good order:\n{}", self.member(run).log());
        self.members.remove(run);
    }

    /// The rows of the lease table.
    pub(crate) fn rows(&self) -> Vec<Lease> {
        wait_for(self.account.leases("lines"))
    }

    /// What a run has written so far.
    pub(crate) fn output(&self, run: &str) -> Vec<Echo> {
        echoes::read(&self.account.path(run))
    }

    /// Waits until every shard that has something left to read is held by one of the living, each of whom holds one,
    /// and has been committed at least once.
    pub(crate) fn all_at_work(&self) {
        until_blocking("every process is at work", || {
            let rows = self.rows();
            let open = || rows.iter().filter(|row| row.checkpoint != Checkpoint::ShardEnd);
            let owners: BTreeSet<&str> = open().filter_map(|row| row.owner.as_deref()).collect();
            let is_begun = |row: &Lease| row.owner.is_some() && matches!(row.checkpoint, Checkpoint::At(_));
            (owners.len() == self.members.len() && open().all(is_begun)).then_some(())
        });
    }

    /// Lets the living finish, starting one if there is none; stops them; accounts for every record.
    pub(crate) fn finish(mut self) {
        self.settle();
    }

    /// [`Fleet::finish`] for those who want to look at it after that.
    pub(crate) fn settle(&mut self) {
        self.producer.take().expect("nobody finishes twice").stop();
        if self.members.is_empty() {
            self.start();
        }
        let records = self.account.records("lines");
        let (last, shards) = (last_sequences(&records), self.shards());
        until_blocking("everything is committed", || {
            let rows = self.rows();
            let is_committed = |shard: &ShardInfo| {
                let row = rows.iter().find(|row| row.key == shard.shard_id);
                match (row.map(|row| &row.checkpoint), last.get(&shard.shard_id)) {
                    (Some(Checkpoint::ShardEnd), _) => true,
                    (Some(Checkpoint::At(at)), Some(last)) if shard.ending.is_none() => {
                        compare_sequence(at.sequence.as_str(), last).is_ge()
                    }
                    // An open shard without records, or a closed one whose row was tidied away.
                    (None, _) if shard.ending.is_some() => true,
                    (_, last) => last.is_none() && shard.ending.is_none(),
                }
            };
            shards.iter().all(is_committed).then_some(())
        });
        for run in self.living() {
            self.stop(&run);
        }
        let outputs: BTreeMap<String, Vec<Echo>> =
            self.runs.keys().map(|run| (run.clone(), self.output(run))).collect();
        let parents = shards.iter().map(|shard| {
            (shard.shard_id.clone(), shard.parent.iter().chain(&shard.adjacent_parent).cloned().collect())
        });
        let calls = self.journal.calls();
        let ledger = Ledger { calls: &calls, records: &records, parents: &parents.collect(), outputs: &outputs };
        let repeats = ledger.assert_all_accounted_for();
        let all: Vec<Echo> = outputs.into_values().flatten().collect();
        assert_each_at_least_once(&all, &records);
        eprintln!("{}: {} records, {repeats} repeats, {} runs", self.title, records.len(), self.runs.len());
    }

    fn shards(&self) -> Vec<ShardInfo> {
        let (now, stream) = (self.kinesis().now(), StreamRef::from("lines"));
        self.kinesis().model().list_shards(now, &stream, ListShards::default()).unwrap().shards
    }

    /// The shards that take records, in the order of their hash keys.
    pub(crate) fn open_shards(&self) -> Vec<ShardInfo> {
        let mut open: Vec<ShardInfo> = self.shards().into_iter().filter(|shard| shard.ending.is_none()).collect();
        open.sort_by_key(|shard| shard.range.start);
        open
    }

    /// How long it takes from now until another run than `before` has written a record that the shard takes from now on.
    pub(crate) fn taken_over_within(&self, before: &str, shard: &str) -> Duration {
        let begin = Instant::now();
        let last = last_sequences(&self.account.records("lines")).remove(shard).expect("it has records");
        let is_new = |echo: &Echo| echo.shard == shard && compare_sequence(&echo.sequence, &last).is_gt();
        let others: Vec<&String> = self.runs.keys().filter(|run| *run != before).collect();
        let goes_on = || others.iter().any(|run| self.output(run).iter().any(is_new)).then(|| begin.elapsed());
        until_blocking("another process goes on", goes_on)
    }
}

/// Runs what blocks, in a runtime.
pub(crate) fn blocking(work: impl FnOnce()) {
    tokio::task::block_in_place(work);
}

/// Does all the jobs, so many at the same time, on threads that may block and are of this runtime.
pub(crate) fn side_by_side<T: Send>(at_once: usize, jobs: Vec<T>, work: impl Fn(T) + Sync) {
    let runtime = tokio::runtime::Handle::current();
    let queue = Mutex::new(jobs.into_iter());
    let next = || queue.lock().unwrap().next();
    blocking(|| {
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    let _runtime = runtime.enter();
                    while let Some(job) = next() {
                        work(job);
                    }
                });
            }
        });
    });
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            producer.stop();
        }
        if std::thread::panicking() {
            eprintln!("{}:", self.title);
            for Lease { key, owner, counter, checkpoint, .. } in self.rows() {
                eprintln!("{key} {owner:?} {counter} {checkpoint}");
            }
            for run in self.runs.keys() {
                let log = self.log(run);
                let lines: Vec<&str> = log.lines().filter(|line| !line.contains("written=true")).collect();
                eprintln!("{run}:\n{}", lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n"));
            }
        }
    }
}

impl Writer {
    fn start(kinesis: Kinesis) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut producer = Producer::new(KEYS);
            while !told.load(Ordering::Relaxed) {
                producer.put(&kinesis, "lines", PUT);
                std::thread::sleep(REST);
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the stream takes records");
    }
}

/// For a thread that may block, of a runtime.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

fn log_name(run: &str) -> String {
    format!("{run}.log")
}
