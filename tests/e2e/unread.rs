//! Shards that nobody reads: no job is through with its stream while there are such, and people hear of them.

use serde_json::Value;
use shardmill_tests::account::Account;
use shardmill_tests::echoes::Producer;
use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until;

use crate::process::{command, run};

fn four_shards_of_which_one_worker_may_read_two(account: &Account) -> Properties {
    account.stream("lines", 4);
    Producer::new(40).put(account.kinesis(), "lines", 40);
    account.properties(&["lines"]).kcl("MaxLeasesForWorker", "2").kcl("FailoverTimeMillis", "1000")
}

/// What `ls` says of the running job.
fn job(account: &Account) -> Option<Value> {
    let said = command(account, &["ls", "--json"]).output().unwrap();
    let hosts: Value = serde_json::from_slice(&said.stdout).ok()?;
    let jobs = hosts["hosts"].as_array()?.iter().flat_map(|host| host["jobs"].as_array().cloned().unwrap_or_default());
    jobs.into_iter().find(|job| job["state"] == "running")
}

/// The problem of the running job that has this in it.
fn problem(account: &Account, part: &str) -> Option<String> {
    let problems = job(account)?["problems"].as_array()?.clone();
    problems.iter().filter_map(Value::as_str).find(|text| text.contains(part)).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_in_the_log_and_in_the_status_until_a_worker_reads_them() {
    let account = Account::new();
    let properties = four_shards_of_which_one_worker_may_read_two(&account);
    account.configure(&properties);
    let one = run(&account, "one.log", &[]);
    let problem = async || problem(&account, "read by nobody");
    let said = until("two shards are read by nobody", problem).await;
    assert!(said.contains("input kinesis.lines: 2 shards (") && said.contains("MaxLeasesForWorker=2"), "{said}");
    let unread = job(&account).unwrap()["unread"].as_array().unwrap().clone();
    assert!(unread.len() == 2 && unread[0]["input"] == "kinesis.lines", "{unread:?}");
    assert!(one.log().contains("read by nobody: MaxLeasesForWorker=2 is reached"), "{}", one.log());

    // Another worker may read the others.
    let _two = run(&account, "two.log", &[]);
    let read = async || one.log().contains("every shard is read again").then_some(());
    until("they are read again", read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_until_caught_up_fails_when_records_are_left_unread() {
    let account = Account::new();
    let properties = four_shards_of_which_one_worker_may_read_two(&account);
    account.configure(&properties);
    let mut process = run(&account, "run.log", &["--until-caught-up"]);
    let code = process.wait().code();
    assert_eq!(code, Some(1), "{}", process.log());
    assert!(process.log().contains("input kinesis.lines: 2 shards ("), "{}", process.log());

    account.configure(&properties.kcl("MaxLeasesForWorker", "4"));
    let mut process = run(&account, "again.log", &["--until-caught-up"]);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_of_one_worker_identifier_are_in_the_status() {
    let account = Account::new();
    account.stream("lines", 2);
    let properties = account.properties(&["lines"]).kcl("WorkerId", "twin").kcl("FailoverTimeMillis", "1000");
    account.configure(&properties);
    let _one = run(&account, "one.log", &[]);
    let _two = run(&account, "two.log", &[]);
    let said = until("the identifier is another process's, too", async || problem(&account, "twin")).await;
    assert!(said.starts_with("stream lines: ") && said.contains("another process"), "{said}");
}
