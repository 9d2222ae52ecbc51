//! The host: the jobs of a task directory side by side in one process. The shell around `core::task_dir` (which files
//! are whole) and `core::jobs` (what to do with them): it lists, reads, admits, starts and stops, and answers people.
//! What a job does is its own: see `job`. Nothing here waits for a file, a configuration or a module: all that is work
//! beside the loop.

mod actor;
mod carry_out;
mod configuration;
mod entry;
mod files;
mod report;
mod requests;
mod rest;
mod verdict;
mod versions;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use shardmill_core::config::{Job, Source};
use shardmill_core::jobs::{self, End, Jobs, START_PATIENCE};
use shardmill_core::module::ModuleId;
use shardmill_core::task_dir::{LISTING_INTERVAL, TaskDir};
use shardmill_core::time::Millis;
use tokio::sync::{Semaphore, mpsc};
use tracing::{error, info};

use crate::admit::{Admission, Rejected};
use crate::clock::Clock;
use crate::own_files;
use crate::task_files::{Contents, Listing};
use crate::tasks::{Panicked, Tasks};
use actor::{Outcome, Proposal};
use carry_out::{NotAdmitted, Recollection};
use entry::Entry;
use files::Seen;

pub use report::{
    CandidateReport, HostReport, JobReport, JobState, OutageReport, Rejection, RolloutReport, ShardReport, Totals,
    UnreadReport,
};
pub use requests::{Reply, Request};
pub use verdict::JobOutcome;

/// Builds a job's configuration. The sources stand between the files and the single settings of the command line. Called
/// on threads that may wait.
///
/// The error is for people: every problem with its place.
pub type LoadJob = Arc<dyn Fn(&[Source]) -> Result<Job, String> + Send + Sync>;

/// What a host runs.
pub struct Settings {
    /// Where the modules are.
    pub tasks: PathBuf,
    /// The one job to run. `None`: every module of the directory is a job.
    pub only: Option<String>,
    /// What the hosts of this task directory share: see [`Deployments`](crate::deployments::Deployments).
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

/// Modules that are looked at at the same time; the others wait. Most of the work is one compiler's.
const ADMISSIONS_MAX: usize = 4;

/// How often jobs that run until they are caught up are looked at.
const CAUGHT_UP_POLL: Duration = Duration::from_millis(20);

/// A running host.
pub struct Host {
    settings: Settings,
    directory: TaskDir,
    jobs: Jobs,
    entries: BTreeMap<String, Entry>,
    work: Tasks<Work, Done>,
    /// From the jobs: what they took or did not take.
    outcomes: (mpsc::UnboundedSender<Outcome>, mpsc::UnboundedReceiver<Outcome>),
    seen: Seen,
    /// Admissions at a time, each of which has a copy of its module.
    admissions: Arc<Semaphore>,
    /// Why the only job ended or could not begin.
    failure: Option<anyhow::Error>,
}

/// What is done away from the host's loop.
#[derive(Clone, Debug)]
enum Work {
    List,
    Read(String),
    LookForDeployed,
    Configure(String),
    Recall {
        name: String,
        config: u64,
    },
    Admit {
        name: String,
        id: ModuleId,
    },
    /// Of a job that is down.
    ChangeDeployment(String),
    /// Something about a module is written down.
    Note(String),
    Job(String),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List => f.write_str("the listing of the task directory"),
            Self::Read(file) => write!(f, "the reading of {file}"),
            Self::LookForDeployed => f.write_str("the listing of the state directory"),
            Self::Configure(name) => write!(f, "the reading of the configuration of {name}"),
            Self::Recall { name, .. } => write!(f, "the reading of what {name} is to run"),
            Self::Admit { name, id } => write!(f, "the check of {}", id.of_job(name)),
            Self::ChangeDeployment(name) => write!(f, "the change of what {name} is to run"),
            Self::Note(name) => write!(f, "a note in the state directory of {name}"),
            Self::Job(name) => write!(f, "job {name}"),
        }
    }
}

