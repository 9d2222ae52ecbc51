//! Failed calls: retries, what is blamed, and traps.

use super::SETTINGS;
use super::bench::Bench;
use crate::position::Checkpoint;
use crate::run_loop::FailureClass::{Fatal, Host, Other, Reject, Retry, Trap};
use crate::run_loop::{Event, FailureClass, RebuildFailure};

#[test]
fn a_failed_call_is_repeated_with_a_doubling_wait_and_then_ends_the_job() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    assert_eq!(bench.fail(0, None, Other), [""; 0]);
    assert_eq!(bench.run_loop.wake_at(), 100);
    assert_eq!(bench.tick(99), [""; 0]);
    assert_eq!(bench.tick(100), ["call 0 1-5 attempt 2"]);
    assert_eq!(bench.fail(0, None, Other), [""; 0]);
    assert_eq!(bench.run_loop.wake_at(), 300);
    assert_eq!(bench.tick(300), ["call 0 1-5 attempt 3"]);
    assert_eq!(bench.fail(0, None, Other), ["before-stop"]);
    assert_eq!(bench.goodbye(), ["failed at 0 1-5 after 3: Other"]);
}

#[test]
fn the_guest_may_say_how_long_to_wait_within_bounds() {
    for (asked, wait) in [(Some(0), 0), (Some(7), 7), (Some(5_000), 1_000), (None, 100)] {
        let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
        bench.now = 50;
        let actions = bench.fail(0, None, Retry(asked));
        let expected = if wait == 0 { vec!["call 0 1-5 attempt 2"] } else { vec![] };
        assert_eq!(actions, expected, "{asked:?}");
        if wait > 0 {
            assert_eq!(bench.run_loop.wake_at(), 50 + wait, "{asked:?}");
        }
    }
}

#[test]
fn a_success_forgets_the_failures_before() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[15]);
    bench.fail(0, None, Other);
    assert_eq!(bench.tick(100), ["call 0 1-10 attempt 2"]);
    assert_eq!(bench.ok(), ["call 0 11-15"]);
    bench.fail(0, None, Other);
    assert_eq!(bench.tick(200), ["call 0 11-15 attempt 2"]);
}

/// What the call processed before it failed is done; the retry starts right after it.
#[test]
fn a_retry_starts_after_what_was_processed() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[8]);
    bench.fail(3, Some(3), Other);
    assert_eq!(bench.tick(100), ["call 0 4-8 attempt 2"]);
    assert_eq!(bench.ok(), ["through 0 8"]);
}

/// A batch task names the first envelope that failed: those before it are called alone, then the failure is counted.
#[test]
fn the_envelopes_before_a_named_one_are_called_alone() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[8]);
    assert_eq!(bench.fail(0, Some(5), Other), ["call 0 1-5"]);
    assert_eq!(bench.ok(), ["call 0 6-8"]);
    bench.fail(0, Some(0), Other);
    assert_eq!(bench.tick(100), ["call 0 6-8 attempt 2"]);
    bench.fail(0, Some(0), Other);
    assert_eq!(bench.tick(300), ["call 0 6-8 attempt 3"]);
    bench.fail(0, Some(0), Other);
    assert_eq!(bench.goodbye(), ["flush"], "what was good is committed");
    assert_eq!(bench.flushed(), ["checkpoint 0 5"]);
    assert_eq!(bench.checkpointed(0), ["failed at 0 6-6 after 3: Other"]);
}

/// A name outside of what is left says nothing.
#[test]
fn a_named_envelope_that_cannot_be_the_one_is_ignored() {
    for (processed, failed_at) in [(3, Some(1)), (3, Some(8)), (3, Some(99))] {
        let (mut bench, _) = Bench::delivered(SETTINGS, &[8]);
        bench.fail(processed, failed_at, Reject);
        assert_eq!(bench.goodbye(), ["flush"]);
        bench.flushed();
        assert_eq!(bench.checkpointed(0), ["failed at 0 4-8 after 1: Reject"], "{failed_at:?}");
    }
}

