//! What the leader does for the table: holes, old rows, finished shards.

use super::model::{Services, Stream};
use super::solo::{Solo, failed};
use super::{FAILOVER, at, settings};
use crate::dice::{Dice, histories};
use crate::kinesis::shard::ShardFilter;
use crate::leases::audit::{Coverage, coverage};
use crate::leases::sync::child_lease;
use crate::leases::{Action, Cleanup, Event, Settings, Write};
use crate::position::{Checkpoint, InitialPosition};
use crate::service::ErrorKind;
use crate::time::Millis;

const MINUTE: Millis = 60_000;

/// Every two minutes, three times: and a cycle more until somebody looks.
const HEALED_WITHIN: Millis = 7 * MINUTE;

fn running(shards: u128, settings: Settings) -> (Solo, Services) {
    let mut services = Services::new(Stream::of(shards));
    let solo = Solo::running(settings, 0, &mut services);
    (solo, services)
}

fn end(solo: &mut Solo, services: &mut Services, key: &str) {
    let children = services.stream.children_of(key);
    solo.end(key, children);
    solo.settle(services);
    assert!(services.table.is_at_end(key));
}

/// A worker that read `s00` to its end and goes on with its children `s01` and `s02`.
fn after_a_split(settings: Settings) -> (Solo, Services) {
    let (mut solo, mut services) = running(1, settings);
    services.stream.split("s00");
    end(&mut solo, &mut services, "s00");
    (solo, services)
}

/// A worker that reads `s01`, whose sibling `s02` has no row, and never had one: another worker sealed their parent.
fn with_a_hole(settings: Settings) -> (Solo, Services) {
    let (mut solo, mut services) = running(1, settings);
    services.stream.split("s00");
    let children = services.stream.children_of("s00");
    let row = services.table.rows.get_mut("s00").unwrap();
    (row.owner, row.counter, row.checkpoint) = (None, row.counter + 1, Checkpoint::ShardEnd);
    row.children = children.iter().map(|child| child.id.clone()).collect();
    services.table.rows.insert("s01".to_owned(), child_lease(&children[0]));
    solo.run_until(FAILOVER, &mut services);
    assert_eq!(solo.held(), ["s01"]);
    (solo, services)
}

/// Lets time pass, and tells which calls of a kind were made.
fn calls_until(solo: &mut Solo, services: &mut Services, until: Millis, wanted: fn(&Action) -> bool) -> Vec<Action> {
    let mut calls = Vec::new();
    while solo.worker.wake_at() <= until {
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
        while let Some(call) = solo.calls.pop_front() {
            solo.event(services.serve(&call));
            calls.extend(Some(call).filter(wanted));
        }
    }
    solo.now = until;
    calls
}

fn is_list(call: &Action) -> bool {
    matches!(call, Action::List(_))
}

fn is_delete(call: &Action) -> bool {
    matches!(call, Action::Write(Write::Delete { .. }))
}

/// (56) A parent's row goes when every child was checkpointed; the children's rows stay.
#[test]
fn a_finished_parent_goes_after_its_children_were_begun() {
    let (mut solo, mut services) = after_a_split(settings("me"));
    solo.run_until(6 * MINUTE, &mut services);
    assert_eq!(services.table.keys(), ["s00", "s01", "s02"], "nothing was read of the children yet");
    solo.checkpoint("s01", at(1_000_001));
    solo.run_until(12 * MINUTE, &mut services);
    assert_eq!(services.table.keys(), ["s00", "s01", "s02"], "s02 would not know where to start");
    solo.checkpoint("s02", at(2_000_001));
    solo.run_until(18 * MINUTE, &mut services);
    assert_eq!(services.table.keys(), ["s01", "s02"]);
    assert!(!solo.told.iter().any(|told| matches!(told, Action::Revoke { .. } | Action::Fail(_))));
}

/// (56) LATEST counts as begun, AT_TIMESTAMP does not.
#[test]
fn what_a_child_must_have_left() {
    let cases = [
        (Checkpoint::TrimHorizon, false),
        (Checkpoint::AtTimestamp, false),
        (Checkpoint::Latest, true),
        (at(1_000_001), true),
        (Checkpoint::ShardEnd, true),
    ];
    for (checkpoint, goes) in cases {
        let (mut solo, mut services) = after_a_split(settings("me"));
        for key in ["s01", "s02"] {
            services.table.rows.get_mut(key).unwrap().checkpoint = checkpoint.clone();
        }
        solo.run_until(11 * MINUTE, &mut services);
        assert_eq!(!services.table.rows.contains_key("s00"), goes, "{checkpoint}");
    }
}

