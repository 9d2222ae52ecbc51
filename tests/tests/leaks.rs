//! Ten thousand hostile rounds leave no memory behind. In a process of its own, because that is what is measured.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test panics and talks")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shardmill_core::config::Limits;
use shardmill_runtime::{ArtifactStore, Engine, Instance, Outputs, TaskSpec, module_id};
use shardmill_tests::instances::{load, process, spec};
use shardmill_tests::wat;

const ROUNDS: usize = 10_000;
/// Rounds after which everything that is kept for good is there.
const WARM: usize = 2_000;
/// A leak of 4 KiB a round would be twice that.
const GROWTH_MAX_MIB: usize = 16;

/// One of every hundred rounds takes its time.
const SLOW: [&str; 3] = ["spin", "sleep", "naps"];
const ORDERS: [&str; 12] = [
    "panic at the disco",
    "send-then trap",
    "exit",
    "recurse",
    "memory-bomb",
    "count-flood",
    "bytes-flood 10000",
    "giant-flood 100000",
    "line-flood 100000",
    "not-text log",
    "random-flood 1000000000000",
    "reject no",
];

/// What is measured is the process, so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn resident_mib() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
    (pages * 4096) >> 20
}

#[test]
fn ten_thousand_rounds_of_hostile_tasks_leave_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = Engine::new().unwrap();
    let module = load(&engine, "hostile");
    let limits = Limits {
        call_timeout: Duration::from_millis(10),
        memory_max_bytes: 2 << 20,
        output_max_bytes: 100_000,
        output_max_count: 100,
        log_max_bytes: 1000,
        ..Limits::default()
    };
    let spec = TaskSpec { limits, ..spec(&Arc::default(), &[]) };
    let mut warm = 0;
    for round in 0..ROUNDS {
        let order = if round % 100 == 0 { SLOW[round / 100 % SLOW.len()] } else { ORDERS[round % ORDERS.len()] };
        let mut instance = Instance::new(&module, &spec).unwrap();
        // A flood is told that it is one; everything else ends here.
        drop(process(&mut instance, ["send fine", order], &mut Outputs::default()));
        if round == WARM {
            warm = resident_mib();
        }
    }
    let end = resident_mib();
    eprintln!("{warm} MiB after {WARM} rounds, {end} MiB after {ROUNDS}");
    assert!(end <= warm + GROWTH_MAX_MIB, "{warm} MiB after {WARM} rounds, {end} MiB after {ROUNDS}");
}

#[test]
fn modules_that_come_and_go_leave_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(&directory.path().join("modules")).unwrap();
    let engine = Engine::new().unwrap();
    let wasm = wat::task("(i32.const 0)", "");
    let id = module_id(&wasm).of_job("x");
    // Compiled by another one, as it is in a process of its own: an engine keeps what a compilation needed.
    store.put(&engine, &id, &Engine::new().unwrap().precompile("x", &wasm).unwrap()).unwrap();
    let spec = spec(&Arc::default(), &[]);
    let mut warm = 0;
    for round in 0..ROUNDS / 5 {
        let module = store.get(&engine, &id).unwrap().unwrap();
        process(&mut Instance::new(&module, &spec).unwrap(), ["a"], &mut Outputs::default()).unwrap();
        if round == WARM / 5 {
            warm = resident_mib();
        }
    }
    let end = resident_mib();
    assert!(end <= warm + GROWTH_MAX_MIB, "{warm} MiB, then {end} MiB");
}
