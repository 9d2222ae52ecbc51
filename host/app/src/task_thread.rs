//! The shell around the run loop: the one thread that owns a task instance and its outputs. Guest code runs here and
//! nowhere else, so that however long it takes, leases are renewed and shards are read by others.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardmill_core::envelope::Batch;
use shardmill_core::run_loop::{Action, CallFailure, Event, FailureClass, Returned, RunLoop, SourceId};
use shardmill_runtime::{CallError, Failed, Instance, Module, Outputs, Shape, Source, TaskError, TaskSpec};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::outputs::OutputSystems;
use crate::status::Status;

/// How long a task is called for one envelope after the other before anything else gets its turn.
const TURN: Duration = Duration::from_millis(50);
/// Envelopes between two looks at the clock, at most.
const STEP_MAX: usize = 64;

/// What the job tells the thread: an event for the run loop, or a shard that the guest has not heard of.
#[derive(Debug)]
pub(crate) enum Control {
    Loop(Event),
    /// Becomes the next source index.
    AddSource(Source),
}

/// Where the thread gets its work from.
pub(crate) struct Inbox {
    /// From the job; served first. Unbounded for the same reason as [`TaskThread::requests`].
    pub(crate) control: mpsc::UnboundedReceiver<Control>,
    /// Batches and ends from the readers; bounded, so that they wait for a slow task.
    pub(crate) data: mpsc::Receiver<Event>,
}

/// What a task thread works on.
pub(crate) struct TaskThread {
    pub(crate) run_loop: RunLoop,
    pub(crate) module: Module,
    pub(crate) spec: TaskSpec,
    pub(crate) instance: Instance,
    pub(crate) systems: OutputSystems,
    pub(crate) clock: Clock,
    pub(crate) status: Arc<Status>,
    /// Unbounded, but what goes in is bounded by what the run loop may have under way: one call, one commit.
    pub(crate) requests: mpsc::UnboundedSender<Action>,
}

/// A new instance, ready for its first envelope.
///
/// # Errors
/// When instantiation or `init` fails.
pub(crate) fn instantiate(module: &Module, spec: &TaskSpec) -> Result<Instance, CallError> {
    let mut instance = Instance::new(module, spec)?;
    instance.init()?;
    Ok(instance)
}

impl Inbox {
    fn try_next(&mut self) -> Option<Result<Event, Control>> {
        let control = self.control.try_recv().ok().map(Err);
        control.or_else(|| self.data.try_recv().ok().map(Ok))
    }

    /// Blocks until something comes in or `wait` has passed (a tick); `None` when the job is gone.
    fn wait(&mut self, runtime: &Handle, wait: Duration) -> Option<Result<Event, Control>> {
        runtime.block_on(async {
            // Every arm is cancel-safe: receives and timers lose nothing when dropped.
            tokio::select! {
                biased;
                control = self.control.recv() => control.map(Err),
                Some(event) = self.data.recv() => Some(Ok(event)),
                () = tokio::time::sleep(wait) => Some(Ok(Event::Tick)),
            }
        })
    }
}

impl TaskThread {
    /// Runs until the loop is finished. Must be called on a thread of its own.
    pub(crate) fn run(mut self, runtime: &Handle, mut inbox: Inbox) {
        let mut outputs = Outputs::default();
        let mut answer = Some(Event::Tick);
        loop {
            // What the job says comes before an answer: the answer starts the next call, and with full queues there is
            // one after the other, so that a stop, a lost lease or a written checkpoint would wait for all of them.
            let event = match self.told(&mut inbox).or_else(|| answer.take()) {
                Some(event) => event,
                None => match self.receive(runtime, &mut inbox) {
                    Some(event) => event,
                    None => return,
                },
            };
            for action in self.run_loop.on(self.clock.now(), event) {
                let finished = matches!(action, Action::Finished(_));
                // One thing is under way at a time, so there is one answer at most.
                answer = self.act(action, &mut outputs).or(answer);
                if finished {
                    return;
                }
            }
        }
    }

    /// What the job has told the run loop meanwhile; does not wait.
    fn told(&mut self, inbox: &mut Inbox) -> Option<Event> {
        while let Ok(control) = inbox.control.try_recv() {
            if let Some(event) = self.take_in(control) {
                return Some(event);
            }
        }
        None
    }

    /// The event of a message from the job, unless it is for the instance.
    fn take_in(&mut self, control: Control) -> Option<Event> {
        match control {
            Control::Loop(event) => Some(event),
            Control::AddSource(source) => {
                self.instance.add_source(source.clone());
                self.spec.sources.push(source);
                None
            }
        }
    }

    /// The next event: what has come in, else a tick when the run loop wants one. `None` when the job is gone.
    fn receive(&mut self, runtime: &Handle, inbox: &mut Inbox) -> Option<Event> {
        loop {
            let control = match inbox.try_next() {
                Some(Ok(event)) => return Some(event),
                Some(Err(control)) => control,
                None => match inbox.wait(runtime, self.clock.until(self.run_loop.wake_at()))? {
                    Ok(event) => return Some(event),
                    Err(control) => control,
                },
            };
            if let Some(event) = self.take_in(control) {
                return Some(event);
            }
        }
    }

