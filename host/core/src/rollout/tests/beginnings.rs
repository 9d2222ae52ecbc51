//! What a job begins with, what a host makes of what it finds, and what operators ask of a job that is down: as tables.

use std::collections::BTreeSet;

use crate::module::ModuleId;
use crate::rollout::{
    AtRest, Begin, Candidate, Deployment, Found, Offer, Previous, Quarantined, Then, at_rest, begin, found,
};

fn current(module: &str) -> Deployment {
    Deployment::first(ModuleId::labelled(module))
}

fn after(previous: &str, deployment: Deployment) -> Deployment {
    Deployment { previous: Some(Previous { module: ModuleId::labelled(previous), warm_until: 0 }), ..deployment }
}

fn beside(candidate: &str, deployment: Deployment) -> Deployment {
    let (shards, others) = (["a".to_owned()].into(), BTreeSet::new());
    let candidate = Candidate { module: ModuleId::labelled(candidate), wave: 0, since: 0, shards, others };
    Deployment { candidate: Some(candidate), ..deployment }
}

fn without(bad: &str, deployment: Deployment) -> Deployment {
    let quarantined = vec![Quarantined { module: ModuleId::labelled(bad), reason: "it trapped".to_owned() }];
    Deployment { quarantined, ..deployment }
}

fn new(module: &str) -> Offer {
    Offer { module: ModuleId::labelled(module), has_waves: false, had_its_chance: false }
}

#[test]
fn a_job_begins_with_what_the_deployment_says_until_something_better_is_admitted() {
    let resume = Begin::Resume;
    let in_waves = Offer { has_waves: true, ..new("v2") };
    let left = Offer { had_its_chance: true, ..new("v2") };
    let refused = Then::Refuse("it was rolled back before: it trapped".to_owned());
    let table = [
        (None, None, Begin::Nothing, "nothing is there"),
        (None, Some(new("v1")), Begin::First, "nothing was ever deployed"),
        (
            Some(current("v1")),
            None,
            resume(Then::Nothing),
            "what is in the directory is missing, bad or not checked yet",
        ),
        (Some(current("v1")), Some(new("v1")), resume(Then::Nothing), "it is the current one"),
        (Some(current("v1")), Some(new("v2")), Begin::TakeOver, "it is new"),
        (Some(current("v1")), Some(in_waves), resume(Then::Deploy), "it is to be a candidate"),
        (Some(current("v1")), Some(left), resume(Then::Nothing), "it was left on purpose"),
        (Some(after("v2", current("v1"))), Some(left), resume(Then::Nothing), "it was left on purpose, and is kept"),
        (Some(without("v2", current("v1"))), Some(new("v2")), resume(refused.clone()), "it was rolled back"),
        (Some(without("v2", current("v1"))), Some(left), resume(refused), "it was rolled back, and had its chance"),
        (Some(without("v2", current("v1"))), Some(new("v3")), Begin::TakeOver, "another one was rolled back"),
        (Some(beside("v2", current("v1"))), Some(new("v2")), resume(Then::Nothing), "it is the candidate"),
        (Some(beside("v2", current("v1"))), Some(new("v1")), resume(Then::Nothing), "the candidate goes on"),
        (Some(beside("v2", current("v1"))), Some(new("v3")), resume(Then::Deploy), "it replaces the candidate"),
    ];
    for (holds, offer, expected, why) in table {
        assert_eq!(begin(holds.as_ref(), offer), expected, "{why}");
    }
}

fn at(revision: u64, module: &str) -> Deployment {
    Deployment { revision, ..current(module) }
}

