//! Rows that are deleted by hand while the job runs: their holders put them back, others wait for that.

use super::model::{Services, Stream};
use super::solo::{Solo, failed};
use super::{FAILOVER, TAKE_OVER, at, settings};
use crate::leases::sync::{child_lease, new_lease};
use crate::leases::{Action, Event, Lease, Notice, Settings, Write};
use crate::position::{Checkpoint, InitialPosition, Latest};
use crate::service::ErrorKind;
use crate::time::Millis;

/// A renewal, and the answers.
const RENEWED: Millis = FAILOVER / 3 + 1_000;
/// How long others leave a hole to its owner.
const LEFT: Millis = 2 * FAILOVER;

fn latest(worker: &str) -> Settings {
    Settings { initial_position: InitialPosition::Latest, ..settings(worker) }
}

/// A worker that reads both shards and has committed `5` in the first one.
fn holding(settings: Settings) -> (Solo, Services) {
    let mut services = Services::new(Stream::of(2));
    let mut solo = Solo::running(settings, 0, &mut services);
    assert_eq!(solo.start_keys(), ["s00", "s01"]);
    solo.checkpoint("s00", at(5));
    solo.settle(&mut services);
    solo.take_told();
    (solo, services)
}

fn restored(solo: &mut Solo) -> Vec<(String, Checkpoint)> {
    let told = solo.take_told();
    let disturbs = |told: &&Action| matches!(told, Action::Revoke { .. } | Action::Start { .. } | Action::Fail(_));
    assert!(!told.iter().any(|told| disturbs(&told)), "reading goes on: {told:?}");
    let restored = told.into_iter().filter_map(|told| match told {
        Action::Notice(Notice::RowRestored { key, checkpoint }) => Some((key, checkpoint)),
        _ => None,
    });
    restored.collect()
}

#[test]
fn a_deleted_row_is_put_back_by_its_holder_where_it_was_committed() {
    let (mut solo, mut services) = holding(settings("me"));
    let before = services.table.rows.remove("s00").unwrap();
    solo.run_until(RENEWED, &mut services);
    let after = services.table.row("s00").clone();
    assert!(after.counter > before.counter, "{after:?}");
    assert_eq!(after, Lease { counter: after.counter, ..before.clone() });
    assert_eq!(restored(&mut solo), [("s00".to_owned(), at(5))]);
    solo.run_until(TAKE_OVER, &mut services);
    assert!(services.table.row("s00").counter > after.counter, "it is renewed as before");
    solo.checkpoint("s00", at(9));
    solo.settle(&mut services);
    assert_eq!(services.table.row("s00").checkpoint, at(9));
}

/// What is flushed and waits to be written counts as committed once the row is there again, not before.
#[test]
fn a_checkpoint_that_finds_no_row_is_written_after_it_was_put_back() {
    let (mut solo, mut services) = holding(settings("me"));
    services.table.rows.remove("s00");
    solo.checkpoint("s00", at(7));
    let is_restore = |call: &Action| matches!(call, Action::Write(Write::Restore(_)));
    while !solo.calls.iter().any(is_restore) {
        solo.answer(&mut services);
    }
    let restore = solo.call(is_restore);
    solo.event(services.serve(&restore));
    assert_eq!(services.table.row("s00").checkpoint, at(5));
    solo.settle(&mut services);
    assert_eq!(services.table.row("s00").checkpoint, at(7));
    let told = solo.take_told();
    assert!(told.iter().any(|told| matches!(told, Action::Checkpointed { written: true, .. })), "{told:?}");
}

/// This process stood still, and so did its clock. Meanwhile another worker finished the shard, and its row was removed: that
/// is no row which was deleted by hand.
#[test]
fn the_row_of_a_shard_that_another_worker_finished_is_not_put_back() {
    let (mut solo, mut services) = holding(settings("me"));
    services.stream.split("s00");
    let children = services.stream.children_of("s00");
    services.table.rows.remove("s00");
    for child in &children {
        let lease = Lease { checkpoint: at(20), owner: Some("other".to_owned()), counter: 3, ..child_lease(child) };
        services.table.rows.insert(child.id.clone(), lease);
    }
    solo.run_until(RENEWED, &mut services);
    assert!(!services.table.rows.contains_key("s00"));
    let told = solo.take_told();
    assert!(told.iter().any(|told| matches!(told, Action::Revoke { key, .. } if key == "s00")), "{told:?}");
}

