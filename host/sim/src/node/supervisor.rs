//! As the host's supervisor of a job: passes messages between the lease worker, the readers and the task thread, and
//! ends the job.

use std::collections::{HashMap, VecDeque};

use shardmill_core::kinesis::shard::{HashRange, ShardId};
use shardmill_core::leases::{self, Epoch};
use shardmill_core::position::{Checkpoint, Latest};
use shardmill_core::run_loop::{self, Event, Generation, SourceId};
use shardmill_core::service::ServiceError;
use shardmill_core::time::Millis;

use super::reading::ShardReader;
use super::task::INSTANCE;
use super::{Life, Node};
use crate::outside::Outside;
use crate::queue::Part;

/// A shard that the guest knows by its index.
struct SourceState {
    shard: ShardId,
    hash_range: Option<HashRange>,
    latest: Latest,
    reading: Option<(Generation, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Finishing,
    Releasing,
}

pub(super) struct Supervisor {
    pub(super) tellings: VecDeque<leases::Action>,
    pub(super) requests: VecDeque<run_loop::Action>,
    pub(super) failed_readers: VecDeque<ServiceError>,
    pub(super) stop: bool,
    sources: Vec<SourceState>,
    by_shard: HashMap<ShardId, SourceId>,
    phase: Phase,
    released: bool,
    failed: bool,
    give_up_at: Millis,
    pub(super) due: Millis,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self {
            tellings: VecDeque::new(),
            requests: VecDeque::new(),
            failed_readers: VecDeque::new(),
            stop: false,
            sources: Vec::new(),
            by_shard: HashMap::new(),
            phase: Phase::Running,
            released: false,
            failed: false,
            give_up_at: Millis::MAX,
            due: Millis::MAX,
        }
    }
}

impl Supervisor {
    pub(super) fn shard(&self, source: SourceId) -> &str {
        &self.sources[source as usize].shard
    }
}

impl Node {
    pub(super) fn step_supervisor(&mut self, out: &mut Outside) {
        self.next_message(out);
        let local = self.clock.local(out.now);
        let supervisor = &mut self.supervisor;
        if supervisor.phase != Phase::Running && supervisor.give_up_at == Millis::MAX {
            supervisor.give_up_at = local + self.settings.patience;
        }
        if supervisor.phase == Phase::Releasing && supervisor.released {
            out.trace.say(out.now, || format!("{} ended", self.name));
            if !supervisor.failed {
                out.audit.ended_well(out.now, &out.table, self.id, &self.name);
            }
            return self.end(out);
        }
        if local >= supervisor.give_up_at {
            out.trace.say(out.now, || format!("{} gave up stopping in time", self.name));
            return self.kill(out);
        }
        let requested = supervisor.phase != Phase::Releasing && !supervisor.requests.is_empty();
        if requested || !supervisor.tellings.is_empty() || !supervisor.failed_readers.is_empty() || supervisor.stop {
            return self.hop(out, Part::Supervisor);
        }
        let give_up_at = supervisor.give_up_at;
        self.wake_at(out, Part::Supervisor, give_up_at);
    }

    /// Takes one message of those that wait.
    fn next_message(&mut self, out: &mut Outside) {
        let supervisor = &mut self.supervisor;
        for _ in 0..8 {
            match out.dice.below(4) {
                0 => {
                    if let Some(told) = supervisor.tellings.pop_front() {
                        return self.told(out, told);
                    }
                }
                1 if supervisor.phase != Phase::Releasing => {
                    if let Some(request) = supervisor.requests.pop_front() {
                        return self.requested(out, request);
                    }
                }
                2 => {
                    if let Some(error) = supervisor.failed_readers.pop_front() {
                        out.audit.require(false, || format!("a reader of {} failed: {error}", self.name));
                        return self.finish(out, true);
                    }
                }
                _ if std::mem::take(&mut supervisor.stop) => return self.finish(out, false),
                _ => {}
            }
        }
    }

    fn told(&mut self, out: &mut Outside, action: leases::Action) {
        use leases::Action as Told;
        match action {
            Told::Start { key, epoch, checkpoint, hash_range, latest } => {
                let source = self.assign(out, key, epoch, checkpoint);
                let state = &mut self.supervisor.sources[source as usize];
                (state.hash_range, state.latest) = (hash_range, latest);
            }
            Told::Revoke { key, epoch, .. } => {
                if let Some(source) = self.stop_reading(&key) {
                    out.audit.let_go(self.id, source, epoch);
                    self.tell_task(out, Event::Revoked { source, epoch });
                }
            }
            Told::Checkpointed { key, epoch, checkpoint, written } => {
                if let Some(&source) = self.supervisor.by_shard.get(&key) {
                    if written {
                        out.audit.written(self.id, source, epoch, &checkpoint);
                    }
                    self.tell_task(out, Event::Checkpointed { source, epoch });
                }
            }
            Told::ShardSealed { key, epoch } => {
                let is_sealed = out.table.rows.get(&key).is_none_or(|_| out.table.is_at_end(&key));
                out.audit.require(is_sealed, || format!("{key} is called sealed"));
                if let Some(source) = self.stop_reading(&key) {
                    out.audit.let_go(self.id, source, epoch);
                    self.tell_task(out, Event::Sealed { source, epoch });
                }
            }
            Told::Fail(reason) => {
                out.audit.require(false, || format!("{} gave up: {reason}", self.name));
                self.finish(out, true);
            }
            Told::Notice(notice) => out.audit.noticed(&self.name, &notice),
            Told::Stopped => self.supervisor.released = true,
            Told::Scan | Told::ScanConsistently | Told::List(_) | Told::Write(_) => {}
        }
    }

