//! The process dies at any moment. What it had written counts, what it had not is written by the next one: repeats,
//! never a loss.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shardmill_core::position::{Checkpoint, compare_sequence};
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{
    self, Echo, Producer, assert_each_at_least_once, assert_each_once, assert_shards_in_order,
};
use shardmill_tests::wait::{until, until_blocking};

use crate::process::run;

/// Crashes, each of a run of its own.
const CRASHES: u32 = 6;
/// Outputs are on their way to the file all the time between two commits.
const COMMIT_CYCLE: Duration = Duration::from_millis(300);

/// The committed positions, by shard.
async fn checkpoints(account: &Account) -> BTreeMap<String, String> {
    let at = |row: shardmill_core::leases::Lease| match &row.checkpoint {
        Checkpoint::At(position) => Some((row.key, position.sequence.as_str().to_owned())),
        _ => None,
    };
    account.leases("lines").await.into_iter().filter_map(at).collect()
}

/// Whether a position is committed, by checkpoints read before.
fn is_committed(echo: &Echo, checkpoints: &BTreeMap<String, String>) -> bool {
    checkpoints.get(&echo.shard).is_some_and(|at| compare_sequence(&echo.sequence, at).is_le())
}

/// For a thread that may block.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_moment_loses_nothing_and_repeats_only_what_was_not_committed() {
    let account = Account::new();
    account.stream("lines", 2);
    // A name that stays, so that the next run takes its leases back at once instead of waiting for them to expire.
    let properties = account.properties(&["lines"]).kcl("WorkerId", "worker").kcl("MaxRecords", "200");
    let _ = account.write(&properties.set("task.commit.ms", &COMMIT_CYCLE.as_millis().to_string()));
    let stop = AtomicBool::new(false);
    let (mut committed, mut begin, mut repeats) = (BTreeMap::new(), 0, 0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut producer = Producer::new(10);
            while !stop.load(Ordering::Relaxed) {
                producer.put(account.kinesis(), "lines", 20);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        tokio::task::block_in_place(|| {
            for round in 0..CRASHES {
                let mut process = run(&account, &format!("crash-{round}.log"), &[]);
                let commits = || (wait_for(checkpoints(&account)) != committed).then_some(());
                until_blocking(&format!("run {round} commits"), commits);
                // Not a wait for anything: the crash comes at another moment of the commit cycle each time.
                std::thread::sleep(COMMIT_CYCLE / CRASHES * round);
                process.crash();

                let all = echoes::read(&account.output());
                let this_run = &all[begin..];
                assert_shards_in_order(this_run);
                let again = this_run.iter().find(|echo| is_committed(echo, &committed));
                assert_eq!(again, None, "run {round} repeated what was committed before it");
                let mut before = all[..begin].iter();
                repeats += before.by_ref().filter(|echo| this_run.contains(echo)).count();
                committed = wait_for(checkpoints(&account));
                // The order of a commit: a position only after its outputs.
                for record in account.records("lines").iter().map(Echo::from) {
                    assert!(!is_committed(&record, &committed) || all.contains(&record), "{record:?} is lost");
                }
                begin = all.len();
            }
        });
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    assert!(repeats > 0, "no crash came between an output and its commit: this test has shown nothing");

    let mut process = run(&account, "last.log", &[]);
    let last = echoes::last_sequences(&account.records("lines"));
    until("everything is committed", async || (checkpoints(&account).await == last).then_some(())).await;
    process.crash();
    assert_each_at_least_once(&echoes::read(&account.output()), &account.records("lines"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leases_of_a_dead_process_move_to_another_after_the_failover_time() {
    let account = Account::new();
    account.stream("lines", 2);
    let mut producer = Producer::new(10);
    producer.put(account.kinesis(), "lines", 100);
    let _ = account.write(&account.properties(&["lines"]).kcl("FailoverTimeMillis", "1000"));
    let mut first = run(&account, "first.log", &[]);
    let committed = async || {
        let last = echoes::last_sequences(&account.records("lines"));
        (checkpoints(&account).await == last).then_some(())
    };
    until("the first process commits everything", committed).await;
    first.crash();
    let dead = account.leases("lines").await;
    assert!(dead.iter().all(|row| row.owner.is_some()), "a crash releases nothing");

    producer.put(account.kinesis(), "lines", 100);
    let _second = run(&account, "second.log", &[]);
    until("the second process commits everything", committed).await;
    for (row, dead) in account.leases("lines").await.iter().zip(&dead) {
        assert_ne!(row.owner, dead.owner);
        assert!(row.counter > dead.counter);
    }
    let echoes = echoes::read(&account.output());
    assert_shards_in_order(&echoes);
    assert_each_once(&echoes, &account.records("lines"));
}
