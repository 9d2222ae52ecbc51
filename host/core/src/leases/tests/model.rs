//! The two services as the machine sees them: a lease table that carries out [`Write`]s under exactly their
//! conditions, and a stream whose shards split and merge.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::kinesis::shard::{ChildShard, HashRange, Shard, ShardFilter, ShardId};
use crate::leases::{Action, Event, Lease, Outcome, Scan, Write};
use crate::position::Checkpoint;

/// A lease table. It checks of itself that a counter never falls.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) rows: BTreeMap<ShardId, Lease>,
}

impl Rows {
    pub(super) fn apply(&mut self, write: &Write) -> Outcome {
        let key = write.key();
        let before = self.rows.get(key);
        let Some(after) = write.applied_to(before) else { return Outcome::ConditionFailed(before.cloned()) };
        match after {
            Some(row) => drop(self.rows.insert(key.clone(), row)),
            None => drop(self.rows.remove(key)),
        }
        Outcome::Done
    }

    pub(super) fn row(&self, key: &str) -> &Lease {
        &self.rows[key]
    }

    pub(super) fn owner(&self, key: &str) -> Option<&str> {
        self.row(key).owner.as_deref()
    }

    pub(super) fn keys(&self) -> Vec<&str> {
        self.rows.keys().map(String::as_str).collect()
    }

    pub(super) fn is_at_end(&self, key: &str) -> bool {
        self.rows.get(key).is_some_and(|row| row.checkpoint == Checkpoint::ShardEnd)
    }
}

/// A shard and what came of it.
pub(super) struct ModelShard {
    pub(super) shard: Shard,
    children: Vec<ShardId>,
}

/// A stream.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) shards: BTreeMap<ShardId, ModelShard>,
    created: u64,
}

impl Stream {
    /// Shards `s00`, `s01`, ... that share the hash space.
    pub(super) fn of(shards: u128) -> Self {
        let mut stream = Self::default();
        let width = u128::MAX / shards;
        for index in 0..shards {
            let end = if index + 1 == shards { u128::MAX } else { width * (index + 1) - 1 };
            stream.open(&[], HashRange { start: width * index, end });
        }
        stream
    }

    fn open(&mut self, parents: &[&str], hash_range: HashRange) -> ShardId {
        let id = format!("s{:02}", self.created);
        // Before every position that tests use.
        let starting_sequence = "0".to_owned();
        self.created += 1;
        let parents: Vec<ShardId> = parents.iter().map(|&id| id.to_owned()).collect();
        for parent in &parents {
            let parent = self.shards.get_mut(parent).unwrap();
            parent.shard.open = false;
            parent.children.push(id.clone());
        }
        let shard = Shard { id: id.clone(), parents, hash_range, starting_sequence, open: true };
        self.shards.insert(id.clone(), ModelShard { shard, children: Vec::new() });
        id
    }

    pub(super) fn split(&mut self, id: &str) {
        let HashRange { start, end } = self.shards[id].shard.hash_range.clone();
        let middle = start + (end - start) / 2;
        self.open(&[id], HashRange { start, end: middle });
        self.open(&[id], HashRange { start: middle + 1, end });
    }

    pub(super) fn merge(&mut self, a: &str, b: &str) {
        let (a_range, b_range) = (self.shards[a].shard.hash_range.clone(), self.shards[b].shard.hash_range.clone());
        let hash_range = HashRange { start: a_range.start.min(b_range.start), end: a_range.end.max(b_range.end) };
        self.open(&[a, b], hash_range);
    }

    /// Splits or merges some open shards.
    pub(super) fn reshard(&mut self, dice: &mut Dice) {
        let open = self.open_shards();
        let index = dice.index(open.len());
        match open.get(index + 1) {
            Some(next) if dice.chance(50) => self.merge(&open[index], next),
            _ => self.split(&open[index]),
        }
    }

    /// A stream with a past: reshards, of which retention may have forgotten the oldest shards.
    pub(super) fn with_past(dice: &mut Dice) -> Self {
        let mut stream = Self::of(u128::from(1 + dice.below(4)));
        for _ in 0..dice.below(7) {
            stream.reshard(dice);
        }
        if dice.chance(40) {
            let shards: Vec<ShardId> = stream.shards.keys().cloned().collect();
            stream.expire(&shards[dice.index(shards.len())]);
        }
        stream
    }

    /// The open shards in the order of their hash ranges: neighbours may be merged.
    pub(super) fn open_shards(&self) -> Vec<ShardId> {
        let mut open: Vec<&Shard> = self.shards.values().map(|model| &model.shard).filter(|shard| shard.open).collect();
        open.sort_by_key(|shard| shard.hash_range.start);
        open.into_iter().map(|shard| shard.id.clone()).collect()
    }

    /// Retention passes: whatever closed before the shard `until` was opened is forgotten.
    pub(super) fn expire(&mut self, until: &str) {
        self.shards.retain(|_, model| model.children.first().is_none_or(|child| child.as_str() > until));
    }

    pub(super) fn children_of(&self, id: &str) -> Vec<ChildShard> {
        let children = self.shards[id].children.iter().map(|child| &self.shards[child].shard);
        children
            .map(|child| ChildShard {
                id: child.id.clone(),
                parents: child.parents.clone(),
                hash_range: child.hash_range.clone(),
            })
            .collect()
    }

    fn list(&self, filter: ShardFilter) -> Vec<Shard> {
        let shards = self.shards.values().map(|model| model.shard.clone());
        let oldest = |shard: &Shard| !shard.parents.iter().any(|id| self.shards.contains_key(id));
        shards
            .filter(|shard| match filter {
                ShardFilter::All => true,
                ShardFilter::AtLatest => shard.open,
                ShardFilter::AtTrimHorizon | ShardFilter::AtTimestamp(_) => oldest(shard),
            })
            .collect()
    }
}

/// Both.
pub(super) struct Services {
    pub(super) table: Rows,
    pub(super) stream: Stream,
    /// How often the table was read.
    pub(super) scans: u32,
}

impl Services {
    pub(super) fn new(stream: Stream) -> Self {
        Self { table: Rows::default(), stream, scans: 0 }
    }

    /// Carries out a call and answers it.
    pub(super) fn serve(&mut self, call: &Action) -> Event {
        match call {
            Action::Scan | Action::ScanConsistently => {
                self.scans += 1;
                let leases = self.table.rows.values().cloned().collect();
                Event::Scanned(Ok(Scan { leases, ..Scan::default() }))
            }
            Action::List(filter) => Event::Listed(Ok(self.stream.list(*filter))),
            Action::Write(write) => Event::Written { write: write.clone(), result: Ok(self.table.apply(write)) },
            told => panic!("{told:?} is not a call"),
        }
    }
}
