//! A task that is slow holds back the reader: what is fetched ahead of it is bounded.

use shardmill_local::{Fault, FaultAction};
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Producer, assert_each_once};
use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until;

use crate::job::Job;

const RECORDS: usize = 200;
const PER_CALL: usize = 10;

/// Drains a stream with a slow task; returns how far ahead of the task the reader was at most, in records.
async fn furthest_ahead(bound: impl FnOnce(Properties) -> Properties) -> usize {
    let account = Account::new();
    account.stream("lines", 1);
    Producer::new(1).put(account.kinesis(), "lines", RECORDS);
    // Counts the calls, harms none.
    let calls = account.faults().inject(Fault::new(FaultAction::Latency(Default::default())).operation("GetRecords"));
    let properties = account.properties(&["lines"]).set("task.config.pause.ms", "5");
    let properties = properties.kcl("IdleTimeBetweenReadsInMillis", "2");
    let job = Job::start(&bound(properties.kcl("MaxRecords", &PER_CALL.to_string()))).await;
    let mut furthest = 0;
    until("everything is processed", async || {
        // In this order: what is processed between the two looks must not count as being ahead.
        let fetched = RECORDS.min(calls.hits() as usize * PER_CALL);
        let processed = usize::try_from(job.status().processed).unwrap();
        furthest = furthest.max(fetched.saturating_sub(processed));
        (processed == RECORDS).then_some(())
    })
    .await;
    job.stop().await;
    assert_each_once(&echoes::read(&account.output()), &account.records("lines"));
    furthest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_task_bounds_what_is_fetched_by_bytes_and_by_records() {
    // An answer of 10 records is more than 100 bytes, so there is never more than one.
    let by_bytes = furthest_ahead(|properties| properties.kcl("MaxCacheByteSize", "100")).await;
    let by_records = furthest_ahead(|properties| properties.kcl("MaxRecordsCount", "35")).await;
    let unbounded = furthest_ahead(|properties| properties).await;
    // The next call may be on its way while the last record of what was allowed is still being counted.
    assert!(by_bytes <= 2 * PER_CALL, "{by_bytes} records ahead");
    assert!(by_records <= 40 + PER_CALL, "{by_records} records ahead");
    assert!(unbounded > 100, "the bounds were not what held the reader back: {unbounded}");
}

/// Stops a job that has begun with 2 seconds of work, and lets another finish it.
async fn stop_amid_work(records_per_range: usize) {
    let account = Account::new();
    account.stream("lines", 1);
    Producer::new(1).put(account.kinesis(), "lines", RECORDS);
    let properties = account.properties(&["lines"]).set("task.batch.max.records", &records_per_range.to_string());
    let job = Job::start(&properties.clone().set("task.config.pause.ms", "10")).await;
    job.processed(1).await;
    job.stop().await;
    let before = echoes::read(&account.output()).len();
    assert!(before < RECORDS, "the stop waited for all {before}");

    let job = Job::start(&properties).await;
    job.processed(RECORDS - before).await;
    job.stop().await;
    assert_each_once(&echoes::read(&account.output()), &account.records("lines"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_what_is_queued() {
    stop_amid_work(PER_CALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_long_range_of_slow_calls() {
    stop_amid_work(RECORDS).await;
}
