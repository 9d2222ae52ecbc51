//! Fair shares: stealing, priorities and the way to balance.

use super::model::{Services, Stream};
use super::solo::Solo;
use super::{FAILOVER, at, settings};
use crate::leases::{Action, Event, Loss, Outcome, Settings, Write};
use crate::position::Checkpoint;
use crate::time::Millis;

/// From one look at the table to the next.
const CYCLE: Millis = 2 * (FAILOVER + 25);

/// A table whose leases are held by others: `owners` says by whom, and how many.
fn held_by(owners: &[(&str, usize)]) -> Services {
    let leases: usize = owners.iter().map(|(_, held)| held).sum();
    let mut services = Services::new(Stream::of(leases as u128));
    let mut creator = Solo::new(Settings { max_leases: 0, ..settings("creator") }, 0);
    creator.settle(&mut services);
    let names = owners.iter().flat_map(|(name, held)| std::iter::repeat_n(*name, *held));
    for (row, name) in services.table.rows.values_mut().zip(names) {
        row.owner = Some(name.to_owned());
        row.counter = 7;
    }
    services
}

fn held(services: &Services, worker: &str) -> usize {
    services.table.rows.values().filter(|row| row.owner.as_deref() == Some(worker)).count()
}

/// What a worker with these settings has right after its first look.
fn stolen(services: &mut Services, settings: Settings) -> usize {
    let name = settings.worker.clone();
    Solo::running(settings, 0, services);
    held(services, &name)
}

/// Lets time pass while `worker` renews what it holds.
fn run_beside(solo: &mut Solo, services: &mut Services, until: Millis, worker: &str) {
    while solo.now < until {
        for row in services.table.rows.values_mut().filter(|row| row.owner.as_deref() == Some(worker)) {
            row.counter += 1;
        }
        solo.run_until(solo.now + FAILOVER / 2, services);
    }
}

fn greedy(worker: &str) -> Settings {
    Settings { max_leases_to_steal: usize::MAX, ..settings(worker) }
}

/// (23) Nothing is stolen while something is free.
#[test]
fn nothing_is_stolen_while_something_is_free() {
    let mut services = held_by(&[("other", 6)]);
    services.table.rows.get_mut("s05").unwrap().owner = None;
    let mut solo = Solo::running(greedy("me"), 0, &mut services);
    assert_eq!(solo.start_keys(), ["s05"]);
    assert_eq!(held(&services, "other"), 5);
}

/// (24) One lease less than the share is no reason to steal from a worker that has no more than its own.
#[test]
fn off_by_one_is_balance() {
    for (mine, theirs) in [(1, 2), (0, 1), (2, 2), (2, 3)] {
        let mut services = held_by(&[("me", mine), ("other", theirs)]);
        let mut solo = Solo::running(greedy("me"), 0, &mut services);
        run_beside(&mut solo, &mut services, 3 * CYCLE, "other");
        assert_eq!((held(&services, "me"), held(&services, "other")), (mine, theirs));
    }
}

/// (25) No more than the limit at a time, and from the worker that has the most only.
#[test]
fn the_most_loaded_worker_is_robbed_within_the_limit() {
    for (limit, expected) in [(1, 1), (2, 2), (usize::MAX, 4)] {
        let mut services = held_by(&[("a", 3), ("b", 8), ("c", 5)]);
        let settings = Settings { max_leases_to_steal: limit, ..settings("me") };
        assert_eq!(stolen(&mut services, settings), expected, "of 16 leases of 4 workers");
        assert_eq!((held(&services, "a"), held(&services, "b"), held(&services, "c")), (3, 8 - expected, 5));
    }
}

/// (25) A worker that lacks two or more takes one even from those that have no more than their share.
#[test]
fn whoever_lacks_two_gets_one_from_a_full_share() {
    let mut services = held_by(&[("a", 3), ("b", 3), ("c", 3)]);
    assert_eq!(stolen(&mut services, greedy("me")), 1);
}

