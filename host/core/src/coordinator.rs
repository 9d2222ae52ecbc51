//! The wiring of a running job, as a pure machine: what the lease workers, the tasks, the readers and the rollout of
//! versions of one job want of each other, and how the job ends. Its shells only carry messages: the host runs it over
//! threads and services, the simulation over simulated ones.
//!
//! A job has inputs, each with a lease worker, and tasks, each with a run loop. A shard whose lease is held is a *source*;
//! the grouper says which task it belongs to, the rollout which version processes it. Every version has one instance for
//! each task, and all of them one [`InstanceId`]: the rollout decides for the job as a whole.
//!
//! | phase | what happens | ends |
//! |---|---|---|
//! | running | shards are assigned, read, processed | with a request, a failure, or all tasks finished |
//! | finishing | nothing is read; the tasks finish their calls and commit | when all of them finished |
//! | releasing | nothing is heard of the tasks; the lease workers release their leases | when all of them stopped |
//! | over | | |
//!
//! A forced stop, or the end of `shutdown_timeout`, goes to *releasing* at once, and from there to *over* after
//! [`RELEASE_TIMEOUT`] at most. That cannot let two workers checkpoint one holding of a lease: nothing that a task asks for
//! is heard from there on, so no further checkpoint is asked for; one that is on its way to the table precedes the release,
//! because a lease has one write on its way at a time; and what comes later still finds another counter in the row, by
//! which every write is conditional. What the call that is under way sends may be sent again, as after a crash.

mod failure;
mod message;
mod phase;
mod placement;

use std::collections::HashMap;

use crate::grouper::Partition;
use crate::kinesis::shard::{ChildShard, HashRange, ShardId};
use crate::leases::{self, Epoch};
use crate::position::{Checkpoint, Latest};
use crate::rollout::{self, Deployment, Rollout};
use crate::run_loop::{self, Generation, InstanceId, SourceId};
use crate::time::Millis;

pub use crate::grouper::TaskId;
pub use message::{Action, Event, Failure, InputId, Notice, Settings};
use phase::Phase;
pub use phase::RELEASE_TIMEOUT;
use placement::Placement;

/// How often instances are judged while there is a version to go back to.
pub const HEALTH_INTERVAL: Millis = 500;

/// A shard that is, or was, processed by this job here.
#[derive(Debug)]
struct Source {
    input: InputId,
    shard: ShardId,
    task: TaskId,
    hash_range: Option<HashRange>,
    latest: Latest,
    /// Of the lease that it was last processed under.
    epoch: Epoch,
    /// Where it begins; taken when its instance is ready.
    begins_at: Option<Checkpoint>,
    /// The instance that processes it.
    instance: Option<InstanceId>,
    reading: Option<Generation>,
}

/// The machine; see the module documentation.
#[derive(Debug)]
pub struct Coordinator {
    settings: Settings,
    sources: Vec<Source>,
    by_shard: HashMap<(InputId, ShardId), SourceId>,
    rollout: Rollout,
    placement: Placement,
    judged_at: Millis,
    phase: Phase,
    /// The end of the patience with a stop.
    deadline: Millis,
    /// Lease workers that stopped, by input.
    stopped: Vec<bool>,
    /// Tasks that finished.
    finished: Vec<bool>,
    failure: Option<Failure>,
    /// The rollout decided on something in the event at hand; its answers.
    has_rolled: bool,
    answers: Vec<rollout::Action>,
    actions: Vec<Action>,
}

impl Coordinator {
    /// Goes on with a deployment. Every task has an instance of its current version:
    /// [`FIRST_INSTANCE`](rollout::FIRST_INSTANCE). The first event should be a [`Event::Tick`].
    #[must_use]
    pub fn new(now: Millis, settings: Settings, deployment: Deployment) -> Self {
        let rollout = Rollout::new(now, settings.rollout.clone(), deployment);
        let tasks: Vec<TaskId> = TaskId::all(settings.tasks).collect();
        Self {
            sources: Vec::new(),
            by_shard: HashMap::new(),
            rollout,
            judged_at: 0,
            phase: Phase::Running,
            deadline: Millis::MAX,
            stopped: vec![false; settings.inputs.len()],
            finished: vec![false; tasks.len()],
            placement: Placement::new(tasks),
            failure: None,
            has_rolled: false,
            answers: Vec::new(),
            actions: Vec::new(),
            settings,
        }
    }

