//! From an empty or incomplete table to the first reading.

use super::model::{Services, Stream};
use super::solo::{Solo, failed, is_scan};
use super::{at, settings};
use crate::dice::{Dice, histories};
use crate::kinesis::shard::{ShardFilter, ShardId};
use crate::leases::{Action, Event, START_ATTEMPTS_MAX, Scan, Settings, Write};
use crate::position::{Checkpoint, InitialPosition};
use crate::service::ErrorKind;
use crate::time::Millis;

fn created(calls: impl IntoIterator<Item = Action>) -> Vec<String> {
    let keys = calls.into_iter().filter_map(|call| match call {
        Action::Write(Write::Create(lease)) => Some(lease.key),
        _ => None,
    });
    keys.collect()
}

/// A fresh application reads all of its shards without waiting for any timer.
#[test]
fn a_cold_start_waits_for_nothing_but_answers() {
    let mut services = Services::new(Stream::of(4));
    let mut solo = Solo::new(settings("me"), 77);
    solo.settle(&mut services);
    assert_eq!(solo.start_keys(), ["s00", "s01", "s02", "s03"]);
    assert_eq!(solo.now, 77);
    assert!(services.table.rows.values().all(|row| row.counter == 1 && row.checkpoint == Checkpoint::TrimHorizon));
}

/// An empty table is filled by the shards of the initial position, at that position.
#[test]
fn the_initial_position_decides_which_shards_and_where() {
    let cases = [
        (InitialPosition::Latest, ShardFilter::AtLatest, Checkpoint::Latest),
        (InitialPosition::TrimHorizon, ShardFilter::AtTrimHorizon, Checkpoint::TrimHorizon),
        (InitialPosition::AtTimestamp(9), ShardFilter::AtTimestamp(9), Checkpoint::AtTimestamp),
    ];
    for (initial_position, filter, checkpoint) in cases {
        let mut services = Services::new(Stream::of(2));
        let mut solo = Solo::new(Settings { initial_position, ..settings("me") }, 0);
        solo.answer(&mut services);
        assert_eq!(solo.calls, [Action::List(filter)]);
        solo.settle(&mut services);
        let expected = ["s00", "s01"].map(|key| (key.to_owned(), checkpoint.clone()));
        assert_eq!(solo.starts(), expected);
    }
}

/// DynamoDB's scans may miss what was just written; a start does not wait for them to see it.
#[test]
fn a_scan_that_does_not_show_the_new_rows_yet_delays_nothing() {
    let mut services = Services::new(Stream::of(4));
    let mut solo = Solo::new(settings("me"), 0);
    while let Some(call) = solo.calls.pop_front() {
        match call {
            scan if is_scan(&scan) => solo.event(Event::Scanned(Ok(Scan::default()))),
            call => solo.event(services.serve(&call)),
        }
    }
    assert_eq!(solo.start_keys().len(), 4);
}

/// (45) Rows are created in the order of their starting sequence numbers, and a crash after any of them heals.
#[test]
fn a_start_that_crashed_half_way_is_completed_by_the_next() {
    for crash_after in 0..4 {
        let mut stream = Stream::of(3);
        stream.split("s00");
        stream.merge("s04", "s01");
        let mut services = Services::new(stream);
        let mut dying = Solo::new(settings("me"), 0);
        while created(dying.calls.iter().cloned()).is_empty() {
            dying.answer(&mut services);
        }
        let mut order = Vec::new();
        for _ in 0..crash_after {
            if let Some(key) = created(dying.calls.front().cloned()).pop() {
                order.push(key);
                dying.answer(&mut services);
            }
        }
        assert!(order.is_sorted(), "{order:?}");
        let mut next = Solo::running(settings("next"), 0, &mut services);
        assert_eq!(services.table.keys(), ["s00", "s01", "s02"], "the oldest shards lead to all others");
        assert_eq!(next.start_keys().len(), 3);
    }
}

/// A table that throttles the first writes does not fail the job, and is not hammered.
#[test]
fn throttled_creations_back_off_and_succeed() {
    let mut services = Services::new(Stream::of(30));
    let mut solo = Solo::new(settings("me"), 0);
    let mut throttled = 0;
    while services.table.rows.len() < 30 {
        let Some(call) = solo.calls.pop_front() else {
            assert!(solo.worker.wake_at() > solo.now, "a loop without a wait");
            solo.now = solo.worker.wake_at();
            solo.event(Event::Tick);
            continue;
        };
        let is_create = matches!(call, Action::Write(Write::Create(_)));
        if is_create && throttled < 40 {
            throttled += 1;
            solo.event(failed(call, ErrorKind::Throttled));
        } else {
            solo.event(services.serve(&call));
        }
    }
    solo.settle(&mut services);
    assert_eq!(solo.start_keys().len(), 30);
    assert!(!solo.told.iter().any(|told| matches!(told, Action::Fail(_))));
}

