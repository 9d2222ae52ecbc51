//! The lease table, attribute by attribute: what the Kinesis Client Library would find in its rows after ours.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use proptest::prelude::*;
use shardmill_aws::{Ensured, LeaseTable};
use shardmill_core::config::{self, NewTable};
use shardmill_core::kinesis::shard::HashRange;
use shardmill_core::leases::{Lease, Outcome, Write};
use shardmill_core::position::Checkpoint;
use shardmill_core::service::ErrorKind;
use shardmill_local::LocalBackend;

use crate::harness::{backend, lease_table};

const TABLE: &str = "app-1-orders";
const SHARD: &str = "shardId-000000000002";

pub(crate) type Item = HashMap<String, AttributeValue>;

/// A lease table, and a way past the adapter into its rows.
struct Fixture {
    table: LeaseTable,
    raw: Client,
    _backend: LocalBackend,
}

pub(crate) fn raw_client(backend: &LocalBackend) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(backend.dynamodb_endpoint());
    Client::from_conf(config.build())
}

impl Fixture {
    async fn new() -> Self {
        let backend = backend();
        let table = lease_table(&backend, TABLE).await;
        assert_eq!(table.ensure(NewTable::default()).await.unwrap(), Ensured::Created);
        Self { table, raw: raw_client(&backend), _backend: backend }
    }

    async fn with(row: Item) -> Self {
        let fixture = Self::new().await;
        fixture.put(row).await;
        fixture
    }

    async fn put(&self, row: Item) {
        self.raw.put_item().table_name(TABLE).set_item(Some(row)).send().await.unwrap();
    }

    async fn row(&self) -> Item {
        let get = self.raw.get_item().table_name(TABLE).key("leaseKey", s(SHARD)).consistent_read(true);
        get.send().await.unwrap().item.unwrap_or_default()
    }

    async fn write(&self, write: Write) -> Outcome {
        self.table.write(&write).await.unwrap()
    }
}

pub(crate) fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(crate) fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) fn ss(texts: &[&str]) -> AttributeValue {
    AttributeValue::Ss(texts.iter().map(|text| (*text).to_owned()).collect())
}

pub(crate) fn row(attributes: &[(&str, AttributeValue)]) -> Item {
    attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// A row and what is different about it.
pub(crate) fn changed(base: &Item, changes: &[(&str, AttributeValue)], gone: &[&str]) -> Item {
    let mut item = base.clone();
    item.extend(row(changes));
    item.retain(|name, _| !gone.contains(&name.as_str()));
    item
}

/// What a 3.x worker may have left: a lease in the midst of everything.
fn java_row() -> Item {
    row(&[
        ("leaseKey", s(SHARD)),
        ("leaseOwner", s("java")),
        ("leaseCounter", n(41)),
        ("ownerSwitchesSinceCheckpoint", n(3)),
        ("checkpoint", s("49590338271490256608559692538361571095921575989136588898")),
        ("checkpointSubSequenceNumber", n(7)),
        ("pendingCheckpoint", s("49590338271490256608559692538361571095921575989136588899")),
        ("pendingCheckpointSubSequenceNumber", n(1)),
        ("pendingCheckpointState", AttributeValue::B(b"state".to_vec().into())),
        ("parentShardId", ss(&["shardId-000000000000", "shardId-000000000001"])),
        ("childShardIds", ss(&["shardId-000000000004"])),
        ("startingHashKey", s("0")),
        ("endingHashKey", s("340282366920938463463374607431768211455")),
        ("throughputKBps", AttributeValue::N("0.000018".to_owned())),
        ("checkpointOwner", s("older")),
        ("entityType", s("LEASE")),
        ("somethingNew", AttributeValue::Bool(true)),
    ])
}

pub(crate) fn lease(checkpoint: Checkpoint) -> Lease {
    Lease {
        key: SHARD.to_owned(),
        owner: None,
        counter: 0,
        owner_switches: 0,
        checkpoint,
        parents: Vec::new(),
        children: Vec::new(),
        hash_range: Some(HashRange { start: 0, end: u128::MAX }),
        checkpoint_owner: None,
        latest_since: None,
    }
}

fn at(sequence: &str) -> Checkpoint {
    Checkpoint::from_row(sequence, 0).unwrap()
}

#[tokio::test]
async fn a_new_row_is_exactly_what_a_java_worker_would_create() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.write(Write::Create(lease(Checkpoint::TrimHorizon))).await, Outcome::Done);
    let expected = row(&[
        ("leaseKey", s(SHARD)),
        ("leaseCounter", n(0)),
        ("ownerSwitchesSinceCheckpoint", n(0)),
        ("checkpoint", s("TRIM_HORIZON")),
        ("checkpointSubSequenceNumber", n(0)),
        ("startingHashKey", s("0")),
        ("endingHashKey", s("340282366920938463463374607431768211455")),
        ("entityType", s("LEASE")),
    ]);
    assert_eq!(fixture.row().await, expected);
    assert_eq!(fixture.table.get(SHARD).await.unwrap(), Some(lease(Checkpoint::TrimHorizon)));
}