#[test]
fn what_can_never_succeed_ends_the_job_at_once() {
    let cases: [(FailureClass, Option<usize>, &str); 4] = [
        (Reject, None, "failed at 0 1-5 after 1: Reject"),
        (Reject, Some(0), "failed at 0 1-1 after 1: Reject"),
        (Fatal, None, "failed at 0 1-5 after 1: Fatal"),
        (Fatal, Some(2), "failed at 0 3-3 after 1: Fatal"),
    ];
    for (class, failed_at, expected) in cases {
        let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
        assert_eq!(bench.fail(0, failed_at, class), ["before-stop"], "{expected}");
        assert_eq!(bench.goodbye(), [expected]);
    }
}

/// A rejected envelope in the middle: those before it are processed first, so that a restart finds it at the front.
#[test]
fn what_precedes_a_rejected_envelope_is_processed_and_committed() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    assert_eq!(bench.fail(0, Some(2), Reject), ["call 0 1-2"]);
    assert_eq!(bench.ok(), ["call 0 3-5"]);
    assert_eq!(bench.fail(0, Some(0), Reject), ["before-stop"]);
    assert_eq!(bench.goodbye(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 2"]);
    assert_eq!(bench.checkpointed(0), ["failed at 0 3-3 after 1: Reject"]);
}

/// A call that fails although all of its envelopes are done: the last one is to blame.
#[test]
fn an_error_after_the_last_envelope_is_the_last_envelopes() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    bench.fail(5, None, Other);
    assert_eq!(bench.tick(100), ["call 0 5 attempt 2"]);
    bench.fail(1, None, Reject);
    bench.goodbye();
    bench.flushed();
    assert_eq!(bench.checkpointed(0), ["failed at 0 5-5 after 2: Reject"]);
}

/// A trap ends the instance. The new one knows nothing of what the old one saw since the last commit.
#[test]
fn after_a_trap_every_source_is_read_again_from_its_last_commit() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[15, 5]);
    assert_eq!(bench.ok_commit(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 10", "call 1 1-5"]);
    assert_eq!(bench.ok(), ["through 1 5", "call 0 11-15"]);
    let old = bench.generations.clone();
    assert_eq!(bench.fail(0, None, Trap), ["rebuild"]);
    assert_eq!(bench.rebuilt(), ["read 0 from 10", "read 1 from TRIM_HORIZON"]);
    assert!(bench.generations.iter().all(|(source, generation)| generation > &old[source]));
    assert_eq!(bench.deliver(1, 1..=5), ["call 1 1-5"]);
    assert_eq!(bench.ok(), ["through 1 5"]);
    assert_eq!(bench.deliver(0, 11..=15), [""; 0], "waits for its retry");
    assert_eq!(bench.tick(100), ["call 0 11-15 attempt 2"]);
}

/// A shard whose end is being sealed is committed wholly: it is not read again.
#[test]
fn after_a_trap_a_sealed_shard_stays_sealed() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5, 5]);
    bench.end(0);
    bench.ok();
    assert_eq!(bench.flushed(), ["checkpoint 0 5", "end 0 children 1", "call 1 1-5"]);
    bench.fail(0, None, Trap);
    assert_eq!(bench.rebuilt(), ["read 1 from TRIM_HORIZON"]);
}

/// The end of a shard, delivered before a trap, is delivered again by the new reading; the old one does not count.
#[test]
fn after_a_trap_an_end_has_to_come_again() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    bench.end(0);
    bench.fail(2, None, Trap);
    bench.rebuilt();
    bench.deliver(0, 1..=5);
    assert_eq!(bench.tick(100), ["call 0 1-5 attempt 2"]);
    assert_eq!(bench.ok()[..1], ["through 0 5"]);
    assert!(!bench.tick(200).contains(&"end 0 children 1".to_owned()));
}