/// (56) A lineage loses its rows from the oldest on: a generation a look.
#[test]
fn grandparents_go_before_parents() {
    let (mut solo, mut services) = after_a_split(settings("me"));
    services.stream.merge("s01", "s02");
    end(&mut solo, &mut services, "s01");
    end(&mut solo, &mut services, "s02");
    solo.checkpoint("s03", at(3_000_001));
    let deletes = calls_until(&mut solo, &mut services, 6 * MINUTE, is_delete);
    assert_eq!(deletes.len(), 1, "{deletes:?}");
    assert_eq!(services.table.keys(), ["s01", "s02", "s03"]);
    solo.run_until(11 * MINUTE, &mut services);
    assert_eq!(services.table.keys(), ["s03"]);
}

/// (57) With the cleanup switched off, rows stay for ever.
#[test]
fn without_cleanup_nothing_is_deleted() {
    let (mut solo, mut services) = after_a_split(Settings { cleanup: None, ..settings("me") });
    for (key, first) in [("s01", 1_000_001), ("s02", 2_000_001)] {
        solo.checkpoint(key, at(first));
    }
    services.stream.expire("s01");
    let calls = calls_until(&mut solo, &mut services, 120 * MINUTE, |call| is_delete(call) || is_list(call));
    assert_eq!(calls, []);
    assert_eq!(services.table.keys(), ["s00", "s01", "s02"]);
}

/// (56) A Java worker keeps what it finished, and deletes it itself.
#[test]
fn what_a_live_worker_has_in_hand_is_left_to_it() {
    let (mut solo, mut services) = after_a_split(settings("me"));
    for (key, first) in [("s01", 1_000_001), ("s02", 2_000_001)] {
        solo.checkpoint(key, at(first));
    }
    services.table.rows.get_mut("s00").unwrap().owner = Some("java".to_owned());
    while solo.now < 12 * MINUTE {
        services.table.rows.get_mut("s00").unwrap().counter += 1;
        solo.run_until(solo.now + 5_000, &mut services);
    }
    assert!(services.table.rows.contains_key("s00"));
    solo.run_until(24 * MINUTE, &mut services);
    assert!(!services.table.rows.contains_key("s00"), "it went without its row");
}

/// A row that somebody took after it was seen is not deleted under his hands.
#[test]
fn a_row_that_changed_meanwhile_is_not_deleted() {
    let (mut solo, mut services) = after_a_split(settings("me"));
    for (key, first) in [("s01", 1_000_001), ("s02", 2_000_001)] {
        solo.checkpoint(key, at(first));
    }
    while !solo.calls.iter().any(is_delete) {
        solo.settle(&mut services);
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
        while solo.calls.front().is_some_and(|call| !is_delete(call)) {
            solo.answer(&mut services);
        }
    }
    services.table.rows.get_mut("s00").unwrap().counter += 1;
    solo.settle(&mut services);
    assert!(services.table.rows.contains_key("s00"));
}

/// A deletion that is refused to this worker, or throttled, does not stop the job; it is tried at a later look.
#[test]
fn a_deletion_that_fails_is_tried_again_later() {
    for kind in [ErrorKind::Throttled, ErrorKind::Denied] {
        let (mut solo, mut services) = after_a_split(settings("me"));
        for (key, first) in [("s01", 1_000_001), ("s02", 2_000_001)] {
            solo.checkpoint(key, at(first));
        }
        let mut tries = 0;
        while services.table.rows.contains_key("s00") {
            assert!(solo.now < 30 * MINUTE, "{kind:?}");
            match solo.calls.pop_front() {
                Some(call) if is_delete(&call) && tries < 2 => {
                    tries += 1;
                    solo.event(failed(call, kind));
                }
                Some(call) => solo.event(services.serve(&call)),
                None => {
                    solo.now = solo.worker.wake_at();
                    solo.event(Event::Tick);
                }
            }
        }
        assert!(solo.now > 15 * MINUTE, "{kind:?}: a look every five minutes");
        assert!(!solo.told.iter().any(|told| matches!(told, Action::Fail(_))), "{kind:?}");
    }
}

/// Garbage: the stream has forgotten the shard, so its row goes although a child was never begun.
#[test]
fn what_the_stream_has_forgotten_goes() {
    let (mut solo, mut services) = after_a_split(settings("me"));
    services.stream.shards.remove("s00");
    solo.run_until(29 * MINUTE, &mut services);
    assert_eq!(services.table.keys(), ["s00", "s01", "s02"]);
    let lists = calls_until(&mut solo, &mut services, 32 * MINUTE, is_list);
    assert_eq!(lists, [Action::List(ShardFilter::All)]);
    assert_eq!(services.table.keys(), ["s01", "s02"]);
}

