//! Rolls out versions of a job's module, as a pure machine: which version is built, which shards it gets and when, when it
//! takes over, when it goes back, and what is written down before any of that takes effect. The shell builds instances,
//! writes, and passes routes on to the run loop. It must not know the run loop's queue, files or modules.
//!
//! What holds is a [`Deployment`]; where this process stands follows from it:
//!
//! | state | the deployment says | sources | instances |
//! |---|---|---|---|
//! | steady | `current` | all on `current` | `current` |
//! | canary | `candidate` in wave *w* | those named on the candidate, the rest on `current` | both |
//! | probation | `previous` is warm | all on `current` | `current`, and one of `previous` that is ready and unused |
//!
//! | event | steady | canary | probation |
//! |---|---|---|---|
//! | deploy, with waves | → canary, wave 1 | the new candidate replaces the old one, its shards with it | → canary; what is before stays warm |
//! | deploy, at once | → probation | → probation; the candidate goes | → probation, of the version that runs now |
//! | wave is baked | | next wave; after the last → probation | |
//! | promote | refused | → probation | refused |
//! | roll back | refused | → state before, the candidate in quarantine | → steady on `previous`, `current` in quarantine |
//! | bad health, gave up | the job stops (gave up) | as roll back, if it is the candidate | as roll back |
//! | time is over | | | → steady; `previous` is not ready any more |
//!
//! Every change is built first (an instance whose `init` fails changes nothing), then written, then routed. A crash at
//! any step resumes what was written. Hosts that share a deployment write one after the other: who comes second sees the
//! first one's and decides anew. A second deploy while one is being built replaces it. Several hosts have waves of their
//! own shards; the names of all of them are in one set, so a shard that moves to another host keeps its version.
//!
//! With one task instance for all shards (AllSspToSingleTaskGrouper) a canary needs a second one: during a rollout the
//! shards of a process are split between an instance of each version. A shard is never processed by both at a time, and
//! the children of a resharded shard follow their parents.

mod deployment;
mod health;
mod message;
mod plan;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::leases::Millis;
use crate::run_loop::{InstanceId, SourceId};

pub use deployment::{Candidate, Deployment, ModuleId, Previous, Quarantined};
pub use health::Health;
use health::Restarts;
pub use message::{Action, Event, Outcome, RequestId, Settings, Wave, WriteError};

/// The instance that is there from the start, of the current version.
pub const FIRST_INSTANCE: InstanceId = 0;

/// Attempts to write a change before it is given up, and the pause between them.
const WRITES_MAX: u32 = 5;
const WRITE_PAUSE: Millis = 1_000;

/// Changes that wait for the one being written.
const WAITING_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Building,
    Ready,
}

#[derive(Debug)]
struct Instance {
    module: ModuleId,
    stage: Stage,
    /// It has, or had, sources: it cannot be kept for later.
    used: bool,
    restarts: Restarts,
    health: Health,
    gave_up: Option<String>,
}

#[derive(Debug)]
struct Source {
    shard: String,
    /// None until its instance is ready.
    instance: Option<InstanceId>,
}

/// A change of the deployment; computed anew when another host was first.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Begin {
        module: ModuleId,
    },
    /// More shards of this process for the candidate.
    Select,
    /// Children of the candidate's shards.
    Inherit(BTreeSet<String>),
    Wave {
        module: ModuleId,
        wave: usize,
    },
    TakeOver {
        module: ModuleId,
    },
    RollBack {
        module: ModuleId,
        reason: String,
    },
}

#[derive(Debug)]
struct Proposal {
    change: Change,
    request: Option<RequestId>,
}

/// What is being written.
#[derive(Debug)]
struct Writing {
    proposal: Proposal,
    next: Deployment,
    attempts: u32,
    /// When the next attempt is due; none while one is under way.
    retry_at: Option<Millis>,
}

/// A version whose first instance is being built.
#[derive(Debug)]
struct Starting {
    instance: InstanceId,
    module: ModuleId,
    at_once: bool,
    request: RequestId,
}

/// The machine; see the module documentation.
#[derive(Debug)]
pub struct Rollout {
    settings: Settings,
    deployment: Deployment,
    instances: BTreeMap<InstanceId, Instance>,
    next_instance: InstanceId,
    sources: BTreeMap<SourceId, Source>,
    starting: Option<Starting>,
    writing: Option<Writing>,
    waiting: VecDeque<Proposal>,
    /// How the version before the current one did: what probation is judged by.
    baseline: Health,
    /// A change could not be written: none is begun without being asked for before this.
    quiet_until: Millis,
    /// There is no way back to the previous version, although its time is not over.
    is_cold: bool,
    actions: Vec<Action>,
}

