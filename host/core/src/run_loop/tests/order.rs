//! Which envelopes a call gets, and which source has its turn.

use super::SETTINGS;
use super::bench::{Bench, batch};
use crate::position::Checkpoint;
use crate::run_loop::{Event, FailureClass, Settings};
use crate::time::Millis;

fn at(sequence: u64) -> Checkpoint {
    Checkpoint::from_row(&sequence.to_string(), 0).unwrap()
}

#[test]
fn an_assigned_source_is_read_from_its_checkpoint() {
    let mut bench = Bench::new(SETTINGS);
    assert_eq!(bench.assign(0, 1, at(41)), ["read 0 from 41"]);
    assert_eq!(bench.assign(1, 2, Checkpoint::Latest), ["read 1 from LATEST"]);
}

/// One call after the other, each right after the last envelope of the one before.
#[test]
fn calls_follow_each_other_without_a_gap() {
    let (mut bench, actions) = Bench::delivered(SETTINGS, &[25]);
    assert_eq!(actions, ["call 0 1-10"]);
    assert_eq!(bench.deliver(0, 26..=27), [""; 0], "one call at a time");
    assert_eq!(bench.ok(), ["call 0 11-20"]);
    assert_eq!(bench.ok(), ["call 0 21-25"]);
    assert_eq!(bench.ok(), ["through 0 25", "call 0 26-27"]);
    assert_eq!(bench.ok(), ["through 0 2"]);
}

/// A call gets at most so many envelopes and bytes (100 each here), and at least one envelope.
#[test]
fn a_call_is_bounded_by_envelopes_and_bytes() {
    let cases = [
        (10, 1_000, "call 0 1-10"),
        (3, 1_000, "call 0 1-3"),
        (10, 400, "call 0 1-4"),
        (10, 499, "call 0 1-4"),
        (10, 1, "call 0 1"),
        (0, 0, "call 0 1"),
    ];
    for (call_max_records, call_max_bytes, call) in cases {
        let (_, actions) = Bench::delivered(Settings { call_max_records, call_max_bytes, ..SETTINGS }, &[20]);
        assert_eq!(actions, [call], "{call_max_records} envelopes, {call_max_bytes} bytes");
    }
}

#[test]
fn sources_take_turns() {
    let (mut bench, actions) = Bench::delivered(SETTINGS, &[20, 20, 20]);
    assert_eq!(actions, ["call 0 1-10"]);
    assert_eq!(bench.ok(), ["call 1 1-10"]);
    assert_eq!(bench.ok(), ["call 2 1-10"]);
    assert_eq!(bench.ok(), ["call 0 11-20"]);
}

#[test]
fn an_empty_batch_is_nothing() {
    let (mut bench, actions) = Bench::delivered(SETTINGS, &[0]);
    assert_eq!(actions, [""; 0]);
    assert_eq!(bench.tick(5), [""; 0]);
    assert_eq!(bench.run_loop.wake_at(), Millis::MAX);
}

/// What an older reading still delivers, and what comes for a source that is not here, is dropped.
#[test]
fn stale_deliveries_are_dropped() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[0]);
    let old = bench.generations[&0];
    bench.on(Event::Revoked { source: 0, epoch: 1 });
    assert_eq!(bench.deliver(0, 1..=2), [""; 0], "revoked");
    bench.assign(0, 2, at(7));
    assert_eq!(bench.on(Event::Batch { source: 0, generation: old, batch: batch(1..=2) }), [""; 0]);
    assert_eq!(bench.on(Event::End { source: 0, generation: old, children: vec![] }), [""; 0]);
    assert_eq!(bench.deliver(0, 8..=9), ["call 0 8-9"]);
}

/// The lease is lost during a call: what the call did counts for nobody, and a new reading starts from its checkpoint.
#[test]
fn a_source_lost_during_its_call_is_forgotten() {
    let (mut bench, _) = Bench::delivered(SETTINGS, &[5]);
    assert_eq!(bench.on(Event::Revoked { source: 0, epoch: 1 }), [""; 0]);
    assert_eq!(bench.assign(0, 2, at(2)), ["read 0 from 2"]);
    assert_eq!(bench.deliver(0, 3..=5), [""; 0], "the old call is still under way");
    assert_eq!(bench.ok_commit(), ["call 0 3-5"], "nothing to commit, and nothing of it is the new reading's");
}

/// A revocation of an epoch that is over does not touch its successor.
#[test]
fn a_late_revocation_is_about_its_own_epoch_only() {
    let mut bench = Bench::new(SETTINGS);
    bench.assign(0, 2, at(7));
    bench.on(Event::Revoked { source: 0, epoch: 1 });
    assert_eq!(bench.deliver(0, 8..=8), ["call 0 8"]);
}

/// While one source waits for its retry the others go on.
#[test]
fn a_failing_source_does_not_hold_up_the_others() {
    let (mut bench, actions) = Bench::delivered(SETTINGS, &[5, 25]);
    assert_eq!(actions, ["call 0 1-5"]);
    assert_eq!(bench.fail(0, None, FailureClass::Other), ["call 1 1-10"]);
    assert_eq!(bench.ok(), ["call 1 11-20"]);
    bench.now = 100;
    assert_eq!(bench.ok(), ["call 0 1-5 attempt 2"]);
}