/// What a start waits for, until it is there.
fn start_without(what: &str, kind: ErrorKind, fault: fn(&Action) -> bool, until: Millis) -> (Solo, u32) {
    let mut services = Services::new(Stream::of(1));
    let mut solo = Solo::new(settings("me"), 0);
    let mut failures = 0;
    while solo.told.is_empty() && solo.now < until + 60_000 {
        let Some(call) = solo.calls.pop_front() else {
            assert!(solo.worker.wake_at() > solo.now, "{what}: a loop without a wait");
            solo.now = solo.worker.wake_at();
            solo.event(Event::Tick);
            continue;
        };
        let fails = fault(&call) && solo.now < until;
        failures += u32::from(fails);
        solo.event(if fails { failed(call, kind) } else { services.serve(&call) });
    }
    (solo, failures)
}

type IsCall = fn(&Action) -> bool;

const FAULTS: [(&str, IsCall); 3] = [
    ("scan", is_scan),
    ("list", |call| matches!(call, Action::List(_))),
    ("create", |call| matches!(call, Action::Write(Write::Create(_)))),
];

/// However long a service is away when the worker starts, it is waited for, with pauses; and then the start goes on.
#[test]
fn a_start_waits_for_services_that_are_away() {
    const HOUR: Millis = 3_600_000;
    for kind in [ErrorKind::Unavailable, ErrorKind::Throttled, ErrorKind::InUse] {
        for (what, fault) in FAULTS {
            let (solo, failures) = start_without(what, kind, fault, HOUR);
            assert!(matches!(solo.told[..], [Action::Start { .. }]), "{what} {kind}: {:?}", solo.told);
            assert!(solo.now >= HOUR && solo.now < HOUR + 10_000, "{what} {kind}: it goes on at {}", solo.now);
            assert!((500..2_500).contains(&failures), "{what} {kind}: {failures} calls in an hour");
        }
    }
}

/// A host that nobody knows is a mistake in the configuration, most likely, and a person must hear of it; but a name
/// server may know more after a while.
#[test]
fn a_start_does_not_wait_for_ever_for_a_host_that_nobody_knows() {
    for (what, fault) in &FAULTS[..2] {
        let (solo, failures) = start_without(what, ErrorKind::UnknownHost, *fault, Millis::MAX - 60_000);
        assert!(matches!(solo.told[..], [Action::Fail(_)]), "{what}: {:?}", solo.told);
        assert_eq!(failures, START_ATTEMPTS_MAX, "{what}");
        let (solo, _) = start_without(what, ErrorKind::UnknownHost, *fault, 20_000);
        assert!(matches!(solo.told[..], [Action::Start { .. }]), "{what}: {:?}", solo.told);
    }
}

/// After a call that no retry mends, the job is told once, and nothing is called in a loop.
#[test]
fn a_denied_scan_fails_at_once_and_does_not_loop() {
    for running in [false, true] {
        let mut services = Services::new(Stream::of(1));
        let mut solo = Solo::new(settings("me"), 0);
        if running {
            solo.run_until(1_000, &mut services);
            solo.take_told();
            solo.sleep_until(60_000);
            solo.event(Event::Tick);
        }
        solo.settle_unless(&mut services, |call| is_scan(call).then_some(ErrorKind::Denied));
        let failures = solo.take_told().iter().filter(|told| matches!(told, Action::Fail(_))).count();
        assert_eq!(failures, 1);
        assert!(solo.worker.wake_at() > solo.now);
    }
}

/// Two workers start on an empty table at the same time: each row exists once, each shard is read by one of them.
#[test]
fn two_first_workers_share_the_work() {
    let mut services = Services::new(Stream::of(4));
    let mut solos = ["a", "b"].map(|name| Solo::new(settings(name), 0));
    while solos.iter().any(|solo| !solo.calls.is_empty()) {
        for solo in &mut solos {
            if !solo.calls.is_empty() {
                solo.answer(&mut services);
            }
        }
    }
    let mut starts: Vec<String> = solos.iter_mut().flat_map(Solo::start_keys).collect();
    starts.sort();
    assert_eq!(starts, ["s00", "s01", "s02", "s03"]);
}

/// Workers that start together on a large stream create its rows together, and share them: none of them tries all.
#[test]
fn a_fleet_that_starts_fills_and_shares_the_table_once() {
    const WORKERS: u64 = 20;
    const SHARDS: usize = 400;
    let mut services = Services::new(Stream::of(SHARDS as u128));
    let start = |seed| Solo::new(Settings { seed, ..settings(&format!("w{seed}")) }, 0);
    let mut solos: Vec<Solo> = (0..WORKERS).map(start).collect();
    let (mut creations, mut takes) = (0, 0);
    while services.table.rows.len() < SHARDS || services.table.rows.values().any(|row| row.owner.is_none()) {
        for solo in &mut solos {
            if solo.calls.is_empty() {
                solo.now = solo.worker.wake_at();
                solo.event(Event::Tick);
            }
            creations += usize::from(matches!(solo.calls.front(), Some(Action::Write(Write::Create(_)))));
            takes += usize::from(matches!(solo.calls.front(), Some(Action::Write(Write::Take { .. }))));
            solo.answer(&mut services);
        }
    }
    assert!(creations < 2 * SHARDS, "{creations} tries to create {SHARDS} rows");
    assert!(takes < 4 * SHARDS, "{takes} tries to take {SHARDS} leases");
}