/// Work that is finished.
enum Done {
    Listed(std::io::Result<Listing>),
    Read(String, Contents),
    Deployed(Vec<(String, ModuleId)>),
    Configured {
        name: String,
        loaded: Result<Box<Job>, String>,
    },
    Recalled {
        name: String,
        config: u64,
        recollection: Recollection,
    },
    Admitted {
        name: String,
        id: ModuleId,
        took: Duration,
        result: Result<Proposal, NotAdmitted>,
    },
    /// The deployment of a job that was down was changed, or not.
    AtRest {
        name: String,
        result: Result<bool, String>,
        reply: Reply,
    },
    Ended {
        name: String,
        end: End,
    },
    /// Nothing hangs on it.
    Noted,
}

impl Host {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        // A run that is about one module does not do its work with another one because the check takes long.
        let patience = if settings.until_caught_up { Millis::MAX } else { START_PATIENCE };
        #[expect(clippy::disallowed_methods, reason = "bounded by protocol: one message per run of a job")]
        let outcomes = mpsc::unbounded_channel();
        Self {
            settings,
            directory: TaskDir::default(),
            jobs: Jobs::new(patience),
            entries: BTreeMap::new(),
            work: Tasks::default(),
            outcomes,
            seen: Seen::default(),
            admissions: Arc::new(Semaphore::new(ADMISSIONS_MAX)),
            failure: None,
        }
    }

    /// Runs until it is asked to stop, or, if it has only one job, until that has ended. Cancelling it cuts everything
    /// short.
    ///
    /// # Errors
    /// Why the only job ended or could not begin.
    pub async fn run(&mut self, requests: &mut mpsc::Receiver<Request>) -> Result<()> {
        let Settings { tasks, state, admission, .. } = &self.settings;
        // Before any job is configured: none is granted these.
        let _own = own_files::keep(tasks, state, admission.module_cache())?;
        let mut listings = every(Duration::from_millis(LISTING_INTERVAL));
        let mut looks = every(CAUGHT_UP_POLL);
        if self.settings.only.is_none() {
            info!(tasks = %self.settings.tasks.display(), "running every module of the task directory");
        }
        while !self.jobs.is_over() {
            let wake = self.settings.clock.until(self.jobs.wake_at());
            // Every arm is cancel-safe: receives, joins and timers lose nothing when dropped.
            tokio::select! {
                Some((work, ended)) = self.work.join_next() => match ended {
                    Ok(done) => self.done(done),
                    Err(panicked) => self.panicked(work, panicked),
                },
                Some(request) = requests.recv() => self.asked(request),
                Some(outcome) = self.outcomes.1.recv() => self.told(outcome),
                _ = listings.tick(), if self.seen.listing_since.is_none() => self.list(),
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

    fn now(&self) -> Millis {
        self.settings.clock.now()
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Listed(listing) => self.listed(listing),
            Done::Read(file, contents) => self.read(file, contents),
            Done::Deployed(modules) => self.seen.deployed = modules,
            Done::Configured { name, loaded } => self.configured(name, loaded),
            Done::Recalled { name, config, recollection } => self.recalled(name, config, recollection),
            Done::Admitted { name, id, took, result } => {
                self.entry(&name).counts.admission += took;
                self.admitted(name, id, result);
            }
            Done::AtRest { name, result, reply } => self.rested(name, result, reply),
            Done::Ended { name, end } => self.ended(name, end),
            Done::Noted => {}
        }
    }

    /// Whatever panics takes only that down which it worked for; a host that has nothing else to do ends.
    fn panicked(&mut self, work: Work, panicked: Panicked) {
        error!("{panicked}");
        let reason = panicked.to_string();
        match work {
            Work::Job(name) => self.ended(name, End::Failed(reason)),
            _ if self.settings.only.is_some() => self.give_up(panicked.into()),
            Work::List => self.listed(Err(std::io::Error::other(panicked))),
            Work::Read(file) => {
                let stamp = self.directory.seen(&file);
                self.read(file, Contents { stamp, ..Contents::unreadable(&panicked) });
            }
            Work::Configure(name) => self.configured(name, Err(reason)),
            Work::Recall { name, config } => self.recalled(name, config, Recollection::Unknown(reason)),
            Work::Admit { name, id } => {
                let failed = Rejected::Machine { name: name.clone(), reason };
                self.admitted(name, id, Err(NotAdmitted::NotNow(failed)));
            }
            // Who asked hears that there is no answer; what was to be noted is forgotten at the next start.
            Work::ChangeDeployment(_) | Work::LookForDeployed | Work::Note(_) => {}
        }
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        self.entries.entry(name.to_owned()).or_default()
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    interval
}

#[cfg(test)]
mod tests;
