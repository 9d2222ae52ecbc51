//! Reading: shard iterators and `GetRecords`.

use bytes::Bytes;

use super::hash::HashRange;
use super::log::{Log, Run};
use super::stream::{Shard, Status, Stream, StreamState};
use super::token::IteratorToken;
use super::{Error, ErrorKind, Millis, Model, SequenceNumber, StoredRecord, StreamRef, lock, names, read, record};

/// Records of one `GetRecords`.
pub(crate) const RECORDS_MAX: usize = 10_000;
/// Bytes of data and partition keys in one `GetRecords`.
pub(crate) const BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Where reading starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position<'a> {
    /// The oldest record there is.
    TrimHorizon,
    /// What comes after now.
    Latest,
    /// The record with this number.
    At(&'a str),
    /// The record after the one with this number.
    After(&'a str),
    /// The first record that arrived at this time or later.
    AtTimestamp(Millis),
}

/// A shard that came from the one that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildShard {
    /// Its id.
    pub shard_id: String,
    /// One parent after a split, two after a merge.
    pub parents: Vec<String>,
    /// Its part of the hash key space.
    pub range: HashRange,
}

/// Records of one shard, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// How many.
    pub count: usize,
    /// The records' stored bytes (a sequence of AWS CBOR 1.1 maps), in order.
    pub slices: Vec<Bytes>,
    /// Where to go on; none at the end of a closed shard.
    pub next_iterator: Option<String>,
    /// Age of the oldest record not yet read, in ms, at least 1; 0 if all are read.
    pub millis_behind_latest: u64,
    /// At the end of a closed shard: what came after it.
    pub child_shards: Vec<ChildShard>,
}

impl Batch {
    /// The records.
    pub fn records(&self) -> impl Iterator<Item = StoredRecord<'_>> {
        self.slices.iter().flat_map(|slice| record::decode(slice))
    }
}

impl Model {
    /// A token to read a shard with.
    ///
    /// # Errors
    /// No such stream or shard; a sequence number of another shard; a time to come.
    pub fn shard_iterator(
        &self,
        now: Millis,
        stream: &StreamRef<'_>,
        shard_id: &str,
        position: Position<'_>,
    ) -> Result<String, Error> {
        let stream = self.stream(now, stream)?;
        let state = read(&stream.state);
        check_readable(&stream, &state, now)?;
        let shard = state.shard(now, &stream.name, shard_id)?;
        let position = resolve(now, &stream, &state, shard, position, "GetShardIterator")?;
        Ok(token(now, &stream, shard, position))
    }

    /// Reads from an iterator, at most `limit` records (10,000 if none is given) and 10 MB.
    ///
    /// # Errors
    /// An iterator that is not ours, is too old, or whose stream or shard is gone; the shard's read limit.
    pub fn get_records(&self, now: Millis, iterator: &str, limit: Option<usize>) -> Result<Batch, Error> {
        let limit = limit.unwrap_or(RECORDS_MAX);
        if limit == 0 || limit > RECORDS_MAX {
            let bound = if limit == 0 { "greater than or equal to 1" } else { "less than or equal to 10000" };
            return Err(Error::constraint(&format!("'{limit}'"), "limit", &format!("Member must have value {bound}")));
        }
        let iterator = IteratorToken::decode(iterator).ok_or_else(|| Error::invalid("Invalid ShardIterator."))?;
        let stream = self
            .stream(now, &StreamRef::from(&iterator.stream))
            .ok()
            .filter(|stream| stream.created == iterator.stream_created)
            .ok_or_else(|| stream_not_found(&iterator.stream))?;
        check_age(now, &iterator, self.config.iterator_ttl)?;
        let state = read(&stream.state);
        check_readable(&stream, &state, now)?;
        let shard = state.shard(now, &stream.name, &names::shard_id(iterator.shard))?;
        let mut log = lock(&shard.log);
        if self.config.limits {
            take_read(now, &stream, shard, &mut log)?;
        }
        log.trim(now.saturating_sub(state.retention()));
        let run = log.read(iterator.position, limit, BYTES_MAX);
        if self.config.limits {
            log.limits.read_bytes.add(run.size);
        }
        Ok(batch(now, &stream, &state, shard, &log, run))
    }

    /// Every record of every shard within the retention period. Counts against no limit.
    ///
    /// # Errors
    /// No such stream.
    pub fn scan(&self, now: Millis, stream: &StreamRef<'_>) -> Result<Vec<(String, Batch)>, Error> {
        let stream = self.stream(now, stream)?;
        let state = read(&stream.state);
        let shards = state.shards.iter().filter(|shard| !state.is_expired(shard, now));
        let whole = |shard: &Shard| {
            let mut log = lock(&shard.log);
            log.trim(now.saturating_sub(state.retention()));
            let run = log.read(0, usize::MAX, u64::MAX);
            (names::shard_id(shard.index), batch(now, &stream, &state, shard, &log, run))
        };
        Ok(shards.map(whole).collect())
    }
}