/// The one attribute that the Kinesis Client Library does not know: it reads such a row as any other, because it ignores
/// attributes that it does not know, and leaves them alone.
#[tokio::test]
async fn a_row_at_latest_says_since_when_until_it_has_a_checkpoint() {
    let fixture = Fixture::new().await;
    let created = Lease { latest_since: Some(1_700_000_000_000), ..lease(Checkpoint::Latest) };
    fixture.write(Write::Create(created.clone())).await;
    let expected = row(&[
        ("leaseKey", s(SHARD)),
        ("leaseCounter", n(0)),
        ("ownerSwitchesSinceCheckpoint", n(0)),
        ("checkpoint", s("LATEST")),
        ("checkpointSubSequenceNumber", n(0)),
        ("startingHashKey", s("0")),
        ("endingHashKey", s("340282366920938463463374607431768211455")),
        ("entityType", s("LEASE")),
        ("shardmillLatestSince", n(1_700_000_000_000)),
    ]);
    assert_eq!(fixture.row().await, expected);
    assert_eq!(fixture.table.get(SHARD).await.unwrap(), Some(created.clone()));

    // A take by somebody who did not see it changes nothing about it.
    let late = Lease { latest_since: Some(1_800_000_000_000), ..created };
    assert_eq!(fixture.write(Write::Take { seen: late, worker: "mill".into() }).await, Outcome::Done);
    let taken = changed(&expected, &[("leaseOwner", s("mill")), ("leaseCounter", n(1))], &[]);
    assert_eq!(fixture.row().await, taken);

    fixture.write(Write::Checkpoint { key: SHARD.into(), owner: "mill".into(), counter: 1, checkpoint: at("7") }).await;
    let done = &[("checkpoint", s("7")), ("leaseCounter", n(2))];
    assert_eq!(fixture.row().await, changed(&taken, done, &["shardmillLatestSince"]));
}

#[tokio::test]
async fn the_first_owner_of_a_java_row_at_latest_records_since_when() {
    let java = changed(&java_row(), &[("checkpoint", s("LATEST"))], &["checkpointOwner"]);
    let fixture = Fixture::with(java.clone()).await;
    let seen = fixture.table.get(SHARD).await.unwrap().unwrap();
    assert_eq!(seen.latest_since, None);
    let seen = Lease { latest_since: Some(5), ..seen };
    assert_eq!(fixture.write(Write::Take { seen, worker: "mill".into() }).await, Outcome::Done);
    let changes = &[
        ("leaseOwner", s("mill")),
        ("leaseCounter", n(42)),
        ("ownerSwitchesSinceCheckpoint", n(4)),
        ("shardmillLatestSince", n(5)),
    ];
    assert_eq!(fixture.row().await, changed(&java, changes, &[]));
}

#[tokio::test]
async fn parents_are_written_as_a_set() {
    let fixture = Fixture::new().await;
    let child = Lease { parents: vec!["p-0".into(), "p-1".into()], ..lease(Checkpoint::TrimHorizon) };
    fixture.write(Write::Create(child.clone())).await;
    let Some(AttributeValue::Ss(parents)) = fixture.row().await.remove("parentShardId") else { panic!("no set") };
    assert_eq!(parents.into_iter().collect::<HashSet<_>>(), ["p-0".to_owned(), "p-1".to_owned()].into());
    assert_eq!(fixture.table.get(SHARD).await.unwrap(), Some(child));
}

