//! What must hold in every history, checked when it happens. Sees what a service carries out and what a task does, never
//! the inside of a machine. The first thing that is wrong ends the history.

mod deleted;
mod records;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use shardmill_core::kinesis::shard::ShardId;
use shardmill_core::leases::Epoch;
use shardmill_core::position::Checkpoint;
use shardmill_core::run_loop::{Generation, SourceId};
use shardmill_core::time::Millis;

use crate::table::LeaseTable;

use deleted::Deleted;

pub(crate) use records::{Poison, RecordId, Truth};

/// Calls of one worker to the lease table within a second: far more than it needs, far fewer than a loop makes.
const CALLS_A_SECOND_MAX: u64 = 40;
/// More of them while shards end: taking a shard, and at its end its children, their names, the seal and the release.
const CALLS_A_SHARD_MAX: u64 = 12;
const STEPS_A_SECOND_MAX: u64 = 80;
/// GetRecords calls of one reader within a second.
const READS_A_SECOND_MAX: u64 = 6;

/// One life of a worker.
pub(crate) type Life = usize;

/// A shard in the hands of a task: what it has done with it under one lease.
struct Holding {
    shard: usize,
    epoch: Epoch,
    generation: Generation,
    /// The records before this one are processed by the living instance, or were committed before.
    next: usize,
    /// What the lease worker said is written.
    written: usize,
}

/// What is counted against a bound by second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rate {
    Steps,
    Calls,
    Reads(u64),
}

#[derive(Default)]
pub(crate) struct Audit {
    pub(crate) truth: Truth,
    violation: Option<String>,
    /// Who took each row last.
    holders: BTreeMap<ShardId, Life>,
    /// Shards whose rows were deleted.
    finished: BTreeSet<ShardId>,
    /// Rows that somebody deleted by hand.
    deleted: Deleted,
    holdings: BTreeMap<(Life, SourceId), Holding>,
    /// Holdings that a job was told are over, whether its task knows or not.
    let_go: BTreeSet<(Life, SourceId, Epoch)>,
    /// The last record of each key that was processed for the first time.
    keys: HashMap<usize, RecordId>,
    rates: BTreeMap<(Life, Rate), (Millis, u64)>,
    /// How often a record was processed again.
    pub(crate) repeats: u64,
    pub(crate) checkpoints: u64,
}

impl Audit {
    pub(crate) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    pub(crate) fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    pub(crate) fn count(&mut self, life: Life, rate: Rate, now: Millis) {
        let (second, count) = self.rates.entry((life, rate)).or_default();
        if *second != now / 1_000 {
            (*second, *count) = (now / 1_000, 0);
        }
        *count += 1;
        let count = *count;
        let (most, what) = match rate {
            Rate::Steps => (STEPS_A_SECOND_MAX, "timer steps"),
            Rate::Calls => {
                (CALLS_A_SECOND_MAX + CALLS_A_SHARD_MAX * self.truth.shards.len() as u64, "calls to the lease table")
            }
            Rate::Reads(_) => (READS_A_SECOND_MAX, "reads of a shard"),
        };
        self.require(count <= most, || format!("more than {most} {what} of life {life} in a second"));
    }

    /// A worker is told to start a shard.
    pub(crate) fn started(&mut self, table: &LeaseTable, life: Life, key: &str, checkpoint: &Checkpoint) {
        let Some(row) = table.rows.get(key) else {
            // Another worker finished the shard, and the leader its row, while this one was paused.
            let finished = self.finished.contains(key) || self.was_deleted(key);
            return self.require(finished, || format!("life {life} starts {key}, which has no row"));
        };
        let (parents, committed) = (row.parents.clone(), row.checkpoint.clone());
        self.require(*checkpoint <= committed, || {
            format!("{key} starts at {checkpoint}, but {committed} is committed")
        });
        self.require(*checkpoint != Checkpoint::ShardEnd, || format!("{key} starts, but is done"));
        let is_excused = self.is_order_excused();
        for parent in parents.iter().filter(|id| table.rows.contains_key(*id) && !is_excused) {
            self.require(table.is_at_end(parent), || format!("{key} starts before its parent {parent} is done"));
        }
    }