/// (25) Stealing stops at this worker's own limit too.
#[test]
fn the_limit_of_leases_holds_for_stolen_ones() {
    let mut services = held_by(&[("a", 10)]);
    let mut solo = Solo::running(Settings { max_leases: 3, ..greedy("me") }, 0, &mut services);
    solo.run_until(5 * CYCLE, &mut services);
    assert_eq!(held(&services, "me"), 3);
}

/// What 3.x workers hand over between them is not torn out of their hands.
#[test]
fn a_lease_that_is_handed_over_is_not_stolen() {
    let mut services = held_by(&[("other", 4)]);
    for row in services.table.rows.values_mut().take(3) {
        row.checkpoint_owner = Some("older".to_owned());
    }
    let mut solo = Solo::running(greedy("me"), 0, &mut services);
    assert_eq!(solo.start_keys(), ["s03"]);
}

/// Shards that are finished are no work: they make nobody's share larger.
#[test]
fn finished_leases_do_not_count() {
    let mut services = held_by(&[("other", 8)]);
    for row in services.table.rows.values_mut().take(4) {
        row.checkpoint = Checkpoint::ShardEnd;
    }
    assert_eq!(stolen(&mut services, greedy("me")), 2, "two of the four unfinished ones");
    assert!(services.table.rows.values().take(4).all(|row| row.owner.as_deref() == Some("other")));
}

/// (27) What nobody took for three failover times is taken beyond the share, but not beyond the limit.
#[test]
fn overdue_leases_are_taken_beyond_the_share() {
    for (limit, expected) in [(usize::MAX, 8), (7, 7), (3, 3)] {
        let mut services = held_by(&[("full", 4), ("gone", 8)]);
        let mut solo = Solo::running(Settings { max_leases: limit, ..settings("me") }, 0, &mut services);
        // A live worker that takes nothing, as one that reached its own limit.
        run_beside(&mut solo, &mut services, 2 * FAILOVER, "full");
        assert_eq!(held(&services, "me"), expected.min(6), "a share of 12 leases of 2 workers, {limit} at most");
        run_beside(&mut solo, &mut services, 4 * FAILOVER + CYCLE, "full");
        assert_eq!((held(&services, "me"), held(&services, "gone")), (expected, 8 - expected), "{limit} at most");
    }
}

/// (29) A table that takes long to read shows counters of before the owner's last renewals. The refusal of the take
/// brings the row as it is, and the second try has it.
#[test]
fn a_theft_after_a_stale_scan_reads_the_row_again() {
    let mut services = held_by(&[("other", 4)]);
    let mut solo = Solo::new(settings("me"), 0);
    let is_take = |call: &Action| matches!(call, Action::Write(Write::Take { .. }));
    while !solo.calls.iter().any(is_take) {
        solo.answer(&mut services);
    }
    services.table.rows.values_mut().for_each(|row| row.counter += 1);
    solo.settle(&mut services);
    assert_eq!(solo.start_keys().len(), 1);
    let mine = services.table.rows.values().find(|row| row.owner.as_deref() == Some("me")).unwrap();
    assert_eq!((mine.counter, mine.owner_switches), (9, 1));
}

/// (29) But what meanwhile belongs to somebody else, or is finished, is left alone; and nothing is tried a third time.
#[test]
fn a_theft_that_is_too_late_is_given_up() {
    type Change = fn(&mut Services);
    let changes: [(&str, Change); 3] = [
        ("taken by another", |services| {
            for row in services.table.rows.values_mut() {
                (row.owner, row.counter) = (Some("third".to_owned()), 9);
            }
        }),
        ("finished", |services| {
            for row in services.table.rows.values_mut() {
                (row.checkpoint, row.counter) = (Checkpoint::ShardEnd, 8);
            }
        }),
        ("renewed all the time", |services| services.table.rows.values_mut().for_each(|row| row.counter += 1)),
    ];
    for (what, change) in changes {
        let mut services = held_by(&[("other", 4)]);
        let mut solo = Solo::new(settings("me"), 0);
        let mut takes = 0;
        while let Some(call) = solo.calls.pop_front() {
            if matches!(call, Action::Write(Write::Take { .. })) {
                takes += 1;
                change(&mut services);
            }
            solo.event(services.serve(&call));
        }
        assert_eq!(held(&services, "me"), 0, "{what}");
        assert!(takes <= 2, "{what}: {takes} takes");
    }
}

