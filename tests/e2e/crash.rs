//! The process dies at any moment. What it had written counts, what it had not is written by the next one: repeats,
//! never a loss.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shardmill_core::position::{Checkpoint, compare_sequence};
use shardmill_local::Kinesis;
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{
    self, Echo, Producer, assert_each_at_least_once, assert_each_once, assert_keys_increase, assert_shards_in_order,
};
use shardmill_tests::wait::{until, until_blocking};

use crate::process::run;

/// Crashes, each of a run of its own.
const CRASHES: u32 = 6;
/// Outputs are on their way to the file all the time between two commits.
const COMMIT_CYCLE: Duration = Duration::from_millis(300);

/// What is committed, by shard.
type Committed = BTreeMap<String, Checkpoint>;

async fn committed(account: &Account) -> Committed {
    account.leases("lines").await.into_iter().map(|row| (row.key, row.checkpoint)).collect()
}

fn is_committed(echo: &Echo, committed: &Committed) -> bool {
    match committed.get(&echo.shard) {
        Some(Checkpoint::At(position)) => compare_sequence(&echo.sequence, position.sequence.as_str()).is_le(),
        Some(checkpoint) => *checkpoint == Checkpoint::ShardEnd,
        None => false,
    }
}

/// Waits until everything that is in the stream is committed.
async fn all_committed(account: &Account) {
    until("everything is committed", async || {
        let committed = committed(account).await;
        account.records("lines").iter().all(|record| is_committed(&Echo::from(record), &committed)).then_some(())
    })
    .await;
}

/// For a thread that may block.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

/// Runs the job again and again while a producer writes, and crashes it each time at another moment of the commit
/// cycle. `change` is called while it runs. Whatever the moment: what it wrote is in order, what was committed before
/// is not repeated, what is committed now has been written. Returns how often something was repeated.
fn crash_again_and_again(account: &Account, change: impl Fn(&Kinesis, u32)) -> usize {
    let stop = AtomicBool::new(false);
    let (mut before, mut begin, mut repeats) = (Committed::new(), 0, 0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut producer = Producer::new(10);
            while !stop.load(Ordering::Relaxed) {
                producer.put(account.kinesis(), "lines", 20);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        for round in 0..CRASHES {
            let mut process = run(account, &format!("crash-{round}.log"), &[]);
            until_blocking(&format!("run {round} commits"), || {
                let rows = wait_for(committed(account));
                (rows.values().any(|row| matches!(row, Checkpoint::At(_))) && rows != before).then_some(())
            });
            change(account.kinesis(), round);
            // Not a wait for anything: this is the moment.
            std::thread::sleep(COMMIT_CYCLE / CRASHES * round);
            process.crash();

            let echoes = echoes::read(&account.output());
            let (earlier, this_run) = echoes.split_at(begin);
            assert_shards_in_order(this_run);
            assert_keys_increase(this_run);
            let again = this_run.iter().find(|echo| is_committed(echo, &before));
            assert_eq!(again, None, "run {round} repeated what was committed before it");
            before = wait_for(committed(account));
            for record in account.records("lines").iter().map(Echo::from) {
                assert!(!is_committed(&record, &before) || echoes.contains(&record), "{record:?} is lost");
            }
            repeats += earlier.iter().filter(|echo| this_run.contains(echo)).count();
            begin = echoes.len();
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    repeats
}

/// An account whose job takes its leases back at once after a crash, by a worker name that stays.
fn account() -> Account {
    let account = Account::new();
    account.stream("lines", 2);
    let properties = account.properties(&["lines"]).kcl("WorkerId", "worker").kcl("MaxRecords", "200");
    account.configure(&properties.set("task.commit.ms", &COMMIT_CYCLE.as_millis().to_string()));
    account
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_moment_loses_nothing_and_repeats_only_what_was_not_committed() {
    let account = account();
    let repeats = tokio::task::block_in_place(|| crash_again_and_again(&account, |_, _| {}));
    assert!(repeats > 0, "no crash came between an output and its commit: this test has shown nothing");
    let mut process = run(&account, "last.log", &[]);
    all_committed(&account).await;
    process.crash();
    assert_each_at_least_once(&echoes::read(&account.output()), &account.records("lines"));
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_while_shards_are_split_and_merged_lose_nothing_either() {
    let account = account();
    let reshard = |kinesis: &Kinesis, round: u32| {
        let target = [4, 8, 3, 3, 5, 1][round as usize];
        kinesis.update_shard_count("lines", target).unwrap();
    };
    tokio::task::block_in_place(|| crash_again_and_again(&account, reshard));
    let mut process = run(&account, "last.log", &[]);
    all_committed(&account).await;
    process.crash();
    assert_each_at_least_once(&echoes::read(&account.output()), &account.records("lines"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leases_of_a_dead_process_move_to_another_after_the_failover_time() {
    let account = Account::new();
    account.stream("lines", 2);
    let mut producer = Producer::new(10);
    producer.put(account.kinesis(), "lines", 100);
    account.configure(&account.properties(&["lines"]).kcl("FailoverTimeMillis", "1000"));
    let mut first = run(&account, "first.log", &[]);
    all_committed(&account).await;
    first.crash();
    let dead = account.leases("lines").await;
    assert!(dead.iter().all(|row| row.owner.is_some()), "a crash releases nothing");

    producer.put(account.kinesis(), "lines", 100);
    let _second = run(&account, "second.log", &[]);
    all_committed(&account).await;
    for (row, dead) in account.leases("lines").await.iter().zip(&dead) {
        assert_ne!(row.owner, dead.owner);
        assert!(row.counter > dead.counter);
    }
    let echoes = echoes::read(&account.output());
    assert_shards_in_order(&echoes);
    assert_each_once(&echoes, &account.records("lines"));
}
