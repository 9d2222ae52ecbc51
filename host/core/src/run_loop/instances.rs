//! The instances of a run loop: which of them live, which gave up, and what becomes of their sources when one dies.

use std::collections::BTreeMap;

use super::{Action, Busy, Failure, InstanceId, Phase, RebuildFailure, Retry, RunLoop, SourceId, backoff};
use crate::time::Millis;

#[derive(Default)]
struct Instance {
    alive: bool,
    /// The host failed it so many times, with nothing done between.
    host_failures: u32,
    /// Not built again before that.
    rebuild_at: Millis,
    /// It was said that it waits for the host.
    waits: bool,
    /// Why it cannot go on; somebody was asked what is to happen.
    failure: Option<Failure>,
    retiring: bool,
}

/// A handful at most: a version, its successor, and one that is being dropped.
#[derive(Default)]
pub(super) struct Instances(BTreeMap<InstanceId, Instance>);

impl Instances {
    pub(super) fn add(&mut self, id: InstanceId) {
        self.0.insert(id, Instance { alive: true, ..Instance::default() });
    }

    pub(super) fn is_alive(&self, id: InstanceId) -> bool {
        self.0.get(&id).is_some_and(|instance| instance.alive)
    }

    /// Whether it may be called for envelopes.
    pub(super) fn is_ready(&self, id: InstanceId) -> bool {
        self.0.get(&id).is_some_and(|instance| instance.alive && instance.failure.is_none())
    }

    /// Whether another instance has to be built before its sources can go on.
    fn is_wanted(&self, id: InstanceId) -> bool {
        self.0.get(&id).is_some_and(|instance| !instance.alive && instance.failure.is_none())
    }

    /// The host could not do its part for it: it is built again after a wait.
    fn host_failed(&mut self, now: Millis, id: InstanceId, retry: &Retry) {
        if let Some(instance) = self.0.get_mut(&id) {
            instance.host_failures = instance.host_failures.saturating_add(1);
            instance.rebuild_at = now.saturating_add(backoff(retry, instance.host_failures));
        }
    }

    /// It got on; whether the host had failed it before.
    fn got_on(&mut self, id: InstanceId) -> bool {
        self.0.get_mut(&id).is_some_and(|instance| std::mem::take(&mut instance.host_failures) > 0)
    }

    pub(super) fn first_alive(&self) -> Option<InstanceId> {
        self.0.iter().find(|(_, instance)| instance.alive).map(|(&id, _)| id)
    }

    pub(super) fn failure(&self, id: InstanceId) -> Option<Failure> {
        self.0.get(&id).and_then(|instance| instance.failure.clone())
    }

    /// It is dead, or said goodbye.
    pub(super) fn end(&mut self, id: InstanceId) {
        if let Some(instance) = self.0.get_mut(&id) {
            instance.alive = false;
        }
    }

    pub(super) fn retire(&mut self, id: InstanceId) {
        if let Some(instance) = self.0.get_mut(&id) {
            instance.retiring = true;
        }
    }

    pub(super) fn retiring(&self) -> impl Iterator<Item = (InstanceId, bool)> {
        self.0.iter().filter(|(_, instance)| instance.retiring).map(|(&id, instance)| (id, instance.alive))
    }

    pub(super) fn remove(&mut self, id: InstanceId) {
        self.0.remove(&id);
    }
}

impl RunLoop {
    /// An instance trapped: what its sources did since the last commit died with it.
    pub(super) fn died(&mut self, instance: InstanceId) {
        self.instances.end(instance);
        for source in self.sources.values_mut().filter(|source| source.instance == instance && !source.is_ending()) {
            source.rewind();
        }
    }

    /// The host could not do its part for an instance, which is dead: whatever it was called for is not to blame.
    pub(super) fn host_failed(&mut self, now: Millis, instance: InstanceId, reason: String) {
        self.instances.host_failed(now, instance, &self.settings.retry);
        // Ended because another one takes over: that is no trouble.
        if !self.has_sources(instance) {
            return;
        }
        if let Some(state) = self.instances.0.get_mut(&instance) {
            state.waits = true;
            self.actions.push(Action::Waits { instance, reason: Some(reason) });
        }
    }

    /// A call of an instance got somewhere.
    pub(super) fn got_on(&mut self, instance: InstanceId) {
        if self.instances.got_on(instance) {
            // So that the next failure of the host does not replay it: what is failed now and then must get on.
            self.commit.request();
        }
        self.waits_no_more(instance);
    }

    pub(super) fn waits_no_more(&mut self, instance: InstanceId) {
        let waits = self.instances.0.get_mut(&instance).map(|state| std::mem::take(&mut state.waits));
        if waits == Some(true) {
            self.actions.push(Action::Waits { instance, reason: None });
        }
    }

    /// Nothing is left to do for those that waited: their sources went elsewhere.
    pub(super) fn settle_waits(&mut self) {
        let waiting = self.instances.0.iter().filter(|(_, state)| state.waits).map(|(&id, _)| id);
        for instance in waiting.collect::<Vec<_>>() {
            if !self.has_sources(instance) {
                self.waits_no_more(instance);
            }
        }
    }

    /// Builds an instance for sources whose own is gone.
    pub(super) fn rebuild_next(&mut self, now: Millis) {
        let next = self.rebuilds().find(|(_, at)| *at <= now);
        if let Some((instance, _)) = next {
            self.act(Busy::Rebuild(instance), Action::Rebuild { instance });
        }
    }

    /// The instances that have to be built again, and when.
    pub(super) fn rebuilds(&self) -> impl Iterator<Item = (InstanceId, Millis)> {
        let wanting = self.sources.values().filter(|source| !source.is_ending()).map(|source| source.instance);
        let wanted = wanting.filter(|&instance| self.instances.is_wanted(instance));
        wanted.filter_map(|id| Some((id, self.instances.0.get(&id)?.rebuild_at)))
    }

    /// A new instance knows nothing of what the dead one saw since the last commit: read that again.
    pub(super) fn rebuilt(&mut self, now: Millis, result: Result<(), RebuildFailure>) {
        let Some(Busy::Rebuild(instance)) = self.busy.take() else {
            return;
        };
        match result {
            Ok(()) => {}
            Err(RebuildFailure::Task(reason)) => return self.give_up(instance, Failure::Rebuild(reason)),
            Err(RebuildFailure::Host(reason)) => return self.host_failed(now, instance, reason),
        }
        if let Some(state) = self.instances.0.get_mut(&instance) {
            state.alive = true;
        }
        self.read_waiting();
    }

    /// Reads what is not being read because its instance was not there.
    pub(super) fn read_waiting(&mut self) {
        let waiting = self.sources.iter().filter(|(_, source)| !source.is_reading() && !source.is_ending());
        let waiting: Vec<SourceId> = waiting.map(|(&id, _)| id).collect();
        waiting.into_iter().for_each(|id| self.read(id));
    }

    /// An instance cannot go on: somebody else decides whether another one takes over.
    pub(super) fn give_up(&mut self, instance: InstanceId, failure: Failure) {
        if self.phase != Phase::Running {
            return self.fail(failure);
        }
        if let Some(state) = self.instances.0.get_mut(&instance) {
            state.failure = Some(failure.clone());
        }
        self.actions.push(Action::GaveUp { instance, failure });
    }
}
