//! A lease table that several streams share, as a multi-stream application of the Kinesis Client Library has it,
//! attribute by attribute. Numbers such as (14) are items of the conformance list.

use shardmill_aws::LeaseTable;
use shardmill_core::config::NewTable;
use shardmill_core::kinesis::stream::StreamIdentifier;
use shardmill_core::leases::{Lease, Outcome, Write};
use shardmill_core::position::Checkpoint;
use shardmill_local::LocalBackend;

use crate::harness::{backend, lease_table};
use crate::leases::{Item, changed, lease, n, raw_client, row, s, ss};

const TABLE: &str = "app";
const SHARD: &str = "shardId-000000000002";
const ORDERS: &str = "111122223333:orders:1700000000";
const CLICKS: &str = "111122223333:clicks:1700000000";

/// The table as the reader of one of its streams sees it, and a way past the adapter into its rows.
struct Shared {
    table: LeaseTable,
    raw: aws_sdk_dynamodb::Client,
    _backend: LocalBackend,
}

impl Shared {
    async fn of(stream: Option<&str>) -> Self {
        let backend = backend();
        let table = lease_table(&backend, TABLE).await;
        table.ensure(NewTable::default()).await.unwrap();
        let stream: Option<StreamIdentifier> = stream.map(|text| text.parse().unwrap());
        Self { table: table.of_stream(stream), raw: raw_client(&backend), _backend: backend }
    }

    async fn put(&self, row: Item) {
        self.raw.put_item().table_name(TABLE).set_item(Some(row)).send().await.unwrap();
    }

    async fn row(&self, key: &str) -> Item {
        let get = self.raw.get_item().table_name(TABLE).key("leaseKey", s(key)).consistent_read(true);
        get.send().await.unwrap().item.unwrap_or_default()
    }

    async fn write(&self, write: Write) -> Outcome {
        self.table.write(&write).await.unwrap()
    }
}

/// A lease of a stream, as a Java worker has it.
fn java(stream: &str, shard: &str) -> Item {
    row(&[
        ("leaseKey", s(&format!("{stream}:{shard}"))),
        ("streamName", s(stream)),
        ("shardId", s(shard)),
        ("leaseOwner", s("java")),
        ("leaseCounter", n(41)),
        ("ownerSwitchesSinceCheckpoint", n(3)),
        ("checkpoint", s("495")),
        ("checkpointSubSequenceNumber", n(0)),
        ("parentShardId", ss(&["shardId-000000000000"])),
        ("startingHashKey", s("0")),
        ("endingHashKey", s("340282366920938463463374607431768211455")),
        ("entityType", s("LEASE")),
    ])
}

/// (14) Stream and shard are in the key and in attributes of their own; parents are named by their shard alone.
#[tokio::test]
async fn a_new_row_of_a_shared_table_is_what_a_java_worker_would_create() {
    let shared = Shared::of(Some(ORDERS)).await;
    let created = Lease { parents: vec!["shardId-000000000000".to_owned()], ..lease(Checkpoint::TrimHorizon) };
    assert_eq!(shared.write(Write::Create(created.clone())).await, Outcome::Done);
    let key = format!("{ORDERS}:{SHARD}");
    let expected = row(&[
        ("leaseKey", s(&key)),
        ("streamName", s(ORDERS)),
        ("shardId", s(SHARD)),
        ("leaseCounter", n(0)),
        ("ownerSwitchesSinceCheckpoint", n(0)),
        ("checkpoint", s("TRIM_HORIZON")),
        ("checkpointSubSequenceNumber", n(0)),
        ("parentShardId", ss(&["shardId-000000000000"])),
        ("startingHashKey", s("0")),
        ("endingHashKey", s("340282366920938463463374607431768211455")),
        ("entityType", s("LEASE")),
    ]);
    assert_eq!(shared.row(&key).await, expected);
    assert_eq!(shared.table.get(SHARD).await.unwrap(), Some(created));
}

