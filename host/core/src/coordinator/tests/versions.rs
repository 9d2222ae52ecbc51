//! Versions of a job with two tasks: each has an instance of its own.

use super::*;
use crate::coordinator::HEALTH_INTERVAL;
use crate::rollout::Health;

fn with_shards() -> Bench {
    let mut bench = Bench::new(2);
    bench.start(0, "a1", 1);
    bench.start(0, "b1", 1);
    bench
}

/// A version that took over.
fn replaced() -> Bench {
    let mut bench = with_shards();
    bench.deploy(1, "v2");
    bench.built(0, 1);
    bench.built(1, 1);
    bench.written();
    bench
}

#[test]
fn a_version_takes_over_when_all_tasks_have_an_instance() {
    let mut bench = with_shards();
    assert_eq!(bench.deploy(1, "v2"), ["build 1 of v2 for 0", "build 1 of v2 for 1"]);
    assert_eq!(bench.built(1, 1), NONE);
    assert_eq!(bench.built(0, 1), ["write 1"]);
    assert_eq!(
        bench.written(),
        [
            "add 1 to 0",
            "task 0: route [(0, 1)] retire [0]",
            "add 1 to 1",
            "task 1: route [(1, 1)] retire [0]",
            "build 2 of v1 for 0",
            "build 2 of v1 for 1",
            "done 1",
        ]
    );
}

#[test]
fn a_version_that_one_task_cannot_start_is_refused_and_leaves_nothing_behind() {
    let mut bench = with_shards();
    bench.deploy(1, "v2");
    bench.built(0, 1);
    let failed = Event::Built { task: TaskId(1), instance: 1, result: Err("init: no".to_owned()) };
    assert_eq!(bench.on(failed), ["drop 1 of 0", "refused 1: init: no"]);
}

#[test]
fn instances_that_came_too_late_are_dropped() {
    let mut bench = with_shards();
    bench.deploy(1, "v2");
    assert_eq!(bench.deploy(2, "v3")[..2], ["build 2 of v3 for 0", "build 2 of v3 for 1"]);
    bench.built(0, 1);
    assert_eq!(bench.built(1, 1), ["drop 1 of 0", "drop 1 of 1"]);
}

/// Of each task by itself, and once.
#[test]
fn a_call_that_holds_up_a_move_is_interrupted_after_the_drain_time() {
    let mut bench = replaced();
    bench.task(0, run_loop::Action::Routed);
    assert_eq!(bench.coordinator.wake_at(), DRAIN.min(HEALTH_INTERVAL));
    bench.now = DRAIN;
    let actions = bench.on(Event::Tick);
    assert!(actions.contains(&"interrupt [0, 0] of 1".to_owned()), "{actions:?}");
    assert!(!actions.iter().any(|action| action.ends_with("of 0") && action.starts_with("interrupt")), "{actions:?}");
    assert!(bench.coordinator.is_needed(TaskId(1), 0), "until it is carried out");
    bench.now += 1;
    assert_eq!(bench.on(Event::Tick), NONE);
    bench.task(1, run_loop::Action::Routed);
    assert!(!bench.coordinator.is_needed(TaskId(1), 0));
}

#[test]
fn a_shard_that_comes_later_gets_an_instance_that_its_task_has() {
    let mut bench = replaced();
    assert_eq!(bench.start(0, "b2", 1), ["source 2 is b2 of 1", "task 1: assigned 2 under 1 at TRIM_HORIZON to 1"]);
}

/// Traps of both tasks count together.
#[test]
fn a_version_is_judged_by_all_of_its_instances() {
    let mut bench = replaced();
    bench.now = HEALTH_INTERVAL;
    assert!(bench.on(Event::Tick).contains(&"report health".to_owned()));
    let health = |task, traps| {
        let health = Health { calls: 10, failed_calls: traps, traps, ..Health::default() };
        Event::Health { task: TaskId(task), instance: 1, health }
    };
    assert_eq!(bench.on(health(0, 2)), NONE, "two traps are not too many");
    assert_eq!(bench.on(health(1, 1)), ["write 2"], "three are");
}

/// The one that gave up, and not the other.
#[test]
fn a_task_gives_up_when_no_other_version_takes_over() {
    let mut bench = with_shards();
    let gave_up = run_loop::Action::GaveUp { instance: 0, failure: fatal(1) };
    assert_eq!(bench.task(1, gave_up), ["task 1: give up 0"]);
}

#[test]
fn a_version_that_one_task_gives_up_goes_back_in_all_of_them() {
    let mut bench = replaced();
    bench.built(0, 2);
    bench.built(1, 2);
    let gave_up = run_loop::Action::GaveUp { instance: 1, failure: fatal(1) };
    assert_eq!(bench.task(1, gave_up), ["write 2"]);
    let back = bench.written();
    assert_eq!(back[..2], ["add 2 to 0", "task 0: route [(0, 2)] retire [1]"]);
    assert_eq!(back[2..4], ["add 2 to 1", "task 1: route [(1, 2)] retire [1]"]);
}
