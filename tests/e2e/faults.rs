//! Kinesis in trouble: throttles, failures, expired iterators, lost replies. Every record still leaves exactly once.

use std::time::Duration;

use shardmill_local::model::ErrorKind;
use shardmill_local::{Fault, FaultAction, Options};
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Producer, assert_each_once, assert_keys_in_order, assert_shards_in_order};
use shardmill_tests::wait::until;

use crate::job::Job;
use crate::process::run;

/// Drains 1,000 records while these faults strike; each strikes its call a few times.
async fn drain_under(account: &Account, faults: Vec<Fault>) {
    account.stream("lines", 2);
    let mut producer = Producer::new(20);
    producer.put(account.kinesis(), "lines", 500);
    let handles: Vec<_> = faults.into_iter().map(|fault| account.faults().inject(fault)).collect();
    // Small answers: many calls for the faults to strike.
    let job = Job::start(&account.properties(&["lines"]).kcl("MaxRecords", "50")).await;
    job.processed(300).await;
    producer.put(account.kinesis(), "lines", 500);
    job.processed(1_000).await;
    job.caught_up().await;
    job.stop().await;

    for handle in handles {
        assert!(handle.hits() > 0, "a fault never struck");
    }
    let (echoes, records) = (echoes::read(&account.output()), account.records("lines"));
    assert_each_once(&echoes, &records);
    assert_shards_in_order(&echoes);
    assert_keys_in_order(&echoes);
}

fn error(kind: ErrorKind, operation: &str) -> Fault {
    Fault::new(FaultAction::Error(kind)).operation(operation)
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_and_failures_of_the_service_are_waited_out() {
    let throttle = error(ErrorKind::ProvisionedThroughputExceeded, "GetRecords").skip(2).times(3);
    let failure = error(ErrorKind::InternalFailure, "GetRecords").skip(6).times(2);
    let absent = error(ErrorKind::ServiceUnavailable, "GetShardIterator").times(2);
    let busy = error(ErrorKind::LimitExceeded, "ListShards").times(2);
    drain_under(&Account::new(), vec![throttle, failure, absent, busy]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_cannot_be_read_for_long_is_in_the_log_and_so_is_its_return() {
    let account = Account::new();
    account.stream("lines", 1);
    account.configure(&account.properties(&["lines"]));
    let fault = account.faults().inject(error(ErrorKind::InternalFailure, "GetRecords"));
    let process = run(&account, "run.log", &[]);
    let logged = async |text: &str| until(text, async || process.log().contains(text).then_some(())).await;

    logged("cannot be read; retrying").await;
    assert!(process.log().contains("error=GetRecords: "), "{}", process.log());
    fault.remove();
    logged("can be read again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_and_slow_answers_repeat_nothing() {
    let lost = Fault::new(FaultAction::LoseReply).operation("GetRecords").skip(1).times(4);
    let lost_iterator = Fault::new(FaultAction::LoseReply).operation("GetShardIterator").times(1);
    let slow = Fault::new(FaultAction::Latency(Duration::from_millis(100))).operation("GetRecords").skip(8).times(4);
    drain_under(&Account::new(), vec![lost, lost_iterator, slow]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_iterators_leave_no_gap_and_no_repeat() {
    let expired = error(ErrorKind::ExpiredIterator, "GetRecords").skip(1).times(6);
    drain_under(&Account::new(), vec![expired]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn iterators_that_expire_by_themselves_while_the_task_is_slow_are_renewed() {
    let iterator_ttl = Duration::from_millis(100);
    let account = Account::with(Options { limits: false, iterator_ttl, ..Options::default() });
    account.stream("lines", 1);
    Producer::new(5).put(account.kinesis(), "lines", 60);
    let properties = account.properties(&["lines"]).set("task.config.pause.ms", "10");
    let job = Job::start(&properties.kcl("MaxRecords", "20").kcl("MaxRecordsCount", "20")).await;
    job.processed(60).await;
    job.stop().await;

    assert_each_once(&echoes::read(&account.output()), &account.records("lines"));
}

/// Many workers that start at once ask DynamoDB for their tables more often than it likes.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_throttled_waits_for_its_table() {
    let account = Account::new();
    account.stream("lines", 1);
    let throttle = FaultAction::Error(ErrorKind::ProvisionedThroughputExceeded);
    // More often than the client asks by itself.
    let fault = account.dynamodb_faults().inject(Fault::new(throttle).operation("DescribeTable").times(8));
    Producer::new(10).put(account.kinesis(), "lines", 10);
    let job = Job::start(&account.properties(&["lines"])).await;
    job.processed(10).await;
    assert_eq!(fault.hits(), 8);
    job.stop().await;
}
