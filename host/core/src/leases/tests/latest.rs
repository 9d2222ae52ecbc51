//! Shards that begin at LATEST: from the first contact on nothing is skipped, whoever reads them in the end.

use super::model::{Services, Stream};
use super::solo::Solo;
use super::{FAILOVER, TAKE_OVER, at, settings};
use crate::leases::{Action, Event, Lease, Settings, Write};
use crate::position::{Checkpoint, InitialPosition, LATEST_MARGIN, Latest};

const T0: u64 = 1_700_000_000_000;

fn latest(worker: &str) -> Settings {
    Settings { initial_position: InitialPosition::Latest, ..settings(worker) }
}

/// What LATEST stands for in the shards that were told to start since the last look.
fn starts(solo: &mut Solo) -> Vec<Latest> {
    let starts = solo.take_told().into_iter().filter_map(|told| match told {
        Action::Start { checkpoint: Checkpoint::Latest, latest, .. } => Some(latest),
        _ => None,
    });
    starts.collect()
}

/// A row at LATEST as a Java worker leaves it, which knows nothing of first contacts.
fn java_row(key: &str, owner: Option<&str>, counter: u64) -> Lease {
    Lease {
        key: key.to_owned(),
        owner: owner.map(str::to_owned),
        counter,
        owner_switches: 0,
        checkpoint: Checkpoint::Latest,
        parents: Vec::new(),
        children: Vec::new(),
        hash_range: None,
        checkpoint_owner: None,
        latest_since: None,
    }
}

fn with_rows(rows: impl IntoIterator<Item = Lease>) -> Services {
    let mut services = Services::new(Stream::of(1));
    services.table.rows.extend(rows.into_iter().map(|row| (row.key.clone(), row)));
    services
}

/// Who creates the rows notes the time, and begins with what arrives next.
#[test]
fn a_bootstrap_at_latest_notes_when() {
    let mut services = Services::new(Stream::of(2));
    let mut solo = Solo::running(latest("me"), T0, &mut services);
    assert!(services.table.rows.values().all(|row| row.latest_since == Some(T0)));
    assert_eq!(starts(&mut solo), [Latest::Next; 2]);
}

/// A start that took long begins where it noted that it begins: that is what a successor would do, and what a second
/// reading would, if the first one fails.
#[test]
fn a_bootstrap_at_latest_that_took_long_begins_with_the_first_contact() {
    for (took, expected) in [(LATEST_MARGIN, Latest::Next), (LATEST_MARGIN + 1, Latest::Since(T0))] {
        let mut services = Services::new(Stream::of(2));
        let mut solo = Solo::new(latest("me"), T0);
        for _ in 0..3 {
            solo.answer(&mut services);
        }
        solo.now = T0 + took;
        solo.settle(&mut services);
        assert_eq!(starts(&mut solo), [expected; 2]);
    }
}

/// Another position needs no time.
#[test]
fn a_bootstrap_elsewhere_notes_nothing() {
    for initial_position in [InitialPosition::TrimHorizon, InitialPosition::AtTimestamp(9)] {
        let mut services = Services::new(Stream::of(2));
        Solo::running(Settings { initial_position, ..settings("me") }, T0, &mut services);
        assert!(services.table.rows.values().all(|row| row.latest_since.is_none()));
    }
}

/// The worker died before its first checkpoint, was paused too long, or stopped: what came meanwhile is read.
#[test]
fn whoever_comes_next_reads_from_the_first_contact() {
    let mut services = Services::new(Stream::of(2));
    Solo::running(latest("dead"), T0, &mut services);
    let mut next = Solo::running(latest("next"), T0 + 3_600_000, &mut services);
    next.run_until(next.now + TAKE_OVER, &mut services);
    assert_eq!(starts(&mut next), [Latest::Since(T0); 2]);

    next.sleep_until(next.now + FAILOVER + 1);
    next.event(Event::Tick);
    next.settle(&mut services);
    assert_eq!(starts(&mut next), [Latest::Since(T0); 2], "again, after it lost them");

    next.event(Event::Stop);
    next.settle(&mut services);
    let mut last = Solo::running(latest("last"), T0 + 7_200_000, &mut services);
    assert_eq!(starts(&mut last), [Latest::Since(T0); 2]);
}

/// The worker that created the rows may not have been the first to read them.
#[test]
fn a_row_that_another_held_meanwhile_is_not_unread() {
    let mut services = Services::new(Stream::of(1));
    let mut creator = Solo::new(latest("creator"), T0);
    while !creator.calls.iter().any(|call| matches!(call, Action::Write(Write::Take { .. }))) {
        creator.answer(&mut services);
    }
    let mut other = Solo::running(latest("other"), T0 + 1, &mut services);
    assert_eq!(starts(&mut other), [Latest::Since(T0)], "it cannot know that nobody read it");
    other.event(Event::Stop);
    other.settle(&mut services);
    creator.run_until(T0 + TAKE_OVER, &mut services);
    assert_eq!(starts(&mut creator), [Latest::Since(T0)]);
}

/// A creation of which nobody heard the answer, and a take likewise, are no reason to skip anything.
#[test]
fn lost_replies_lose_no_record() {
    let mut services = Services::new(Stream::of(1));
    let mut solo = Solo::new(latest("me"), T0);
    solo.answer(&mut services);
    solo.answer(&mut services);
    solo.lose_reply(&mut services, |write| matches!(write, Write::Create(_)));
    solo.run_until(T0 + TAKE_OVER, &mut services);
    assert_eq!(starts(&mut solo), [Latest::Since(T0)]);

    let mut services = with_rows([java_row("s00", None, 0)]);
    let mut solo = Solo::new(latest("me"), T0);
    while !solo.calls.iter().any(|call| matches!(call, Action::Write(Write::Take { .. }))) {
        solo.answer(&mut services);
    }
    solo.lose_reply(&mut services, |write| matches!(write, Write::Take { .. }));
    solo.run_until(T0 + TAKE_OVER, &mut services);
    assert_eq!(starts(&mut solo), [Latest::Since(T0)]);
}

/// A row that the Kinesis Client Library made says nothing: it is read as that library does, and from then on nothing
/// is lost.
#[test]
fn a_row_of_another_library_gets_its_time_with_the_first_take() {
    let mut services = with_rows([java_row("s00", Some("java"), 41)]);
    let mut first = Solo::running(latest("first"), T0, &mut services);
    first.run_until(T0 + TAKE_OVER, &mut services);
    let since = services.table.row("s00").latest_since.expect("it is noted");
    assert!((T0 + FAILOVER..=T0 + TAKE_OVER).contains(&since), "when it was taken: {since}");
    assert_eq!(starts(&mut first), [Latest::Next]);

    let mut second = Solo::running(latest("second"), T0 + 100_000, &mut services);
    second.run_until(second.now + TAKE_OVER, &mut services);
    assert_eq!(starts(&mut second), [Latest::Since(since)]);
}

/// A shard with a checkpoint goes on there; the time of the first contact is of no more use.
#[test]
fn a_checkpoint_ends_it() {
    let mut services = Services::new(Stream::of(1));
    let mut solo = Solo::running(latest("me"), T0, &mut services);
    solo.checkpoint("s00", at(7));
    solo.settle(&mut services);
    assert_eq!(services.table.row("s00").latest_since, None);
}
