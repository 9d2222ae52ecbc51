//! A version that takes over at once, and the way back.

use super::bench::{Bench, WARM};
use crate::rollout::{Event, Health, Manner};
use crate::time::Millis;

const NONE: [&str; 0] = [];

#[test]
fn a_version_is_built_then_written_then_routed() {
    let mut bench = Bench::new(&[], 2);
    assert_eq!(bench.deploy(1, "v2"), ["build 1 v2"]);
    assert_eq!(bench.built(1), ["write v2, before v1"]);
    assert_eq!(bench.written(), ["tookover", "done 1", "route 0>1 1>1 retire 0", "build 2 v1"]);
    assert_eq!(bench.built(2), NONE, "ready for a way back");
    assert_eq!(bench.assign(2), ["assign 2 to 1"]);
}

#[test]
fn the_same_version_again_is_nothing_to_do() {
    let mut bench = Bench::new(&[], 2);
    assert_eq!(bench.deploy(1, "v1"), ["done 1"]);
}

#[test]
fn a_version_whose_init_fails_changes_nothing() {
    let mut bench = Bench::new(&[], 2);
    bench.deploy(1, "v2");
    let result = Err("init: no".to_owned());
    assert_eq!(bench.on(Event::Built { instance: 1, result }), ["refused 1: init: no"]);
    assert_eq!(bench.deploy(2, "v2"), ["build 2 v2"], "and it may be tried again");
}

#[test]
fn a_second_deploy_replaces_the_one_that_is_being_built() {
    let mut bench = Bench::new(&[], 1);
    bench.deploy(1, "v2");
    assert_eq!(bench.deploy(2, "v3"), ["refused 1: a later version was deployed before this one ran", "build 2 v3"]);
    assert_eq!(bench.built(1), ["route retire 1"], "nobody needs it any more");
    assert_eq!(bench.built(2), ["write v3, before v1"]);
    assert_eq!(bench.written(), ["tookover", "done 2", "route 0>2 retire 0", "build 3 v1"]);
}

/// Two quick ones: the second waits for the write of the first.
#[test]
fn a_second_deploy_follows_the_one_that_is_being_written() {
    let mut bench = Bench::new(&[], 1);
    bench.deploy(1, "v2");
    bench.built(1);
    assert_eq!(bench.deploy(2, "v3"), ["build 2 v3"]);
    assert_eq!(bench.built(2), NONE);
    assert_eq!(bench.written(), ["tookover", "done 1", "write v3, before v2", "route 0>1 retire 0", "build 3 v1"]);
    assert_eq!(bench.written(), ["tookover", "done 2", "route 0>2 retire 1", "build 4 v2"]);
    assert_eq!(bench.built(3), ["route retire 3"]);
}

/// While it is being built it must not be taken for the one that was kept for a way back, whose time is over.
#[test]
fn the_version_before_can_be_deployed_when_the_way_back_is_closed() {
    let mut bench = Bench::new(&[], 1);
    bench.replaced("v2", 1);
    bench.now += WARM;
    assert_eq!(bench.on(Event::Tick), ["route retire 2"]);
    assert_eq!(bench.deploy(2, "v1"), ["build 3 v1"]);
    assert_eq!(bench.built(3), ["write v1, before v2"]);
}

#[test]
fn a_version_on_probation_that_gives_up_goes_back_to_the_one_before() {
    let mut bench = Bench::new(&[], 2);
    bench.replaced("v2", 1);
    assert_eq!(bench.gave_up(1), ["write v1, bad v2"]);
    assert_eq!(bench.gave_up(1), NONE, "it is on its way");
    assert_eq!(bench.written(), ["rolled back v2: broken", "route 0>2 1>2 retire 1"]);
    assert_eq!(bench.deploy(1, "v2"), ["refused 1: it was rolled back before: broken"]);
    assert_eq!(bench.gave_up(2), ["give up 2"], "there is nothing before it");
}

/// The instance for the way back is still being built: the shards wait for it.
#[test]
fn a_rollback_waits_for_the_instance_of_the_version_before() {
    let mut bench = Bench::new(&[], 1);
    bench.deploy(1, "v2");
    bench.built(1);
    bench.written();
    bench.gave_up(1);
    assert_eq!(bench.written(), ["rolled back v2: broken"]);
    assert_eq!(bench.built(2), ["route 0>2 retire 1"]);
}

#[test]
fn a_version_that_gives_up_without_one_before_ends_the_job() {
    let mut bench = Bench::new(&[], 2);
    assert_eq!(bench.gave_up(0), ["give up 0"]);
    assert_eq!(bench.at(1), NONE, "said once");
}

