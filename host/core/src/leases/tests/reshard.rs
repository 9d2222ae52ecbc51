//! The end of a shard: children, their rows, the seal, and who starts when.

use super::model::{Services, Stream};
use super::solo::{Solo, failed};
use super::{FAILOVER, at, settings};
use crate::kinesis::shard::ShardFilter;
use crate::leases::{Action, Event, Write};
use crate::position::Checkpoint;
use crate::service::ErrorKind;

/// A worker that reads the only shard, `s00`, which was just split into `s01` and `s02`.
fn split() -> (Solo, Services) {
    let mut services = Services::new(Stream::of(1));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    solo.take_told();
    services.stream.split("s00");
    (solo, services)
}

/// The worker `me` reads `s00`, the worker `other` reads `s01`, and `s02` is their merged child.
fn merged() -> (Solo, Solo, Services) {
    let mut services = Services::new(Stream::of(2));
    let one = |name| crate::leases::Settings { max_leases: 1, ..settings(name) };
    let mut me = Solo::running(one("me"), 0, &mut services);
    let mut other = Solo::running(one("other"), 0, &mut services);
    assert_eq!((me.start_keys(), other.start_keys()), (vec!["s00".to_owned()], vec!["s01".to_owned()]));
    services.stream.merge("s00", "s01");
    (me, other, services)
}

fn is_list(call: &Action) -> bool {
    matches!(call, Action::List(_))
}

fn is_sealed(solo: &mut Solo, key: &str) -> bool {
    solo.take_told().iter().any(|told| matches!(told, Action::ShardSealed { key: sealed, .. } if sealed == key))
}

