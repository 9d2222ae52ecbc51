//! What Kinesis says about a shard. Plain data, as the stream adapter reports it and the lease machine reads it.

/// A shard's name within its stream, such as `shardId-000000000003`.
pub type ShardId = String;

/// A range of the 128-bit hash space, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashRange {
    pub start: u128,
    pub end: u128,
}

impl HashRange {
    #[must_use]
    pub fn contains(&self, hash_key: u128) -> bool {
        (self.start..=self.end).contains(&hash_key)
    }
}

/// One row of ListShards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    pub id: ShardId,
    /// One parent after a split, two after a merge, none at the root; parents may no longer exist.
    pub parents: Vec<ShardId>,
    pub hash_range: HashRange,
    /// Decimal digits.
    pub starting_sequence: String,
    /// `false` once the shard was split or merged.
    pub open: bool,
}

/// A child that a shard names when its end is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildShard {
    pub id: ShardId,
    pub parents: Vec<ShardId>,
    pub hash_range: HashRange,
}

/// Which shards ListShards returns (`ShardFilter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardFilter {
    /// Every shard still in retention, open or closed.
    All,
    AtLatest,
    AtTrimHorizon,
    /// Milliseconds since 1970-01-01 UTC.
    AtTimestamp(u64),
}
