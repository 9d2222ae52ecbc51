//! The shell around the run loop: the one thread that owns the task's instances and its outputs. Guest code runs here
//! and nowhere else, so that however long it takes, leases are renewed and shards are read by others.

mod instances;
mod recent;

use std::sync::Arc;
use std::time::{Duration, Instant};

use shardmill_core::run_loop::{Action, Event, InstanceId, RunLoop};
use shardmill_runtime::{Module, Source, TaskSpec};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::job::Lately;
use crate::outputs::OutputSystems;
use crate::status::Status;
use instances::Instances;
use recent::RecentCalls;

pub(crate) use instances::{Ready, instantiate};

/// What the job tells the thread: an event for the run loop, or a shard that the guest has not heard of.
#[derive(Debug)]
pub(crate) enum Control {
    Loop(Event),
    /// Becomes the next source index.
    AddSource(Source),
    /// A version that the run loop will be told to use.
    AddInstance(InstanceId, Box<Ready>),
    /// Asks what the task had lately; the module is the current one.
    Lately(Module, oneshot::Sender<Lately>),
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
    run_loop: RunLoop,
    instances: Instances,
    recent: RecentCalls,
    clock: Clock,
    status: Arc<Status>,
    /// Unbounded, but what goes in is bounded by what the run loop may have under way: one call, one commit.
    requests: mpsc::UnboundedSender<Action>,
    /// When a route came in that is not carried out yet.
    routing_since: Option<Instant>,
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
    pub(crate) fn new(
        run_loop: RunLoop,
        spec: TaskSpec,
        systems: OutputSystems,
        clock: Clock,
        status: Arc<Status>,
        requests: mpsc::UnboundedSender<Action>,
    ) -> Self {
        let instances = Instances::new(spec, systems, Arc::clone(&status));
        let recent = RecentCalls::default();
        Self { run_loop, instances, recent, clock, status, requests, routing_since: None }
    }

    /// Runs until the loop is finished. Must be called on a thread of its own.
    pub(crate) fn run(mut self, runtime: &Handle, mut inbox: Inbox) {
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
                answer = self.act(action).or(answer);
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

    /// The event of a message from the job, if it is for the run loop.
    fn take_in(&mut self, control: Control) -> Option<Event> {
        match control {
            Control::Loop(event) => {
                match &event {
                    Event::Route { .. } => drop(self.routing_since.get_or_insert_with(Instant::now)),
                    Event::Revoked { source, .. } | Event::Sealed { source, .. } => self.recent.forget(*source),
                    _ => {}
                }
                Some(event)
            }
            Control::AddSource(source) => {
                self.instances.add_source(source);
                None
            }
            Control::AddInstance(instance, ready) => {
                self.instances.add(instance, *ready);
                Some(Event::Added { instance })
            }
            Control::Lately(module, asked) => {
                let lately = Lately { module, sources: self.instances.sources().to_vec(), recent: self.recent.all() };
                // Who asked may have gone.
                drop(asked.send(lately));
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

    /// Carries out what is for the instances and the outputs, and answers it; asks the job for the rest.
    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Call { instance, source, batch, range, attempt } => {
                let returned = self.instances.call(instance, source, &batch, range.clone(), attempt);
                self.recent.add(source, &batch, range.start..range.start + returned.processed);
                if returned.error.as_ref().is_some_and(|error| error.class.ends_instance()) {
                    self.lost(instance);
                }
                Some(Event::Returned(returned))
            }
            Action::Rebuild { instance } => Some(Event::Rebuilt(self.instances.rebuild(instance))),
            Action::BeforeStop { instance } => {
                let trapped = self.instances.before_stop(instance);
                if trapped {
                    self.lost(instance);
                }
                Some(Event::BeforeStopReturned { trapped })
            }
            Action::Drop { instance } => {
                self.instances.drop(instance);
                None
            }
            Action::Flush => Some(Event::Flushed(self.instances.flush())),
            request => {
                if matches!(request, Action::Finished(_)) {
                    self.instances.close();
                }
                if let Some(since) = self.routing_since.take_if(|_| matches!(request, Action::Routed)) {
                    self.status.update(|status| status.swaps.add(since.elapsed()));
                }
                // The coordinator ends last; if it is gone, the process is going down.
                drop(self.requests.send(request));
                None
            }
        }
    }

    /// An instance died: what it processes is to be read again.
    fn lost(&self, instance: InstanceId) {
        self.status.end_readings(self.run_loop.sources_of(instance));
    }
}
