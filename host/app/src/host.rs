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
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use shardmill_core::config::{Job, Source};
use shardmill_core::jobs::{self, Action, End, Hash, Jobs, State};
use shardmill_core::leases::Millis;
use shardmill_core::module::{hex, shown};
use shardmill_core::task_dir::{LISTING_INTERVAL, TaskDir};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{Instrument, error, error_span, info, warn};

use crate::admit::{Admission, Rejected};
use crate::clock::Clock;
use crate::deployments::Deployments;
use crate::own_files;
use crate::task_files::{Contents, Listing};
use crate::tasks::{Panicked, Tasks};
use actor::{Command, JobActor, Proposal, Refusal};
use entry::Entry;
use versions::Versions;

pub use report::{
    CandidateReport, HostReport, JobReport, OutageReport, Rejection, RolloutReport, ShardReport, Totals, UnreadReport,
};
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
    /// From the jobs: what they did not take.
    refusals: (mpsc::UnboundedSender<Refusal>, mpsc::UnboundedReceiver<Refusal>),
    is_listing: bool,
    /// Why the directory could not be listed the last time.
    listing_error: Option<String>,
    /// What is in it and can be no file of a job.
    unusable: Vec<String>,
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
    Admit { name: String, id: Hash },
    Job(String),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List => f.write_str("the listing of the task directory"),
            Self::Read(file) => write!(f, "the reading of {file}"),
            Self::Admit { name, id } => write!(f, "the check of {}", shown(name, &hex(id))),
            Self::Job(name) => write!(f, "job {name}"),
        }
    }
}

/// Work that is finished.
enum Done {
    Listed(std::io::Result<Listing>),
    Read(String, Contents),
    Admitted { name: String, id: Hash, took: Duration, result: Result<Proposal, NotAdmitted> },
    Ended { name: String, end: End },
}

/// Whether a job has processed all that was there.
#[derive(PartialEq, Eq)]
enum Caught {
    Up,
    NotYet,
    /// It cannot, for this reason.
    Never(String),
}

/// Why a module was not let in.
enum NotAdmitted {
    Bad(String),
    /// The module may be good: this machine could not tell.
    NotNow(Rejected),
    /// Neither could this program.
    Panicked(Panicked),
}

impl Host {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            directory: TaskDir::default(),
            jobs: Jobs::default(),
            entries: BTreeMap::new(),
            work: Tasks::default(),
            refusals: mpsc::unbounded_channel(),
            is_listing: false,
            listing_error: None,
            unusable: Vec::new(),
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

    /// Every job has done its work, or never will.
    fn stop_if_caught_up(&mut self) {
        if !self.directory.is_settled() || self.jobs.iter().next().is_none() {
            return;
        }
        let ends: Vec<Caught> = self.jobs.iter().map(|(name, job)| self.caught_up(name, job)).collect();
        if ends.contains(&Caught::NotYet) {
            return;
        }
        info!("caught up");
        self.settings.until_caught_up = false;
        for end in ends {
            if let Caught::Never(why) = end {
                self.failure.get_or_insert(anyhow!("{why}"));
            }
        }
        self.tell(jobs::Event::Stop);
    }

    fn caught_up(&self, name: &str, job: &jobs::Job) -> Caught {
        let bad = job.rejected().map(|(_, reason)| reason).or(job.misconfigured());
        let entry = self.entries.get(name);
        let runs_on = entry.is_some_and(Entry::is_caught_up);
        if let (State::Running, Some(reason)) = (job.state(), entry.and_then(Entry::left_unread)) {
            return Caught::Never(format!("{name}: {reason}"));
        }
        match (job.state(), bad) {
            (State::Running, _) if runs_on => Caught::Up,
            (State::Drained, _) => Caught::Up,
            (State::Failed { reason, restart_at: None }, _) => Caught::Never(format!("{name}: {reason}")),
            (State::Waiting, Some(reason)) => Caught::Never(format!("{name}: {reason}")),
            _ => Caught::NotYet,
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
            Done::Admitted { name, id, took, result } => {
                self.entry(&name).counts.admission += took;
                self.admitted(name, id, result);
            }
            Done::Ended { name, end } => self.ended(name, end),
        }
    }

