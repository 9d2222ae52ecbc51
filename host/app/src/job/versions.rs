//! The shell around the rollout: builds instances on threads of their own, writes deployments down, hands instances and
//! routes to the task thread, answers who asked. Decides nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use shardmill_core::leases::Epoch;
use shardmill_core::module::ModuleId;
use shardmill_core::position::Checkpoint;
use shardmill_core::rollout::{
    Action, Deployment, Event, Manner, Outcome, Refusal, RequestId, Rollout, Settings, WriteError,
};
use shardmill_core::run_loop::{self, InstanceId, SourceId};
use shardmill_core::time::Millis;
use shardmill_runtime::{CallError, Instance, Interrupter, Module, TaskSpec};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tracing::{Span, info, warn};

use crate::clock::Clock;
use crate::status::Status;
use crate::task_thread::{Control, Ready, instantiate};
use crate::tasks::Tasks;

/// How often instances are judged while there is a version to go back to.
const HEALTH_INTERVAL: Millis = 500;

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

/// For jobs that begin anew with the module that they are started with.
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

/// What is done away from the supervisor.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// An instance of a version, by the version's name.
    Build(String),
    Write,
    Drain,
}

/// What became of it.
pub(super) enum Done {
    Built(InstanceId, Result<Box<Ready>, String>),
    Written(Result<(), WriteError>),
    Drained,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(module) => write!(f, "the start of an instance of {module}"),
            Self::Write => f.write_str("the writing of the deployment"),
            Self::Drain => f.write_str("the bound of the calls that hold up a swap"),
        }
    }
}

/// The answer to a request: it is done, or why not.
pub(super) type Answer = oneshot::Sender<Result<(), Refusal>>;

/// A shard that waits for its instance.
struct Assignment {
    epoch: Epoch,
    checkpoint: Checkpoint,
}

pub(super) struct Versions {
    /// The module's name.
    job: String,
    rollout: Rollout,
    modules: HashMap<ModuleId, Module>,
    spec: TaskSpec,
    store: Arc<dyn DeploymentStore>,
    /// Built, and not handed to the task thread yet.
    spares: BTreeMap<InstanceId, Box<Ready>>,
    interrupters: BTreeMap<InstanceId, Interrupter>,
    assignments: BTreeMap<SourceId, Assignment>,
    /// The instance that each shard was given to.
    placed: BTreeMap<SourceId, InstanceId>,
    answers: HashMap<RequestId, Answer>,
    next_request: RequestId,
    /// Its ends are for [`Versions::done`]; a panic ends the job.
    pub(super) work: Tasks<Work, Done>,
    control: mpsc::UnboundedSender<Control>,
    status: Arc<Status>,
    clock: Clock,
    drain: Duration,
    /// What ends calls that hold up routes.
    draining: Vec<AbortHandle>,
    judged_at: Millis,
    failure: Option<String>,
}

/// What [`Versions`] is made of.
pub(super) struct Parts {
    pub(super) settings: Settings,
    pub(super) drain: Duration,
    pub(super) deployed: Deployed,
    pub(super) spec: TaskSpec,
    pub(super) control: mpsc::UnboundedSender<Control>,
    pub(super) status: Arc<Status>,
    pub(super) clock: Clock,
}

impl Versions {
    /// The instance of the current version is in the task thread already.
    pub(super) fn new(parts: Parts, first: Interrupter) -> Self {
        let Parts { settings, drain, deployed, spec, control, status, clock } = parts;
        let job = deployed.modules.first().map(|module| module.version().name().to_owned()).unwrap_or_default();
        let modules = deployed.modules.into_iter().map(|module| (module.id(), module)).collect();
        let mut this = Self {
            job,
            rollout: Rollout::new(clock.now(), settings, deployed.deployment),
            modules,
            spec,
            store: deployed.store,
            spares: BTreeMap::new(),
            interrupters: BTreeMap::from([(shardmill_core::rollout::FIRST_INSTANCE, first)]),
            assignments: BTreeMap::new(),
            placed: BTreeMap::new(),
            answers: HashMap::new(),
            next_request: 0,
            work: Tasks::default(),
            control,
            status,
            clock,
            drain,
            draining: Vec::new(),
            judged_at: 0,
            failure: None,
        };
        this.on(Event::Tick);
        this
    }

