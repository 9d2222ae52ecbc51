//! The stop: `before-stop`, the last commit, and the end of the loop.

use super::SETTINGS;
use super::bench::Bench;
use crate::position::Checkpoint;
use crate::run_loop::FailureClass::{Other, Trap};
use crate::run_loop::{Event, Returned};
use crate::time::Millis;

#[test]
fn a_stop_says_goodbye_commits_and_waits_for_the_answers() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[15, 5]);
    bench.ok();
    bench.ok();
    assert_eq!(bench.on(Event::Stop), [""; 0], "the call under way ends first");
    assert_eq!(bench.ok(), ["through 0 15", "before-stop"]);
    assert_eq!(bench.goodbye(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 15", "checkpoint 1 5"]);
    assert_eq!(bench.checkpointed(0), [""; 0]);
    assert_eq!(bench.checkpointed(1), ["finished"]);
    assert_eq!(bench.run_loop.wake_at(), Millis::MAX);
}

#[test]
fn an_idle_loop_stops_at_once() {
    let mut bench = Bench::new(SETTINGS);
    assert_eq!(bench.on(Event::Stop), ["before-stop"]);
    assert_eq!(bench.goodbye(), ["finished"]);
}

/// After the end nothing happens any more, whatever still comes in.
#[test]
fn the_end_is_said_once() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[0]);
    bench.on(Event::Stop);
    assert_eq!(bench.goodbye(), ["finished"]);
    assert_eq!(bench.deliver(0, 1..=5), [""; 0]);
    assert_eq!(bench.end(0), [""; 0]);
    assert_eq!(bench.assign(1, 1, Checkpoint::TrimHorizon), [""; 0]);
    assert_eq!(bench.on(Event::Revoked { source: 0, epoch: 1 }), [""; 0]);
    assert_eq!(bench.on(Event::Stop), [""; 0]);
    assert_eq!(bench.tick(99_999), [""; 0]);
}

/// What is queued but was not called stays for the next start.
#[test]
fn a_stop_does_not_work_off_the_queue() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[100]);
    bench.on(Event::Stop);
    assert_eq!(bench.ok(), ["before-stop"]);
    assert_eq!(bench.goodbye(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 10"]);
}

#[test]
fn a_stop_during_a_flush_commits_what_came_after_it_too() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[15]);
    bench.ok_commit();
    assert_eq!(bench.on(Event::Stop), [""; 0]);
    assert_eq!(bench.flushed(), ["checkpoint 0 10", "before-stop"]);
    assert_eq!(bench.goodbye(), [""; 0], "the first answer is awaited");
    assert_eq!(bench.checkpointed(0), ["finished"]);
}

/// The answer of an earlier commit is still to come: the last commit follows it.
#[test]
fn the_last_commit_follows_the_one_under_way() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[15]);
    bench.ok_commit();
    bench.flushed();
    bench.on(Event::Stop);
    assert_eq!(bench.ok(), ["through 0 15", "before-stop"]);
    assert_eq!(bench.goodbye(), [""; 0]);
    assert_eq!(bench.checkpointed(0), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 15"]);
    assert_eq!(bench.checkpointed(0), ["finished"]);
}

/// A failed call at the stop is not repeated: the next start does.
#[test]
fn a_call_that_fails_during_the_stop_is_left_to_the_next_start() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    bench.on(Event::Stop);
    assert_eq!(bench.fail(2, None, Other), ["before-stop"]);
    assert_eq!(bench.goodbye(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 2"]);
    assert_eq!(bench.checkpointed(0), ["finished"]);
}

/// There is no instance left to say goodbye, and its memory of what it processed is gone.
#[test]
fn a_trap_during_the_stop_commits_nothing() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[15]);
    bench.ok();
    bench.on(Event::Stop);
    assert_eq!(bench.fail(2, None, Trap), ["finished"]);
}

/// A stop during a rebuild lets the new instance say goodbye, but reads nothing for it any more.
#[test]
fn a_stop_during_a_rebuild_reads_nothing_again() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    bench.fail(0, None, Trap);
    assert_eq!(bench.on(Event::Stop), [""; 0]);
    assert_eq!(bench.rebuilt(), ["before-stop"]);
    assert_eq!(bench.goodbye(), ["finished"]);
}

#[test]
fn a_guest_may_ask_for_the_stop_of_the_job() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    let shutdown = Some("seen enough".to_owned());
    let actions = bench.on(Event::Returned(Returned { processed: 5, shutdown, ..Returned::default() }));
    assert_eq!(actions, ["shutdown: seen enough", "through 0 5"], "the host decides");
}

/// A failure of the last flush is the job's failure; an earlier one is not overwritten.
#[test]
fn a_failed_last_flush_is_told() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    bench.on(Event::Stop);
    bench.ok();
    bench.goodbye();
    assert_eq!(bench.on(Event::Flushed(Err("gone".to_owned()))), [r#"failed: Flush("gone")"#]);
}

/// A shard that ends while the loop stops is sealed with the last commit.
#[test]
fn a_shard_that_ended_before_the_stop_is_sealed_by_the_last_commit() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    bench.end(0);
    bench.on(Event::Stop);
    bench.ok();
    assert_eq!(bench.goodbye(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 5", "end 0 children 1"]);
    assert_eq!(bench.checkpointed(0), ["finished"]);
}