/// (14) Each write reaches the row of its stream and shard, and no other: both streams have a shard of that name.
#[tokio::test]
async fn every_write_is_to_the_own_streams_row() {
    let shared = Shared::of(Some(ORDERS)).await;
    let (mine, other) = (java(ORDERS, SHARD), java(CLICKS, SHARD));
    shared.put(mine.clone()).await;
    shared.put(other.clone()).await;
    let key = format!("{ORDERS}:{SHARD}");

    let seen = shared.table.get(SHARD).await.unwrap().unwrap();
    assert_eq!((seen.key.as_str(), seen.counter, &seen.parents[0][..]), (SHARD, 41, "shardId-000000000000"));
    let exists = shared.write(Write::Create(lease(Checkpoint::Latest))).await;
    assert_eq!(exists, Outcome::ConditionFailed(Some(seen.clone())));
    shared.write(Write::Take { seen, worker: "mill".into() }).await;
    shared.write(Write::Renew { key: SHARD.into(), owner: "mill".into(), counter: 42 }).await;
    let checkpoint = Checkpoint::from_row("500", 0).unwrap();
    shared.write(Write::Checkpoint { key: SHARD.into(), owner: "mill".into(), counter: 43, checkpoint }).await;
    shared.write(Write::Children { key: SHARD.into(), children: vec!["shardId-000000000004".into()] }).await;
    shared.write(Write::Evict { key: SHARD.into(), owner: "mill".into() }).await;
    let changes = [
        ("leaseCounter", n(45)),
        ("ownerSwitchesSinceCheckpoint", n(0)),
        ("checkpoint", s("500")),
        ("childShardIds", ss(&["shardId-000000000004"])),
    ];
    assert_eq!(shared.row(&key).await, changed(&mine, &changes, &["leaseOwner"]));

    let seen = shared.table.get(SHARD).await.unwrap().unwrap();
    shared.write(Write::Take { seen, worker: "mill".into() }).await;
    let owner = "mill".to_owned();
    let end = Write::Checkpoint { key: SHARD.into(), owner, counter: 46, checkpoint: Checkpoint::ShardEnd };
    shared.write(end).await;
    assert_eq!(shared.write(Write::Delete { key: SHARD.into(), counter: 47 }).await, Outcome::Done);
    assert_eq!(shared.row(&key).await, Item::new());
    assert_eq!(shared.row(&format!("{CLICKS}:{SHARD}")).await, other);
}

/// (14) A scan sees the leases of its stream; those of others are no trouble, what belongs to nobody is told.
#[tokio::test]
async fn a_scan_sees_its_stream_alone() {
    let shared = Shared::of(Some(ORDERS)).await;
    shared.put(java(ORDERS, SHARD)).await;
    shared.put(java(CLICKS, SHARD)).await;
    shared.put(java("444455556666:orders:1700000000", SHARD)).await;
    shared.put(row(&[("leaseKey", s("Leader")), ("entityType", s("LEADER"))])).await;
    shared.put(changed(&java(ORDERS, "shardId-3"), &[("leaseKey", s("shardId-3"))], &[])).await;
    shared.put(changed(&java(ORDERS, "shardId-4"), &[], &["checkpoint"])).await;
    shared.put(changed(&java(ORDERS, "shardId-5"), &[("leaseKey", s("shardId-5"))], &["streamName", "shardId"])).await;

    let mut scan = shared.table.scan().await.unwrap();
    let leases: Vec<&str> = scan.leases.iter().map(|lease| lease.key.as_str()).collect();
    assert_eq!(leases, [SHARD]);
    assert_eq!(scan.foreign, 3);
    scan.undecodable.sort();
    let told: Vec<(&str, &str)> = scan.undecodable.iter().map(|(key, why)| (key.as_str(), why.as_str())).collect();
    let [(by_key, wrong_key), (by_shard, incomplete), (alone, single)] = told[..] else { panic!("{told:?}") };
    assert_eq!((by_key, by_shard, alone), ("shardId-3", "shardId-4", "shardId-5"));
    assert!(wrong_key.contains("its key is not"), "{wrong_key}");
    assert_eq!(incomplete, "`checkpoint` is missing");
    assert!(single.contains("a single-stream application"), "{single}");
}