/// Attempts are counted across rewinds, however the replay cuts the calls: a poison envelope ends the job.
#[test]
fn an_envelope_that_always_traps_ends_the_job_after_the_last_attempt() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[15]);
    bench.ok();
    for (attempt, processed) in [(1, 2), (2, 2)] {
        assert_eq!(bench.fail(processed, None, Trap), ["rebuild"], "attempt {attempt}");
        bench.rebuilt();
        bench.deliver(0, 1..=15);
        bench.tick(1_000 * attempt);
        bench.ok();
    }
    assert_eq!(bench.fail(2, None, Trap), ["failed at 0 13-15 after 3: Trap"], "no call, no commit by a dead instance");
}

/// A trap that names its envelope is counted like any other.
#[test]
fn a_trap_that_names_an_envelope_is_counted_as_well() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    for attempt in 1..3 {
        assert_eq!(bench.fail(0, Some(3), Trap), ["rebuild"]);
        bench.rebuilt();
        bench.deliver(0, 1..=5);
        bench.tick(1_000 * attempt);
    }
    assert_eq!(bench.fail(0, Some(3), Trap), ["failed at 0 4-4 after 3: Trap"]);
}

/// Once what trapped is through, it is committed: or a task that traps now and then would replay for ever.
#[test]
fn what_trapped_once_is_committed_as_soon_as_it_is_through() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[15]);
    bench.fail(0, None, Trap);
    bench.rebuilt();
    bench.deliver(0, 1..=15);
    assert_eq!(bench.tick(100), ["call 0 1-10 attempt 2"]);
    assert_eq!(bench.ok(), ["flush"]);
}

/// The lease went away while its envelope trapped: the instance is as dead, the source is nobody's concern.
#[test]
fn a_trap_on_a_lost_source_still_rebuilds() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5, 5]);
    bench.on(Event::Revoked { source: 0, epoch: 1 });
    assert_eq!(bench.fail(0, None, Trap), ["rebuild"]);
    assert_eq!(bench.rebuilt(), ["read 1 from TRIM_HORIZON"]);
}

/// A source that is assigned during a rebuild is read once, when there is an instance for it.
#[test]
fn a_source_assigned_during_a_rebuild_is_read() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    bench.fail(0, None, Trap);
    assert_eq!(bench.assign(1, 1, Checkpoint::TrimHorizon), [""; 0]);
    assert_eq!(bench.rebuilt(), ["read 0 from TRIM_HORIZON", "read 1 from TRIM_HORIZON"]);
    assert_eq!(bench.deliver(1, 1..=1), ["call 1 1"]);
}

#[test]
fn an_instance_that_cannot_be_built_again_ends_the_job() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    bench.fail(0, None, Trap);
    assert_eq!(bench.not_rebuilt(RebuildFailure::Task), [r#"failed: Rebuild("no memory")"#]);
}

/// Far more often than an envelope may be tried: the host's failures count for nothing, and the wait grows to its bound.
#[test]
fn what_the_host_fails_to_do_is_no_attempt_and_waits_longer_and_longer() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    let mut due = 0;
    let again = [(100, "1-2"), (200, "1"), (400, "1"), (800, "1"), (1_000, "1"), (1_000, "1")];
    for (wait, part) in again {
        assert_eq!(bench.fail(0, None, Host), ["waits: Host"]);
        due += wait;
        assert_eq!(bench.run_loop.wake_at(), due);
        assert_eq!(bench.tick(due - 1), [""; 0]);
        assert_eq!(bench.tick(due), ["rebuild"]);
        assert_eq!(bench.rebuilt(), ["read 0 from TRIM_HORIZON"]);
        assert_eq!(bench.deliver(0, 1..=5), [format!("call 0 {part}")], "the first attempt still, of fewer");
    }
    assert_eq!(bench.ok(), ["waits no more", "flush"], "and what got on is committed");
    assert_eq!(bench.flushed(), ["checkpoint 0 1", "call 0 2-5"]);
    assert_eq!(bench.fail(0, None, Host), ["waits: Host"]);
    assert_eq!(bench.run_loop.wake_at(), due + 100, "a success forgets the failures before");
}

