//! Writes that fail, and other hosts that write.

use super::bench::{Bench, describe};
use std::collections::BTreeSet;

use crate::module::ModuleId;
use crate::rollout::{Candidate, Deployment, Event, Wave, WriteError};

const NONE: [&str; 0] = [];

fn failed() -> WriteError {
    WriteError::Failed("disk full".to_owned())
}

/// A deployment that another host wrote over `stored`.
fn other(stored: &Deployment, change: impl FnOnce(&mut Deployment)) -> Deployment {
    let mut other = stored.clone();
    other.revision += 1;
    change(&mut other);
    other
}

/// A candidate `v2` with one shard.
fn begin(deployment: &mut Deployment, shard: &str) {
    let (module, shards, others) = (ModuleId::labelled("v2"), [shard.to_owned()].into(), BTreeSet::new());
    deployment.candidate = Some(Candidate { module, wave: 0, since: 0, shards, others });
}

#[test]
fn nothing_takes_effect_before_it_is_written() {
    let mut bench = Bench::new(&[], 1);
    bench.deploy(1, "v2");
    bench.built(1);
    assert_eq!(bench.not_written(failed()), NONE);
    assert_eq!(bench.rollout.wake_at(), 1_000);
    assert_eq!(bench.at(1_000), ["write v2, before v1"], "tried again");
    assert_eq!(bench.written(), ["tookover", "done 1", "route 0>1 retire 0", "build 2 v1"]);
}

#[test]
fn a_deploy_that_cannot_be_written_is_refused_in_the_end() {
    let mut bench = Bench::new(&[], 1);
    bench.deploy(1, "v2");
    bench.built(1);
    for attempt in 1..5 {
        bench.not_written(failed());
        bench.at(attempt * 1_000);
    }
    let refused = "refused 1: it cannot be written down: disk full";
    assert_eq!(bench.not_written(failed()), [refused, "route retire 1"]);
}

/// A bad version must go even when the disk is full.
#[test]
fn a_rollback_takes_effect_even_if_it_cannot_be_written() {
    let mut bench = Bench::new(&[], 1);
    bench.replaced("v2", 1);
    bench.gave_up(1);
    for attempt in 1..5 {
        bench.not_written(failed());
        bench.at(attempt * 1_000);
    }
    assert_eq!(bench.not_written(failed()), ["unwritten", "rolled back v2: broken", "route 0>2 retire 1"]);
}

#[test]
fn a_host_follows_what_another_wrote() {
    let mut bench = Bench::new(&[Wave::Percent(50)], 2);
    let canary = other(&bench.stored, |next| begin(next, "z"));
    bench.stored = canary.clone();
    // Its own shards as well, as many as the wave wants.
    assert_eq!(bench.on(Event::Changed(canary)), ["write v1, v2 in wave 0 on a z", "build 1 v2"]);
    assert_eq!(bench.written(), NONE);
    assert_eq!(bench.built(1), ["route 0>1"]);
    let stale = Deployment::first(ModuleId::labelled("v0"));
    assert_eq!(bench.on(Event::Changed(stale)), NONE);
}

/// The other host was first, with the same: nothing is left to do.
#[test]
fn who_comes_second_decides_anew() {
    let mut bench = Bench::new(&[], 1);
    bench.deploy(1, "v2");
    bench.built(1);
    let first = other(&bench.stored, |next| next.take_over(ModuleId::labelled("v2"), 60_000));
    let actions = bench.not_written(WriteError::Changed(Box::new(first)));
    assert_eq!(actions, ["done 1", "route 0>1 retire 0", "build 2 v1"]);

    let mut bench = Bench::new(&[], 1);
    bench.deploy(1, "v2");
    bench.built(1);
    let first = other(&bench.stored, |next| next.take_over(ModuleId::labelled("v3"), 60_000));
    let actions = bench.not_written(WriteError::Changed(Box::new(first)));
    assert_eq!(actions[0], "write v2, before v3");
    bench.written();
    assert_eq!(describe(bench.rollout.deployment()), "v2, before v3");
}

#[test]
fn what_another_host_deployed_and_does_not_run_here_stops_the_job() {
    let mut bench = Bench::new(&[], 1);
    let taken_over = other(&bench.stored, |next| {
        next.take_over(ModuleId::labelled("v2"), 60_000);
        next.previous = None;
    });
    bench.stored = taken_over.clone();
    assert_eq!(bench.on(Event::Changed(taken_over)), ["build 1 v2"]);
    let result = Err("its module is not on this host".to_owned());
    let failure = "fail: version 763200000000 cannot run here: its module is not on this host";
    assert_eq!(bench.on(Event::Built { instance: 1, result })[0], failure);
}

#[test]
fn a_deployment_survives_its_file() {
    let mut bench = Bench::new(&[Wave::Shards(1)], 2);
    bench.replaced("v2", 1);
    bench.deploy(3, "v3");
    bench.built(3);
    bench.written();
    let text = serde_json::to_string(&bench.stored).unwrap();
    assert_eq!(serde_json::from_str::<Deployment>(&text).unwrap(), bench.stored, "{text}");
}
