//! The persistent form of a model: streams without their records, and records one by one. The model notifies a [`Keep`] of
//! each change when it makes it, and is rebuilt from those changes; it does not know where they are stored.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};

use serde::{Deserialize, Serialize};

use super::consumers::Consumer;
use super::log::Log;
use super::sequence::{SequenceNumber, SequenceSpace};
use super::stream::{Closed, Distribution, Mode, Shard, Stream, StreamState};
use super::{Error, ErrorKind, HashRange, Millis, Model, lock, names, read, write};

/// Receives every change of a model, in an order in which they can be replayed.
pub(crate) trait Keep: Debug + Send + Sync {
    /// A stream was created or changed.
    fn stream(&self, stream: StreamImage);

    /// A stream was deleted. A later stream of the same name has shards that begin after this second.
    fn gone(&self, name: &str, newest: u64);

    fn record(&self, record: RecordImage<'_>);

    /// When this returns, all changes so far must survive this process.
    ///
    /// # Errors
    /// Why they do not.
    fn flush(&self) -> Result<(), String>;
}

/// A stream without its records.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StreamImage {
    pub(crate) name: String,
    created: Millis,
    on_demand: bool,
    auto: bool,
    pub(crate) retention_hours: u32,
    max_record_kib: u32,
    tags: BTreeMap<String, String>,
    consumers: Vec<ConsumerImage>,
    pub(crate) shards: Vec<ShardImage>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ConsumerImage {
    name: String,
    arn: String,
    created: Millis,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShardImage {
    /// Decimal, because not every JSON parser supports 128-bit numbers.
    start: String,
    end: String,
    parents: Vec<u32>,
    /// The second that its numbers begin with.
    space: u64,
    created: Millis,
    closed: Option<ClosedImage>,
    /// The number of records ever written.
    pub(crate) count: u64,
    /// When the last of them arrived.
    pub(crate) last_arrival: Millis,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ClosedImage {
    at: Millis,
    ending: String,
}

/// One record, with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordImage<'a> {
    pub(crate) stream: &'a str,
    pub(crate) shard: u32,
    /// From 1.
    pub(crate) counter: u64,
    pub(crate) arrival: Millis,
    pub(crate) key: Option<&'a str>,
    pub(crate) data: &'a [u8],
}

impl Model {
    /// Passes every change from now on to `keep`.
    pub(crate) fn kept_by(self, keep: Arc<dyn Keep>) -> Self {
        Self { keep: Some(keep), ..self }
    }

    /// Passes the current state of a stream on.
    pub(super) fn note(&self, stream: &Stream, state: &StreamState) -> Result<(), Error> {
        let Some(keep) = &self.keep else { return Ok(()) };
        keep.stream(image(stream, state));
        self.flush()
    }

    pub(super) fn note_gone(&self, name: &str, newest: u64) -> Result<(), Error> {
        let Some(keep) = &self.keep else { return Ok(()) };
        keep.gone(name, newest);
        self.flush()
    }

    pub(super) fn flush(&self) -> Result<(), Error> {
        let flushed = self.keep.as_ref().map_or(Ok(()), |keep| keep.flush());
        flushed.map_err(|reason| Error::new(ErrorKind::InternalFailure, format!("the data cannot be kept: {reason}")))
    }

    /// Makes a stream, or a change of one, again.
    ///
    /// # Errors
    /// When no model can have said so.
    pub(crate) fn restore_stream(&self, image: &StreamImage) -> Result<(), String> {
        let mut streams = write(&self.streams);
        let before = streams.remove(&image.name).filter(|stream| stream.created == image.created);
        let mut logs: Vec<Log> = match before {
            Some(stream) => {
                let mut state = write(&stream.state);
                let logs = state
                    .shards
                    .iter_mut()
                    .map(|shard| std::mem::replace(&mut *lock(&shard.log), Log::new(shard.space)));
                logs.collect()
            }
            None => Vec::new(),
        };
        let mut shards = Vec::new();
        for (index, shard) in image.shards.iter().enumerate() {
            let index = u32::try_from(index).map_err(|_| "too many shards")?;
            let space = SequenceSpace { created: shard.space, shard: index };
            let mut log = if logs.is_empty() { Log::new(space) } else { logs.remove(0) };
            log.advance(shard.count, shard.last_arrival);
            shards.push(shard.restore(index, space, log).ok_or_else(|| format!("shard {index} is not one"))?);
        }
        let mut open: Vec<u32> =
            shards.iter().filter(|shard| shard.closed.is_none()).map(|shard| shard.index).collect();
        open.sort_by_key(|index| shards[*index as usize].range.start);
        let consumers = image.consumers.iter();
        let state = StreamState {
            transition: None,
            mode: if image.on_demand { Mode::OnDemand } else { Mode::Provisioned },
            distribution: if image.auto { Distribution::Auto } else { Distribution::UserPartitionKey },
            retention_hours: image.retention_hours,
            max_record_kib: image.max_record_kib,
            tags: image.tags.clone(),
            consumers: consumers.map(|it| Consumer::restored(&it.name, &it.arn, it.created)).collect(),
            shards,
            open,
        };
        if state.open.is_empty() {
            return Err("no shard of it is open".to_owned());
        }
        let stream = Stream {
            arn: names::stream_arn(&self.config.region, &image.name),
            name: image.name.clone(),
            created: image.created,
            turn: AtomicU64::new(0),
            state: RwLock::new(state),
        };
        streams.insert(image.name.clone(), Arc::new(stream));
        Ok(())
    }

    /// Takes a stream away again.
    pub(crate) fn restore_gone(&self, name: &str, newest: u64) {
        write(&self.streams).remove(name);
        lock(&self.newest).insert(name.to_owned(), newest);
    }

    /// Appends a record again.
    ///
    /// # Errors
    /// When there is no such shard, or the record cannot come next in it.
    pub(crate) fn restore_record(&self, record: RecordImage<'_>) -> Result<(), String> {
        let streams = read(&self.streams);
        let stream = streams.get(record.stream).ok_or_else(|| format!("there is no stream {}", record.stream))?;
        let state = read(&stream.state);
        let shard = state.shards.get(record.shard as usize);
        let shard = shard.ok_or_else(|| format!("stream {} has no shard {}", record.stream, record.shard))?;
        let mut log = lock(&shard.log);
        let before = record.counter.checked_sub(1).ok_or("records are counted from 1")?;
        if before < log.tip() {
            // The shard was said to have it already: by an image that was taken after it.
            return Err(format!("record {} of shard {} comes twice", record.counter, record.shard));
        }
        log.advance(before, record.arrival);
        log.append(record.arrival, record.data, record.key);
        Ok(())
    }
}

impl ShardImage {
    fn restore(&self, index: u32, space: SequenceSpace, log: Log) -> Option<Shard> {
        let closed = match &self.closed {
            Some(closed) => Some(Closed { at: closed.at, ending: SequenceNumber::parse(&closed.ending)? }),
            None => None,
        };
        Some(Shard {
            index,
            range: HashRange { start: self.start.parse().ok()?, end: self.end.parse().ok()? },
            parent: self.parents.first().copied(),
            adjacent_parent: self.parents.get(1).copied(),
            space,
            created: self.created,
            closed,
            log: log.into(),
        })
    }
}

fn image(stream: &Stream, state: &StreamState) -> StreamImage {
    let shard = |shard: &Shard| {
        let log = lock(&shard.log);
        ShardImage {
            start: shard.range.start.to_string(),
            end: shard.range.end.to_string(),
            parents: shard.parent.into_iter().chain(shard.adjacent_parent).collect(),
            space: shard.space.created,
            created: shard.created,
            closed: shard.closed.map(|it| ClosedImage { at: it.at, ending: it.ending.to_string() }),
            count: log.tip(),
            last_arrival: log.last_arrival(),
        }
    };
    let consumers = state.consumers.iter().map(|it| {
        let (name, arn, created) = it.identity();
        ConsumerImage { name: name.to_owned(), arn: arn.to_owned(), created }
    });
    StreamImage {
        name: stream.name.clone(),
        created: stream.created,
        on_demand: state.mode == Mode::OnDemand,
        auto: state.distribution == Distribution::Auto,
        retention_hours: state.retention_hours,
        max_record_kib: state.max_record_kib,
        tags: state.tags.clone(),
        consumers: consumers.collect(),
        shards: state.shards.iter().map(shard).collect(),
    }
}
