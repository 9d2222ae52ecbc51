//! Where a job without checkpoints starts. (From the beginning: every other test.)

use std::time::Duration;

use shardmill_local::{Clock, Options};
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Producer, assert_each_once};
use shardmill_tests::wait::until;

use crate::job::Job;

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
