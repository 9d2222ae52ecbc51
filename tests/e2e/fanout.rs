//! Reading by enhanced fan-out: the promises of the whole path hold while subscriptions end, break and are refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shardmill_core::position::Checkpoint;
use shardmill_local::model::{ConsumerRef, ErrorKind, StreamRef};
use shardmill_local::{Fault, FaultAction, FaultHandle, Kinesis, Options};
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{
    self, Producer, assert_each_at_least_once, assert_each_once, assert_keys_in_order, assert_shards_in_order,
};
use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until;

use crate::job::Job;
use crate::reshard::{assert_nothing_lost_or_swapped, reshard};

/// An account whose subscriptions are over in no time.
fn account(subscription_life: Duration) -> Account {
    Account::with(Options { limits: false, subscription_life, ..Options::default() })
}

fn soon() -> Account {
    account(Duration::from_millis(300))
}

fn fan_out(account: &Account) -> Properties {
    account.properties(&["lines"]).kcl("RetrievalMode", "FANOUT")
}

/// Counts the calls of an operation, harms none.
fn count(account: &Account, operation: &str) -> FaultHandle {
    account.faults().inject(Fault::new(FaultAction::Latency(Duration::ZERO)).operation(operation))
}

fn consumers(account: &Account) -> Vec<String> {
    let (kinesis, stream) = (account.kinesis(), StreamRef::from("lines"));
    kinesis.model().consumers(kinesis.now(), &stream).unwrap().into_iter().map(|it| it.arn).collect()
}

