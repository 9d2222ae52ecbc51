//! A running job: its lease workers, shard readers and task thread, the versions of its module, and the coordinator that
//! passes messages between them. Owns start, stop, the verdict, and what may be asked of a job while it runs; every
//! decision about records, leases and versions is made by the machines in core.

mod coordinator;
mod rollout;
mod start;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::sync::Arc;

use anyhow::Result;
use shardmill_core::config::Job;
use shardmill_core::coordinator::{Coordinator, TaskId};
use shardmill_core::rollout::{Deployment, Manner, Refusal};
use shardmill_runtime::trial::Recent;
use shardmill_runtime::{Module, Source, TaskSpec};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument;
use uuid::Uuid;

use crate::clock::Clock;
use crate::outputs::Records;
use crate::settings;
use crate::status::Status;
use crate::tasks::{Executor, Tasks};
use coordinator::{CoordinatorShell, Messages, Parts, Readers};
use rollout::{Answer, RolloutShell};

pub use rollout::{Deployed, DeploymentStore, NoStore};

/// Commands that wait for the coordinator.
const COMMANDS_MAX: usize = 16;

/// The task cannot go on: trying again would only do again what it did.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TaskFailed(String);

/// A job that was started.
///
/// Its module can be replaced while it runs. [`JobHandle::deploy`] builds an instance of another version beside the one
/// that runs, writes the new deployment to the [`DeploymentStore`], and moves the shards between two calls; nothing is
/// read again. `task.rollout` says whether all shards move at once or wave by wave. A version that traps too often, fails
/// too much or gives up is rolled back by itself while there is a version to go back to. Where it stands is in
/// [`Status`]: [`Rollout`](crate::status::Rollout), and the module of each shard.
///
/// Everything that can be asked of it is asked through its [`JobHandle`], which it derefs to.
pub struct RunningJob {
    handle: JobHandle,
    /// One, until it has ended.
    coordinator: Tasks<&'static str, Result<()>>,
}

/// Asks a job, from anywhere. Cheap to clone.
#[derive(Clone)]
pub struct JobHandle {
    status: Arc<Status>,
    inputs: usize,
    stop: watch::Sender<Stop>,
    commands: mpsc::Sender<Command>,
}

/// What the task had lately, for a trial of another version.
#[derive(Debug)]
pub struct Lately {
    /// The current version.
    pub module: Module,
    /// The shards, by their index.
    pub sources: Vec<Source>,
    /// The envelopes of the last calls, shard by shard, in order; a bounded number.
    pub recent: Vec<Recent>,
}

/// A request about the versions of a job was not met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Why; the version that ran goes on.
    #[error("{0}")]
    Because(String),
    /// The version cannot be started with the job's configuration.
    #[error("{0}")]
    Unfit(String),
    /// This machine could not do it now.
    #[error("{0}")]
    NotNow(String),
    #[error("the job is stopping")]
    Stopping,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Because(reason) => Self::Because(reason),
            Refusal::Unfit(reason) => Self::Unfit(reason),
            Refusal::NotNow(reason) => Self::NotNow(reason),
        }
    }
}

/// Whether the job was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    NotAsked,
    InGoodOrder,
    AtOnce,
}

/// What is asked of a running job.
enum Command {
    Deploy { module: Module, how: Manner, answer: Answer },
    Promote { answer: Answer },
    RollBack { version: Option<String>, answer: Answer },
    Changed { deployment: Deployment },
    Lately { answer: oneshot::Sender<Lately> },
    Pause(bool),
}

impl RunningJob {
    /// Instantiates the task, calls its `init`, and starts reading. What is deployed later is forgotten at the end.
    ///
    /// # Errors
    /// When the task cannot be built, an output not be opened, or region or credentials are not found.
    pub async fn start(job: &Job, module: Module, clock: Clock) -> Result<Self> {
        Self::start_with(job, Deployed::once(module), clock).await
    }

