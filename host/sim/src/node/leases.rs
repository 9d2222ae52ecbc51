//! As the host's shell around the lease machine: calls go out, answers and commands come in, what concerns the job is
//! told to the coordinator.

use std::collections::VecDeque;

use shardmill_core::leases::{self as machine, Action, Event, Worker, Write};
use shardmill_core::position::Checkpoint;
use shardmill_core::time::Millis;

use super::Node;
use crate::audit::Rate;
use crate::foreign::FOREIGN;
use crate::network::Call;
use crate::outside::Outside;
use crate::queue::Part;
use crate::world::Flaw;

/// Writes on their way at a time, as in the host.
const WRITES_MAX: usize = 20;

pub(super) struct LeaseWorker {
    worker: Worker,
    pub(super) commands: VecDeque<Event>,
    answers: VecDeque<Event>,
    /// Writes that wait for their turn.
    waiting: VecDeque<Write>,
    under_way: usize,
    over: bool,
    pub(super) due: Millis,
}

impl LeaseWorker {
    pub(super) fn new(settings: machine::Settings) -> Self {
        Self {
            worker: Worker::new(settings),
            commands: VecDeque::new(),
            answers: VecDeque::new(),
            waiting: VecDeque::new(),
            under_way: 0,
            over: false,
            due: Millis::MAX,
        }
    }

    pub(super) fn unread(&self) -> Vec<machine::Unread> {
        self.worker.unread()
    }

    pub(super) fn answered(&mut self, event: Event) {
        self.answers.push_back(event);
    }
}

impl Node {
    pub(super) fn step_leases(&mut self, out: &mut Outside) {
        if self.leases.over {
            return;
        }
        let event = self.next_lease_event(out);
        let local = self.clock.local(out.now);
        if !matches!(event, Event::Tick) {
            out.trace.say(out.now, || format!("{} leases <- {event:?}", self.name));
        }
        if matches!(event, Event::Written { .. }) {
            self.leases.under_way -= 1;
        }
        for action in self.leases.worker.on(local, event) {
            out.trace.say(out.now, || format!("{} leases -> {action:?}", self.name));
            self.act_on_lease(out, action);
        }
        self.send_writes(out);
        if !self.leases.commands.is_empty() || !self.leases.answers.is_empty() {
            return self.hop(out, Part::Leases);
        }
        let wake_at = self.leases.worker.wake_at().max(local);
        self.wake_at(out, Part::Leases, wake_at);
    }

    fn next_lease_event(&mut self, out: &mut Outside) -> Event {
        let command_first = out.dice.chance(50);
        let LeaseWorker { commands, answers, .. } = &mut self.leases;
        let event = match command_first {
            true => commands.pop_front().or_else(|| answers.pop_front()),
            false => answers.pop_front().or_else(|| commands.pop_front()),
        };
        event.unwrap_or_else(|| {
            out.audit.count(self.id, Rate::Steps, out.now);
            Event::Tick
        })
    }

    fn act_on_lease(&mut self, out: &mut Outside, action: Action) {
        match action {
            Action::Scan => drop(self.call_table(out, Call::Scan { is_consistent: false })),
            Action::ScanConsistently => drop(self.call_table(out, Call::Scan { is_consistent: true })),
            Action::List(filter) => drop(self.call_table(out, Call::List(filter))),
            Action::Write(mut write) => {
                match (&mut write, self.settings.flaw) {
                    (Write::Renew { .. }, Some(Flaw::ScansTooOften)) => {
                        self.call_table(out, Call::Scan { is_consistent: false });
                    }
                    (Write::Renew { key, .. }, Some(Flaw::TouchesForeignRows)) => FOREIGN.clone_into(key),
                    (Write::Restore(lease), Some(Flaw::RestoresAtTheStart)) => {
                        lease.checkpoint = Checkpoint::TrimHorizon;
                    }
                    _ => {}
                }
                self.leases.waiting.push_back(write);
            }
            told => {
                self.leases.over |= told == Action::Stopped;
                if let Action::Start { key, checkpoint, .. } = &told {
                    out.audit.started(&out.table, self.id, key, checkpoint);
                }
                self.tell_of_lease(out, told);
            }
        }
    }

    fn send_writes(&mut self, out: &mut Outside) {
        while self.leases.under_way < WRITES_MAX
            && let Some(write) = self.leases.waiting.pop_front()
        {
            self.leases.under_way += 1;
            self.call_table(out, Call::Write(Box::new(write)));
        }
    }

    fn call_table(&mut self, out: &mut Outside, call: Call) -> u64 {
        out.audit.count(self.id, Rate::Calls, out.now);
        self.call(out, Part::Leases, call)
    }
}
