//! A canary on two hosts that share what they know of it: each gives it some of its shards, and a shard keeps its version
//! wherever it goes. The real binary; every record and every version is accounted for.

use std::collections::BTreeSet;

use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until_blocking;

use crate::fleet::blocking;
use crate::swap_fleet::{SHARDS, SwapFleet, Version, named};

/// Half of the shards of each host, until somebody promotes it. A version `v2` traps where the file `bad` is.
fn settings(properties: Properties) -> Properties {
    let properties = properties.set("task.rollout", "canary").set("task.rollout.waves", "50%");
    Version::new("v2").order(properties.set("task.rollout.bake.ms", "3600000"), "process", "if bad trap")
}

/// Two hosts with two shards each, of which one is on `v2`.
fn two_hosts(title: &str) -> (SwapFleet, [String; 2], BTreeSet<String>) {
    let mut swaps = SwapFleet::new(title, settings);
    let hosts = [swaps.start(&[]), swaps.start(&[])];
    until_blocking("each host has two shards", || {
        hosts.iter().all(|host| swaps.fleet.held(host).len() == 2).then_some(())
    });
    swaps.processes(&Version::new("v1"), SHARDS as usize);
    swaps.put(&Version::new("v2"));
    let both = swaps.written("the canary has two shards", |deployment| {
        deployment.candidate.as_ref().is_some_and(|candidate| candidate.shards.len() == 2)
    });
    let shards = both.candidate.map(|candidate| candidate.shards).unwrap_or_default();
    for host in &hosts {
        let held = swaps.fleet.held(host);
        let on_canary = held.iter().filter(|shard| shards.contains(&named(shard))).count();
        assert_eq!(on_canary, 1, "{host} holds {held:?}; on the canary are {shards:?}");
        swaps.processes_of(host, &Version::new("v2"), 1);
    }
    (swaps, hosts, shards)
}

fn canary_of(swaps: &SwapFleet) -> BTreeSet<String> {
    swaps.deployment().and_then(|deployment| deployment.candidate).map(|candidate| candidate.shards).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_keeps_its_version_whichever_host_has_it() {
    blocking(|| {
        let (mut swaps, [first, second], shards) = two_hosts("a canary on two hosts");
        let third = swaps.start(&[]);
        until_blocking("a host that starts in the middle gets a shard", || {
            (!swaps.fleet.held(&third).is_empty()).then_some(())
        });
        swaps.crash(&first);
        until_blocking("the shards of the dead one are read by the others", || {
            (swaps.fleet.held(&second).len() + swaps.fleet.held(&third).len() == SHARDS as usize).then_some(())
        });
        swaps.goes_on(&shards);
        assert_eq!(canary_of(&swaps), shards, "who has a shard changes nothing");
        swaps.stop(&second);
        until_blocking("one host has all", || (swaps.fleet.held(&third).len() == SHARDS as usize).then_some(()));
        swaps.goes_on(&shards);
        assert_eq!(canary_of(&swaps), shards, "who has a shard changes nothing");
        let said = swaps.tell(&["promote", "echo"]);
        assert!(said.status.success(), "{said:?}");
        swaps.alone(&Version::new("v2"));
        swaps.processes(&Version::new("v2"), SHARDS as usize);
        swaps.finish();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_traps_on_one_host_goes_back_on_both() {
    blocking(|| {
        let (swaps, hosts, _) = two_hosts("a canary that traps on one of two hosts");
        swaps.shut(&hosts[1], "bad");
        let deployment = swaps.alone(&Version::new("v1"));
        assert!(deployment.quarantine(Version::new("v2").id).is_some_and(|why| why.contains("trap")), "{deployment:?}");
        for host in &hosts {
            swaps.processes_of(host, &Version::new("v1"), 2);
        }
        // The next one is tried by both.
        swaps.put(&Version::new("v3"));
        swaps.written("the next canary has two shards", |deployment| {
            let candidate = deployment.candidate.as_ref();
            candidate.is_some_and(|candidate| candidate.module == Version::new("v3").id && candidate.shards.len() == 2)
        });
        for host in &hosts {
            swaps.processes_of(host, &Version::new("v3"), 1);
        }
        swaps.finish();
    });
}
