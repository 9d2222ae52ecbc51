//! The ways in which a job ends.

use super::*;

fn stopped(bench: &mut Bench, input: usize) -> Vec<String> {
    bench.lease(input, leases::Action::Stopped)
}

#[test]
fn a_stop_waits_for_every_task_and_then_for_every_lease_worker() {
    let mut bench = Bench::new(2);
    bench.start(0, "a1", 1);
    bench.read(0, 0, 1);
    assert_eq!(bench.on(Event::Stop), ["stop reading 0", "task 0: stop", "task 1: stop"]);
    assert_eq!(bench.on(Event::Stop), NONE);
    assert_eq!(bench.task(1, run_loop::Action::Finished(Ok(()))), NONE);
    let last = run_loop::Action::Checkpoint { source: 0, epoch: 1, checkpoint: Checkpoint::ShardEnd };
    assert_eq!(bench.task(0, last).len(), 1, "what is processed is still committed");
    assert_eq!(bench.task(0, run_loop::Action::Finished(Ok(()))), ["lease 0: stop", "lease 1: stop"]);
    assert_eq!(stopped(&mut bench, 1), NONE);
    assert_eq!(stopped(&mut bench, 0), ["end"]);
    assert_eq!(bench.on(Event::Stop), NONE, "once");
}

#[test]
fn nothing_is_read_any_more_once_the_job_finishes() {
    let mut bench = Bench::new(1);
    bench.start(0, "a1", 1);
    bench.on(Event::Stop);
    assert_eq!(bench.read(0, 0, 1), NONE);
}

#[test]
fn the_first_failure_is_the_reason() {
    let mut bench = Bench::new(2);
    bench.start(0, "b1", 1);
    let failed = run_loop::Action::Finished(Err(fatal(0)));
    assert_eq!(bench.task(1, failed), ["task 0: stop", "task 1: stop"], "the other finishes");
    bench.on(Event::PartGone { reason: "later".to_owned() });
    bench.task(0, run_loop::Action::Finished(Ok(())));
    stopped(&mut bench, 0);
    let reason = "end: shard b1 of kinesis.lines: sequence number 7 failed after 3 attempts: no";
    assert_eq!(stopped(&mut bench, 1), [reason]);
}

#[test]
fn a_stop_that_takes_too_long_releases_the_leases_without_the_tasks() {
    let mut bench = Bench::new(1);
    bench.start(0, "a1", 1);
    bench.on(Event::Stop);
    assert_eq!(bench.sleep(), ["lease 0: stop", "lease 1: stop"]);
    assert_eq!(bench.now, SHUTDOWN);
    let late = run_loop::Action::Checkpoint { source: 0, epoch: 1, checkpoint: Checkpoint::ShardEnd };
    assert_eq!(bench.task(0, late), NONE, "nothing that a task asks for is heard from here on");
    stopped(&mut bench, 0);
    let end = bench.sleep();
    assert_eq!(bench.now, SHUTDOWN + RELEASE_TIMEOUT, "and a table that does not answer is not waited for");
    assert!(end[0].starts_with("end: the stop took longer than task.shutdown.ms=30000"), "{end:?}");
}

#[test]
fn a_second_request_forces_the_stop_and_a_third_does_not_wait_for_the_leases() {
    let mut bench = Bench::new(1);
    bench.on(Event::Stop);
    assert_eq!(bench.on(Event::ForceStop), ["lease 0: stop", "lease 1: stop"]);
    assert_eq!(bench.on(Event::ForceStop).len(), 1);
}

#[test]
fn a_reader_that_fails_stops_the_job_unless_it_was_replaced() {
    let mut bench = Bench::new(1);
    bench.start(0, "a1", 1);
    bench.read(0, 0, 1);
    bench.read(0, 0, 2);
    let failed = |generation| {
        let (kind, message) = (crate::service::ErrorKind::Denied, String::new());
        let error = crate::service::ServiceError { kind, operation: "GetRecords", message };
        Event::ReaderFailed { source: 0, generation, error }
    };
    assert_eq!(bench.on(failed(1)), NONE);
    assert_eq!(bench.on(failed(2)), ["stop reading 0", "task 0: stop"]);
}

/// The leases of the other input are still released; those of this one run out.
#[test]
fn a_lease_worker_that_is_gone_stops_the_job() {
    let mut bench = Bench::new(1);
    bench.start(0, "a1", 5);
    bench.start(1, "a2", 1);
    let gone = Event::LeaseWorkerGone { input: 0, reason: "it panicked".to_owned() };
    assert_eq!(bench.on(gone), ["task 0: revoked 0 under 5", "task 0: stop"]);
    bench.task(0, run_loop::Action::Finished(Ok(())));
    assert_eq!(stopped(&mut bench, 1), ["end: it panicked"]);
}

#[test]
fn a_task_that_is_gone_is_not_waited_for() {
    let mut bench = Bench::new(1);
    let gone = Event::TaskGone { task: TaskId(0), reason: "it panicked".to_owned() };
    assert_eq!(bench.on(gone), ["lease 0: stop", "lease 1: stop"]);
}

#[test]
fn a_task_may_ask_for_the_end() {
    let mut bench = Bench::new(2);
    let asked = run_loop::Action::Shutdown("all is read".to_owned());
    assert_eq!(bench.task(1, asked), ["task 0: stop", "task 1: stop"]);
}
