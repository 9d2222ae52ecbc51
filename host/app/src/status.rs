//! What a running job shows of itself: counters and the state of its shards. Written once per batch, read by whoever
//! wants to know.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shardmill_core::kinesis::aggregate;
use shardmill_core::module::ModuleId;
use shardmill_core::rollout::{Deployment, Health};
use shardmill_core::run_loop::{Generation, InstanceId, SourceId};
use shardmill_core::time::Millis;
use shardmill_runtime::LimitHits;

use crate::failures::Subject;
use crate::kinesis::lease_worker::{Standing, summary};

/// Pauses of swaps that are kept.
const PAUSES_MAX: usize = 1_000;

/// A running job's state, shared between its parts.
#[derive(Debug, Default)]
pub struct Status(Mutex<Snapshot>);

/// The state at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Envelopes processed (again after a replay).
    pub processed: u64,
    /// Messages sent by successful calls.
    pub sent: u64,
    /// Calls that failed.
    pub failed_calls: u64,
    /// Calls that ended an instance: traps, time-outs and memory that ran out.
    pub traps: u64,
    /// When the first record came in.
    pub first_record_at: Option<Millis>,
    /// How far the inputs are read, by their index; absent before anything is known.
    pub inputs: BTreeMap<usize, Input>,
    /// Inputs (by index) whose worker identifier another process uses: when that was first seen, and how so.
    pub duplicates: BTreeMap<usize, (Millis, String)>,
    pub shards: BTreeMap<SourceId, Shard>,
    /// Calls that fail, for as long as they do.
    pub outages: BTreeMap<Subject, Outage>,
    /// How often the task ran into its limits; goes on counting.
    pub limits: Arc<LimitHits>,
    /// How each live instance does.
    pub health: BTreeMap<InstanceId, Health>,
    /// Why instances wait: the host cannot do its part now.
    pub waits: BTreeMap<InstanceId, String>,
    pub swaps: Swaps,
    pub rollout: Rollout,
}

/// An input as its lease worker sees it.
#[derive(Clone, Debug)]
pub struct Input {
    /// `system.stream`.
    pub name: String,
    pub standing: Standing,
}

/// A service that does not answer as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When it was first worth a word, in milliseconds since 1970.
    pub since: Millis,
    /// What the last call that was worth a word failed with.
    pub error: String,
}

impl Outage {
    pub(crate) fn new(since: Millis) -> Self {
        Self { since, error: String::new() }
    }
}

/// Where the rollout of versions stands.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    /// What holds, as it is written down; none before the job has begun.
    pub deployment: Option<Deployment>,
    /// A version whose first instance is being built.
    pub starting: Option<ModuleId>,
    /// What became of the last version, for people: a wave, a take-over, a roll-back with its reason.
    pub last: Option<String>,
    /// Versions that were rolled back since the job began.
    pub rolled_back: u64,
    /// Why it is not known what other hosts of the job run.
    pub problem: Option<String>,
    /// No call is made until the job is resumed.
    pub paused: bool,
}

/// Moves of shards from one instance to another.
#[derive(Clone, Debug, Default)]
pub struct Swaps {
    /// Since the job began.
    pub count: u64,
    /// How long no envelope could be processed, of the last moves: from the end of the call in flight on.
    pub pauses: VecDeque<Duration>,
}

impl Swaps {
    pub(crate) fn add(&mut self, pause: Duration) {
        self.count += 1;
        self.pauses.push_back(pause);
        let over = self.pauses.len().saturating_sub(PAUSES_MAX);
        self.pauses.drain(..over);
    }
}

/// One shard that is, or was, read by this process.
#[derive(Clone, Debug, Default)]
pub struct Shard {
    pub stream: String,
    pub shard: String,
    /// The reading that the following is about; none until one begins.
    pub reading: Option<Generation>,
    /// Delivered to the run loop and not processed yet.
    pub waiting: u64,
    /// As the last answer said, in milliseconds.
    pub behind: Option<u64>,
    /// What was found in aggregated records since the reading began.
    pub aggregation: aggregate::Report,
    pub finished: bool,
    /// The version that processes it; none while that is being built.
    pub module: Option<ModuleId>,
}

impl Shard {
    fn unread(&self, reading: Option<Generation>) -> Self {
        let Self { stream, shard, finished, module, .. } = self.clone();
        Self { stream, shard, finished, module, reading, ..Self::default() }
    }
}

impl Status {
    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.lock());
    }

    /// Changes a shard's state, unless it is not read any more: who still works for a lost lease changes nothing.
    pub fn update_shard(&self, source: SourceId, change: impl FnOnce(&mut Shard)) {
        if let Some(shard) = self.lock().shards.get_mut(&source) {
            change(shard);
        }
    }

    /// A reading begins; nothing is known of it yet.
    pub fn begin_reading(&self, source: SourceId, generation: Generation) {
        self.update_shard(source, |shard| *shard = shard.unread(Some(generation)));
    }

    /// Changes what is known of a reading, unless it is over: what an old one still reports is about nothing.
    pub fn update_reading(&self, source: SourceId, generation: Generation, change: impl FnOnce(&mut Shard)) {
        self.update_shard(source, |shard| {
            if shard.reading == Some(generation) {
                change(shard);
            }
        });
    }

    /// The readings of these sources are over, and others are to come.
    pub fn end_readings(&self, sources: impl Iterator<Item = SourceId>) {
        let mut status = self.lock();
        for source in sources {
            if let Some(shard) = status.shards.get_mut(&source) {
                *shard = shard.unread(None);
            }
        }
    }

    /// An instance waits because the host cannot do its part, for this reason, or does not wait any more.
    pub fn waits(&self, instance: InstanceId, reason: Option<String>) {
        let mut status = self.lock();
        match reason {
            Some(reason) => drop(status.waits.insert(instance, reason)),
            None => drop(status.waits.remove(&instance)),
        }
    }

    /// Envelopes processed so far.
    #[must_use]
    pub fn processed(&self) -> u64 {
        self.lock().processed
    }

    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// Whether everything that was in the streams of `inputs` inputs is read and processed.
    #[must_use]
    pub fn is_caught_up(&self, inputs: usize) -> bool {
        self.inputs.len() == inputs
            && self.inputs.values().all(|input| input.standing.is_settled)
            && self.is_processed()
    }

    /// Why it never will be, though everything that this worker may read is read and processed: there are shards that
    /// nobody reads. `None` when there is something left to do.
    #[must_use]
    pub fn left_unread(&self, inputs: usize) -> Option<String> {
        let is_through = |input: &Input| input.standing.is_settled || input.standing.is_settled_but_unread;
        if self.inputs.len() < inputs || !self.inputs.values().all(is_through) || !self.is_processed() {
            return None;
        }
        let unread: Vec<String> = self.inputs.values().filter_map(Input::unread).collect();
        (!unread.is_empty()).then(|| unread.join("; "))
    }

    fn is_processed(&self) -> bool {
        self.shards.values().all(|shard| shard.finished || (shard.waiting == 0 && shard.behind == Some(0)))
    }
}

impl Input {
    /// The shards that nobody reads, in words.
    pub(crate) fn unread(&self) -> Option<String> {
        Some(format!("input {}: {}", self.name, summary(&self.standing.unread)?))
    }
}
