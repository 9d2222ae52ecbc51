//! As the host's task thread: one thread that calls the task and flushes its outputs, serves the job first, then goes on
//! with what it was at, then takes in what the readers bring. The task itself is simulated: it takes its time, fails,
//! traps; what it puts out waits in memory until it is flushed.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use shardmill_core::coordinator::TaskId;
use shardmill_core::envelope::Batch;
use shardmill_core::module::ModuleId;
use shardmill_core::rollout::{FIRST_INSTANCE, Health};
use shardmill_core::run_loop::{
    self, Action, CallFailure, Event, FailureClass, InstanceId, Returned, RunLoop, SourceId,
};
use shardmill_core::time::Millis;

use super::Node;
use crate::audit::RecordId;
use crate::outside::Outside;
use crate::queue::Part;
use crate::world::Flaw;

/// Batches of all shards that may wait for the task, as in the host.
const BATCHES_WAITING_MAX: usize = 64;

pub(super) struct TaskThread {
    run_loop: RunLoop,
    pub(super) control: VecDeque<Event>,
    data: VecDeque<Event>,
    answer: Option<Event>,
    /// Actions that the run loop wants and that are not begun.
    todo: VecDeque<Action>,
    /// What takes time, and until when.
    busy: Option<(Millis, Action)>,
    /// Outputs that are not durable yet.
    outputs: Vec<RecordId>,
    /// Readers that wait for room.
    blocked: VecDeque<u64>,
    /// The version of each instance that was built.
    versions: BTreeMap<InstanceId, ModuleId>,
    pub(super) health: BTreeMap<InstanceId, Health>,
    /// The call that is under way is to end.
    interrupted: bool,
    over: bool,
    pub(super) due: Millis,
}

impl TaskThread {
    /// With an instance of the version that is current at the start.
    pub(super) fn new(local: Millis, settings: run_loop::Settings, current: ModuleId) -> Self {
        Self {
            run_loop: RunLoop::new(local, settings),
            control: VecDeque::from([Event::Added { instance: FIRST_INSTANCE }]),
            data: VecDeque::new(),
            answer: Some(Event::Tick),
            todo: VecDeque::new(),
            busy: None,
            outputs: Vec::new(),
            blocked: VecDeque::new(),
            versions: BTreeMap::from([(FIRST_INSTANCE, current)]),
            health: BTreeMap::new(),
            interrupted: false,
            over: false,
            due: Millis::MAX,
        }
    }

    pub(super) fn add_version(&mut self, instance: InstanceId, module: ModuleId) {
        self.versions.insert(instance, module);
    }

    /// The process is killed; some of what is being flushed may be out already.
    pub(super) fn die(&self, out: &mut Outside) {
        if matches!(self.busy, Some((_, Action::Flush))) {
            let some = out.dice.index(self.outputs.len() + 1);
            out.audit.durable(out.now, &self.outputs[..some]);
        }
    }
}

impl Node {
    /// Passes an event of a reader on, if there is room; else the reader is told when there is.
    pub(super) fn deliver(
        &mut self,
        out: &mut Outside,
        (reader, source): (u64, SourceId),
        event: Event,
    ) -> Result<(), Event> {
        let task = self.coordinator.task(source);
        let thread = &mut self.tasks[task.0 as usize];
        if thread.data.len() >= BATCHES_WAITING_MAX {
            thread.blocked.push_back(reader);
            return Err(event);
        }
        thread.data.push_back(event);
        self.hop(out, Part::Task(task));
        Ok(())
    }

    /// Ends the call that a task is in, if one of these instances is called.
    pub(super) fn interrupt(&mut self, out: &mut Outside, task: TaskId, instances: &[InstanceId]) {
        let thread = &mut self.tasks[task.0 as usize];
        if let Some((until, Action::Call { instance, .. })) = &mut thread.busy
            && instances.contains(instance)
        {
            (*until, thread.interrupted) = (out.now, true);
            self.wake(out, Part::Task(task), out.now);
        }
    }

