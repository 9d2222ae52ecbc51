//! Several workers on one lease table: they share the shards, and one of them keeps the table tidy.

use std::collections::BTreeSet;

use shardmill_core::position::Checkpoint;
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Producer, assert_each_at_least_once, assert_each_once, assert_keys_in_order};
use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until;

use crate::job::Job;

const KEYS: usize = 40;

/// A job that writes to a file of its own.
fn worker(account: &Account, name: &str) -> Properties {
    let output = account.path(name).display().to_string();
    account.properties(&["lines"]).set("systems.out.file.path", &output).kcl("WorkerId", name)
}

/// How many shards each of the workers reads, when all are read.
async fn loads(account: &Account, workers: &[&str]) -> Vec<usize> {
    let rows = account.leases("lines").await;
    let held = |worker: &&str| rows.iter().filter(|row| row.owner.as_deref() == Some(*worker)).count();
    workers.iter().map(held).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_gets_its_share_and_gives_it_back() {
    let account = Account::new();
    account.stream("lines", 4);
    let mut producer = Producer::new(KEYS);
    producer.put(account.kinesis(), "lines", 200);
    let first = Job::start(&worker(&account, "first")).await;
    first.processed(200).await;
    let second = Job::start(&worker(&account, "second").kcl("MaxLeasesToStealAtOneTime", "2")).await;
    until("each reads two shards", async || (loads(&account, &["first", "second"]).await == [2, 2]).then_some(()))
        .await;
    until("the first has let go", async || (first.status().shards.len() == 2).then_some(())).await;

    producer.put(account.kinesis(), "lines", 200);
    all_is_out(&account, &["first", "second"], 400).await;
    assert!(second.status().processed >= 50, "it reads about half of the shards");
    second.stop().await;
    until("the first reads all again", async || (loads(&account, &["first"]).await == [4]).then_some(())).await;
    producer.put(account.kinesis(), "lines", 200);
    all_is_out(&account, &["first", "second"], 600).await;
    first.stop().await;

    let mut out = echoes::read(&account.path("first"));
    out.extend(echoes::read(&account.path("second")));
    assert_each_at_least_once(&out, &account.records("lines"));
}

/// Waits until the workers together have written so many different records.
async fn all_is_out(account: &Account, workers: &[&str], records: usize) {
    until(&format!("{records} records are out"), async || {
        let out = workers.iter().flat_map(|worker| echoes::read(&account.path(worker)));
        let different: BTreeSet<String> = out.map(|echo| echo.text).collect();
        (different.len() == records).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_finished_shards_go_while_the_job_runs() {
    let account = Account::new();
    account.stream("lines", 1);
    let mut producer = Producer::new(KEYS);
    producer.put(account.kinesis(), "lines", 100);
    let properties = account.properties(&["lines"]).kcl("FailoverTimeMillis", "500");
    let cleanup = properties.kcl("CleanupLeasesUponShardCompletion", "true");
    let job = Job::start(&cleanup.kcl("CompletedLeaseCleanupThresholdMillis", "100")).await;
    job.processed(100).await;
    account.kinesis().split_shard_evenly("lines", "shardId-000000000000").unwrap();
    until("the children have leases", async || (account.leases("lines").await.len() == 3).then_some(())).await;
    producer.put(account.kinesis(), "lines", 100);
    job.processed(200).await;
    let rows =
        until("the parent's row is gone", async || Some(account.leases("lines").await).filter(|rows| rows.len() == 2))
            .await;
    assert_eq!([rows[0].key.as_str(), rows[1].key.as_str()], ["shardId-000000000001", "shardId-000000000002"]);
    assert!(rows.iter().all(|row| matches!(row.checkpoint, Checkpoint::At(_))), "{rows:?}");
    producer.put(account.kinesis(), "lines", 100);
    job.processed(300).await;
    job.stop().await;

    // A later start finds a table without the parent, and does not read it again.
    let job = Job::start(&account.properties(&["lines"])).await;
    job.caught_up().await;
    job.stop().await;
    assert_eq!(account.leases("lines").await.len(), 2);
    let out = echoes::read(&account.output());
    assert_each_once(&out, &account.records("lines"));
    assert_keys_in_order(&out);
}
