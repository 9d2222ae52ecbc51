//! Records that hold many user records, as the Kinesis Producer Library writes them: each user record is an envelope with
//! a key and a position of its own.

use std::collections::BTreeMap;

use shardmill_core::position::{Checkpoint, Position};
use shardmill_local::Record;
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Echo, assert_each_at_least_once, assert_each_once};
use shardmill_tests::kpl::{self, UserRecord};

use crate::job::Job;

/// So many user records, whose keys take turns and whose messages are `key number`.
fn users(from: usize, count: usize) -> Vec<UserRecord> {
    let user = |number| {
        let key = format!("key-{}", number % 7);
        UserRecord::new(&key, format!("{key} {number}").as_bytes())
    };
    (from..from + count).map(user).collect()
}

/// Puts an aggregate into the shard of `key`; its user records as records of their own, to compare outputs with.
fn put(account: &Account, key: &str, users: &[UserRecord]) -> Vec<Record> {
    put_body(account, key, &kpl::aggregate(users), users)
}

fn put_body(account: &Account, key: &str, body: &[u8], users: &[UserRecord]) -> Vec<Record> {
    let written = account.kinesis().put_record("lines", key, body).unwrap();
    let record = |user: &UserRecord| Record {
        shard_id: written.shard_id.clone(),
        sequence_number: written.sequence_number.clone(),
        arrival: 0,
        partition_key: Some(user.key.clone()),
        data: user.data.clone(),
    };
    users.iter().map(record).collect()
}

fn by_shard(echoes: impl IntoIterator<Item = Echo>) -> BTreeMap<String, Vec<Echo>> {
    let mut shards: BTreeMap<String, Vec<Echo>> = BTreeMap::new();
    for echo in echoes {
        shards.entry(echo.shard.clone()).or_default().push(echo);
    }
    shards
}

/// The committed position of the only shard.
async fn committed(account: &Account) -> Position {
    let rows = account.leases("lines").await;
    match &rows[..] {
        [row] => match &row.checkpoint {
            Checkpoint::At(position) => position.clone(),
            other => panic!("no position is committed: {other}"),
        },
        other => panic!("expected one row: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_record_leaves_once_in_order_with_its_own_key() {
    leaves_once_in_order("POLLING").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_record_leaves_once_by_fan_out_too() {
    leaves_once_in_order("FANOUT").await;
}

async fn leaves_once_in_order(retrieval: &str) {
    let account = Account::new();
    account.stream("lines", 2);
    let mut records = Vec::new();
    for step in 0..40 {
        let aggregated = users(step * 25, 24);
        records.extend(put(&account, &format!("carrier-{step}"), &aggregated));
        let plain = users(step * 25 + 24, 1);
        records.extend(put_body(&account, &plain[0].key, &plain[0].data, &plain));
    }

    let job = Job::start(&account.properties(&["lines"]).kcl("RetrievalMode", retrieval)).await;
    job.processed(1_000).await;
    job.caught_up().await;
    let shards = job.status().shards;
    job.stop().await;

    assert_eq!(by_shard(echoes::read(&account.output())), by_shard(records.iter().map(Echo::from)));
    assert_eq!(shards.values().map(|shard| shard.aggregation.aggregates).sum::<u64>(), 40);
    let foreign: u64 = shards.values().map(|shard| shard.aggregation.foreign).sum();
    assert!((1..960).contains(&foreign), "keys of both shards were put into each: {foreign}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_inside_an_aggregate_goes_on_with_the_next_user_record() {
    let account = Account::new();
    account.stream("lines", 1);
    let mut aggregated = users(0, 300);
    aggregated[150].data.extend(b"!reject");
    let mut records = put(&account, "first", &aggregated);
    records.extend(put(&account, "second", &users(300, 100)));
    let position = |record: &Record, sub_sequence| {
        let sequence = record.sequence_number.parse().unwrap();
        Position { sequence, sub_sequence }
    };

    let job = Job::start(&account.properties(&["lines"])).await;
    let failure = job.failure().await;
    assert!(failure.contains(&position(&records[0], 150).to_string()), "{failure}");
    assert_each_once(&echoes::read(&account.output()), &records[..150]);
    assert_eq!(committed(&account).await, position(&records[0], 149));

    // A task that does not mind goes on.
    let output = account.path("filtered.jsonl");
    let properties = account.properties(&["lines"]).set("systems.out.file.path", &output.display().to_string());
    let properties = properties.set("task.class", "filter-batch").set("task.config.pattern", "key-");
    let job = Job::start(&properties.set("task.config.output", "out.filtered")).await;
    job.processed(250).await;
    job.stop().await;
    let line = |record: &Record| {
        let (key, message) = (record.partition_key.as_deref(), String::from_utf8_lossy(&record.data).to_uppercase());
        format!(r#"{{"stream":"filtered","key":"{}","message":"{message}"}}"#, key.unwrap_or_default())
    };
    let expected: Vec<String> = records[150..].iter().map(line).collect();
    let text = std::fs::read_to_string(output).unwrap();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert_eq!(committed(&account).await, position(&records[399], 99));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_inside_an_aggregate_costs_no_user_record() {
    let account = Account::new();
    account.stream("lines", 1);
    let mut aggregated = users(0, 100);
    aggregated[60].data = b"key-4 60!trap 1".to_vec();
    let records = put(&account, "carrier", &aggregated);

    let job = Job::start(&account.properties(&["lines"]).set("task.batch.max.records", "10")).await;
    job.caught_up().await;
    job.stop().await;

    assert_each_at_least_once(&echoes::read(&account.output()), &records);
    assert_eq!(committed(&account).await.sub_sequence, 99);
}