    /// Whatever panics takes only that down which it worked for; a host that has nothing else to do ends.
    fn panicked(&mut self, work: Work, panicked: Panicked) {
        error!("{panicked}");
        match work {
            Work::List => {
                self.is_listing = false;
                match self.settings.only.is_some() {
                    true => self.give_up(panicked.into()),
                    false => self.listed(Err(std::io::Error::other(panicked))),
                }
            }
            Work::Read(_) if self.settings.only.is_some() => self.give_up(panicked.into()),
            Work::Read(file) => {
                let stamp = self.directory.seen(&file);
                self.read(file, Contents { stamp, ..Contents::unreadable(&panicked) });
            }
            Work::Admit { name, id } => self.admitted(name, id, Err(NotAdmitted::Panicked(panicked))),
            Work::Job(name) => self.ended(name, End::Failed(panicked.to_string())),
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
        let mut forgot = false;
        for (name, entry) in &mut self.entries {
            if entry.module.is_some() && self.jobs.get(name).is_none() {
                info!(job = name, "forgotten: its module is gone");
                entry.forget();
                forgot = true;
            }
        }
        if forgot {
            self.configure_waiting();
        }
    }

    fn admit(&mut self, name: String, id: Hash) {
        let Some((_, contents)) = self.entry(&name).module.clone().filter(|(of, _)| *of == id) else { return };
        info!(job = name, module = shown(&name, &hex(&id)), bytes = contents.bytes.len(), "checking the module");
        let (admission, admissions) = (self.settings.admission.clone(), Arc::clone(&self.admissions));
        self.work.spawn(Work::Admit { name: name.clone(), id }, async move {
            // Never closed.
            let _turn = admissions.acquire().await;
            let began = Instant::now();
            let result = look_at(&admission, &name, id, contents).await;
            Done::Admitted { name, id, took: began.elapsed(), result }
        });
    }

    fn admitted(&mut self, name: String, id: Hash, result: Result<Proposal, NotAdmitted>) {
        if self.jobs.get(&name).is_none() {
            return;
        }
        let runs_on = self.entry(&name).actor.is_some();
        let is_needed = self.settings.only.is_some() && !runs_on;
        match result {
            Ok(admitted) => {
                self.entry(&name).admitted = Some(admitted);
                self.tell(jobs::Event::Admitted { name, id });
            }
            Err(NotAdmitted::Bad(reason)) => {
                let then = if runs_on { "the running version goes on" } else { "nothing runs" };
                warn!(job = name, module = shown(&name, &hex(&id)), "rejected, {then}: {reason}");
                self.entry(&name).counts.rejected += 1;
                self.tell(jobs::Event::Rejected { name: name.clone(), id, reason: reason.clone() });
                if is_needed {
                    let file = self.settings.tasks.join(format!("{name}.wasm"));
                    self.give_up(Unusable::Module { file, reason }.into());
                }
            }
            Err(NotAdmitted::NotNow(failed)) => {
                warn!(job = name, module = shown(&name, &hex(&id)), "not checked, tried again: {failed}");
                self.tell(jobs::Event::NotAdmitted { name, id, reason: failed.to_string() });
                if is_needed {
                    self.give_up(failed.into());
                }
            }
            Err(NotAdmitted::Panicked(panicked)) => {
                let reason = panicked.to_string();
                self.tell(jobs::Event::NotAdmitted { name: name.clone(), id, reason: reason.clone() });
                if is_needed {
                    self.give_up(panicked.into());
                } else if !runs_on {
                    self.tell(jobs::Event::Ended { name, end: End::Failed(reason) });
                }
            }
        }
    }

    fn start(&mut self, name: String, id: Hash) {
        let Settings { clock, admission, state, .. } = &self.settings;
        let entry = self.entries.entry(name.clone()).or_default();
        // The machine starts what was admitted, with a configuration that is good.
        let (Some(job), Some(first)) = (entry.job.clone(), entry.proposal(id)) else { return };
        let kept = Deployments::open(state, &name);
        entry.unkept = kept.as_ref().err().map(|error| {
            let state = state.display();
            format!("what is deployed is forgotten at the end, for {state} cannot be used: {error}; --state names another directory")
        });
        if let Some(unkept) = &entry.unkept {
            warn!(job = name, "{unkept}");
        }
        let versions = Versions::new(&name, &job, admission.clone(), kept.ok(), *clock);
        let (actor, mailbox) = JobActor::new(self.refusals.0.clone());
        entry.actor = Some(actor);
        entry.last = None;
        entry.counts.starts += 1;
        if entry.is_paused {
            // Nobody waits for the answer.
            entry.command(Command::Pause(oneshot::channel().0));
        }
        let clock = *clock;
        // Of the level that is never left out: whatever is logged for the job says so.
        let span = error_span!("job", name);
        let run = actor::run(job, versions, first, clock, mailbox).instrument(span);
        self.work.spawn(Work::Job(name.clone()), async move { Done::Ended { name, end: run.await } });
    }

    fn pass_on(&mut self, name: &str, command: Command) {
        self.entry(name).command(command);
    }

    fn refused(&mut self, Refusal { job, id, reason, is_unfit }: Refusal) {
        warn!(job, module = shown(&job, &hex(&id)), "not rolled out, the running version goes on: {reason}");
        self.entry(&job).counts.rejected += 1;
        self.tell(match is_unfit {
            true => jobs::Event::Unfit { name: job, id, reason },
            false => jobs::Event::Rejected { name: job, id, reason },
        });
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

/// Checks a module's file.
async fn look_at(
    admission: &Admission,
    name: &str,
    id: Hash,
    contents: Arc<Contents>,
) -> Result<Proposal, NotAdmitted> {
    if let Some(flaw) = contents.flaw.as_ref().filter(|_| contents.is_unreadable) {
        return Err(NotAdmitted::Bad(flaw.clone()));
    }
    match (admission.admit(name, contents.bytes.clone()).await, &contents.flaw) {
        (Ok(_), Some(flaw)) => Err(NotAdmitted::Bad(flaw.clone())),
        (Ok(admitted), None) => Ok(Proposal { id, module: admitted.module, file: contents }),
        (Err(rejected), _) if rejected.is_final() => Err(NotAdmitted::Bad(rejected.to_string())),
        (Err(failed), _) => Err(NotAdmitted::NotNow(failed)),
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    interval
}

#[cfg(test)]
mod tests;
