//! As the host's task thread: one thread that calls the task and flushes its outputs, serves the job first, then goes on
//! with what it was at, then takes in what the readers bring. The task itself is simulated: it takes its time, fails,
//! traps; what it puts out waits in memory until it is flushed.

use std::collections::VecDeque;
use std::ops::Range;

use shardmill_core::envelope::Batch;
use shardmill_core::run_loop::{self, Action, CallFailure, Event, InstanceId, Returned, RunLoop, SourceId};
use shardmill_core::time::Millis;

use super::Node;
use crate::audit::RecordId;
use crate::outside::Outside;
use crate::queue::Part;
use crate::world::Flaw;

/// The one instance of the task.
pub(super) const INSTANCE: InstanceId = 0;

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
    over: bool,
    pub(super) due: Millis,
}

impl TaskThread {
    pub(super) fn new(local: Millis, settings: run_loop::Settings) -> Self {
        Self {
            run_loop: RunLoop::new(local, settings),
            control: VecDeque::from([Event::Added { instance: INSTANCE }]),
            data: VecDeque::new(),
            answer: Some(Event::Tick),
            todo: VecDeque::new(),
            busy: None,
            outputs: Vec::new(),
            blocked: VecDeque::new(),
            over: false,
            due: Millis::MAX,
        }
    }

    /// The process is killed; some of what is being flushed may be out already.
    pub(super) fn die(&mut self, out: &mut Outside) {
        if matches!(self.busy, Some((_, Action::Flush))) {
            let some = out.dice.index(self.outputs.len() + 1);
            out.audit.durable(out.now, &self.outputs[..some]);
        }
    }
}

impl Node {
    /// Passes an event of a reader on, if there is room; else the reader is told when there is.
    pub(super) fn deliver(&mut self, out: &mut Outside, reader: u64, event: Event) -> Result<(), Event> {
        if self.task.data.len() >= BATCHES_WAITING_MAX {
            self.task.blocked.push_back(reader);
            return Err(event);
        }
        self.task.data.push_back(event);
        self.hop(out, Part::Task);
        Ok(())
    }

    pub(super) fn step_task(&mut self, out: &mut Outside) {
        if self.task.over {
            return;
        }
        if let Some((until, _)) = self.task.busy.as_ref().filter(|(until, _)| *until > out.now) {
            let until = *until;
            return self.wake(out, Part::Task, until);
        }
        if let Some((_, action)) = self.task.busy.take() {
            self.task.answer = Some(self.through(out, action));
        }
        loop {
            while let Some(action) = self.task.todo.pop_front() {
                if self.begin(out, action) {
                    return;
                }
            }
            let Some(event) = self.next_task_event(out) else { return };
            out.trace.say(out.now, || format!("{} run loop <- {}", self.name, brief(&event)));
            let actions = self.task.run_loop.on(self.clock.local(out.now), event);
            self.task.todo.extend(actions);
        }
    }

    fn next_task_event(&mut self, out: &mut Outside) -> Option<Event> {
        let told = self.task.control.pop_front().or_else(|| self.task.answer.take());
        let event = told.or_else(|| self.task.data.pop_front());
        if let Some(reader) = event.is_some().then(|| self.task.blocked.pop_front()).flatten() {
            self.hop(out, Part::Reader(reader));
        }
        if let Some(event) = event {
            self.show(out, &event);
            return Some(event);
        }
        let wake_at = self.task.run_loop.wake_at();
        if self.clock.local(out.now) >= wake_at {
            return Some(Event::Tick);
        }
        self.wake_at(out, Part::Task, wake_at);
        None
    }

    /// Shows the audit which shards the task has. Here and not where it was told, because what is called until then is of
    /// the lease before.
    fn show(&self, out: &mut Outside, event: &Event) {
        match event {
            Event::Assigned { source, epoch, checkpoint, .. } => {
                out.audit.assigned(self.id, *source, self.supervisor.shard(*source), *epoch, checkpoint);
            }
            Event::Revoked { source, epoch } | Event::Sealed { source, epoch } => {
                out.audit.released(self.id, *source, *epoch);
            }
            _ => {}
        }
    }

    /// Begins an action; whether it takes time, or ends the thread.
    fn begin(&mut self, out: &mut Outside, action: Action) -> bool {
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
            self.task.answer = Some(Event::Flushed(Ok(())));
            return false;
        }
        if takes > 0 {
            self.task.busy = Some((out.now + takes, action));
            self.wake(out, Part::Task, out.now + takes);
            return true;
        }
        self.task.over = matches!(action, Action::Finished(_));
        self.supervisor.requests.push_back(action);
        self.hop(out, Part::Supervisor);
        self.task.over
    }

    /// What took its time is over; how it went.
    fn through(&mut self, out: &mut Outside, action: Action) -> Event {
        match action {
            Action::Call { source, batch, range, .. } => self.called(out, source, &batch, range),
            Action::Rebuild { .. } => Event::Rebuilt(Ok(())),
            Action::BeforeStop { .. } => Event::BeforeStopReturned { trapped: false },
            Action::Flush if out.task.flush_fails(&mut out.dice) => {
                let some = out.dice.index(self.task.outputs.len() + 1);
                out.audit.durable(out.now, &self.task.outputs[..some]);
                Event::Flushed(Err("simulated".to_owned()))
            }
            _ => {
                out.audit.durable(out.now, &self.task.outputs);
                self.task.outputs.clear();
                Event::Flushed(Ok(()))
            }
        }
    }

    fn called(&mut self, out: &mut Outside, source: SourceId, batch: &Batch, range: Range<usize>) -> Event {
        let records: Vec<RecordId> = batch.envelopes(range).map(|envelope| record(envelope.message)).collect();
        out.audit.called(out.now, self.id, source, &records);
        let poisoned = records.iter().position(|&id| out.audit.truth.records[id].poison.is_some());
        let failed = match poisoned {
            Some(index) => Some((index, out.audit.truth.strike(records[index]))),
            None => out.task.fails(&mut out.dice).map(|class| (out.dice.index(records.len()), class)),
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
        if matches!(&returned.error, Some(error) if error.class.ends_instance()) {
            out.audit.trapped(self.id);
        }
        self.task.outputs.extend(done);
        Event::Returned(returned)
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