/// The owner notices with its next renewal, and the reader is told.
#[test]
fn the_robbed_worker_lets_go() {
    let mut services = Services::new(Stream::of(2));
    let mut first = Solo::running(settings("first"), 0, &mut services);
    let mut second = Solo::running(settings("second"), 0, &mut services);
    let lost = second.start_keys();
    assert_eq!(lost.len(), 1);
    first.run_until(FAILOVER / 3, &mut services);
    let told = first.take_told();
    let stolen = Loss::Taken { by: Some("second".to_owned()) };
    assert!(
        told.iter().any(|told| matches!(told, Action::Revoke { key, why, .. } if *key == lost[0] && *why == stolen)),
        "{told:?}"
    );
    assert_eq!(first.held().len(), 1);
}

/// A worker that was robbed and has not heard of it does not steal the lease back: it would forget the holding that it
/// still has, and nobody would be told that a checkpoint under it came to nothing.
#[test]
fn what_a_worker_believes_to_hold_is_not_stolen_back() {
    let mut services = Services::new(Stream::of(4));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    solo.take_told();
    let epoch = solo.epochs["s00"];
    for (key, row) in &mut services.table.rows {
        (row.owner, row.counter) = (Some("other".to_owned()), row.counter + 5);
        // So that only the first can be stolen.
        row.checkpoint_owner = (key != "s00").then(|| "older".to_owned());
    }
    solo.checkpoint("s00", at(7));
    let checkpoint = solo.call(|call| matches!(call, Action::Write(Write::Checkpoint { .. })));
    let looked = services.scans;
    while services.scans == looked {
        let next = solo.worker.wake_at();
        solo.run_until(next, &mut services);
    }
    solo.event(services.serve(&checkpoint));
    let lost = Action::Checkpointed { key: "s00".to_owned(), epoch, checkpoint: at(7), written: false };
    assert!(solo.take_told().contains(&lost));
}

/// Workers of one fleet that live side by side on one clock.
struct Fleet {
    solos: Vec<Solo>,
    services: Services,
    now: Millis,
}

impl Fleet {
    fn of(shards: u128) -> Self {
        Self { solos: Vec::new(), services: Services::new(Stream::of(shards)), now: 0 }
    }

    fn join(&mut self, settings: Settings) {
        self.solos.push(Solo::running(settings, self.now, &mut self.services));
    }

    fn run_for(&mut self, time: Millis) {
        let until = self.now + time;
        while let Some(next) = self.solos.iter().map(|solo| solo.worker.wake_at()).min().filter(|next| *next <= until) {
            for solo in &mut self.solos {
                solo.run_until(next, &mut self.services);
            }
        }
        self.now = until;
        self.solos.iter_mut().for_each(|solo| solo.now = until);
    }

    /// The last worker that joined is gone from one instant to the next.
    fn kill_last(&mut self) {
        self.solos.pop();
    }

    fn stop_last(&mut self) {
        let mut last = self.solos.pop().unwrap();
        last.event(Event::Stop);
        last.settle(&mut self.services);
    }

    /// How many leases each worker holds, the least first.
    fn loads(&self) -> Vec<usize> {
        let mut loads: Vec<usize> = self.solos.iter().map(|solo| solo.held().len()).collect();
        loads.sort_unstable();
        loads
    }

    fn counters(&self) -> u64 {
        self.services.table.rows.values().map(|row| row.owner_switches).sum()
    }
}