    /// A task is given a shard.
    pub(crate) fn assigned(&mut self, life: Life, source: SourceId, shard: &str, epoch: Epoch, from: &Checkpoint) {
        let shard = self.truth.index(shard);
        let next = self.truth.covered(shard, from);
        let holding = Holding { shard, epoch, generation: 0, next, written: next };
        self.holdings.insert((life, source), holding);
    }

    /// A job is told that it lost a shard, or that it is sealed.
    pub(crate) fn let_go(&mut self, life: Life, source: SourceId, epoch: Epoch) {
        self.let_go.insert((life, source, epoch));
    }

    /// A shard is taken from a task, or sealed.
    pub(crate) fn released(&mut self, life: Life, source: SourceId, epoch: Epoch) {
        if self.holdings.get(&(life, source)).is_some_and(|holding| holding.epoch == epoch) {
            self.holdings.remove(&(life, source));
        }
    }

    /// A lease worker said that a position is written.
    pub(crate) fn written(&mut self, life: Life, key: &str, epoch: Epoch, checkpoint: &Checkpoint) {
        let shard = self.truth.index(key);
        let covered = self.truth.covered(shard, checkpoint);
        let mut holdings = self.holdings.iter_mut().filter(|((of, _), _)| *of == life).map(|(_, holding)| holding);
        if let Some(holding) = holdings.find(|holding| (holding.shard, holding.epoch) == (shard, epoch)) {
            holding.written = holding.written.max(covered);
        }
    }

    /// A run loop wants a shard read.
    pub(crate) fn reading(&mut self, life: Life, source: SourceId, generation: Generation, from: &Checkpoint) {
        let Some(holding) = self.holdings.get_mut(&(life, source)) else { return };
        let next = self.truth.covered(holding.shard, from);
        let written = holding.written;
        let is_newer = generation > holding.generation;
        (holding.generation, holding.next) = (generation, next);
        self.require(is_newer, || format!("life {life} reads under generation {generation} again"));
        self.require(next >= written, || format!("life {life} reads {from} again after {written} were committed"));
    }

    /// A task is called for these records.
    pub(crate) fn called(&mut self, now: Millis, life: Life, source: SourceId, records: &[RecordId]) {
        let Some(holding) = self.holdings.get(&(life, source)) else { return };
        let (shard, mut next) = (holding.shard, holding.next);
        let first = self.truth.records[records[0]].index;
        if first > next && self.truth.is_excused(now, shard, first) {
            next = first;
        }
        let Truth { shards, records: all, .. } = &self.truth;
        let in_order = records.iter().zip(next..).all(|(&id, index)| all[id].shard == shard && all[id].index == index);
        let got: Vec<usize> = records.iter().take(5).map(|&id| all[id].index).collect();
        let key = shards[shard].id.clone();
        self.require(in_order, || format!("life {life} is called for records {got:?} of {key}, expected {next}"));
        if let Some(holding) = self.holdings.get_mut(&(life, source)) {
            holding.next = next;
        }
    }

    /// A task is done with these records; their outputs wait to be made durable.
    pub(crate) fn processed(&mut self, now: Millis, life: Life, source: SourceId, records: &[RecordId]) {
        if records.is_empty() {
            return;
        }
        if let Some(holding) = self.holdings.get_mut(&(life, source)) {
            holding.next += records.len();
        }
        for &id in records {
            let (shard, index, key) =
                (self.truth.records[id].shard, self.truth.records[id].index, self.truth.records[id].key);
            let seen = self.truth.shards[shard].seen;
            if index < seen {
                self.repeats += 1;
                continue;
            }
            let excused = index == seen || self.truth.is_excused(now, shard, index);
            self.require(excused, || format!("record {id}: {index} of shard {shard} is processed, but not {seen}"));
            self.truth.shards[shard].seen = index + 1;
            if self.truth.is_excused(now, shard, index + 1) {
                continue;
            }
            let before = self.keys.insert(key, id).filter(|_| !self.is_order_excused());
            self.require(before.is_none_or(|before| before < id), || {
                format!("record {id} of key {key} in shard {shard} is processed after {before:?}")
            });
            if index == seen {
                self.parents_first(now, shard);
            }
        }
    }

