//! Items of the conformance list that no other test here was written for; the name of each test begins with its item.

use super::model::{Services, Stream};
use super::solo::{Solo, failed};
use super::{FAILOVER, at, settings};
use crate::leases::{Action, Event, Outcome, Settings, Write};
use crate::position::{Checkpoint, InitialPosition};
use crate::service::ErrorKind;

/// Between two rounds of renewals.
const ROUND: u64 = FAILOVER / 3;

/// How long the leader of a 3.x fleet waits for a hand-over before it assigns the lease by force.
const HAND_OVER_DEADLINE: u64 = 40_000;

fn holding(shards: u128) -> (Solo, Services) {
    let mut services = Services::new(Stream::of(shards));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    assert_eq!(solo.start_keys().len(), usize::try_from(shards).unwrap());
    (solo, services)
}

fn is_renewal(call: &Action) -> bool {
    matches!(call, Action::Write(Write::Renew { .. }))
}

fn revocations(told: &[Action]) -> usize {
    told.iter().filter(|told| matches!(told, Action::Revoke { .. })).count()
}

/// What the leader of a 3.x fleet writes when it wants a lease to go to another worker: the next owner stands in the
/// row already, the one that reads the shard may still checkpoint, the counter stays.
fn hand_over(services: &mut Services, key: &str, next: &str) {
    let row = services.table.rows.get_mut(key).unwrap();
    row.checkpoint_owner = row.owner.replace(next.to_owned());
}

/// The end of a hand-over, by whoever's hand: one more on the counter, and the mark goes.
fn assign(services: &mut Services, key: &str, next: &str) {
    let row = services.table.rows.get_mut(key).unwrap();
    (row.owner, row.checkpoint_owner) = (Some(next.to_owned()), None);
    row.counter += 1;
}

/// A renewal that is throttled is tried again at once, not in the next round, which may be too late.
#[test]
fn item_34_a_throttled_renewal_is_tried_again_in_its_round() {
    let (mut solo, mut services) = holding(1);
    let before = services.table.row("s00").counter;
    while !solo.calls.iter().any(is_renewal) {
        solo.settle(&mut services);
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
    }
    let (round, renewal) = (solo.now, solo.call(is_renewal));
    solo.event(failed(renewal, ErrorKind::Throttled));
    assert!(!solo.calls.iter().any(is_renewal), "not without a wait");
    while services.table.row("s00").counter == before {
        solo.now = solo.worker.wake_at();
        assert!(solo.now < round + ROUND / 2, "not in its round");
        solo.event(Event::Tick);
        solo.settle(&mut services);
    }
    assert_eq!((services.table.row("s00").counter, revocations(&solo.take_told())), (before + 1, 0));
}

/// This worker takes no part in hand-overs: it reads on and checkpoints, as the mark allows it to, until the lease is
/// assigned to the next owner; then it lets go with its next renewal, and what it still commits is refused.
#[test]
fn item_35_ours_a_hand_over_ends_when_the_lease_is_assigned() {
    let (mut solo, mut services) = holding(1);
    hand_over(&mut services, "s00", "java");
    solo.run_until(solo.now + HAND_OVER_DEADLINE / 2, &mut services);
    solo.checkpoint("s00", at(7));
    solo.run_until(HAND_OVER_DEADLINE, &mut services);
    let row = services.table.row("s00");
    assert_eq!((&row.checkpoint, row.owner.as_deref()), (&at(7), Some("java")));
    assert_eq!(row.checkpoint_owner.as_deref(), Some("me"), "nothing of the hand-over is undone");
    assert_eq!(revocations(&solo.take_told()), 0);

    assign(&mut services, "s00", "java");
    solo.run_until(solo.now + ROUND, &mut services);
    assert_eq!(revocations(&solo.take_told()), 1);
    solo.checkpoint("s00", at(9));
    assert!(matches!(&solo.take_told()[..], [Action::Checkpointed { written: false, .. }]));
    assert_eq!((services.table.owner("s00"), &services.table.row("s00").checkpoint), (Some("java"), &at(7)));
}

/// A lease that waits for its parent is left to whoever takes it: nothing was started, and nothing is later.
#[test]
fn item_36_ours_a_waiting_lease_is_let_go_without_ever_starting() {
    let mut services = Services::new(Stream::of(2));
    let one = |name| Settings { max_leases: 1, ..settings(name) };
    let mut me = Solo::running(one("me"), 0, &mut services);
    Solo::running(one("other"), 0, &mut services);
    services.stream.merge("s00", "s01");
    me.end("s00", services.stream.children_of("s00"));
    me.settle(&mut services);
    assert_eq!(me.held(), [""; 0]);
    me.take_told();
    assign(&mut services, "s02", "java");
    me.run_until(me.now + ROUND, &mut services);
    assert_eq!(me.held(), [""; 0]);
    let told = me.take_told();
    assert!(!told.iter().any(|told| matches!(told, Action::Start { .. })), "{told:?}");
    assert_eq!(services.table.owner("s02"), Some("java"));
}

