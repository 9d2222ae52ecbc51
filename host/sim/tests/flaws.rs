//! The auditor can fail: each thing that a node may do wrong on purpose is noticed, and called by its name.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use shardmill_sim::{Flaw, play};

/// Histories within which a flaw must show.
const HISTORIES: u64 = 100;

/// What the auditor says of the first history that a flaw breaks.
fn caught(flaw: Flaw) -> String {
    let told = (0..HISTORIES).find_map(|seed| play(seed, Some(flaw)).err());
    let told = told.unwrap_or_else(|| panic!("{HISTORIES} histories with {flaw:?}, and nothing was noticed"));
    told.lines().last().unwrap().to_owned()
}

#[track_caller]
fn assert_caught(flaw: Flaw, words: &str) {
    let told = caught(flaw);
    assert!(told.contains(words), "{flaw:?} should be told by `{words}`, but is by: {told}");
}

#[test]
fn a_checkpoint_before_its_outputs_are_durable_is_noticed() {
    assert_caught(Flaw::CheckpointsBeforeFlush, "are durable");
}

#[test]
fn a_record_that_a_reader_drops_is_noticed() {
    assert_caught(Flaw::SkipsRecords, "is called for records");
}

#[test]
fn a_shard_that_ends_too_early_is_noticed() {
    assert_caught(Flaw::EndsEarly, "SHARD_END of");
}

#[test]
fn writes_without_a_condition_are_noticed() {
    assert_caught(Flaw::WritesUnconditionally, "took the lease");
}

#[test]
fn a_fleet_that_does_not_share_is_noticed() {
    assert_caught(Flaw::NeverSteals, "out of balance");
}

#[test]
fn a_deleted_row_that_is_put_back_too_early_is_noticed() {
    assert_caught(Flaw::RestoresAtTheStart, "is put back at");
}

#[test]
fn a_write_to_a_row_that_is_for_no_shard_is_noticed() {
    assert_caught(Flaw::TouchesForeignRows, "which is for no shard");
}

#[test]
fn a_fleet_that_may_not_hold_enough_is_noticed() {
    assert_caught(Flaw::LimitTooSmall, "not done in time");
}

#[test]
fn a_worker_that_calls_too_often_is_noticed() {
    assert_caught(Flaw::ScansTooOften, "scan calls a minute");
}

#[test]
fn a_deployment_that_overwrites_another_is_noticed() {
    assert_caught(Flaw::OverwritesDeployments, "is written");
}
