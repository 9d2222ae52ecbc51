//! As the host's shell around the coordinator: carries messages between it and the lease worker, the readers and the task
//! threads, builds instances and writes deployments, which take their time.

use std::collections::VecDeque;

use shardmill_core::coordinator::{Action, Coordinator, Event, Notice, Settings, TaskId};
use shardmill_core::kinesis::shard::HashRange;
use shardmill_core::module::ModuleId;
use shardmill_core::position::{Checkpoint, Latest};
use shardmill_core::rollout::{self, Deployment, Manner, RequestId, WriteError};
use shardmill_core::run_loop::{self, Generation, InstanceId, SourceId};
use shardmill_core::time::Millis;
use shardmill_core::{leases, service::ServiceError};

use super::reading::ShardReader;
use super::{Life, Node};
use crate::outside::Outside;
use crate::queue::{Item, Part};
use crate::world::Flaw;

/// The job's only input.
const INPUT: usize = 0;

/// What takes its time beside everything else.
enum Work {
    Build {
        task: TaskId,
        instance: InstanceId,
        module: ModuleId,
    },
    /// A deployment is on its way to the store.
    Write(Deployment),
    Written(Result<(), WriteError>),
}

pub(super) struct CoordinatorShell {
    pub(super) machine: Coordinator,
    leases: VecDeque<leases::Action>,
    tasks: VecDeque<(TaskId, run_loop::Action)>,
    /// Whatever else the machine is to hear.
    events: VecDeque<Event>,
    work: Vec<(Millis, Work)>,
    requests: RequestId,
    pub(super) due: Millis,
}

impl CoordinatorShell {
    pub(super) fn new(local: Millis, settings: Settings, deployment: Deployment) -> Self {
        Self {
            machine: Coordinator::new(local, settings, deployment),
            leases: VecDeque::new(),
            tasks: VecDeque::new(),
            events: VecDeque::from([Event::Tick]),
            work: Vec::new(),
            requests: 0,
            due: Millis::MAX,
        }
    }

    fn has_messages(&self) -> bool {
        !self.leases.is_empty() || !self.tasks.is_empty() || !self.events.is_empty()
    }

    pub(super) fn shard(&self, source: SourceId) -> &str {
        self.machine.source(source).1
    }

    pub(super) fn task(&self, source: SourceId) -> TaskId {
        self.machine.source(source).2
    }
}

impl Node {
    pub(super) fn step_coordinator(&mut self, out: &mut Outside) {
        self.finish_work(out);
        let local = self.clock.local(out.now);
        let event =
            self.next_message(out).or_else(|| (local >= self.coordinator.machine.wake_at()).then_some(Event::Tick));
        if let Some(event) = event {
            for action in self.coordinator.machine.on(local, event) {
                self.carry_out(out, action);
                if self.is_over() {
                    return;
                }
            }
        }
        if self.life == Life::Alive && !self.coordinator.machine.is_running() {
            self.life = Life::Stopping;
        }
        if self.coordinator.has_messages() {
            return self.hop(out, Part::Coordinator);
        }
        let wake_at = self.coordinator.machine.wake_at();
        self.wake_at(out, Part::Coordinator, wake_at);
        if let Some(work) = self.coordinator.work.iter().map(|(when, _)| *when).min() {
            self.wake(out, Part::Coordinator, work);
        }
    }

    /// Takes one message of those that wait, from any of those who send them.
    fn next_message(&mut self, out: &mut Outside) -> Option<Event> {
        for turn in out.dice.below(3)..6 {
            let CoordinatorShell { leases, tasks, events, .. } = &mut self.coordinator;
            let event = match turn % 3 {
                0 => leases.pop_front().map(|action| Event::Lease { input: INPUT, action }),
                1 => tasks.pop_front().map(|(task, action)| Event::Task { task, action }),
                _ => events.pop_front(),
            };
            if let Some(event) = event {
                self.look_at(out, &event);
                return Some(event);
            }
        }
        None
    }