    /// Carries out what is for the instance and the outputs, and answers it; asks the job for the rest.
    fn act(&mut self, action: Action, outputs: &mut Outputs) -> Option<Event> {
        match action {
            Action::Call { source, batch, range, attempt } => {
                Some(Event::Returned(self.call(source, &batch, range, attempt, outputs)))
            }
            Action::Rebuild => Some(Event::Rebuilt(self.rebuild())),
            Action::BeforeStop => {
                self.before_stop(outputs);
                Some(Event::BeforeStopReturned)
            }
            Action::Flush => Some(Event::Flushed(self.systems.flush())),
            request => {
                // The supervisor ends last; if it is gone, the process is going down.
                drop(self.requests.send(request));
                None
            }
        }
    }

    fn call(
        &mut self,
        source: SourceId,
        batch: &Batch,
        range: Range<usize>,
        attempt: u32,
        outputs: &mut Outputs,
    ) -> Returned {
        outputs.clear();
        let returned = self.process(source, batch, range, attempt, outputs);
        self.systems.write(outputs, &self.spec.outputs);
        self.status.update(|status| {
            status.processed += returned.processed as u64;
            status.sent += outputs.len() as u64;
            status.failed_calls += u64::from(returned.error.is_some());
            if let Some(shard) = status.shards.get_mut(&source) {
                shard.waiting = shard.waiting.saturating_sub(returned.processed as u64);
            }
        });
        returned
    }

    /// Calls the instance for a range: a batch task once, a task for one envelope after the other until it has had its
    /// turn, so that a due commit or a stop need not wait for a long range of slow calls.
    fn process(
        &mut self,
        source: SourceId,
        batch: &Batch,
        range: Range<usize>,
        attempt: u32,
        outputs: &mut Outputs,
    ) -> Returned {
        let started = Instant::now();
        let mut returned = Returned::default();
        let mut step = match self.module.shape() {
            Shape::Task => 1,
            Shape::BatchTask => range.len(),
        };
        loop {
            let start = range.start + returned.processed;
            let end = range.end.min(start + step);
            match self.instance.process(source, batch, start..end, attempt, outputs) {
                Ok(done) => {
                    returned.processed += done.processed;
                    returned.commit = done.commit_requested;
                    returned.shutdown = done.shutdown_requested;
                }
                Err(failed) => {
                    self.tell_failure(source, batch, start, attempt, &failed);
                    returned.failed_at = failed.culprit.map(|culprit| returned.processed + culprit);
                    returned.processed += failed.processed;
                    returned.error = Some(failure(&failed.error));
                }
            }
            let interrupted = returned.error.is_some() || returned.commit || returned.shutdown.is_some();
            if interrupted || range.start + returned.processed >= range.end || started.elapsed() >= TURN {
                return returned;
            }
            // The clock costs a tenth of a short call: look at it less and less often.
            step = (step * 2).min(STEP_MAX);
        }
    }

    fn tell_failure(&self, source: SourceId, batch: &Batch, start: usize, attempt: u32, failed: &Failed) {
        let at = batch.position(start + failed.culprit.unwrap_or(failed.processed));
        let Source { system, stream, partition } = &self.spec.sources[source as usize];
        warn!(system, stream, shard = partition, position = %at, attempt, error = %failed.error, "a call failed");
    }

    /// The old instance is dead; its memory is gone with it.
    fn rebuild(&mut self) -> Result<(), String> {
        info!(task = self.spec.task_name, "building a new instance after a trap; replaying from the last commit");
        self.instance = instantiate(&self.module, &self.spec).map_err(|error| error.to_string())?;
        self.status.end_readings();
        Ok(())
    }

    /// A task that fails to say goodbye loses what it wanted to send, and nothing else.
    fn before_stop(&mut self, outputs: &mut Outputs) {
        outputs.clear();
        match self.instance.before_stop(outputs) {
            Ok(_) => {
                self.systems.write(outputs, &self.spec.outputs);
                self.status.update(|status| status.sent += outputs.len() as u64);
            }
            Err(error) => warn!(task = self.spec.task_name, %error, "before-stop failed"),
        }
    }
}

fn failure(error: &CallError) -> CallFailure {
    let class = match error {
        CallError::Task(TaskError::Retry(delay)) => FailureClass::Retry(*delay),
        CallError::Task(TaskError::Reject(_)) => FailureClass::Reject,
        CallError::Task(TaskError::Fatal(_)) | CallError::Grant(_) => FailureClass::Fatal,
        CallError::Task(TaskError::Other(_)) | CallError::InvalidResult(_) => FailureClass::Other,
        CallError::Trap { .. } | CallError::Ended(_) => FailureClass::Trap,
    };
    CallFailure { class, message: error.to_string() }
}
