//! Workers at their limits: what waits takes no place, and what nobody may read is known.

use std::collections::BTreeSet;

use super::model::{Services, Stream};
use super::solo::Solo;
use super::{FAILOVER, TAKE_OVER, settings};
use crate::dice::{Dice, histories};
use crate::kinesis::shard::ShardId;
use crate::leases::{Action, Event, Settings, UnreadReason};
use crate::position::InitialPosition;

/// A fleet that has read nothing of a shard for so long is stuck.
const STUCK_AFTER: u64 = 40 * FAILOVER;

fn limited(worker: &str, max_leases: usize) -> Settings {
    Settings { max_leases, ..settings(worker) }
}

/// Reads every closed shard that was started to its end.
fn read_closed(solo: &mut Solo, services: &mut Services, open: &mut BTreeSet<ShardId>) {
    for key in solo.start_keys() {
        if services.stream.shards.get(&key).is_some_and(|model| model.shard.open) {
            open.insert(key);
        } else {
            let children = services.stream.shards.contains_key(&key).then(|| services.stream.children_of(&key));
            solo.end(&key, children.unwrap_or_default());
        }
    }
}

/// A merged child waits for two parents: while a worker that may hold one lease held the child, it could never take the
/// second parent.
#[test]
fn a_merged_child_takes_no_place_from_its_parents() {
    for seed in 0..20 {
        let mut services = Services::new(Stream::of(2));
        services.stream.merge("s00", "s01");
        let mut solo = Solo::running(Settings { seed, ..limited("me", 1) }, 0, &mut services);
        for _ in 0..2 {
            let [parent] = &solo.start_keys()[..] else { panic!("seed {seed}: {:?}", services.table.rows) };
            assert_ne!(parent, "s02", "seed {seed}");
            solo.end(parent, services.stream.children_of(parent));
            solo.settle(&mut services);
        }
        assert_eq!(solo.start_keys(), ["s02"], "seed {seed}");
        assert_eq!(solo.now, 0, "seed {seed}: without a wait");
    }
}

/// A lease whose reader is through waits for the lease of its child's other parent, which comes of shards that this
/// worker may not take, if the first one still takes a place.
#[test]
fn a_shard_that_ended_takes_no_place_from_those_it_waits_for() {
    for seed in 0..20 {
        let mut stream = Stream::of(2);
        stream.split("s00");
        stream.merge("s02", "s03");
        stream.merge("s04", "s01");
        let mut services = Services::new(stream);
        // s01 waits for s04, which comes of s00 by s02 and s03.
        let mut solo = Solo::running(Settings { seed, ..limited("me", 1) }, 0, &mut services);
        let mut open = BTreeSet::new();
        while solo.now < 2 * TAKE_OVER {
            read_closed(&mut solo, &mut services, &mut open);
            let until = solo.now + 1_000;
            solo.run_until(until, &mut services);
        }
        assert_eq!(open, BTreeSet::from(["s05".to_owned()]), "seed {seed}: {:?}", services.table.rows);
    }
}

/// Any past of a stream, any fleet whose limits add up to exactly the open shards: all of them come to be read.
#[test]
fn a_fleet_whose_limits_are_just_enough_reads_everything() {
    histories(0..400, |seed| {
        let mut dice = Dice::new(seed);
        let mut services = Services::new(Stream::with_past(&mut dice));
        let shards = services.stream.open_shards();
        let mut limits = vec![0; 1 + dice.index(3)];
        for _ in &shards {
            let worker = dice.index(limits.len());
            limits[worker] += 1;
        }
        let initial_position = [InitialPosition::TrimHorizon, InitialPosition::Latest][dice.index(2)];
        let mut fleet: Vec<Solo> = Vec::new();
        for (worker, limit) in limits.iter().enumerate() {
            let settings =
                Settings { seed: dice.below(99), initial_position, ..limited(&format!("w{worker}"), *limit) };
            fleet.push(Solo::running(settings, 0, &mut services));
        }
        let mut open = BTreeSet::new();
        while open.len() < shards.len() {
            for solo in &mut fleet {
                let until = solo.now + 1_000;
                solo.run_until(until, &mut services);
                read_closed(solo, &mut services, &mut open);
            }
            assert!(
                fleet[0].now < STUCK_AFTER,
                "limits {limits:?}, {open:?} of {shards:?}: {:#?}",
                services.table.rows
            );
        }
    });
}

fn unread(solo: &Solo) -> Vec<(ShardId, UnreadReason)> {
    solo.worker.unread().into_iter().map(|unread| (unread.key, unread.why)).collect()
}

/// Four shards, two leases allowed, one worker: two shards that nobody reads, and it is never through.
#[test]
fn what_a_limit_leaves_unread_is_known() {
    let mut services = Services::new(Stream::of(4));
    let mut solo = Solo::running(limited("me", 2), 0, &mut services);
    solo.run_until(2 * FAILOVER - 1_000, &mut services);
    assert_eq!(unread(&solo), [], "another worker may be about to start");
    assert!(!solo.worker.is_settled() && !solo.worker.is_settled_but_unread());
    solo.run_until(2 * FAILOVER + 1_000, &mut services);
    let keys: BTreeSet<ShardId> = unread(&solo).into_iter().map(|(key, _)| key).collect();
    let held: BTreeSet<ShardId> = solo.held().into_iter().map(str::to_owned).collect();
    assert_eq!((keys.len(), keys.intersection(&held).count()), (2, 0), "{keys:?}");
    assert!(unread(&solo).iter().all(|(_, why)| *why == UnreadReason::Limit(2)));
    assert!(!solo.worker.is_settled(), "two shards are left");
    assert!(solo.worker.is_settled_but_unread());
    // Another worker joins and takes them.
    let mut other = Solo::new(limited("other", 2), solo.now);
    while solo.now < 5 * FAILOVER {
        let until = solo.now + 1_000;
        other.run_until(until, &mut services);
        solo.run_until(until, &mut services);
    }
    assert_eq!((unread(&solo), unread(&other)), (vec![], vec![]));
    assert!(solo.worker.is_settled() && !solo.worker.is_settled_but_unread());
}

/// A stop is no reason to call anything unread, and a worker without a limit leaves nothing.
#[test]
fn a_worker_that_may_take_everything_leaves_nothing_unread() {
    let mut services = Services::new(Stream::of(4));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    solo.run_until(TAKE_OVER, &mut services);
    assert_eq!(unread(&solo), []);
    assert!(solo.worker.is_settled());
    solo.event(Event::Stop);
    solo.settle(&mut services);
    assert_eq!(solo.take_told().last(), Some(&Action::Stopped));
    assert_eq!(unread(&solo), []);
}
