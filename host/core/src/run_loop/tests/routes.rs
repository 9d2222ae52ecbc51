//! Moves of sources between instances.

use super::SETTINGS;
use super::bench::Bench;
use crate::position::Checkpoint;
use crate::run_loop::FailureClass::{Host, Other, Reject, Trap};
use crate::run_loop::{Event, InstanceId, RebuildFailure, SourceId};
use crate::time::Millis;

const NONE: [&str; 0] = [];

/// Sources with envelopes, and a second instance.
fn with_successor(records: &[u64]) -> Bench {
    let (mut bench, _) = Bench::delivered(SETTINGS, records);
    assert_eq!(bench.on(Event::Added { instance: 1 }), NONE);
    bench.has_fallback = true;
    bench
}

impl Bench {
    fn route(&mut self, moves: &[(SourceId, InstanceId)], retire: &[InstanceId]) -> Vec<String> {
        self.on(Event::Route { moves: moves.to_vec(), retire: retire.to_vec() })
    }
}

#[test]
fn a_swap_is_goodbye_flush_checkpoint_and_the_next_envelope() {
    let mut bench = with_successor(&[25]);
    assert_eq!(bench.route(&[(0, 1)], &[0]), NONE, "the call in flight ends first");
    assert_eq!(bench.ok(), ["before-stop"]);
    assert_eq!(bench.goodbye(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 10", "drop 0", "routed", "call 0 11-20 on 1"], "nothing is read again");
}

/// A canary: the old instance keeps some of its sources, so it does not say goodbye.
#[test]
fn a_part_of_the_sources_moves_without_a_goodbye() {
    let mut bench = with_successor(&[25, 25]);
    bench.route(&[(1, 1)], &[]);
    assert_eq!(bench.ok(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 10", "routed", "call 1 1-10 on 1"]);
    assert_eq!(bench.ok(), ["call 0 11-20"]);
    assert_eq!(bench.route(&[(1, 0)], &[1]), NONE, "and back");
    assert_eq!(bench.ok(), ["before-stop on 1"]);
    assert_eq!(bench.goodbye(), ["flush"], "the answer for the last checkpoint is not waited for");
    assert_eq!(bench.flushed(), ["drop 1", "routed", "call 1 11-20"]);
}

/// The last commit's checkpoints hang: the outputs are made durable, the checkpoints follow when they are answered.
#[test]
fn a_lease_table_that_hangs_does_not_hold_up_a_swap() {
    let mut bench = with_successor(&[25]);
    bench.ok_commit();
    assert_eq!(bench.flushed(), ["checkpoint 0 10", "call 0 11-20"]);
    bench.route(&[(0, 1)], &[0]);
    bench.ok();
    assert_eq!(bench.goodbye(), ["flush"]);
    assert_eq!(bench.flushed(), ["drop 0", "routed", "call 0 21-25 on 1"]);
    // What was flushed is not read again, although its checkpoint is not written.
    assert_eq!(bench.fail(0, None, Trap), ["rebuild on 1"]);
    assert_eq!(bench.rebuilt(), ["read 0 from 20"]);
    assert_eq!(bench.checkpointed(0), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 20"]);
}

#[test]
fn after_a_trap_in_its_goodbye_the_successor_reads_from_the_last_commit() {
    let mut bench = with_successor(&[25]);
    bench.route(&[(0, 1)], &[0]);
    bench.ok();
    assert_eq!(bench.on(Event::BeforeStopReturned { trapped: true }), ["flush"]);
    assert_eq!(bench.flushed(), ["read 0 from TRIM_HORIZON", "drop 0", "routed"]);
}

#[test]
fn a_call_that_traps_while_its_source_is_to_move_is_replayed_by_the_successor() {
    let mut bench = with_successor(&[25]);
    bench.route(&[(0, 1)], &[0]);
    assert_eq!(bench.fail(3, None, Trap), ["read 0 from TRIM_HORIZON", "drop 0", "routed"], "nothing is built for it");
}

/// A call that is ended for a rollout: neither an attempt, nor a trouble that anybody hears of.
#[test]
fn a_call_that_is_ended_for_its_successor_is_replayed_as_a_first_attempt() {
    let mut bench = with_successor(&[5, 5]);
    bench.route(&[(0, 1), (1, 1)], &[0]);
    let reads = ["read 0 from TRIM_HORIZON", "read 1 from TRIM_HORIZON", "drop 0", "routed"];
    assert_eq!(bench.fail(3, None, Host), reads);
    assert_eq!(bench.deliver(0, 1..=5), ["call 0 1-5 on 1"]);
}

#[test]
fn an_instance_that_waits_for_the_host_is_left_for_another_one() {
    let mut bench = with_successor(&[5]);
    assert_eq!(bench.fail(0, None, Host), ["waits: Host"]);
    let moved = ["read 0 from TRIM_HORIZON", "waits no more", "drop 0", "routed"];
    assert_eq!(bench.route(&[(0, 1)], &[0]), moved);
    assert_eq!(bench.deliver(0, 1..=5), ["call 0 1-5 on 1"], "and nothing waits for the old one's time");
}

/// Only the sources of the instance that died are read again.
#[test]
fn a_trap_concerns_the_sources_of_its_instance() {
    let mut bench = with_successor(&[25, 25]);
    bench.route(&[(1, 1)], &[]);
    bench.ok();
    bench.flushed();
    assert_eq!(bench.fail(0, None, Trap), ["rebuild on 1"]);
    assert_eq!(bench.rebuilt(), ["read 1 from TRIM_HORIZON", "call 0 11-20"]);
}

/// A version that cannot go on is not called any more; whoever takes over has its sources at the very envelope.
#[test]
fn an_instance_that_gives_up_waits_for_its_successor() {
    let mut bench = with_successor(&[25, 5]);
    assert_eq!(bench.fail(2, None, Reject), ["gave up: failed at 0 3-10 after 1: Reject"]);
    assert_eq!(bench.tick(1_000), NONE, "no call");
    assert_eq!(bench.run_loop.wake_at(), Millis::MAX);
    assert_eq!(bench.route(&[(0, 1), (1, 1)], &[0]), ["before-stop"]);
    assert_eq!(bench.goodbye(), ["flush"]);
    let done = bench.flushed();
    assert_eq!(done, ["checkpoint 0 2", "drop 0", "routed", "call 1 1-5 on 1"]);
    assert_eq!(bench.ok(), ["through 1 5", "call 0 3-12 on 1"], "attempts are counted anew");
}

/// Another source's failures do not follow it to another version.
#[test]
fn a_version_starts_with_a_first_attempt() {
    let mut bench = with_successor(&[5]);
    bench.fail(0, None, Other);
    bench.route(&[(0, 1)], &[0]);
    bench.goodbye();
    assert_eq!(bench.flushed().last().unwrap(), "call 0 1-5 on 1", "at once, and not as attempt 2");
}

#[test]
fn an_instance_that_cannot_be_built_again_gives_up() {
    let mut bench = with_successor(&[5]);
    bench.fail(0, None, Trap);
    let gave_up = r#"gave up: failed: Rebuild("no memory")"#;
    assert_eq!(bench.not_rebuilt(RebuildFailure::Task), [gave_up]);
    assert_eq!(bench.route(&[(0, 1)], &[0]), ["read 0 from TRIM_HORIZON", "drop 0", "routed"]);
}

/// The flush of a move fails: as any other, it ends the job.
#[test]
fn a_move_whose_flush_fails_ends_the_job() {
    let mut bench = with_successor(&[5]);
    bench.route(&[(0, 1)], &[0]);
    bench.ok();
    bench.goodbye();
    assert_eq!(bench.on(Event::Flushed(Err("disk full".to_owned()))), [r#"failed: Flush("disk full")"#]);
}

#[test]
fn a_stop_in_the_middle_of_a_move_ends_the_other_instances_too() {
    let mut bench = with_successor(&[5, 5]);
    bench.route(&[(0, 1), (1, 1)], &[0]);
    assert_eq!(bench.ok(), ["through 0 5", "before-stop"]);
    bench.on(Event::Stop);
    assert_eq!(bench.goodbye(), ["before-stop on 1"]);
    assert_eq!(bench.goodbye(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 5"]);
    assert_eq!(bench.checkpointed(0), ["finished"]);
}

/// A source that goes back before it has gone stays where it is; its instance said goodbye, so another is built.
#[test]
fn a_move_that_is_taken_back_in_the_middle_loses_nothing() {
    let mut bench = with_successor(&[25]);
    bench.route(&[(0, 1)], &[0]);
    bench.ok();
    bench.route(&[(0, 0)], &[1]);
    let actions = bench.goodbye();
    assert_eq!(actions, ["before-stop on 1"]);
    assert_eq!(bench.goodbye(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 10", "drop 1", "routed", "rebuild"]);
    assert_eq!(bench.rebuilt(), ["call 0 11-20"], "with the next envelope");
}

#[test]
fn a_paused_loop_calls_nothing_but_commits_and_moves() {
    let mut bench = with_successor(&[25]);
    bench.on(Event::Pause);
    assert_eq!(bench.ok(), NONE);
    bench.route(&[(0, 1)], &[0]);
    assert_eq!(bench.goodbye(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 10", "drop 0", "routed"]);
    assert_eq!(bench.on(Event::Resume), ["call 0 11-20 on 1"]);
}

/// Sources that come while their instance is gone wait for another one in its place.
#[test]
fn a_source_assigned_to_an_instance_that_is_gone_has_it_built() {
    let mut bench = with_successor(&[5]);
    bench.ok();
    bench.on(Event::Revoked { source: 0, epoch: 1 });
    bench.on(Event::Assigned { source: 1, epoch: 1, checkpoint: Checkpoint::TrimHorizon, instance: 1 });
    bench.deliver(1, 1..=5);
    assert_eq!(bench.fail(0, None, Trap), ["rebuild on 1"]);
    assert_eq!(bench.rebuilt(), ["read 1 from TRIM_HORIZON"]);
}