/// (28) From one worker to two to four: balance within three cycles, and then nothing moves any more.
#[test]
fn a_growing_fleet_is_balanced_within_three_cycles() {
    for (shards, limit) in [(4_u128, 1), (6, 1), (64, 16), (99, 33)] {
        let mut fleet = Fleet::of(shards);
        let join = |fleet: &mut Fleet, name: &str, seed| {
            fleet.join(Settings { max_leases_to_steal: limit, seed, ..settings(name) });
        };
        join(&mut fleet, "a", 1);
        for joining in [&["b"][..], &["c", "d"]] {
            for (seed, name) in joining.iter().enumerate() {
                join(&mut fleet, name, seed as u64);
            }
            fleet.run_for(3 * CYCLE);
            let loads = fleet.loads();
            assert_eq!(loads.iter().sum::<usize>() as u128, shards, "{loads:?}");
            assert!(loads[loads.len() - 1] - loads[0] <= 1, "{shards} shards: {loads:?}");
        }
        let (switches, loads) = (fleet.counters(), fleet.loads());
        fleet.run_for(10 * CYCLE);
        assert_eq!((fleet.counters(), fleet.loads()), (switches, loads), "a balanced fleet is left in peace");
    }
}

/// Whenever a worker dies between two renewals, the others have its leases two seconds after they may.
#[test]
fn a_dead_workers_leases_are_taken_within_the_failover_time_and_two_seconds() {
    for workers in 2..=5_usize {
        for moment in 0..8 {
            let mut fleet = Fleet::of(20);
            for worker in 0..workers {
                fleet.join(Settings {
                    seed: worker as u64,
                    max_leases_to_steal: 20,
                    ..settings(&format!("w{worker}"))
                });
            }
            fleet.run_for(3 * CYCLE + 417 * moment);
            fleet.kill_last();
            fleet.run_for(FAILOVER + 2_000);
            let loads = fleet.loads();
            assert_eq!(loads.iter().sum::<usize>(), 20, "{workers} workers, moment {moment}: {loads:?}");
        }
    }
}

/// What a stopping worker gives back is in other hands a second later.
#[test]
fn a_stopping_workers_leases_are_taken_within_a_second() {
    for workers in 2..=6_usize {
        for moment in 0..8 {
            let mut fleet = Fleet::of(24);
            for worker in 0..workers {
                let name = format!("w{}", (worker + moment) % workers);
                fleet.join(Settings { max_leases_to_steal: 24, ..settings(&name) });
            }
            fleet.run_for(3 * CYCLE + 417 * moment as Millis);
            fleet.stop_last();
            fleet.run_for(1_000);
            let loads = fleet.loads();
            assert_eq!(loads.iter().sum::<usize>(), 24, "{workers} workers, moment {moment}");
            assert!(loads[loads.len() - 1] - loads[0] <= 1, "{loads:?}");
        }
    }
}

/// Each worker looks every 0.8 s, and their looks are spread evenly over it: somebody soon sees what was given back.
#[test]
fn a_fleet_takes_turns_to_look() {
    for workers in 2..=4_u64 {
        let mut fleet = Fleet::of(12);
        for worker in 0..workers {
            fleet.join(Settings { max_leases_to_steal: 12, ..settings(&format!("w{worker}")) });
        }
        fleet.run_for(3 * CYCLE);
        let (turn, turns) = (800 / workers + 10, 100);
        let began = fleet.services.scans;
        for _ in 0..turns {
            let before = fleet.services.scans;
            fleet.run_for(turn);
            assert!(fleet.services.scans > before, "{workers} workers");
        }
        let (looks, expected) = (u64::from(fleet.services.scans - began), turns * turn * workers / 800);
        assert!(looks.abs_diff(expected) <= 6, "{workers} workers looked {looks} times, expected {expected}");
    }
}