/// A reply that gets lost, and throttling, do not end the holding.
#[test]
fn putting_a_row_back_survives_faults() {
    let (mut solo, mut services) = holding(settings("me"));
    services.table.rows.remove("s00");
    solo.checkpoint("s00", at(7));
    // The checkpoint that finds no row, and the scan that shows no child.
    solo.answer(&mut services);
    solo.answer(&mut services);
    let is_restore = |write: &Write| matches!(write, Write::Restore(_));
    let call = solo.call(|call| matches!(call, Action::Write(write) if is_restore(write)));
    solo.event(failed(call, ErrorKind::Throttled));
    solo.now = solo.worker.wake_at();
    solo.event(Event::Tick);
    solo.lose_reply(&mut services, is_restore);
    solo.run_until(RENEWED, &mut services);
    assert_eq!((services.table.owner("s00"), &services.table.row("s00").checkpoint), (Some("me"), &at(7)));
    assert_eq!(restored(&mut solo).len(), 1);
}

/// At LATEST with nothing committed yet, the row keeps the time of the first contact: nothing after it is skipped.
#[test]
fn a_row_at_latest_keeps_the_time_of_the_first_contact() {
    let mut services = Services::new(Stream::of(1));
    let mut solo = Solo::running(latest("me"), 77, &mut services);
    let before = services.table.rows.remove("s00").unwrap();
    assert_eq!(before.latest_since, Some(77));
    solo.run_until(77 + RENEWED, &mut services);
    let after = services.table.row("s00").clone();
    assert!(after.counter > before.counter, "{after:?}");
    assert_eq!(after, Lease { counter: after.counter, ..before });
    drop(solo);
    let mut next = Solo::new(latest("next"), 77 + RENEWED);
    next.run_until(TAKE_OVER, &mut services);
    let told = next.take_told();
    assert!(told.iter().any(|told| matches!(told, Action::Start { latest: Latest::Since(77), .. })), "{told:?}");
}

/// A worker that starts meanwhile finds a hole beside the rows of others, and leaves it to them.
#[test]
fn a_newcomer_does_not_fill_a_hole_of_others() {
    for settings in [settings as fn(&str) -> Settings, latest] {
        let (mut solo, mut services) = holding(settings("me"));
        services.table.rows.remove("s00");
        let mut newcomer = Solo::running(settings("newcomer"), 0, &mut services);
        assert_eq!(services.table.keys(), ["s01"]);
        solo.run_until(RENEWED, &mut services);
        assert_eq!(services.table.row("s00").checkpoint, at(5));
        newcomer.run_until(TAKE_OVER, &mut services);
        assert_eq!(services.table.row("s00").checkpoint, at(5));
    }
}

/// The holder died as well: after two failover times the hole is filled by who saw the row, at what it said.
#[test]
fn a_hole_whose_owner_is_gone_is_filled_where_the_row_was() {
    for settings in [settings as fn(&str) -> Settings, latest] {
        let (solo, mut services) = holding(settings("me"));
        let mut other = Solo::running(settings("other"), 0, &mut services);
        let taken = other.start_keys();
        // One of the two shards is the other worker's now; it dies with the first.
        drop(solo);
        let mut last = Solo::running(settings("last"), 0, &mut services);
        drop(other);
        services.table.rows.remove("s00");
        let deleted_at = last.now;
        let mut filled_at = None;
        while last.now < 6 * FAILOVER {
            let until = last.now + 500;
            last.run_until(until, &mut services);
            if filled_at.is_none() && services.table.rows.contains_key("s00") {
                filled_at = Some(last.now);
            }
        }
        let filled_at = filled_at.expect("the hole is filled");
        assert!(filled_at >= deleted_at + LEFT, "after {filled_at} ms, {taken:?}");
        assert!(last.starts().contains(&("s00".to_owned(), at(5))));
    }
}