    fn parents_first(&mut self, now: Millis, shard: usize) {
        if self.is_order_excused() {
            return;
        }
        for parent in self.truth.shards[shard].parents.clone() {
            let through = self.truth.is_through(now, parent);
            let (child, parent) = (self.truth.shards[shard].id.clone(), self.truth.shards[parent].id.clone());
            self.require(through, || format!("{child} is processed before all of its parent {parent}"));
        }
    }

    /// The instance that processed these shards died: what it did since the last commit does not count.
    pub(crate) fn trapped(&mut self, life: Life, sources: &[SourceId]) {
        for &source in sources {
            if let Some(holding) = self.holdings.get_mut(&(life, source)) {
                holding.next = holding.written;
            }
        }
    }

    /// Outputs of these records are durable.
    pub(crate) fn durable(&mut self, now: Millis, records: &[RecordId]) {
        for &id in records {
            let (shard, index) = (self.truth.records[id].shard, self.truth.records[id].index);
            let durable = self.truth.shards[shard].durable;
            let follows = index <= durable || self.truth.is_excused(now, shard, index);
            self.require(follows, || format!("{index} of shard {shard} is durable, but not {durable}"));
            self.truth.shards[shard].durable = durable.max(index + 1);
        }
    }

    /// A life ended in good order: everything is committed and given back, except for what it had lost.
    pub(crate) fn ended_well(&mut self, now: Millis, table: &LeaseTable, life: Life, name: &str) {
        let own = self.holdings.extract_if(.., |(of, _), _| *of == life);
        let kept = own.filter(|((_, source), holding)| !self.let_go.contains(&(life, *source, holding.epoch)));
        for (_, Holding { shard, next, .. }) in kept.collect::<Vec<_>>() {
            let key = self.truth.shards[shard].id.clone();
            let Some(row) = table.rows.get(&key) else { continue };
            let (covered, owner) = (self.truth.covered(shard, &row.checkpoint), row.owner.clone());
            // A row that was deleted by hand begins where others saw it last, and nobody may have told its holder.
            let is_excused = self.truth.is_excused(now, shard, next) || self.was_deleted(&key);
            let is_committed = covered >= next || is_excused;
            self.require(is_committed, || format!("{name} stopped and committed {covered} of {next} of {key}"));
            self.require(owner.as_deref() != Some(name), || format!("{name} stopped and left {key} behind"));
        }
    }

    pub(crate) fn ended(&mut self, life: Life) {
        self.holdings.retain(|(of, _), _| *of != life);
    }

    /// With LATEST, what was closed before anybody cared for it need not be read.
    pub(crate) fn forget_the_unread(&mut self, table: &LeaseTable) {
        for shard in 0..self.truth.shards.len() {
            let id = &self.truth.shards[shard].id;
            let is_known = table.rows.contains_key(id) || self.finished.contains(id) || self.was_deleted(id);
            if !self.truth.shards[shard].open && !is_known {
                self.truth.begins_after(shard);
            }
        }
    }

    /// What is still to be done, if anything.
    pub(crate) fn unfinished(&self, now: Millis, table: &LeaseTable) -> Option<String> {
        for (index, shard) in self.truth.shards.iter().enumerate() {
            let through = self.truth.is_through(now, index);
            let row = table.rows.get(&shard.id);
            let committed = match row {
                Some(row) if shard.open => {
                    let covered = self.truth.covered(index, &row.checkpoint);
                    covered == shard.records.len() || self.truth.is_excused(now, index, shard.records.len())
                }
                Some(_) => table.is_at_end(&shard.id),
                None => {
                    let is_done = self.finished.contains(&shard.id) || (!shard.open && self.was_deleted(&shard.id));
                    is_done || self.truth.is_excused(now, index, shard.records.len())
                }
            };
            if !through || !committed {
                let (records, durable) = (shard.records.len(), shard.durable);
                return Some(format!("{}: {durable} of {records} records are durable, row {row:?}", shard.id));
            }
        }
        None
    }
}