fn assert_once_in_order(account: &Account) {
    let (echoes, records) = (echoes::read(&account.output()), account.records("lines"));
    assert_each_once(&echoes, &records);
    assert_shards_in_order(&echoes);
    assert_keys_in_order(&echoes);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_leaves_once_in_order_over_restarts_as_one_consumer() {
    let account = soon();
    account.stream("lines", 4);
    let (polls, registrations) = (count(&account, "GetRecords"), count(&account, "RegisterStreamConsumer"));
    let mut producer = Producer::new(50);
    producer.put(account.kinesis(), "lines", 2_000);
    // The first run is stopped in the middle.
    let slow = fan_out(&account).set("task.config.pause.ms", "1").kcl("MaxRecordsCount", "1");
    let job = Job::start(&slow).await;
    job.processed(300).await;
    job.stop().await;
    assert!(echoes::read(&account.output()).len() < 2_000, "the first run was not stopped in the middle");
    let registered = consumers(&account);
    assert!(registered.len() == 1 && registered[0].contains("/consumer/test-1-lines:"), "{registered:?}");

    for _ in 0..2 {
        producer.put(account.kinesis(), "lines", 500);
        let job = Job::start(&fan_out(&account)).await;
        job.caught_up().await;
        producer.put(account.kinesis(), "lines", 500);
        let written = account.records("lines").len();
        let all = async || (echoes::read(&account.output()).len() == written).then_some(());
        until("everything has left", all).await;
        job.stop().await;
    }
    assert_once_in_order(&account);
    assert_eq!(consumers(&account), registered);
    assert_eq!((registrations.hits(), polls.hits()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_end_while_producers_write_leave_no_gap_and_no_repeat() {
    let account = soon();
    account.stream("lines", 3);
    let subscriptions = count(&account, "SubscribeToShard");
    let job = Job::start(&fan_out(&account)).await;
    let stop = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut producer, mut written) = (Producer::new(30), 0);
            while !stop.load(Ordering::Relaxed) {
                producer.put(account.kinesis(), "lines", 7);
                written += 7;
                std::thread::sleep(Duration::from_millis(1));
            }
            written
        });
        tokio::task::block_in_place(|| {
            let many = async || (subscriptions.hits() >= 30).then_some(());
            tokio::runtime::Handle::current().block_on(until("30 subscriptions", many));
        });
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    job.processed(written).await;
    job.caught_up().await;
    job.stop().await;
    assert_once_in_order(&account);
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_are_split_and_merged_meanwhile_keep_every_key_in_order() {
    let account = soon();
    account.stream("lines", 2);
    let mut producer = Producer::new(40);
    let job = Job::start(&fan_out(&account)).await;
    let to = |target: u32| move |kinesis: &Kinesis| kinesis.update_shard_count("lines", target).unwrap();
    let mut written = 0;
    for target in [4, 3] {
        written += reshard(&account, &mut producer, &[&to(target)]);
        job.processed(written).await;
        job.caught_up().await;
    }
    job.stop().await;
    assert_nothing_lost_or_swapped(&account).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_and_refused_subscriptions_leave_no_gap_and_no_repeat() {
    let account = soon();
    account.stream("lines", 2);
    let on = |action: FaultAction| Fault::new(action).operation("SubscribeToShard");
    let faults = [
        on(FaultAction::DropSubscription { after_events: 1 }).times(3),
        on(FaultAction::LoseReply).skip(3).times(1),
        on(FaultAction::DropSubscription { after_events: 2 }).skip(4).times(2),
        on(FaultAction::Error(ErrorKind::LimitExceeded)).skip(6).times(1),
        on(FaultAction::Error(ErrorKind::InternalFailure)).skip(7).times(1),
        on(FaultAction::Latency(Duration::from_millis(200))).skip(8).times(1),
    ];
    let faults = faults.map(|fault| account.faults().inject(fault));
    let mut producer = Producer::new(20);
    producer.put(account.kinesis(), "lines", 500);
    let job = Job::start(&fan_out(&account)).await;
    job.processed(300).await;
    producer.put(account.kinesis(), "lines", 500);
    job.processed(1_000).await;
    until("every fault has struck", async || faults.iter().all(|fault| fault.hits() > 0).then_some(())).await;
    producer.put(account.kinesis(), "lines", 500);
    job.processed(1_500).await;
    job.caught_up().await;
    job.stop().await;
    assert_once_in_order(&account);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_with_consumers_of_their_own_do_not_disturb_each_other() {
    let account = account(Duration::from_secs(300));
    account.stream("lines", 2);
    Producer::new(10).put(account.kinesis(), "lines", 500);
    let (output, named) = (account.path("named.jsonl"), |properties: Properties| {
        properties.set("job.name", "other").kcl("ConsumerName", "by-name")
    });
    let other = named(fan_out(&account)).set("systems.out.file.path", &output.display().to_string());
    let jobs = [Job::start(&fan_out(&account)).await, Job::start(&other).await];
    for job in jobs {
        job.processed(500).await;
        job.caught_up().await;
        job.stop().await;
    }
    assert_once_in_order(&account);
    assert_each_once(&echoes::read(&output), &account.records("lines"));
    let names: Vec<_> =
        consumers(&account).iter().map(|arn| arn.split(['/', ':']).nth(8).unwrap().to_owned()).collect();
    assert_eq!(names, ["test-1-lines", "by-name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_named_by_its_arn_must_be_there() {
    let account = soon();
    account.stream("lines", 1);
    Producer::new(1).put(account.kinesis(), "lines", 50);
    let (kinesis, stream) = (account.kinesis(), StreamRef::from("lines"));
    let arn = kinesis.model().register_consumer(kinesis.now(), &stream, "mine").unwrap().arn;
    let job = Job::start(&fan_out(&account).kcl("ConsumerArn", &arn)).await;
    job.processed(50).await;
    job.stop().await;
    assert_once_in_order(&account);
    assert_eq!(consumers(&account), std::slice::from_ref(&arn));

    let missing = arn.replace("/mine:", "/yours:");
    let reason = Job::start(&fan_out(&account).kcl("ConsumerArn", &missing)).await.failure().await;
    assert!(reason.contains(&format!("there is no consumer `{missing}`")), "{reason}");
    assert_eq!(consumers(&account), [arn]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_consumer_stops_the_job_and_ends_no_shard() {
    let account = soon();
    account.stream("lines", 2);
    Producer::new(10).put(account.kinesis(), "lines", 100);
    let job = Job::start(&fan_out(&account)).await;
    job.processed(100).await;
    let (kinesis, arn) = (account.kinesis(), consumers(&account).remove(0));
    kinesis.model().deregister_consumer(kinesis.now(), ConsumerRef::Arn(&arn)).unwrap();
    let reason = job.failure().await;
    assert!(reason.contains("of kinesis.lines: SubscribeToShard: ResourceNotFoundException"), "{reason}");
    let rows = account.leases("lines").await;
    assert!(rows.iter().all(|row| row.checkpoint != Checkpoint::ShardEnd && row.owner.is_none()), "{rows:#?}");
    // The next start registers it again and goes on.
    Producer::new(10).put(account.kinesis(), "lines", 50);
    let job = Job::start(&fan_out(&account)).await;
    job.processed(50).await;
    job.stop().await;
    assert_each_once(&echoes::read(&account.output()), &account.records("lines"));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_starts_with_what_arrives_next() {
    let account = soon();
    account.stream("lines", 2);
    Producer::new(10).put(account.kinesis(), "lines", 100);
    let before = account.records("lines");
    let job = Job::start(&fan_out(&account).kcl("InitialPositionInStream", "LATEST")).await;
    let answered = async || {
        let shards = job.status().shards;
        (shards.len() == 2 && shards.values().all(|shard| shard.behind.is_some())).then_some(())
    };
    until("both shards are read at their tip", answered).await;
    Producer::new(10).put(account.kinesis(), "lines", 100);
    job.processed(100).await;
    job.stop().await;
    let mut after = account.records("lines");
    after.retain(|record| !before.contains(record));
    assert_each_once(&echoes::read(&account.output()), &after);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_trap_what_is_not_committed_is_read_again() {
    let account = soon();
    account.stream("lines", 1);
    let mut producer = Producer::new(1);
    producer.put(account.kinesis(), "lines", 20);
    let job = Job::start(&fan_out(&account).set("task.commit.ms", "-1")).await;
    job.processed(20).await;
    producer.put_with(account.kinesis(), "lines", 1, "!trap 1");
    producer.put(account.kinesis(), "lines", 20);
    job.processed(20 + 41).await;
    assert_eq!(job.status().failed_calls, 1);
    job.stop().await;
    let (echoes, records) = (echoes::read(&account.output()), account.records("lines"));
    assert_each_at_least_once(&echoes, &records);
    let replay = echoes.iter().rposition(|echo| echo.sequence == records[0].sequence_number).unwrap();
    assert_each_once(&echoes[replay..], &records);
    assert_shards_in_order(&echoes[replay..]);
}

/// Drains 8 MB of records with a slow task; returns how many were delivered and not processed at most.
async fn most_waiting(bound: impl FnOnce(Properties) -> Properties) -> u64 {
    const RECORDS: usize = 160;
    let account = account(Duration::from_secs(300));
    account.stream("lines", 1);
    Producer::new(1).put_with(account.kinesis(), "lines", RECORDS, &"x".repeat(50_000));
    let job = Job::start(&bound(fan_out(&account).set("task.config.pause.ms", "5"))).await;
    let mut most = 0;
    until("everything is processed", async || {
        let status = job.status();
        most = most.max(status.shards.values().map(|shard| shard.waiting).sum());
        (status.processed == RECORDS as u64).then_some(())
    })
    .await;
    job.stop().await;
    assert_each_once(&echoes::read(&account.output()), &account.records("lines"));
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_task_bounds_what_is_delivered_ahead_of_it() {
    // An event has 10 of these records at most.
    let by_bytes = most_waiting(|properties| properties.kcl("MaxCacheByteSize", "100")).await;
    let by_records = most_waiting(|properties| properties.kcl("MaxRecordsCount", "25")).await;
    let unbounded = most_waiting(|properties| properties).await;
    assert!(by_bytes <= 10, "{by_bytes} records waiting");
    assert!(by_records <= 34, "{by_records} records waiting");
    assert!(unbounded > 60, "the bounds were not what held the reader back: {unbounded}");
}