    fn assign(&mut self, out: &mut Outside, shard: ShardId, epoch: Epoch, checkpoint: Checkpoint) -> SourceId {
        let Supervisor { sources, by_shard, .. } = &mut self.supervisor;
        let next = SourceId::try_from(sources.len()).expect("a history has few shards");
        let source = *by_shard.entry(shard.clone()).or_insert(next);
        if source == next {
            sources.push(SourceState { shard, hash_range: None, latest: Latest::Next, reading: None });
        }
        self.tell_task(out, Event::Assigned { source, epoch, checkpoint, instance: INSTANCE });
        source
    }

    fn tell_task(&mut self, out: &mut Outside, event: Event) {
        self.task.control.push_back(event);
        self.hop(out, Part::Task);
    }

    fn stop_reading(&mut self, shard: &str) -> Option<SourceId> {
        let source = *self.supervisor.by_shard.get(shard)?;
        if let Some((_, reader)) = self.supervisor.sources[source as usize].reading.take() {
            self.readers.remove(&reader);
        }
        Some(source)
    }

    fn requested(&mut self, out: &mut Outside, request: run_loop::Action) {
        use run_loop::Action as Asked;
        match request {
            Asked::Read { source, generation, from } => self.read(out, source, generation, &from),
            Asked::Processed { source, generation, bytes, records } => {
                let reading = self.supervisor.sources[source as usize].reading;
                if let Some((_, reader)) = reading.filter(|(current, _)| *current == generation) {
                    self.reader_progressed(out, reader, bytes, records);
                }
            }
            Asked::Checkpoint { source, epoch, checkpoint } => {
                self.command(out, source, |key| leases::Event::Checkpoint { key, epoch, checkpoint });
            }
            Asked::EndShard { source, epoch, children } => {
                self.command(out, source, |key| leases::Event::ShardEnded { key, epoch, children });
            }
            Asked::Shutdown(_) => self.finish(out, false),
            Asked::Finished(result) => {
                out.trace.say(out.now, || format!("{} finished: {result:?}", self.name));
                self.supervisor.failed |= result.is_err();
                self.release(out);
            }
            // There is no other version.
            Asked::GaveUp { instance, .. } => self.tell_task(out, Event::GiveUp { instance }),
            Asked::Call { .. }
            | Asked::Rebuild { .. }
            | Asked::Waits { .. }
            | Asked::BeforeStop { .. }
            | Asked::Drop { .. }
            | Asked::Routed
            | Asked::Flush => {}
        }
    }

    fn command(&mut self, out: &mut Outside, source: SourceId, event: impl FnOnce(ShardId) -> leases::Event) {
        let shard = self.supervisor.sources[source as usize].shard.clone();
        self.leases.commands.push_back(event(shard));
        self.hop(out, Part::Leases);
    }

    fn read(&mut self, out: &mut Outside, source: SourceId, generation: Generation, from: &Checkpoint) {
        if self.supervisor.phase != Phase::Running {
            return;
        }
        let state = &mut self.supervisor.sources[source as usize];
        self.readers_started += 1;
        let id = self.readers_started;
        let latest = state.latest.for_reading(self.clock.local(out.now));
        let hash_range = state.hash_range.clone();
        let machine = self.settings.reader(latest, out.dice.below(u64::MAX), from, hash_range);
        let reader = ShardReader::new(machine, state.shard.clone(), source, generation);
        self.readers.insert(id, reader);
        if let Some((_, old)) = state.reading.replace((generation, id)) {
            self.readers.remove(&old);
        }
        self.hop(out, Part::Reader(id));
    }

    /// Stops reading; the run loop finishes what it is at, commits and says so.
    fn finish(&mut self, out: &mut Outside, failed: bool) {
        self.supervisor.failed |= failed;
        if self.supervisor.phase == Phase::Running {
            self.supervisor.phase = Phase::Finishing;
            self.life = Life::Stopping;
            self.readers.clear();
            self.tell_task(out, Event::Stop);
        }
    }

    /// All that can be committed is: give the leases back.
    fn release(&mut self, out: &mut Outside) {
        if self.supervisor.phase != Phase::Releasing {
            self.supervisor.phase = Phase::Releasing;
            self.life = Life::Stopping;
            self.readers.clear();
            self.leases.commands.push_back(leases::Event::Stop);
            self.hop(out, Part::Leases);
        }
    }
}
