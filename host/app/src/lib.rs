//! The host: what turns the machines of `shardmill-core` and the adapters around them into a running job. The binary
//! `shardmill` is a thin command line over it.

pub mod admit;
pub mod clock;
mod fanout_reader;
pub mod job;
mod lease_worker;
mod outputs;
mod settings;
mod shard_reader;
pub mod status;
mod task_thread;