/// A stop that comes while the start is under way ends it: nothing is called any more.
#[test]
fn a_stop_during_the_start_calls_nothing_more() {
    for answers in 0..4 {
        let mut services = Services::new(Stream::of(2));
        let mut solo = Solo::new(settings("me"), 0);
        for _ in 0..answers {
            solo.answer(&mut services);
        }
        let before = solo.calls.len();
        solo.event(Event::Stop);
        assert_eq!(solo.calls.len(), before, "after {answers} answers");
        for _ in 0..before {
            solo.answer(&mut services);
        }
        assert!(created(solo.calls.iter().cloned()).is_empty(), "after {answers} answers");
        solo.settle(&mut services);
        assert_eq!(solo.take_told().last(), Some(&Action::Stopped), "after {answers} answers");
        assert!(services.table.rows.values().all(|row| row.owner.is_none()));
    }
}

/// A worker finds the table filled: it resumes where the rows say.
#[test]
fn a_later_start_resumes_where_the_rows_say() {
    let mut services = Services::new(Stream::of(2));
    let mut first = Solo::running(settings("first"), 0, &mut services);
    first.checkpoint("s01", at(33));
    first.event(Event::Stop);
    first.settle(&mut services);
    let mut second = Solo::running(settings("second"), 0, &mut services);
    assert_eq!(second.starts(), [("s00".to_owned(), Checkpoint::TrimHorizon), ("s01".to_owned(), at(33))]);
}

/// (45, 48) Whatever the stream's past, and whichever rows were created before a crash: the next worker reaches every
/// open shard, parents first.
#[test]
fn every_open_shard_is_reached_from_any_half_created_table() {
    histories(0..2_000, |seed| {
        let mut dice = Dice::new(seed);
        let initial = [InitialPosition::Latest, InitialPosition::TrimHorizon, InitialPosition::AtTimestamp(9)];
        let settings = Settings { initial_position: initial[dice.index(3)], ..settings("me") };
        let mut services = Services::new(Stream::with_past(&mut dice));
        let mut dying = Solo::new(settings.clone(), 0);
        dying.answer(&mut services);
        dying.answer(&mut services);
        for call in dying.calls.drain(..).filter(|_| dice.chance(50)) {
            services.serve(&call);
        }
        let mut solo = Solo::running(settings, 0, &mut services);
        let mut reading = Vec::new();
        for _ in 0..100 {
            for key in solo.start_keys() {
                let table = &services.table;
                let parents = table.row(&key).parents.iter().filter(|id| table.rows.contains_key(*id));
                assert!(parents.clone().all(|id| table.is_at_end(id)), "{key} starts before its parents are done");
                reading.push(key);
            }
            let ended: Option<ShardId> = reading.iter().find(|key| !services.stream.shards[*key].shard.open).cloned();
            match ended {
                Some(key) => {
                    reading.retain(|id| *id != key);
                    solo.end(&key, services.stream.children_of(&key));
                    solo.settle(&mut services);
                }
                None => solo.run_until(solo.now + 1_100, &mut services),
            }
        }
        reading.sort();
        let open = services.stream.shards.values().map(|model| &model.shard).filter(|shard| shard.open);
        assert_eq!(reading, open.map(|shard| shard.id.clone()).collect::<Vec<_>>());
    });
}

/// A pause between the look at the table and the creations, or answers that take too long: the rows may have lived and
/// been cleaned up meanwhile, so the table is looked at again.
#[test]
fn rows_are_created_on_a_fresh_look_only() {
    for answers in 1..3 {
        let mut services = Services::new(Stream::of(1));
        let mut solo = Solo::new(settings("me"), 0);
        for _ in 0..answers {
            solo.answer(&mut services);
        }
        let mut other = Solo::running(settings("other"), 0, &mut services);
        services.stream.split("s00");
        other.end("s00", services.stream.children_of("s00"));
        other.settle(&mut services);
        services.table.rows.remove("s00");
        // What was on its way before the pause never arrived.
        let waiting: Vec<Action> = solo.calls.drain(..).collect();
        solo.sleep_until(30_000);
        for call in waiting {
            match call {
                Action::Write(write) => solo.event(failed(Action::Write(write), ErrorKind::Unavailable)),
                call => solo.event(services.serve(&call)),
            }
        }
        solo.run_until(40_000, &mut services);
        assert_eq!(services.table.keys(), ["s01", "s02"], "after {answers} answers");
    }
}
