//! Several streams in one lease table, as a multi-stream application of the Kinesis Client Library has them.

use shardmill_aws::LeaseTable;
use shardmill_core::config::NewTable;
use shardmill_core::leases::{Lease, Write};
use shardmill_core::position::Checkpoint;
use shardmill_local::Record;
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Producer, assert_each_once};
use shardmill_tests::properties::Properties;

use crate::job::Job;

const STREAMS: [&str; 2] = ["orders", "clicks"];

fn identifier(stream: &str) -> String {
    format!("111122223333:{stream}:1700000000")
}

fn shared(account: &Account) -> Properties {
    let properties = account.properties(&STREAMS).kcl("TableName", "app");
    STREAMS.into_iter().fold(properties, |properties, stream| {
        let key = format!("systems.kinesis.streams.{stream}.aws.kcl.StreamIdentifier");
        properties.set(&key, &identifier(stream))
    })
}

async fn table_of(account: &Account, stream: &str) -> LeaseTable {
    account.lease_table("app").await.of_stream(Some(identifier(stream).parse().unwrap()))
}

async fn rows_of(account: &Account, stream: &str) -> Vec<Lease> {
    let mut rows = table_of(account, stream).await.scan().await.unwrap().leases;
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows
}

fn records(account: &Account) -> Vec<Record> {
    STREAMS.into_iter().flat_map(|stream| account.records(stream)).collect()
}

/// Both streams have shards of the same names. A third one's rows, of an application that other workers share, stay as
/// they are.
#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_table_are_read_side_by_side_and_others_left_alone() {
    let account = Account::new();
    let other = table_of(&account, "payments").await;
    other.ensure(NewTable::default()).await.unwrap();
    let lease = Lease {
        key: "shardId-000000000000".to_owned(),
        owner: None,
        counter: 0,
        owner_switches: 0,
        checkpoint: Checkpoint::Latest,
        parents: Vec::new(),
        children: Vec::new(),
        hash_range: None,
        checkpoint_owner: None,
        latest_since: None,
    };
    other.write(&Write::Create(lease.clone())).await.unwrap();

    for stream in STREAMS {
        account.stream(stream, 2);
        Producer::new(10).put(account.kinesis(), stream, 100);
    }
    let job = Job::start(&shared(&account)).await;
    job.processed(200).await;
    job.stop().await;
    // A restart goes on where the first run stopped, over a reshard too.
    for stream in STREAMS {
        account.kinesis().update_shard_count(stream, 3).unwrap();
        Producer::new(10).put(account.kinesis(), stream, 100);
    }
    let job = Job::start(&shared(&account)).await;
    job.processed(200).await;
    job.caught_up().await;
    job.stop().await;

    assert_each_once(&echoes::read(&account.output()), &records(&account));
    for stream in STREAMS {
        let rows = rows_of(&account, stream).await;
        let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        assert_eq!(keys, account.kinesis().shard_ids(stream).unwrap());
        assert!(rows.iter().all(|row| row.owner.is_none()), "{rows:#?}");
    }
    assert_eq!(rows_of(&account, "payments").await, [lease]);
}

/// Whoever is given the table of the other kind of application says so, and writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_the_other_kind_is_refused_and_left_alone() {
    let account = Account::new();
    for stream in STREAMS {
        account.stream(stream, 1);
    }
    let single = account.properties(&["orders"]).kcl("TableName", "app");
    let job = Job::start(&shared(&account)).await;
    job.caught_up().await;
    job.stop().await;
    let before = (rows_of(&account, "orders").await, rows_of(&account, "clicks").await);
    let reason = Job::start(&single).await.failure().await;
    assert!(reason.contains("no aws.kcl.StreamIdentifier is set"), "{reason}");
    assert_eq!((rows_of(&account, "orders").await, rows_of(&account, "clicks").await), before);

    let account = Account::new();
    account.stream("orders", 1);
    let single = account.properties(&["orders"]).kcl("TableName", "app");
    let job = Job::start(&single).await;
    job.caught_up().await;
    job.stop().await;
    let before = account.lease_table("app").await.scan().await.unwrap();
    let key = "systems.kinesis.streams.orders.aws.kcl.StreamIdentifier";
    let reason = Job::start(&single.set(key, &identifier("orders"))).await.failure().await;
    assert!(reason.contains("it belongs to a single-stream application"), "{reason}");
    assert_eq!(account.lease_table("app").await.scan().await.unwrap(), before);
}
