//! The host: what turns the machines of `shardmill-core` and the adapters around them into a running job. The binary
//! `shardmill` is a thin command line over it.

pub mod admin;
pub mod admit;
pub mod bounded_file;
pub mod clock;
pub mod deployments;
pub mod failures;
pub mod host;
mod http_client;
pub mod job;
pub mod kinesis;
pub mod machine_memory;
mod outputs;
pub mod own_files;
mod settings;
pub mod status;
pub mod task_files;
mod task_thread;
pub mod tasks;
