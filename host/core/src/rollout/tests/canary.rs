//! A candidate in waves.

use super::bench::{BAKE, Bench};
use crate::module::ModuleId;
use crate::rollout::{Action, Deployment, Event, Manner, Rollout, Settings, Wave};

const NONE: [&str; 0] = [];
const WAVES: [Wave; 2] = [Wave::Shards(1), Wave::Percent(50)];

/// A candidate on its first shard.
fn canary(shards: u32) -> Bench {
    let mut bench = Bench::new(&WAVES, shards);
    assert_eq!(bench.deploy(1, "v2"), ["build 1 v2"]);
    assert_eq!(bench.built(1), ["write v1, v2 in wave 0 on a"]);
    assert_eq!(bench.written(), ["wave", "done 1", "route 0>1"]);
    bench
}

#[test]
fn a_candidate_gets_wave_after_wave_and_takes_over() {
    let mut bench = canary(4);
    assert_eq!(bench.rollout.wake_at(), BAKE);
    assert_eq!(bench.at(BAKE - 1), NONE);
    assert_eq!(bench.at(BAKE), ["write v1, v2 in wave 1 on a b"]);
    assert_eq!(bench.written(), ["wave", "route 1>1"]);
    assert_eq!(bench.at(2 * BAKE), ["write v2, before v1"]);
    assert_eq!(bench.written(), ["tookover", "route 2>1 3>1 retire 0", "build 2 v1"]);
}

#[test]
fn a_candidate_that_gives_up_goes_and_the_others_never_saw_it() {
    let mut bench = canary(4);
    assert_eq!(bench.gave_up(1), ["write v1, bad v2"]);
    assert_eq!(bench.written(), ["rolled back v2: broken", "route 0>0 retire 1"]);
}

#[test]
fn the_current_version_gives_up_beside_a_candidate_as_without_one() {
    let mut bench = canary(2);
    assert_eq!(bench.gave_up(0), ["give up 0"]);
}

#[test]
fn a_promoted_candidate_takes_over_now() {
    let mut bench = canary(2);
    assert_eq!(bench.on(Event::Promote { request: 2 }), ["write v2, before v1"]);
    assert_eq!(bench.written(), ["tookover", "done 2", "route 1>1 retire 0", "build 2 v1"]);
    assert_eq!(bench.on(Event::Promote { request: 3 }), ["refused 3: there is no candidate to promote"]);
}

#[test]
fn a_newer_candidate_replaces_one_and_gets_its_shards() {
    let mut bench = canary(4);
    bench.at(BAKE);
    bench.written();
    assert_eq!(bench.deploy(2, "v3"), ["build 2 v3"]);
    assert_eq!(bench.built(2), ["write v1, v3 in wave 1 on a b"]);
    assert_eq!(bench.written(), ["wave", "done 2", "route 0>2 1>2 retire 1"]);
    assert_eq!(bench.rollout.wake_at(), 2 * BAKE, "watched anew");
}

#[test]
fn a_rollback_while_a_second_deploy_is_built_leaves_the_second() {
    let mut bench = canary(2);
    bench.deploy(2, "v3");
    assert_eq!(bench.roll_back(3), ["write v1, bad v2"]);
    assert_eq!(bench.built(2), NONE);
    assert_eq!(
        bench.written(),
        [
            "rolled back v2: somebody asked for it",
            "done 3",
            "write v1, v3 in wave 0 on a, bad v2",
            "route 0>0 retire 1"
        ]
    );
    assert_eq!(bench.written(), ["wave", "done 2", "route 0>2"]);
}

#[test]
fn deploying_the_current_version_takes_the_candidate_back() {
    let mut bench = canary(2);
    assert_eq!(bench.deploy(2, "v1"), ["write v1, bad v2"]);
    assert_eq!(bench.written()[1..], ["done 2", "route 0>0 retire 1"]);
}

/// Children go where their parents were; a merge of both sides stays with the current version.
#[test]
fn children_follow_their_parents() {
    let mut bench = canary(2);
    let child = |name: &str, parents: &[&str]| (name.to_owned(), parents.iter().map(|p| (*p).to_owned()).collect());
    let children = vec![child("c", &["a"]), child("d", &["a"]), child("e", &["a", "b"])];
    assert_eq!(bench.on(Event::Ended { children }), ["write v1, v2 in wave 0 on a c d"]);
    assert_eq!(bench.written(), NONE);
    assert_eq!(bench.assign(2), ["assign 2 to 1"]);
    assert_eq!(bench.assign(3), ["assign 3 to 1"]);
    assert_eq!(bench.assign(4), ["assign 4 to 0"]);
}

/// Shards of the current version split while a wave has its half: their children stay where they were.
#[test]
fn a_wave_does_not_grow_with_the_shards() {
    let mut bench = Bench::new(&[Wave::Percent(50)], 2);
    bench.deploy(1, "v2");
    bench.built(1);
    bench.written();
    for (parent, children) in [("b", ["c", "d"]), ("c", ["e", "f"])] {
        let children = children.map(|child| (child.to_owned(), vec![parent.to_owned()]));
        assert_eq!(bench.on(Event::Ended { children: children.to_vec() }), ["write v1, v2 in wave 0 on a"]);
        assert_eq!(bench.written(), NONE);
    }
    for child in 3..6 {
        assert_eq!(bench.assign(child), [format!("assign {child} to 0")]);
    }
}

