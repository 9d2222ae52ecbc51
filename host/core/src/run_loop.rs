//! The run loop of one task, as a pure machine: which envelopes the guest sees next, what a failed call means, when
//! positions are committed, and how sources move from one instance to another. The shell (one thread that owns the
//! instances and the outputs) carries out each action and answers with an event. It must not know Wasmtime, Kinesis,
//! DynamoDB, nor why there is more than one instance.
//!
//! Invariants it holds: envelopes of a shard are called in order and none is skipped; a commit is *flush, then
//! checkpoint*, and a checkpoint never passes an envelope that is not processed; SHARD_END is asked for only when the
//! shard is processed to its end; after a trap everything that the instance did since the last commit is read again;
//! a source that moves is read again only if the instance that it leaves is dead; what the host fails to do is never an
//! attempt at an envelope and never ends the job.
//!
//! Times are milliseconds on a monotonic clock.

mod commit;
mod instances;
mod message;
mod routing;
mod source;

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use crate::envelope::Batch;
use crate::leases::Epoch;
use crate::position::Checkpoint;
use crate::time::Millis;

use commit::Commit;
use instances::Instances;
use routing::Routes;
use source::Source;

pub use message::{
    Action, CallFailure, Event, Failure, FailureClass, Generation, InstanceId, RebuildFailure, Retry, Returned,
    Settings, SourceId,
};

#[derive(Debug)]
enum Busy {
    Call {
        instance: InstanceId,
        source: SourceId,
        generation: Generation,
        batch: Arc<Batch>,
        range: Range<usize>,
    },
    Rebuild(InstanceId),
    BeforeStop(InstanceId),
    /// Of a commit.
    Flush,
    /// Of a move, while checkpoints of the last commit are still on their way: what each source had processed.
    FlushForMove(Vec<(SourceId, Epoch, Checkpoint)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// `before-stop` is still to come.
    Stopping,
    /// The last commit is on its way.
    Draining,
    Finished,
}

/// The machine; see the module documentation.
pub struct RunLoop {
    settings: Settings,
    phase: Phase,
    busy: Option<Busy>,
    sources: BTreeMap<SourceId, Source>,
    instances: Instances,
    routes: Routes,
    paused: bool,
    /// The source that was called last; the next one in order has its turn.
    last_called: SourceId,
    generations: Generation,
    commit: Commit,
    failure: Option<Failure>,
    actions: Vec<Action>,
}

impl RunLoop {
    #[must_use]
    pub fn new(now: Millis, settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Running,
            busy: None,
            sources: BTreeMap::new(),
            instances: Instances::default(),
            routes: Routes::default(),
            paused: false,
            last_called: 0,
            generations: 0,
            commit: Commit::new(now, settings.commit_interval),
            failure: None,
            actions: Vec::new(),
        }
    }

    /// Takes in one event and returns what to do now, in order.
    pub fn on(&mut self, now: Millis, event: Event) -> Vec<Action> {
        match event {
            Event::Tick => {}
            Event::Added { instance } => self.instances.add(instance),
            Event::Assigned { source, epoch, checkpoint, instance } => {
                self.assigned(source, epoch, checkpoint, instance);
            }
            Event::Revoked { source, epoch } => self.revoked(source, epoch),
            Event::Batch { source, generation, batch } => {
                if let Some(source) = self.current(source, generation) {
                    source.push(batch);
                }
            }
            Event::End { source, generation, children } => {
                if let Some(source) = self.current(source, generation) {
                    source.end = Some(children);
                }
            }
            Event::Route { moves, retire } => self.route(moves, &retire),
            Event::GiveUp { instance } => {
                if let Some(failure) = self.instances.failure(instance) {
                    self.fail(failure);
                }
            }
            Event::Pause => self.paused = true,
            Event::Resume => self.paused = false,
            Event::Returned(returned) => self.returned(now, returned),
            Event::Rebuilt(result) => self.rebuilt(now, result),
            Event::BeforeStopReturned { trapped } => self.said_goodbye(trapped),
            Event::Flushed(result) => self.flushed(now, result),
            Event::Checkpointed { source, epoch } => self.commit.answered(source, epoch),
            Event::Sealed { source, epoch } => self.sources.retain(|id, s| *id != source || s.epoch != epoch),
            Event::Stop => {
                if self.phase == Phase::Running {
                    self.phase = Phase::Stopping;
                }
            }
        }
        self.advance(now);
        if self.phase != Phase::Finished {
            self.settle_waits();
        }
        std::mem::take(&mut self.actions)
    }