pub(crate) fn batch(now: Millis, stream: &Stream, state: &StreamState, shard: &Shard, log: &Log, run: Run) -> Batch {
    let ended = shard.closed.is_some() && run.next >= log.tip();
    let behind = log.arrival(run.next).map(|arrival| now.saturating_sub(arrival).max(1));
    Batch {
        count: run.records,
        slices: run.slices,
        next_iterator: (!ended).then(|| token(now, stream, shard, run.next)),
        millis_behind_latest: behind.unwrap_or(0),
        child_shards: if ended { children(state, shard) } else { Vec::new() },
    }
}

fn children(state: &StreamState, shard: &Shard) -> Vec<ChildShard> {
    let child = |child: &Shard| ChildShard {
        shard_id: names::shard_id(child.index),
        parents: child.parent.into_iter().chain(child.adjacent_parent).map(names::shard_id).collect(),
        range: child.range,
    };
    state.children(shard.index).map(child).collect()
}

/// Turns a starting position into a place in the shard's log.
pub(crate) fn resolve(
    now: Millis,
    stream: &Stream,
    state: &StreamState,
    shard: &Shard,
    position: Position<'_>,
    operation: &str,
) -> Result<u64, Error> {
    let mut log = lock(&shard.log);
    log.trim(now.saturating_sub(state.retention()));
    match position {
        Position::TrimHorizon => Ok(log.horizon()),
        Position::Latest => Ok(log.tip()),
        Position::AtTimestamp(time) if time > now => Err(Error::invalid(format!(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: {time}, currentTimestampInMillis: {now}"
        ))),
        Position::AtTimestamp(time) => Ok(log.position_at(time)),
        Position::At(number) => by_number(stream, shard, &log, number, false, operation),
        Position::After(number) => by_number(stream, shard, &log, number, true, operation),
    }
}

fn by_number(
    stream: &Stream,
    shard: &Shard,
    log: &Log,
    number: &str,
    after: bool,
    operation: &str,
) -> Result<u64, Error> {
    let id = names::shard_id(shard.index);
    let foreign = |why: &str| {
        Error::invalid(format!(
            "StartingSequenceNumber {number} used in {operation} on shard {id} in stream {} under account {} is invalid{why}.",
            stream.name,
            names::ACCOUNT
        ))
    };
    let Some(parsed) = SequenceNumber::parse(number) else {
        return Err(foreign(""));
    };
    if parsed.shard() != shard.index {
        return Err(Error::invalid(format!(
            "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard with {id}",
            names::shard_id(parsed.shard())
        )));
    }
    log.position_of(parsed, after).ok_or_else(|| foreign(" because it did not come from this stream"))
}

fn token(now: Millis, stream: &Stream, shard: &Shard, position: u64) -> String {
    IteratorToken {
        stream: stream.name.clone(),
        stream_created: stream.created,
        shard: shard.index,
        position,
        issued: now,
    }
    .encode()
}

fn check_age(now: Millis, iterator: &IteratorToken, ttl: Millis) -> Result<(), Error> {
    if now.saturating_sub(iterator.issued) <= ttl {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ExpiredIterator,
        format!(
            "Iterator expired. The iterator was created at time {} while right now it is {now} which is further in the future than the tolerated delay of {ttl} milliseconds.",
            iterator.issued
        ),
    ))
}

fn take_read(now: Millis, stream: &Stream, shard: &Shard, log: &mut Log) -> Result<(), Error> {
    let limits = &mut log.limits;
    if !limits.read_calls.has_room(now) || !limits.read_bytes.has_room(now) {
        return Err(Error::new(
            ErrorKind::ProvisionedThroughputExceeded,
            format!(
                "Rate exceeded for shard {} in stream {} under account {}.",
                names::shard_id(shard.index),
                stream.name,
                names::ACCOUNT
            ),
        ));
    }
    limits.read_calls.add(1);
    Ok(())
}

fn check_readable(stream: &Stream, state: &StreamState, now: Millis) -> Result<(), Error> {
    match state.status(now) {
        Status::Active | Status::Updating => Ok(()),
        Status::Creating | Status::Deleting => Err(stream_not_found(&stream.name)),
    }
}

fn stream_not_found(name: &str) -> Error {
    Error::not_found(format!("Stream {name} under account {} not found.", names::ACCOUNT))
}