/// Shards that nobody knew, as when others give theirs up: the wave is a share of them as well.
#[test]
fn shards_that_come_during_a_wave_take_part_in_it() {
    let mut bench = Bench::new(&[Wave::Percent(50)], 2);
    bench.deploy(1, "v2");
    bench.built(1);
    bench.written();
    assert_eq!(bench.assign(2), ["write v1, v2 in wave 0 on a b", "assign 2 to 0"]);
    assert_eq!(bench.written(), ["route 1>1"]);
    assert_eq!(bench.assign(3), ["write v1, v2 in wave 0 on a b", "assign 3 to 0"], "half of four");
    assert_eq!(bench.written(), NONE);
    bench.on(Event::Released { source: 3 });
    assert_eq!(bench.assign(3), ["assign 3 to 0"], "it is known by now");
}

#[test]
fn a_deploy_may_say_how() {
    let mut bench = Bench::new(&WAVES, 2);
    bench.deploy_as(1, "v2", Manner::All);
    assert_eq!(bench.built(1), ["write v2, before v1"]);

    // At once, and again: what is being watched takes over.
    let mut bench = canary(4);
    assert_eq!(bench.deploy_as(2, "v2", Manner::Canary), ["done 2"]);
    assert_eq!(bench.deploy_as(3, "v2", Manner::All), ["write v2, before v1"]);

    let settings = Settings { is_canary: false, waves: WAVES.to_vec(), bake: BAKE, keep_warm: BAKE };
    for (how, wave) in [(Manner::Configured, None), (Manner::All, None), (Manner::Canary, Some(0))] {
        let mut rollout = Rollout::new(0, settings.clone(), Deployment::first(ModuleId::labelled("v1")));
        rollout.on(0, Event::Deploy { request: 1, module: ModuleId::labelled("v2"), how });
        let actions = rollout.on(0, Event::Built { instance: 1, result: Ok(()) });
        let [Action::Write(deployment)] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(deployment.candidate.as_ref().map(|candidate| candidate.wave), wave, "{how:?}");
    }
}

/// Whoever wants to be rid of a version that is gone by now does not take back another one.
#[test]
fn a_rollback_of_a_version_that_is_gone_is_nothing_to_do() {
    let mut bench = canary(2);
    let named = |digits: &str| Event::RollBack { request: 2, version: Some(digits.to_owned()) };
    let roll_back = |version: &str| named(&ModuleId::labelled(version).digits());
    assert_eq!(bench.on(roll_back("v0")), ["done 2"]);
    assert_eq!(bench.on(named(&ModuleId::labelled("v2").digits()[..3])), ["write v1, bad v2"]);
    bench.written();
    assert_eq!(bench.on(roll_back("v2")), ["done 2"]);

    bench.replaced("v3", 2);
    assert_eq!(bench.on(roll_back("v2")), ["done 2"]);
    assert_eq!(bench.on(roll_back("v3"))[0], "write v1, bad v2, bad v3");
}

/// What is needed stays at hand, and nothing else: who deploys a thousand versions does not keep a thousand.
#[test]
fn versions_that_are_gone_are_not_needed() {
    let mut bench = canary(2);
    bench.deploy(2, "v3");
    let needed = |bench: &Bench| ["v1", "v2", "v3", "v4"].map(|module| bench.rollout.needs(ModuleId::labelled(module)));
    assert_eq!(needed(&bench), [true, true, true, false], "the third is being built");
    bench.built(2);
    assert_eq!(needed(&bench), [true, true, true, false], "it is being written");
    bench.written();
    assert_eq!(needed(&bench), [true, false, true, false]);
    bench.roll_back(3);
    bench.written();
    assert_eq!(needed(&bench), [true, false, false, false]);
}

/// A restart in the middle: each shard waits for the version that it had.
#[test]
fn a_restart_resumes_the_same_assignment() {
    let stored = canary(3).stored;
    let mut bench = Bench::with(&WAVES, stored);
    assert_eq!(bench.at(10), ["build 1 v2"]);
    assert_eq!(bench.assign(0), NONE, "it waits for its version");
    assert_eq!(bench.assign(1), ["assign 1 to 0"]);
    assert_eq!(bench.built(1), ["assign 0 to 1"]);
}

#[test]
fn a_candidate_that_does_not_come_up_after_a_restart_is_rolled_back() {
    let stored = canary(3).stored;
    let mut bench = Bench::with(&WAVES, stored);
    bench.at(10);
    bench.assign(0);
    let result = Err("gone".to_owned());
    assert_eq!(bench.on(Event::Built { instance: 1, result })[0], "write v1, bad v2");
    assert_eq!(bench.written(), ["rolled back v2: gone", "assign 0 to 0"]);
}
