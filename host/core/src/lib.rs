//! The pure part of shardmill: what a record, a position, a lease and a job are, and the state machines that decide
//! what happens next. No I/O, no clock, no randomness of its own: time and results come in as arguments, intentions
//! go out as values. It must not know tokio, AWS, Wasmtime or the environment.

pub mod aggregate;
pub mod appending;
mod backlog;
pub mod backoff;
pub mod config;
pub mod envelope;
pub mod fanout;
pub mod http_address;
pub mod http_origin;
mod intake;
pub mod jobs;
pub mod leases;
pub mod module;
pub mod network;
mod origin;
pub mod own_files;
pub mod position;
mod random;
pub mod reader;
pub mod rollout;
pub mod run_loop;
pub mod service;
pub mod shard;
pub mod stream;
pub mod task_dir;
pub mod text;

#[cfg(test)]
#[path = "../../sim/src/dice.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with the simulation")]
mod dice;

/// What is shared with the simulation names this crate as it does.
#[cfg(test)]
extern crate self as shardmill_core;

#[cfg(test)]
#[path = "../../sim/src/rows.rs"]
#[allow(unreachable_pub, reason = "shared with the simulation")]
mod rows;

#[cfg(test)]
#[path = "../../../tests/src/kpl.rs"]
#[allow(unreachable_pub, reason = "shared with other crates' tests")]
mod kpl;
