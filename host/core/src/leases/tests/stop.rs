//! The graceful stop, from every state.

use super::model::{Services, Stream};
use super::solo::Solo;
use super::{FAILOVER, at, settings};
use crate::leases::{Action, Event, Write};
use crate::service::ErrorKind;

fn running(shards: u128) -> (Solo, Services) {
    let mut services = Services::new(Stream::of(shards));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    solo.take_told();
    (solo, services)
}

fn nobody_owns(services: &Services) -> bool {
    services.table.rows.values().all(|row| row.owner.is_none())
}

/// (38) A graceful stop leaves rows without an owner, their counters one higher.
#[test]
fn a_graceful_stop_releases_every_lease() {
    let (mut solo, mut services) = running(3);
    let before: Vec<u64> = services.table.rows.values().map(|row| row.counter).collect();
    solo.event(Event::Stop);
    solo.settle(&mut services);
    assert_eq!(solo.take_told(), [Action::Stopped]);
    assert!(nobody_owns(&services));
    let after: Vec<u64> = services.table.rows.values().map(|row| row.counter - 1).collect();
    assert_eq!(after, before);
    assert_eq!(solo.worker.wake_at(), u64::MAX);
}

/// A successor does not wait for anything.
#[test]
fn the_successor_of_a_graceful_stop_starts_at_once() {
    let (mut solo, mut services) = running(3);
    solo.event(Event::Stop);
    solo.settle(&mut services);
    let mut next = Solo::running(settings("next"), 5, &mut services);
    assert_eq!(next.start_keys().len(), 3);
}

/// What was committed right before the stop is written before the lease goes.
#[test]
fn the_last_checkpoint_is_written_before_the_release() {
    let (mut solo, mut services) = running(1);
    solo.checkpoint("s00", at(8));
    solo.event(Event::Stop);
    solo.settle(&mut services);
    assert_eq!(services.table.row("s00").checkpoint, at(8));
    assert!(matches!(solo.take_told()[..], [Action::Checkpointed { written: true, .. }, Action::Stopped]));
}

/// A stop that was cut short leaves a task behind that may still be at work: what it wants to commit after the release
/// was sent is not written, and that is said.
#[test]
fn a_checkpoint_after_the_release_is_refused() {
    for answered in [true, false] {
        let (mut solo, mut services) = running(1);
        let before = services.table.row("s00").checkpoint.clone();
        solo.event(Event::Stop);
        if answered {
            solo.settle(&mut services);
        }
        solo.checkpoint("s00", at(8));
        solo.run_until(1_000, &mut services);
        let refused = Action::Checkpointed { key: "s00".to_owned(), epoch: 1, checkpoint: at(8), written: false };
        assert!(solo.take_told().contains(&refused), "answered: {answered}");
        assert!(nobody_owns(&services));
        assert_eq!(services.table.row("s00").checkpoint, before);
    }
}

/// A lost reply, or a refusal for a while, does not leave an owner behind.
#[test]
fn a_release_that_fails_is_tried_again() {
    for lost in [true, false] {
        let (mut solo, mut services) = running(1);
        solo.event(Event::Stop);
        if lost {
            solo.lose_reply(&mut services, |write| matches!(write, Write::Evict { .. }));
        } else {
            solo.settle_unless(&mut services, |_| Some(ErrorKind::Throttled));
        }
        solo.run_until(1_000, &mut services);
        assert_eq!(solo.take_told(), [Action::Stopped]);
        assert!(nobody_owns(&services));
    }
}

/// A take is on its way when the stop comes; its outcome may even be unknown. Nothing is left behind.
#[test]
fn a_take_under_way_is_released_too() {
    for lost in [true, false] {
        let mut services = Services::new(Stream::of(1));
        let mut solo = Solo::new(settings("me"), 0);
        let is_take = |call: &Action| matches!(call, Action::Write(Write::Take { .. }));
        while !solo.calls.iter().any(is_take) {
            solo.answer(&mut services);
        }
        solo.event(Event::Stop);
        if lost {
            solo.lose_reply(&mut services, |write| matches!(write, Write::Take { .. }));
        }
        solo.run_until(1_000, &mut services);
        assert_eq!(solo.take_told(), [Action::Stopped], "reply lost: {lost}");
        assert!(nobody_owns(&services));
    }
}

/// The table is gone: the stop ends with the lease's time.
#[test]
fn a_stop_without_a_table_ends_when_the_leases_expire() {
    let (mut solo, mut services) = running(2);
    solo.checkpoint("s00", at(8));
    solo.event(Event::Stop);
    while solo.worker.wake_at() != u64::MAX {
        solo.settle_unless(&mut services, |_| Some(ErrorKind::Unavailable));
        assert!(solo.worker.wake_at() > solo.now);
        solo.now = solo.worker.wake_at().min(10 * FAILOVER);
        solo.event(Event::Tick);
    }
    assert!(solo.now <= FAILOVER + 1, "stopped after {} ms", solo.now);
    assert_eq!(solo.take_told().last(), Some(&Action::Stopped));
}

/// Whoever may not write may still stop.
#[test]
fn a_stop_that_is_denied_ends() {
    let (mut solo, mut services) = running(2);
    solo.event(Event::Stop);
    solo.settle_unless(&mut services, |_| Some(ErrorKind::Denied));
    assert_eq!(solo.take_told().last(), Some(&Action::Stopped));
}

/// A stop at any step of a shard's end either completes it or leaves it to the next owner, and releases in any case.
#[test]
fn a_stop_during_any_step_of_a_shards_end_is_completed_by_the_next_owner() {
    for told in [true, false] {
        for answers in 0..8 {
            let (mut solo, mut services) = running(1);
            services.stream.split("s00");
            solo.end("s00", if told { services.stream.children_of("s00") } else { vec![] });
            for _ in 0..answers {
                if !solo.calls.is_empty() {
                    solo.answer(&mut services);
                }
            }
            solo.event(Event::Stop);
            solo.settle(&mut services);
            let case = format!("children told: {told}, stopped after {answers} answers");
            assert_eq!(solo.take_told().last(), Some(&Action::Stopped), "{case}");
            assert!(nobody_owns(&services), "{case}");
            let mut next = Solo::running(settings("next"), 1, &mut services);
            if next.start_keys().contains(&"s00".to_owned()) {
                next.end("s00", services.stream.children_of("s00"));
                next.settle(&mut services);
            }
            assert!(services.table.is_at_end("s00"), "{case}");
            assert_eq!(next.held(), ["s01", "s02"], "{case}");
        }
    }
}

/// A stop does not wait for other shards: an end that waits for a merge's other parent is left to the next owner.
#[test]
fn a_stop_does_not_wait_for_an_awaited_parent() {
    let (mut solo, mut services) = running(2);
    services.stream.split("s00");
    services.stream.merge("s03", "s01");
    solo.end("s01", services.stream.children_of("s01"));
    solo.settle(&mut services);
    solo.event(Event::Stop);
    solo.settle(&mut services);
    assert_eq!(solo.take_told(), [Action::Stopped]);
    assert!(nobody_owns(&services));
}
