//! A worker driven by hand: its calls wait until the test answers them, what it tells is collected.

use std::collections::{BTreeMap, VecDeque};

use super::model::Services;
use crate::kinesis::shard::{ChildShard, ShardId};
use crate::leases::{Action, Epoch, Event, Settings, Worker, Write};
use crate::position::Checkpoint;
use crate::service::{ErrorKind, ServiceError};
use crate::time::Millis;

/// More calls at one instant than any test needs: a loop without a wait.
const CALLS_MAX: usize = 500;

pub(super) struct Solo {
    pub(super) worker: Worker,
    pub(super) now: Millis,
    /// Calls that are not answered yet, oldest first.
    pub(super) calls: VecDeque<Action>,
    pub(super) told: Vec<Action>,
    /// The last epoch under which each shard was started.
    pub(super) epochs: BTreeMap<ShardId, Epoch>,
}

pub(super) fn error(kind: ErrorKind) -> ServiceError {
    ServiceError { kind, operation: "UpdateItem", message: kind.to_string() }
}

pub(super) fn is_scan(call: &Action) -> bool {
    matches!(call, Action::Scan | Action::ScanConsistently)
}

/// The answer to a call that failed.
pub(super) fn failed(call: Action, kind: ErrorKind) -> Event {
    match call {
        call if is_scan(&call) => Event::Scanned(Err(error(kind))),
        Action::List(_) => Event::Listed(Err(error(kind))),
        Action::Write(write) => Event::Written { write, result: Err(error(kind)) },
        told => panic!("{told:?} is not a call"),
    }
}

impl Solo {
    pub(super) fn new(settings: Settings, now: Millis) -> Self {
        let worker = Worker::new(settings);
        let mut solo = Self { worker, now, calls: VecDeque::new(), told: Vec::new(), epochs: BTreeMap::new() };
        solo.event(Event::Tick);
        solo
    }

    /// A worker that holds all it can get, at `now`.
    pub(super) fn running(settings: Settings, now: Millis, services: &mut Services) -> Self {
        let mut solo = Self::new(settings, now);
        solo.settle(services);
        solo
    }

    pub(super) fn event(&mut self, event: Event) {
        for action in self.worker.on(self.now, event) {
            match action {
                Action::Scan | Action::ScanConsistently | Action::List(_) | Action::Write(_) => {
                    self.calls.push_back(action)
                }
                told => {
                    if let Action::Start { key, epoch, .. } = &told {
                        self.epochs.insert(key.clone(), *epoch);
                    }
                    self.told.push(told);
                }
            }
        }
    }

    /// Answers the oldest call.
    pub(super) fn answer(&mut self, services: &mut Services) {
        let call = self.calls.pop_front().expect("a call to answer");
        self.event(services.serve(&call));
    }

    /// Answers every call, also those that answers lead to, at this instant.
    pub(super) fn settle(&mut self, services: &mut Services) {
        self.settle_unless(services, |_| None);
    }

    /// Likewise, but a call for which `fault` names a kind fails before it happens.
    pub(super) fn settle_unless(&mut self, services: &mut Services, fault: impl Fn(&Action) -> Option<ErrorKind>) {
        for _ in 0..CALLS_MAX {
            let Some(call) = self.calls.pop_front() else { return };
            match fault(&call) {
                Some(kind) => self.event(failed(call, kind)),
                None => self.event(services.serve(&call)),
            }
        }
        panic!("{CALLS_MAX} calls without a wait; the next is {:?}", self.calls.front());
    }

    /// Takes a waiting call out, whose answer the test gives itself.
    pub(super) fn call(&mut self, wanted: impl Fn(&Action) -> bool) -> Action {
        let index = self.calls.iter().position(wanted);
        let index = index.unwrap_or_else(|| panic!("no such call in {:?}", self.calls));
        self.calls.remove(index).unwrap()
    }

    /// Carries a write out, but its answer gets lost.
    pub(super) fn lose_reply(&mut self, services: &mut Services, wanted: impl Fn(&Write) -> bool) {
        let call = self.call(|call| matches!(call, Action::Write(write) if wanted(write)));
        services.serve(&call);
        self.event(failed(call, ErrorKind::Unavailable));
    }

    /// Lets time pass up to `until`, ticking when the machine asks for it and answering everything at once.
    pub(super) fn run_until(&mut self, until: Millis, services: &mut Services) {
        self.settle(services);
        while self.worker.wake_at() <= until {
            assert!(self.worker.wake_at() > self.now, "asks to be woken at once, for ever, at {}", self.now);
            self.now = self.worker.wake_at();
            self.event(Event::Tick);
            self.settle(services);
        }
        self.now = until;
    }

    /// Time passes without the worker noticing: a pause of the process.
    pub(super) fn sleep_until(&mut self, until: Millis) {
        self.now = until;
    }

    pub(super) fn take_told(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.told)
    }

    /// The shards told to start since the last look, with their checkpoints, sorted.
    pub(super) fn starts(&mut self) -> Vec<(ShardId, Checkpoint)> {
        let starts = self.take_told().into_iter().filter_map(|action| match action {
            Action::Start { key, checkpoint, .. } => Some((key, checkpoint)),
            _ => None,
        });
        let mut starts: Vec<(ShardId, Checkpoint)> = starts.collect();
        starts.sort();
        starts
    }

    pub(super) fn start_keys(&mut self) -> Vec<ShardId> {
        self.starts().into_iter().map(|(key, _)| key).collect()
    }

    pub(super) fn checkpoint(&mut self, key: &str, checkpoint: Checkpoint) {
        self.event(Event::Checkpoint { key: key.to_owned(), epoch: self.epochs[key], checkpoint });
    }

    pub(super) fn end(&mut self, key: &str, children: Vec<ChildShard>) {
        self.event(Event::ShardEnded { key: key.to_owned(), epoch: self.epochs[key], children });
    }

    pub(super) fn held(&self) -> Vec<&str> {
        self.worker.held().map(String::as_str).collect()
    }
}
