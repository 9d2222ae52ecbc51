//! What is really in the stream, and what became of it: the truth that the audit compares with.

use std::collections::HashMap;

use shardmill_core::kinesis::shard::{Shard, ShardId};
use shardmill_core::position::{Checkpoint, Position, SequenceNumber};
use shardmill_core::run_loop::FailureClass;
use shardmill_core::time::Millis;

use crate::kinesis::RETENTION;

/// A user record, numbered in the order in which they were put; its message is this number.
pub(crate) type RecordId = usize;

pub(crate) struct Record {
    pub(crate) shard: usize,
    /// Its place in the shard.
    pub(crate) index: usize,
    pub(crate) key: usize,
    position: Position,
    arrival: Millis,
    pub(crate) poison: Option<Poison>,
}

/// What makes calls with a record fail.
#[derive(Clone, Copy)]
pub(crate) struct Poison {
    pub(crate) class: FailureClass,
    /// Calls that fail by it before it turns out well.
    pub(crate) times: u32,
}

pub(crate) struct ShardTruth {
    pub(crate) id: ShardId,
    pub(crate) parents: Vec<usize>,
    pub(crate) children: Vec<usize>,
    pub(crate) open: bool,
    closed_at: Millis,
    pub(crate) records: Vec<RecordId>,
    /// Records before this one need not be read: they are older than the initial position.
    base: usize,
    contacted: bool,
    /// Records before this one were processed by anybody.
    pub(crate) seen: usize,
    /// The outputs of records before this one are durable.
    pub(crate) durable: usize,
}

#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) shards: Vec<ShardTruth>,
    by_id: HashMap<ShardId, usize>,
    pub(crate) records: Vec<Record>,
    /// Records that arrived before it need not be read.
    pub(crate) since: Millis,
}

impl Truth {
    /// Takes in the shards as they are now.
    pub(crate) fn resharded(&mut self, now: Millis, shards: &[Shard]) {
        for shard in shards {
            if let Some(&known) = self.by_id.get(&shard.id) {
                let known = &mut self.shards[known];
                if known.open && !shard.open {
                    (known.open, known.closed_at) = (false, now);
                }
                continue;
            }
            let index = self.shards.len();
            let parents: Vec<usize> = shard.parents.iter().filter_map(|id| self.by_id.get(id)).copied().collect();
            parents.iter().for_each(|&parent| self.shards[parent].children.push(index));
            self.by_id.insert(shard.id.clone(), index);
            self.shards.push(ShardTruth {
                id: shard.id.clone(),
                parents,
                children: Vec::new(),
                open: shard.open,
                closed_at: 0,
                records: Vec::new(),
                base: 0,
                contacted: false,
                seen: 0,
                durable: 0,
            });
        }
    }

    pub(crate) fn put(&mut self, now: Millis, shard: &str, sequence: &SequenceNumber, key: usize, count: usize) {
        let shard = self.by_id[shard];
        for sub in 0..count {
            let records = &mut self.shards[shard].records;
            let position = Position { sequence: sequence.clone(), sub_sequence: sub as u64 };
            let record = Record { shard, index: records.len(), key, position, arrival: now, poison: None };
            records.push(self.records.len());
            self.records.push(record);
            if now < self.since {
                self.shards[shard].base += 1;
            }
        }
    }

    pub(crate) fn knows(&self, shard: &str) -> bool {
        self.by_id.contains_key(shard)
    }

    pub(crate) fn index(&self, shard: &str) -> usize {
        self.by_id[shard]
    }

    /// The checkpoint that covers the first `count` records.
    pub(crate) fn checkpoint(&self, shard: usize, count: usize) -> Checkpoint {
        let last = count.checked_sub(1).map(|last| self.shards[shard].records[last]);
        last.map_or(Checkpoint::TrimHorizon, |last| Checkpoint::At(self.records[last].position.clone()))
    }

    /// How many records of a shard a checkpoint covers.
    pub(crate) fn covered(&self, shard: usize, checkpoint: &Checkpoint) -> usize {
        let ShardTruth { records, .. } = &self.shards[shard];
        match checkpoint {
            Checkpoint::At(position) => records.partition_point(|&id| self.records[id].position <= *position),
            Checkpoint::ShardEnd => records.len(),
            Checkpoint::AtTimestamp | Checkpoint::TrimHorizon | Checkpoint::Latest => 0,
        }
    }

    /// Whether the records before `until` may be skipped: the stream forgot them, or they are older than the initial
    /// position.
    pub(crate) fn is_excused(&self, now: Millis, shard: usize, until: usize) -> bool {
        let ShardTruth { records, base, .. } = &self.shards[shard];
        match until.checked_sub(1) {
            None => true,
            Some(last) => last < *base || self.records[records[last]].arrival + RETENTION <= now,
        }
    }

    /// Whether the stream does not know a shard any more.
    pub(crate) fn is_forgotten(&self, now: Millis, shard: usize) -> bool {
        !self.shards[shard].open && self.shards[shard].closed_at + RETENTION <= now
    }

    /// A reader asks for what comes next. Whoever does that after the first contact with a shard leaves a gap.
    pub(crate) fn begins_here(&mut self, shard: &str) {
        let shard = &mut self.shards[self.by_id[shard]];
        if !shard.contacted {
            shard.base = shard.base.max(shard.records.len());
        }
    }

    /// A reader knows where what comes next begins.
    pub(crate) fn contacted(&mut self, shard: &str) {
        self.shards[self.by_id[shard]].contacted = true;
    }

    /// The shard was closed before anybody cared for it.
    pub(crate) fn begins_after(&mut self, shard: usize) {
        self.shards[shard].base = self.shards[shard].records.len();
    }

    /// Somebody else processed the first `count` records of a shard.
    pub(crate) fn done_before(&mut self, shard: usize, count: usize) {
        (self.shards[shard].seen, self.shards[shard].durable) = (count, count);
    }

    /// Whether every record of a shard has had its effect.
    pub(crate) fn is_through(&self, now: Millis, shard: usize) -> bool {
        let ShardTruth { records, durable, .. } = &self.shards[shard];
        *durable == records.len() || self.is_excused(now, shard, records.len())
    }

    /// A call failed by its poison; how.
    pub(crate) fn strike(&mut self, id: RecordId) -> FailureClass {
        let record = &mut self.records[id];
        let Poison { class, times } = record.poison.expect("only poison strikes");
        record.poison = (times > 1).then_some(Poison { class, times: times - 1 });
        class
    }

    pub(crate) fn heal(&mut self) {
        self.records.iter_mut().for_each(|record| record.poison = None);
    }
}
