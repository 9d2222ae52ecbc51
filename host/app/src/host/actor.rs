//! One job on a task of its own: begun with the versions that hold, told what people and the directory want, waited
//! for. Owns the way of a module from the directory to the job; which shards it gets then is the job's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use shardmill_core::config::Job;
use shardmill_core::jobs::{End, Hash};
use shardmill_core::module::shown;
use shardmill_runtime::Module;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::Reply;
use super::versions::{NotDeployed, Versions};
use crate::clock::Clock;
use crate::job::{JobHandle, RunningJob, TaskFailed};
use crate::status::Status;
use crate::task_files::Contents;
use crate::tasks::{Panicked, Tasks};

/// How often it is looked whether another host of the job changed what is to run.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// Why a module is not rolled out that somebody does not want any more.
const TAKEN_BACK: &str = "somebody asked for a roll-back while it was being tried out";

/// Said to a running job.
#[derive(Debug)]
pub(super) enum Command {
    /// Stop gracefully.
    Stop,
    /// End without waiting for the task.
    StopAtOnce,
    /// The task directory holds this module now.
    Deploy(Proposal),
    Promote(Reply),
    RollBack {
        /// The version to go to. `None`: the one before.
        to: Option<String>,
        /// The one to be rid of, by its first digits; see [`JobHandle::roll_back`].
        version: Option<String>,
        reply: Reply,
    },
    Pause(Reply),
    Resume(Reply),
}

/// A module of the task directory that may run.
#[derive(Debug, Clone)]
pub(super) struct Proposal {
    pub(super) id: Hash,
    pub(super) module: Module,
    pub(super) file: Arc<Contents>,
}

/// A module was not deployed.
pub(super) struct Refusal {
    pub(super) job: String,
    pub(super) id: Hash,
    pub(super) reason: String,
    /// It may go with another configuration.
    pub(super) is_unfit: bool,
}

/// The host's end of a job.
pub(super) struct JobActor {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    /// There once the job has started.
    pub(super) started: watch::Receiver<Option<Started>>,
}

/// What is known of a job once it has started.
#[derive(Clone)]
pub(super) struct Started {
    pub(super) status: Arc<Status>,
    pub(super) inputs: usize,
}

/// The job's end of it.
pub(super) struct Mailbox {
    commands: mpsc::UnboundedReceiver<Command>,
    /// What came before the job ran.
    early: VecDeque<Command>,
    started: watch::Sender<Option<Started>>,
    pub(super) refusals: mpsc::UnboundedSender<Refusal>,
}

impl JobActor {
    pub(super) fn new(refusals: mpsc::UnboundedSender<Refusal>) -> (Self, Mailbox) {
        let (commands, received) = mpsc::unbounded_channel();
        let (sender, started) = watch::channel(None);
        (Self { commands, started }, Mailbox { commands: received, early: VecDeque::new(), started: sender, refusals })
    }
}

/// Runs a job from its start to its end.
pub(super) async fn run(job: Job, versions: Versions, first: Proposal, clock: Clock, mailbox: Mailbox) -> End {
    match run_to_end(job, versions, first, clock, mailbox).await {
        Ok(()) => End::Stopped,
        Err(error) if error.is::<TaskFailed>() => End::TaskFailed(format!("{error:#}")),
        Err(error) => End::Failed(format!("{error:#}")),
    }
}

async fn run_to_end(job: Job, versions: Versions, first: Proposal, clock: Clock, mut mailbox: Mailbox) -> Result<()> {
    // Cancel-safe: what is written down before a stop holds at the next start.
    let begun = tokio::select! {
        begun = versions.begin(&first) => begun.context("failed to find out which version is to run")?,
        () = mailbox.stopped() => return Ok(()),
    };
    let refusals = Refusals { job: versions.name().to_owned(), refusals: mailbox.refusals.clone() };
    if let Some(reason) = begun.refused {
        refusals.refuse(first.id, reason);
    }
    // Not always the one in the task directory: that may have been rolled back.
    let module = shown(versions.name(), &begun.deployed.deployment.current);
    info!(job.name, job.id, module, "starting");
    let mut running = RunningJob::start_with(&job, begun.deployed, clock).await?;
    let started = Started { status: Arc::clone(running.status()), inputs: job.inputs.len() };
    mailbox.started.send_replace(Some(started));
    let mut work = Work::new(versions, running.handle(), refusals);
    if begun.is_to_deploy {
        work.deploy(first);
    }
    let mut broken: Option<Panicked> = None;
    loop {
        // Every arm is cancel-safe: receives, joins by reference, and timers lose nothing when dropped.
        tokio::select! {
            result = running.wait() => return broken.map_or(result, |panicked| Err(panicked.into())),
            Some((_, ended)) = work.tasks.join_next() => if let Err(panicked) = ended {
                broken.get_or_insert(panicked);
                running.stop();
            },
            Some(command) = mailbox.next() => match command {
                Command::Stop => running.stop(),
                Command::StopAtOnce => running.stop_at_once(),
                Command::Deploy(proposal) => work.deploy(proposal),
                asked => work.answer(asked),
            },
        }
    }
}

impl Mailbox {
    async fn next(&mut self) -> Option<Command> {
        match self.early.pop_front() {
            Some(command) => Some(command),
            None => self.commands.recv().await,
        }
    }

