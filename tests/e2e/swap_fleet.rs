//! A fleet whose task is replaced while it runs: its versions, the gates at which a version can be stopped, what was
//! written down of its deployment, and whether every shard was processed by the version that this says.
//!
//! A version is told from another by the output stream that it writes to, and a gate is a file in a directory that only
//! this run of the task is given: nothing in the binary knows of either.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use shardmill::deployments::Deployments;
use shardmill_core::module::ModuleId;
use shardmill_core::position::compare_sequence;
use shardmill_core::rollout::Deployment;
use shardmill_local::Options;
use shardmill_runtime::module_id;
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Echo, last_sequences};
use shardmill_tests::guests::{self, rust_guest};
use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until_blocking;

use crate::fleet::Fleet;
use crate::process::{Launch, command, run_tasks};

pub(crate) const SHARDS: u32 = 4;
const FAILOVER: Duration = Duration::from_millis(800);
/// How often the deployment is looked at.
const LOOK: Duration = Duration::from_millis(1);
/// Where a version calls on an order, and the gate that stands there.
const VERSIONS: [&str; 5] = ["v1", "v2", "v3", "v4", "v5"];

/// One of several versions of the echo task.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// As a deployment names it.
    pub(crate) id: ModuleId,
}

impl Version {
    pub(crate) fn new(name: &str) -> Self {
        let echo = fs::read(rust_guest("echo")).unwrap();
        let bytes = guests::version(&echo, name);
        Self { name: name.to_owned(), id: module_id(&bytes), bytes }
    }

    /// Sets what the version is to do in its calls of this name.
    pub(crate) fn order(&self, properties: Properties, call: &str, order: &str) -> Properties {
        properties.set(&format!("task.config.{}.{call}", self.id.digits()), order)
    }

    fn output(&self) -> String {
        format!("echo-{}", self.name)
    }
}

/// A fleet that begins with `v1`. Its methods block.
pub(crate) struct SwapFleet {
    pub(crate) fleet: Fleet,
    title: String,
    history: History,
    /// How processes are started.
    pub(crate) launch: Launch,
    /// The revisions that were there when each run began, and when it ended.
    lives: BTreeMap<String, (u64, u64)>,
}

impl SwapFleet {
    /// With `v1` in the task directory, and nobody at work yet but the producer.
    pub(crate) fn new(title: &str, set: impl Fn(Properties) -> Properties) -> Self {
        let account = Account::with(Options { limits: false, ..Options::default() });
        let fleet = Fleet::new(title, account, SHARDS, FAILOVER, |properties| {
            let versions = VERSIONS.iter().map(|name| Version::new(name));
            let properties = versions.fold(properties, |properties, version| {
                version.order(properties, "output", &format!("out.{}", version.output()))
            });
            let properties = properties.set("task.call.timeout.ms", "600000").set("task.init.timeout.ms", "600000");
            set(properties.set("task.rollout.drain.ms", "600000"))
        });
        let history = History::follow(deployments(&fleet.account));
        let this = Self { fleet, title: title.to_owned(), history, launch: run_tasks, lives: BTreeMap::new() };
        this.put(&Version::new("v1"));
        this
    }

    /// Starts a process with gates of its own, some of them shut.
    pub(crate) fn start(&mut self, shut: &[&str]) -> String {
        let worker = self.fleet.next_run().replace("run", "worker");
        self.start_with(&worker, shut, &[])
    }

    pub(crate) fn start_with(&mut self, worker: &str, shut: &[&str], more: &[&str]) -> String {
        let run = self.fleet.next_run();
        fs::create_dir(self.gates(&run)).unwrap();
        shut.iter().for_each(|gate| self.shut(&run, gate));
        self.lives.insert(run.clone(), (self.revision(), u64::MAX));
        let grant = format!("task.grant.dir={}::/gates:rw", self.gates(&run).display());
        let more: Vec<&str> = ["--config", &grant].into_iter().chain(more.iter().copied()).collect();
        self.fleet.start_with(worker, &more, self.launch)
    }