    /// Why the job cannot go on, once.
    pub(super) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// When [`Versions::tick`] is due.
    pub(super) fn wake_at(&self) -> Millis {
        let judge = if self.is_judging() { self.judged_at + HEALTH_INTERVAL } else { Millis::MAX };
        self.rollout.wake_at().min(judge)
    }

    pub(super) fn tick(&mut self) {
        let now = self.clock.now();
        if self.is_judging() && now >= self.judged_at + HEALTH_INTERVAL {
            self.judged_at = now;
            for (instance, health) in self.status.snapshot().health {
                self.on(Event::Health { instance, health });
            }
        }
        self.on(Event::Tick);
    }

    fn is_judging(&self) -> bool {
        self.rollout.is_watching(self.clock.now())
    }

    /// The module of the current version.
    pub(super) fn current(&self) -> Option<Module> {
        self.modules.get(&self.rollout.deployment().current).cloned()
    }

    pub(super) fn deploy(&mut self, module: Module, how: Manner, answer: Answer) {
        let id = module.id();
        self.modules.insert(id, module);
        let request = self.request(answer);
        self.on(Event::Deploy { request, module: id, how });
    }

    pub(super) fn promote(&mut self, answer: Answer) {
        let request = self.request(answer);
        self.on(Event::Promote { request });
    }

    pub(super) fn roll_back(&mut self, version: Option<String>, answer: Answer) {
        let request = self.request(answer);
        self.on(Event::RollBack { request, version });
    }

    pub(super) fn changed(&mut self, deployment: Deployment) {
        self.on(Event::Changed(deployment));
    }

    fn request(&mut self, answer: Answer) -> RequestId {
        self.next_request += 1;
        self.answers.insert(self.next_request, answer);
        self.next_request
    }

    pub(super) fn assign(&mut self, source: SourceId, shard: String, epoch: Epoch, checkpoint: Checkpoint) {
        self.assignments.insert(source, Assignment { epoch, checkpoint });
        self.on(Event::Assigned { source, shard });
    }

    pub(super) fn released(&mut self, source: SourceId) {
        self.assignments.remove(&source);
        self.placed.remove(&source);
        self.on(Event::Released { source });
    }

    pub(super) fn ended(&mut self, children: Vec<(String, Vec<String>)>) {
        self.on(Event::Ended { children });
    }

    pub(super) fn gave_up(&mut self, instance: InstanceId, reason: String) {
        self.on(Event::GaveUp { instance, reason });
    }

