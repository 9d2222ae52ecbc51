//! SIGTERM and SIGINT stop a job in good order; a second one at once.

use shardmill_local::model::ErrorKind;
use shardmill_local::{Fault, FaultAction};
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Producer, assert_each_once, assert_shards_in_order};
use shardmill_tests::process::{Process, Signal};
use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until;

use crate::process::{run, run_ignoring_hang_ups, run_in_a_terminal};

/// Commits at the stop alone, and a failover time that nobody waits for: a successor that does not get its leases by a
/// release does not get them within this test.
fn patient(account: &Account) -> Properties {
    account.properties(&["lines"]).set("task.commit.ms", "-1").kcl("FailoverTimeMillis", "600000")
}

async fn stops_in_good_order(signal: Signal) {
    let account = Account::new();
    account.stream("lines", 2);
    let mut producer = Producer::new(10);
    producer.put(account.kinesis(), "lines", 400);
    account.configure(&patient(&account));
    let mut first = run_in_a_terminal(&account, "first.log");
    until("the first outputs", async || (!echoes::read(&account.output()).is_empty()).then_some(())).await;
    first.signal(signal);
    assert_eq!(first.wait().code(), Some(0), "{}", first.log());
    let rows = account.leases("lines").await;
    assert!(rows.iter().all(|row| row.owner.is_none()), "not released: {rows:#?}");

    producer.put(account.kinesis(), "lines", 100);
    let mut second = run(&account, "second.log", &["--until-caught-up"]);
    assert_eq!(second.wait().code(), Some(0), "{}", second.log());
    let echoes = echoes::read(&account.output());
    assert_each_once(&echoes, &account.records("lines"));
    assert_shards_in_order(&echoes);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_commits_and_releases_and_a_successor_starts_at_once() {
    stops_in_good_order(Signal::Terminate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_commits_and_releases_and_a_successor_starts_at_once() {
    stops_in_good_order(Signal::Interrupt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_closed_stops_it_in_good_order_too() {
    stops_in_good_order(Signal::HangUp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_started_by_nohup_outlives_its_terminal() {
    let account = Account::new();
    account.stream("lines", 2);
    let mut producer = Producer::new(10);
    producer.put(account.kinesis(), "lines", 100);
    account.configure(&account.properties(&["lines"]).set("task.commit.ms", "100"));
    let mut process = run_ignoring_hang_ups(&account, "nohup.log");
    until("the first outputs", async || (!echoes::read(&account.output()).is_empty()).then_some(())).await;
    process.signal(Signal::HangUp);
    producer.put(account.kinesis(), "lines", 100);
    let all = account.records("lines").len();
    until("it goes on", async || (echoes::read(&account.output()).len() == all).then_some(())).await;
    assert!(!process.log().contains("stopping"), "{}", process.log());
    process.signal(Signal::Terminate);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
}

/// Though the stop was no good one, a successor need not wait for the failover time.
async fn nothing_is_held(account: &Account) {
    let rows = account.leases("lines").await;
    assert!(rows.iter().all(|row| row.owner.is_none() && row.counter > 1), "not released: {rows:#?}");
}

async fn says(process: &Process, text: &str) {
    until(text, async || process.log().contains(text).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once_whatever_the_task_is_doing() {
    let account = Account::new();
    account.stream("lines", 1);
    // The call outlasts the test's patience.
    Producer::new(1).put_with(account.kinesis(), "lines", 1, "!sleep 600000");
    account.configure(&patient(&account).set("task.call.timeout.ms", "900000"));
    let mut process = run(&account, "run.log", &[]);
    says(&process, "sleeping").await;
    process.signal(Signal::Terminate);
    says(&process, "a second signal forces the shutdown").await;
    assert!(!process.has_ended());
    process.signal(Signal::Interrupt);
    assert_eq!(process.wait().code(), Some(1), "{}", process.log());
    says(&process, "forced shutdown by a second signal").await;
    nothing_is_held(&account).await;
}

/// `timeout` sends one to the process and one to its group.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_comes_twice_at_once_is_one() {
    let account = Account::new();
    account.stream("lines", 1);
    // The stop waits for the call, so that it is still under way when the second signal comes.
    Producer::new(1).put_with(account.kinesis(), "lines", 1, "!sleep 2000");
    account.configure(&patient(&account));
    let mut process = run(&account, "run.log", &[]);
    says(&process, "sleeping").await;
    process.signal_all(&[Signal::Terminate; 2]);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
    let rows = account.leases("lines").await;
    assert!(rows.iter().all(|row| row.owner.is_none()), "not released: {rows:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_takes_too_long_is_cut_short() {
    let account = Account::new();
    account.stream("lines", 1);
    Producer::new(1).put_with(account.kinesis(), "lines", 1, "!sleep 600000");
    account.configure(&patient(&account).set("task.call.timeout.ms", "900000").set("task.shutdown.ms", "300"));
    let mut process = run(&account, "run.log", &[]);
    says(&process, "sleeping").await;
    process.signal(Signal::Terminate);
    assert_eq!(process.wait().code(), Some(1), "{}", process.log());
    says(&process, "error: the stop took longer than task.shutdown.ms=300").await;
    nothing_is_held(&account).await;
}

/// The table does not answer any more: neither does a stop wait for it longer than it must, nor is it called a good one.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_without_a_table_ends_all_the_same() {
    let account = Account::new();
    account.stream("lines", 1);
    Producer::new(1).put_with(account.kinesis(), "lines", 1, "!sleep 600000");
    account.configure(&patient(&account).set("task.call.timeout.ms", "900000").set("task.shutdown.ms", "300"));
    let mut process = run(&account, "run.log", &[]);
    says(&process, "sleeping").await;
    let unanswered = Fault::new(FaultAction::Error(ErrorKind::InternalFailure)).operation("UpdateItem");
    let fault = account.dynamodb_faults().inject(unanswered);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait().code(), Some(1), "{}", process.log());
    says(&process, "error: the stop took longer than task.shutdown.ms=300").await;
    assert!(fault.hits() > 0, "it did not try to release its lease");
}
