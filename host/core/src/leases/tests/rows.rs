//! Taking, renewing and checkpointing, as they show in rows.

use super::model::{Rows, Services, Stream};
use super::solo::{Solo, failed};
use super::{FAILOVER, TAKE_OVER, at, settings};
use crate::leases::{Action, Event, Lease, Loss, Outcome, Settings, Write};
use crate::position::Checkpoint;
use crate::service::ErrorKind;

/// One shard, held by the worker `me` since time 0.
fn holding() -> (Solo, Services) {
    let mut services = Services::new(Stream::of(1));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    assert_eq!(solo.start_keys(), ["s00"]);
    (solo, services)
}

/// Services whose table has a row per shard; `owners` names who holds the first ones.
fn table_of(shards: u128, owners: &[&str]) -> Services {
    let mut services = Services::new(Stream::of(shards));
    let mut creator = Solo::new(Settings { max_leases: 0, ..settings("creator") }, 0);
    creator.settle(&mut services);
    for (row, owner) in services.table.rows.values_mut().zip(owners) {
        row.owner = Some((*owner).to_owned());
        row.counter = 7;
    }
    services
}

fn is_renew(write: &Write) -> bool {
    matches!(write, Write::Renew { .. })
}

fn is_take(write: &Write) -> bool {
    matches!(write, Write::Take { .. })
}

fn is_checkpoint(write: &Write) -> bool {
    matches!(write, Write::Checkpoint { .. })
}

fn write_of(call: &Action, wanted: fn(&Write) -> bool) -> bool {
    matches!(call, Action::Write(write) if wanted(write))
}

fn revoked(solo: &mut Solo) -> bool {
    solo.take_told().iter().any(|told| matches!(told, Action::Revoke { .. }))
}

/// Another worker takes the row, whatever it needs.
fn steal(table: &mut Rows, key: &str) {
    let seen = table.row(key).clone();
    assert_eq!(table.apply(&Write::Take { seen, worker: "other".to_owned() }), Outcome::Done);
}

/// (3) A renewal needs the counter that this worker left, and adds one.
#[test]
fn a_renewal_counts_up_and_a_foreign_count_is_a_loss() {
    let (mut solo, mut services) = holding();
    let taken = services.table.row("s00").counter;
    solo.run_until(FAILOVER, &mut services);
    assert_eq!(services.table.row("s00").counter, taken + 3, "renewed every third of the failover time");
    services.table.rows.get_mut("s00").unwrap().counter += 5;
    solo.run_until(2 * FAILOVER, &mut services);
    assert!(revoked(&mut solo));
}

/// (4) The reply of a write that happened gets lost: the lease is still held, and nothing is written twice.
#[test]
fn a_lost_reply_is_no_lost_lease() {
    type Case = (fn(&Write) -> bool, fn(&mut Solo));
    let cases: [Case; 2] = [
        (is_renew, |solo| {
            solo.now = solo.worker.wake_at();
            solo.event(Event::Tick);
        }),
        (is_checkpoint, |solo| solo.checkpoint("s00", at(5))),
    ];
    for (wanted, cause) in cases {
        let (mut solo, mut services) = holding();
        let taken = services.table.row("s00").counter;
        cause(&mut solo);
        solo.lose_reply(&mut services, wanted);
        solo.run_until(solo.now + 200, &mut services);
        assert_eq!(services.table.row("s00").counter, taken + 1);
        solo.run_until(60_000, &mut services);
        assert!(!revoked(&mut solo));
        assert_eq!(services.table.owner("s00"), Some("me"));
    }
}

/// (4) Likewise for the take itself; what the row says by then counts, not what was seen before.
#[test]
fn a_lost_reply_to_a_take_is_found_out() {
    let mut services = table_of(1, &[]);
    let mut solo = Solo::new(settings("me"), 0);
    while !solo.calls.iter().any(|call| write_of(call, is_take)) {
        solo.answer(&mut services);
    }
    solo.lose_reply(&mut services, is_take);
    solo.run_until(1_000, &mut services);
    assert_eq!(solo.start_keys(), ["s00"]);
}