/// Neither as one of the task's failures, nor in place of them.
#[test]
fn the_hosts_failures_do_not_add_to_the_tasks() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    bench.fail(0, None, Trap);
    bench.rebuilt();
    bench.deliver(0, 1..=5);
    assert_eq!(bench.tick(1_000), ["call 0 1-5 attempt 2"]);
    for (now, part) in [(2_000, "1-2"), (4_000, "1"), (6_000, "1")] {
        assert_eq!(bench.fail(0, Some(0), Host), ["waits: Host"]);
        assert_eq!(bench.tick(now), ["rebuild"]);
        bench.rebuilt();
        let again = format!("call 0 {part} attempt 2");
        assert_eq!(bench.deliver(0, 1..=5), [again], "as if the host had not failed");
    }
    bench.fail(0, None, Trap);
    bench.rebuilt();
    bench.deliver(0, 1..=5);
    assert_eq!(bench.tick(9_000), ["call 0 1 attempt 3"]);
    assert_eq!(bench.fail(0, None, Trap), ["failed at 0 1-1 after 3: Trap"], "a task that traps is stopped as ever");
}

/// A task that needs more for ten records than the host has gets through all the same: what went well is called alone,
/// and so committed before the next failure.
#[test]
fn what_the_host_fails_now_and_then_gets_on() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[15]);
    assert_eq!(bench.fail(4, None, Host), ["waits: Host"]);
    assert_eq!(bench.tick(100), ["rebuild"]);
    bench.rebuilt();
    assert_eq!(bench.deliver(0, 1..=15), ["call 0 1-4"]);
    assert_eq!(bench.ok(), ["waits no more", "flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 4", "call 0 5-14"]);
    assert_eq!(bench.fail(3, None, Host), ["waits: Host"]);
    bench.tick(200);
    assert_eq!(bench.rebuilt(), ["read 0 from 4"]);
    assert_eq!(bench.deliver(0, 5..=15), ["call 0 5-7"]);
}

#[test]
fn a_rebuild_that_fails_because_of_the_host_is_tried_again_for_ever() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    assert_eq!(bench.fail(0, None, Trap), ["rebuild"]);
    for attempt in 1..=20 {
        assert_eq!(bench.not_rebuilt(RebuildFailure::Host), ["waits: no memory"], "{attempt}");
        assert!(bench.run_loop.wake_at() > bench.now);
        assert_eq!(bench.tick(bench.run_loop.wake_at()), ["rebuild"], "{attempt}");
    }
    assert_eq!(bench.rebuilt(), ["read 0 from TRIM_HORIZON"]);
    assert_eq!(bench.deliver(0, 1..=5), ["call 0 1-5 attempt 2"], "the trap counts, the rest does not");
    assert_eq!(bench.ok()[..2], ["waits no more", "through 0 5"]);
}

/// What the envelopes of other shards did is not held back by an instance that waits: they have the same one.
#[test]
fn a_job_that_waits_for_the_host_commits_and_stops_when_it_is_asked_to() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[15]);
    bench.ok_commit();
    bench.flushed();
    assert_eq!(bench.fail(0, None, Host), ["waits: Host"]);
    assert_eq!(bench.on(Event::Stop), [""; 0], "the checkpoint is on its way");
    assert_eq!(bench.checkpointed(0), ["finished"]);
}

/// An interrupt for a stop, or a trap of the host's making in the very last call.
#[test]
fn the_hosts_failure_during_a_stop_is_no_failure_of_the_job() {
    let settings =
        crate::run_loop::Settings { retry: crate::run_loop::Retry { max_attempts: 1, ..SETTINGS.retry }, ..SETTINGS };
    let (mut bench, _) = Bench::delivered(settings, &[5]);
    bench.on(Event::Stop);
    assert_eq!(bench.fail(0, None, Host), ["waits: Host", "finished"]);
}

#[test]
fn nobody_waits_for_the_host_any_more_when_its_shards_are_gone() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    assert_eq!(bench.fail(0, None, Host), ["waits: Host"]);
    assert_eq!(bench.on(Event::Revoked { source: 0, epoch: 1 }), ["waits no more"]);
    assert_eq!(bench.tick(1_000), [""; 0], "nothing is built for nobody");
}
