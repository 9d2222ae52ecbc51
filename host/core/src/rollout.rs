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
//! first one's and decides anew. A second deploy while one is being built replaces it.
//!
//! A wave is a share of all the job's shards, as far as its hosts have named them: each adds its own, and of those at most
//! the same share, so that no host has the whole candidate. A shard that is named keeps its version, also when it moves to
//! another host or its process restarts, and its children have it after it; only shards that nobody knew make a wave
//! larger while it runs, as those of a host do that joins. How long a wave is watched, each host measures by its own clock.
//!
//! With one task instance for all shards (AllSspToSingleTaskGrouper) a canary needs a second one: during a rollout the
//! shards of a process are split between an instance of each version. A shard is never processed by both at a time, and
//! the children of a resharded shard follow their parents.

mod begin;
mod deployment;
mod health;
mod message;
mod plan;
mod requests;
mod rest;
mod verdict;

use std::collections::{BTreeMap, VecDeque};

use crate::module::ModuleId;
use crate::run_loop::{InstanceId, SourceId};
use crate::time::Millis;

pub use begin::{Begin, Found, Offer, Then, begin, found};
pub use deployment::{Candidate, Deployment, Previous, Quarantined};
pub use health::Health;
use health::Restarts;
pub use message::{Action, Event, Manner, Outcome, Refusal, RequestId, Settings, Wave, WriteError};
pub use rest::{AtRest, at_rest};

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
    /// This process's shards are named, and as many of them as the wave wants are the candidate's.
    Select,
    /// Children go where all of their parents are, which are told with them.
    Inherit(Vec<(String, Vec<String>)>),
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
    /// When the candidate's wave began, and until when the previous version is kept ready: by the clock of this host, for
    /// those of others may be wrong.
    wave_since: Millis,
    warm_until: Millis,
    /// A change could not be written: none is begun without being asked for before this.
    quiet_until: Millis,
    /// There is no way back to the previous version, although its time is not over.
    is_cold: bool,
    /// The time of the last event.
    now: Millis,
    actions: Vec<Action>,
}

impl Rollout {
    /// Goes on with a deployment; an instance of its current version is there, [`FIRST_INSTANCE`]. The first event should
    /// be a [`Event::Tick`].
    #[must_use]
    pub fn new(now: Millis, settings: Settings, deployment: Deployment) -> Self {
        let module = deployment.current;
        let wave_since = deployment.candidate.as_ref().map_or(0, |candidate| candidate.since.min(now));
        let warm_until = deployment.previous.as_ref().map_or(0, |it| it.warm_until.min(now + settings.keep_warm));
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
            wave_since,
            warm_until,
            quiet_until: 0,
            is_cold: false,
            now,
            actions: Vec::new(),
        };
        this.add_instance(module, Stage::Ready);
        this
    }

    /// Takes in one event and returns what to do now, in order.
    pub fn on(&mut self, now: Millis, event: Event) -> Vec<Action> {
        self.now = now;
        match event {
            Event::Tick => self.retry_write(now),
            Event::Deploy { request, module, how } => self.deploy(now, request, module, how),
            Event::Promote { request } => self.promote(now, request),
            Event::RollBack { request, version } => self.roll_back_by_hand(now, request, version.as_deref()),
            Event::Built { instance, result } => self.built(now, instance, result),
            Event::Written(result) => self.written(now, result),
            Event::Changed(deployment) => self.changed(now, deployment),
            Event::Assigned { source, shard } => self.assigned(now, source, shard),
            Event::Released { source } => drop(self.sources.remove(&source)),
            Event::Ended { children } => self.ended(now, children),
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
        let cold = self.spare().map(|_| self.warm_until);
        // What was due by the last event is done, or waits for something else: the version before stays, though its time is
        // over, while it is deployed again.
        let due = baked.into_iter().chain(cold).filter(|&at| at > self.now);
        due.min().unwrap_or(Millis::MAX)
    }

    /// What holds now.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The version that an instance is of.
    #[must_use]
    pub fn module(&self, instance: InstanceId) -> Option<ModuleId> {
        self.instances.get(&instance).map(|instance| instance.module)
    }

    /// Whether a version may be asked for again without being deployed: its module must stay at hand.
    #[must_use]
    pub fn needs(&self, module: ModuleId) -> bool {
        let deployments = std::iter::once(&self.deployment).chain(self.writing.iter().map(|writing| &writing.next));
        let instances = self.instances.values().map(|instance| instance.module);
        let mut needed = deployments.flat_map(Deployment::modules).chain(instances);
        needed.any(|needed| needed == module) || self.coming().contains(&module)
    }

    /// Whether there is a version to go back to, so that the new one is watched.
    #[must_use]
    pub fn is_watching(&self, now: Millis) -> bool {
        self.deployment.candidate.is_some() || self.is_on_probation(now)
    }

    /// The version being built for a rollout.
    #[must_use]
    pub fn starting(&self) -> Option<ModuleId> {
        self.starting.as_ref().map(|starting| starting.module)
    }

    fn answer(&mut self, request: RequestId, result: Result<(), Refusal>) {
        self.actions.push(Action::Answer { request, result });
    }

    fn refuse(&mut self, request: RequestId, reason: impl Into<String>) {
        self.answer(request, Err(Refusal::Because(reason.into())));
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
        let module = state.module;
        self.instances.remove(&instance);
        if let Some(starting) = self.starting.take_if(|starting| starting.instance == instance) {
            self.answer(starting.request, Err(Refusal::Unfit(reason)));
        } else if self.deployment.candidate.as_ref().is_some_and(|candidate| candidate.module == module) {
            self.roll_back_candidate(now, reason, None);
        } else if self.deployment.current == module {
            // What another host began does not run here.
            self.fail(now, format!("version {} cannot run here: {reason}", module.digits()));
        } else {
            self.is_cold = true;
            self.actions.push(Action::Tell(Outcome::NotWarm { module, reason }));
        }
    }

    fn assigned(&mut self, now: Millis, source: SourceId, shard: String) {
        let is_unknown = self.deployment.candidate.as_ref().is_some_and(|candidate| !candidate.knows(&shard));
        self.sources.insert(source, Source { shard, instance: None });
        if is_unknown && now >= self.quiet_until {
            self.propose(now, Change::Select, None);
        }
    }

    fn ended(&mut self, now: Millis, children: Vec<(String, Vec<String>)>) {
        let Some(candidate) = &self.deployment.candidate else {
            return;
        };
        if children.iter().any(|(child, _)| !candidate.knows(child)) {
            self.propose(now, Change::Inherit(children), None);
        }
    }
}

#[cfg(test)]
mod tests;