/// A stop in the midst of a hand-over ends in good order, and leaves the lease to the next owner.
#[test]
fn item_36_ours_a_stop_leaves_a_lease_that_is_handed_over_to_its_next_owner() {
    let (mut solo, mut services) = holding(1);
    hand_over(&mut services, "s00", "java");
    solo.checkpoint("s00", at(7));
    solo.event(Event::Stop);
    solo.settle(&mut services);
    assert_eq!(solo.take_told().last(), Some(&Action::Stopped));
    assert_eq!((services.table.owner("s00"), &services.table.row("s00").checkpoint), (Some("java"), &at(7)));
}

/// A hand-over that two others make of the lease, behind this worker's back: it is lost.
#[test]
fn item_37_a_hand_over_between_others_means_that_the_lease_is_lost() {
    let (mut solo, mut services) = holding(1);
    assign(&mut services, "s00", "java");
    hand_over(&mut services, "s00", "python");
    let before = services.table.row("s00").clone();
    solo.run_until(solo.now + ROUND, &mut services);
    assert_eq!(revocations(&solo.take_told()), 1);
    assert_eq!(*services.table.row("s00"), before);
}

/// Where reading begins has no say in where children begin: their first record follows their parent's last.
#[test]
fn item_49_children_start_at_their_first_record_whatever_the_initial_position() {
    for initial_position in [InitialPosition::Latest, InitialPosition::AtTimestamp(9)] {
        for told_by_reader in [true, false] {
            let mut services = Services::new(Stream::of(1));
            let mut solo = Solo::running(Settings { initial_position, ..settings("me") }, 0, &mut services);
            services.stream.split("s00");
            let children = if told_by_reader { services.stream.children_of("s00") } else { Vec::new() };
            solo.take_told();
            solo.end("s00", children);
            solo.settle(&mut services);
            let first = |key: &str| (key.to_owned(), Checkpoint::TrimHorizon);
            assert_eq!(solo.starts(), [first("s01"), first("s02")], "{initial_position:?}, told: {told_by_reader}");
        }
    }
}

/// The last commit and the end of its shard come while a renewal is on its way: the commit is written and answered
/// first, whoever asked for it waits for that.
#[test]
fn item_52_the_last_commit_goes_before_the_end_also_behind_a_renewal() {
    let (mut solo, mut services) = holding(1);
    services.stream.split("s00");
    solo.take_told();
    while !solo.calls.iter().any(is_renewal) {
        solo.settle(&mut services);
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
    }
    solo.checkpoint("s00", at(7));
    solo.end("s00", services.stream.children_of("s00"));
    let mut checkpoints = Vec::new();
    while let Some(call) = solo.calls.pop_front() {
        if let Action::Write(Write::Checkpoint { checkpoint, .. }) = &call {
            checkpoints.push(checkpoint.clone());
        }
        solo.event(services.serve(&call));
    }
    assert_eq!(checkpoints, [at(7), Checkpoint::ShardEnd]);
    let told = solo.take_told();
    assert!(matches!(&told[..2], [Action::Checkpointed { written: true, .. }, Action::ShardSealed { .. }]), "{told:?}");
}

/// The lease is lost while the shard's end is on its way into the table, at any step: that is what is told, not the
/// end, and the new owner's row is left alone.
#[test]
fn item_76_the_loss_of_a_lease_goes_before_the_end_of_its_shard() {
    for answered in 0..4 {
        let (mut solo, mut services) = holding(1);
        services.stream.split("s00");
        solo.end("s00", services.stream.children_of("s00"));
        for _ in 0..answered {
            let of_lease = |call: &Action| matches!(call, Action::Write(Write::Checkpoint { .. }));
            if !solo.calls.iter().any(of_lease) {
                solo.answer(&mut services);
            }
        }
        let seen = services.table.row("s00").clone();
        assert_eq!(services.table.apply(&Write::Take { seen, worker: "other".to_owned() }), Outcome::Done);
        solo.run_until(solo.now + ROUND, &mut services);
        let told = solo.take_told();
        assert!(!told.iter().any(|told| matches!(told, Action::ShardSealed { .. })), "step {answered}: {told:?}");
        assert_eq!(revocations(&told), 1, "step {answered}: {told:?}");
        assert!(!services.table.is_at_end("s00"), "step {answered}");
        assert_eq!(services.table.owner("s00"), Some("other"), "step {answered}");
    }
}

/// Likewise while the worker stops: it does not release what is somebody else's, and does not wait for it.
#[test]
fn item_76_the_loss_of_a_lease_goes_before_a_stop() {
    let (mut solo, mut services) = holding(2);
    let seen = services.table.row("s00").clone();
    assert_eq!(services.table.apply(&Write::Take { seen, worker: "other".to_owned() }), Outcome::Done);
    solo.checkpoint("s00", at(5));
    solo.event(Event::Stop);
    solo.settle(&mut services);
    let told = solo.take_told();
    assert_eq!(revocations(&told), 1, "{told:?}");
    assert!(told.iter().any(|told| matches!(told, Action::Checkpointed { written: false, .. })), "{told:?}");
    assert_eq!(told.last(), Some(&Action::Stopped));
    assert_eq!((services.table.owner("s00"), services.table.owner("s01")), (Some("other"), None));
}
