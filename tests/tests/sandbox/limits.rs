//! Time, memory, stack, outputs and log are bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shardmill_core::config::Limits;
use shardmill_runtime::{CallError, Engine, Instance, Limit, Module, Outputs, TaskError, TaskSpec, TrapReason};
use shardmill_tests::instances::{Lines, load, process, spec, texts};
use shardmill_tests::wait::LIMIT;

use shardmill_tests::wat;

/// The time that a call has which is meant to take too long.
const SHORT: Duration = Duration::from_millis(300);

/// Tight enough for tests. Of time there is plenty: on a machine that does many other things all else takes long.
fn limited(log: &Arc<Lines>, config: &[(&str, &str)]) -> TaskSpec {
    TaskSpec {
        limits: Limits {
            call_timeout: LIMIT,
            init_timeout: LIMIT,
            memory_max_bytes: 32 << 20,
            output_max_bytes: 1 << 20,
            output_max_count: 1000,
            log_max_bytes: 10_000,
            log_max_lines: 10_000,
            ..Limits::default()
        },
        ..spec(log, config)
    }
}

/// The same with little time.
fn hurried(log: &Arc<Lines>, config: &[(&str, &str)]) -> TaskSpec {
    let mut spec = limited(log, config);
    (spec.limits.call_timeout, spec.limits.init_timeout) = (SHORT, SHORT);
    spec
}

fn hostile() -> Module {
    load(&Engine::new().unwrap(), "hostile")
}

/// How the instance ends when it is given this order, after an envelope that is fine. A new instance works.
#[track_caller]
fn trap(order: &str) -> (TrapReason, String) {
    trap_of(&limited(&Arc::default(), &[]), order)
}

#[track_caller]
fn trap_of(spec: &TaskSpec, order: &str) -> (TrapReason, String) {
    let module = hostile();
    let mut instance = Instance::new(&module, spec).unwrap();
    let mut outputs = Outputs::default();
    let failed = process(&mut instance, ["send fine", order], &mut outputs).unwrap_err();
    assert_eq!((failed.processed, failed.culprit), (1, Some(1)));
    assert_eq!(texts(&outputs), ["fine"], "nothing of the call that trapped is left");
    let again = process(&mut instance, ["send more"], &mut outputs).unwrap_err();
    assert!(matches!(again.error, CallError::Ended(_)) && again.error.is_trap(), "{}", again.error);
    let mut instance = Instance::new(&module, &limited(&Arc::default(), &[])).unwrap();
    process(&mut instance, ["send again"], &mut outputs).unwrap();
    assert_eq!(texts(&outputs), ["fine", "again"]);
    match failed.error {
        CallError::Trap { reason, message } => (reason, message),
        other => panic!("{other}"),
    }
}

#[test]
fn a_trap_names_its_reason_and_shows_where() {
    let (reason, message) = trap("send-then trap");
    assert_eq!(reason, TrapReason::Unreachable);
    assert!(message.contains("unreachable") && message.contains("hostile::act"), "{message}");
}

#[test]
fn a_panic_shows_its_message() {
    let (reason, message) = trap("panic what a \u{1F4A5}");
    assert_eq!(reason, TrapReason::Unreachable);
    assert!(message.contains("what a \u{1F4A5}") && message.contains("hostile/src/lib.rs"), "{message}");
}

#[test]
fn exit_is_a_trap() {
    let (reason, message) = trap("exit");
    assert_eq!(reason, TrapReason::Other);
    assert!(message.contains("exit"), "{message}");
}

#[test]
fn an_endless_loop_is_a_time_out() {
    let (reason, message) = trap_of(&hurried(&Arc::default(), &[]), "send-then spin");
    assert_eq!(reason, TrapReason::Timeout);
    assert!(message.starts_with("it was still running after 300 ms\n"), "{message}");
}

#[test]
fn a_long_sleep_is_a_time_out_though_it_sleeps_in_the_host() {
    assert_eq!(trap_of(&hurried(&Arc::default(), &[]), "send-then sleep").0, TrapReason::Timeout);
}

#[test]
fn a_memory_bomb_is_stopped_at_the_limit() {
    let (reason, message) = trap("memory-bomb");
    assert_eq!(reason, TrapReason::Memory);
    assert!(message.contains("may have 33554432 (task.memory.max.mb)"), "{message}");
}

#[test]
fn endless_recursion_is_a_stack_overflow() {
    // Its own stack overflows before wasmtime's does, or not: in both cases it ends.
    let (reason, message) = trap("recurse");
    assert!(matches!(reason, TrapReason::Stack | TrapReason::Other), "{reason}: {message}");
}

#[test]
fn endless_recursion_without_a_stack_of_its_own_is_a_stack_overflow() {
    let module = Engine::new().unwrap().load("x", &wat::task("(call $f)", "(func $f (result i32) (call $f))")).unwrap();
    let mut instance = Instance::new(&module, &limited(&Arc::default(), &[])).unwrap();
    let failed = process(&mut instance, ["a"], &mut Outputs::default()).unwrap_err();
    assert!(matches!(failed.error, CallError::Trap { reason: TrapReason::Stack, .. }), "{}", failed.error);
}