    /// When the next [`Event::Tick`] is due; `Millis::MAX` while another event must come first.
    #[must_use]
    pub fn wake_at(&self) -> Millis {
        if self.busy.is_some() || self.phase != Phase::Running {
            return Millis::MAX;
        }
        let callable = self.sources.values().filter(|source| !self.paused && self.instances.is_ready(source.instance));
        let retries = callable.filter_map(Source::retry_at).min();
        let rebuilds = self.rebuilds().map(|(_, at)| at).min();
        retries.into_iter().chain(rebuilds).min().unwrap_or(Millis::MAX).min(self.commit.due_at())
    }

    /// The sources that an instance processes.
    pub fn sources_of(&self, instance: InstanceId) -> impl Iterator<Item = SourceId> {
        self.sources.iter().filter(move |(_, source)| source.instance == instance).map(|(&id, _)| id)
    }

    fn current(&mut self, source: SourceId, generation: Generation) -> Option<&mut Source> {
        self.sources.get_mut(&source).filter(|source| source.reads(generation))
    }

    fn assigned(&mut self, source: SourceId, epoch: Epoch, checkpoint: Checkpoint, instance: InstanceId) {
        if self.phase != Phase::Running {
            return;
        }
        self.sources.insert(source, Source::new(epoch, instance, checkpoint));
        self.read(source);
    }

    /// Begins to read a source, if its instance lives and it stays there; a rebuild or a move ends with reading what
    /// waits for it.
    fn read(&mut self, id: SourceId) {
        let Some(source) = self.sources.get_mut(&id).filter(|source| source.moving_to.is_none()) else {
            return;
        };
        if self.phase != Phase::Running || !self.instances.is_alive(source.instance) {
            return;
        }
        self.generations += 1;
        let generation = self.generations;
        let from = source.read(generation);
        self.actions.push(Action::Read { source: id, generation, from });
    }

    fn revoked(&mut self, source: SourceId, epoch: Epoch) {
        self.sources.retain(|id, s| *id != source || s.epoch != epoch);
        self.commit.answered(source, epoch);
    }

    /// Starts the next thing, when nothing is under way.
    fn advance(&mut self, now: Millis) {
        if self.busy.is_some() {
            return;
        }
        match self.phase {
            Phase::Running => {
                self.advance_routes(now);
                if self.busy.is_none() {
                    self.rebuild_next(now);
                }
                if self.busy.is_none() && (self.commit.is_due(now) || self.sources.values().any(Source::wants_end)) {
                    self.start_commit(now);
                }
                if self.busy.is_none() && !self.paused {
                    self.call_next(now);
                }
            }
            Phase::Stopping => match self.instances.first_alive() {
                Some(instance) => self.act(Busy::BeforeStop(instance), Action::BeforeStop { instance }),
                None => {
                    self.phase = Phase::Draining;
                    self.commit.request();
                    self.drain(now);
                }
            },
            Phase::Draining => self.drain(now),
            Phase::Finished => {}
        }
    }

    fn drain(&mut self, now: Millis) {
        self.start_commit(now);
        if self.busy.is_none() && self.commit.is_idle() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.phase = Phase::Finished;
        self.actions.push(Action::Finished(self.failure.take().map_or(Ok(()), Err)));
    }

    fn act(&mut self, busy: Busy, action: Action) {
        self.busy = Some(busy);
        self.actions.push(action);
    }

    /// Begins a commit if one is wanted, none is under way, and there is something to commit.
    fn start_commit(&mut self, now: Millis) {
        if self.commit.start(now, &self.sources) {
            self.act(Busy::Flush, Action::Flush);
        }
    }

    fn flushed(&mut self, now: Millis, result: Result<(), String>) {
        let busy = self.busy.take();
        if let Err(reason) = result {
            self.failure.get_or_insert(Failure::Flush(reason));
            return self.finish();
        }
        if let Some(Busy::FlushForMove(processed)) = busy {
            for (source, epoch, position) in processed {
                if let Some(state) = self.sources.get_mut(&source).filter(|state| state.epoch == epoch) {
                    state.flushed(position);
                }
            }
            // The checkpoints follow as soon as those before them are answered.
            self.commit.request();
        } else {
            self.committed(now);
        }
        self.switch();
    }

