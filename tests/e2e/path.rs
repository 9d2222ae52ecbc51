//! N records in, N messages out, N positions committed; and again after a stop and a start.

use std::collections::BTreeMap;

use shardmill::clock::Clock;
use shardmill::job::RunningJob;
use shardmill_core::position::Checkpoint;
use shardmill_local::Record;
use shardmill_local::model::{CreateStream, Distribution, Mode, PutEntry, StreamRef};
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Producer, assert_each_once, assert_keys_in_order, assert_shards_in_order};

use crate::job::{Job, configuration, module};

/// The lease table says that everything is processed and that nobody holds a shard.
async fn assert_committed_and_released(account: &Account, stream: &str, records: &[Record]) {
    let rows = account.leases(stream).await;
    let checkpoints: BTreeMap<String, String> = rows
        .iter()
        .filter(|row| matches!(row.checkpoint, Checkpoint::At(_)))
        .map(|row| (row.key.clone(), row.checkpoint.sequence_text().to_owned()))
        .collect();
    assert_eq!(checkpoints, echoes::last_sequences(records));
    for row in rows {
        assert_eq!(row.owner, None, "{row:?}");
        assert!(row.counter > 0, "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_leaves_once_in_order_and_its_position_is_committed() {
    let account = Account::new();
    account.stream("lines", 4);
    Producer::new(50).put(account.kinesis(), "lines", 2_000);

    let job = Job::start(&account.properties(&["lines"])).await;
    job.processed(2_000).await;
    job.stop().await;

    let (echoes, records) = (echoes::read(&account.output()), account.records("lines"));
    assert_each_once(&echoes, &records);
    assert_shards_in_order(&echoes);
    assert_keys_in_order(&echoes);
    assert_committed_and_released(&account, "lines", &records).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_and_a_start_lose_nothing_and_repeat_nothing() {
    let account = Account::new();
    account.stream("lines", 4);
    let mut producer = Producer::new(50);
    // The first run is stopped in the middle, the second between two records, the third starts with nothing to do.
    let properties = account.properties(&["lines"]);
    producer.put(account.kinesis(), "lines", 3_000);
    let job = Job::start(&properties.clone().kcl("MaxRecords", "100")).await;
    job.processed(500).await;
    job.stop().await;
    assert!(echoes::read(&account.output()).len() < 3_000, "the first run was not stopped in the middle");

    producer.put(account.kinesis(), "lines", 500);
    let job = Job::start(&properties).await;
    job.caught_up().await;
    job.stop().await;

    let job = Job::start(&properties).await;
    job.caught_up().await;
    producer.put(account.kinesis(), "lines", 500);
    job.processed(500).await;
    job.stop().await;

    let (echoes, records) = (echoes::read(&account.output()), account.records("lines"));
    assert_each_once(&echoes, &records);
    assert_shards_in_order(&echoes);
    assert_keys_in_order(&echoes);
    assert_committed_and_released(&account, "lines", &records).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_reads_several_streams_each_with_a_lease_table() {
    let account = Account::new();
    for (stream, shards, records) in [("orders", 2, 700), ("returns", 1, 300)] {
        account.stream(stream, shards);
        Producer::new(7).put(account.kinesis(), stream, records);
    }

    let job = Job::start(&account.properties(&["orders", "returns"])).await;
    job.processed(1_000).await;
    job.stop().await;

    let (orders, returns) = (account.records("orders"), account.records("returns"));
    let all: Vec<Record> = orders.iter().chain(&returns).cloned().collect();
    assert_each_once(&echoes::read(&account.output()), &all);
    assert_committed_and_released(&account, "orders", &orders).await;
    assert_committed_and_released(&account, "returns", &returns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_is_the_same_with_json_on_the_wire() {
    let account = Account::new();
    account.stream("lines", 2);
    Producer::new(10).put(account.kinesis(), "lines", 500);

    let job = Job::start(&account.properties(&["lines"]).set("systems.kinesis.aws.wire.protocol", "json")).await;
    job.processed(500).await;
    job.stop().await;

    assert_each_once(&echoes::read(&account.output()), &account.records("lines"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_task_gets_every_record_too() {
    let account = Account::new();
    account.stream("lines", 2);
    Producer::new(10).put(account.kinesis(), "lines", 1_500);

    let properties = account.properties(&["lines"]).set("task.class", "filter-batch");
    let properties = properties.set("task.config.pattern", "-1 14").set("task.config.output", "out.filtered");
    let job = Job::start(&properties).await;
    job.processed(1_500).await;
    job.stop().await;

    let text = std::fs::read_to_string(account.output()).unwrap();
    let line = |record: &Record| {
        let (key, message) = (record.partition_key.as_deref(), String::from_utf8_lossy(&record.data).to_uppercase());
        format!(r#"{{"stream":"filtered","key":"{}","message":"{message}"}}"#, key.unwrap_or_default())
    };
    let records = account.records("lines");
    let mut expected: Vec<String> = records.iter().map(line).filter(|line| line.contains("-1 14")).collect();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 11, "numbers 14 and 140 to 149 of the key 1");
    expected.sort();
    lines.sort();
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_a_key_have_none_in_the_task() {
    let account = Account::new();
    let (kinesis, now) = (account.kinesis(), account.kinesis().now());
    let auto = CreateStream {
        name: "events".to_owned(),
        mode: Mode::OnDemand,
        distribution: Distribution::Auto,
        ..CreateStream::default()
    };
    kinesis.model().create_stream(now, auto).unwrap();
    let entry = PutEntry { data: b"no key", partition_key: None, explicit_hash_key: None };
    kinesis.model().put_record(now, &StreamRef::from("events"), entry, None).unwrap();

    let job = Job::start(&account.properties(&["events"])).await;
    job.processed(1).await;
    job.stop().await;

    let echoes = echoes::read(&account.output());
    assert_each_once(&echoes, &account.records("events"));
    assert_eq!(echoes[0].key, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_never_caught_up_before_it_has_read_what_is_there() {
    let account = Account::new();
    for round in 0..30 {
        let stream = format!("lines-{round}");
        account.stream(&stream, 1);
        Producer::new(1).put(account.kinesis(), &stream, 10);
        let job = Job::start(&account.properties(&[&stream])).await;
        // Looks all the time: the wrong moment is a short one.
        while !job.is_caught_up() {
            tokio::task::yield_now().await;
        }
        assert_eq!(job.status().processed, 10, "round {round}");
        job.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_may_look_at_a_file_when_it_starts() {
    let account = Account::new();
    account.stream("lines", 1);
    let gates = account.path("gates");
    std::fs::create_dir(&gates).unwrap();
    std::fs::write(gates.join("open"), "").unwrap();
    let grant = format!("{}::/gates", gates.display());
    let properties = account.properties(&["lines"]).set("task.grant.dir", &grant);
    Job::start(&properties.clone().set("task.config.echo.init", "if shut reject")).await.stop().await;
    let properties = properties.set("task.config.echo.init", "if open reject");
    let refused = RunningJob::start(&configuration(&properties), module("echo"), Clock::start()).await;
    let refused = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("as told"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_holds_an_output_keeps_the_job_from_starting() {
    let account = Account::new();
    account.stream("lines", 1);
    let directory = account.output().parent().unwrap().to_owned();
    let properties = account.properties(&["lines"]).set("task.grant.dir", &format!("{}:rw", directory.display()));
    let refused = RunningJob::start(&configuration(&properties), module("echo"), Clock::start()).await;
    let refused = refused.err().map(|error| error.to_string()).unwrap_or_default();
    for told in
        [&*directory.display().to_string(), "the output system out of job test has its file", "(task.grant.dir)"]
    {
        assert!(refused.contains(told), "{told}: {refused}");
    }
    assert!(!account.output().exists(), "it was not even opened");
}
