//! Kinesis as an input: its streams and shards, the records of the Kinesis Producer Library, and the two ways to read a
//! shard, each a pure machine. Which shards a worker reads is the business of the [leases](crate::leases).

pub mod aggregate;
mod backlog;
mod deaggregator;
pub mod fan_out;
pub mod polling;
pub mod shard;
mod shard_progress;
mod start_position;
pub mod stream;