    /// Takes in one event and returns what to do now, in order.
    pub fn on(&mut self, now: Millis, event: Event) -> Vec<Action> {
        if self.phase == Phase::Over {
            return Vec::new();
        }
        match event {
            Event::Tick => self.on_tick(now),
            Event::Lease { input, action } => self.on_lease(now, input, action),
            Event::LeaseWorkerGone { input, reason } => self.on_lease_worker_gone(now, input, reason),
            Event::Task { task, action } => self.on_task(now, task, action),
            Event::TaskGone { task, reason } => self.on_task_finished(now, task, Some(Failure::Part(reason))),
            Event::ReaderFailed { source, generation, error } => {
                if self.is_read(source, generation) {
                    self.finish(now, Some(Failure::Reading { source, error }));
                }
            }
            Event::PartGone { reason } => self.finish(now, Some(Failure::Part(reason))),
            Event::Built { task, instance, result } => self.on_built(now, task, instance, result),
            Event::Health { task, instance, health } => self.on_health(now, task, instance, health),
            Event::Rollout(event) => self.roll(now, event),
            Event::Pause => self.pause(run_loop::Event::Pause, Notice::Paused),
            Event::Resume => self.pause(run_loop::Event::Resume, Notice::Resumed),
            Event::Stop => self.finish(now, None),
            Event::ForceStop => self.cut_short(now, Failure::Forced),
        }
        self.report_rollout();
        self.end_if_over();
        std::mem::take(&mut self.actions)
    }

    /// When the next [`Event::Tick`] is due.
    #[must_use]
    pub fn wake_at(&self) -> Millis {
        let running = if self.is_running() { self.rollout.wake_at().min(self.judge_at()) } else { Millis::MAX };
        running.min(self.placement.interrupt_at()).min(self.deadline)
    }

    /// Whether what people ask of the versions is still heard.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Where the rollout of versions stands.
    #[must_use]
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// The instance that processes a shard.
    #[must_use]
    pub fn instance_of(&self, source: SourceId) -> Option<InstanceId> {
        self.sources.get(source as usize)?.instance
    }

    /// Input, shard and task of a source.
    ///
    /// # Panics
    /// When there is no such source.
    #[must_use]
    pub fn source(&self, source: SourceId) -> (InputId, &ShardId, TaskId) {
        let Source { input, shard, task, .. } = &self.sources[source as usize];
        (*input, shard, *task)
    }

    /// Whether a version's instance of a task may still be interrupted, or given to it.
    #[must_use]
    pub fn is_needed(&self, task: TaskId, instance: InstanceId) -> bool {
        self.rollout.module(instance).is_some() || self.placement.may_interrupt(task, instance)
    }

    fn on_tick(&mut self, now: Millis) {
        if self.is_running() {
            if now >= self.judge_at() {
                self.judged_at = now;
                self.actions.extend(self.rollout.is_watching(now).then_some(Action::ReportHealth));
            }
            self.roll(now, rollout::Event::Tick);
        }
        self.interrupt(now);
        if now >= self.deadline {
            self.cut_short(now, Failure::ShutdownTimeout(self.settings.shutdown_timeout));
        }
    }

