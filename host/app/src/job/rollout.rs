//! The shell around the rollout: builds instances on threads of their own, writes deployments down, keeps what is built at
//! hand, answers who asked. Decides nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use shardmill_core::coordinator::{Coordinator, Event, TaskId};
use shardmill_core::module::ModuleId;
use shardmill_core::rollout::{self, Deployment, FIRST_INSTANCE, Outcome, Refusal, RequestId, WriteError};
use shardmill_core::run_loop::InstanceId;
use shardmill_runtime::{CallError, Instance, Interrupter, Module, TaskSpec};
use tokio::sync::oneshot;
use tracing::{Span, info, warn};

use super::Command;
use crate::status::Status;
use crate::task_thread::{Ready, instantiate};
use crate::tasks::Tasks;

/// The wait before an instance that the host could not provide for is built again: doubling, bounded.
const BUILD_AGAIN: Duration = Duration::from_millis(100);
const BUILD_AGAIN_MAX: Duration = Duration::from_secs(2);

/// Builds an instance. What the host cannot provide now is no fault of the version: it is built when the host can.
fn build(
    module: &Module,
    spec: &TaskSpec,
    is_wanted: impl Fn() -> bool,
    waits: impl Fn(Option<String>),
) -> Result<Instance, CallError> {
    let mut wait = BUILD_AGAIN;
    loop {
        match instantiate(module, spec) {
            Err(error) if error.is_hosts() && is_wanted() => {
                warn!(module = %module.version(), %error, "an instance is not built yet, and tried again");
                waits(Some(error.to_string()));
                std::thread::sleep(wait);
                wait = (wait * 2).min(BUILD_AGAIN_MAX);
            }
            built => return built,
        }
    }
}

/// Keeps what a job runs, for its restarts and for the other hosts of it.
pub trait DeploymentStore: Send + Sync {
    /// Makes a deployment durable if nobody wrote since its revision was one less. May block.
    ///
    /// # Errors
    /// [`WriteError::Changed`] with what is written if another host was first; [`WriteError::Failed`] if it cannot be
    /// written.
    fn write(&self, deployment: &Deployment) -> Result<(), WriteError>;

    /// The module of a version that another host began. May block.
    ///
    /// # Errors
    /// When it is not on this host and cannot be had.
    fn module(&self, id: ModuleId) -> Result<Module, String>;

    /// Where it is kept which output files the job has written; `None`: it is not kept.
    fn output_records(&self) -> Option<PathBuf> {
        None
    }
}

/// For jobs that keep nothing: each start begins with the module that it is given.
pub struct NoStore;

impl DeploymentStore for NoStore {
    fn write(&self, _: &Deployment) -> Result<(), WriteError> {
        Ok(())
    }

    fn module(&self, _: ModuleId) -> Result<Module, String> {
        Err("its module is not on this host".to_owned())
    }
}

/// What a job begins with.
pub struct Deployed {
    pub deployment: Deployment,
    /// Those that [`Deployment::modules`] names, as far as they are at hand; others are got from the store when they are
    /// needed. The current one has to be.
    pub modules: Vec<Module>,
    pub store: Arc<dyn DeploymentStore>,
}

impl Deployed {
    /// A module that runs alone, and of which nothing is kept.
    #[must_use]
    pub fn once(module: Module) -> Self {
        let deployment = Deployment::first(module.id());
        Self { deployment, modules: vec![module], store: Arc::new(NoStore) }
    }

    /// The module of the current version.
    pub(super) fn current(&self) -> Result<Module> {
        let current = self.deployment.current;
        let found = self.modules.iter().find(|module| module.id() == current);
        found.cloned().with_context(|| format!("the module {current}, which the job is to run, is not on this host"))
    }
}

/// What is done away from the coordinator.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// An instance of a version, by the version's name.
    Build(String),
    Write,
}

