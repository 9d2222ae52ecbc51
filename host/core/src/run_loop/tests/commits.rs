//! Flush, then checkpoint; and the end of a shard.

use super::SETTINGS;
use super::bench::Bench;
use crate::position::Checkpoint;
use crate::run_loop::{Event, Settings};
use crate::time::Millis;

#[test]
fn a_commit_is_flush_then_checkpoint() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[25, 3]);
    assert_eq!(bench.ok(), ["call 1 1-3"]);
    assert_eq!(bench.ok_commit(), ["through 1 3", "flush"], "no call during a flush");
    assert_eq!(bench.flushed(), ["checkpoint 0 10", "checkpoint 1 3", "call 0 11-20"]);
}

/// Processing goes on while checkpoints are on their way, and the next commit waits for all answers.
#[test]
fn the_next_commit_waits_for_the_answers_of_the_last() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[50, 3]);
    bench.ok();
    bench.ok_commit();
    assert_eq!(bench.flushed(), ["checkpoint 0 10", "checkpoint 1 3", "call 0 11-20"]);
    assert_eq!(bench.ok_commit(), ["call 0 21-30"]);
    assert_eq!(bench.checkpointed(0), [""; 0]);
    assert_eq!(bench.ok(), ["call 0 31-40"]);
    assert_eq!(bench.checkpointed(1), [""; 0]);
    assert_eq!(bench.ok(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 40", "call 0 41-50"]);
}

#[test]
fn the_timer_commits_what_is_processed_and_nothing_else() {
    let settings = Settings { commit_interval: Some(1_000), ..SETTINGS };
    let (mut bench, _) = Bench::delivered(settings, &[5]);
    bench.ok();
    assert_eq!(bench.run_loop.wake_at(), 1_000);
    assert_eq!(bench.tick(999), [""; 0]);
    assert_eq!(bench.tick(1_000), ["flush"]);
    assert_eq!(bench.run_loop.wake_at(), Millis::MAX, "the flush must end first");
    assert_eq!(bench.flushed(), ["checkpoint 0 5"]);
    assert_eq!(bench.checkpointed(0), [""; 0]);
    assert_eq!(bench.run_loop.wake_at(), 2_000);
    assert_eq!(bench.tick(2_000), [""; 0], "nothing new");
    assert_eq!(bench.run_loop.wake_at(), 3_000);
}

#[test]
fn a_shard_ends_when_everything_is_processed_and_flushed() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[15]);
    assert_eq!(bench.end(0), [""; 0]);
    assert_eq!(bench.ok(), ["call 0 11-15"]);
    assert_eq!(bench.ok(), ["through 0 15", "flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 15", "end 0 children 1"]);
    assert_eq!(bench.checkpointed(0), [""; 0]);
    assert_eq!(bench.on(Event::Sealed { source: 0, epoch: 1 }), [""; 0]);
    assert_eq!(bench.tick(60_000), [""; 0]);
}

#[test]
fn a_shard_without_records_ends_too() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[0]);
    assert_eq!(bench.end(0), ["flush"]);
    assert_eq!(bench.flushed(), ["end 0 children 1"]);
}

/// Sealing may take as long as another shard needs to get to its own end, perhaps one that this very loop reads: its
/// commits go on, or the two would wait for each other for ever.
#[test]
fn a_seal_that_waits_for_another_shard_does_not_hold_up_commits() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5, 20]);
    bench.end(0);
    assert_eq!(bench.ok(), ["through 0 5", "flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 5", "end 0 children 1", "call 1 1-10"]);
    bench.checkpointed(0);
    assert_eq!(bench.ok_commit(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 1 10", "call 1 11-20"]);
    bench.checkpointed(1);
    bench.end(1);
    assert_eq!(bench.ok(), ["through 1 20", "flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 1 20", "end 1 children 1"]);
}

/// Nor does it hold up a stop: what is not sealed, the next owner seals.
#[test]
fn a_seal_that_waits_does_not_hold_up_the_stop() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    bench.end(0);
    bench.ok();
    assert_eq!(bench.flushed(), ["checkpoint 0 5", "end 0 children 1"]);
    bench.checkpointed(0);
    assert_eq!(bench.on(Event::Stop), ["before-stop"]);
    assert_eq!(bench.goodbye(), ["finished"]);
}

/// The lease is lost during the flush: no checkpoint for it, and nobody waits for an answer.
#[test]
fn a_source_lost_during_the_flush_gets_no_checkpoint() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5, 5]);
    bench.ok();
    assert_eq!(bench.ok_commit(), ["through 1 5", "flush"]);
    bench.on(Event::Revoked { source: 0, epoch: 1 });
    bench.assign(0, 2, Checkpoint::TrimHorizon);
    assert_eq!(bench.flushed(), ["checkpoint 1 5"]);
    bench.checkpointed(1);
    bench.deliver(0, 1..=5);
    assert_eq!(bench.ok_commit(), ["through 0 5", "flush"]);
}

/// A lost lease answers for its checkpoint as well.
#[test]
fn a_revocation_ends_the_wait_for_a_checkpoint() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5, 15]);
    bench.ok();
    assert_eq!(bench.ok_commit(), ["flush"]);
    assert_eq!(bench.flushed(), ["checkpoint 0 5", "checkpoint 1 10", "call 1 11-15"]);
    bench.checkpointed(1);
    bench.on(Event::Revoked { source: 0, epoch: 1 });
    assert_eq!(bench.ok_commit(), ["through 1 15", "flush"]);
}

#[test]
fn outputs_that_cannot_be_made_durable_end_the_job_without_a_checkpoint() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    bench.ok_commit();
    let finished = bench.on(Event::Flushed(Err("disk full".to_owned())));
    assert_eq!(finished, [r#"failed: Flush("disk full")"#]);
    assert_eq!(bench.tick(9_000), [""; 0]);
}