/// A new version is on its way, and may mend it.
#[test]
fn a_version_that_gives_up_waits_for_one_that_is_being_built() {
    let mut bench = Bench::new(&[], 1);
    bench.deploy(1, "v2");
    assert_eq!(bench.gave_up(0), NONE);
    bench.built(1);
    assert_eq!(bench.written()[2], "route 0>1 retire 0");

    let mut bench = Bench::new(&[], 1);
    bench.deploy(1, "v2");
    bench.gave_up(0);
    let result = Err("no".to_owned());
    assert_eq!(bench.on(Event::Built { instance: 1, result }), ["refused 1: no", "give up 0"]);
}

#[test]
fn three_traps_in_a_minute_are_too_many_on_probation() {
    let mut bench = Bench::new(&[], 1);
    bench.replaced("v2", 1);
    for (at, traps) in [(1_000, 1), (2_000, 2), (61_500, 3)] {
        bench.now = at;
        // The way back must not be gone.
        if at < WARM {
            assert_eq!(bench.traps(1, traps), NONE, "at {at}");
        }
    }
    let mut bench = Bench::new(&[], 1);
    bench.replaced("v2", 1);
    bench.now = 50_000;
    assert_eq!(bench.traps(1, 2), NONE);
    assert_eq!(bench.traps(1, 3), ["write v1, bad v2"]);
    assert_eq!(bench.written()[0], "rolled back v2: 3 traps or time-outs in 60 s");
}

#[test]
fn traps_of_a_version_that_runs_alone_are_not_counted() {
    let mut bench = Bench::new(&[], 1);
    assert_eq!(bench.traps(0, 30), NONE);
}

#[test]
fn a_version_that_fails_more_or_takes_longer_than_the_one_before_goes_back() {
    let good = Health { calls: 1_000, envelopes: 10_000, busy_us: 10_000, ..Health::default() };
    let failing = Health { failed_calls: 100, ..good };
    let slow = Health { busy_us: 20_000_000, ..good };
    for (health, is_bad) in [(good, false), (failing, true), (slow, true)] {
        let mut bench = Bench::new(&[], 1);
        bench.on(Event::Health { instance: 0, health: good });
        bench.replaced("v2", 1);
        let actions = bench.on(Event::Health { instance: 1, health });
        assert_eq!(!actions.is_empty(), is_bad, "{health:?}: {actions:?}");
    }
}

#[test]
fn after_its_time_the_version_before_is_dropped() {
    let mut bench = Bench::new(&[], 1);
    bench.replaced("v2", 1);
    assert_eq!(bench.rollout.wake_at(), WARM);
    assert_eq!(bench.at(WARM), ["route retire 2"]);
    assert_eq!(bench.rollout.wake_at(), Millis::MAX);
    assert_eq!(bench.gave_up(1), ["give up 1"]);
    let late = "the version before it is not kept ready any more; name it with --to to go back to it";
    assert_eq!(bench.roll_back(5), [format!("refused 5: {late}")]);
}

#[test]
fn a_rollback_by_hand_goes_to_the_version_before() {
    let mut bench = Bench::new(&[], 1);
    assert_eq!(bench.roll_back(1), ["refused 1: there is no version before it"]);
    bench.replaced("v2", 1);
    assert_eq!(bench.roll_back(2), ["write v1, bad v2"]);
    assert_eq!(bench.written(), ["rolled back v2: somebody asked for it", "done 2", "route 0>2 retire 1"]);
}

/// By name a version comes back even from quarantine; the instance that is ready is the one that is used.
#[test]
fn a_named_version_takes_over_even_from_quarantine() {
    let mut bench = Bench::new(&[], 1);
    bench.replaced("v2", 1);
    bench.gave_up(1);
    bench.written();
    assert_eq!(bench.deploy_as(3, "v2", Manner::Forced), ["build 3 v2"]);
    assert_eq!(bench.built(3), ["write v2, before v1"], "forgiven");
}

#[test]
fn a_rollback_while_a_version_is_being_built_ends_that() {
    let mut bench = Bench::new(&[], 1);
    bench.deploy(1, "v2");
    assert_eq!(bench.roll_back(2), ["refused 1: somebody asked for it", "done 2"]);
    assert_eq!(bench.built(1), ["route retire 1"]);
}

/// A version before the current one that cannot be built any more: there is no way back, and that is said.
#[test]
fn a_version_before_that_cannot_be_built_is_no_way_back() {
    let mut bench = Bench::new(&[], 1);
    bench.deploy(1, "v2");
    bench.built(1);
    bench.written();
    assert_eq!(bench.on(Event::Built { instance: 2, result: Err("no memory".to_owned()) }), ["notwarm"]);
    assert_eq!(bench.gave_up(1), ["give up 1"]);
}
