//! The host: the jobs of a task directory side by side in one process. The shell around `core::task_dir` (which files
//! are whole) and `core::jobs` (what to do with them): it lists, reads, admits, starts and stops, and answers people.
//! What a job does is its own: see `job`.

mod actor;
mod entry;
mod report;
mod versions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use shardmill_core::config::{Job, Source};
use shardmill_core::jobs::{self, Action, End, Hash, Jobs};
use shardmill_core::leases::Millis;
use shardmill_core::task_dir::{self, LISTING_INTERVAL, Stamp, TaskDir};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::admit::{Admission, Rejected};
use crate::clock::Clock;
use crate::deployments::Deployments;
use crate::task_files::{self, Contents, hash, hex};
use actor::{Command, JobActor, Proposal, Refusal};
use entry::Entry;
use versions::Versions;

pub use report::{CandidateReport, HostReport, JobReport, Rejection, RolloutReport, ShardReport, Totals};

/// Builds a job's configuration. The sources stand between the files and the single settings of the command line.
///
/// The error is for people: every problem with its place.
pub type LoadJob = Box<dyn Fn(&[Source]) -> Result<Job, String> + Send>;

/// What a host runs.
pub struct Settings {
    /// Where the modules are.
    pub tasks: PathBuf,
    /// The one job to run. `None`: every module of the directory is a job.
    pub only: Option<String>,
    /// What the hosts of this task directory share: see [`Deployments`].
    pub state: PathBuf,
    pub load_job: LoadJob,
    pub admission: Admission,
    pub clock: Clock,
    /// Stop when everything that is in the streams now has been processed.
    pub until_caught_up: bool,
}

/// Nothing can run with what the user gave; told as it is.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("{0}")]
    Configuration(String),
    #[error("{}: {reason}", file.display())]
    Module { file: PathBuf, reason: String },
}

/// How often jobs that run until they are caught up are looked at.
const CAUGHT_UP_POLL: Duration = Duration::from_millis(20);

/// What people, and the command that runs the host, may ask of it.
#[derive(Debug)]
pub enum Request {
    Report(oneshot::Sender<HostReport>),
    Drain(String, Reply),
    Resume(String, Reply),
    Promote(String, Reply),
    /// To the version named, or to the one before.
    RollBack(String, Option<String>, Reply),
    /// Call the task no more, but keep the leases.
    Pause(String, Reply),
    /// Stop all jobs gracefully, then end.
    Stop,
    /// Likewise, but wait for no task any longer.
    StopAtOnce,
}

/// Answers a request: done, or why not.
pub type Reply = oneshot::Sender<Result<(), String>>;

/// A running host.
pub struct Host {
    settings: Settings,
    directory: TaskDir,
    jobs: Jobs,
    entries: BTreeMap<String, Entry>,
    work: JoinSet<Done>,
    /// From the jobs: what they did not take.
    refusals: (mpsc::UnboundedSender<Refusal>, mpsc::UnboundedReceiver<Refusal>),
    is_listing: bool,
    /// Why the directory could not be listed the last time.
    listing_error: Option<String>,
    /// Why the only job ended or could not begin.
    failure: Option<anyhow::Error>,
}

/// Work that is finished.
enum Done {
    Listed(std::io::Result<BTreeMap<String, Stamp>>),
    Read(String, Contents),
    Admitted { name: String, id: Hash, result: Result<Proposal, NotAdmitted> },
    Ended { name: String, end: End },
}

/// Why a module was not let in.
enum NotAdmitted {
    Bad(String),
    /// The module may be good: this machine could not tell.
    NotNow(Rejected),
}

