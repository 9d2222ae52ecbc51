//! Which instances of which versions the tasks have. The rollout knows one instance of a version for the whole job; here
//! it is one for each task: built for all of them before the rollout hears that it is there, given to a task when that
//! needs it, interrupted when a call holds up a move.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Coordinator, Failure, HEALTH_INTERVAL, TaskId};
use crate::module::ModuleId;
use crate::rollout::{self, FIRST_INSTANCE, Health};
use crate::run_loop::{self, InstanceId, SourceId};
use crate::time::Millis;

/// What an instance of one task is there for.
type Place = (InstanceId, TaskId);

/// A version whose instances are being built.
#[derive(Debug)]
struct Building {
    /// Tasks whose instance is on its way.
    missing: usize,
    failure: Option<String>,
}

/// A move that a task has not carried out.
#[derive(Debug)]
struct Move {
    task: TaskId,
    /// When a call that holds it up is ended; once.
    interrupt_at: Millis,
    /// Those that lose shards by it, or are dropped.
    instances: Vec<InstanceId>,
}

#[derive(Debug)]
pub(super) struct Placement {
    tasks: Vec<TaskId>,
    building: BTreeMap<InstanceId, Building>,
    /// Built, and not given to their task.
    spare: BTreeSet<Place>,
    /// In the hands of their task.
    given: BTreeSet<Place>,
    moves: Vec<Move>,
    /// Instances that a task cannot go on with.
    gave_up: BTreeSet<Place>,
    health: BTreeMap<Place, Health>,
}

impl Placement {
    pub(super) fn new(tasks: Vec<TaskId>) -> Self {
        let given = tasks.iter().map(|&task| (FIRST_INSTANCE, task)).collect();
        Self {
            tasks,
            building: BTreeMap::new(),
            spare: BTreeSet::new(),
            given,
            moves: Vec::new(),
            gave_up: BTreeSet::new(),
            health: BTreeMap::new(),
        }
    }

    /// When calls are next interrupted that hold up a move.
    pub(super) fn interrupt_at(&self) -> Millis {
        self.moves.iter().map(|it| it.interrupt_at).min().unwrap_or(Millis::MAX)
    }

    pub(super) fn may_interrupt(&self, task: TaskId, instance: InstanceId) -> bool {
        self.moves.iter().any(|it| it.task == task && it.instances.contains(&instance))
    }

    /// The task carried out every move.
    pub(super) fn routed(&mut self, task: TaskId) {
        self.moves.retain(|it| it.task != task);
    }

    pub(super) fn gave_up(&mut self, task: TaskId, instance: InstanceId) {
        self.gave_up.insert((instance, task));
    }

    /// What the instances of a version did, all tasks together.
    fn health(&self, instance: InstanceId) -> Health {
        let of_tasks = self.health.range((instance, TaskId(0))..=(instance, TaskId(u32::MAX)));
        of_tasks.map(|(_, health)| *health).sum()
    }

    fn forget(&mut self, instance: InstanceId) {
        for places in [&mut self.spare, &mut self.given, &mut self.gave_up] {
            places.retain(|(known, _)| *known != instance);
        }
        self.health.retain(|(known, _), _| *known != instance);
    }
}

