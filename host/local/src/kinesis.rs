//! A handle to the model at the backend's own time: operations on streams without HTTP, for tests and the demo.

use std::str::FromStr;
use std::sync::Arc;

use crate::clock::Clock;
use crate::model::{CreateStream, Error, Millis, Model, PutEntry, StreamRef, Written};

/// The streams of a local backend. Cheap to clone; all clones see the same streams.
///
/// Streams are named by name or ARN. For other operations use [`Kinesis::model`], with [`Kinesis::now`].
#[derive(Debug, Clone)]
pub struct Kinesis {
    model: Arc<Model>,
    clock: Clock,
}

/// A record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The shard that contains it.
    pub shard_id: String,
    /// 56 decimal digits.
    pub sequence_number: String,
    /// When the shard took it.
    pub arrival: Millis,
    /// `None` if the producer set none.
    pub partition_key: Option<String>,
    /// The body.
    pub data: Vec<u8>,
}

impl Kinesis {
    pub(crate) fn new(model: Arc<Model>, clock: Clock) -> Self {
        Self { model, clock }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The backend's time.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Creates a provisioned stream.
    ///
    /// # Errors
    /// When the name or count is invalid, or the stream exists already.
    pub fn create_stream(&self, name: &str, shards: u32) -> Result<(), Error> {
        let request = CreateStream { name: name.to_owned(), shard_count: Some(shards), ..CreateStream::default() };
        self.model.create_stream(self.now(), request)
    }

    /// Writes one record.
    ///
    /// # Errors
    /// As [`Model::put_record`].
    pub fn put_record(&self, stream: &str, partition_key: &str, data: &[u8]) -> Result<Written, Error> {
        let entry = PutEntry { data, partition_key: Some(partition_key), explicit_hash_key: None };
        self.model.put_record(self.now(), &StreamRef::from(stream), entry, None)
    }

    /// Writes (partition key, data) pairs, at most 500; fails if any of them fails.
    ///
    /// # Errors
    /// As [`Model::put_records`], or the error of the first rejected record: those before and after it may be written.
    pub fn put_records<'a>(&self, stream: &str, records: &[(&'a str, &'a [u8])]) -> Result<Vec<Written>, Error> {
        let entry =
            |(key, data): &(&'a str, &'a [u8])| PutEntry { data, partition_key: Some(*key), explicit_hash_key: None };
        let entries: Vec<_> = records.iter().map(entry).collect();
        let results = self.model.put_records(self.now(), &StreamRef::from(stream), &entries)?;
        results.into_iter().collect()
    }

    /// Splits a shard; the second child starts at `starting_hash_key` (decimal).
    ///
    /// # Errors
    /// As [`Model::split_shard`].
    pub fn split_shard(&self, stream: &str, shard_id: &str, starting_hash_key: &str) -> Result<(), Error> {
        self.model.split_shard(self.now(), &StreamRef::from(stream), shard_id, starting_hash_key)
    }

    /// Splits a shard in the middle of its hash range.
    ///
    /// # Errors
    /// As [`Model::split_shard`].
    pub fn split_shard_evenly(&self, stream: &str, shard_id: &str) -> Result<(), Error> {
        let (now, stream) = (self.now(), StreamRef::from(stream));
        let range = self.model.shard(now, &stream, shard_id)?.range;
        let middle = range.start + (range.end - range.start) / 2 + 1;
        self.model.split_shard(now, &stream, shard_id, &middle.to_string())
    }

    /// Merges two adjacent shards.
    ///
    /// # Errors
    /// As [`Model::merge_shards`].
    pub fn merge_shards(&self, stream: &str, shard_id: &str, adjacent_shard_id: &str) -> Result<(), Error> {
        self.model.merge_shards(self.now(), &StreamRef::from(stream), shard_id, adjacent_shard_id)
    }

    /// Splits and merges to `target` open shards.
    ///
    /// # Errors
    /// As [`Model::update_shard_count`].
    pub fn update_shard_count(&self, stream: &str, target: u32) -> Result<(), Error> {
        self.model.update_shard_count(self.now(), &StreamRef::from(stream), target).map(drop)
    }

    /// Ids of all shards within the retention period, parents before children.
    ///
    /// # Errors
    /// No such stream.
    pub fn shard_ids(&self, stream: &str) -> Result<Vec<String>, Error> {
        let scans = self.model.scan(self.now(), &StreamRef::from(stream))?;
        Ok(scans.into_iter().map(|(shard_id, _)| shard_id).collect())
    }

    /// Every record of a stream, shard by shard, in order. Counts against no limit.
    ///
    /// # Errors
    /// No such stream.
    pub fn read_all(&self, stream: &str) -> Result<Vec<Record>, Error> {
        let scans = self.model.scan(self.now(), &StreamRef::from(stream))?;
        let owned = |(shard_id, batch): &(String, crate::model::Batch)| -> Vec<Record> {
            batch
                .records()
                .map(|record| Record {
                    shard_id: shard_id.clone(),
                    sequence_number: record.sequence_number.to_owned(),
                    arrival: record.arrival,
                    partition_key: record.partition_key.map(str::to_owned),
                    data: record.data.to_vec(),
                })
                .collect()
        };
        Ok(scans.iter().flat_map(owned).collect())
    }
}

/// A stream to create, written `name:shards` (or `name` for one shard).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name.
    pub name: String,
    /// Its shards.
    pub shards: u32,
}

/// A text that is not a [`StreamSpec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a stream: expected NAME or NAME:SHARDS, such as orders:4")]
pub struct StreamSpecError(String);

impl FromStr for StreamSpec {
    type Err = StreamSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, shards) = text.split_once(':').unwrap_or((text, "1"));
        let shards = shards.parse().ok().filter(|n| *n > 0);
        match (name, shards) {
            (name, Some(shards)) if !name.is_empty() => Ok(Self { name: name.to_owned(), shards }),
            _ => Err(StreamSpecError(text.to_owned())),
        }
    }
}