/// Somebody else filled the hole first, at the initial position. Its holder knows better.
#[test]
fn a_new_row_in_the_place_of_a_held_one_is_taken_back() {
    for settings in [settings as fn(&str) -> Settings, latest] {
        let (mut solo, mut services) = holding(settings("me"));
        services.table.rows.remove("s00");
        let shard = services.stream.shards["s00"].shard.clone();
        let checkpoint = settings("me").initial_position.checkpoint();
        services.table.rows.insert("s00".to_owned(), new_lease(&shard, checkpoint));
        solo.run_until(RENEWED, &mut services);
        let row = services.table.row("s00");
        assert_eq!((row.owner.as_deref(), &row.checkpoint), (Some("me"), &at(5)));
        assert_eq!(restored(&mut solo), [("s00".to_owned(), at(5))]);
    }
}

/// A worker that bootstraps an emptied table and takes the new row does not skip what the holder has not committed.
#[test]
fn a_table_that_is_emptied_while_another_worker_starts_keeps_what_was_committed() {
    let (mut solo, mut services) = holding(latest("me"));
    services.table.rows.clear();
    let mut newcomer = Solo::running(latest("newcomer"), 0, &mut services);
    newcomer.take_told();
    solo.run_until(RENEWED, &mut services);
    newcomer.run_until(RENEWED, &mut services);
    assert_eq!(services.table.row("s00").checkpoint, at(5));
}

/// An emptied table is put back, and stays so: nobody begins anew while the job runs.
#[test]
fn an_emptied_table_is_put_back_by_those_who_read_it() {
    let (mut solo, mut services) = holding(settings("me"));
    services.table.rows.clear();
    solo.run_until(TAKE_OVER, &mut services);
    assert_eq!(services.table.keys(), ["s00", "s01"]);
    assert_eq!(services.table.row("s00").checkpoint, at(5));
    assert_eq!(restored(&mut solo).len(), 2);
}

/// What is finished is not put back, by whoever's hand it went.
#[test]
fn a_finished_row_stays_gone() {
    let mut services = Services::new(Stream::of(1));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    services.stream.split("s00");
    solo.end("s00", services.stream.children_of("s00"));
    while !services.table.is_at_end("s00") {
        solo.answer(&mut services);
    }
    services.table.rows.remove("s00");
    solo.run_until(20 * FAILOVER, &mut services);
    assert_eq!(services.table.keys(), ["s01", "s02"]);
    assert_eq!(restored_keys(&solo), [""; 0]);
}

fn restored_keys(solo: &Solo) -> Vec<&str> {
    let notices = solo.told.iter().filter_map(|told| match told {
        Action::Notice(notice) => Some(notice.key().as_str()),
        _ => None,
    });
    notices.collect()
}

/// A child does not start while the row of its other parent is missed: the parent may be in somebody's hands.
#[test]
fn a_child_waits_for_a_parent_whose_row_was_deleted() {
    let mut services = Services::new(Stream::of(2));
    let one = |name| Settings { max_leases: 1, ..settings(name) };
    let mut me = Solo::running(one("me"), 0, &mut services);
    let mut other = Solo::running(one("other"), 0, &mut services);
    me.take_told();
    services.stream.merge("s00", "s01");
    me.run_until(5_000, &mut services);
    other.run_until(5_000, &mut services);
    services.table.rows.remove("s01");
    me.end("s00", services.stream.children_of("s00"));
    me.settle(&mut services);
    me.run_until(6_000, &mut services);
    assert_eq!(me.start_keys(), [""; 0]);
    while me.now < TAKE_OVER {
        let until = me.now + 500;
        other.run_until(until, &mut services);
        me.run_until(until, &mut services);
    }
    assert_eq!(services.table.owner("s01"), Some("other"));
    assert_eq!(me.start_keys(), [""; 0], "it is being read");
}

/// A stop puts the row back too: what was committed is not lost with the process.
#[test]
fn a_stop_that_finds_no_row_leaves_one() {
    let (mut solo, mut services) = holding(settings("me"));
    services.table.rows.remove("s00");
    solo.event(Event::Stop);
    solo.settle(&mut services);
    assert_eq!(solo.told.last(), Some(&Action::Stopped));
    assert_eq!((services.table.owner("s00"), &services.table.row("s00").checkpoint), (None, &at(5)));
}