#[test]
fn what_is_lost_is_written_again_and_what_is_newer_is_followed() {
    let runs = at(5, "v2");
    let table = [
        (Some(at(5, "v2")), Found::Same, "nothing changed"),
        (Some(at(6, "v1")), Found::Newer, "another host wrote"),
        (None, Found::Lost(at(5, "v2")), "the directory is gone"),
        (Some(at(4, "v1")), Found::Lost(at(5, "v2")), "another directory, or an old copy of it, is in its place"),
        (Some(at(5, "v1")), Found::Lost(at(6, "v2")), "so it is, and nobody can say which is later"),
    ];
    for (written, expected, why) in table {
        assert_eq!(found(&runs, written.as_ref()), expected, "{why}");
    }
}

/// Whatever two hosts knew of what is lost, they do not write in turns.
#[test]
fn hosts_that_lost_their_directory_come_to_one_deployment() {
    for (first, second) in [(at(5, "v2"), at(5, "v1")), (at(5, "v2"), at(4, "v1")), (at(4, "v2"), at(5, "v1"))] {
        let (mut hosts, mut written, mut writes) = ([first, second], None, 0);
        for _ in 0..10 {
            for host in &mut hosts {
                match found(host, written.as_ref()) {
                    Found::Same => {}
                    Found::Newer => host.clone_from(written.as_ref().expect("it is newer than nothing")),
                    Found::Lost(next) => {
                        written = Some(next);
                        writes += 1;
                    }
                }
            }
        }
        assert_eq!(hosts[0], hosts[1]);
        assert!(writes <= 3, "{writes} writes");
    }
}

#[test]
fn an_operator_goes_back_on_and_to_any_version_of_a_job_that_is_down() {
    let back = |version: Option<&str>| AtRest::RollBack { version: version.map(|it| ModuleId::labelled(it).digits()) };
    let to = |module: &str| AtRest::SwitchTo(ModuleId::labelled(module));
    let table = [
        (after("v1", current("v2")), back(None), Ok(Some("v1")), "the version before comes back"),
        (after("v1", current("v2")), back(Some("v2")), Ok(Some("v1")), "it is the one that is meant"),
        (after("v1", current("v2")), back(Some("v3")), Ok(None), "what is meant is gone already"),
        (beside("v3", after("v1", current("v2"))), back(None), Ok(Some("v2")), "the candidate goes"),
        (current("v1"), back(None), Err("there is no version before it"), "there is nothing to go back to"),
        (current("v1"), to("v2"), Ok(Some("v2")), "any version that is named"),
        (without("v2", current("v1")), to("v2"), Ok(Some("v2")), "also one that was found bad"),
        (current("v1"), to("v1"), Ok(None), "it is so already"),
        (beside("v2", current("v1")), to("v1"), Ok(Some("v1")), "the current one, without the candidate"),
        (beside("v2", current("v1")), AtRest::Promote, Ok(Some("v2")), "the candidate takes over"),
        (current("v1"), AtRest::Promote, Err("there is no candidate to promote"), "there is none"),
    ];
    for (holds, asked, expected, why) in table {
        let next = at_rest(&holds, &asked, 7);
        let found = next.as_ref().map(|next| next.as_ref().map(|next| next.current.label())).map_err(String::as_str);
        assert_eq!(found, expected, "{why}");
        if let Ok(Some(next)) = next {
            assert_eq!((next.revision, &next.candidate), (holds.revision + 1, &None), "{why}");
            assert!(next.quarantine(next.current).is_none(), "{why}");
        }
    }
    let next = at_rest(&after("v1", current("v2")), &back(None), 7).expect("there is one").expect("it changes");
    assert!(next.quarantine(ModuleId::labelled("v2")).is_some(), "what is rolled back is not tried again by itself");
}

#[test]
fn a_reason_that_is_written_down_has_a_bound() {
    let bad = after("v1", current("v2"));
    let mut next = bad.clone();
    next.roll_back(ModuleId::labelled("v2"), &"é".repeat(100_000));
    let reason = next.quarantine(ModuleId::labelled("v2")).expect("it is in quarantine");
    assert!(reason.len() <= 8 << 10 && reason.len() > 8_000);
}