/// A row that was deleted under its holder comes back whole, with its owner and a counter that goes on; one that is
/// there is left alone.
#[tokio::test]
async fn restoring_writes_the_whole_row_unless_there_is_one() {
    let fixture = Fixture::new().await;
    let held = Lease {
        owner: Some("mill".to_owned()),
        counter: 42,
        owner_switches: 2,
        parents: vec!["p-0".to_owned()],
        children: vec!["c-9".to_owned()],
        ..lease(at("99"))
    };
    assert_eq!(fixture.write(Write::Restore(held.clone())).await, Outcome::Done);
    assert_eq!(fixture.table.get(SHARD).await.unwrap(), Some(held.clone()));
    let before = fixture.row().await;
    assert_eq!((&before["leaseOwner"], &before["leaseCounter"]), (&s("mill"), &n(42)));
    let again = fixture.write(Write::Restore(Lease { counter: 77, ..held.clone() })).await;
    assert_eq!(again, Outcome::ConditionFailed(Some(held)));
    assert_eq!(fixture.row().await, before);
}

#[tokio::test]
async fn creating_an_existing_row_changes_nothing_and_shows_it() {
    let fixture = Fixture::with(java_row()).await;
    let outcome = fixture.write(Write::Create(lease(Checkpoint::Latest))).await;
    let Outcome::ConditionFailed(Some(found)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((found.owner.as_deref(), found.counter), (Some("java"), 41));
    assert_eq!(fixture.row().await, java_row());
}

#[tokio::test]
async fn renewing_adds_one_to_the_counter_and_touches_nothing_else() {
    let fixture = Fixture::with(java_row()).await;
    let renew = |owner: &str, counter| Write::Renew { key: SHARD.into(), owner: owner.to_owned(), counter };
    // With an old counter, and with that of a row which another worker has since it was created again.
    for stale in [renew("java", 40), renew("mill", 41)] {
        let stale = fixture.write(stale).await;
        let Outcome::ConditionFailed(Some(found)) = stale else { panic!("{stale:?}") };
        assert_eq!(found.counter, 41);
        assert_eq!(fixture.row().await, java_row());
    }
    assert_eq!(fixture.write(renew("java", 41)).await, Outcome::Done);
    assert_eq!(fixture.row().await, changed(&java_row(), &[("leaseCounter", n(42))], &[]));
}

#[tokio::test]
async fn a_renewal_whose_reply_was_lost_can_be_recognised() {
    let fixture = Fixture::with(java_row()).await;
    let renew = Write::Renew { key: SHARD.into(), owner: "java".into(), counter: 41 };
    assert_eq!(fixture.write(renew.clone()).await, Outcome::Done);
    // The same request again, as the SDK repeats one that brought no reply.
    let Outcome::ConditionFailed(Some(found)) = fixture.write(renew).await else { panic!("renewed twice") };
    assert_eq!((found.owner.as_deref(), found.counter), (Some("java"), 42));
}

#[tokio::test]
async fn taking_sets_the_owner_and_counts_a_switch_from_another() {
    let fixture = Fixture::with(java_row()).await;
    let seen = fixture.table.get(SHARD).await.unwrap().unwrap();
    assert_eq!(fixture.write(Write::Take { seen: seen.clone(), worker: "mill".into() }).await, Outcome::Done);
    let taken = changed(
        &java_row(),
        &[("leaseOwner", s("mill")), ("leaseCounter", n(42)), ("ownerSwitchesSinceCheckpoint", n(4))],
        &["checkpointOwner"],
    );
    assert_eq!(fixture.row().await, taken);

    // Again by the one that owns it, as after a restart: no switch.
    let seen = fixture.table.get(SHARD).await.unwrap().unwrap();
    assert_eq!(fixture.write(Write::Take { seen, worker: "mill".into() }).await, Outcome::Done);
    assert_eq!(fixture.row().await, changed(&taken, &[("leaseCounter", n(43))], &[]));
}

#[tokio::test]
async fn taking_a_lease_without_an_owner_counts_no_switch() {
    let free = changed(&java_row(), &[], &["leaseOwner", "checkpointOwner"]);
    let fixture = Fixture::with(free.clone()).await;
    let seen = fixture.table.get(SHARD).await.unwrap().unwrap();
    assert_eq!(fixture.write(Write::Take { seen, worker: "mill".into() }).await, Outcome::Done);
    assert_eq!(fixture.row().await, changed(&free, &[("leaseOwner", s("mill")), ("leaseCounter", n(42))], &[]));
}

#[tokio::test]
async fn of_many_takers_of_one_counter_exactly_one_wins() {
    let fixture = Fixture::with(java_row()).await;
    let seen = fixture.table.get(SHARD).await.unwrap().unwrap();
    let takers: Vec<_> = (0..8)
        .map(|taker| {
            let (table, seen) = (fixture.table.clone(), seen.clone());
            tokio::spawn(async move { table.write(&Write::Take { seen, worker: format!("w{taker}") }).await.unwrap() })
        })
        .collect();
    let mut winners = Vec::new();
    for (taker, outcome) in takers.into_iter().enumerate() {
        match outcome.await.unwrap() {
            Outcome::Done => winners.push(format!("w{taker}")),
            Outcome::ConditionFailed(found) => assert_eq!(found.unwrap().counter, 42),
        }
    }
    let [winner] = &winners[..] else { panic!("{winners:?}") };
    assert_eq!(fixture.row().await["leaseOwner"], s(winner));
    assert_eq!(fixture.row().await["leaseCounter"], n(42));
}

#[tokio::test]
async fn evicting_leaves_no_owner_and_one_more_on_the_counter() {
    let fixture = Fixture::with(java_row()).await;
    let others = fixture.write(Write::Evict { key: SHARD.into(), owner: "mill".into() }).await;
    assert!(matches!(others, Outcome::ConditionFailed(Some(_))), "{others:?}");
    assert_eq!(fixture.row().await, java_row());
    assert_eq!(fixture.write(Write::Evict { key: SHARD.into(), owner: "java".into() }).await, Outcome::Done);
    assert_eq!(fixture.row().await, changed(&java_row(), &[("leaseCounter", n(42))], &["leaseOwner"]));
}

#[tokio::test]
async fn a_checkpoint_resets_switches_and_drops_what_was_pending() {
    let fixture = Fixture::with(java_row()).await;
    let write_by = |owner: &str, counter, checkpoint| Write::Checkpoint {
        key: SHARD.into(),
        owner: owner.to_owned(),
        counter,
        checkpoint,
    };
    let write = |counter, checkpoint| write_by("java", counter, checkpoint);
    for stale in [write(40, at("99")), write_by("mill", 41, at("99"))] {
        let stale = fixture.write(stale).await;
        assert!(matches!(stale, Outcome::ConditionFailed(Some(_))), "{stale:?}");
        assert_eq!(fixture.row().await, java_row());
    }

    let checkpoint = Checkpoint::from_row("340282366920938463463374607431768211457", 9).unwrap();
    assert_eq!(fixture.write(write(41, checkpoint.clone())).await, Outcome::Done);
    let pending = ["pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState"];
    let written = [
        ("leaseCounter", n(42)),
        ("ownerSwitchesSinceCheckpoint", n(0)),
        ("checkpoint", s("340282366920938463463374607431768211457")),
        ("checkpointSubSequenceNumber", n(9)),
    ];
    assert_eq!(fixture.row().await, changed(&java_row(), &written, &pending));
    assert_eq!(fixture.table.get(SHARD).await.unwrap().unwrap().checkpoint, checkpoint);

    assert_eq!(fixture.write(write(42, Checkpoint::ShardEnd)).await, Outcome::Done);
    assert_eq!(fixture.row().await["checkpoint"], s("SHARD_END"));
    assert_eq!(fixture.row().await["checkpointSubSequenceNumber"], n(0));
}

#[tokio::test]
async fn children_are_named_without_touching_the_counter() {
    let fixture = Fixture::with(java_row()).await;
    let children = Write::Children { key: SHARD.into(), children: vec!["c-9".into()] };
    assert_eq!(fixture.write(children).await, Outcome::Done);
    assert_eq!(fixture.row().await, changed(&java_row(), &[("childShardIds", ss(&["c-9"]))], &[]));
}

/// Rows of 2.x before hash ranges get theirs once; nobody's is overwritten, and the counter stays.
#[tokio::test]
async fn a_hash_range_is_written_where_there_is_none() {
    let old = changed(&java_row(), &[], &["startingHashKey", "endingHashKey"]);
    let fixture = Fixture::with(old.clone()).await;
    let range = |start, end| Write::HashRange { key: SHARD.into(), range: HashRange { start, end } };
    assert_eq!(fixture.write(range(7, u128::MAX)).await, Outcome::Done);
    let written = [("startingHashKey", s("7")), ("endingHashKey", s("340282366920938463463374607431768211455"))];
    assert_eq!(fixture.row().await, changed(&old, &written, &[]));
    assert!(matches!(fixture.write(range(1, 2)).await, Outcome::ConditionFailed(Some(_))));
    assert_eq!(fixture.row().await, changed(&old, &written, &[]));
}

/// Only a finished lease that nobody touched is deleted.
#[tokio::test]
async fn a_row_is_deleted_at_its_end_and_at_its_counter() {
    let ended = changed(&java_row(), &[("checkpoint", s("SHARD_END"))], &[]);
    let fixture = Fixture::with(ended.clone()).await;
    let delete = |counter| Write::Delete { key: SHARD.into(), counter };
    assert!(matches!(fixture.write(delete(40)).await, Outcome::ConditionFailed(Some(row)) if row.counter == 41));
    assert_eq!(fixture.row().await, ended);
    fixture.put(java_row()).await;
    assert!(matches!(fixture.write(delete(41)).await, Outcome::ConditionFailed(Some(_))), "it is not finished");
    fixture.put(ended).await;
    assert_eq!(fixture.write(delete(41)).await, Outcome::Done);
    assert_eq!(fixture.row().await, Item::new());
    assert_eq!(fixture.write(delete(41)).await, Outcome::ConditionFailed(None));
}

#[tokio::test]
async fn no_write_makes_a_row_that_was_deleted() {
    let fixture = Fixture::new().await;
    let key = || SHARD.to_owned();
    let writes = [
        Write::Renew { key: key(), owner: "mill".into(), counter: 0 },
        Write::Take { seen: lease(Checkpoint::Latest), worker: "mill".into() },
        Write::Evict { key: key(), owner: "mill".into() },
        Write::Checkpoint { key: key(), owner: "mill".into(), counter: 0, checkpoint: at("1") },
        Write::Children { key: key(), children: vec!["c".into()] },
        Write::HashRange { key: key(), range: HashRange { start: 0, end: 9 } },
        Write::Delete { key: key(), counter: 0 },
    ];
    for write in writes {
        assert_eq!(fixture.write(write.clone()).await, Outcome::ConditionFailed(None), "{write:?}");
    }
    assert_eq!(fixture.row().await, Item::new());
    assert_eq!(fixture.table.get(SHARD).await.unwrap(), None);
}

#[tokio::test]
async fn a_scan_skips_rows_of_other_kinds_and_survives_broken_ones() {
    // As a JVM prints small numbers.
    let throughput = ("throughputKBps", AttributeValue::N("1.8E-5".to_owned()));
    let fixture = Fixture::with(changed(&java_row(), &[throughput], &[])).await;
    let named = |key: &str, base: &Item, changes: &[(&str, AttributeValue)], gone: &[&str]| {
        let mut changes = changes.to_vec();
        changes.push(("leaseKey", s(key)));
        changed(base, &changes, gone)
    };
    let java = java_row();
    // A 2.x row: no entity type, no hash range, no parents, and nobody has it.
    let old = row(&[("leaseCounter", n(5)), ("checkpoint", s("LATEST"))]);
    fixture.put(named("old", &old, &[], &[])).await;
    let foreign = [("Leader", "LEADER"), ("Migration3.0", "CLIENT_VERSION_MIGRATION"), ("w-1", "WORKER_METRIC_STATS")];
    for (key, kind) in foreign {
        fixture.put(row(&[("leaseKey", s(key)), ("entityType", s(kind)), ("leaseOwner", s("x"))])).await;
        assert_eq!(fixture.table.get(key).await.unwrap(), None);
    }
    let broken = [
        (named("b0", &java, &[], &["checkpoint"]), "`checkpoint` is missing"),
        (
            named("b1", &java, &[("checkpoint", s("shardEnd"))], &[]),
            "`shardEnd` is not a sequence number: expected decimal digits",
        ),
        (named("b2", &java, &[], &["leaseCounter"]), "`leaseCounter` is missing"),
        (named("b3", &java, &[("leaseCounter", s("1"))], &[]), "`leaseCounter` is not a number"),
        (
            named("b4", &java, &[("startingHashKey", s("-1"))], &[]),
            "`startingHashKey` is `-1`, expected a 128-bit number",
        ),
        (named("b5", &java, &[("parentShardId", s("p"))], &[]), "`parentShardId` is not a set of strings"),
        (
            named("1:orders:2:shardId-0", &java, &[("streamName", s("1:orders:2"))], &[]),
            "it belongs to stream `1:orders:2` of a multi-stream application, but no aws.kcl.StreamIdentifier is set",
        ),
    ];
    for (row, _) in &broken {
        fixture.put(row.clone()).await;
    }

    let mut scan = fixture.table.scan().await.unwrap();
    scan.undecodable.sort();
    let mut expected: Vec<_> =
        broken.iter().map(|(row, reason)| (row["leaseKey"].as_s().unwrap().clone(), (*reason).to_owned())).collect();
    expected.sort();
    assert_eq!(scan.undecodable, expected);
    assert_eq!(scan.foreign, foreign.len());
    scan.leases.sort_by(|a, b| a.key.cmp(&b.key));
    let [old, java] = &scan.leases[..] else { panic!("{:?}", scan.leases) };
    assert_eq!(*old, Lease { key: "old".into(), counter: 5, hash_range: None, ..lease(Checkpoint::Latest) });
    assert_eq!(java.parents, ["shardId-000000000000", "shardId-000000000001"]);
    assert_eq!((java.owner.as_deref(), java.checkpoint_owner.as_deref()), (Some("java"), Some("older")));
    let unreadable = fixture.table.get("b0").await.unwrap_err();
    assert_eq!(unreadable.kind, ErrorKind::Invalid, "{unreadable}");
}

#[tokio::test]
async fn a_scan_reads_all_pages() {
    let fixture = Fixture::new().await;
    // 30 rows of 100 kB are three pages of 1 MB.
    for index in 0..30 {
        let key = format!("shardId-{index:012}");
        let padding = ("padding", s(&"x".repeat(100_000)));
        fixture.put(changed(&java_row(), &[("leaseKey", s(&key)), padding], &[])).await;
    }
    let keys: HashSet<_> = fixture.table.scan().await.unwrap().leases.into_iter().map(|lease| lease.key).collect();
    assert_eq!(keys.len(), 30);
}

#[tokio::test]
async fn a_table_is_made_once_and_paid_for_as_asked() {
    let backend = backend();
    let raw = raw_client(&backend);
    let cases = [
        ("on-demand", config::BillingMode::PayPerRequest, BillingMode::PayPerRequest, (0, 0)),
        ("provisioned", config::BillingMode::Provisioned { read: 10, write: 5 }, BillingMode::Provisioned, (10, 5)),
    ];
    for (name, billing_mode, mode, units) in cases {
        let new = NewTable { billing_mode, ..NewTable::default() };
        let table = lease_table(&backend, name).await;
        let missing = table.scan().await.unwrap_err();
        assert_eq!((missing.kind, missing.operation), (ErrorKind::NotFound, "Scan"));
        assert_eq!(table.ensure(new).await.unwrap(), Ensured::Created);
        assert_eq!(table.ensure(new).await.unwrap(), Ensured::Existed);
        let made = raw.describe_table().table_name(name).send().await.unwrap().table.unwrap();
        let [key] = made.key_schema() else { panic!("{:?}", made.key_schema()) };
        assert_eq!((key.attribute_name(), key.key_type()), ("leaseKey", &KeyType::Hash));
        assert_eq!(made.attribute_definitions()[0].attribute_type(), &ScalarAttributeType::S);
        // Absent means provisioned.
        let summary = made.billing_mode_summary.and_then(|summary| summary.billing_mode);
        assert_eq!(summary.unwrap_or(BillingMode::Provisioned), mode);
        let found = made.provisioned_throughput.unwrap();
        assert_eq!((found.read_capacity_units.unwrap(), found.write_capacity_units.unwrap()), units);
    }
}

#[tokio::test]
async fn workers_that_start_together_share_one_table() {
    let backend = backend();
    let table = lease_table(&backend, TABLE).await;
    let starts: Vec<_> = (0..6)
        .map(|_| {
            let table = table.clone();
            tokio::spawn(async move { table.ensure(NewTable::default()).await.unwrap() })
        })
        .collect();
    let mut created = 0;
    for start in starts {
        created += usize::from(start.await.unwrap() == Ensured::Created);
    }
    assert_eq!(created, 1);
    assert_eq!(table.scan().await.unwrap().leases, []);
}

#[tokio::test]
async fn a_table_with_another_key_is_no_lease_table() {
    use ScalarAttributeType::{N, S};
    let cases = [
        (vec![("id", S)], "`id` of type S"),
        (vec![("leaseKey", N)], "`leaseKey` of type N"),
        (vec![("leaseKey", S), ("at", N)], "`leaseKey` of type S and `at` of type N as sort key"),
    ];
    for (key, said) in cases {
        let backend = backend();
        let mut create = raw_client(&backend).create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
        for ((name, scalar), role) in key.into_iter().zip([KeyType::Hash, KeyType::Range]) {
            let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(scalar);
            let element = KeySchemaElement::builder().attribute_name(name).key_type(role);
            create = create.key_schema(element.build().unwrap()).attribute_definitions(definition.build().unwrap());
        }
        create.send().await.unwrap();
        let table = lease_table(&backend, TABLE).await;
        for error in [table.ensure(NewTable::default()).await.unwrap_err(), table.find().await.unwrap_err()] {
            assert_eq!(error.kind, ErrorKind::Invalid);
            let expected = format!(
                "DescribeTable: lease table `{TABLE}`: it is not a lease table: its key is {said}, expected `leaseKey` of \
                 type S alone; "
            );
            assert!(error.to_string().starts_with(&expected), "{error}");
            assert!(error.message.contains("TableName"), "{error}");
        }
    }
}

/// Any write, against whatever the row holds by then.
#[derive(Clone, Debug)]
enum Step {
    Renew { stale: bool },
    Take { worker: u8, stale: bool },
    Evict { worker: u8 },
    Checkpoint { sequence: u64, stale: bool },
    Children,
    Create,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(|stale| Step::Renew { stale }),
        (0..3u8, any::<bool>()).prop_map(|(worker, stale)| Step::Take { worker, stale }),
        (0..3u8).prop_map(|worker| Step::Evict { worker }),
        (any::<u64>(), any::<bool>()).prop_map(|(sequence, stale)| Step::Checkpoint { sequence, stale }),
        Just(Step::Children),
        Just(Step::Create),
    ]
}

