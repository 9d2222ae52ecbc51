//! The reference for programs is complete.

use serde_json::Value;

use super::*;

const REFERENCE: &str = include_str!("../../../../STATUS.md");

fn full() -> HostReport {
    let rejection = Rejection { module: "a@1".to_owned(), reason: "bad".to_owned(), rolled_back: true };
    let candidate = CandidateReport { module: "a@1".to_owned(), wave: 1, waves: 2, since: 3, shards: 4, of_shards: 5 };
    let rollout = RolloutReport {
        revision: 1,
        candidate: Some(candidate),
        previous: None,
        previous_warm_until: None,
        quarantined: vec![rejection.clone()],
        starting: None,
        last: None,
        swaps: 1,
        last_pause_us: None,
        longest_pause_us: None,
    };
    let shard = ShardReport {
        stream: "lines".to_owned(),
        shard: "shard".to_owned(),
        module: None,
        waiting: 0,
        behind_ms: None,
        is_finished: false,
    };
    let mut job = of_job("a", &Job::default(), &Entry::default(), 0);
    (job.rejected, job.rollout, job.shards) = (Some(rejection), Some(rollout), vec![shard]);
    HostReport {
        pid: 1,
        is_ready: true,
        tasks: "/tasks".to_owned(),
        device: Some(1),
        inode: Some(2),
        problems: Vec::new(),
        passed_over: Vec::new(),
        jobs: vec![job],
    }
}

fn fields(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| {
            found.push(name.clone());
            fields(value, found);
        }),
        Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

#[test]
fn every_field_is_in_the_reference() {
    let mut found = Vec::new();
    fields(&serde_json::to_value(full()).unwrap(), &mut found);
    assert!(found.len() > 40, "{found:?}");
    let missing: Vec<&String> = found.iter().filter(|name| !REFERENCE.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "STATUS.md lacks {missing:?}");
}

/// A program that is older or newer than the host reads what it knows.
#[test]
fn what_a_host_says_is_read_back() {
    let mut value = serde_json::to_value(full()).unwrap();
    assert_eq!(serde_json::from_value::<HostReport>(value.clone()).unwrap(), full());
    value["jobs"][0]["of a later version"] = 1.into();
    value["jobs"][0].as_object_mut().unwrap().remove("traps");
    serde_json::from_value::<HostReport>(value).unwrap();
}