    /// Puts a version into the task directory.
    pub(crate) fn put(&self, version: &Version) {
        let tasks = self.fleet.account.tasks(&[]);
        let copy = tasks.join(".echo.wasm.copy");
        fs::write(&copy, &version.bytes).unwrap();
        fs::rename(copy, tasks.join("echo.wasm")).unwrap();
    }

    /// Runs a command of the binary about the job, such as `promote`.
    pub(crate) fn tell(&self, args: &[&str]) -> std::process::Output {
        command(&self.fleet.account, args).output().unwrap()
    }

    pub(crate) fn crash(&mut self, run: &str) {
        self.fleet.crash(run);
        self.ended(run);
    }

    pub(crate) fn died(&mut self, run: &str) -> Option<i32> {
        let code = self.fleet.died(run);
        self.ended(run);
        code
    }

    pub(crate) fn stop(&mut self, run: &str) {
        self.fleet.stop(run);
        self.ended(run);
    }

    fn ended(&mut self, run: &str) {
        let revision = self.revision();
        self.lives.get_mut(run).expect("it was started").1 = revision;
    }

    // Gates.

    fn gates(&self, run: &str) -> PathBuf {
        self.fleet.account.path(&format!("gates-of-{run}"))
    }

    /// Makes a file that a task may look for.
    pub(crate) fn shut(&self, run: &str, gate: &str) {
        fs::write(self.gates(run).join(gate), "").unwrap();
    }

    /// Waits until the task stands at a gate.
    pub(crate) fn reached(&self, run: &str, gate: &str) {
        let reached = self.gates(run).join(format!("{gate}.reached"));
        until_blocking(&format!("{}: {run} stands at the gate {gate}", self.title), || reached.exists().then_some(()));
    }

    /// Lets the one through that stands there; the next one waits again.
    pub(crate) fn pass(&self, run: &str, gate: &str) {
        fs::remove_file(self.gates(run).join(format!("{gate}.reached"))).unwrap();
    }

    /// Lets everybody through from now on.
    pub(crate) fn open(&self, run: &str, gate: &str) {
        fs::remove_file(self.gates(run).join(gate)).unwrap();
        self.pass(run, gate);
    }

    /// A record at which whoever processes it stops, if its gate is shut.
    pub(crate) fn put_record(&self, key: &str, order: &str) {
        self.fleet.kinesis().put_record("lines", key, format!("{key} !{order}").as_bytes()).unwrap();
    }

    /// Lets a process write no file beyond the size that its output has now, or all that it likes.
    pub(crate) fn limit_files(&mut self, run: &str, is_limited: bool) {
        let size = |path: &str| fs::metadata(self.fleet.account.path(path)).unwrap().len();
        let (written, logged) = (size(run), size(&format!("{run}.log")));
        assert!(logged + 10_000 < written, "the log would come to the limit first: {logged} of {written} bytes");
        let limit = if is_limited { written.to_string() } else { "unlimited".to_owned() };
        let process = self.fleet.member(run).id().to_string();
        let set = Command::new("prlimit").args(["--pid", &process, &format!("--fsize={limit}:")]).status().unwrap();
        assert!(set.success(), "prlimit failed");
    }

    // What holds.

    /// What is written down, if anything is.
    pub(crate) fn deployment(&self) -> Option<Deployment> {
        deployments(&self.fleet.account).read().unwrap()
    }

    fn revision(&self) -> u64 {
        self.deployment().map_or(0, |deployment| deployment.revision)
    }

    /// Waits until what is written down is as it should be.
    pub(crate) fn written(&self, what: &str, is: impl Fn(&Deployment) -> bool) -> Deployment {
        let found = || self.deployment().filter(&is);
        until_blocking(&format!("{}: it is written that {what}", self.title), found)
    }

