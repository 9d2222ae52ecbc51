//! The host: the jobs of a task directory side by side in one process. The shell around `core::task_dir` (which files
//! are whole) and `core::jobs` (what to do with them): it lists, reads, admits, starts and stops, and answers people.
//! What a job does is its own: see `job`.

mod actor;
mod entry;
mod files;
mod report;
mod requests;
mod versions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use shardmill_core::config::{Job, Source};
use shardmill_core::jobs::{self, Action, End, Hash, Jobs};
use shardmill_core::leases::Millis;
use shardmill_core::task_dir::{LISTING_INTERVAL, Stamp, TaskDir};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::admit::{Admission, Rejected};
use crate::clock::Clock;
use crate::deployments::Deployments;
use crate::task_files::{Contents, hex};
use actor::{Command, JobActor, Proposal, Refusal};
use entry::Entry;
use versions::Versions;

pub use report::{CandidateReport, HostReport, JobReport, Rejection, RolloutReport, ShardReport, Totals};
pub use requests::{Reply, Request};

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

    fn now(&self) -> Millis {
        self.settings.clock.now()
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

    fn entry(&mut self, name: &str) -> &mut Entry {
        self.entries.entry(name.to_owned()).or_default()
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
        let clock = *clock;
        let versions = Versions::new(&name, &job, admission.clone(), kept.ok(), clock);
        let (actor, mailbox) = JobActor::new(self.refusals.0.clone());
        entry.actor = Some(actor);
        entry.last = None;
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
