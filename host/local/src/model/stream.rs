//! A stream: its settings, its shards with their lineage, its consumers.
//!
//! Owns the state behind one lock. Writers and readers of records hold it shared and lock the one shard they work
//! on; what changes the set of shards holds it alone.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, RwLock};

use super::consumers::Consumer;
use super::hash::HashRange;
use super::log::Log;
use super::sequence::{SequenceNumber, SequenceSpace};
use super::{Error, Millis, names};

/// Life of a stream or consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not yet usable.
    Creating,
    /// Usable.
    Active,
    /// Usable, but its shards are being changed.
    Updating,
    /// On its way out.
    Deleting,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }
}

/// How a stream's capacity is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The owner chooses the number of shards.
    #[default]
    Provisioned,
    /// The service does; four shards at the start.
    OnDemand,
}

impl Mode {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioned => "PROVISIONED",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

/// How records find their shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distribution {
    /// By the hash of the partition key, which every record must have.
    #[default]
    UserPartitionKey,
    /// Evenly, whatever key a record has or has not.
    Auto,
}

impl Distribution {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserPartitionKey => "USER_PARTITION_KEY",
            Self::Auto => "AUTO",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) created: Millis,
    /// Turn of the next record in a stream that distributes records itself.
    pub(crate) turn: AtomicU64,
    pub(crate) state: RwLock<StreamState>,
}

#[derive(Debug)]
pub(crate) struct StreamState {
    /// A state other than active, and when it ends.
    pub(crate) transition: Option<(Status, Millis)>,
    pub(crate) mode: Mode,
    pub(crate) distribution: Distribution,
    pub(crate) retention_hours: u32,
    pub(crate) max_record_kib: u32,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) consumers: Vec<Consumer>,
    /// Every shard the stream ever had, by index.
    pub(crate) shards: Vec<Shard>,
    /// Indices of the open shards, in the order of their hash ranges.
    pub(crate) open: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) index: u32,
    pub(crate) range: HashRange,
    pub(crate) parent: Option<u32>,
    pub(crate) adjacent_parent: Option<u32>,
    pub(crate) space: SequenceSpace,
    pub(crate) created: Millis,
    pub(crate) closed: Option<Closed>,
    pub(crate) log: Mutex<Log>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Closed {
    pub(crate) at: Millis,
    pub(crate) ending: SequenceNumber,
}

/// A shard as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardInfo {
    /// `shardId-` and twelve digits.
    pub shard_id: String,
    /// The shard it was split from, or the first of the two it was merged from.
    pub parent: Option<String>,
    /// The second of the two it was merged from.
    pub adjacent_parent: Option<String>,
    /// Its part of the hash key space.
    pub range: HashRange,
    /// No record of it has a smaller number.
    pub starting: SequenceNumber,
    /// Closed shards only: no record of it has a greater number.
    pub ending: Option<SequenceNumber>,
}

impl StreamState {
    pub(crate) fn status(&self, now: Millis) -> Status {
        match self.transition {
            Some((status, until)) if now < until => status,
            _ => Status::Active,
        }
    }

    pub(crate) fn retention(&self) -> Millis {
        Millis::from(self.retention_hours) * 3_600_000
    }

    /// Adds an open shard; its sequence numbers start after those of its parents.
    pub(crate) fn add_shard(&mut self, now: Millis, range: HashRange, parents: &[u32]) -> u32 {
        self.add_shard_after(now, range, parents, None)
    }

    /// The same; its sequence numbers start after those of shards that began with the second `newest`, too.
    pub(crate) fn add_shard_after(
        &mut self,
        now: Millis,
        range: HashRange,
        parents: &[u32],
        newest: Option<u64>,
    ) -> u32 {
        let index = self.shards.len() as u32;
        let before = parents.iter().map(|p| self.shards[*p as usize].space.created).chain(newest);
        let space = SequenceSpace { created: before.map(|it| it + 1).fold(now / 1000, u64::max), shard: index };
        self.shards.push(Shard {
            index,
            range,
            parent: parents.first().copied(),
            adjacent_parent: parents.get(1).copied(),
            space,
            created: now,
            closed: None,
            log: Mutex::new(Log::new(space)),
        });
        let at = self.open.partition_point(|i| self.shards[*i as usize].range.start < range.start);
        self.open.insert(at, index);
        index
    }

    /// When shards that are closed now end: after they began, or a listing of the shards open at some moment could
    /// miss a shard with records that began and ended in one millisecond.
    pub(crate) fn end_of<const N: usize>(&self, shards: [u32; N], now: Millis) -> Millis {
        shards.iter().map(|i| self.shards[*i as usize].created + 1).fold(now, Millis::max)
    }

    /// Closes a shard for writing; its readers learn of it. Its children begin at the same time.
    pub(crate) fn close_shard(&mut self, at: Millis, index: u32) {
        self.open.retain(|i| *i != index);
        let shard = &mut self.shards[index as usize];
        let mut log = super::lock(&shard.log);
        shard.closed = Some(Closed { at, ending: shard.space.number(log.tip() + 1, at) });
        log.wake();
    }

    /// Whether all records of a closed shard have passed the retention period, and the shard with them.
    pub(crate) fn is_expired(&self, shard: &Shard, now: Millis) -> bool {
        shard.closed.is_some_and(|c| c.at + self.retention() <= now)
    }

    /// The shard of a hash key.
    pub(crate) fn shard_of(&self, key: u128) -> &Shard {
        let after = self.open.partition_point(|i| self.shards[*i as usize].range.start <= key);
        &self.shards[self.open[after.saturating_sub(1)] as usize]
    }

    /// A shard by id, unless it has expired.
    pub(crate) fn shard(&self, now: Millis, stream: &str, id: &str) -> Result<&Shard, Error> {
        names::shard_index(id)
            .and_then(|index| self.shards.get(index as usize))
            .filter(|shard| !self.is_expired(shard, now))
            .ok_or_else(|| {
                let id = names::shard_index(id).map_or_else(|| id.to_owned(), names::shard_id);
                Error::not_found(format!(
                    "Shard {id} in stream {stream} under account {} does not exist",
                    names::ACCOUNT
                ))
            })
    }

    /// The shards that came from this one.
    pub(crate) fn children(&self, index: u32) -> impl Iterator<Item = &Shard> {
        self.shards[index as usize + 1..]
            .iter()
            .filter(move |s| s.parent == Some(index) || s.adjacent_parent == Some(index))
    }
}

impl Shard {
    pub(crate) fn info(&self) -> ShardInfo {
        ShardInfo {
            shard_id: names::shard_id(self.index),
            parent: self.parent.map(names::shard_id),
            adjacent_parent: self.adjacent_parent.map(names::shard_id),
            range: self.range,
            starting: self.space.number(0, 0),
            ending: self.closed.map(|c| c.ending),
        }
    }
}
