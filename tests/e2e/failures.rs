//! Calls that fail: what is tried again, what stops the job, and that nothing is ever skipped.

use std::collections::BTreeSet;
use std::time::Instant;

use shardmill_core::position::{Checkpoint, compare_sequence};
use shardmill_local::Record;
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{
    self, Echo, Producer, assert_each_at_least_once, assert_each_once, assert_keys_in_order, assert_shards_in_order,
};
use shardmill_tests::properties::Properties;
use shardmill_tests::wait::{LIMIT, until};

use crate::job::Job;
use crate::process::run;

/// A stream of one shard with 20 records, then one with an order for the task, then 20 more.
fn account_with(order: &str) -> (Account, Record) {
    let account = Account::new();
    account.stream("lines", 1);
    let mut producer = Producer::new(1);
    producer.put(account.kinesis(), "lines", 20);
    producer.put_with(account.kinesis(), "lines", 1, order);
    producer.put(account.kinesis(), "lines", 20);
    let bad = account.records("lines").swap_remove(20);
    (account, bad)
}

/// The reason with which the job stops, after which nothing from `bad` on has left and the checkpoint is before it.
async fn poisoned(account: &Account, properties: &Properties, bad: &Record) -> String {
    let reason = Job::start(properties).await.failure().await;

    let name = "shard shardId-000000000000 of kinesis.lines: sequence number";
    assert!(reason.starts_with(&format!("{name} {} failed after ", bad.sequence_number)), "{reason}");
    let records = account.records("lines");
    let echoes = echoes::read(&account.output());
    assert_each_at_least_once(&echoes, &records[..20]);
    let row = account.leases("lines").await.swap_remove(0);
    if let Checkpoint::At(position) = &row.checkpoint {
        let order = compare_sequence(position.sequence.as_str(), &bad.sequence_number);
        assert!(order.is_lt(), "the checkpoint {position} is not before the record that failed");
    }
    assert_eq!(row.owner, None, "the lease is released at a failure, too");
    reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_asks_for_a_retry_gets_it() {
    let (account, _) = account_with("!retry 2");
    let job = Job::start(&account.properties(&["lines"])).await;
    job.processed(41).await;
    assert_eq!(job.status().failed_calls, 2);
    job.stop().await;

    let echoes = echoes::read(&account.output());
    assert_each_once(&echoes, &account.records("lines"));
    assert_shards_in_order(&echoes);
}

/// One shard waits to be tried again for longer than this test takes; meanwhile the others are read, processed and
/// committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_being_retried_does_not_hold_up_the_others() {
    let account = Account::new();
    account.stream("lines", 4);
    let mut producer = Producer::new(1);
    producer.put_with(account.kinesis(), "lines", 1, "!other");
    let bad = account.records("lines").swap_remove(0);
    let wait = (4 * LIMIT.as_millis()).to_string();
    let properties = account.properties(&["lines"]).set("task.retry.backoff.ms", &wait);
    let job = Job::start(&properties.set("task.retry.backoff.max.ms", &wait)).await;
    until("the shard waits", async || (job.status().failed_calls == 1).then_some(())).await;

    let mut producer = Producer::new(40);
    producer.put(account.kinesis(), "lines", 2_000);
    let mut others = account.records("lines");
    others.retain(|record| record.shard_id != bad.shard_id);
    assert!(others.len() > 500, "{} records in other shards", others.len());
    job.processed(others.len()).await;
    until("the others are committed", async || {
        let rows = account.leases("lines").await;
        let is_committed = |record: &Record| {
            let row = rows.iter().find(|row| row.key == record.shard_id);
            let at = row.and_then(|row| row.checkpoint.position());
            at.is_some_and(|at| compare_sequence(&record.sequence_number, at.sequence.as_str()).is_le())
        };
        others.iter().all(is_committed).then_some(())
    })
    .await;
    assert_each_once(&echoes::read(&account.output()), &others);
    job.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_record_stops_the_job_at_once_and_is_never_skipped() {
    let (account, bad) = account_with("!reject");
    let properties = account.properties(&["lines"]);
    for run in 1..=2 {
        let reason = poisoned(&account, &properties, &bad).await;
        assert!(reason.contains("after 1 attempt:") && reason.contains("as told"), "{reason}");
        assert_each_once(&echoes::read(&account.output()), &account.records("lines")[..20]);
        let row = account.leases("lines").await.swap_remove(0);
        let before = &account.records("lines")[19];
        assert_eq!(row.checkpoint.sequence_text(), before.sequence_number, "run {run}: all before it is committed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_fails_each_time_stops_the_job_after_its_attempts() {
    for (order, attempts, cause) in [
        ("!retry", "3 attempts", "the task asks for a retry"),
        ("!trap", "3 attempts", "the task trapped (unreachable"),
        ("!fatal", "1 attempt", "the task cannot continue: as told"),
        ("!flood", "1 attempt", "flooded: SendError::Limit"),
    ] {
        let (account, bad) = account_with(order);
        let reason = poisoned(&account, &account.properties(&["lines"]), &bad).await;
        assert!(reason.contains(&format!("after {attempts}:")), "{order}: {reason}");
        assert!(reason.contains(cause), "{order}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_says_why_it_stopped_and_exits_with_1() {
    let (account, bad) = account_with("!reject");
    account.configure(&account.properties(&["lines"]));
    let mut process = run(&account, "run.log", &[]);
    assert_eq!(process.wait().code(), Some(1), "{}", process.log());
    let log = process.log();
    let last = log.lines().last().unwrap();
    let at = format!("error: shard shardId-000000000000 of kinesis.lines: sequence number {}", bad.sequence_number);
    assert_eq!(last, format!("{at} failed after 1 attempt: the task rejects the envelope: as told"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_of_a_directory_of_the_host_is_refused_with_both_names() {
    let (account, _) = account_with("");
    let tasks = account.tasks(&[]);
    for grant in [tasks.clone(), tasks.join(".shardmill")] {
        account.configure(&account.properties(&["lines"]).set("task.grant.dir", &grant.display().to_string()));
        let mut process = run(&account, "run.log", &[]);
        assert_eq!(process.wait().code(), Some(1), "{}", process.log());
        let log = process.log();
        let last = log.lines().last().unwrap();
        let expected = format!("the directory {} cannot be granted: it ", grant.display());
        assert!(last.contains(&expected) && last.contains("the task directory"), "{log}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_cannot_be_made_durable_stop_the_job_and_are_never_checkpointed() {
    let (account, _) = account_with("");
    let properties = account.properties(&["lines"]).set("systems.out.file.path", "/dev/full");
    let reason = Job::start(&properties).await.failure().await;

    assert!(reason.contains("output system out") && reason.contains("No space left on device"), "{reason}");
    let row = account.leases("lines").await.swap_remove(0);
    assert_eq!((row.checkpoint, row.owner), (Checkpoint::TrimHorizon, None));
}

/// A full disk, or a reader of standard output that has gone: nothing more is processed in vain.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_fails_stops_the_job_before_a_commit_is_due() {
    let account = Account::new();
    account.stream("lines", 1);
    Producer::new(1).put(account.kinesis(), "lines", 2_000);
    let properties = account.properties(&["lines"]).set("systems.out.file.path", "/dev/full");
    let reason = Job::start(&properties.set("task.commit.ms", "-1")).await.failure().await;

    assert!(reason.contains("failed to write to out.") && reason.contains("No space left on device"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_asks_for_the_end_gets_it_in_good_order() {
    let account = Account::new();
    account.stream("lines", 1);
    for message in ["send first", "shutdown enough"] {
        account.kinesis().put_record("lines", "key", message.as_bytes()).unwrap();
    }
    Job::start(&account.properties(&["lines"]).set("task.class", "hostile")).await.end().await;

    let row = account.leases("lines").await.swap_remove(0);
    let last = account.records("lines").swap_remove(1);
    assert_eq!((row.checkpoint.sequence_text(), row.owner), (last.sequence_number.as_str(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_takes_all_memory_stops_the_job_and_not_the_host() {
    let account = Account::new();
    account.stream("lines", 1);
    account.kinesis().put_record("lines", "key", b"send first").unwrap();
    account.kinesis().put_record("lines", "key", b"memory-bomb").unwrap();
    let bad = account.records("lines").swap_remove(1);
    let properties = account.properties(&["lines"]).set("task.class", "hostile").set("task.memory.max.mb", "16");
    let reason = Job::start(&properties).await.failure().await;

    assert!(reason.contains(&bad.sequence_number) && reason.contains("after 3 attempts: "), "{reason}");
    assert!(reason.contains("memory"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_that_does_not_come_again_repeats_what_is_not_committed_and_nothing_else() {
    let account = Account::new();
    account.stream("lines", 1);
    let mut producer = Producer::new(1);
    producer.put(account.kinesis(), "lines", 20);
    let job = Job::start(&account.properties(&["lines"])).await;
    let committed = account.records("lines").swap_remove(19).sequence_number;
    until("the first records are committed", async || {
        let row = account.leases("lines").await.pop()?;
        (row.checkpoint.sequence_text() == committed).then_some(())
    })
    .await;
    producer.put(account.kinesis(), "lines", 10);
    producer.put_with(account.kinesis(), "lines", 1, "!trap 1");
    producer.put(account.kinesis(), "lines", 10);
    let records = account.records("lines");
    let done = |record: &Record| echoes::read(&account.output()).contains(&Echo::from(record));
    until("the last record is processed", async || done(&records[40]).then_some(())).await;
    assert_eq!(job.status().failed_calls, 1);
    job.stop().await;

    let echoes = echoes::read(&account.output());
    assert_each_at_least_once(&echoes, &records);
    assert_each_once(&echoes[..20], &records[..20]);
    let back = |pair: &[Echo]| compare_sequence(&pair[0].sequence, &pair[1].sequence).is_ge();
    let replay = echoes.windows(2).position(back).map_or(echoes.len(), |at| at + 1);
    assert_shards_in_order(&echoes[..replay]);
    assert_shards_in_order(&echoes[replay..]);
    assert!(!echoes[replay..].iter().any(|echo| records[..20].iter().any(|r| r.sequence_number == echo.sequence)));
    let trapped = echoes.iter().filter(|echo| echo.text.ends_with("!trap 1")).count();
    assert_eq!(trapped, 1, "what the call that trapped had sent never left");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_call_is_interrupted_and_costs_no_lease() {
    let (account, _) = account_with("!spin 1");
    // The call takes longer than a lease lasts.
    let properties =
        account.properties(&["lines"]).kcl("FailoverTimeMillis", "1500").set("task.call.timeout.ms", "3000");
    let job = Job::start(&properties).await;
    let owner = until("the lease is taken", async || account.leases("lines").await.first()?.owner.clone()).await;
    // How often it was renewed while the call went on, whenever that was: a call that held up renewals would let there be
    // none.
    let mut counters = BTreeSet::new();
    until("the call is interrupted, and its record processed", async || {
        let row = account.leases("lines").await.swap_remove(0);
        assert_eq!(row.owner.as_ref(), Some(&owner));
        let status = job.status();
        if status.failed_calls == 0 {
            counters.insert(row.counter);
        }
        (status.processed >= 41 && status.failed_calls == 1).then_some(())
    })
    .await;
    let renewed = counters.last().zip(counters.first()).map_or(0, |(last, first)| last - first);
    assert!(renewed >= 2, "{renewed} renewals in the call's 3 s");
    job.stop().await;

    let echoes = echoes::read(&account.output());
    assert_each_at_least_once(&echoes, &account.records("lines"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_asks_for_a_commit_gets_one_after_the_call() {
    let (account, asked) = account_with("!commit");
    let properties = account.properties(&["lines"]).set("task.commit.ms", "-1");
    let job = Job::start(&properties).await;
    job.processed(41).await;
    until("the position is committed", async || {
        let row = account.leases("lines").await.swap_remove(0);
        (row.checkpoint.sequence_text() >= asked.sequence_number.as_str()
            && matches!(row.checkpoint, Checkpoint::At(_)))
        .then_some(())
    })
    .await;
    let committed = echoes::read(&account.output());
    assert!(committed.contains(&Echo::from(&asked)), "a checkpoint was written before the outputs were durable");
    job.stop().await;
    assert_keys_in_order_without_orders(&echoes::read(&account.output()));
}

fn assert_keys_in_order_without_orders(echoes: &[Echo]) {
    let plain = |echo: &Echo| Echo { text: echo.text.split('!').next().unwrap_or_default().to_owned(), ..echo.clone() };
    assert_keys_in_order(&echoes.iter().map(plain).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_trap_a_job_is_not_caught_up_before_the_replay_is() {
    for round in 0..10 {
        let (account, _) = account_with("!trap 1");
        // Slow, so that everything is read when the trap comes.
        let job = Job::start(&account.properties(&["lines"]).set("task.config.pause.ms", "3")).await;
        // Looks all the time: the wrong moment is a short one.
        let deadline = Instant::now() + LIMIT;
        while !job.is_caught_up() {
            assert!(Instant::now() < deadline, "round {round}: it never is: {:#?}", job.status());
            tokio::task::yield_now().await;
        }
        job.stop().await;
        assert_each_at_least_once(&echoes::read(&account.output()), &account.records("lines"));
    }
}