    /// Somebody wants it to stop; whatever else is wanted waits. Cancel-safe.
    async fn stopped(&mut self) {
        loop {
            match self.commands.recv().await {
                Some(Command::Stop | Command::StopAtOnce) => return,
                Some(other) => self.early.push_back(other),
                // Nobody can ask any more.
                None => std::future::pending().await,
            }
        }
    }
}

/// Says that modules were not deployed.
#[derive(Clone)]
struct Refusals {
    job: String,
    refusals: mpsc::UnboundedSender<Refusal>,
}

impl Refusals {
    fn refuse(&self, id: Hash, reason: NotDeployed) {
        let (reason, is_unfit) = match reason {
            NotDeployed::Unfit(reason) => (reason, true),
            NotDeployed::Refused(reason) => (reason, false),
            // The next start takes it up.
            NotDeployed::Stopping => return,
        };
        // The host is gone when the process is.
        drop(self.refusals.send(Refusal { job: self.job.clone(), id, reason, is_unfit }));
    }
}

/// What goes on beside a running job. Ends with it.
struct Work {
    versions: Versions,
    job: JobHandle,
    refusals: Refusals,
    /// A panic of one ends the job: it would not follow the other hosts any more, or leave somebody without an answer.
    tasks: Tasks<&'static str, ()>,
    deploying: Option<Deploying>,
}

/// A module that is tried out, until the job has it.
struct Deploying {
    id: Hash,
    task: AbortHandle,
    is_handed_over: Arc<AtomicBool>,
}

impl Work {
    fn new(versions: Versions, job: JobHandle, refusals: Refusals) -> Self {
        let mut tasks = Tasks::default();
        tasks.spawn("the look at what other hosts run", follow(versions.clone(), job.clone()));
        Self { versions, job, refusals, tasks, deploying: None }
    }

    /// Tries a module out and rolls it out, in place of one that is still being tried out: the last one wins, however long
    /// the first one's trial takes.
    fn deploy(&mut self, proposal: Proposal) {
        self.take_back();
        let (versions, job, refusals) = (self.versions.clone(), self.job.clone(), self.refusals.clone());
        let is_handed_over = Arc::new(AtomicBool::new(false));
        let (id, handed_over) = (proposal.id, Arc::clone(&is_handed_over));
        let task = self.tasks.spawn("the trial of a module", async move {
            let handing_over = || handed_over.store(true, Ordering::SeqCst);
            if let Err(reason) = versions.deploy(&job, &proposal, handing_over).await {
                refusals.refuse(proposal.id, reason);
            }
        });
        self.deploying = Some(Deploying { id, task, is_handed_over });
    }

    /// Ends the trial of a module, if one is under way; returns which.
    fn take_back(&mut self) -> Option<Hash> {
        let Deploying { id, task, is_handed_over } = self.deploying.take()?;
        if task.is_finished() || is_handed_over.load(Ordering::SeqCst) {
            return None;
        }
        task.abort();
        Some(id)
    }

    fn answer(&mut self, command: Command) {
        let (versions, job) = (self.versions.clone(), self.job.clone());
        // Who asked may be gone.
        let reply_with = |reply: Reply, result: Result<(), String>| drop(reply.send(result));
        match command {
            Command::Promote(reply) => drop(self.tasks.spawn("a promotion", async move {
                reply_with(reply, job.promote().await.map_err(|refused| refused.to_string()));
            })),
            Command::RollBack { to, version, reply } => {
                let trial = self.take_back();
                if let Some(id) = trial {
                    self.refusals.refuse(id, NotDeployed::Refused(TAKEN_BACK.to_owned()));
                }
                self.tasks.spawn("a rollback", async move {
                    let result = match (to, trial) {
                        (Some(to), _) => versions.switch_to(&job, &to).await,
                        // That was meant: the running version has done nothing wrong.
                        (None, Some(_)) => Ok(()),
                        (None, None) => job.roll_back(version).await.map_err(|refused| refused.to_string()),
                    };
                    reply_with(reply, result);
                });
            }
            Command::Pause(reply) => drop(self.tasks.spawn("a pause", async move {
                job.pause().await;
                reply_with(reply, Ok(()));
            })),
            Command::Resume(reply) => drop(self.tasks.spawn("a resumption", async move {
                job.resume().await;
                reply_with(reply, Ok(()));
            })),
            Command::Stop | Command::StopAtOnce | Command::Deploy(_) => {}
        }
    }
}

/// Passes on what other hosts write, for as long as the job runs.
async fn follow(versions: Versions, job: JobHandle) {
    let mut looks = tokio::time::interval(FOLLOW_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let known = job.status().snapshot().rollout.deployment.map_or(0, |deployment| deployment.revision);
        let problem = match versions.written_after(known).await {
            Ok(None) => None,
            Ok(Some(deployment)) => {
                info!(revision = deployment.revision, "another host changed what is to run");
                job.follow(deployment).await;
                None
            }
            Err(error) => Some(format!("it is not known what the other hosts run: {error:#}")),
        };
        job.status().update(|status| {
            // Told once, and shown for as long as it lasts.
            if let Some(problem) = problem.as_ref().filter(|_| problem != status.rollout.problem) {
                warn!("{problem}");
            }
            status.rollout.problem = problem;
        });
    }
}