    fn on_lease(&mut self, now: Millis, input: InputId, action: leases::Action) {
        match action {
            leases::Action::Start { key, epoch, checkpoint, hash_range, latest } => {
                let source = self.source_of(input, key);
                let state = &mut self.sources[source as usize];
                (state.epoch, state.hash_range, state.latest) = (epoch, hash_range, latest);
                state.begins_at = Some(checkpoint);
                self.assign(now, source);
            }
            leases::Action::Revoke { key, epoch, .. } => {
                if let Some(source) = self.stop_reading(input, &key) {
                    self.revoke(now, source, epoch);
                }
            }
            leases::Action::Checkpointed { key, epoch, checkpoint, written } => {
                if let Some(&source) = self.by_shard.get(&(input, key)) {
                    self.notice(Notice::Checkpointed { source, checkpoint, written });
                    self.task_of(source, run_loop::Event::Checkpointed { source, epoch });
                }
            }
            leases::Action::ShardSealed { key, epoch } => {
                if let Some(source) = self.stop_reading(input, &key) {
                    self.notice(Notice::Completed { source });
                    self.task_of(source, run_loop::Event::Sealed { source, epoch });
                    self.release_source(now, source);
                }
            }
            leases::Action::Fail(reason) => self.finish(now, Some(Failure::Input { input, reason })),
            leases::Action::Stopped => self.stopped[input] = true,
            leases::Action::Notice(notice @ leases::Notice::DuplicateWorker { .. }) => {
                self.notice(Notice::DuplicateWorker { input, notice });
            }
            // The lease worker's shell carries these out.
            leases::Action::Notice(_)
            | leases::Action::Scan
            | leases::Action::ScanConsistently
            | leases::Action::List(_)
            | leases::Action::Write(_) => {}
        }
    }

    /// The number of a shard; a shard that was never here gets the next one.
    fn source_of(&mut self, input: InputId, shard: ShardId) -> SourceId {
        let next = SourceId::try_from(self.sources.len()).expect("a job has far fewer shards");
        let source = *self.by_shard.entry((input, shard.clone())).or_insert(next);
        if source == next {
            let (system, stream) = &self.settings.inputs[input];
            let task = (self.settings.task_of)(Partition { system, stream, shard: &shard });
            self.actions.push(Action::AddSource { task, source, input, shard: shard.clone() });
            self.sources.push(Source {
                input,
                shard,
                task,
                hash_range: None,
                latest: Latest::Next,
                epoch: 0,
                begins_at: None,
                instance: None,
                reading: None,
            });
        }
        source
    }

    fn assign(&mut self, now: Millis, source: SourceId) {
        let Source { input, shard, begins_at, .. } = &self.sources[source as usize];
        let (input, shard) = (*input, shard.clone());
        if let Some(checkpoint) = begins_at.clone() {
            self.notice(Notice::Assigned { source, input, shard, checkpoint });
        }
        self.roll(now, rollout::Event::Assigned { source, shard: self.name(source) });
    }

    fn revoke(&mut self, now: Millis, source: SourceId, epoch: Epoch) {
        self.task_of(source, run_loop::Event::Revoked { source, epoch });
        self.notice(Notice::Released { source });
        self.release_source(now, source);
    }

    fn release_source(&mut self, now: Millis, source: SourceId) {
        let state = &mut self.sources[source as usize];
        (state.begins_at, state.instance) = (None, None);
        self.roll(now, rollout::Event::Released { source });
    }

    /// Nobody writes the checkpoints of this input's shards any more: they are as good as lost.
    fn on_lease_worker_gone(&mut self, now: Millis, input: InputId, reason: String) {
        self.stopped[input] = true;
        let held = self.sources.iter().filter(|state| state.input == input);
        let held: Vec<(ShardId, Epoch)> = held.map(|state| (state.shard.clone(), state.epoch)).collect();
        for (shard, epoch) in held {
            if let Some(source) = self.stop_reading(input, &shard) {
                self.revoke(now, source, epoch);
            }
        }
        self.finish(now, Some(Failure::Part(reason)));
    }

