//! A module is tried out before it may touch a stream, and nothing of that leaves.

use std::sync::Arc;
use std::time::Duration;

use shardmill_core::config::Limits;
use shardmill_runtime::trial::{self, Difference, Recent, ShadowReport};
use shardmill_runtime::{CallError, Engine, Module, OutputStreams, TaskSpec, TrapReason};
use shardmill_tests::instances::{Lines, batch, load, spec};
use shardmill_tests::wait::LIMIT;
use shardmill_tests::wat;

/// One batch for each text, of envelopes that hold its words.
fn recent(texts: &[&str]) -> Vec<Recent> {
    let one = |text: &&str| {
        let batch = batch(text.split(", "));
        Recent { source: 0, range: 0..batch.len(), batch: Arc::new(batch) }
    };
    texts.iter().map(one).collect()
}

fn compare(engine: &Engine, old: &Module, body: &str, recent: &[Recent]) -> ShadowReport {
    let new = engine.load("new", &wat::task(body, "")).unwrap();
    // Little time only for what takes it all: on a machine that does many other things all else takes long.
    let call_timeout = if body.contains("loop") { Duration::from_millis(200) } else { LIMIT };
    let limits = Limits { call_timeout, ..Limits::default() };
    trial::shadow(old, &new, &TaskSpec { limits, ..spec(&Arc::default(), &[]) }, recent)
}

#[test]
fn a_start_reports_what_it_took_and_what_was_logged() {
    let engine = Engine::new().unwrap();
    let log = Arc::new(Lines::default());
    let report = trial::start(&load(&engine, "hostile"), &spec(&log, &[("init", "eprint starting")])).unwrap();
    assert_eq!(report.log, ["WARN starting"]);
    assert!(report.memory_bytes >= 1 << 20 && report.instantiate > Duration::ZERO && report.init > Duration::ZERO);
    assert!(log.taken().is_empty(), "the job's log is not the trial's");
}

#[test]
fn a_module_that_does_not_start_says_why() {
    let engine = Engine::new().unwrap();
    let module = load(&engine, "hostile");
    let start = |order: &str| {
        let mut spec = spec(&Arc::default(), &[("init", order)]);
        spec.limits.init_timeout = if order == "spin" { Duration::from_millis(500) } else { LIMIT };
        spec.limits.memory_max_bytes = 16 << 20;
        trial::start(&module, &spec).unwrap_err()
    };
    let error = start("fatal no table of prices");
    assert!(error.to_string().starts_with("it does not start: the task cannot continue: init: "), "{error}");
    assert!(error.to_string().contains("no table of prices"), "{error}");
    assert!(matches!(start("spin").error, CallError::Trap { reason: TrapReason::Timeout, .. }));
    assert!(matches!(start("memory-bomb").error, CallError::Trap { reason: TrapReason::Memory, .. }));
    let error = start("panic out of paper").to_string();
    assert!(error.contains("\n  log: WARN") && error.contains("out of paper"), "{error}");
    assert!(start("send hello").to_string().contains("messages can be sent in process"));
}

#[test]
fn outputs_named_in_a_trial_are_not_known_to_the_job() {
    let engine = Engine::new().unwrap();
    let module = load(&engine, "hostile");
    let mut spec = spec(&Arc::default(), &[]);
    let streams = Arc::new(OutputStreams::new(["out".into()]));
    spec.outputs = Arc::clone(&streams);
    let report = trial::shadow(&module, &module, &spec, &recent(&["send a, send b"]));
    assert_eq!((report.new.messages, report.new.bytes), (2, 2));
    assert!(streams.get(0).is_none());
}

#[test]
fn a_version_that_does_the_same_is_not_worse() {
    let engine = Engine::new().unwrap();
    let module = load(&engine, "hostile");
    let records = recent(&["send a, send b", "reject no, send c", "other no, send-then trap, send d"]);
    let report = trial::shadow(&module, &module, &spec(&Arc::default(), &[]), &records);
    assert_eq!(report.problems(), Vec::<String>::new());
    assert_eq!((&report.difference, report.old.envelopes, report.new.envelopes), (&None, 7, 7));
    let failed = [("other", 1), ("reject", 1), ("unreachable", 1)].map(|(class, count)| (class.to_owned(), count));
    assert_eq!(report.new.failed, failed.into());
    assert_eq!((report.new.messages, report.new.calls, report.new.traps), (4, 7, 1));
    assert!(report.to_string().ends_with("the same output"), "{report}");
}

#[test]
fn another_output_is_shown_and_not_held_against_it() {
    let engine = Engine::new().unwrap();
    let old = load(&engine, "hostile-batch");
    let new = load(&engine, "hostile");
    // The one sends its orders, the other carries them out.
    let records = recent(&["commit", "send a, send b"]);
    let report = trial::shadow(&old, &new, &spec(&Arc::default(), &[]), &records);
    assert_eq!(report.problems(), Vec::<String>::new());
    assert_eq!(report.difference, Some(Difference { source: 0, sequence: "1".into() }));
    assert!(report.to_string().ends_with("different output from source 0, sequence number 1 on"), "{report}");
}

#[test]
fn a_batch_that_fails_in_the_middle_is_taken_as_the_host_takes_it() {
    let engine = Engine::new().unwrap();
    let module = load(&engine, "hostile-batch");
    let report = trial::shadow(&module, &module, &spec(&Arc::default(), &[]), &recent(&["a, b, reject, c", "d"]));
    assert_eq!((report.new.envelopes, report.new.failures(), report.new.messages), (5, 1, 4));
    assert_eq!(report.difference, None);
}

#[test]
fn more_failures_are_worse() {
    let engine = Engine::new().unwrap();
    let old = engine.load("old", &wat::task("(i32.const 0)", "")).unwrap();
    let records = recent(&["a, b", "c, d"]);
    let rejecting =
        "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 20) (i32.const 1)) (i32.const 16)";
    let report = compare(&engine, &old, rejecting, &records);
    assert_eq!(
        report.problems(),
        ["it failed on 4 of 4 envelopes (reject: 4), the running version on 0; the first time: the task rejects the \
          envelope: "]
    );
    let report = compare(&engine, &old, "unreachable", &records);
    assert_eq!((report.new.traps, report.new.cut_short), (3, true), "it is not tried for ever");
    let told = report.problems().concat();
    assert!(told.starts_with("it failed on 3 of 3 envelopes (unreachable: 3), the running version on 0; "), "{told}");
    let report = compare(&engine, &old, "(loop (br 0)) (i32.const 0)", &records);
    assert_eq!(report.new.failed, [("time-out".to_owned(), 3)].into());
}
