//! Rows that did not come from this stream.

use super::model::{Services, Stream};
use super::solo::Solo;
use super::{FAILOVER, at, settings};
use crate::kinesis::shard::ShardFilter;
use crate::leases::sync::new_lease;
use crate::leases::{Action, Event, Lease, Notice};
use crate::position::Checkpoint;

/// A table as a worker left it that read the stream up to here, and stopped.
fn left(shards: u128) -> Services {
    let mut services = Services::new(Stream::of(shards));
    let mut solo = Solo::running(settings("before"), 0, &mut services);
    solo.event(Event::Stop);
    solo.settle(&mut services);
    services
}

fn failure(solo: &Solo) -> Option<&str> {
    solo.told.iter().find_map(|told| match told {
        Action::Fail(reason) => Some(reason.as_str()),
        _ => None,
    })
}

#[track_caller]
fn assert_fails(services: &mut Services, words: &[&str]) {
    let mut solo = Solo::new(settings("me"), 0);
    while solo.now < 3 * FAILOVER && failure(&solo).is_none() {
        assert!(!solo.worker.is_settled(), "it is not known yet what the rows are");
        let until = solo.now + 500;
        solo.run_until(until, services);
    }
    let reason = failure(&solo).expect("the job ends");
    for word in ["lease table `table`", "TableName", "delete the rows"].iter().chain(words) {
        assert!(reason.contains(word), "{word}: {reason}");
    }
}

/// A stream that was deleted and created again has open shards whose rows say that they are finished.
#[test]
fn a_finished_row_of_an_open_shard_ends_the_job() {
    let mut services = left(2);
    services.table.rows.get_mut("s01").unwrap().checkpoint = Checkpoint::ShardEnd;
    assert_fails(&mut services, &["`s01` is at SHARD_END", "open"]);
}

/// Sequence numbers grow: what is before a shard's first is of another stream.
#[test]
fn a_position_before_the_shards_first_record_ends_the_job() {
    let mut services = left(2);
    services.table.rows.get_mut("s01").unwrap().checkpoint = at(5);
    services.stream.shards.get_mut("s01").unwrap().shard.starting_sequence = "6".to_owned();
    assert_fails(&mut services, &["`s01` is at 5", "6"]);
}

/// It is seen as well when the stream is made again while the job runs, with the next listing.
#[test]
fn a_stream_that_is_made_again_under_a_running_job_is_noticed() {
    let mut services = Services::new(Stream::of(1));
    let periodic = crate::leases::Settings { shard_sync_interval: Some(60_000), ..settings("me") };
    let mut solo = Solo::running(periodic, 0, &mut services);
    services.stream.split("s00");
    solo.end("s00", services.stream.children_of("s00"));
    solo.settle(&mut services);
    services.stream = Stream::of(1);
    solo.run_until(3 * 60_000, &mut services);
    assert!(failure(&solo).is_some_and(|reason| reason.contains("`s00`")), "{:?}", solo.told);
}

/// One listing that is a little behind is no proof.
#[test]
fn a_listing_that_is_behind_ends_nothing() {
    let mut services = left(2);
    services.stream.split("s01");
    let children = services.stream.children_of("s01");
    let behind = {
        let mut stream = services.stream.shards.values().map(|model| model.shard.clone()).collect::<Vec<_>>();
        stream.retain(|shard| children.iter().all(|child| child.id != shard.id));
        stream.iter_mut().for_each(|shard| shard.open = true);
        stream
    };
    let row = services.table.rows.get_mut("s01").unwrap();
    (row.checkpoint, row.children) = (Checkpoint::ShardEnd, children.iter().map(|child| child.id.clone()).collect());
    for child in &children {
        let lease = crate::leases::sync::child_lease(child);
        services.table.rows.insert(child.id.clone(), lease);
    }
    let mut solo = Solo::new(settings("me"), 0);
    solo.answer(&mut services);
    let list = solo.call(|call| *call == Action::List(ShardFilter::All));
    drop(list);
    solo.event(Event::Listed(Ok(behind)));
    solo.run_until(3 * FAILOVER, &mut services);
    assert_eq!(failure(&solo), None);
    assert_eq!(solo.held(), ["s00", "s02", "s03"]);
    assert!(solo.worker.is_settled());
}

/// A row that is for no shard is left alone and named once, and disturbs nothing else.
#[test]
fn a_row_that_is_for_no_shard_is_left_alone() {
    for name in ["foo", "s99", "", "shardId-000000000000", "s18446744073709551616"] {
        for is_running in [false, true] {
            let mut services = left(2);
            let row = Lease { key: name.to_owned(), ..new_lease(&services.stream.shards["s00"].shard, at(3)) };
            let mut solo = Solo::new(settings("me"), 0);
            if is_running {
                solo.settle(&mut services);
            }
            services.table.rows.insert(name.to_owned(), row.clone());
            solo.run_until(6 * FAILOVER, &mut services);
            if is_running && name.starts_with('s') && name.len() < 30 && !name.contains('-') {
                // It could be a shard that is newer than the last listing: whoever reads it finds out.
                continue;
            }
            assert_eq!(services.table.row(name), &row, "{name}: untouched");
            assert_eq!(solo.held(), ["s00", "s01"], "{name}");
            let notices = solo.told.iter().filter(|told| matches!(told, Action::Notice(Notice::RowIgnored { .. })));
            assert_eq!(notices.count(), 1, "{name}: {:?}", solo.told);
            assert_eq!(failure(&solo), None, "{name}");
            assert!(solo.worker.is_settled(), "{name}");
        }
    }
}