/// (4) The row is one step further, but by somebody else's hand.
#[test]
fn a_row_that_another_worker_took_is_lost() {
    for is_renewal in [true, false] {
        let (mut solo, mut services) = holding();
        if is_renewal {
            solo.now = solo.worker.wake_at();
            solo.event(Event::Tick);
        } else {
            solo.checkpoint("s00", at(5));
        }
        steal(&mut services.table, "s00");
        solo.answer(&mut services);
        assert!(revoked(&mut solo));
        assert_eq!(services.table.row("s00").checkpoint, Checkpoint::TrimHorizon);
        solo.settle(&mut services);
        assert_eq!(services.table.owner("s00"), Some("other"));
    }
}

/// (4, 30) The last checkpoint of an earlier life arrives while its successor takes the lease: it starts from there.
#[test]
fn a_take_that_meets_a_late_write_of_an_earlier_life_starts_from_what_the_row_says() {
    let mut services = table_of(1, &["me"]);
    let mut solo = Solo::new(settings("me"), 0);
    while !solo.calls.iter().any(|call| write_of(call, is_take)) {
        solo.answer(&mut services);
    }
    let late = Write::Checkpoint { key: "s00".to_owned(), owner: "me".to_owned(), counter: 7, checkpoint: at(9) };
    assert_eq!(services.table.apply(&late), Outcome::Done);
    solo.settle(&mut services);
    assert_eq!(solo.starts(), [("s00".to_owned(), at(9))]);
}

/// (6) A take adds one to the counter, sets the owner, removes the hand-over's mark, and counts a switch of owners.
#[test]
fn taking_an_expired_lease_changes_the_row_as_the_protocol_says() {
    let mut services = table_of(1, &["dead"]);
    let row = services.table.rows.get_mut("s00").unwrap();
    (row.owner_switches, row.checkpoint_owner) = (2, Some("dead-too".to_owned()));
    let before = row.clone();
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    solo.run_until(TAKE_OVER, &mut services);
    let expected = Lease {
        owner: Some("me".to_owned()),
        owner_switches: 3,
        checkpoint_owner: None,
        counter: services.table.row("s00").counter,
        ..before
    };
    assert_eq!(*services.table.row("s00"), expected);
    assert_eq!(solo.start_keys(), ["s00"]);
}

/// (6) The first owner of a row is no switch.
#[test]
fn taking_what_nobody_had_is_no_switch() {
    let (_, services) = holding();
    let row = services.table.row("s00");
    assert_eq!((row.counter, row.owner_switches), (1, 0));
}

/// (7) Two workers saw the same counter: one of them gets the lease.
#[test]
fn of_two_takers_one_wins() {
    let mut services = table_of(1, &[]);
    let mut solos = ["a", "b"].map(|name| Solo::new(settings(name), 0));
    for solo in &mut solos {
        while !solo.calls.iter().any(|call| write_of(call, is_take)) {
            solo.answer(&mut services);
        }
    }
    for solo in &mut solos {
        solo.settle(&mut services);
    }
    let starts = solos.map(|mut solo| solo.start_keys().len());
    assert_eq!(starts, [1, 0]);
    assert_eq!(services.table.owner("s00"), Some("a"));
}

/// (8) A checkpoint adds one to the counter and resets the count of switches.
#[test]
fn a_checkpoint_is_written_and_told() {
    let (mut solo, mut services) = holding();
    services.table.rows.get_mut("s00").unwrap().owner_switches = 4;
    let before = services.table.row("s00").clone();
    solo.checkpoint("s00", at(12));
    solo.settle(&mut services);
    let expected = Lease { counter: before.counter + 1, owner_switches: 0, checkpoint: at(12), ..before };
    assert_eq!(*services.table.row("s00"), expected);
    let told = Action::Checkpointed { key: "s00".to_owned(), epoch: 1, checkpoint: at(12), written: true };
    assert_eq!(solo.take_told(), [told]);
}