/// Garbage stays as long as a child of it lacks its row: without the parent's, the child would begin at LATEST.
#[test]
fn garbage_stays_while_a_child_has_no_row() {
    let cleanup = Some(Cleanup { completed: MINUTE, garbage: MINUTE });
    let latest = Settings { initial_position: InitialPosition::Latest, cleanup, ..settings("me") };
    let (mut solo, mut services) = with_a_hole(latest);
    services.stream.shards.remove("s00");
    solo.run_until(3 * MINUTE, &mut services);
    assert_eq!(services.table.keys(), ["s00", "s01"]);
    solo.run_until(HEALED_WITHIN, &mut services);
    assert_eq!(services.table.row("s02").checkpoint, Checkpoint::TrimHorizon, "all of it is read");
    solo.run_until(10 * MINUTE, &mut services);
    assert_eq!(services.table.keys(), ["s01", "s02"]);
}

/// (41) The leader of the fleet, and nobody else, lists and deletes.
#[test]
fn only_the_leader_looks_after_the_table() {
    let mut services = Services::new(Stream::of(2));
    let mut solos = Vec::from(["w0", "w1"].map(|name| {
        let cleanup = Some(Cleanup { completed: MINUTE, garbage: MINUTE });
        let settings = Settings { shard_sync_interval: Some(MINUTE), cleanup, ..settings(name) };
        Solo::running(settings, 0, &mut services)
    }));
    let mut lists = [0, 0];
    while solos[0].now < 20 * MINUTE {
        for (solo, lists) in solos.iter_mut().zip(&mut lists) {
            let until = solo.now + 1_000;
            *lists += calls_until(solo, &mut services, until, is_list).len();
        }
    }
    assert_eq!(services.table.rows.values().filter(|row| row.owner.as_deref() == Some("w1")).count(), 1);
    // The vector for two owners: w0 is first.
    assert!((10..=20).contains(&lists[0]), "{lists:?}");
    assert_eq!(lists[1], 0);
}

/// The rows of finished shards may name a worker that is gone for ever; it is not elected.
#[test]
fn a_dead_owner_of_finished_leases_does_not_lead() {
    let (mut solo, mut services) = after_a_split(settings("w1"));
    services.table.rows.get_mut("s00").unwrap().owner = Some("w0".to_owned());
    for (key, first) in [("s01", 1_000_001), ("s02", 2_000_001)] {
        solo.checkpoint(key, at(first));
    }
    solo.run_until(6 * MINUTE, &mut services);
    assert_eq!(services.table.keys(), ["s01", "s02"]);
}

/// (47) A row is missing: after the third look the hole is filled while everything runs, and what is filled is read.
#[test]
fn a_hole_is_filled_while_running() {
    let (mut solo, mut services) = with_a_hole(settings("me"));
    let lists = calls_until(&mut solo, &mut services, 5 * MINUTE, is_list);
    assert_eq!(lists, [], "two looks are not enough");
    solo.take_told();
    solo.run_until(HEALED_WITHIN, &mut services);
    assert_eq!(solo.starts(), [("s02".to_owned(), Checkpoint::TrimHorizon)]);
    let lists = calls_until(&mut solo, &mut services, 20 * MINUTE, is_list);
    assert_eq!(lists, [], "healed");
}

/// (47) What a filling of the hole meets, it survives: the next look tries again.
#[test]
fn filling_a_hole_is_tried_again() {
    type Fault = fn(&Action) -> bool;
    let faults: [Fault; 2] = [is_list, |call| matches!(call, Action::Write(Write::Create(_)))];
    for fault in faults {
        let (mut solo, mut services) = with_a_hole(settings("me"));
        let mut failures = 0;
        while !services.table.rows.contains_key("s02") {
            assert!(solo.now < 30 * MINUTE);
            match solo.calls.pop_front() {
                Some(call) if fault(&call) && failures < 3 => {
                    failures += 1;
                    solo.event(failed(call, ErrorKind::Throttled));
                }
                Some(call) => solo.event(services.serve(&call)),
                None => {
                    assert!(solo.worker.wake_at() > solo.now, "a loop without a wait");
                    solo.now = solo.worker.wake_at();
                    solo.event(Event::Tick);
                }
            }
        }
        assert_eq!(failures, 3);
        assert!(!solo.told.iter().any(|told| matches!(told, Action::Fail(_))));
    }
}