    /// Waits until a version runs alone.
    pub(crate) fn alone(&self, version: &Version) -> Deployment {
        let is_alone = |deployment: &Deployment| deployment.current == version.id && deployment.candidate.is_none();
        self.written(&format!("{} runs alone", version.name), is_alone)
    }

    /// Waits until a version has some shards.
    pub(crate) fn candidate(&self, version: &Version, wave: usize) -> Deployment {
        self.written(&format!("{} is in wave {wave}", version.name), |deployment| {
            let is = |candidate: &shardmill_core::rollout::Candidate| {
                candidate.module == version.id && candidate.wave == wave && !candidate.shards.is_empty()
            };
            deployment.candidate.as_ref().is_some_and(is)
        })
    }

    /// Keeps everybody from writing down what runs, until it is dropped.
    pub(crate) fn hold_deployment(&self) -> File {
        let lock = File::create(self.fleet.account.path("tasks/.shardmill/echo/lock")).unwrap();
        lock.lock().unwrap();
        lock
    }

    /// Waits until a process wants to write down what runs and cannot.
    pub(crate) fn waits_to_write(&mut self, run: &str) {
        let process = self.fleet.member(run).id().to_string();
        until_blocking(&format!("{}: {run} waits for the lock of the deployment", self.title), || {
            // `12: -> FLOCK ADVISORY WRITE 4711 ...` is a process that waits for a lock of this kind.
            let locks = fs::read_to_string("/proc/locks").unwrap();
            let waits = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                words.get(1) == Some(&"->") && words.get(5) == Some(&process.as_str())
            };
            locks.lines().any(waits).then_some(())
        });
    }

    // What was processed.

    /// The shards, and the versions that processed something of each, one after the other, in a run.
    fn processed(&self, run: &str) -> BTreeMap<String, Vec<String>> {
        let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (output, Echo { shard, .. }) in echoes::read_with_streams(&self.fleet.account.path(run)) {
            let of_shard = versions.entry(shard).or_default();
            if of_shard.last() != Some(&output) {
                of_shard.push(output);
            }
        }
        versions
    }

    /// Waits until so many shards were processed by this version last, by those that live.
    pub(crate) fn processes(&self, version: &Version, shards: usize) {
        self.wait_for_last(&self.fleet.living(), version, shards);
    }

    /// The same for one of them.
    pub(crate) fn processes_of(&self, run: &str, version: &Version, shards: usize) {
        self.wait_for_last(&[run.to_owned()], version, shards);
    }

    fn wait_for_last(&self, runs: &[String], version: &Version, shards: usize) {
        let (title, name, output) = (&self.title, &version.name, version.output());
        until_blocking(&format!("{title}: {shards} shards are processed by {name} in {runs:?}"), || {
            let all = runs.iter().flat_map(|run| self.processed(run).into_values());
            let on = all.filter(|versions| versions.last() == Some(&output)).count();
            (on >= shards).then_some(())
        });
    }

    /// Waits until each shard goes on from here, those named with `v2`, the others with `v1`.
    pub(crate) fn goes_on(&self, second: &BTreeSet<String>) {
        for (shard, last) in last_sequences(&self.fleet.account.records("lines")) {
            let title = &self.title;
            let output = until_blocking(&format!("{title}: {shard} goes on"), || {
                let living = self.fleet.living();
                let mut all = living.iter().flat_map(|run| echoes::read_with_streams(&self.fleet.account.path(run)));
                let is_new = |echo: &Echo| echo.shard == shard && compare_sequence(&echo.sequence, &last).is_gt();
                all.find(|(_, echo)| is_new(echo)).map(|(output, _)| output)
            });
            let version = if second.contains(&named(&shard)) { "v2" } else { "v1" };
            assert_eq!(output, Version::new(version).output(), "{title}: {shard}");
        }
    }

    /// Lets the living finish; accounts for every record and for every version.
    pub(crate) fn finish(mut self) {
        self.fleet.settle();
        let revision = self.revision();
        let history = self.history.end();
        assert_eq!(history.last().map(|last| last.revision), Some(revision), "{}", self.title);
        for (run, &(begun, ended)) in &self.lives {
            for (shard, used) in self.processed(run) {
                let named = versions_of(&history, &shard, begun..=ended.min(revision));
                let title = &self.title;
                assert!(fits(&used, &named), "{title}: {run} processed {shard} with {used:?}; it was to be {named:?}");
            }
        }
    }
}

