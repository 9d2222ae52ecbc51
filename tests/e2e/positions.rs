//! Where a job without checkpoints starts. (From the beginning: every other test.)

use std::time::Duration;

use shardmill_local::{Clock, Options};
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Producer, assert_each_once};
use shardmill_tests::wait::until;

use crate::job::Job;
use crate::process::run;

#[tokio::test(flavor = "multi_thread")]
async fn latest_starts_with_what_arrives_next_and_goes_on_from_there() {
    let account = Account::new();
    account.stream("lines", 2);
    let mut producer = Producer::new(10);
    producer.put(account.kinesis(), "lines", 100);

    let properties = account.properties(&["lines"]).kcl("InitialPositionInStream", "LATEST");
    let job = Job::start(&properties).await;
    let answered = async || {
        let shards = job.status().shards;
        (shards.len() == 2 && shards.values().all(|shard| shard.behind.is_some())).then_some(())
    };
    until("both shards are read at their tip", answered).await;
    producer.put(account.kinesis(), "lines", 100);
    job.processed(100).await;
    job.stop().await;
    // A restart is no first start: what came meanwhile is read.
    producer.put(account.kinesis(), "lines", 100);
    let job = Job::start(&properties).await;
    job.processed(100).await;
    job.stop().await;

    let numbered_10_and_later = |text: &[u8]| text.rsplit(|byte| *byte == b' ').next().is_some_and(|n| n.len() > 1);
    let mut records = account.records("lines");
    records.retain(|record| numbered_10_and_later(&record.data));
    assert_each_once(&echoes::read(&account.output()), &records);
}

/// A job at LATEST that comes to an end before its first checkpoint has its place all the same: what arrives while nobody
/// runs is read by the next one. By polling, and by fan-out.
#[tokio::test(flavor = "multi_thread")]
async fn latest_has_a_place_from_the_first_contact_on() {
    for retrieval in ["POLLING", "FANOUT"] {
        let account = Account::new();
        account.stream("lines", 2);
        let properties = account.properties(&["lines"]).kcl("InitialPositionInStream", "LATEST");
        let properties = properties.kcl("WorkerId", "worker").kcl("RetrievalMode", retrieval);
        account.configure(&properties);
        let mut process = run(&account, "first.log", &[]);
        until("both leases are held", async || {
            let rows = account.leases("lines").await;
            (rows.len() == 2 && rows.iter().all(|row| row.owner.is_some())).then_some(())
        })
        .await;
        process.crash();

        let mut producer = Producer::new(10);
        producer.put(account.kinesis(), "lines", 100);
        let job = Job::start(&properties).await;
        job.processed(100).await;
        job.caught_up().await;
        job.stop().await;
        assert_each_once(&echoes::read(&account.output()), &account.records("lines"));
    }
}

/// A task that traps on the first record of a shard at LATEST gets it again: nothing is committed that it could be
/// after.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_record_after_latest_is_not_skipped_by_a_trap() {
    let account = Account::new();
    account.stream("lines", 1);
    let properties = account.properties(&["lines"]).kcl("InitialPositionInStream", "LATEST");
    let properties = properties.set("task.commit.ms", "60000");
    let job = Job::start(&properties).await;
    until("the shard is read at its tip", async || {
        let shards = job.status().shards;
        shards.values().any(|shard| shard.behind.is_some()).then_some(())
    })
    .await;
    let mut producer = Producer::new(10);
    producer.put_with(account.kinesis(), "lines", 1, "!trap 1");
    producer.put(account.kinesis(), "lines", 20);
    job.processed(21).await;
    job.stop().await;
    assert_each_once(&echoes::read(&account.output()), &account.records("lines"));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_timestamp_starts_with_the_first_record_of_that_moment() {
    const START: u64 = 1_700_000_000_000;
    let clock = Clock::manual(START);
    let account = Account::with(Options { limits: false, clock: clock.clone(), ..Options::default() });
    account.stream("lines", 2);
    let mut producer = Producer::new(10);
    producer.put(account.kinesis(), "lines", 50);
    clock.advance(Duration::from_secs(10));
    producer.put(account.kinesis(), "lines", 60);

    let properties = account.properties(&["lines"]).kcl("InitialPositionInStream", "AT_TIMESTAMP");
    let properties = properties.kcl("TimestampAtInitialPositionInStream", &(START + 10_000).to_string());
    let job = Job::start(&properties).await;
    job.processed(60).await;
    job.caught_up().await;
    job.stop().await;

    let mut records = account.records("lines");
    records.retain(|record| record.arrival == START + 10_000);
    assert_each_once(&echoes::read(&account.output()), &records);
}