/// What became of it.
pub(super) enum Done {
    Built { task: TaskId, instance: InstanceId, built: Result<Box<Ready>, String> },
    Written(Result<(), WriteError>),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(module) => write!(f, "the start of an instance of {module}"),
            Self::Write => f.write_str("the writing of the deployment"),
        }
    }
}

/// The answer to a request: it is done, or why not.
pub(super) type Answer = oneshot::Sender<Result<(), Refusal>>;

/// An instance of one task.
type Place = (TaskId, InstanceId);

pub(super) struct RolloutShell {
    /// The module's name.
    job: String,
    modules: HashMap<ModuleId, Module>,
    spec: TaskSpec,
    store: Arc<dyn DeploymentStore>,
    /// Built, and not given to their task yet.
    spares: BTreeMap<Place, Box<Ready>>,
    interrupters: BTreeMap<Place, Interrupter>,
    answers: HashMap<RequestId, Answer>,
    next_request: RequestId,
    /// Its ends are for [`RolloutShell::done`]; a panic ends the job.
    pub(super) work: Tasks<Work, Done>,
    status: Arc<Status>,
}

impl RolloutShell {
    /// `first` ends the calls of the instances that the tasks have from the start.
    pub(super) fn new(
        modules: Vec<Module>,
        store: Arc<dyn DeploymentStore>,
        spec: TaskSpec,
        status: Arc<Status>,
        first: BTreeMap<TaskId, Interrupter>,
    ) -> Self {
        let job = modules.first().map(|module| module.version().name().to_owned()).unwrap_or_default();
        Self {
            job,
            modules: modules.into_iter().map(|module| (module.id(), module)).collect(),
            spec,
            store,
            spares: BTreeMap::new(),
            interrupters: first.into_iter().map(|(task, first)| ((task, FIRST_INSTANCE), first)).collect(),
            answers: HashMap::new(),
            next_request: 0,
            work: Tasks::default(),
            status,
        }
    }

    pub(super) fn module(&self, id: ModuleId) -> Option<Module> {
        self.modules.get(&id).cloned()
    }

    /// What a request is to the rollout.
    pub(super) fn event(&mut self, command: Command) -> Option<rollout::Event> {
        Some(match command {
            Command::Deploy { module, how, answer } => {
                let id = module.id();
                self.modules.insert(id, module);
                rollout::Event::Deploy { request: self.request(answer), module: id, how }
            }
            Command::Promote { answer } => rollout::Event::Promote { request: self.request(answer) },
            Command::RollBack { version, answer } => {
                rollout::Event::RollBack { request: self.request(answer), version }
            }
            Command::Changed { deployment } => rollout::Event::Changed(deployment),
            Command::Lately { .. } | Command::Pause(_) => return None,
        })
    }

    fn request(&mut self, answer: Answer) -> RequestId {
        self.next_request += 1;
        self.answers.insert(self.next_request, answer);
        self.next_request
    }

    /// What the end of a piece of work is to the coordinator.
    pub(super) fn done(&mut self, done: Done) -> Option<Event> {
        match done {
            Done::Built { task, instance, built } => {
                let result = built.map(|ready| {
                    self.modules.insert(ready.module.id(), ready.module.clone());
                    self.interrupters.insert((task, instance), ready.interrupter.clone());
                    self.spares.insert((task, instance), ready);
                });
                Some(Event::Built { task, instance, result })
            }
            Done::Written(result) => Some(Event::Rollout(rollout::Event::Written(result))),
        }
    }

    pub(super) fn take_spare(&mut self, task: TaskId, instance: InstanceId) -> Option<Box<Ready>> {
        self.spares.remove(&(task, instance))
    }

    pub(super) fn interrupt(&self, task: TaskId, instances: &[InstanceId]) {
        let interrupters = instances.iter().filter_map(|&instance| self.interrupters.get(&(task, instance)));
        interrupters.for_each(Interrupter::interrupt);
    }