#[test]
fn init_and_the_start_function_have_their_time() {
    let mut instance = Instance::new(&hostile(), &hurried(&Arc::default(), &[("init", "spin")])).unwrap();
    let error = instance.init().unwrap_err();
    assert!(matches!(error, CallError::Trap { reason: TrapReason::Timeout, .. }), "{error}");

    let looping = wat::task("(i32.const 0)", "(func $start (loop (br 0))) (start $start)");
    let module = Engine::new().unwrap().load("x", &looping).unwrap();
    let began = Instant::now();
    let Err(error) = Instance::new(&module, &hurried(&Arc::default(), &[])) else { panic!("it cannot start") };
    assert!(matches!(error, CallError::Trap { reason: TrapReason::Timeout, .. }), "{error}");
    assert!(began.elapsed() >= SHORT, "it had its time");
}

#[test]
fn a_component_that_starts_above_the_memory_limit_does_not_start() {
    let engine = Engine::new().unwrap();
    let pages = |count: usize| wat::task("(i32.const 0)", &format!("(memory {count})"));
    // The limit is 512 pages, the component has a memory of one page already, and its context counts, too.
    let module = engine.load("x", &pages(510)).unwrap();
    Instance::new(&module, &limited(&Arc::default(), &[])).unwrap();
    let module = engine.load("x", &pages(511)).unwrap();
    let Err(error) = Instance::new(&module, &limited(&Arc::default(), &[])) else { panic!("it is over the limit") };
    assert!(matches!(error, CallError::TooLarge { .. }), "{error}");
}

#[test]
fn a_call_sends_so_many_messages_and_the_next_call_as_many_again() {
    let mut instance = Instance::new(&hostile(), &limited(&Arc::default(), &[])).unwrap();
    let mut outputs = Outputs::default();
    process(&mut instance, ["count-flood", "count-flood"], &mut outputs).unwrap();
    assert_eq!(outputs.len(), 2000);
}

#[test]
fn a_call_sends_so_many_bytes_and_the_next_call_as_many_again() {
    let mut instance = Instance::new(&hostile(), &limited(&Arc::default(), &[])).unwrap();
    let mut outputs = Outputs::default();
    process(&mut instance, ["bytes-flood 100000", "bytes-flood 100000"], &mut outputs).unwrap();
    assert_eq!((outputs.len(), outputs.bytes()), (20, 2_000_000));
}

#[test]
fn a_message_that_can_never_be_sent_has_an_error_of_its_own() {
    let mut instance = Instance::new(&hostile(), &limited(&Arc::default(), &[])).unwrap();
    let mut outputs = Outputs::default();
    for order in [format!("giant-flood {}", (1 << 20) + 1), format!("key-flood {}", (1 << 20) + 1)] {
        let failed = process(&mut instance, [order], &mut outputs).unwrap_err();
        let CallError::Task(TaskError::Other(text)) = failed.error else { panic!("{}", failed.error) };
        assert!(text.contains("TooLarge"), "{text}");
    }
    process(&mut instance, [format!("giant-flood {}", 1 << 20)], &mut outputs).unwrap();
    assert_eq!((outputs.len(), outputs.bytes()), (1, 1 << 20));
}

#[test]
fn a_giant_string_for_the_host_is_a_trap() {
    for order in ["giant-flood 10000000", "reason-flood 10000000", "line-flood 10000000"] {
        assert_eq!(trap(order).0, TrapReason::HostcallLimit, "{order}");
    }
}

#[test]
fn the_host_makes_no_giant_list_for_a_task() {
    let (reason, message) = trap("random-flood 1000000000000");
    assert_eq!(reason, TrapReason::Other);
    assert!(message.contains("exceeds limit 1048576"), "{message}");
}

#[test]
fn the_number_of_output_streams_is_bounded() {
    let mut instance = Instance::new(&hostile(), &spec(&Arc::default(), &[])).unwrap();
    let failed = process(&mut instance, ["name-flood"], &mut Outputs::default()).unwrap_err();
    let CallError::Task(TaskError::Other(text)) = failed.error else { panic!("{}", failed.error) };
    assert_eq!(text, "Some((10000, SendError::Limit))");
}

#[test]
fn a_log_flood_is_cut_with_a_note() {
    for (order, stream) in [("log-flood", "Log"), ("print-flood", "Stdout")] {
        let log = Arc::new(Lines::default());
        let mut instance = Instance::new(&hostile(), &limited(&log, &[])).unwrap();
        process(&mut instance, [order, "log after"], &mut Outputs::default()).unwrap();
        let lines = log.taken();
        let (flood, rest) = lines.split_at(lines.len() - 2);
        let at = "Task-0 shardId-000000000000/1";
        assert_eq!(flood[0], format!("INFO {stream} {at} line 0"));
        let bytes: usize = flood.iter().map(|line| line.len() - format!("INFO {stream} {at} ").len()).sum();
        assert!((8_000..=10_000).contains(&bytes), "{bytes} bytes got through");
        assert!(rest[0].starts_with(&format!("WARN Host {at} ")) && rest[0].contains("bytes of log were dropped"));
        assert_eq!(rest[1], "ERROR Log Task-0 shardId-000000000000/2 after", "the next call may log again");
    }
}

