//! One job on a task of its own: begun with the versions that hold, told what people and the directory want, waited
//! for. Owns the way of a module from the directory to the job; which shards it gets then is the job's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use shardmill_core::config::Job;
use shardmill_core::jobs::End;
use shardmill_core::module::ModuleId;
use shardmill_runtime::Module;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::Reply;
use super::files::SLOW;
use super::versions::{NotDeployed, Then, Versions};
use crate::clock::Clock;
use crate::job::{JobHandle, RunningJob, TaskFailed};
use crate::status::Status;
use crate::task_files::Contents;
use crate::tasks::{Panicked, Tasks};

/// How often it is looked whether another host of the job changed what is to run.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// Why a module is not rolled out that an operator does not want any more.
const TAKEN_BACK: &str = "an operator rolled it back while it was being tried out";

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
    pub(super) id: ModuleId,
    pub(super) module: Module,
    pub(super) file: Arc<Contents>,
}

/// What a job made of a module that it was given.
pub(super) struct Outcome {
    pub(super) job: String,
    pub(super) id: ModuleId,
    /// It took it, or left it on purpose; or why it could not.
    pub(super) result: Result<(), NotDeployed>,
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
    pub(super) outcomes: mpsc::UnboundedSender<Outcome>,
}

impl JobActor {
    pub(super) fn new(outcomes: mpsc::UnboundedSender<Outcome>) -> (Self, Mailbox) {
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by protocol: the control socket has few connections, each of which waits for its answer"
        )]
        let (commands, received) = mpsc::unbounded_channel();
        let (sender, started) = watch::channel(None);
        (Self { commands, started }, Mailbox { commands: received, early: VecDeque::new(), started: sender, outcomes })
    }
}

/// Runs a job from its start to its end. `offer` is a module that may take over, or be the first.
pub(super) async fn run(job: Job, versions: Versions, offer: Option<Proposal>, clock: Clock, mailbox: Mailbox) -> End {
    match run_to_end(job, versions, offer, clock, mailbox).await {
        Ok(()) => End::Stopped,
        Err(error) if error.is::<TaskFailed>() => End::TaskFailed(format!("{error:#}")),
        Err(error) => End::Failed(format!("{error:#}")),
    }
}

async fn run_to_end(
    job: Job,
    versions: Versions,
    offer: Option<Proposal>,
    clock: Clock,
    mut mailbox: Mailbox,
) -> Result<()> {
    // Cancel-safe: what is written down before a stop holds at the next start.
    let begun = tokio::select! {
        begun = versions.begin(offer.as_ref()) => begun.context("failed to find out which version is to run")?,
        () = mailbox.stopped() => return Ok(()),
    };
    let outcomes = Outcomes { job: versions.name().to_owned(), outcomes: mailbox.outcomes.clone() };
    // Not always the one in the task directory: that may have been rolled back.
    let module = begun.deployed.deployment.current.of_job(versions.name());
    info!(job.name, job.id, %module, "starting");
    let mut running = RunningJob::start_with(&job, begun.deployed, clock).await?;
    let started = Started { status: Arc::clone(running.status()), inputs: job.inputs.len() };
    mailbox.started.send_replace(Some(started));
    let mut work = Work::new(versions, running.handle(), outcomes);
    match (offer, begun.then) {
        (Some(offer), Then::Deploy) => work.deploy(offer),
        (Some(offer), Then::Nothing) => work.outcomes.tell(offer.id, Ok(())),
        (Some(offer), Then::Refuse(reason)) => work.outcomes.tell(offer.id, Err(reason)),
        (None, _) => {}
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

/// Says what became of modules.
#[derive(Clone)]
struct Outcomes {
    job: String,
    outcomes: mpsc::UnboundedSender<Outcome>,
}

impl Outcomes {
    fn tell(&self, id: ModuleId, result: Result<(), NotDeployed>) {
        // The host is gone when the process is.
        drop(self.outcomes.send(Outcome { job: self.job.clone(), id, result }));
    }
}

/// What goes on beside a running job. Ends with it.
struct Work {
    versions: Versions,
    job: JobHandle,
    outcomes: Outcomes,
    /// A panic of one ends the job: it would not follow the other hosts any more, or leave somebody without an answer.
    tasks: Tasks<&'static str, ()>,
    deploying: Option<Deploying>,
}

/// A module that is tried out, until the job has it.
struct Deploying {
    id: ModuleId,
    task: AbortHandle,
    is_handed_over: Arc<AtomicBool>,
}

impl Work {
    fn new(versions: Versions, job: JobHandle, outcomes: Outcomes) -> Self {
        let mut tasks = Tasks::default();
        tasks.spawn("the look at what other hosts run", follow(versions.clone(), job.clone()));
        Self { versions, job, outcomes, tasks, deploying: None }
    }

    /// Tries a module out and rolls it out, in place of one that is still being tried out: the last one wins, however long
    /// the first one's trial takes.
    fn deploy(&mut self, proposal: Proposal) {
        self.take_back();
        let (versions, job, outcomes) = (self.versions.clone(), self.job.clone(), self.outcomes.clone());
        let is_handed_over = Arc::new(AtomicBool::new(false));
        let (id, handed_over) = (proposal.id, Arc::clone(&is_handed_over));
        let task = self.tasks.spawn("the trial of a module", async move {
            let handing_over = || handed_over.store(true, Ordering::SeqCst);
            outcomes.tell(proposal.id, versions.deploy(&job, &proposal, handing_over).await);
        });
        self.deploying = Some(Deploying { id, task, is_handed_over });
    }

    /// Ends the trial of a module, if one is under way; returns which.
    fn take_back(&mut self) -> Option<ModuleId> {
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
                    self.outcomes.tell(id, Err(NotDeployed::Refused(TAKEN_BACK.to_owned())));
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

/// Passes on what other hosts write, and writes again what is lost, for as long as the job runs.
async fn follow(versions: Versions, job: JobHandle) {
    let mut looks = tokio::time::interval(FOLLOW_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(runs) = job.status().snapshot().rollout.deployment else { continue };
        let look = versions.look(runs);
        tokio::pin!(look);
        // One at a time: a look that hangs holds a thread.
        let looked = loop {
            match tokio::time::timeout(SLOW, &mut look).await {
                Ok(looked) => break looked,
                Err(_) => show(&job, Some(format!("the state directory has not answered for {} s", SLOW.as_secs()))),
            }
        };
        let problem = match looked {
            Ok(None) => None,
            Ok(Some(deployment)) => {
                info!(revision = deployment.revision, "another host changed what is to run");
                job.follow(deployment).await;
                None
            }
            Err(error) => Some(format!("it is not known what the other hosts run: {error:#}")),
        };
        show(&job, problem);
    }
}

/// Logged once, and shown for as long as it lasts.
fn show(job: &JobHandle, problem: Option<String>) {
    job.status().update(|status| {
        if let Some(problem) = problem.as_ref().filter(|_| problem != status.rollout.problem) {
            warn!("{problem}");
        }
        status.rollout.problem = problem;
    });
}
