//! What a component does on purpose ends with an error and nothing else; beside it others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shardmill_core::config::Limits;
use shardmill_runtime::{CallError, Engine, Instance, Module, Outputs, TaskSpec, TrapReason};
use shardmill_tests::instances::{load, process, spec, texts};
use shardmill_tests::wait::LIMIT;
use shardmill_tests::wat;

/// Rounds of work whose time is compared, at least.
const ROUNDS: usize = 2000;

fn started(module: &Module, config: &[(&str, &str)]) -> Instance {
    let limits = Limits { call_timeout: LIMIT, ..Limits::default() };
    Instance::new(module, &TaskSpec { limits, ..spec(&Arc::default(), config) }).unwrap()
}

#[test]
fn a_trap_in_any_export_ends_the_instance() {
    let module = load(&Engine::new().unwrap(), "hostile");
    let orders = [("init", "trap"), ("window", "trap"), ("before-stop", "trap")];
    let mut outputs = Outputs::default();
    for (export, _) in orders {
        let mut instance = started(&module, &orders);
        let error = match export {
            "init" => instance.init().unwrap_err(),
            "window" => instance.window(0, 1, &mut outputs).unwrap_err(),
            _ => instance.before_stop(&mut outputs).unwrap_err(),
        };
        assert!(matches!(error, CallError::Trap { reason: TrapReason::Unreachable, .. }), "{export}: {error}");
        assert!(instance.has_ended() && outputs.is_empty(), "{export}");
        let ended = |error: &CallError| matches!(error, CallError::Ended(TrapReason::Unreachable));
        assert!(ended(&instance.init().unwrap_err()), "{export}");
        assert!(ended(&instance.window(0, 1, &mut outputs).unwrap_err()), "{export}");
        assert!(ended(&instance.before_stop(&mut outputs).unwrap_err()), "{export}");
        assert!(ended(&process(&mut instance, ["send a"], &mut outputs).unwrap_err().error), "{export}");
    }
}

#[test]
fn text_that_is_none_is_a_trap_wherever_it_goes() {
    let module = load(&Engine::new().unwrap(), "hostile");
    for place in ["log", "key", "output", "reason", "config", "error"] {
        let mut outputs = Outputs::default();
        let failed = process(&mut started(&module, &[]), [format!("not-text {place}")], &mut outputs).unwrap_err();
        assert!(failed.error.is_trap() && outputs.is_empty(), "{place}: {}", failed.error);
        assert!(failed.error.to_string().contains("utf-8"), "{place}: {}", failed.error);
    }
}

#[test]
fn many_short_sleeps_are_a_time_out_like_a_long_one() {
    let module = load(&Engine::new().unwrap(), "hostile");
    let limits = Limits { call_timeout: Duration::from_millis(300), ..Limits::default() };
    let mut instance = Instance::new(&module, &TaskSpec { limits, ..spec(&Arc::default(), &[]) }).unwrap();
    let failed = process(&mut instance, ["naps"], &mut Outputs::default()).unwrap_err();
    assert!(matches!(failed.error, CallError::Trap { reason: TrapReason::Timeout, .. }), "{}", failed.error);
}

#[test]
fn the_host_is_not_called_while_it_waits_for_memory() {
    let module = Engine::new().unwrap().load("x", &wat::task_that_calls_out_of_realloc()).unwrap();
    let failed = process(&mut started(&module, &[]), ["a"], &mut Outputs::default()).unwrap_err();
    assert!(failed.error.is_trap(), "{}", failed.error);
    assert!(failed.error.to_string().contains("cannot leave component instance"), "{}", failed.error);
}

#[test]
fn a_job_goes_on_beside_one_that_spins_and_one_that_hoards() {
    let engine = Engine::new().unwrap();
    let module = load(&engine, "hostile");
    let mut instance = Instance::new(&module, &spec(&Arc::default(), &[])).unwrap();
    let alone = cpu_time(|| {
        (0..ROUNDS).for_each(|_| round(&mut instance));
        ROUNDS
    });
    let done = AtomicBool::new(false);
    let traps = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for order in ["spin", "memory-bomb"] {
            let (module, done, traps) = (&module, &done, &traps);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let mut spec = spec(&Arc::default(), &[]);
                    spec.limits.call_timeout = Duration::from_millis(20);
                    spec.limits.memory_max_bytes = 8 << 20;
                    let mut instance = Instance::new(module, &spec).unwrap();
                    process(&mut instance, [order], &mut Outputs::default()).unwrap_err();
                    traps.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let beside = cpu_time(|| {
            let mut rounds = 0;
            while traps.load(Ordering::Relaxed) < 20 || rounds < ROUNDS {
                round(&mut instance);
                rounds += 1;
            }
            rounds
        });
        done.store(true, Ordering::Relaxed);
        eprintln!("CPU time of 200 envelopes: alone {alone} µs, beside a spinning and a hoarding job {beside} µs");
    });
}

/// Has a good job do its work once.
fn round(instance: &mut Instance) {
    let mut outputs = Outputs::default();
    process(instance, ["send a", "send b"].repeat(100), &mut outputs).unwrap();
    assert_eq!(texts(&outputs), ["a", "b"].repeat(100));
}

/// The CPU time of a round in microseconds; `rounds` says how many it did. Not the time on the clock: waiting for a core,
/// of which a machine may have few, is the scheduler's business.
fn cpu_time(rounds: impl FnOnce() -> usize) -> usize {
    // User and system time of this thread, in hundredths of a second.
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<usize>().unwrap()).sum::<usize>()
    };
    let before = ticks();
    let rounds = rounds();
    (ticks() - before) * 10_000 / rounds
}