impl Rollout {
    /// Goes on with a deployment; an instance of its current version is there, [`FIRST_INSTANCE`]. The first event should
    /// be a [`Event::Tick`].
    #[must_use]
    pub fn new(settings: Settings, deployment: Deployment) -> Self {
        let module = deployment.current.clone();
        let mut this = Self {
            settings,
            deployment,
            instances: BTreeMap::new(),
            next_instance: FIRST_INSTANCE,
            sources: BTreeMap::new(),
            starting: None,
            writing: None,
            waiting: VecDeque::new(),
            baseline: Health::default(),
            quiet_until: 0,
            is_cold: false,
            actions: Vec::new(),
        };
        this.add_instance(module, Stage::Ready);
        this
    }

    /// Takes in one event and returns what to do now, in order.
    pub fn on(&mut self, now: Millis, event: Event) -> Vec<Action> {
        match event {
            Event::Tick => self.retry_write(now),
            Event::Deploy { request, module, forced } => self.deploy(now, request, module, forced),
            Event::Promote { request } => self.promote(now, request),
            Event::RollBack { request } => self.roll_back_by_hand(now, request),
            Event::Built { instance, result } => self.built(now, instance, result),
            Event::Written(result) => self.written(now, result),
            Event::Changed(deployment) => self.changed(now, deployment),
            Event::Assigned { source, shard } => {
                self.sources.insert(source, Source { shard, instance: None });
            }
            Event::Released { source } => drop(self.sources.remove(&source)),
            Event::Ended { children } => self.ended(now, &children),
            Event::GaveUp { instance, reason } => self.gave_up(instance, reason),
            Event::Health { instance, health } => self.health(now, instance, health),
        }
        self.advance(now);
        std::mem::take(&mut self.actions)
    }

    /// When the next [`Event::Tick`] is due.
    #[must_use]
    pub fn wake_at(&self) -> Millis {
        if let Some(writing) = &self.writing {
            return writing.retry_at.unwrap_or(Millis::MAX);
        }
        let baked = self.baked_at();
        let cold = self.deployment.previous.as_ref().filter(|_| self.spare().is_some());
        let cold = cold.map(|previous| previous.warm_until);
        baked.into_iter().chain(cold).min().unwrap_or(Millis::MAX)
    }

    /// What holds now.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The version that an instance is of.
    #[must_use]
    pub fn module(&self, instance: InstanceId) -> Option<&ModuleId> {
        self.instances.get(&instance).map(|instance| &instance.module)
    }

    /// The version being built for a rollout.
    #[must_use]
    pub fn starting(&self) -> Option<&ModuleId> {
        self.starting.as_ref().map(|starting| &starting.module)
    }

    fn answer(&mut self, request: RequestId, result: Result<(), String>) {
        self.actions.push(Action::Answer { request, result });
    }

    fn deploy(&mut self, now: Millis, request: RequestId, module: ModuleId, forced: bool) {
        if let Some(reason) = self.deployment.quarantine(&module).filter(|_| !forced) {
            let text =
                format!("this version was rolled back before: {reason}; roll back to it by name to try it again");
            return self.answer(request, Err(text));
        }
        if let Some(earlier) = self.starting.take() {
            self.answer(earlier.request, Err("replaced by a later deploy".to_owned()));
        }
        let candidate = self.deployment.candidate.as_ref().map(|candidate| &candidate.module);
        if candidate == Some(&module) && !forced || candidate.is_none() && self.deployment.current == module {
            return self.answer(request, Ok(()));
        }
        if self.deployment.current == module {
            let reason = "the current version was deployed again".to_owned();
            return self.roll_back_candidate(now, reason, Some(request));
        }
        let at_once = forced || self.settings.waves.is_empty();
        let instance = self.ready_instance(&module).unwrap_or_else(|| self.build(module.clone()));
        self.starting = Some(Starting { instance, module, at_once, request });
        self.start_when_ready(now);
    }

    /// Proposes the version that was being built, once it is.
    fn start_when_ready(&mut self, now: Millis) {
        let ready = |starting: &mut Starting| {
            self.instances.get(&starting.instance).is_some_and(|instance| instance.stage == Stage::Ready)
        };
        let Some(Starting { module, at_once, request, .. }) = self.starting.take_if(ready) else {
            return;
        };
        let change = if at_once { Change::TakeOver { module } } else { Change::Begin { module } };
        self.propose(now, change, Some(request));
    }

    fn promote(&mut self, now: Millis, request: RequestId) {
        match &self.deployment.candidate {
            Some(candidate) => {
                let module = candidate.module.clone();
                self.propose(now, Change::TakeOver { module }, Some(request));
            }
            None => self.answer(request, Err("there is no candidate to promote".to_owned())),
        }
    }