    /// As [`RunningJob::start`], where an earlier run or another host left off: each shard goes on with the version that
    /// the deployment says.
    ///
    /// # Errors
    /// As [`RunningJob::start`]; also when the current version's module is not among those given.
    pub async fn start_with(job: &Job, deployed: Deployed, clock: Clock) -> Result<Self> {
        let status = Arc::new(Status::default());
        let (executor, panics) = Executor::new(settings::CONNECTION);
        let spec = TaskSpec { hits: status.snapshot().limits, ..settings::task_spec_with(job, executor) };
        // Before the inputs: who cannot process a shard takes none.
        let records = Records::in_directory(deployed.store.output_records());
        let mut parts = Parts::default();
        let task = start::task(job, deployed.current()?, &spec, clock, &status, records, &mut parts).await?;
        let mut connected = Vec::new();
        for input in &job.inputs {
            // Clients are large.
            connected.push(Box::pin(start::connect(input)).await?);
        }
        // All can be reached, as far as that is known without a call: only now one takes leases.
        let run = Uuid::new_v4();
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by protocol: per lease one start and one loss, per checkpoint one answer, and a notice once per row"
        )]
        let (told, tellings) = mpsc::unbounded_channel();
        let inputs = connected
            .into_iter()
            .enumerate()
            .map(|(index, it)| it.start(index, run, clock, &status, &told, &mut parts));
        let inputs = inputs.collect();
        let Deployed { deployment, modules, store } = deployed;
        let first = BTreeMap::from([(TaskId::default(), task.interrupter)]);
        let rollout = RolloutShell::new(modules, store, spec, Arc::clone(&status), first);
        let (commands, commanded) = mpsc::channel(COMMANDS_MAX);
        let (stop, stopped) = watch::channel(Stop::NotAsked);
        let shell = CoordinatorShell {
            coordinator: Coordinator::new(clock.now(), settings::coordinator(job), deployment),
            inputs,
            parts,
            control: task.control,
            data: task.data,
            rollout,
            status: Arc::clone(&status),
            clock,
            readers: Readers::default(),
            pending: VecDeque::new(),
        };
        let messages = Messages { leases: tellings, task: task.requests, panics, commands: commanded, stop: stopped };
        let run = shell.run(messages);
        let handle = JobHandle { status, inputs: job.inputs.len(), stop, commands };
        let mut coordinator = Tasks::default();
        coordinator.spawn("the job", run.in_current_span());
        Ok(Self { handle, coordinator })
    }

    #[must_use]
    pub fn handle(&self) -> JobHandle {
        self.handle.clone()
    }

    /// Waits for the end. Cancel-safe.
    ///
    /// # Errors
    /// Why the job had to stop, when it did not stop because it was asked to.
    ///
    /// # Panics
    /// When it has returned before: a job ends once.
    pub async fn wait(&mut self) -> Result<()> {
        let (_, ended) = self.coordinator.join_next().await.expect("a job ends once");
        ended?
    }
}

impl Deref for RunningJob {
    type Target = JobHandle;

    fn deref(&self) -> &JobHandle {
        &self.handle
    }
}

impl JobHandle {
    #[must_use]
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Whether everything that was in the streams is read and processed.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.status.snapshot().is_caught_up(self.inputs)
    }

    /// Rolls out another version, as `task.rollout` says. Returns when the change is written down, and begins then; the
    /// same version again is nothing to do. A candidate that is there already is replaced.
    ///
    /// # Errors
    /// When its `init` fails, it was rolled back before, a later deploy replaces it while it is built, or it cannot be
    /// written down. The versions that run go on.
    pub async fn deploy(&self, module: Module) -> Result<(), Refused> {
        self.deploy_as(module, Manner::Configured).await
    }

    /// As [`JobHandle::deploy`], but all at once or in waves whatever `task.rollout` says.
    ///
    /// # Errors
    /// As [`JobHandle::deploy`], but [`Manner::Forced`] also takes what was rolled back before.
    pub async fn deploy_as(&self, module: Module, how: Manner) -> Result<(), Refused> {
        self.ask(|answer| Command::Deploy { module, how, answer }).await
    }

    /// Lets the candidate take over now.
    ///
    /// # Errors
    /// When there is none, or it cannot be written down.
    pub async fn promote(&self) -> Result<(), Refused> {
        self.ask(|answer| Command::Promote { answer }).await
    }

    /// Takes the candidate back; without one, the current version, if the one before is still kept ready
    /// ([`Manner::Forced`] goes back further). What is taken back is not tried again unless it is named. If `version`, the
    /// first digits of a hash, is neither of them, it is gone already, and nothing is done.
    ///
    /// # Errors
    /// When there is nothing to go back to.
    pub async fn roll_back(&self, version: Option<String>) -> Result<(), Refused> {
        self.ask(|answer| Command::RollBack { version, answer }).await
    }

    /// Another host of the job wrote a deployment: this one follows.
    pub async fn follow(&self, deployment: Deployment) {
        // A job that stops follows nobody.
        drop(self.commands.send(Command::Changed { deployment }).await);
    }

    /// Calls the task no more, until it is resumed. Leases are kept; readers wait when their buffers are full.
    pub async fn pause(&self) {
        drop(self.commands.send(Command::Pause(true)).await);
    }

    /// Goes on after [`JobHandle::pause`].
    pub async fn resume(&self) {
        drop(self.commands.send(Command::Pause(false)).await);
    }

    /// What the task had lately; `None` when the job is at its end.
    pub async fn lately(&self) -> Option<Lately> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Lately { answer }).await.ok()?;
        answered.await.ok()
    }

    async fn ask(&self, command: impl FnOnce(Answer) -> Command) -> Result<(), Refused> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| Refused::Stopping)?;
        answered.await.map_err(|_| Refused::Stopping)?.map_err(Refused::from)
    }

    /// Asks for a graceful stop: stop reading, finish, commit, release the leases.
    pub fn stop(&self) {
        self.stop.send_replace(Stop::InGoodOrder);
    }

    /// Asks for the end without waiting for the task: only the leases are still released.
    pub fn stop_at_once(&self) {
        self.stop.send_replace(Stop::AtOnce);
    }
}

#[cfg(test)]
mod tests;
