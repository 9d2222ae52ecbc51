//! One life of a process: the real machines, wired to each other as the host's shells wire them. Each part of it (lease
//! worker, coordinator, task threads, a reader per shard) handles one thing at a time and hears of the others by queues, as
//! the host's async tasks and threads do.

mod coordinator;
mod leases;
mod reading;
mod task;

use std::collections::BTreeMap;

use shardmill_core::kinesis::polling;
use shardmill_core::rollout::Rollout;
use shardmill_core::run_loop::{self, SourceId};
use shardmill_core::time::Millis;
use shardmill_core::{coordinator as wiring, leases as machine};

use crate::clock::Clock;
use crate::network::{Answer, Call, Fate, Network};
use crate::outside::Outside;
use crate::queue::{Caller, Item, Part};
use crate::world::Flaw;

pub(crate) use reading::is_latest;

use coordinator::CoordinatorShell;
use leases::LeaseWorker;
use reading::ShardReader;
use task::TaskThread;

/// A message to another part takes as long as it takes the scheduler to run that.
const HOP_MAX: Millis = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Stopping,
    /// Stopped, failed or killed.
    Over,
}

/// What one life is told at its start.
pub(crate) struct Settings {
    pub(crate) leases: machine::Settings,
    pub(crate) reader: polling::Settings,
    /// Shards are read by fan-out.
    pub(crate) is_fan_out: bool,
    pub(crate) run_loop: run_loop::Settings,
    pub(crate) coordinator: wiring::Settings,
    /// Whether the task takes batches.
    pub(crate) is_batch_task: bool,
    pub(crate) flaw: Option<Flaw>,
}

pub(crate) struct Node {
    id: usize,
    pub(crate) name: String,
    pub(crate) life: Life,
    pub(crate) paused_until: Millis,
    pub(crate) clock: Clock,
    leases: LeaseWorker,
    coordinator: CoordinatorShell,
    tasks: Vec<TaskThread>,
    readers: BTreeMap<u64, ShardReader>,
    /// The reader of each source that is read.
    reading: BTreeMap<SourceId, u64>,
    readers_started: u64,
    settings: Settings,
    /// Calls so far; tells their answers apart.
    calls: u64,
}

impl Node {
    pub(crate) fn start(out: &mut Outside, id: usize, clock: Clock, settings: Settings) -> Self {
        let local = clock.local(out.now);
        let deployment = out.versions.deployment.clone();
        let tasks = wiring::TaskId::all(settings.coordinator.tasks);
        let mut node = Self {
            id,
            name: settings.leases.worker.clone(),
            life: Life::Alive,
            paused_until: 0,
            leases: LeaseWorker::new(settings.leases.clone()),
            tasks: tasks.clone().map(|_| TaskThread::new(local, settings.run_loop, deployment.current)).collect(),
            coordinator: CoordinatorShell::new(local, settings.coordinator.clone(), deployment),
            readers: BTreeMap::new(),
            reading: BTreeMap::new(),
            readers_started: 0,
            clock,
            settings,
            calls: 0,
        };
        node.wake(out, Part::Leases, out.now);
        node.wake(out, Part::Coordinator, out.now);
        tasks.for_each(|task| node.wake(out, Part::Task(task), out.now));
        node
    }

    pub(crate) fn max_leases(&self) -> usize {
        self.settings.leases.max_leases
    }

    /// The shards of which this worker says that nobody reads them.
    pub(crate) fn unread(&self) -> Vec<machine::Unread> {
        self.leases.unread()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.life == Life::Over
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.life == Life::Alive
    }

    pub(crate) fn pause(&mut self, now: Millis, pause: Millis, is_suspended: bool) {
        let (from, until) = (self.paused_until.max(now), self.paused_until.max(now + pause));
        self.paused_until = until;
        if is_suspended {
            self.clock.suspend(until - from);
        }
    }

    /// Asks for a graceful stop.
    pub(crate) fn stop(&mut self, out: &mut Outside) {
        self.life = Life::Stopping;
        self.tell(out, wiring::Event::Stop);
    }

    pub(crate) fn kill(&mut self, out: &mut Outside) {
        self.tasks.iter().for_each(|task| task.die(out));
        self.life = Life::Over;
        self.readers.clear();
        out.audit.ended(self.id);
    }

    /// Where the rollout of versions stands on this node.
    pub(crate) fn rollout(&self) -> &Rollout {
        self.coordinator.machine.rollout()
    }

    /// A part's turn has come.
    pub(crate) fn step(&mut self, out: &mut Outside, part: Part) {
        if self.is_over() {
            return;
        }
        let Some(due) = self.due(part).filter(|due| **due <= out.now) else { return };
        *due = Millis::MAX;
        match part {
            Part::Leases => self.step_leases(out),
            Part::Coordinator => self.step_coordinator(out),
            Part::Task(task) => self.step_task(out, task),
            Part::Reader(reader) => self.step_reader(out, reader),
        }
    }

    /// The answer to a call.
    pub(crate) fn answered(&mut self, out: &mut Outside, to: Caller, answer: Answer) {
        if self.is_over() {
            return;
        }
        match (to.part, answer) {
            (Part::Leases, Answer::Leases(event)) => {
                self.leases.answered(*event);
                self.hop(out, Part::Leases);
            }
            (Part::Reader(reader), answer) => self.reader_answered(out, reader, to.call, answer),
            _ => {}
        }
    }

    fn due(&mut self, part: Part) -> Option<&mut Millis> {
        Some(match part {
            Part::Leases => &mut self.leases.due,
            Part::Coordinator => &mut self.coordinator.due,
            Part::Task(task) => &mut self.tasks[task.0 as usize].due,
            Part::Reader(reader) => &mut self.readers.get_mut(&reader)?.due,
        })
    }

    /// Makes sure that a part has its turn at `when`.
    fn wake(&mut self, out: &mut Outside, part: Part, when: Millis) {
        let id = self.id;
        if let Some(due) = self.due(part).filter(|due| when < **due) {
            *due = when;
            out.queue.push(when, Item::Step(id, part));
        }
    }

    /// Likewise, as soon as it is scheduled.
    fn hop(&mut self, out: &mut Outside, part: Part) {
        let when = out.now + out.dice.below(HOP_MAX);
        self.wake(out, part, when);
    }

    /// Likewise, at the node's own time.
    fn wake_at(&mut self, out: &mut Outside, part: Part, local: Millis) {
        let when = self.clock.when(out.now, local);
        self.wake(out, part, when);
    }

    fn call(&mut self, out: &mut Outside, part: Part, call: Call) -> u64 {
        self.calls += 1;
        let caller = Caller { node: self.id, part, call: self.calls };
        let network: Network = out.network;
        let fate: Fate = network.fate(out.now, &mut out.dice, &call);
        let when = out.now + network.delay(&mut out.dice);
        out.queue.push(when, Item::Arrive(caller, call, fate));
        self.calls
    }
}
