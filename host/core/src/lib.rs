//! The pure part of shardmill: what a record, a position, a lease and a job are, and the state machines that decide
//! what happens next. No I/O, no clock, no randomness of its own: time and results come in as arguments, intentions
//! go out as values. It must not know tokio, AWS, Wasmtime or the environment.

pub mod appending;
pub mod backoff;
pub mod compile_queue;
pub mod config;
pub mod control;
pub mod coordinator;
pub mod envelope;
pub mod hex;
pub mod http_address;
pub mod http_origin;
pub mod jobs;
pub mod kinesis;
pub mod leases;
pub mod memory_budget;
pub mod module;
pub mod network;
pub mod own_files;
pub mod position;
mod random;
pub mod rollout;
pub mod run_loop;
pub mod service;
pub mod task_dir;
pub mod text;
pub mod time;

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
