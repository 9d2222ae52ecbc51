//! The pure part of shardmill: what a record, a position, a lease and a job are, and the state machines that decide
//! what happens next. No I/O, no clock, no randomness of its own: time and results come in as arguments, intentions
//! go out as values. It must not know tokio, AWS, Wasmtime or the environment.

#![warn(clippy::iter_over_hash_type, reason = "the order differs from run to run, and so would what a machine decides")]

pub mod appending;
pub mod backoff;
pub mod compile_queue;
pub mod config;
pub mod control;
pub mod coordinator;
pub mod envelope;
pub mod grouper;
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
use shardmill_testkit::{dice, kpl};