    /// What the audit has to know of what the job hears.
    fn look_at(&self, out: &mut Outside, event: &Event) {
        match event {
            Event::Lease { action: leases::Action::Checkpointed { key, epoch, checkpoint, written: true }, .. } => {
                out.audit.written(self.id, key, *epoch, checkpoint);
            }
            Event::Lease { action: leases::Action::ShardSealed { key, .. }, .. } => {
                let is_sealed = out.table.rows.get(key).is_none_or(|_| out.table.is_at_end(key));
                out.audit.require(is_sealed, || format!("{key} is called sealed"));
            }
            Event::Lease { action: leases::Action::Fail(reason), .. } => {
                out.audit.require(false, || format!("{} gave up: {reason}", self.name));
            }
            Event::Lease { action: leases::Action::Notice(notice), .. } => out.audit.noticed(&self.name, notice),
            Event::ReaderFailed { error, .. } => {
                out.audit.require(false, || format!("a reader of {} failed: {error}", self.name));
            }
            _ => {}
        }
    }

    pub(super) fn tell_of_lease(&mut self, out: &mut Outside, action: leases::Action) {
        self.coordinator.leases.push_back(action);
        self.hop(out, Part::Coordinator);
    }

    pub(super) fn ask_for(&mut self, out: &mut Outside, task: TaskId, action: run_loop::Action) {
        self.coordinator.tasks.push_back((task, action));
        self.hop(out, Part::Coordinator);
    }

    pub(super) fn tell(&mut self, out: &mut Outside, event: Event) {
        self.coordinator.events.push_back(event);
        self.hop(out, Part::Coordinator);
    }

    pub(super) fn reader_failed(
        &mut self,
        out: &mut Outside,
        source: SourceId,
        generation: Generation,
        error: ServiceError,
    ) {
        self.tell(out, Event::ReaderFailed { source, generation, error });
    }

    /// Somebody wants another version, in one of the ways there are.
    pub(crate) fn deploy(&mut self, out: &mut Outside, module: ModuleId, how: Manner) {
        self.coordinator.requests += 1;
        let request = self.coordinator.requests;
        self.tell(out, Event::Rollout(rollout::Event::Deploy { request, module, how }));
    }

    pub(crate) fn promote(&mut self, out: &mut Outside) {
        self.coordinator.requests += 1;
        let request = self.coordinator.requests;
        self.tell(out, Event::Rollout(rollout::Event::Promote { request }));
    }

    pub(crate) fn roll_back(&mut self, out: &mut Outside) {
        self.coordinator.requests += 1;
        let request = self.coordinator.requests;
        self.tell(out, Event::Rollout(rollout::Event::RollBack { request, version: None }));
    }

    /// Looks at what the hosts of the job share.
    pub(crate) fn follow(&mut self, out: &mut Outside) {
        let changed = out.versions.deployment.clone();
        self.tell(out, Event::Rollout(rollout::Event::Changed(changed)));
    }

    fn carry_out(&mut self, out: &mut Outside, action: Action) {
        match action {
            Action::Lease { event, .. } => {
                self.leases.commands.push_back(event);
                self.hop(out, Part::Leases);
            }
            Action::Task { task, event } => {
                if let run_loop::Event::Revoked { source, epoch } | run_loop::Event::Sealed { source, epoch } = &event {
                    out.audit.let_go(self.id, *source, *epoch);
                }
                self.send_task(out, task, event);
            }
            Action::AddInstance { task, instance } => {
                self.send_task(out, task, run_loop::Event::Added { instance });
            }
            Action::Build { task, instance, module } => {
                let takes = 1 + out.dice.below(2_000);
                self.coordinator.work.push((out.now + takes, Work::Build { task, instance, module }));
            }
            Action::Interrupt { task, instances } => self.interrupt(out, task, &instances),
            Action::StartReader { source, generation, from, latest, hash_range } => {
                self.start_reader(out, source, generation, &from, latest, hash_range);
            }
            Action::StopReader { source } => self.stop_reader(source),
            Action::Credit { source, bytes, records } => {
                if let Some(&reader) = self.reading.get(&source) {
                    self.reader_progressed(out, reader, bytes, records);
                }
            }
            Action::ReportHealth => {
                for (task, thread) in (0..).map(TaskId).zip(&self.tasks) {
                    let health = thread.health.iter().map(|(&instance, &health)| (instance, health));
                    let events = health.map(|(instance, health)| Event::Health { task, instance, health });
                    self.coordinator.events.extend(events);
                }
            }
            Action::Rollout(rollout::Action::Write(deployment)) => {
                let takes = 1 + out.dice.below(300);
                self.coordinator.work.push((out.now + takes, Work::Write(deployment)));
            }
            Action::Rollout(rollout::Action::Tell(outcome)) => {
                out.trace.say(out.now, || format!("{} rollout: {outcome:?}", self.name));
                out.versions.count(&outcome);
            }
            Action::Notice(notice) => self.note(out, &notice),
            Action::End(result) => self.ended(out, result.is_ok()),
            // Names and places are the shell's; the numbers say all here.
            Action::AddSource { .. } | Action::DropInstance { .. } | Action::Rollout(_) | Action::RolloutChanged => {}
        }
    }