#[test]
fn lines_of_log_are_counted_too() {
    let log = Arc::new(Lines::default());
    let mut spec = limited(&log, &[]);
    spec.limits.log_max_lines = 2;
    let mut instance = Instance::new(&hostile(), &spec).unwrap();
    process(&mut instance, ["print 1\n2\n3\n4", "print 5"], &mut Outputs::default()).unwrap();
    let at = |call| format!("Task-0 shardId-000000000000/{call}");
    assert_eq!(
        log.taken(),
        [
            format!("INFO Stdout {} 1", at(1)),
            format!("INFO Stdout {} 2", at(1)),
            format!("WARN Host {} 2 lines of log were dropped: one call may log 2 lines (task.log.max.lines)", at(1)),
            format!("INFO Stdout {} 5", at(2)),
        ]
    );
    assert_eq!(spec.hits.hit().collect::<Vec<_>>(), [(Limit::LogLines, 1)]);
}

#[test]
fn every_limit_that_is_hit_is_counted() {
    let module = hostile();
    let mut spec = limited(&Arc::default(), &[]);
    spec.limits.log_max_bytes = 10;
    let orders = [
        ("spin", Limit::CallTime),
        ("sleep", Limit::CallTime),
        ("memory-bomb", Limit::Memory),
        ("line-flood 10000000", Limit::HostCall),
        ("count-flood", Limit::OutputCount),
        ("bytes-flood 100000", Limit::OutputBytes),
        ("giant-flood 1048577", Limit::OutputBytes),
        ("log longer than ten bytes", Limit::LogBytes),
    ];
    for (order, limit) in orders {
        spec.hits = Arc::default();
        spec.limits.call_timeout = if limit == Limit::CallTime { SHORT } else { LIMIT };
        let mut instance = Instance::new(&module, &spec).unwrap();
        drop(process(&mut instance, [order], &mut Outputs::default()));
        assert_eq!(spec.hits.hit().collect::<Vec<_>>(), [(limit, 1)], "{order}");
    }
    spec.hits = Arc::default();
    spec.config = [("init".to_owned(), "spin".to_owned())].into();
    spec.limits.init_timeout = SHORT;
    Instance::new(&module, &spec).unwrap().init().unwrap_err();
    assert_eq!(spec.hits.of(Limit::InitTime), 1);

    let engine = Engine::new().unwrap();
    for (parts, limit) in [
        ("(func $f (result i32) (call $f))", Limit::Stack),
        (
            "(table $t 1 funcref) (func $f (result i32) (table.grow $t (ref.null func) (i32.const 2000000)))",
            Limit::Tables,
        ),
    ] {
        spec.hits = Arc::default();
        spec.limits.init_timeout = LIMIT;
        let module = engine.load("x", &wat::task("(call $f)", parts)).unwrap();
        process(&mut Instance::new(&module, &spec).unwrap(), ["a"], &mut Outputs::default()).unwrap_err();
        assert_eq!(spec.hits.hit().collect::<Vec<_>>(), [(limit, 1)]);
    }
}

#[test]
fn an_endless_line_is_cut_into_pieces() {
    let log = Arc::new(Lines::default());
    let mut instance = Instance::new(&hostile(), &limited(&log, &[])).unwrap();
    process(&mut instance, ["eprint-flood 9000"], &mut Outputs::default()).unwrap();
    let lengths: Vec<_> = log.taken().iter().map(|line| line.matches('x').count()).collect();
    assert_eq!(lengths, [4096, 4096, 808]);
}

#[test]
fn a_result_that_is_none_is_a_trap() {
    let engine = Engine::new().unwrap();
    // At 16: an error, `reject`, whose text lies outside the memory; at 0 for the second: a case that does not exist.
    let outside = "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 20) (i32.const 1))
        (i32.store (i32.const 24) (i32.const -8)) (i32.store (i32.const 28) (i32.const 100)) (i32.const 16)";
    let no_case = "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 20) (i32.const 9)) (i32.const 16)";
    let not_text = "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 20) (i32.const 1))
        (i32.store (i32.const 24) (i32.const 64)) (i32.store (i32.const 28) (i32.const 1))
        (i32.store8 (i32.const 64) (i32.const 255)) (i32.const 16)";
    for body in [outside, no_case, not_text, "(i32.const -4)"] {
        let module = engine.load("x", &wat::task(body, "")).unwrap();
        let mut instance = Instance::new(&module, &limited(&Arc::default(), &[])).unwrap();
        let failed = process(&mut instance, ["a"], &mut Outputs::default()).unwrap_err();
        assert!(failed.error.is_trap(), "{body}: {}", failed.error);
    }
}