/// Who held everything learns of a newcomer by what it loses to it: what that one gives back, or leaves behind, does not
/// wait for the next look of a worker that knows of nobody else.
#[test]
fn a_newcomer_that_is_gone_soon_is_succeeded_as_soon() {
    for (is_stop, within) in [(true, 1_000), (false, FAILOVER + 2_000)] {
        let mut fleet = Fleet::of(4);
        fleet.join(settings("a"));
        fleet.join(greedy("b"));
        fleet.run_for(FAILOVER / 2);
        assert_eq!(fleet.loads(), [2, 2]);
        if is_stop {
            fleet.stop_last()
        } else {
            fleet.kill_last()
        }
        fleet.run_for(within);
        assert_eq!(fleet.loads().last(), Some(&4), "within {within} ms");
    }
}

/// Likewise when it was there between two renewals only.
#[test]
fn a_worker_that_came_and_went_leaves_nothing_unread() {
    let mut fleet = Fleet::of(4);
    fleet.join(settings("a"));
    fleet.join(greedy("b"));
    fleet.stop_last();
    fleet.run_for(FAILOVER / 2);
    assert_eq!(fleet.loads(), [4]);
}

/// Frequent looks are no more frequent thefts.
#[test]
fn looking_often_is_not_stealing_often() {
    let mut fleet = Fleet::of(12);
    fleet.join(settings("a"));
    fleet.join(settings("b"));
    fleet.run_for(CYCLE - 1_000);
    assert_eq!(fleet.loads(), [1, 11], "one lease a cycle");
    fleet.run_for(CYCLE);
    assert_eq!(fleet.loads(), [2, 10]);
}

/// (28) Whatever the numbers: every fleet ends within one lease of balance.
#[test]
fn every_fleet_converges() {
    for workers in 1..=7_usize {
        for shards in [1_u128, 2, 5, 7, 13, 20, 31] {
            let mut fleet = Fleet::of(shards);
            for worker in 0..workers {
                fleet.join(Settings { seed: worker as u64, ..settings(&format!("w{worker}")) });
            }
            fleet.run_for(CYCLE * u64::try_from(shards).unwrap());
            let loads = fleet.loads();
            assert!(loads[workers - 1] - loads[0] <= 1, "{shards} shards, {workers} workers: {loads:?}");
            assert_eq!(loads.iter().sum::<usize>() as u128, shards);
        }
    }
}

/// Workers that start at once on an empty table and look at the same rows want different ones.
#[test]
fn workers_with_other_seeds_choose_other_leases() {
    let choice = |seed| {
        let mut services = held_by(&[("other", 40)]);
        services.table.rows.values_mut().for_each(|row| row.owner = None);
        let mut solo = Solo::new(Settings { seed, max_leases: 5, ..settings("me") }, 0);
        while solo.calls.iter().all(|call| !matches!(call, Action::Write(Write::Take { .. }))) {
            solo.answer(&mut services);
        }
        solo.settle(&mut services);
        solo.start_keys()
    };
    assert_eq!(choice(1), choice(1), "the same seed chooses the same");
    assert_ne!(choice(1), choice(2));
}

/// A write that nobody answered may have taken the lease; a theft is no exception to that.
#[test]
fn a_lost_reply_to_a_theft_is_found_out() {
    let mut services = held_by(&[("other", 4)]);
    let mut solo = Solo::new(settings("me"), 0);
    while !solo.calls.iter().any(|call| matches!(call, Action::Write(Write::Take { .. }))) {
        solo.answer(&mut services);
    }
    solo.lose_reply(&mut services, |write| matches!(write, Write::Take { .. }));
    solo.run_until(1_000, &mut services);
    assert_eq!(solo.start_keys().len(), 1);
    assert_eq!(held(&services, "me"), 1);
    let row = services.table.rows.values().find(|row| row.owner.as_deref() == Some("me")).unwrap().clone();
    let again = Write::Take { seen: row.clone(), worker: "other".to_owned() };
    assert_eq!(services.table.apply(&again), Outcome::Done);
}