/// (72) What the row says already is not written again, and never taken back.
#[test]
fn a_checkpoint_that_the_row_covers_is_answered_without_a_write() {
    let (mut solo, mut services) = holding();
    for checkpoint in [at(12), at(12), at(3)] {
        solo.checkpoint("s00", checkpoint);
        solo.settle(&mut services);
    }
    assert_eq!(services.table.row("s00").checkpoint, at(12));
    assert_eq!(services.table.row("s00").counter, 2, "one take, one checkpoint");
    let written =
        solo.take_told().iter().filter(|told| matches!(told, Action::Checkpointed { written: true, .. })).count();
    assert_eq!(written, 3);
}

/// (19) The target is ceil(leases / workers), and one when there are as many workers as leases.
#[test]
fn a_worker_takes_its_fair_share() {
    // Leases, the others that hold one each, and how many of the rest this worker takes.
    let cases = [(4, 0, 4), (4, 1, 2), (5, 1, 3), (7, 2, 3), (10, 3, 3), (3, 2, 1), (4, 3, 1)];
    for (leases, others, share) in cases {
        let names = ["a", "b", "c"];
        let mut services = table_of(leases, &names[..others]);
        let mut solo = Solo::running(settings("me"), 0, &mut services);
        assert_eq!(solo.start_keys().len(), share, "{leases} leases, {others} others");
    }
}

/// (20) A lease that nobody owns is taken in the first cycle.
#[test]
fn what_nobody_owns_is_taken_at_once() {
    let mut services = table_of(2, &[]);
    services.table.rows.get_mut("s01").unwrap().counter = 99;
    let mut solo = Solo::running(settings("me"), 5, &mut services);
    assert_eq!(solo.start_keys(), ["s00", "s01"]);
}

/// (21, 22) A lease of another worker is taken after it did not change for longer than the failover time on my clock.
#[test]
fn an_owned_lease_is_left_alone_while_it_changes() {
    let mut services = table_of(1, &["other"]);
    let mut solo = Solo::running(settings("me"), 1_000, &mut services);
    for _ in 0..10 {
        solo.run_until(solo.now + FAILOVER - 100, &mut services);
        services.table.rows.get_mut("s00").unwrap().counter += 1;
        assert_eq!(solo.start_keys().len(), 0, "at {}", solo.now);
    }
    solo.run_until(solo.now + FAILOVER, &mut services);
    assert_eq!(solo.start_keys().len(), 0, "its age was first seen a moment ago");
    solo.run_until(solo.now + TAKE_OVER, &mut services);
    assert_eq!(solo.start_keys(), ["s00"]);
}

/// Nobody is settled beside a lease whose owner may be dead; beside one that is renewed, everybody is.
#[test]
fn a_lease_whose_owner_shows_no_life_may_still_come() {
    let mut services = table_of(1, &["dead"]);
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    assert!(!solo.worker.is_settled());
    solo.run_until(TAKE_OVER, &mut services);
    assert_eq!(solo.start_keys(), ["s00"]);
    assert!(solo.worker.is_settled());

    let mut services = table_of(1, &["other"]);
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    services.table.rows.get_mut("s00").unwrap().counter += 1;
    // The second look has seen it.
    solo.run_until(FAILOVER, &mut services);
    assert_eq!(solo.start_keys().len(), 0);
    assert!(solo.worker.is_settled());
}