/// Rows of old Java workers have no hash range: it is written to them, and nothing else of them changes.
#[test]
fn missing_hash_ranges_are_written() {
    let (mut solo, mut services) = running(2, settings("me"));
    let before = services.table.row("s01").clone();
    services.table.rows.get_mut("s01").unwrap().hash_range = None;
    let writes = calls_until(&mut solo, &mut services, 3 * MINUTE, |call| {
        matches!(call, Action::Write(Write::HashRange { .. }))
    });
    assert_eq!(writes.len(), 1);
    assert_eq!(services.table.row("s01").hash_range, before.hash_range);
    let lists = calls_until(&mut solo, &mut services, 30 * MINUTE, is_list);
    assert_eq!(lists, [], "and that is all");
}

/// Shards are listed every now and then when that is wanted, and a missing row is found without an audit.
#[test]
fn a_periodic_sync_creates_what_is_missing() {
    let periodic = Settings { shard_sync_interval: Some(MINUTE), ..settings("me") };
    let (mut solo, mut services) = with_a_hole(periodic);
    solo.take_told();
    solo.run_until(MINUTE + 30_000, &mut services);
    assert_eq!(solo.start_keys(), ["s02"]);
}

/// (46) A listing that shows children of an open shard is asked for again; with the flag they are passed over.
#[test]
fn an_inconsistent_listing_is_asked_for_again() {
    for ignore_unexpected_children in [false, true] {
        let mut stream = Stream::of(2);
        stream.split("s00");
        let mut services = Services::new(stream);
        let mut seen_too_early = services.stream.shards.values().map(|model| model.shard.clone()).collect::<Vec<_>>();
        seen_too_early[0].open = true;
        let mut solo = Solo::new(Settings { ignore_unexpected_children, ..settings("me") }, 0);
        solo.answer(&mut services);
        solo.call(is_list);
        solo.event(Event::Listed(Ok(seen_too_early)));
        solo.settle(&mut services);
        if ignore_unexpected_children {
            assert_eq!(services.table.keys(), ["s00", "s01"], "the children come at the end of s00");
        } else {
            assert_eq!(services.table.keys(), [""; 0]);
        }
        solo.run_until(1_000, &mut services);
        assert_eq!(services.table.keys(), ["s00", "s01"], "ignored: {ignore_unexpected_children}");
        assert_eq!(solo.start_keys(), ["s00", "s01"]);
    }
}

/// The closed shards that the worker reads.
fn read_to_the_end(solo: &Solo, services: &Services) -> Vec<String> {
    let closed = |key: &&str| !services.stream.shards[*key].shard.open && solo.epochs.contains_key(*key);
    solo.held().into_iter().filter(closed).map(str::to_owned).collect()
}

/// (48) Whatever the stream's past, whichever rows are gone: after one sync the leases cover the hash space, either
/// by themselves or through what the end of a shard brings; and once all are read to their ends there is no hole.
#[test]
fn no_past_of_a_stream_leaves_a_hole() {
    histories(0..1_000, |seed| {
        let mut dice = Dice::new(seed);
        let initial = [InitialPosition::Latest, InitialPosition::TrimHorizon, InitialPosition::AtTimestamp(9)];
        let periodic =
            Settings { initial_position: initial[dice.index(3)], shard_sync_interval: Some(MINUTE), ..settings("me") };
        let mut services = Services::new(Stream::with_past(&mut dice));
        let mut solo = Solo::running(periodic, 0, &mut services);
        for _ in 0..dice.below(8) {
            services.stream.reshard(&mut dice);
        }
        for _ in 0..40 {
            let rows: Vec<String> = services.table.rows.keys().cloned().collect();
            if dice.chance(10) && rows.len() > 1 {
                services.table.rows.remove(&rows[dice.index(rows.len())]);
            }
            for key in read_to_the_end(&solo, &services) {
                if dice.chance(70) {
                    solo.end(&key, services.stream.children_of(&key));
                    solo.settle(&mut services);
                }
            }
            let next = solo.now + dice.below(30_000);
            solo.run_until(next, &mut services);
        }
        for _ in 0..30 {
            for key in read_to_the_end(&solo, &services) {
                solo.end(&key, services.stream.children_of(&key));
                solo.settle(&mut services);
            }
            solo.run_until(solo.now + MINUTE, &mut services);
        }
        let rows: Vec<_> = services.table.rows.values().cloned().collect();
        assert_eq!(coverage(&rows), Coverage::Complete, "{rows:#?}");
    });
}