    pub(super) fn step_task(&mut self, out: &mut Outside, task: TaskId) {
        let at = task.0 as usize;
        if self.tasks[at].over {
            return;
        }
        if let Some((until, _)) = self.tasks[at].busy.as_ref().filter(|(until, _)| *until > out.now) {
            let until = *until;
            return self.wake(out, Part::Task(task), until);
        }
        if let Some((_, action)) = self.tasks[at].busy.take() {
            self.tasks[at].answer = Some(self.through(out, task, action));
        }
        loop {
            while let Some(action) = self.tasks[at].todo.pop_front() {
                if self.begin(out, task, action) {
                    return;
                }
            }
            let Some(event) = self.next_task_event(out, task) else { return };
            out.trace.say(out.now, || format!("{} run loop <- {}", self.name, brief(&event)));
            let actions = self.tasks[at].run_loop.on(self.clock.local(out.now), event);
            self.tasks[at].todo.extend(actions);
        }
    }

    fn next_task_event(&mut self, out: &mut Outside, task: TaskId) -> Option<Event> {
        let at = task.0 as usize;
        let told = self.tasks[at].control.pop_front().or_else(|| self.tasks[at].answer.take());
        let event = told.or_else(|| self.tasks[at].data.pop_front());
        if let Some(reader) = event.is_some().then(|| self.tasks[at].blocked.pop_front()).flatten() {
            self.hop(out, Part::Reader(reader));
        }
        if let Some(event) = event {
            self.show(out, &event);
            return Some(event);
        }
        let wake_at = self.tasks[at].run_loop.wake_at();
        if self.clock.local(out.now) >= wake_at {
            return Some(Event::Tick);
        }
        self.wake_at(out, Part::Task(task), wake_at);
        None
    }

    /// Shows the audit which shards the task has. Here and not where it was told, because what is called until then is of
    /// the lease before.
    fn show(&self, out: &mut Outside, event: &Event) {
        match event {
            Event::Assigned { source, epoch, checkpoint, .. } => {
                out.audit.assigned(self.id, *source, self.coordinator.shard(*source), *epoch, checkpoint);
            }
            Event::Revoked { source, epoch } | Event::Sealed { source, epoch } => {
                out.audit.released(self.id, *source, *epoch);
            }
            _ => {}
        }
    }

    /// Begins an action; whether it takes time, or ends the thread.
    fn begin(&mut self, out: &mut Outside, task: TaskId, action: Action) -> bool {
        let at = task.0 as usize;
        out.trace.say(out.now, || format!("{} run loop -> {}", self.name, brief_action(&action)));
        let takes = match &action {
            Action::Call { .. } => out.task.call(&mut out.dice),
            Action::Flush => out.task.flush(&mut out.dice),
            Action::Rebuild { .. } | Action::BeforeStop { .. } => 1 + out.dice.below(300),
            Action::Read { source, generation, from } => {
                out.audit.reading(self.id, *source, *generation, from);
                0
            }
            _ => 0,
        };
        if let (Action::Flush, Some(Flaw::CheckpointsBeforeFlush)) = (&action, self.settings.flaw) {
            self.tasks[at].answer = Some(Event::Flushed(Ok(())));
            return false;
        }
        if takes > 0 {
            self.tasks[at].busy = Some((out.now + takes, action));
            self.wake(out, Part::Task(task), out.now + takes);
            return true;
        }
        self.tasks[at].over = matches!(action, Action::Finished(_));
        self.ask_for(out, task, action);
        self.tasks[at].over
    }

    /// What took its time is over; how it went.
    fn through(&mut self, out: &mut Outside, task: TaskId, action: Action) -> Event {
        let at = task.0 as usize;
        match action {
            Action::Call { instance, source, batch, range, .. } => {
                self.called(out, task, (instance, source), &batch, range)
            }
            Action::Rebuild { .. } => Event::Rebuilt(Ok(())),
            Action::BeforeStop { .. } => Event::BeforeStopReturned { trapped: false },
            Action::Flush if out.task.flush_fails(&mut out.dice) => {
                let some = out.dice.index(self.tasks[at].outputs.len() + 1);
                out.audit.durable(out.now, &self.tasks[at].outputs[..some]);
                Event::Flushed(Err("simulated".to_owned()))
            }
            _ => {
                out.audit.durable(out.now, &self.tasks[at].outputs);
                self.tasks[at].outputs.clear();
                Event::Flushed(Ok(()))
            }
        }
    }