    fn note(&self, out: &mut Outside, notice: &Notice) {
        if !matches!(notice, Notice::Checkpointed { .. }) {
            out.trace.say(out.now, || format!("{} notes {notice:?}", self.name));
        }
    }

    fn ended(&mut self, out: &mut Outside, is_well: bool) {
        out.trace.say(out.now, || format!("{} ended {}", self.name, if is_well { "well" } else { "with a failure" }));
        if is_well {
            out.audit.ended_well(out.now, &out.table, self.id, &self.name);
        }
        self.kill(out);
    }

    /// What is through by now becomes a message.
    fn finish_work(&mut self, out: &mut Outside) {
        let due: Vec<(Millis, Work)> = self.coordinator.work.extract_if(.., |(when, _)| *when <= out.now).collect();
        for (_, work) in due {
            let event = match work {
                Work::Build { task, instance, module } => {
                    let result = out.versions.start(&mut out.dice, module);
                    if result.is_ok() {
                        self.tasks[task.0 as usize].add_version(instance, module);
                    }
                    Event::Built { task, instance, result }
                }
                Work::Write(deployment) => {
                    let result = self.write(out, deployment);
                    let takes = 1 + out.dice.below(300);
                    self.coordinator.work.push((out.now + takes, Work::Written(result)));
                    continue;
                }
                Work::Written(result) => Event::Rollout(rollout::Event::Written(result)),
            };
            self.coordinator.events.push_back(event);
        }
    }

    fn write(&self, out: &mut Outside, deployment: Deployment) -> Result<(), WriteError> {
        let written =
            out.versions.write(&mut out.dice, deployment, self.settings.flaw == Some(Flaw::OverwritesDeployments));
        out.trace.say(out.now, || format!("{} writes: {written:?}, {:?}", self.name, out.versions.deployment));
        if written.is_ok() {
            out.queue.push(out.now, Item::DeploymentChanged);
        }
        written
    }

    fn send_task(&mut self, out: &mut Outside, task: TaskId, event: run_loop::Event) {
        self.tasks[task.0 as usize].control.push_back(event);
        self.hop(out, Part::Task(task));
    }

    fn stop_reader(&mut self, source: SourceId) {
        if let Some(reader) = self.reading.remove(&source) {
            self.readers.remove(&reader);
        }
    }

    fn start_reader(
        &mut self,
        out: &mut Outside,
        source: SourceId,
        generation: Generation,
        from: &Checkpoint,
        latest: Latest,
        hash_range: Option<HashRange>,
    ) {
        self.stop_reader(source);
        self.readers_started += 1;
        let id = self.readers_started;
        let machine = self.settings.reader(latest, out.dice.below(u64::MAX), from, hash_range);
        let reader = ShardReader::new(machine, self.coordinator.shard(source).to_owned(), source, generation);
        self.readers.insert(id, reader);
        self.reading.insert(source, id);
        self.hop(out, Part::Reader(id));
    }
}
