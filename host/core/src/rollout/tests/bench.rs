//! A rollout driven by hand. Actions are shown as short text, so that a test reads as a protocol.

use crate::module::ModuleId;
use crate::rollout::{Action, Deployment, Event, Health, Manner, Outcome, Rollout, Settings, Wave, WriteError};
use crate::run_loop::{InstanceId, SourceId};
use crate::time::Millis;

pub(super) const BAKE: Millis = 1_000;
pub(super) const WARM: Millis = 60_000;

pub(super) struct Bench {
    pub(super) rollout: Rollout,
    pub(super) now: Millis,
    /// What the last write was.
    pub(super) stored: Deployment,
    writing: Option<Deployment>,
}

/// A deployment in a few words.
pub(super) fn describe(deployment: &Deployment) -> String {
    let mut text = deployment.current.label().to_owned();
    if let Some(candidate) = &deployment.candidate {
        let shards: Vec<&str> = candidate.shards.iter().map(String::as_str).collect();
        text += &format!(", {} in wave {} on {}", candidate.module.label(), candidate.wave, shards.join(" "));
    }
    if let Some(previous) = &deployment.previous {
        text += &format!(", before {}", previous.module.label());
    }
    for bad in &deployment.quarantined {
        text += &format!(", bad {}", bad.module.label());
    }
    text
}

fn show(action: &Action) -> String {
    match action {
        Action::Build { instance, module } => format!("build {instance} {}", module.label()),
        Action::Write(deployment) => format!("write {}", describe(deployment)),
        Action::Assign { source, instance } => format!("assign {source} to {instance}"),
        Action::Route { moves, retire } => {
            let moves: Vec<String> = moves.iter().map(|(source, to)| format!(" {source}>{to}")).collect();
            let retire: Vec<String> = retire.iter().map(|id| format!(" retire {id}")).collect();
            format!("route{}{}", moves.concat(), retire.concat())
        }
        Action::GiveUp { instance } => format!("give up {instance}"),
        Action::Fail { reason } => format!("fail: {reason}"),
        Action::Answer { request, result: Ok(()) } => format!("done {request}"),
        Action::Answer { request, result: Err(reason) } => format!("refused {request}: {reason}"),
        Action::Tell(Outcome::RolledBack { module, reason }) => format!("rolled back {}: {reason}", module.label()),
        Action::Tell(outcome) => format!("{outcome:?}").split(' ').next().unwrap_or_default().to_lowercase(),
    }
}

impl Bench {
    /// A process with this many shards on the version `v1`: `a`, `b` and so on.
    pub(super) fn new(waves: &[Wave], shards: u32) -> Self {
        let mut bench = Self::with(waves, Deployment::first(ModuleId::labelled("v1")));
        for source in 0..shards {
            assert_eq!(bench.assign(source), [format!("assign {source} to 0")]);
        }
        bench
    }

    pub(super) fn with(waves: &[Wave], deployment: Deployment) -> Self {
        let settings = Settings { is_canary: true, waves: waves.to_vec(), bake: BAKE, keep_warm: WARM };
        let rollout = Rollout::new(0, settings, deployment.clone());
        Self { rollout, now: 0, stored: deployment, writing: None }
    }

    pub(super) fn on(&mut self, event: Event) -> Vec<String> {
        let actions = self.rollout.on(self.now, event);
        for action in &actions {
            if let Action::Write(deployment) = action {
                assert!(self.writing.replace(deployment.clone()).is_none(), "two writes at a time");
                assert_eq!(deployment.revision, self.stored.revision + 1);
            }
        }
        assert!(self.rollout.wake_at() > self.now, "asks to be woken at once, for ever: {actions:?}");
        actions.iter().map(show).collect()
    }

    pub(super) fn assign(&mut self, source: SourceId) -> Vec<String> {
        let shard = char::from(b'a' + u8::try_from(source).unwrap()).to_string();
        self.on(Event::Assigned { source, shard })
    }

    pub(super) fn deploy(&mut self, request: u64, module: &str) -> Vec<String> {
        self.deploy_as(request, module, Manner::Configured)
    }

    pub(super) fn deploy_as(&mut self, request: u64, module: &str, how: Manner) -> Vec<String> {
        self.on(Event::Deploy { request, module: ModuleId::labelled(module), how })
    }

    pub(super) fn roll_back(&mut self, request: u64) -> Vec<String> {
        self.on(Event::RollBack { request, version: None })
    }

    pub(super) fn built(&mut self, instance: InstanceId) -> Vec<String> {
        self.on(Event::Built { instance, result: Ok(()) })
    }

    pub(super) fn written(&mut self) -> Vec<String> {
        self.stored = self.writing.take().expect("something is being written");
        self.on(Event::Written(Ok(())))
    }

    pub(super) fn not_written(&mut self, error: WriteError) -> Vec<String> {
        self.writing.take().expect("something is being written");
        if let WriteError::Changed(other) = &error {
            self.stored = (**other).clone();
        }
        self.on(Event::Written(Err(error)))
    }

    pub(super) fn at(&mut self, now: Millis) -> Vec<String> {
        self.now = now;
        self.on(Event::Tick)
    }

    pub(super) fn gave_up(&mut self, instance: InstanceId) -> Vec<String> {
        self.on(Event::GaveUp { instance, reason: "broken".to_owned() })
    }

    pub(super) fn traps(&mut self, instance: InstanceId, traps: u64) -> Vec<String> {
        self.on(Event::Health { instance, health: Health { traps, ..Health::default() } })
    }

    /// A version takes over at once, and its predecessor is ready again.
    pub(super) fn replaced(&mut self, module: &str, instance: InstanceId) {
        self.deploy_as(0, module, Manner::Forced);
        self.built(instance);
        self.written();
        self.built(instance + 1);
    }
}