    /// The flush of a commit has succeeded: asks for the checkpoints.
    fn committed(&mut self, now: Millis) {
        for (source, epoch, checkpoint) in self.commit.flushed(now) {
            let Some(state) = self.sources.get_mut(&source).filter(|state| state.epoch == epoch) else {
                self.commit.answered(source, epoch);
                continue;
            };
            if let Some(checkpoint) = checkpoint {
                state.committed = checkpoint.clone();
                state.flushed(checkpoint.clone());
                self.actions.push(Action::Checkpoint { source, epoch, checkpoint });
            }
            if let Some(children) = state.take_end() {
                self.actions.push(Action::EndShard { source, epoch, children });
            }
        }
    }

    /// Calls the next source in turn that has envelopes and is not waiting for a retry.
    fn call_next(&mut self, now: Millis) {
        let can_be_called = |source: &Source| self.instances.is_ready(source.instance) && source.has_call(now);
        let after = (Bound::Excluded(self.last_called), Bound::Unbounded);
        let mut in_turn = self.sources.range(after).chain(self.sources.range(..=self.last_called));
        let Some((&id, _)) = in_turn.find(|(_, source)| can_be_called(source)) else {
            return;
        };
        let Some(source) = self.sources.get_mut(&id) else {
            return;
        };
        let Some((batch, range)) = source.next_call(&self.settings) else {
            return;
        };
        let (instance, generation, attempt) = (source.instance, source.generation, source.attempt());
        self.last_called = id;
        let busy = Busy::Call { instance, source: id, generation, batch: batch.clone(), range: range.clone() };
        self.act(busy, Action::Call { instance, source: id, batch, range, attempt });
    }

    fn returned(&mut self, now: Millis, mut returned: Returned) {
        let Some(Busy::Call { instance, source: id, generation, batch, range }) = self.busy.take() else {
            return;
        };
        if returned.commit {
            self.commit.request();
        }
        if let Some(reason) = returned.shutdown.take() {
            self.actions.push(Action::Shutdown(reason));
        }
        let host_failed = returned.error.take_if(|cause| cause.class == FailureClass::Host);
        let trapped = matches!(&returned.error, Some(cause) if cause.class.ends_instance());
        let got_on = returned.processed > 0 && host_failed.is_none();
        if got_on {
            self.got_on(instance);
        }
        // Absent when the lease was lost during the call: what it did counts for nobody.
        if let Some(source) = self.current(id, generation) {
            if host_failed.is_some() {
                source.host_failed(returned.processed, range.len());
            } else if got_on {
                source.got_on();
            }
            self.count(now, instance, id, &batch, range, returned);
        }
        if trapped {
            self.died(instance);
        }
        if let Some(cause) = host_failed {
            self.died(instance);
            self.host_failed(now, instance, cause.message);
        }
    }

    /// Takes in what a call did to its source.
    fn count(
        &mut self,
        now: Millis,
        instance: InstanceId,
        id: SourceId,
        batch: &Batch,
        range: Range<usize>,
        returned: Returned,
    ) {
        let retry = self.settings.retry;
        let Some(source) = self.sources.get_mut(&id) else {
            return;
        };
        // An error after the last envelope is the last envelope's: something has to be tried again.
        let most = range.len() - usize::from(returned.error.is_some());
        let progress = source.advance(returned.processed.min(most));
        if let Some((bytes, records)) = progress.through {
            let generation = source.generation;
            self.actions.push(Action::Processed { source: id, generation, bytes, records });
        }
        if progress.trap_is_over {
            // So that whatever traps next does not replay it: a task that traps now and then must get on.
            self.commit.request();
        }
        let Some(cause) = returned.error else {
            return;
        };
        let rest = range.start + returned.processed.min(most)..range.end;
        let named = returned.failed_at.map(|index| range.start + index);
        let failed_at = named.filter(|at| rest.contains(at));
        if let Some(attempts) = source.failed(now, &retry, batch, rest.clone(), failed_at, &cause) {
            let first = batch.position(failed_at.unwrap_or(rest.start));
            let last = if failed_at.is_some() { first.clone() } else { batch.position(rest.end - 1) };
            self.give_up(instance, Failure::Envelopes { source: id, first, last, attempts, cause });
        }
    }

    /// The job cannot go on. What living instances processed is still committed; a dead one took its memory with it, so
    /// the next start replays from the last commit.
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
        if self.phase == Phase::Running {
            self.phase = Phase::Stopping;
        }
    }
}

/// The wait before the next attempt: doubling, bounded.
fn backoff(retry: &Retry, attempts: u32) -> Millis {
    retry.backoff.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(retry.backoff_max)
}

#[cfg(test)]
mod tests;