    /// The run loop carried out every route.
    pub(super) fn routed(&mut self) {
        self.draining.drain(..).for_each(|draining| draining.abort());
    }

    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Built(instance, built) => {
                let result = built.map(|ready| {
                    self.modules.insert(ready.module.id(), ready.module.clone());
                    self.interrupters.insert(instance, ready.interrupter.clone());
                    self.spares.insert(instance, ready);
                });
                self.on(Event::Built { instance, result });
            }
            Done::Written(result) => self.on(Event::Written(result)),
            Done::Drained => {}
        }
    }

    fn on(&mut self, event: Event) {
        let (answers, actions): (Vec<_>, Vec<_>) =
            self.rollout.on(self.clock.now(), event).into_iter().partition(|it| matches!(it, Action::Answer { .. }));
        actions.into_iter().for_each(|action| self.act(action));
        let rollout = &self.rollout;
        self.modules.retain(|module, _| rollout.needs(*module));
        self.show();
        // Who hears that it is done sees it done.
        answers.into_iter().for_each(|answer| self.act(answer));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Build { instance, module } => self.build(instance, module),
            Action::Write(deployment) => self.write(deployment),
            Action::Assign { source, instance } => {
                self.hand_over(instance);
                self.placed.insert(source, instance);
                if let Some(Assignment { epoch, checkpoint }) = self.assignments.remove(&source) {
                    self.tell(run_loop::Event::Assigned { source, epoch, checkpoint, instance });
                }
            }
            Action::Route { moves, retire } => self.route(moves, retire),
            Action::GiveUp { instance } => self.tell(run_loop::Event::GiveUp { instance }),
            Action::Fail { reason } => self.failure = Some(reason),
            Action::Answer { request, result } => {
                if let Some(answer) = self.answers.remove(&request) {
                    // Who asked may have gone.
                    drop(answer.send(result));
                }
            }
            Action::Tell(outcome) => self.told(&outcome),
        }
    }

    fn tell(&self, event: run_loop::Event) {
        // The task thread outlives every message that matters to it.
        drop(self.control.send(Control::Loop(event)));
    }

    fn build(&mut self, instance: InstanceId, id: ModuleId) {
        let (module, spec) = (self.modules.get(&id).cloned(), self.spec.clone());
        let (store, status) = (Arc::clone(&self.store), Arc::clone(&self.status));
        let (span, control) = (Span::current(), self.control.downgrade());
        self.work.spawn_blocking(Work::Build(self.name(id)), move || {
            let ready = |module: Module| {
                // It may wait for memory; when the job ends nobody wants it.
                let is_wanted = || control.upgrade().is_some_and(|control| !control.is_closed());
                let built = span.in_scope(|| build(&module, &spec, is_wanted, |reason| status.waits(instance, reason)));
                status.waits(instance, None);
                let instance = built.map_err(|error| error.to_string())?;
                Ok(Box::new(Ready { module, instance, interrupter: Interrupter::default() }))
            };
            Done::Built(instance, module.map_or_else(|| store.module(id), Ok).and_then(ready))
        });
    }

    fn write(&mut self, deployment: Deployment) {
        let store = Arc::clone(&self.store);
        self.work.spawn_blocking(Work::Write, move || Done::Written(store.write(&deployment)));
    }

    /// Gives an instance to the task thread, unless it has it.
    fn hand_over(&mut self, instance: InstanceId) {
        if let Some(ready) = self.spares.remove(&instance) {
            drop(self.control.send(Control::AddInstance(instance, ready)));
        }
    }

    fn route(&mut self, moves: Vec<(SourceId, InstanceId)>, retire: Vec<InstanceId>) {
        let left = moves.iter().filter_map(|&(source, to)| self.placed.insert(source, to));
        let left: Vec<InstanceId> = left.chain(retire.iter().copied()).collect();
        moves.iter().for_each(|&(_, instance)| self.hand_over(instance));
        let mut used = Vec::new();
        for instance in retire {
            if self.spares.remove(&instance).is_none() {
                used.push(instance);
            }
        }
        if !moves.is_empty() || !used.is_empty() {
            let interrupters = left.iter().filter_map(|instance| self.interrupters.get(instance).cloned()).collect();
            self.drain(interrupters);
            self.tell(run_loop::Event::Route { moves, retire: used });
        }
        let rollout = &self.rollout;
        self.interrupters.retain(|&instance, _| rollout.module(instance).is_some());
        self.status.update(|status| status.health.retain(|&instance, _| rollout.module(instance).is_some()));
    }

    /// Ends the calls of instances that lose shards, if they take too long.
    fn drain(&mut self, interrupters: Vec<Interrupter>) {
        let patience = self.drain;
        let draining = self.work.spawn(Work::Drain, async move {
            tokio::time::sleep(patience).await;
            interrupters.iter().for_each(Interrupter::interrupt);
            Done::Drained
        });
        self.draining.push(draining);
    }

    fn told(&mut self, outcome: &Outcome) {
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

    /// Shows where the rollout stands.
    fn show(&self) {
        let rollout = &self.rollout;
        self.status.update(|status| {
            if status.rollout.deployment.as_ref() != Some(rollout.deployment()) {
                status.rollout.deployment = Some(rollout.deployment().clone());
            }
            status.rollout.starting = rollout.starting();
            for (source, shard) in &mut status.shards {
                let module = self.placed.get(source).and_then(|&instance| rollout.module(instance));
                if module.is_some() && shard.module != module {
                    shard.module = module;
                }
            }
        });
    }
}