impl Coordinator {
    /// Lets the rollout decide, and carries out what it decides.
    pub(super) fn roll(&mut self, now: Millis, event: rollout::Event) {
        let actions = self.rollout.on(now, event);
        let (answers, actions): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| matches!(action, rollout::Action::Answer { .. }));
        for action in actions {
            self.carry_out(now, action);
        }
        self.has_rolled = true;
        self.answers.extend(answers);
    }

    /// Once for an event, however often the rollout decided: the shell shows where it stands, and whoever asked for
    /// something is answered when it is done and shown as done.
    pub(super) fn report_rollout(&mut self) {
        if std::mem::take(&mut self.has_rolled) {
            self.actions.push(Action::RolloutChanged);
            self.actions.extend(self.answers.drain(..).map(Action::Rollout));
        }
    }

    fn carry_out(&mut self, now: Millis, action: rollout::Action) {
        match action {
            rollout::Action::Build { instance, module } => self.build(instance, module),
            rollout::Action::Assign { source, instance } => {
                let state = &mut self.sources[source as usize];
                state.instance = Some(instance);
                let (task, epoch, begins_at) = (state.task, state.epoch, state.begins_at.take());
                self.give(task, instance);
                if let Some(checkpoint) = begins_at {
                    self.task_of(source, run_loop::Event::Assigned { source, epoch, checkpoint, instance });
                }
            }
            rollout::Action::Route { moves, retire } => self.route(now, &moves, &retire),
            rollout::Action::GiveUp { instance } => {
                let tasks = self.placement.gave_up.iter().filter(|(gave_up, _)| *gave_up == instance);
                let tasks: Vec<TaskId> = tasks.map(|&(_, task)| task).collect();
                for task in tasks {
                    self.placement.gave_up.remove(&(instance, task));
                    self.actions.push(Action::Task { task, event: run_loop::Event::GiveUp { instance } });
                }
            }
            rollout::Action::Fail { reason } => self.finish(now, Some(Failure::Task(reason))),
            for_the_shell => self.actions.push(Action::Rollout(for_the_shell)),
        }
    }

    fn build(&mut self, instance: InstanceId, module: ModuleId) {
        let tasks = self.placement.tasks.clone();
        self.placement.building.insert(instance, Building { missing: tasks.len(), failure: None });
        let build = |task| Action::Build { task, instance, module };
        self.actions.extend(tasks.into_iter().map(build));
    }

    /// The rollout hears of it when the instances of all tasks are there, or cannot be had.
    pub(super) fn on_built(&mut self, now: Millis, task: TaskId, instance: InstanceId, result: Result<(), String>) {
        let Some(building) = self.placement.building.get_mut(&instance) else { return };
        building.missing -= 1;
        match result {
            Ok(()) => drop(self.placement.spare.insert((instance, task))),
            Err(reason) => drop(building.failure.get_or_insert(reason)),
        }
        if building.missing > 0 {
            return;
        }
        let failure = self.placement.building.remove(&instance).and_then(|building| building.failure);
        if failure.is_some() {
            self.drop_spares(instance);
        }
        self.roll(now, rollout::Event::Built { instance, result: failure.map_or(Ok(()), Err) });
    }

    fn drop_spares(&mut self, instance: InstanceId) {
        let spares = self.placement.spare.extract_if(.., |(spare, _)| *spare == instance);
        self.actions.extend(spares.map(|(instance, task)| Action::DropInstance { task, instance }));
    }

    /// Gives an instance to a task, unless that has it.
    fn give(&mut self, task: TaskId, instance: InstanceId) {
        if self.placement.spare.remove(&(instance, task)) {
            self.placement.given.insert((instance, task));
            self.actions.push(Action::AddInstance { task, instance });
        }
    }

    fn route(&mut self, now: Millis, moves: &[(SourceId, InstanceId)], retire: &[InstanceId]) {
        for task in self.placement.tasks.clone() {
            self.route_of(now, task, moves, retire);
        }
        for &instance in retire {
            self.drop_spares(instance);
            self.placement.forget(instance);
        }
    }

    /// The part of a route that one task carries out.
    fn route_of(&mut self, now: Millis, task: TaskId, moves: &[(SourceId, InstanceId)], retire: &[InstanceId]) {
        let is_its = |source: SourceId| self.sources[source as usize].task == task;
        let moves: Vec<_> = moves.iter().copied().filter(|&(source, _)| is_its(source)).collect();
        let given = |instance: &&InstanceId| self.placement.given.contains(&(**instance, task));
        let retire: Vec<InstanceId> = retire.iter().filter(given).copied().collect();
        if moves.is_empty() && retire.is_empty() {
            return;
        }
        let left = moves.iter().filter_map(|&(source, to)| self.sources[source as usize].instance.replace(to));
        let instances = left.chain(retire.iter().copied()).collect();
        moves.iter().for_each(|&(_, to)| self.give(task, to));
        let interrupt_at = now.saturating_add(self.settings.drain);
        self.placement.moves.push(Move { task, interrupt_at, instances });
        self.actions.push(Action::Task { task, event: run_loop::Event::Route { moves, retire } });
    }

    /// Ends the calls that hold up a move for too long.
    pub(super) fn interrupt(&mut self, now: Millis) {
        for it in self.placement.moves.iter_mut().filter(|it| now >= it.interrupt_at) {
            it.interrupt_at = Millis::MAX;
            self.actions.push(Action::Interrupt { task: it.task, instances: it.instances.clone() });
        }
    }

    pub(super) fn on_health(&mut self, now: Millis, task: TaskId, instance: InstanceId, health: Health) {
        if !self.placement.given.contains(&(instance, task)) {
            return;
        }
        self.placement.health.insert((instance, task), health);
        let health = self.placement.health(instance);
        self.roll(now, rollout::Event::Health { instance, health });
    }

    /// When instances are judged next; never, while there is no version to go back to.
    pub(super) fn judge_at(&self) -> Millis {
        if self.rollout.is_watching(self.judged_at) { self.judged_at + HEALTH_INTERVAL } else { Millis::MAX }
    }
}
