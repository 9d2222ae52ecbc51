//! Another worker takes a lease: whoever lost it must let go at once, and of that shard only.

use shardmill_core::leases::{Lease, Outcome, Write};
use shardmill_core::position::Checkpoint;
use shardmill_local::Record;
use shardmill_local::model::{PutEntry, StreamRef};
use shardmill_tests::account::{Account, table_name};
use shardmill_tests::echoes::{self, Producer, assert_each_at_least_once, assert_each_once, assert_shards_in_order};
use shardmill_tests::wait::until;

use crate::job::Job;

const LOST: &str = "shardId-000000000000";
const KEPT: &str = "shardId-000000000001";

async fn row(account: &Account, shard: &str) -> Lease {
    account.leases("lines").await.into_iter().find(|row| row.key == shard).unwrap()
}

/// Takes the lease as a worker of another process does, and keeps it.
async fn take(account: &Account, shard: &str) -> Lease {
    let table = account.lease_table(&table_name("lines")).await;
    until("the lease is taken", async || {
        let seen = row(account, shard).await;
        let write = Write::Take { seen, worker: "intruder".to_owned() };
        // Not at the first attempt, when the owner renewed it in between.
        matches!(table.write(&write).await.unwrap(), Outcome::Done).then_some(())
    })
    .await;
    row(account, shard).await
}

fn of(shard: &str) -> impl Fn(&Record) -> bool {
    move |record| record.shard_id == shard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_taken_by_another_worker_is_let_go_and_never_checkpointed() {
    let account = Account::new();
    account.stream("lines", 2);
    let mut producer = Producer::new(20);
    producer.put(account.kinesis(), "lines", 200);
    // A renewal notices; no commit of this job happens to come first.
    let properties = account.properties(&["lines"]).set("task.commit.ms", "-1").kcl("FailoverTimeMillis", "6000");
    let job = Job::start(&properties).await;
    job.processed(200).await;
    let taken = take(&account, LOST).await;
    assert_eq!(taken.checkpoint, Checkpoint::TrimHorizon, "nothing was committed before");
    until("the job notices", async || {
        let shards = job.status().shards;
        (!shards.values().any(|shard| shard.shard == LOST)).then_some(())
    })
    .await;

    // It goes on with the other shard.
    producer.put(account.kinesis(), "lines", 200);
    let mut kept = account.records("lines");
    kept.retain(of(KEPT));
    let lost_before = 200 - kept.iter().filter(|record| is_one_of_the_first(record)).count();
    job.processed(lost_before + kept.len()).await;
    job.stop().await;

    let after = row(&account, LOST).await;
    assert_eq!((after.owner.as_deref(), after.counter), (Some("intruder"), taken.counter), "nobody else wrote to it");
    assert_eq!(after.checkpoint, Checkpoint::TrimHorizon);
    let other = row(&account, KEPT).await;
    assert_eq!(
        (&other.owner, other.checkpoint.sequence_text()),
        (&None, kept.last().unwrap().sequence_number.as_str())
    );

    let mut out = echoes::read(&account.output());
    assert_shards_in_order(&out);
    out.retain(|echo| echo.shard == KEPT);
    assert_each_once(&out, &kept);
}

/// Numbers of a key below 10, when there are 20 keys.
fn is_one_of_the_first(record: &Record) -> bool {
    record.data.rsplit(|byte| *byte == b' ').next().is_some_and(|number| number.len() == 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_taker_died_comes_back() {
    let account = Account::new();
    account.stream("lines", 1);
    let mut producer = Producer::new(20);
    producer.put(account.kinesis(), "lines", 100);
    let job = Job::start(&account.properties(&["lines"]).kcl("FailoverTimeMillis", "500")).await;
    job.processed(100).await;
    let taken = take(&account, LOST).await;
    producer.put(account.kinesis(), "lines", 100);
    until("the lease is this job's again, and everything processed", async || {
        let row = row(&account, LOST).await;
        let last = account.records("lines").swap_remove(199);
        (row.counter > taken.counter && row.checkpoint.sequence_text() == last.sequence_number).then_some(())
    })
    .await;
    job.stop().await;

    assert_each_at_least_once(&echoes::read(&account.output()), &account.records("lines"));
    assert_eq!(row(&account, LOST).await.owner, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lost_during_a_call_is_let_go_once_and_for_all() {
    let account = Account::new();
    account.stream("lines", 2);
    let (kinesis, now) = (account.kinesis(), account.kinesis().now());
    // The lowest hash key is the first shard's.
    let entry = PutEntry { data: b"key 0!sleep 2500", partition_key: Some("key"), explicit_hash_key: Some("0") };
    kinesis.model().put_record(now, &StreamRef::from("lines"), entry, None).unwrap();
    let properties = account.properties(&["lines"]).kcl("FailoverTimeMillis", "3000");
    let job = Job::start(&properties.set("task.commit.ms", "-1")).await;
    until("the call", async || {
        job.status().shards.values().any(|shard| shard.shard == LOST && shard.waiting == 1).then_some(())
    })
    .await;
    let taken = take(&account, LOST).await;
    job.processed(1).await;
    // Nothing is left to wait for: what the call did counts for nobody.
    job.caught_up().await;
    assert!(!job.status().shards.values().any(|shard| shard.shard == LOST));
    job.stop().await;

    let after = row(&account, LOST).await;
    assert_eq!((after.owner.as_deref(), after.counter), (Some("intruder"), taken.counter), "nobody else wrote to it");
    assert_eq!(after.checkpoint, Checkpoint::TrimHorizon);
}
