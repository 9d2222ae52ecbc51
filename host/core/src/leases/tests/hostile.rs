//! Rows with numbers that no library writes: nothing that is in a table may stop a worker, or make one of its counts go
//! round.

use proptest::prelude::*;

use super::model::{Services, Stream};
use super::solo::Solo;
use super::{FAILOVER, TAKE_OVER, settings};
use crate::kinesis::shard::HashRange;
use crate::leases::{Action, Event, Lease, Notice, UnreadReason};
use crate::position::Checkpoint;

fn number() -> impl Strategy<Value = u64> {
    let edge = i64::MAX.unsigned_abs();
    prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(u64::MAX - 1),
        Just(edge),
        Just(edge - 1),
        Just(edge + 1),
        any::<u64>()
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("s00".to_owned()),
        Just("s01".to_owned()),
        Just("s02".to_owned()),
        Just("s03".to_owned()),
        Just("s04".to_owned()),
        Just("s99999999999999999999999".to_owned()),
        Just("foo".to_owned()),
        Just(String::new()),
    ]
}

fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    let digits = prop_oneof![Just(1), Just(39), Just(129), Just(130), Just(200), Just(1_000)];
    let at = (digits, number()).prop_map(|(digits, sub)| Checkpoint::from_row(&"9".repeat(digits), sub).unwrap());
    prop_oneof![
        Just(Checkpoint::TrimHorizon),
        Just(Checkpoint::Latest),
        Just(Checkpoint::AtTimestamp),
        Just(Checkpoint::ShardEnd),
        at,
    ]
}

fn bound() -> impl Strategy<Value = u128> {
    prop_oneof![Just(0), Just(1), Just(u128::MAX), Just(u128::MAX - 1), any::<u128>()]
}

prop_compose! {
    fn lease()(
        key in key(),
        owner in prop_oneof![Just(None), Just(Some("me".to_owned())), Just(Some("other".to_owned()))],
        (counter, owner_switches) in (number(), number()),
        checkpoint in checkpoint(),
        parents in prop::collection::vec(key(), 0..3),
        children in prop::collection::vec(key(), 0..3),
        range in prop::option::of((bound(), bound())),
        checkpoint_owner in prop::option::of(Just("third".to_owned())),
        latest_since in prop::option::of(number()),
    ) -> Lease {
        let hash_range = range.map(|(start, end)| HashRange { start, end });
        Lease { key, owner, counter, owner_switches, checkpoint, parents, children, hash_range, checkpoint_owner, latest_since }
    }
}

/// A table with these rows, whose owner changes some of them again while the worker runs.
fn live(first: Vec<Lease>, later: Vec<Lease>) {
    let mut stream = Stream::of(2);
    stream.split("s00");
    let mut services = Services::new(stream);
    let put = |services: &mut Services, rows: Vec<Lease>| {
        services.table.rows.extend(rows.into_iter().map(|row| (row.key.clone(), row)));
    };
    put(&mut services, first);
    let mut solo = Solo::new(settings("me"), 1_000_000);
    for row in later {
        let until = solo.now + FAILOVER / 4;
        solo.run_until(until, &mut services);
        for key in solo.start_keys() {
            if services.stream.shards.get(&key).is_some_and(|model| !model.shard.open) {
                solo.end(&key, services.stream.children_of(&key));
            }
        }
        put(&mut services, vec![row]);
    }
    let until = solo.now + TAKE_OVER;
    solo.run_until(until, &mut services);
    assert!(solo.worker.unread().len() <= services.table.rows.len());
    solo.event(Event::Stop);
    solo.settle(&mut services);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_row_stops_a_worker(
        first in prop::collection::vec(lease(), 0..6),
        later in prop::collection::vec(lease(), 0..6),
    ) {
        live(first, later);
    }
}

/// A counter at its end, of a free lease, of a held one, and of the only one: the row is left alone and named once, and
/// nothing else is disturbed.
#[test]
fn a_counter_that_cannot_grow_is_left_alone_and_named() {
    for counter in [u64::MAX, i64::MAX.unsigned_abs()] {
        for (shards, is_held) in [(2, false), (2, true), (1, false), (1, true)] {
            let mut services = Services::new(Stream::of(shards));
            let mut solo = Solo::running(settings("before"), 0, &mut services);
            if !is_held {
                solo.event(Event::Stop);
                solo.settle(&mut services);
                solo = Solo::new(settings("me"), 0);
            }
            services.table.rows.get_mut("s00").unwrap().counter = counter;
            let before = services.table.row("s00").clone();
            let mut told = Vec::new();
            while solo.now < 5 * FAILOVER {
                let until = solo.now + 1_000;
                solo.run_until(until, &mut services);
                told.extend(solo.take_told());
            }
            assert_eq!(*services.table.row("s00"), before, "{shards} shards, held: {is_held}");
            assert_eq!(solo.held().len() as u128, shards - 1, "{shards} shards, held: {is_held}");
            let notices = told
                .iter()
                .filter(|told| matches!(told, Action::Notice(Notice::RowIgnored { key, .. }) if key == "s00"));
            assert_eq!(notices.count(), 1, "{told:?}");
            assert!(!told.iter().any(|told| matches!(told, Action::Fail(_))), "{told:?}");
            let unread = solo.worker.unread();
            assert!(
                matches!(&unread[..], [unread] if unread.key == "s00" && matches!(unread.why, UnreadReason::Row(_))),
                "{unread:?}"
            );
            assert!(!solo.worker.is_settled() && solo.worker.is_settled_but_unread());
        }
    }
}
