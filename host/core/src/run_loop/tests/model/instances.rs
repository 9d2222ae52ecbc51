//! The instances of a history: which live, which said goodbye, which are to be dropped; and what is done to them.

use std::collections::BTreeMap;

use super::{History, id};
use crate::dice::Dice;
use crate::run_loop::{Event, Failure, InstanceId, SourceId};

/// Versions that are there at a time, at most.
const ALIVE_MAX: usize = 4;
/// Instances that gave up and were replaced; after so many nobody takes over.
const ROLLBACKS_MAX: u32 = 4;

#[derive(Default)]
pub(super) struct Instances {
    all: BTreeMap<InstanceId, Instance>,
    next: InstanceId,
    pub(super) routing: bool,
    gave_up: Vec<InstanceId>,
    rollbacks: u32,
    /// Failures that an instance gave up with.
    pub(super) told: Vec<Failure>,
}

#[derive(Default)]
struct Instance {
    alive: bool,
    failed: bool,
    retired: bool,
}

impl Instances {
    pub(super) fn any(&self, dice: &mut Dice) -> InstanceId {
        *dice.pick(&self.staying()).expect("one stays always")
    }

    fn staying(&self) -> Vec<InstanceId> {
        self.all.iter().filter(|(_, instance)| !instance.retired).map(|(&id, _)| id).collect()
    }

    fn get(&mut self, id: InstanceId) -> &mut Instance {
        self.all.get_mut(&id).expect("an instance that was not dropped")
    }

    pub(super) fn check_call(&mut self, id: InstanceId) {
        let instance = self.get(id);
        assert!(instance.alive && !instance.failed, "a call of an instance that is dead, said goodbye or gave up");
    }

    pub(super) fn check_reading(&mut self, id: InstanceId) {
        assert!(self.get(id).alive, "a reading for an instance that is not there");
    }

    pub(super) fn check_rebuild(&mut self, id: InstanceId) {
        let instance = self.get(id);
        assert!(!instance.alive && !instance.failed, "an instance is built in place of a living one");
    }

    pub(super) fn rebuilt(&mut self, id: InstanceId) {
        self.get(id).alive = true;
    }

    pub(super) fn said_goodbye(&mut self, id: InstanceId) {
        self.get(id).alive = false;
    }

    pub(super) fn gave_up(&mut self, id: InstanceId) {
        let instance = self.get(id);
        assert!(!instance.failed, "gave up twice");
        instance.failed = true;
        self.gave_up.push(id);
    }

    pub(super) fn assert_none_alive(&self) {
        let alive: Vec<_> = self.all.iter().filter(|(_, instance)| instance.alive).map(|(id, _)| id).collect();
        assert!(alive.is_empty(), "{alive:?} did not say goodbye");
    }

    /// Everything asked for is done.
    pub(super) fn assert_settled(&self) {
        assert!(!self.routing, "a route was not carried out");
        assert!(
            self.all.values().all(|instance| !instance.retired),
            "an instance that is needed no more is still here"
        );
    }
}

impl History {
    pub(super) fn add_instance(&mut self) -> InstanceId {
        let instance = self.instances.next;
        self.instances.next += 1;
        self.instances.all.insert(instance, Instance { alive: true, ..Instance::default() });
        self.on(Event::Added { instance });
        instance
    }

    /// A version takes over all or some of the shards, or gives them back.
    pub(super) fn route(&mut self) {
        if self.finished || self.stopping || !self.instances.gave_up.is_empty() {
            return;
        }
        let staying = self.instances.staying();
        let fresh = self.instances.all.len() < ALIVE_MAX && self.dice.chance(60);
        let to = if fresh { self.add_instance() } else { self.instances.any(&mut self.dice) };
        let everything = self.dice.chance(50);
        let moves: Vec<(SourceId, InstanceId)> = (0..self.shards.len())
            .filter(|_| everything || self.dice.chance(50))
            .map(|shard| (id(shard), to))
            .collect();
        let retire = if everything { staying.into_iter().filter(|&id| id != to).collect() } else { Vec::new() };
        self.route_to(moves, retire);
    }

    fn route_to(&mut self, moves: Vec<(SourceId, InstanceId)>, retire: Vec<InstanceId>) {
        for &(source, to) in &moves {
            self.shards[source as usize].route(to);
        }
        retire.iter().for_each(|&id| self.instances.get(id).retired = true);
        self.instances.routing = true;
        self.on(Event::Route { moves, retire });
    }

    /// Somebody takes over from an instance that gave up, or nobody does.
    pub(super) fn answer_give_up(&mut self) -> bool {
        let Some(instance) = self.instances.gave_up.pop() else { return false };
        // Everything that it had may have gone to others already.
        if self.stopping || self.finished || !self.instances.all.contains_key(&instance) {
            return false;
        }
        self.instances.rollbacks += 1;
        if self.instances.rollbacks > ROLLBACKS_MAX || self.dice.chance(30) {
            self.stopping = true;
            self.on(Event::GiveUp { instance });
            return true;
        }
        let to = self.add_instance();
        let moves =
            (0..).zip(&self.shards).filter(|(_, shard)| shard.needs(instance)).map(|(id, _)| (id, to)).collect();
        self.route_to(moves, vec![instance]);
        true
    }

    pub(super) fn died(&mut self, instance: InstanceId) {
        self.instances.get(instance).alive = false;
        self.shards.iter_mut().for_each(|shard| shard.died(instance));
    }

    pub(super) fn pause(&mut self) {
        self.paused = !self.paused;
        self.on(if self.paused { Event::Pause } else { Event::Resume });
    }

    pub(super) fn check_goodbye(&mut self, instance: InstanceId) {
        assert!(self.instances.get(instance).alive, "a goodbye of the dead; {}", self.tail());
        if self.stopping {
            return;
        }
        assert!(self.instances.get(instance).retired, "nobody wants it to go");
        assert!(!self.shards.iter().any(|shard| shard.needs(instance)), "a goodbye before its last call");
    }

    pub(super) fn check_drop(&mut self, instance: InstanceId) {
        let dropped = self.instances.all.remove(&instance).expect("dropped once");
        assert!(dropped.retired && !dropped.alive, "dropped without a goodbye");
        assert!(!self.shards.iter().any(|shard| shard.needs(instance)), "dropped while it is needed");
    }

    pub(super) fn check_routed(&mut self) {
        assert!(self.instances.routing);
        self.instances.routing = false;
        self.shards.iter_mut().filter(|shard| shard.held && !shard.end_asked).for_each(|shard| shard.arrive());
    }

    pub(super) fn check_gave_up(&mut self, instance: InstanceId, failure: &Failure) {
        self.check_failure(failure);
        self.instances.told.push(failure.clone());
        self.instances.gave_up(instance);
    }
}
