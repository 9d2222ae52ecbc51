//! A model with a time that the test moves, and short names for what tests do to it.

use shardmill_local::model::{
    Batch, CreateStream, Error, ErrorKind, ListShards, Millis, Model, ModelConfig, Position, PutEntry, ShardFilter,
    StreamRef, Written,
};

use crate::client::START;

pub(crate) const S: &str = "orders";
pub(crate) const MIDDLE: u128 = 1 << 127;

pub(crate) struct World {
    pub(crate) model: Model,
    pub(crate) now: Millis,
}

impl World {
    /// A stream `orders` of so many shards, without limits.
    pub(crate) fn new(shards: u32) -> Self {
        Self::with(shards, ModelConfig { limits: false, ..ModelConfig::default() })
    }

    pub(crate) fn with(shards: u32, config: ModelConfig) -> Self {
        let world = Self { model: Model::new(config), now: START };
        let request = CreateStream { name: S.to_owned(), shard_count: Some(shards), ..CreateStream::default() };
        world.model.create_stream(world.now, request).unwrap();
        world
    }

    pub(crate) fn stream(&self) -> StreamRef<'static> {
        StreamRef::from(S)
    }

    /// Puts a text into the shard that has this hash key.
    pub(crate) fn put_at(&self, hash_key: u128, data: &str) -> Written {
        self.try_put(hash_key, data.as_bytes()).unwrap()
    }

    pub(crate) fn try_put(&self, hash_key: u128, data: &[u8]) -> Result<Written, Error> {
        let key = hash_key.to_string();
        let entry = PutEntry { data, partition_key: Some("k"), explicit_hash_key: Some(&key) };
        self.model.put_record(self.now, &self.stream(), entry, None)
    }

    /// Puts `0`, `1`, ... into the first shard, a millisecond apart.
    pub(crate) fn put_numbers(&mut self, count: usize) -> Vec<String> {
        (0..count)
            .map(|i| {
                self.now += 1;
                self.put_at(0, &i.to_string()).sequence_number
            })
            .collect()
    }

    pub(crate) fn iterator(&self, shard: u32, position: Position<'_>) -> String {
        self.try_iterator(shard, position).unwrap()
    }

    pub(crate) fn try_iterator(&self, shard: u32, position: Position<'_>) -> Result<String, Error> {
        self.model.shard_iterator(self.now, &self.stream(), &id(shard), position)
    }

    pub(crate) fn read(&self, shard: u32, position: Position<'_>) -> Batch {
        self.get(&self.iterator(shard, position))
    }

    pub(crate) fn get(&self, iterator: &str) -> Batch {
        self.model.get_records(self.now, iterator, None).unwrap()
    }

    pub(crate) fn split(&self, shard: u32, key: u128) -> Result<(), Error> {
        self.model.split_shard(self.now, &self.stream(), &id(shard), &key.to_string())
    }

    pub(crate) fn merge(&self, a: u32, b: u32) -> Result<(), Error> {
        self.model.merge_shards(self.now, &self.stream(), &id(a), &id(b))
    }

    /// Indices of the shards a filter finds.
    pub(crate) fn list(&self, filter: ShardFilter<'_>) -> Vec<u32> {
        let request = ListShards { filter: Some(filter), ..ListShards::default() };
        let page = self.model.list_shards(self.now, &self.stream(), request).unwrap();
        page.shards.iter().map(|shard| index(&shard.shard_id)).collect()
    }
}

pub(crate) fn id(index: u32) -> String {
    format!("shardId-{index:012}")
}

pub(crate) fn index(id: &str) -> u32 {
    id.strip_prefix("shardId-").unwrap().parse().unwrap()
}

pub(crate) fn texts(batch: &Batch) -> Vec<String> {
    batch.records().map(|record| String::from_utf8(record.data.to_vec()).unwrap()).collect()
}

/// The kind of a refusal, its message containing `part`.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Error>, part: &str) -> ErrorKind {
    let error = result.unwrap_err();
    assert!(error.message.contains(part), "{:?} is not in {:?}", part, error.message);
    error.kind
}
