//! The whole consumer in simulated time: the real lease worker, readers and run loop, wired as the host's shells wire
//! them, against a model of Kinesis, a lease table, clocks and a network that fail in every way they can. An auditor sees
//! what the services carry out and what the tasks do, and ends a history at the first thing that must not happen.
//!
//! A history is one number: the same seed gives the same history everywhere.

mod audit;
mod chaos;
mod clock;
mod foreign;
mod kinesis;
mod network;
mod node;
mod outside;
mod queue;
mod quiet;
mod service;
mod table;
mod tasks;
mod trace;
mod versions;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use shardmill_testkit::{dice, kpl};

use trace::Trace;
use world::World;

pub use world::{Flaw, Report};

/// Plays the history of a seed, with nodes that have a flaw if one is given.
///
/// # Errors
/// What must not happen and did, after the last things that happened before it.
pub fn play(seed: u64, flaw: Option<Flaw>) -> Result<Report, String> {
    let (result, _) = play_once(seed, flaw, Trace::default());
    result.or_else(|_| {
        let (result, trace) = play_once(seed, flaw, Trace::kept());
        result.map_err(|what| format!("{}\n{what}", trace.tail()))
    })
}

/// Likewise; also tells all that happened.
pub fn tell(seed: u64, flaw: Option<Flaw>) -> (Result<Report, String>, String) {
    let (result, trace) = play_once(seed, flaw, Trace::kept());
    (result, trace.whole())
}

fn play_once(seed: u64, flaw: Option<Flaw>, trace: Trace) -> (Result<Report, String>, Trace) {
    let mut world = World::new(seed, flaw, trace);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    (result.unwrap_or_else(|_| Err("it panicked as printed above".to_owned())), world.out.trace)
}
