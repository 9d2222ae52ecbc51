//! Kinesis as a consumer sees it: the local backend's model, its answers in core's types. Owns one stream; what goes
//! wrong on the way to it is the network's affair.

use shardmill_core::envelope::{Batch, BatchBuilder, Envelope};
use shardmill_core::kinesis::fan_out::Delivery;
use shardmill_core::kinesis::polling::Fetched;
use shardmill_core::kinesis::shard::{ChildShard, HashRange, Shard, ShardFilter, ShardId};
use shardmill_core::position::{SequenceNumber, StartingPosition};
use shardmill_core::service::{ErrorKind, ServiceError};
use shardmill_core::time::Millis;
use shardmill_local::model::{
    self, ConsumerRef, CreateStream, ListShards, Model, ModelConfig, Position, PutEntry, ShardInfo, StreamRef,
    Subscription, SubscriptionStep,
};

const STREAM: &str = "lines";
const CONSUMER: &str = "simulated";
const RESPONSE_BYTES_MAX: u64 = 1 << 20;
/// How long a subscription lives.
pub(crate) const SUBSCRIPTION_LIFE: Millis = 60_000;
/// Retention, which is the shortest that a stream can have.
pub(crate) const RETENTION: Millis = 24 * 3_600_000;

pub(crate) struct Kinesis {
    model: Model,
    consumer: String,
    /// What listings showed until the last reshard.
    outdated: Vec<Shard>,
}

type Answer<T> = Result<T, ServiceError>;

impl Kinesis {
    pub(crate) fn new(now: Millis, shards: u32, iterator_ttl: Millis) -> Self {
        let model = Model::new(ModelConfig { iterator_ttl, ..ModelConfig::default() });
        let request = CreateStream { name: STREAM.to_owned(), shard_count: Some(shards), ..CreateStream::default() };
        model.create_stream(now, request).expect("the request is legal");
        let consumer = model.register_consumer(now, &stream(), CONSUMER).expect("the stream exists").arn;
        Self { model, consumer, outdated: Vec::new() }
    }

    /// Puts a record; `None` when the shard takes no more at the moment.
    pub(crate) fn put(&mut self, now: Millis, key: &str, data: &[u8]) -> Option<(ShardId, SequenceNumber)> {
        let entry = PutEntry { data, partition_key: Some(key), explicit_hash_key: None };
        let written = self.model.put_record(now, &stream(), entry, None).ok()?;
        Some((written.shard_id, SequenceNumber::parse(&written.sequence_number).expect("digits")))
    }

    pub(crate) fn split(&mut self, now: Millis, shard: &Shard) {
        self.outdated = self.shards(now, ShardFilter::All);
        let middle = shard.hash_range.start + (shard.hash_range.end - shard.hash_range.start) / 2;
        self.model.split_shard(now, &stream(), &shard.id, &middle.to_string()).expect("an open shard");
    }

    pub(crate) fn merge(&mut self, now: Millis, a: &Shard, b: &Shard) {
        self.outdated = self.shards(now, ShardFilter::All);
        self.model.merge_shards(now, &stream(), &a.id, &b.id).expect("neighbours");
    }

    /// The shards as they are.
    pub(crate) fn shards(&self, now: Millis, filter: ShardFilter) -> Vec<Shard> {
        self.list(now, filter).expect("the stream exists")
    }

    pub(crate) fn list(&self, now: Millis, filter: ShardFilter) -> Answer<Vec<Shard>> {
        let filter = match filter {
            ShardFilter::All => None,
            ShardFilter::AtLatest => Some(model::ShardFilter::AtLatest),
            ShardFilter::AtTrimHorizon => Some(model::ShardFilter::AtTrimHorizon),
            ShardFilter::AtTimestamp(ms) => Some(model::ShardFilter::AtTimestamp(ms)),
        };
        let page = self.model.list_shards(now, &stream(), ListShards { filter, ..ListShards::default() });
        Ok(page.map_err(|e| refused("ListShards", &e))?.shards.into_iter().map(shard).collect())
    }

    /// A listing of two moments: the first shards as they were before the last reshard, the others as they are.
    pub(crate) fn list_torn(&self, now: Millis, filter: ShardFilter, first: usize) -> Answer<Vec<Shard>> {
        let mut shards = self.list(now, filter)?;
        if filter == ShardFilter::All {
            let old = |shard: &mut Shard| {
                if let Some(before) = self.outdated.iter().find(|before| before.id == shard.id) {
                    *shard = before.clone();
                }
            };
            shards.iter_mut().take(first).for_each(old);
        }
        Ok(shards)
    }

