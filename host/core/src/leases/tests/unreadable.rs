//! Rows that cannot be read: what they say is not known, but never that nothing was done.

use super::model::{Services, Stream};
use super::solo::Solo;
use super::{TAKE_OVER, settings};
use crate::kinesis::shard::ShardId;
use crate::leases::{Action, Event, Scan, Settings, Write};
use crate::position::{Checkpoint, InitialPosition};

/// Answers calls until there are none, but the rows with these keys cannot be read.
fn settle(solo: &mut Solo, services: &mut Services, unreadable: &[&str]) -> Vec<Write> {
    let mut writes = Vec::new();
    while let Some(call) = solo.calls.pop_front() {
        if let Action::Write(write) = &call {
            writes.push(write.clone());
        }
        let mut answer = services.serve(&call);
        if let Event::Scanned(Ok(scan)) = &mut answer {
            blind(scan, unreadable);
        }
        solo.event(answer);
    }
    writes
}

fn blind(scan: &mut Scan, unreadable: &[&str]) {
    scan.leases.retain(|lease| !unreadable.contains(&lease.key.as_str()));
    scan.undecodable =
        unreadable.iter().map(|key| ((*key).to_owned(), "`leaseCounter` is missing".to_owned())).collect();
}

/// A stream and its table, of which a job has processed everything but the open shards.
fn filled(stream: Stream, finished: &[&str]) -> Services {
    let mut services = Services::new(stream);
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    for key in finished {
        let children = services.stream.children_of(key);
        solo.end(key, children);
        solo.settle(&mut services);
    }
    solo.event(Event::Stop);
    solo.settle(&mut services);
    services
}

/// (11) A table that has rows is not empty, and not to be filled, though none of them can be read.
#[test]
fn a_table_of_unreadable_rows_is_not_filled() {
    for initial_position in [InitialPosition::TrimHorizon, InitialPosition::Latest] {
        let mut services = filled(Stream::of(2), &[]);
        let mut solo = Solo::new(Settings { initial_position, ..settings("me") }, 0);
        let writes = settle(&mut solo, &mut services, &["s00", "111122223333:orders:1:shardId-0"]);
        assert_ne!(writes, [], "this test sees writes: s01 is taken");
        let mut solo = Solo::new(Settings { initial_position, ..settings("me") }, 0);
        let writes = settle(&mut solo, &mut services, &["s00", "s01"]);
        assert_eq!(writes, []);
        let told = solo.take_told();
        let [Action::Fail(reason)] = &told[..] else { panic!("{told:?}") };
        for word in ["lease table `table`", "none of the 2 leases", "`s00`: `leaseCounter` is missing", "TableName"] {
            assert!(reason.contains(word), "{reason}");
        }
    }
}

/// Nor while the job runs, when the readable ones are deleted: those that are held are put back.
#[test]
fn a_table_that_is_emptied_but_for_unreadable_rows_is_not_filled() {
    let mut services = filled(Stream::of(2), &[]);
    let mut solo = Solo::new(settings("me"), 0);
    settle(&mut solo, &mut services, &["s00"]);
    services.table.rows.remove("s01");
    while solo.now < TAKE_OVER {
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
        let writes = settle(&mut solo, &mut services, &["s00"]);
        assert!(!writes.iter().any(|write| matches!(write, Write::Create(_))), "{writes:?}");
    }
    assert_eq!(services.table.owner("s01"), Some("me"));
    assert!(!solo.told.iter().any(|told| matches!(told, Action::Fail(_))), "{:?}", solo.told);
}

/// A row that cannot be read leads to its shard's children like any other: they are created when its end is known.
#[test]
fn no_row_is_created_around_an_unreadable_one() {
    for initial_position in [InitialPosition::TrimHorizon, InitialPosition::Latest] {
        let mut stream = Stream::of(2);
        stream.split("s00");
        let mut services = filled(stream, &[]);
        assert_eq!(services.table.keys(), ["s00", "s01"]);
        let mut solo = Solo::new(Settings { initial_position, ..settings("me") }, 0);
        settle(&mut solo, &mut services, &["s00"]);
        assert_eq!(services.table.keys(), ["s00", "s01"], "{initial_position:?}");
    }
}

/// A child does not overtake a parent of which is not known whether it is done.
#[test]
fn a_child_waits_for_a_parent_that_cannot_be_read() {
    let mut stream = Stream::of(1);
    stream.split("s00");
    let mut services = filled(stream, &["s00"]);
    assert!(services.table.is_at_end("s00"));
    let mut solo = Solo::new(settings("me"), 0);
    settle(&mut solo, &mut services, &["s00"]);
    let none: [ShardId; 0] = [];
    assert_eq!(solo.start_keys(), none);
    assert_eq!(services.table.row("s01").checkpoint, Checkpoint::TrimHorizon);
    // Somebody mends it.
    solo.run_until(TAKE_OVER, &mut services);
    assert_eq!(solo.start_keys(), ["s01", "s02"]);
}
