//! The lease machine against a model of the table and of the stream: named cases here; the crate `sim` runs whole fleets
//! under faults in simulated time. Numbers such as (7) are the items of the conformance list for workers that share a
//! table with the Kinesis Client Library.

mod contradictions;
mod deleted;
mod duplicate;
mod hostile;
mod items;
mod latest;
mod limits;
mod lineage;
mod model;
mod reshard;
mod rows;
mod share;
mod solo;
mod start;
mod start_races;
mod stop;
mod syncer;
mod unreadable;
mod upkeep;

use super::{Cleanup, Settings};
use crate::position::{Checkpoint, InitialPosition};
use crate::time::Millis;

const FAILOVER: Millis = 10_000;
/// Longer than it takes to find an expired lease: its age, and the time between two scans.
const TAKE_OVER: Millis = 31_000;

fn settings(worker: &str) -> Settings {
    Settings {
        table: "table".to_owned(),
        worker: worker.to_owned(),
        failover: FAILOVER,
        initial_position: InitialPosition::TrimHorizon,
        max_leases: usize::MAX,
        max_leases_to_steal: 1,
        parent_poll: 10_000,
        seed: 1,
        audit_interval: 120_000,
        audit_confidence: 3,
        shard_sync_interval: None,
        cleanup: Some(Cleanup { completed: 300_000, garbage: 1_800_000 }),
        ignore_unexpected_children: false,
    }
}

fn at(sequence: u64) -> Checkpoint {
    Checkpoint::from_row(&sequence.to_string(), 0).unwrap()
}