    /// Builds an instance for a task. It may wait for memory for as long as it is wanted.
    pub(super) fn build(
        &mut self,
        task: TaskId,
        instance: InstanceId,
        id: ModuleId,
        is_wanted: impl Fn() -> bool + Send + 'static,
    ) {
        let (module, spec) = (self.modules.get(&id).cloned(), self.spec.clone());
        let (store, status, span) = (Arc::clone(&self.store), Arc::clone(&self.status), Span::current());
        self.work.spawn_blocking(Work::Build(self.name(id)), move || {
            let ready = |module: Module| {
                let built = span.in_scope(|| build(&module, &spec, is_wanted, |reason| status.waits(instance, reason)));
                status.waits(instance, None);
                let instance = built.map_err(|error| error.to_string())?;
                Ok(Box::new(Ready { module, instance, interrupter: Interrupter::default() }))
            };
            let built = module.map_or_else(|| store.module(id), Ok).and_then(ready);
            Done::Built { task, instance, built }
        });
    }

    pub(super) fn carry_out(&mut self, action: rollout::Action) {
        match action {
            rollout::Action::Write(deployment) => {
                let store = Arc::clone(&self.store);
                self.work.spawn_blocking(Work::Write, move || Done::Written(store.write(&deployment)));
            }
            rollout::Action::Answer { request, result } => {
                if let Some(answer) = self.answers.remove(&request) {
                    // Who asked may have gone.
                    drop(answer.send(result));
                }
            }
            rollout::Action::Tell(outcome) => self.tell(&outcome),
            // The coordinator carries these out.
            rollout::Action::Build { .. }
            | rollout::Action::Assign { .. }
            | rollout::Action::Route { .. }
            | rollout::Action::GiveUp { .. }
            | rollout::Action::Fail { .. } => {}
        }
    }

    fn tell(&self, outcome: &Outcome) {
        let text = match outcome {
            Outcome::Wave { module, wave } => format!("{} is in wave {wave}", self.name(*module)),
            Outcome::TookOver { module } => format!("{} took over", self.name(*module)),
            Outcome::RolledBack { module, reason } => format!("{} was rolled back: {reason}", self.name(*module)),
            Outcome::NotWarm { module, reason } => {
                format!("there is no way back to {}, it cannot be started: {reason}", self.name(*module))
            }
            Outcome::Unwritten { reason } => {
                format!("a roll-back holds on this host only, until it can be written down: {reason}")
            }
        };
        match outcome {
            Outcome::Wave { .. } | Outcome::TookOver { .. } => info!("{text}"),
            _ => warn!("{text}"),
        }
        self.status.update(|status| {
            status.rollout.rolled_back += u64::from(matches!(outcome, Outcome::RolledBack { .. }));
            status.rollout.last = Some(text);
        });
    }

    fn name(&self, module: ModuleId) -> String {
        let known = self.modules.get(&module);
        known.map_or_else(|| module.of_job(&self.job).to_string(), |module| module.version().to_string())
    }

    /// Shows where the rollout stands, and lets go of what it does not need any more.
    pub(super) fn show(&mut self, coordinator: &Coordinator) {
        let rollout = coordinator.rollout();
        self.modules.retain(|module, _| rollout.needs(*module));
        self.interrupters.retain(|&(task, instance), _| coordinator.is_needed(task, instance));
        self.status.update(|status| {
            status.health.retain(|&instance, _| rollout.module(instance).is_some());
            if status.rollout.deployment.as_ref() != Some(rollout.deployment()) {
                status.rollout.deployment = Some(rollout.deployment().clone());
            }
            status.rollout.starting = rollout.starting();
            for (&source, shard) in &mut status.shards {
                let module = coordinator.instance_of(source).and_then(|instance| rollout.module(instance));
                if module.is_some() && shard.module != module {
                    shard.module = module;
                }
            }
        });
    }
}
