//! The instances of a run loop: which of them live, which gave up, and what becomes of their sources when one dies.

use std::collections::BTreeMap;

use super::{Action, Busy, Failure, InstanceId, Phase, RunLoop, SourceId};

#[derive(Default)]
struct Instance {
    alive: bool,
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

    /// Builds an instance for sources whose own is gone.
    pub(super) fn rebuild_next(&mut self) {
        let wanting = self.sources.values().filter(|source| !source.is_ending()).map(|source| source.instance);
        let next = wanting.into_iter().find(|&instance| self.instances.is_wanted(instance));
        if let Some(instance) = next {
            self.act(Busy::Rebuild(instance), Action::Rebuild { instance });
        }
    }

    /// A new instance knows nothing of what the dead one saw since the last commit: read that again.
    pub(super) fn rebuilt(&mut self, result: Result<(), String>) {
        let Some(Busy::Rebuild(instance)) = self.busy.take() else {
            return;
        };
        if let Err(reason) = result {
            return self.give_up(instance, Failure::Rebuild(reason));
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