/// Others' leases have an age as of the last look at the table. Between two looks nobody knows whether they are renewed.
#[test]
fn what_was_not_looked_at_has_not_expired() {
    let mut services = table_of(2, &["other"]);
    let mut solo = Solo::running(Settings { failover: 500, ..settings("me") }, 0, &mut services);
    for step in 1..100 {
        services.table.rows.get_mut("s00").unwrap().counter += 1;
        solo.run_until(step * 100, &mut services);
        assert!(step < 20 || solo.worker.is_settled(), "at {} ms", solo.now);
    }
    assert_eq!(solo.start_keys(), ["s01"]);
}

/// (26) No more than `max_leases` are held, however many are free.
#[test]
fn no_more_leases_than_allowed_are_held() {
    let mut services = table_of(6, &[]);
    let mut solo = Solo::running(Settings { max_leases: 2, ..settings("me") }, 0, &mut services);
    solo.run_until(2 * TAKE_OVER, &mut services);
    assert_eq!(solo.held().len(), 2);
}

/// (30) After a restart under the same name, the worker's own leases are resumed at once, but not one that is being
/// handed over.
#[test]
fn a_restart_under_the_same_name_resumes_at_once() {
    let mut services = table_of(3, &["me", "me", "me"]);
    services.table.rows.get_mut("s01").unwrap().checkpoint_owner = Some("next".to_owned());
    services.table.rows.get_mut("s02").unwrap().checkpoint = at(40);
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    assert_eq!(solo.starts(), [("s00".to_owned(), Checkpoint::TrimHorizon), ("s02".to_owned(), at(40))]);
    assert_eq!(services.table.row("s00").owner_switches, 0);
}

/// (31) Once the failover time passed on this worker's own clock, the lease is lost: no renewal, no checkpoint.
#[test]
fn an_expired_lease_is_given_up_even_when_nobody_took_it() {
    let (mut solo, mut services) = holding();
    let before = services.table.row("s00").clone();
    solo.sleep_until(FAILOVER + 1);
    solo.checkpoint("s00", at(5));
    let refused = Action::Checkpointed { key: "s00".to_owned(), epoch: 1, checkpoint: at(5), written: false };
    let revoke = Action::Revoke { key: "s00".to_owned(), epoch: 1, why: Loss::Expired };
    assert_eq!(solo.take_told(), [revoke, refused]);
    assert!(!solo.calls.iter().any(|call| write_of(call, |write| is_renew(write) || is_checkpoint(write))));
    assert_eq!(*services.table.row("s00"), before);
    solo.settle(&mut services);
    assert_eq!(solo.start_keys(), ["s00"], "nobody else wants it, so it is taken again without a wait");
}

/// (31) The loss is noticed when the time is up, not with the next renewal.
#[test]
fn a_worker_whose_calls_hang_gives_up_in_time() {
    let (mut solo, _) = holding();
    while solo.now <= FAILOVER {
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
    }
    assert_eq!(solo.now, FAILOVER + 1);
    assert!(revoked(&mut solo));
}

/// A take whose answer came too late to be sure of the lease starts nothing; it is taken anew.
#[test]
fn a_take_that_was_answered_after_the_failover_time_is_not_trusted() {
    let mut services = table_of(1, &[]);
    let mut solo = Solo::new(settings("me"), 0);
    while !solo.calls.iter().any(|call| write_of(call, is_take)) {
        solo.answer(&mut services);
    }
    let take = solo.call(|call| write_of(call, is_take));
    let answer = services.serve(&take);
    steal(&mut services.table, "s00");
    solo.sleep_until(FAILOVER + 1);
    solo.event(answer);
    solo.settle(&mut services);
    assert_eq!(solo.start_keys().len(), 0);
    assert_eq!(services.table.owner("s00"), Some("other"));
}