    pub(crate) fn iterator(&self, now: Millis, shard: &str, from: &StartingPosition) -> Answer<String> {
        let iterator = self.model.shard_iterator(now, &stream(), shard, position(from));
        iterator.map_err(|e| refused("GetShardIterator", &e))
    }

    pub(crate) fn records(&self, now: Millis, iterator: &str, limit: u32) -> Answer<Fetched> {
        let batch = self.model.get_records(now, iterator, Some(limit as usize));
        let read = batch.map_err(|error| match error.kind {
            model_kind::InvalidArgument => {
                ServiceError { kind: ErrorKind::ExpiredIterator, operation: "GetRecords", message: error.message }
            }
            _ => refused("GetRecords", &error),
        })?;
        Ok(Fetched {
            batch: batch_of(&read),
            millis_behind_latest: read.millis_behind_latest,
            children: children(read.child_shards),
            next_iterator: read.next_iterator,
        })
    }

    pub(crate) fn subscribe(&self, now: Millis, shard: &str, from: &StartingPosition) -> Answer<Subscription> {
        let subscription = self.model.subscribe(now, &self.consumer, shard, position(from));
        subscription.map_err(|e| refused("SubscribeToShard", &e))
    }

    pub(crate) fn consumer_exists(&self, now: Millis) -> Answer<bool> {
        Ok(self.model.describe_consumer(now, ConsumerRef::Arn(&self.consumer)).is_ok())
    }
}

/// What a subscription has to say now; possibly an event without records.
pub(crate) fn next_event(now: Millis, subscription: &mut Subscription) -> Answer<Option<Delivery>> {
    match subscription.next(now, RESPONSE_BYTES_MAX) {
        None => Ok(None),
        Some(SubscriptionStep::Failed(error)) => Err(refused("SubscribeToShard", &error)),
        Some(SubscriptionStep::Event { batch, continuation }) => Ok(Some(Delivery {
            batch: batch_of(&batch),
            continuation: continuation.map(|digits| SequenceNumber::parse(&digits).expect("digits")),
            millis_behind_latest: batch.millis_behind_latest,
            children: children(batch.child_shards),
        })),
    }
}

use model::ErrorKind as model_kind;

fn stream() -> StreamRef<'static> {
    StreamRef::from(STREAM)
}

fn position(from: &StartingPosition) -> Position<'_> {
    match from {
        StartingPosition::TrimHorizon => Position::TrimHorizon,
        StartingPosition::Latest => Position::Latest,
        StartingPosition::AtTimestamp(ms) => Position::AtTimestamp(*ms),
        StartingPosition::AtSequenceNumber(number) => Position::At(number.as_str()),
        StartingPosition::AfterSequenceNumber(number) => Position::After(number.as_str()),
    }
}

fn shard(info: ShardInfo) -> Shard {
    Shard {
        id: info.shard_id,
        parents: info.parent.into_iter().chain(info.adjacent_parent).collect(),
        hash_range: HashRange { start: info.range.start, end: info.range.end },
        starting_sequence: info.starting.to_string(),
        open: info.ending.is_none(),
    }
}

fn children(children: Vec<model::ChildShard>) -> Vec<ChildShard> {
    let child = |child: model::ChildShard| ChildShard {
        id: child.shard_id,
        parents: child.parents,
        hash_range: HashRange { start: child.range.start, end: child.range.end },
    };
    children.into_iter().map(child).collect()
}

fn batch_of(read: &model::Batch) -> Batch {
    let mut builder = BatchBuilder::default();
    for record in read.records() {
        builder.push(Envelope {
            sequence: record.sequence_number,
            sub_sequence: 0,
            key: record.partition_key,
            message: record.data,
            arrival_ms: record.arrival,
        });
    }
    builder.finish()
}

fn refused(operation: &'static str, error: &model::Error) -> ServiceError {
    let kind = match error.kind {
        model_kind::ResourceNotFound => ErrorKind::NotFound,
        model_kind::ResourceInUse => ErrorKind::InUse,
        model_kind::ProvisionedThroughputExceeded | model_kind::LimitExceeded => ErrorKind::Throttled,
        model_kind::ExpiredIterator => ErrorKind::ExpiredIterator,
        model_kind::InternalFailure | model_kind::ServiceUnavailable => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    };
    ServiceError { kind, operation, message: error.message.clone() }
}