    fn on_task(&mut self, now: Millis, task: TaskId, action: run_loop::Action) {
        if matches!(self.phase, Phase::Releasing | Phase::Over) {
            return;
        }
        match action {
            run_loop::Action::Read { source, generation, from } => self.read(now, source, generation, from),
            run_loop::Action::Processed { source, generation, bytes, records } => {
                if self.is_read(source, generation) {
                    self.actions.push(Action::Credit { source, bytes, records });
                }
            }
            run_loop::Action::Checkpoint { source, epoch, checkpoint } => {
                self.lease_of(source, |key| leases::Event::Checkpoint { key, epoch, checkpoint });
            }
            run_loop::Action::EndShard { source, epoch, children } => {
                let children_of = self.lineage(source, &children);
                self.roll(now, rollout::Event::Ended { children: children_of });
                self.lease_of(source, |key| leases::Event::ShardEnded { key, epoch, children });
            }
            run_loop::Action::Shutdown(reason) => {
                self.notice(Notice::ShutdownRequested { task, reason });
                self.finish(now, None);
            }
            run_loop::Action::Finished(result) => {
                let failure = result.err().map(|failure| self.describe(&failure));
                self.on_task_finished(now, task, failure);
            }
            run_loop::Action::Routed => self.placement.routed(task),
            run_loop::Action::GaveUp { instance, failure } => {
                self.placement.gave_up(task, instance);
                let reason = self.describe(&failure).to_string();
                self.roll(now, rollout::Event::GaveUp { instance, reason });
            }
            run_loop::Action::Waits { instance, reason } => self.notice(Notice::Waits { task, instance, reason }),
            // The task's shell carries these out.
            run_loop::Action::Call { .. }
            | run_loop::Action::Rebuild { .. }
            | run_loop::Action::BeforeStop { .. }
            | run_loop::Action::Drop { .. }
            | run_loop::Action::Flush => {}
        }
    }

    fn read(&mut self, now: Millis, source: SourceId, generation: Generation, from: Checkpoint) {
        if !self.is_running() {
            return;
        }
        let state = &mut self.sources[source as usize];
        state.reading = Some(generation);
        let (latest, hash_range) = (state.latest.for_reading(now), state.hash_range.clone());
        self.actions.push(Action::StartReader { source, generation, from, latest, hash_range });
    }

    fn is_read(&self, source: SourceId, generation: Generation) -> bool {
        self.sources[source as usize].reading == Some(generation)
    }

    fn stop_reading(&mut self, input: InputId, shard: &ShardId) -> Option<SourceId> {
        let source = *self.by_shard.get(&(input, shard.clone()))?;
        if self.sources[source as usize].reading.take().is_some() {
            self.actions.push(Action::StopReader { source });
        }
        Some(source)
    }

    fn pause(&mut self, event: run_loop::Event, notice: Notice) {
        self.every_task(&event);
        self.notice(notice);
    }

    fn notice(&mut self, notice: Notice) {
        self.actions.push(Action::Notice(notice));
    }

    /// Tells the task that a source belongs to.
    fn task_of(&mut self, source: SourceId, event: run_loop::Event) {
        let task = self.sources[source as usize].task;
        self.actions.push(Action::Task { task, event });
    }

    fn every_task(&mut self, event: &run_loop::Event) {
        let tasks = TaskId::all(self.settings.tasks);
        self.actions.extend(tasks.map(|task| Action::Task { task, event: event.clone() }));
    }

    /// Tells the lease worker that a source belongs to.
    fn lease_of(&mut self, source: SourceId, event: impl FnOnce(ShardId) -> leases::Event) {
        let Source { input, shard, .. } = &self.sources[source as usize];
        self.actions.push(Action::Lease { input: *input, event: event(shard.clone()) });
    }

    /// The children of a shard, with all their parents, by their names.
    fn lineage(&self, source: SourceId, children: &[ChildShard]) -> Vec<(String, Vec<String>)> {
        let input = self.sources[source as usize].input;
        let name = |shard: &ShardId| self.shard_name(input, shard);
        children.iter().map(|child| (name(&child.id), child.parents.iter().map(name).collect())).collect()
    }
}

#[cfg(test)]
mod tests;