/// The row of a merged shard's second parent was deleted, and whoever read it is gone: the child's row, which is not
/// begun, tells a worker that starts later that there must have been one.
#[test]
fn a_parent_whose_row_was_deleted_is_read_again_before_its_child() {
    let mut services = Services::new(Stream::of(2));
    let mut solo = Solo::running(settings("before"), 0, &mut services);
    services.stream.merge("s00", "s01");
    solo.end("s00", services.stream.children_of("s00"));
    solo.settle(&mut services);
    solo.event(Event::Stop);
    solo.settle(&mut services);
    services.table.rows.remove("s01");
    assert_eq!(services.table.keys(), ["s00", "s02"]);
    let mut next = Solo::running(settings("next"), 0, &mut services);
    assert_eq!(next.start_keys(), ["s01"]);
    next.end("s01", services.stream.children_of("s01"));
    next.settle(&mut services);
    assert_eq!(next.start_keys(), ["s02"]);
}

/// A worker that lost the lease and has not heard of it puts the row back: who took the lease does not take that row for
/// its own.
#[test]
fn a_row_that_is_put_back_by_a_loser_is_not_taken_for_ones_own() {
    let mut services = Services::new(Stream::of(1));
    let mut loser = Solo::running(settings("loser"), 0, &mut services);
    let seen = services.table.row("s00").clone();
    services.table.rows.get_mut("s00").unwrap().owner = None;
    let mut winner = Solo::running(settings("winner"), 0, &mut services);
    assert_eq!(services.table.row("s00").counter, seen.counter + 1);
    assert_eq!(winner.start_keys(), ["s00"]);
    services.table.rows.remove("s00");
    loser.run_until(RENEWED, &mut services);
    assert_eq!(services.table.owner("s00"), Some("loser"));
    winner.run_until(RENEWED, &mut services);
    let told = winner.take_told();
    assert!(told.iter().any(|told| matches!(told, Action::Revoke { .. })), "{told:?}");
    assert_eq!(services.table.owner("s00"), Some("loser"));
}

/// A filling that fails is tried again, and still knows where the shard was read to.
#[test]
fn filling_a_hole_that_fails_is_tried_again_at_the_same_position() {
    let (solo, mut services) = holding(latest("me"));
    drop(solo);
    let mut last = Solo::running(latest("last"), 0, &mut services);
    services.table.rows.remove("s00");
    let mut failures = 0;
    while !services.table.rows.contains_key("s00") {
        assert!(last.now < 20 * FAILOVER);
        match last.calls.pop_front() {
            Some(call) if matches!(call, Action::Write(Write::Restore(_))) && failures < 2 => {
                failures += 1;
                last.event(failed(call, ErrorKind::Throttled));
            }
            Some(call) => last.event(services.serve(&call)),
            None => {
                last.now = last.worker.wake_at();
                last.event(Event::Tick);
            }
        }
    }
    assert_eq!((failures, &services.table.row("s00").checkpoint), (2, &at(5)));
}

/// A worker that starts sees two shards without rows, of which one is the other's parent's sibling: what it leaves to
/// others is read before the child all the same, though the child's row appears before anybody filled the hole.
#[test]
fn no_child_overtakes_a_hole_that_is_left_to_others() {
    let mut services = Services::new(Stream::of(2));
    Solo::running(Settings { max_leases: 1, ..settings("gone") }, 0, &mut services);
    services.stream.merge("s00", "s01");
    let owned = |services: &Services, key: &str| services.table.owner(key).is_some();
    let (read, missing) = if owned(&services, "s00") { ("s00", "s01") } else { ("s01", "s00") };
    services.table.rows.remove(missing);
    let mut next = Solo::running(settings("next"), 0, &mut services);
    // The owner goes on for a while: it seals its shard, and creates the child, whose other parent it has seen.
    let child = child_lease(&services.stream.children_of(read)[0]);
    services.table.rows.insert("s02".to_owned(), child);
    let row = services.table.rows.get_mut(read).unwrap();
    (row.owner, row.counter, row.checkpoint) = (None, row.counter + 1, Checkpoint::ShardEnd);
    let mut starts = Vec::new();
    while next.now < 6 * FAILOVER {
        let until = next.now + 500;
        next.run_until(until, &mut services);
        for key in next.start_keys() {
            if key == missing {
                next.end(&key, services.stream.children_of(&key));
            }
            starts.push(key);
        }
    }
    assert_eq!(starts, [missing, "s02"]);
}