fn to_write(step: &Step, found: &Lease) -> Write {
    let key = SHARD.to_owned();
    let owner = || found.owner.clone().unwrap_or_default();
    let counter = |stale: bool| if stale { found.counter.wrapping_sub(1) } else { found.counter };
    match *step {
        Step::Renew { stale } => Write::Renew { key, owner: owner(), counter: counter(stale) },
        Step::Take { worker, stale } => {
            Write::Take { seen: Lease { counter: counter(stale), ..found.clone() }, worker: format!("w{worker}") }
        }
        Step::Evict { worker } => Write::Evict { key, owner: format!("w{worker}") },
        Step::Checkpoint { sequence, stale } => {
            Write::Checkpoint { key, owner: owner(), counter: counter(stale), checkpoint: at(&sequence.to_string()) }
        }
        Step::Children => Write::Children { key, children: vec!["c".to_owned()] },
        Step::Create => Write::Create(lease(Checkpoint::Latest)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_counter_never_decreases_and_what_is_unknown_survives(steps in prop::collection::vec(steps(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::with(java_row()).await;
            let mut before = fixture.table.get(SHARD).await.unwrap().unwrap();
            for step in &steps {
                let write = to_write(step, &before);
                let done = fixture.write(write.clone()).await == Outcome::Done;
                let after = fixture.table.get(SHARD).await.unwrap().unwrap();
                match (done, &write) {
                    (false, _) => assert_eq!(after, before, "{write:?}"),
                    (true, Write::Children { .. }) => assert_eq!(after.counter, before.counter),
                    (true, _) => assert_eq!(after.counter, before.counter + 1, "{write:?}"),
                }
                before = after;
            }
            let end = fixture.row().await;
            for kept in ["somethingNew", "throughputKBps", "parentShardId", "startingHashKey", "entityType"] {
                assert_eq!(end.get(kept), java_row().get(kept), "{kept}");
            }
        });
    }
}