impl Host {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            directory: TaskDir::default(),
            jobs: Jobs::default(),
            entries: BTreeMap::new(),
            work: JoinSet::new(),
            refusals: mpsc::unbounded_channel(),
            is_listing: false,
            listing_error: None,
            failure: None,
        }
    }

    /// Runs until it is asked to stop, or, if it has only one job, until that has ended. Cancelling it cuts everything
    /// short.
    ///
    /// # Errors
    /// Why the only job ended or could not begin.
    pub async fn run(&mut self, requests: &mut mpsc::Receiver<Request>) -> Result<()> {
        let mut listings = every(Duration::from_millis(LISTING_INTERVAL));
        let mut looks = every(CAUGHT_UP_POLL);
        while !self.jobs.is_over() {
            let wake = self.settings.clock.until(self.jobs.wake_at());
            // Every arm is cancel-safe: receives, joins and timers lose nothing when dropped.
            tokio::select! {
                Some(done) = self.work.join_next() => self.done(done.context("a part of the host panicked")?),
                Some(request) = requests.recv() => self.asked(request),
                Some(refusal) = self.refusals.1.recv() => self.refused(refusal),
                _ = listings.tick(), if !self.is_listing => self.list(),
                _ = looks.tick(), if self.settings.until_caught_up => self.stop_if_caught_up(),
                () = tokio::time::sleep(wake) => self.tell(jobs::Event::Tick),
            }
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// What can be said of the jobs now.
    #[must_use]
    pub fn report(&self) -> HostReport {
        report::of(self)
    }

    /// What all jobs together have done.
    #[must_use]
    pub fn totals(&self) -> Totals {
        report::totals(self)
    }

    /// The only job cannot begin, and there is nothing to do without it.
    fn give_up(&mut self, failure: anyhow::Error) {
        self.failure.get_or_insert(failure);
        self.tell(jobs::Event::Stop);
    }

    fn stop_if_caught_up(&mut self) {
        let mut entries = self.entries.values().filter(|entry| entry.actor.is_some()).peekable();
        if entries.peek().is_some() && entries.all(Entry::is_caught_up) {
            info!("caught up");
            self.settings.until_caught_up = false;
            self.tell(jobs::Event::Stop);
        }
    }

    fn asked(&mut self, request: Request) {
        match request {
            // Whoever asked may be gone.
            Request::Report(reply) => drop(reply.send(self.report())),
            Request::Drain(name, reply) => {
                if let Some(reply) = self.of_known(&name, reply) {
                    self.tell(jobs::Event::Drain { name });
                    drop(reply.send(Ok(())));
                }
            }
            Request::Resume(name, reply) => {
                if let Some(reply) = self.of_known(&name, reply) {
                    self.tell(jobs::Event::Resume { name: name.clone() });
                    self.pass_on(&name, Command::Resume(reply));
                }
            }
            Request::Promote(name, reply) => self.of_running(&name, reply, Command::Promote),
            Request::RollBack(name, to, reply) => self.of_running(&name, reply, |reply| Command::RollBack(to, reply)),
            Request::Pause(name, reply) => self.of_running(&name, reply, Command::Pause),
            Request::Stop => self.tell(jobs::Event::Stop),
            Request::StopAtOnce => self.entries.values().for_each(|entry| entry.command(Command::StopAtOnce)),
        }
    }

    fn of_running(&mut self, name: &str, reply: Reply, command: impl FnOnce(Reply) -> Command) {
        let Some(reply) = self.of_known(name, reply) else { return };
        if self.entry(name).actor.is_none() {
            return drop(reply.send(Err(format!("{name} does not run; `shardmill status {name}` says why"))));
        }
        self.pass_on(name, command(reply));
    }

    /// Refuses what is asked of a job that there is not.
    fn of_known(&self, name: &str, reply: Reply) -> Option<Reply> {
        if self.jobs.get(name).is_some() {
            return Some(reply);
        }
        let names: Vec<&str> = self.jobs.iter().map(|(name, _)| name).collect();
        drop(reply.send(Err(format!("there is no job {name}; there are: {}", names.join(", ")))));
        None
    }

    fn now(&self) -> Millis {
        self.settings.clock.now()
    }

    fn list(&mut self) {
        self.is_listing = true;
        let tasks = self.settings.tasks.clone();
        self.work.spawn_blocking(move || Done::Listed(task_files::list(&tasks)));
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Listed(listing) => {
                self.is_listing = false;
                self.listed(listing);
            }
            Done::Read(file, contents) => self.read(file, contents),
            Done::Admitted { name, id, result } => self.admitted(name, id, result),
            Done::Ended { name, end } => self.ended(name, end),
        }
    }

    fn listed(&mut self, listing: std::io::Result<BTreeMap<String, Stamp>>) {
        let mut listing = match listing {
            Ok(listing) => listing,
            Err(error) => {
                // A directory that cannot be seen is not an empty one: nothing is removed.
                let error = error.to_string();
                if self.listing_error.as_ref() != Some(&error) {
                    warn!(directory = %self.settings.tasks.display(), error, "cannot list the task directory; trying on");
                }
                self.listing_error = Some(error);
                return;
            }
        };
        self.listing_error = None;
        if let Some(only) = &self.settings.only {
            let module = format!("{only}.wasm");
            listing.retain(|file, _| file.strip_suffix(".sha256").unwrap_or(file) == module);
        }
        let actions = self.directory.on(self.now(), task_dir::Event::Listed(listing));
        self.follow(actions, None);
    }

    fn follow(&mut self, actions: Vec<task_dir::Action>, mut contents: Option<Contents>) {
        for action in actions {
            match action {
                task_dir::Action::Read(file) => self.begin_reading(file),
                task_dir::Action::Changed(file) => {
                    if let Some(contents) = contents.take() {
                        self.changed(&file, contents);
                    }
                }
                task_dir::Action::Removed(file) => self.removed(&file),
            }
        }
    }

    fn begin_reading(&mut self, file: String) {
        let tasks = self.settings.tasks.clone();
        self.work.spawn_blocking(move || {
            let contents = task_files::read(&tasks, &file);
            Done::Read(file, contents)
        });
    }

    fn read(&mut self, file: String, contents: Contents) {
        if let Some(flaw) = &contents.flaw {
            info!(file, flaw, "the file may not be whole yet; giving it time");
        }
        let (stamp, is_whole) = (contents.stamp, contents.flaw.is_none());
        let actions = self.directory.on(self.now(), task_dir::Event::Read { file, stamp, is_whole });
        self.follow(actions, Some(contents));
    }

    fn changed(&mut self, file: &str, contents: Contents) {
        if let Some(module) = file.strip_suffix(".wasm.sha256") {
            // The module is looked at again in the light of it.
            if self.entries.contains_key(module) {
                self.begin_reading(format!("{module}.wasm"));
            }
        } else if let Some(name) = file.strip_suffix(".wasm") {
            self.module(name, contents);
        } else if let Some(name) = file.strip_suffix(".properties") {
            let text = String::from_utf8_lossy(&contents.bytes).into_owned();
            self.entry(name).properties = Some(text);
            self.configure(name);
        }
    }

    fn removed(&mut self, file: &str) {
        if let Some(name) = file.strip_suffix(".wasm") {
            let on_delete = self.entry(name).on_delete();
            info!(job = name, ?on_delete, "its module is gone from the task directory");
            self.tell(jobs::Event::ModuleGone { name: name.to_owned(), on_delete });
        } else if let Some(name) = file.strip_suffix(".properties") {
            self.entry(name).properties = None;
            self.configure(name);
        }
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        self.entries.entry(name.to_owned()).or_default()
    }

    fn module(&mut self, name: &str, contents: Contents) {
        let id = hash(&contents.bytes);
        let entry = self.entry(name);
        let is_first = entry.module.is_none();
        entry.module = Some((id, Arc::new(contents)));
        if is_first {
            self.configure(name);
        }
        self.tell(jobs::Event::Module { name: name.to_owned(), id });
    }

    /// Reads a job's configuration, if there is a module to run with it.
    fn configure(&mut self, name: &str) {
        let entry = self.entry(name);
        if entry.module.is_none() {
            return;
        }
        let is_only = self.settings.only.is_some();
        let sources = if is_only { Vec::new() } else { self.entry(name).sources(name) };
        let loaded = (self.settings.load_job)(&sources).and_then(|job| self.unshared(name, job));
        let name = name.to_owned();
        match loaded {
            Ok(job) => {
                let version = self.entry(&name).configured(job);
                self.tell(jobs::Event::Configured { name, version });
            }
            Err(reason) => {
                error!(job = name, "its configuration cannot be used:\n{reason}");
                self.tell(jobs::Event::Misconfigured { name, reason: reason.clone() });
                if is_only {
                    self.give_up(Unusable::Configuration(reason).into());
                }
            }
        }
    }

    /// Two jobs with one lease table would take each other's shards.
    fn unshared(&self, name: &str, job: Job) -> Result<Job, String> {
        if self.settings.only.is_none() && job.task_class != name {
            let class = &job.task_class;
            return Err(format!(
                "task.class={class}: in a task directory the module of job {name} is {name}.wasm; remove the key"
            ));
        }
        for (other, entry) in self.entries.iter().filter(|(other, _)| *other != name) {
            if let Some(table) = entry.shared_table(&job) {
                return Err(format!(
                    "it would share the lease table {table} with the job {other}, and each would read only a part of \
                     the shards: give it a job.name of its own in {name}.properties"
                ));
            }
        }
        Ok(job)
    }

    fn tell(&mut self, event: jobs::Event) {
        for action in self.jobs.on(self.settings.clock.now(), event) {
            match action {
                Action::Admit { name, id } => self.admit(name, id),
                Action::Start { name, id } => self.start(name, id),
                Action::Deploy { name, id } => {
                    if let Some(proposal) = self.entry(&name).proposal(id) {
                        self.pass_on(&name, Command::Deploy(proposal));
                    }
                }
                Action::Stop { name } => self.pass_on(&name, Command::Stop),
            }
        }
    }

    fn admit(&mut self, name: String, id: Hash) {
        let Some((_, contents)) = self.entry(&name).module.clone().filter(|(of, _)| *of == id) else { return };
        info!(job = name, module = hex(&id[..6]), bytes = contents.bytes.len(), "checking the module");
        let admission = self.settings.admission.clone();
        self.work.spawn(async move {
            let admitted = admission.admit(&name, contents.bytes.clone()).await;
            let result = match (admitted, &contents.flaw) {
                (Ok(_), Some(flaw)) => Err(NotAdmitted::Bad(flaw.clone())),
                (Ok(admitted), None) => Ok(Proposal { id, module: admitted.module, file: contents }),
                (Err(rejected), _) if rejected.is_final() => Err(NotAdmitted::Bad(rejected.to_string())),
                (Err(failed), _) => Err(NotAdmitted::NotNow(failed)),
            };
            Done::Admitted { name, id, result }
        });
    }

    fn admitted(&mut self, name: String, id: Hash, result: Result<Proposal, NotAdmitted>) {
        let runs_on = self.entry(&name).actor.is_some();
        let is_needed = self.settings.only.is_some() && !runs_on;
        match result {
            Ok(admitted) => {
                self.entry(&name).admitted = Some(admitted);
                self.tell(jobs::Event::Admitted { name, id });
            }
            Err(NotAdmitted::Bad(reason)) => {
                let then = if runs_on { "the running version goes on" } else { "nothing runs" };
                warn!(job = name, module = hex(&id[..6]), "rejected, {then}: {reason}");
                self.tell(jobs::Event::Rejected { name: name.clone(), id, reason: reason.clone() });
                if is_needed {
                    let file = self.settings.tasks.join(format!("{name}.wasm"));
                    self.give_up(Unusable::Module { file, reason }.into());
                }
            }
            Err(NotAdmitted::NotNow(failed)) => {
                warn!(job = name, module = hex(&id[..6]), "{failed}");
                self.tell(jobs::Event::NotAdmitted { name, id, reason: failed.to_string() });
                if is_needed {
                    self.give_up(failed.into());
                }
            }
        }
    }

    fn start(&mut self, name: String, id: Hash) {
        let Settings { clock, admission, state, .. } = &self.settings;
        let entry = self.entries.entry(name.clone()).or_default();
        // The machine starts what was admitted, with a configuration that is good.
        let (Some(job), Some(first)) = (entry.job.clone(), entry.proposal(id)) else { return };
        info!(job = job.name, id = job.id, module = %first.module.id(), "starting");
        let kept = Deployments::open(state, &name);
        let kept = kept.map_err(|error| {
            let state = state.display();
            warn!(job = name, %error, %state, "what is deployed is forgotten at the end: no state directory; --state names another");
        });
        let versions = Versions::new(&name, &job, admission.clone(), kept.ok());
        let (actor, mailbox) = JobActor::new(self.refusals.0.clone());
        entry.actor = Some(actor);
        entry.last = None;
        let clock = *clock;
        self.work.spawn(async move {
            let end = actor::run(job, versions, first, clock, mailbox).await;
            Done::Ended { name, end }
        });
    }

    fn pass_on(&mut self, name: &str, command: Command) {
        self.entry(name).command(command);
    }

    fn refused(&mut self, Refusal { job, id, reason }: Refusal) {
        warn!(job, module = hex(&id[..6]), "not deployed, the running version goes on: {reason}");
        self.tell(jobs::Event::Rejected { name: job, id, reason });
    }

    fn ended(&mut self, name: String, end: End) {
        self.entry(&name).ended();
        match &end {
            End::Stopped => info!(job = name, "stopped"),
            End::Failed(reason) | End::TaskFailed(reason) => error!(job = name, "stopped: {reason}"),
        }
        if self.settings.only.is_none() {
            return self.tell(jobs::Event::Ended { name, end });
        }
        let failure = match &end {
            End::Stopped => None,
            End::Failed(reason) | End::TaskFailed(reason) => Some(anyhow!("{reason}")),
        };
        self.tell(jobs::Event::Stop);
        self.tell(jobs::Event::Ended { name, end });
        self.failure = self.failure.take().or(failure);
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    interval
}
