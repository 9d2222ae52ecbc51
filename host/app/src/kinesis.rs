//! The shells around the machines of a Kinesis input: its lease worker, and the two ways to read a shard.

pub(crate) mod fan_out;
pub mod lease_worker;
pub(crate) mod polling;