/// The output streams of the versions that a shard was to be processed by, one after the other; `None` where a deployment
/// was followed by the next before anybody saw it.
fn versions_of(history: &[Deployment], shard: &str, revisions: RangeInclusive<u64>) -> Vec<Option<String>> {
    let versions: Vec<Version> = VERSIONS.iter().map(|name| Version::new(name)).collect();
    let shard = named(shard);
    let mut named: Vec<Option<String>> = Vec::new();
    for revision in revisions {
        let written = history.iter().find(|deployment| deployment.revision == revision);
        let version = written.map(|deployment| {
            let id = deployment.module_of(&shard);
            versions.iter().find(|version| version.id == id).expect("a version of this test").output()
        });
        if named.last() != Some(&version) {
            named.push(version);
        }
    }
    named
}

/// Whether a shard was processed by no other versions than those named, in their order. Nothing is known of the unseen
/// ones.
fn fits(used: &[String], named: &[Option<String>]) -> bool {
    let (Some((first, rest)), Some((name, names))) = (used.split_first(), named.split_first()) else {
        return used.is_empty();
    };
    let goes_on = match name {
        Some(name) => name == first && fits(rest, names),
        None => fits(rest, named),
    };
    goes_on || fits(used, names)
}

#[test]
fn versions_fit_what_was_written_down() {
    let used = |versions: &[&str]| versions.iter().map(|version| (*version).to_owned()).collect::<Vec<_>>();
    let named = |versions: &[&str]| {
        let seen = |version: &&str| (*version != "?").then(|| (*version).to_owned());
        versions.iter().map(seen).collect::<Vec<_>>()
    };
    for (processed, written, is_right) in [
        (&["v1", "v2"][..], &["v1", "v2"][..], true),
        (&["v2"], &["v1", "v2", "v3"], true),
        (&["v2", "v1"], &["v1", "v2"], false),
        (&["v1", "v3"], &["v1", "v2"], false),
        (&["v1", "v3", "v4", "v2"], &["v1", "?", "v2"], true),
        (&["v3", "v1"], &["v1", "?"], true),
        (&["v1", "v2", "v1"], &["?", "v2"], true),
        (&["v3"], &["v1", "v2"], false),
    ] {
        assert_eq!(fits(&used(processed), &named(written)), is_right, "{processed:?} {written:?}");
    }
}

/// What a deployment calls a shard.
pub(crate) fn named(shard: &str) -> String {
    format!("shard {shard} of kinesis.lines")
}

fn deployments(account: &Account) -> Deployments {
    Deployments::at(&account.path("tasks/.shardmill"), "echo")
}

/// The deployments that were written down, but for those that the next followed at once.
struct History {
    seen: Arc<Mutex<Vec<Deployment>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl History {
    fn follow(deployments: Deployments) -> Self {
        let (seen, stop) = (Arc::<Mutex<Vec<Deployment>>>::default(), Arc::<AtomicBool>::default());
        let (noted, told) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut is_last = false;
            while !is_last {
                is_last = told.load(Ordering::Relaxed);
                if let Some(now) = deployments.read().unwrap() {
                    let mut noted = noted.lock().unwrap();
                    if noted.last().is_none_or(|last| last.revision < now.revision) {
                        noted.push(now);
                    }
                }
                std::thread::sleep(LOOK);
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    fn end(&mut self) -> Vec<Deployment> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