    fn roll_back_by_hand(&mut self, now: Millis, request: RequestId) {
        let reason = "rolled back by hand".to_owned();
        if self.deployment.candidate.is_some() {
            return self.roll_back_candidate(now, reason, Some(request));
        }
        if let Some(starting) = self.starting.take() {
            self.answer(starting.request, Err(reason));
            return self.answer(request, Ok(()));
        }
        if self.is_on_probation(now) {
            let module = self.deployment.current.clone();
            return self.propose(now, Change::RollBack { module, reason }, Some(request));
        }
        let text = match &self.deployment.previous {
            Some(_) => "the previous version is not ready any more; name it to roll back to it",
            None => "there is no previous version",
        };
        self.answer(request, Err(text.to_owned()));
    }

    fn roll_back_candidate(&mut self, now: Millis, reason: String, request: Option<RequestId>) {
        if let Some(candidate) = &self.deployment.candidate {
            let module = candidate.module.clone();
            self.propose(now, Change::RollBack { module, reason }, request);
        }
    }

    fn built(&mut self, now: Millis, instance: InstanceId, result: Result<(), String>) {
        let Some(state) = self.instances.get_mut(&instance) else {
            // Needed no more.
            return self.actions.push(Action::Route { moves: Vec::new(), retire: vec![instance] });
        };
        let Err(reason) = result else {
            state.stage = Stage::Ready;
            return self.start_when_ready(now);
        };
        let module = state.module.clone();
        self.instances.remove(&instance);
        if let Some(starting) = self.starting.take_if(|starting| starting.instance == instance) {
            self.answer(starting.request, Err(reason));
        } else if self.deployment.candidate.as_ref().is_some_and(|candidate| candidate.module == module) {
            self.roll_back_candidate(now, reason, None);
        } else if self.deployment.current == module {
            // What another host began does not run here.
            self.fail(now, format!("version {module} cannot run here: {reason}"));
        } else {
            self.is_cold = true;
            self.actions.push(Action::Tell(Outcome::NotWarm { module, reason }));
        }
    }

    fn ended(&mut self, now: Millis, children: &[(String, Vec<String>)]) {
        let Some(candidate) = &self.deployment.candidate else {
            return;
        };
        let inherits = |parents: &[String]| parents.iter().all(|parent| candidate.shards.contains(parent));
        let children =
            children.iter().filter(|(child, parents)| inherits(parents) && !candidate.shards.contains(child));
        let children: BTreeSet<String> = children.map(|(child, _)| child.clone()).collect();
        if !children.is_empty() {
            self.propose(now, Change::Inherit(children), None);
        }
    }

    fn gave_up(&mut self, instance: InstanceId, reason: String) {
        let Some(state) = self.instances.get_mut(&instance) else {
            // Its sources are on their way to another one already.
            return;
        };
        state.gave_up = Some(reason);
    }

    fn health(&mut self, now: Millis, instance: InstanceId, health: Health) {
        let current = self.ready_instance(&self.deployment.current.clone());
        let before = match current.and_then(|current| self.instances.get(&current)) {
            Some(current) if self.deployment.candidate.is_some() => current.health,
            _ => self.baseline,
        };
        let Some(state) = self.instances.get_mut(&instance) else {
            return;
        };
        state.health = health;
        let is_bad = state.restarts.too_many(now, health.traps).or_else(|| health.worse_than(&before));
        let module = state.module.clone();
        let is_candidate = self.deployment.candidate.as_ref().is_some_and(|candidate| candidate.module == module);
        if let Some(reason) = is_bad
            && (is_candidate || current == Some(instance) && self.is_on_probation(now))
        {
            self.propose(now, Change::RollBack { module, reason }, None);
        }
    }

    /// Its sources go to the version before; without one the job ends.
    fn turned_out_bad(&mut self, now: Millis, instance: InstanceId, reason: String) {
        let Some(module) = self.instances.get(&instance).map(|instance| instance.module.clone()) else {
            return;
        };
        let is_candidate = self.deployment.candidate.as_ref().is_some_and(|candidate| candidate.module == module);
        if is_candidate || self.deployment.current == module && self.is_on_probation(now) {
            return self.propose(now, Change::RollBack { module, reason }, None);
        }
        if self.deployment.current != module {
            // Its sources wait for the instance of another version.
            return;
        }
        if let Some(state) = self.instances.get_mut(&instance) {
            // Asked once.
            state.gave_up = None;
        }
        self.actions.push(Action::GiveUp { instance });
    }

    fn fail(&mut self, now: Millis, reason: String) {
        if self.is_on_probation(now) {
            let module = self.deployment.current.clone();
            return self.propose(now, Change::RollBack { module, reason }, None);
        }
        self.actions.push(Action::Fail { reason });
    }

    /// Whether the version before is ready to come back.
    fn is_on_probation(&self, now: Millis) -> bool {
        !self.is_cold && self.deployment.previous.as_ref().is_some_and(|previous| now < previous.warm_until)
    }
}

#[cfg(test)]
mod tests;