/// (32) A renewal falls due while a checkpoint is on its way, and the other way round: they go one after the other.
#[test]
fn a_renewal_and_a_checkpoint_do_not_disturb_each_other() {
    let (mut solo, mut services) = holding();
    solo.checkpoint("s00", at(5));
    solo.now = solo.worker.wake_at();
    solo.event(Event::Tick);
    assert_eq!(solo.calls.len(), 1, "one write to a row at a time: {:?}", solo.calls);
    solo.settle(&mut services);
    solo.now = solo.worker.wake_at();
    solo.event(Event::Tick);
    solo.checkpoint("s00", at(6));
    assert_eq!(solo.calls.len(), 1, "one write to a row at a time: {:?}", solo.calls);
    solo.settle(&mut services);
    assert!(!revoked(&mut solo));
    assert_eq!(services.table.row("s00").checkpoint, at(6));
}

/// (33) A lease that was lost and taken again refuses whoever held it before.
#[test]
fn an_old_epoch_is_refused() {
    let (mut solo, mut services) = holding();
    solo.sleep_until(FAILOVER + 1);
    solo.event(Event::Tick);
    solo.settle(&mut services);
    assert_eq!(solo.epochs["s00"], 2);
    solo.take_told();
    solo.event(Event::Checkpoint { key: "s00".to_owned(), epoch: 1, checkpoint: at(5) });
    let refused = Action::Checkpointed { key: "s00".to_owned(), epoch: 1, checkpoint: at(5), written: false };
    assert_eq!(solo.take_told(), [refused]);
    solo.event(Event::ShardEnded { key: "s00".to_owned(), epoch: 1, children: vec![] });
    assert!(solo.calls.is_empty());
}

/// (33) Nor does the answer to a write of the earlier holding, whatever it is, say anything about the new one.
#[test]
fn a_late_answer_to_an_earlier_holding_is_dropped() {
    for kind in [None, Some(ErrorKind::Unavailable), Some(ErrorKind::Denied)] {
        let (mut solo, mut services) = holding();
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
        let renew = solo.call(|call| write_of(call, is_renew));
        let late = services.serve(&renew);
        solo.sleep_until(3 * FAILOVER);
        solo.event(Event::Tick);
        solo.settle(&mut services);
        assert_eq!(solo.epochs["s00"], 2);
        solo.take_told();
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
        assert_eq!(solo.calls.len(), 1, "the new holding renews");
        solo.checkpoint("s00", at(5));
        solo.event(kind.map_or(late, |kind| failed(renew, kind)));
        assert_eq!((solo.calls.len(), solo.take_told()), (1, vec![]), "{kind:?}");
        solo.settle(&mut services);
        assert_eq!(services.table.row("s00").checkpoint, at(5), "{kind:?}");
        assert!(!revoked(&mut solo), "{kind:?}");
    }
}

/// A failing table is asked again, but not in a loop, and the lease lives as long as its time allows.
#[test]
fn a_throttled_write_is_retried_with_a_wait() {
    let (mut solo, mut services) = holding();
    solo.checkpoint("s00", at(5));
    let mut tries = 0;
    while services.table.row("s00").checkpoint != at(5) {
        solo.settle_unless(&mut services, |_| (tries < 6).then_some(ErrorKind::Throttled));
        tries += 1;
        solo.now = solo.worker.wake_at();
        solo.event(Event::Tick);
    }
    assert!(solo.now >= 2_000, "six failures within {} ms", solo.now);
    assert!(!revoked(&mut solo));
}

/// When a person must act the job is told, once, and the table is left in peace.
#[test]
fn a_denied_write_fails_the_job_without_a_loop() {
    let (mut solo, mut services) = holding();
    solo.checkpoint("s00", at(5));
    solo.settle_unless(&mut services, |_| Some(ErrorKind::Denied));
    let told = solo.take_told();
    assert!(
        matches!(
            &told[..],
            [Action::Checkpointed { written: false, .. }, Action::Revoke { .. }, Action::Fail(_)]
                | [Action::Fail(_), Action::Checkpointed { written: false, .. }, Action::Revoke { .. }]
        ),
        "{told:?}"
    );
    solo.event(Event::Stop);
    assert_eq!(solo.take_told(), [Action::Stopped]);
}