/// (49) The order at a shard's end: the children's rows at TRIM_HORIZON, their names on the parent, SHARD_END.
#[test]
fn the_steps_of_a_shards_end_come_in_their_order() {
    let (mut solo, mut services) = split();
    solo.end("s00", services.stream.children_of("s00"));
    let mut writes = Vec::new();
    while let Some(call) = solo.calls.pop_front() {
        match &call {
            Action::Write(Write::Create(lease)) => {
                assert_eq!(lease.checkpoint, Checkpoint::TrimHorizon);
                assert_eq!(lease.parents, ["s00"]);
                writes.push(format!("create {}", lease.key));
            }
            Action::Write(Write::Children { key, children }) => writes.push(format!("{key} has {children:?}")),
            Action::Write(Write::Checkpoint { key, checkpoint, .. }) => writes.push(format!("{key} at {checkpoint}")),
            Action::Write(Write::Evict { key, .. }) => writes.push(format!("release {key}")),
            _ => {}
        }
        solo.event(services.serve(&call));
    }
    let ended = ["create s01", "create s02", r#"s00 has ["s01", "s02"]"#, "s00 at SHARD_END", "release s00"];
    assert_eq!(writes, ended);
    let row = services.table.row("s00");
    assert_eq!((row.owner.as_deref(), &row.children[..]), (None, &["s01".to_owned(), "s02".to_owned()][..]));
}

/// A reshard goes on at once: the children are read as soon as their parent is sealed, without any timer, in whatever
/// order the answers come.
#[test]
fn the_children_of_a_split_start_without_waiting() {
    for newest_first in [false, true] {
        let (mut solo, mut services) = split();
        solo.end("s00", services.stream.children_of("s00"));
        while let Some(call) = if newest_first { solo.calls.pop_back() } else { solo.calls.pop_front() } {
            solo.event(services.serve(&call));
        }
        let told = solo.take_told();
        assert!(matches!(&told[0], Action::ShardSealed { key, .. } if key == "s00"), "{told:?}");
        let starts =
            told.iter().filter(|told| matches!(told, Action::Start { checkpoint: Checkpoint::TrimHorizon, .. }));
        assert_eq!(starts.count(), 2, "newest answers first: {newest_first}; {told:?}");
        assert_eq!(solo.now, 0);
    }
}

/// The table was being read while the shard was sealed, and that reading is of before: the children start all the same.
#[test]
fn a_scan_from_before_the_seal_does_not_hide_the_children() {
    let (mut solo, mut services) = split();
    while !solo.calls.contains(&Action::Scan) {
        solo.settle(&mut services);
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
    }
    let (now, scan) = (solo.now, solo.call(|call| *call == Action::Scan));
    let before = services.serve(&scan);
    solo.end("s00", services.stream.children_of("s00"));
    while !services.table.is_at_end("s00") {
        solo.answer(&mut services);
    }
    solo.event(before);
    solo.settle(&mut services);
    assert_eq!(solo.start_keys().len(), 2);
    assert_eq!(solo.now, now);
}

/// DynamoDB's scans may be a little behind writes: neither the seal nor the children are forgotten for that.
#[test]
fn scans_that_do_not_show_the_seal_yet_delay_nothing() {
    let (mut solo, mut services) = split();
    let before = services.serve(&Action::Scan);
    solo.end("s00", services.stream.children_of("s00"));
    while !services.table.is_at_end("s00") {
        solo.answer(&mut services);
    }
    while !solo.calls.is_empty() {
        let scan = solo.calls.iter().position(|call| *call == Action::Scan);
        let call = solo.calls.remove(scan.unwrap_or(0)).unwrap();
        solo.event(if scan.is_some() { before.clone() } else { services.serve(&call) });
    }
    assert_eq!((solo.start_keys().len(), solo.now), (2, 0));
}

/// Nor what one scan showed already, when the next one reads a copy of the table that is older still: a child that took its
/// parent for gone would be read before it.
#[test]
fn a_scan_that_is_older_than_the_one_before_forgets_no_parent() {
    let (mut solo, _other, mut services) = merged();
    while !solo.calls.contains(&Action::Scan) {
        solo.settle(&mut services);
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
    }
    solo.settle(&mut services);
    let parent = services.table.rows.remove("s01").unwrap();
    let older = services.serve(&Action::Scan);
    services.table.rows.insert("s01".to_owned(), parent);
    solo.end("s00", services.stream.children_of("s00"));
    while let Some(call) = solo.calls.pop_front() {
        solo.event(if call == Action::Scan { older.clone() } else { services.serve(&call) });
    }
    assert!(services.table.rows.contains_key("s02"));
    assert_eq!(solo.start_keys().len(), 0, "the other parent is not done");
}

/// What was committed last is written before the end is sealed, and both are told.
#[test]
fn the_last_checkpoint_is_written_before_the_end() {
    let (mut solo, mut services) = split();
    solo.checkpoint("s00", at(7));
    solo.end("s00", services.stream.children_of("s00"));
    solo.settle(&mut services);
    let told = solo.take_told();
    assert!(matches!(&told[..2], [Action::Checkpointed { written: true, .. }, Action::ShardSealed { .. }]), "{told:?}");
}

/// After SHARD_END nothing takes the row back.
#[test]
fn a_checkpoint_after_the_end_is_refused() {
    let (mut solo, mut services) = split();
    solo.end("s00", services.stream.children_of("s00"));
    solo.checkpoint("s00", at(7));
    let told = solo.take_told();
    assert!(matches!(&told[..], [Action::Checkpointed { written: false, .. }]), "{told:?}");
    solo.settle(&mut services);
    assert!(services.table.is_at_end("s00"));
}

/// A lost reply at any step repeats the step and changes nothing.
#[test]
fn a_lost_reply_at_any_step_of_the_end_does_no_harm() {
    for lost in 0..5 {
        let (mut solo, mut services) = split();
        solo.end("s00", services.stream.children_of("s00"));
        for _ in 0..lost {
            solo.answer(&mut services);
        }
        solo.lose_reply(&mut services, |write| !matches!(write, Write::Take { .. }));
        solo.run_until(2_000, &mut services);
        assert!(services.table.is_at_end("s00"), "step {lost}");
        assert_eq!(services.table.owner("s00"), None, "step {lost}");
        let starts = solo.take_told().into_iter().filter(|told| matches!(told, Action::Start { .. })).count();
        assert_eq!(starts, 2, "step {lost}");
    }
}

/// (50) A child waits while a parent's row is not at SHARD_END; a parent without a row does not block.
#[test]
fn a_child_waits_for_the_parents_that_have_rows() {
    let (mut me, mut other, mut services) = merged();
    me.end("s00", services.stream.children_of("s00"));
    me.settle(&mut services);
    assert!(is_sealed(&mut me, "s00"), "the other parent's row exists, so the child's could be created");
    while me.now < 60_000 {
        let until = me.now + 1_000;
        other.run_until(until, &mut services);
        me.run_until(until, &mut services);
    }
    assert_eq!(me.start_keys().len(), 0, "the other parent is not done");
    services.stream.shards.remove("s01");
    services.table.rows.remove("s01");
    me.run_until(60_000 + 5 * FAILOVER, &mut services);
    assert_eq!(me.start_keys(), ["s02"]);
}

/// (50) The other parent is read by another worker: the child starts soon after that one sealed it.
#[test]
fn a_merged_child_starts_after_the_parent_that_another_worker_reads() {
    let (mut me, mut other, mut services) = merged();
    me.end("s00", services.stream.children_of("s00"));
    me.settle(&mut services);
    other.end("s01", services.stream.children_of("s01"));
    other.settle(&mut services);
    let told = other.take_told();
    let starts = |told: &&Action| matches!(told, Action::Start { key, .. } if key == "s02");
    assert_eq!(told.iter().filter(starts).count(), 1, "by whom its last parent was read: {told:?}");
    me.run_until(10_000, &mut services);
    assert_eq!(me.start_keys(), [""; 0]);
}

/// (51) The child of a merge is not created while only one parent has a row: whoever reads towards the other one
/// creates that. It is looked for at a bounded pace.
#[test]
fn a_merged_child_is_deferred_until_both_parents_have_rows() {
    let mut services = Services::new(Stream::of(2));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    services.stream.split("s00");
    services.stream.merge("s03", "s01");
    solo.take_told();
    solo.end("s01", services.stream.children_of("s01"));
    solo.settle(&mut services);
    solo.run_until(20_000, &mut services);
    assert!(!services.table.rows.contains_key("s04"), "s03 is yet to come");
    assert!(!services.table.is_at_end("s01"));
    assert_eq!(services.table.owner("s01"), Some("me"), "and renewed meanwhile");
    solo.end("s00", services.stream.children_of("s00"));
    solo.settle(&mut services);
    assert!(is_sealed(&mut solo, "s00"));
    solo.run_until(21_100, &mut services);
    assert!(services.table.is_at_end("s01"), "polled every second");
    assert!(services.table.rows.contains_key("s04"));
}

/// While a parent is awaited, the table and the stream are asked about once a second, not more.
#[test]
fn an_awaited_parent_is_polled_once_a_second() {
    let mut services = Services::new(Stream::of(2));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    services.stream.split("s00");
    services.stream.merge("s03", "s01");
    solo.end("s01", services.stream.children_of("s01"));
    let (mut scans, mut lists) = (0, 0);
    while solo.now < 30_000 {
        while let Some(call) = solo.calls.pop_front() {
            scans += u32::from(call == Action::Scan);
            lists += u32::from(is_list(&call));
            solo.event(services.serve(&call));
        }
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
    }
    assert!((25..=32).contains(&scans) && (25..=32).contains(&lists), "{scans} scans, {lists} lists in 30 s");
}

/// A reader that reached the end without being told of children: the stream is asked for them.
#[test]
fn an_end_without_children_asks_for_a_listing() {
    let (mut solo, mut services) = split();
    solo.end("s00", vec![]);
    assert_eq!(solo.calls, [Action::List(ShardFilter::All)]);
    solo.settle(&mut services);
    assert!(services.table.is_at_end("s00"));
    assert_eq!(services.table.keys(), ["s00", "s01", "s02"]);
    assert_eq!(solo.held(), ["s01", "s02"]);
}

/// (55) The shard left retention and nothing follows it: sealed without children.
#[test]
fn a_shard_that_is_gone_is_sealed_without_children() {
    let mut services = Services::new(Stream::of(2));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    services.stream.shards.remove("s01");
    solo.end("s01", vec![]);
    solo.settle(&mut services);
    assert!(services.table.is_at_end("s01"));
    assert_eq!(services.table.keys(), ["s00", "s01"]);
}

/// A listing that was under way before the second shard ended may be of before its split: it is asked again.
#[test]
fn a_listing_from_before_an_end_does_not_count_for_it() {
    let mut services = Services::new(Stream::of(2));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    services.stream.split("s00");
    solo.end("s00", vec![]);
    let list = solo.call(is_list);
    let before = services.serve(&list);
    services.stream.split("s01");
    solo.end("s01", vec![]);
    solo.event(before);
    solo.settle(&mut services);
    assert_eq!(services.table.keys(), ["s00", "s01", "s02", "s03", "s04", "s05"]);
    assert!(services.table.is_at_end("s00") && services.table.is_at_end("s01"));
}

/// A shard that the stream still calls open is not sealed, whatever the reader thought: what follows would be lost.
#[test]
fn an_open_shard_is_never_sealed() {
    let mut services = Services::new(Stream::of(1));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    solo.take_told();
    solo.end("s00", vec![]);
    while !solo.told.iter().any(|told| matches!(told, Action::Fail(_))) {
        assert!(solo.now < 120_000, "the job is never told");
        let next = solo.worker.wake_at();
        solo.run_until(next, &mut services);
    }
    assert!(!services.table.is_at_end("s00"));
}

/// (52) Without a commit of the end there is no seal, and the children wait.
#[test]
fn children_wait_for_the_commit_of_their_parents_end() {
    let (mut solo, mut services) = split();
    solo.checkpoint("s00", at(3));
    solo.run_until(60_000, &mut services);
    assert_eq!(services.table.keys(), ["s00"]);
    assert_eq!(services.table.row("s00").checkpoint, at(3));
}

/// Both parents of a merge end at once in the same worker, and creating their child fails for a while: neither is
/// forgotten.
#[test]
fn two_parents_that_create_the_same_child_both_end() {
    for kind in [ErrorKind::Throttled, ErrorKind::Unavailable] {
        let mut services = Services::new(Stream::of(2));
        let mut solo = Solo::running(settings("me"), 0, &mut services);
        services.stream.merge("s00", "s01");
        let children = services.stream.children_of("s00");
        solo.end("s00", children.clone());
        solo.end("s01", children);
        for _ in 0..2 {
            let create = solo.call(|call| matches!(call, Action::Write(Write::Create(_))));
            solo.event(failed(create, kind));
        }
        solo.run_until(3_000, &mut services);
        assert!(services.table.is_at_end("s00") && services.table.is_at_end("s01"));
        assert_eq!(solo.held(), ["s02"]);
        assert!(!solo.told.iter().any(|told| matches!(told, Action::Revoke { .. } | Action::Fail(_))));
    }
}

/// A renewal is on its way while a child's row is created by the other parent: still one write to a row at a time.
#[test]
fn a_child_created_meanwhile_does_not_let_two_writes_race() {
    let mut services = Services::new(Stream::of(2));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    services.stream.merge("s00", "s01");
    solo.now = solo.worker.wake_at();
    solo.event(Event::Tick);
    assert_eq!(solo.calls.len(), 2, "two renewals");
    let children = services.stream.children_of("s00");
    solo.end("s00", children.clone());
    solo.end("s01", children);
    solo.answer(&mut services);
    let create = solo.call(|call| matches!(call, Action::Write(Write::Create(_))));
    solo.event(services.serve(&create));
    let of_second = solo.calls.iter().filter(|call| matches!(call, Action::Write(write) if write.key() == "s01"));
    assert_eq!(of_second.count(), 1, "{:?}", solo.calls);
    solo.settle(&mut services);
    assert_eq!(solo.held(), ["s02"]);
}

/// A listing that fails is asked for again with a growing wait.
#[test]
fn a_failing_listing_backs_off() {
    let (mut solo, mut services) = split();
    solo.take_told();
    solo.end("s00", vec![]);
    let mut lists = 0;
    while solo.now < 20_000 {
        while let Some(call) = solo.calls.pop_front() {
            let fails = is_list(&call);
            lists += u32::from(fails);
            solo.event(if fails { failed(call, ErrorKind::Throttled) } else { services.serve(&call) });
        }
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
    }
    assert!((5..=15).contains(&lists), "{lists} listings in 20 s");
    solo.run_until(30_000, &mut services);
    assert!(services.table.is_at_end("s00"));
}

/// A scan may show a child that was created a moment ago and, on another page or copy, not its parent: the child does not
/// start for that, and starts once its parent is done.
#[test]
fn a_scan_that_shows_a_child_and_not_its_parent_starts_no_child() {
    let (mut solo, mut services) = split();
    let mut newcomer = Solo::running(settings("newcomer"), solo.now, &mut services);
    solo.end("s00", services.stream.children_of("s00"));
    while services.table.rows.len() < 3 {
        solo.answer(&mut services);
    }
    let parent = services.table.rows.remove("s00").unwrap();
    newcomer.sleep_until(5_000);
    newcomer.event(Event::Tick);
    newcomer.settle(&mut services);
    services.table.rows.insert("s00".to_owned(), parent);
    newcomer.settle(&mut services);
    newcomer.run_until(9_000, &mut services);
    assert_eq!(newcomer.held(), [""; 0], "they wait for their parent");
    assert_eq!(newcomer.start_keys().len(), 0, "the parent is not done");
    while !services.table.is_at_end("s00") {
        solo.answer(&mut services);
    }
    drop(solo);
    newcomer.run_until(9_000 + settings("newcomer").parent_poll, &mut services);
    assert!(!newcomer.start_keys().is_empty(), "its share of what can be read now");
}

/// A parent that has no row is no reason to wait for ever: it left the table long ago, or never was in it.
#[test]
fn a_child_whose_parent_has_no_row_starts_once_that_is_certain() {
    let (mut solo, mut services) = split();
    solo.end("s00", services.stream.children_of("s00"));
    while services.table.rows.len() < 3 {
        solo.answer(&mut services);
    }
    services.table.rows.remove("s00");
    services.stream.shards.remove("s00");
    let mut newcomer = Solo::new(settings("newcomer"), solo.now);
    while newcomer.held().len() < 2 {
        newcomer.answer(&mut services);
    }
    assert_eq!(newcomer.told.len(), 0, "the look that showed the children may have missed a parent created meanwhile");
    assert!(newcomer.calls.contains(&Action::ScanConsistently));
    newcomer.settle(&mut services);
    assert_eq!(newcomer.start_keys().len(), 2);
}