    fn called(
        &mut self,
        out: &mut Outside,
        task: TaskId,
        (instance, source): (InstanceId, SourceId),
        batch: &Batch,
        range: Range<usize>,
    ) -> Event {
        let at = task.0 as usize;
        let records: Vec<RecordId> = batch.envelopes(range).map(|envelope| record(envelope.message)).collect();
        out.audit.called(out.now, self.id, source, &records);
        if std::mem::take(&mut self.tasks[at].interrupted) {
            return self.ended_by_the_host(out, at, instance);
        }
        let poisoned = records.iter().position(|&id| out.audit.truth.records[id].poison.is_some());
        let failed = match poisoned {
            Some(index) => Some((index, out.audit.truth.strike(records[index]))),
            None => {
                let version = self.tasks[at].versions[&instance];
                let fails = out.versions.fails(&mut out.dice, version).or_else(|| out.task.fails(&mut out.dice));
                fails.map(|class| (out.dice.index(records.len()), class))
            }
        };
        let is_batch = self.settings.is_batch_task;
        let returned = match failed {
            Some((index, class)) => Returned {
                processed: if is_batch { 0 } else { index },
                failed_at: out.dice.chance(50).then_some(index),
                error: Some(CallFailure { class, message: "simulated".to_owned() }),
                ..Returned::default()
            },
            // A task that is called for one envelope after the other has its turn, and no more.
            None if !is_batch && out.dice.chance(10) => {
                Returned { processed: 1 + out.dice.index(records.len()), ..Returned::default() }
            }
            None => {
                Returned { processed: records.len(), commit: out.task.commits(&mut out.dice), ..Returned::default() }
            }
        };
        let done = &records[..returned.processed];
        out.audit.processed(out.now, self.id, source, done);
        self.count(at, instance, &returned);
        if matches!(&returned.error, Some(error) if error.class.ends_instance()) {
            self.died(out, at, instance);
        }
        self.tasks[at].outputs.extend(done);
        Event::Returned(returned)
    }

    /// The call was interrupted, for it held up a move.
    fn ended_by_the_host(&self, out: &mut Outside, at: usize, instance: InstanceId) -> Event {
        self.died(out, at, instance);
        let error = CallFailure { class: FailureClass::Host, message: "interrupted".to_owned() };
        Event::Returned(Returned { error: Some(error), ..Returned::default() })
    }

    fn died(&self, out: &mut Outside, at: usize, instance: InstanceId) {
        let sources: Vec<SourceId> = self.tasks[at].run_loop.sources_of(instance).collect();
        out.audit.trapped(self.id, &sources);
    }

    fn count(&mut self, at: usize, instance: InstanceId, returned: &Returned) {
        let health = self.tasks[at].health.entry(instance).or_default();
        health.calls += 1;
        health.envelopes += returned.processed as u64;
        health.failed_calls += u64::from(returned.error.is_some());
        health.traps += u64::from(returned.error.as_ref().is_some_and(|error| error.class == FailureClass::Trap));
    }
}

/// The number of a record, which is its message.
fn record(message: &[u8]) -> RecordId {
    message.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

fn brief(event: &Event) -> String {
    match event {
        Event::Batch { source, generation, batch } => {
            format!("Batch {{ {source}, generation {generation}, {} records }}", batch.len())
        }
        event => format!("{event:?}"),
    }
}

fn brief_action(action: &Action) -> String {
    match action {
        Action::Call { source, batch, range, attempt, .. } => {
            let first = batch.position(range.start);
            format!("Call {{ {source}, {} records from {first}, attempt {attempt} }}", range.len())
        }
        action => format!("{action:?}"),
    }
}
