//! Items of the conformance list (`tests/CONFORMANCE.md`) as they show in the rows that a whole job leaves.

use std::collections::BTreeSet;

use shardmill_core::config::NewTable;
use shardmill_core::leases::{Lease, Outcome, Write};
use shardmill_core::position::Checkpoint;
use shardmill_local::Kinesis;
use shardmill_tests::account::{Account, table_name};
use shardmill_tests::echoes::{self, Producer, assert_each_once};
use shardmill_tests::wait::until;

use crate::job::Job;
use crate::reshard::reshard;

const FIRST: &str = "shardId-000000000000";

/// Leases are all that is ever written to a lease table, whatever a job goes through: a Java worker of 1.x or 2.x dies
/// of any other row.
#[tokio::test(flavor = "multi_thread")]
async fn item_15_a_whole_life_leaves_nothing_but_leases() {
    let account = Account::new();
    account.stream("lines", 2);
    let mut producer = Producer::new(40);
    let properties = account.properties(&["lines"]);
    let first = Job::start(&properties.clone().kcl("WorkerId", "first")).await;
    let output = account.path("second").display().to_string();
    let second = Job::start(&properties.kcl("WorkerId", "second").set("systems.out.file.path", &output)).await;
    until("each reads a shard", async || {
        let rows = account.leases("lines").await;
        let owners: BTreeSet<String> = rows.into_iter().filter_map(|row| row.owner).collect();
        (owners.len() == 2).then_some(())
    })
    .await;
    let split = |kinesis: &Kinesis| kinesis.split_shard_evenly("lines", FIRST).unwrap();
    reshard(&account, &mut producer, &[&split]);
    until("the parent is finished", async || {
        let rows = account.leases("lines").await;
        (rows.len() == 4 && rows[0].checkpoint == Checkpoint::ShardEnd).then_some(())
    })
    .await;
    first.stop().await;
    second.stop().await;

    let scan = account.lease_table(&table_name("lines")).await.scan().await.unwrap();
    assert_eq!((scan.foreign, scan.undecodable), (0, vec![]));
    let keys: BTreeSet<&str> = scan.leases.iter().map(|lease| lease.key.as_str()).collect();
    let shards = (0..4).map(|index| format!("shardId-{index:012}"));
    assert_eq!(keys, shards.collect::<Vec<_>>().iter().map(String::as_str).collect());
    // (38) And nobody owns any of them.
    assert!(scan.leases.iter().all(|lease| lease.owner.is_none() && lease.counter > 0), "{:?}", scan.leases);
}

/// Of two streams, one with the cleanup switched off: by the time two generations of finished shards lost their rows
/// in the other's table, it still has all of its own.
#[tokio::test(flavor = "multi_thread")]
async fn item_57_without_cleanup_every_row_stays() {
    let account = Account::new();
    let streams = ["kept", "tidied"];
    let mut producer = Producer::new(40);
    for stream in streams {
        account.stream(stream, 1);
    }
    let properties = account.properties(&streams).kcl("FailoverTimeMillis", "500");
    let properties = properties.kcl("CompletedLeaseCleanupThresholdMillis", "100");
    let of_stream = |name: &str| format!("systems.kinesis.streams.{name}.aws.kcl.CleanupLeasesUponShardCompletion");
    let job = Job::start(&properties.set(&of_stream("tidied"), "true").set(&of_stream("kept"), "false")).await;
    let mut written = 0;
    for shard in [FIRST, "shardId-000000000001"] {
        for stream in streams {
            producer.put(account.kinesis(), stream, 100);
            account.kinesis().split_shard_evenly(stream, shard).unwrap();
            // Something for each of the children, so that they are begun.
            producer.put(account.kinesis(), stream, 100);
            written += 200;
        }
        job.processed(written).await;
    }
    let gone = async || {
        let rows = account.leases("tidied").await;
        let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        (keys == ["shardId-000000000002", "shardId-000000000003", "shardId-000000000004"]).then_some(())
    };
    until("two generations are gone", gone).await;
    let kept = account.leases("kept").await;
    assert_eq!(kept.len(), 5, "{kept:?}");
    assert!(kept[..2].iter().all(|row| row.checkpoint == Checkpoint::ShardEnd), "{kept:?}");
    job.stop().await;
}

/// A table that lost rows gets those that no other leads to, by the documented example: of the shards
///
/// ```text
/// 0 1 2 3 4   5
/// \ / \ / |   |
///  6   7  4   5
///   \ /   |  / \
///    8    4 9  10
/// ```
///
/// 4, 5 and 7 have rows. For new records 6 is what lacks, for old ones 0 and 1; the ends of those bring the others.
#[tokio::test(flavor = "multi_thread")]
async fn item_43_the_documented_table_is_completed() {
    for (position, oldest) in [("LATEST", vec![4, 5, 6]), ("TRIM_HORIZON", vec![0, 1, 4, 5, 6])] {
        let account = Account::new();
        account.stream("lines", 6);
        let (kinesis, id) = (account.kinesis(), |index: u32| format!("shardId-{index:012}"));
        for (left, right) in [(0, 1), (2, 3), (6, 7)] {
            kinesis.merge_shards("lines", &id(left), &id(right)).unwrap();
        }
        kinesis.split_shard_evenly("lines", &id(5)).unwrap();
        let table = account.lease_table(&table_name("lines")).await;
        table.ensure(NewTable::default()).await.unwrap();
        for key in [4, 5, 7].map(id) {
            assert_eq!(table.write(&Write::Create(unread(key))).await.unwrap(), Outcome::Done);
        }

        let job = Job::start(&account.properties(&["lines"]).kcl("InitialPositionInStream", position)).await;
        job.caught_up().await;
        let rows = account.leases("lines").await;
        let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        let expected: Vec<String> = oldest.into_iter().chain(7..=10).map(id).collect();
        assert_eq!(keys, expected, "{position}");
        let open = rows.iter().filter(|row| row.checkpoint != Checkpoint::ShardEnd).map(|row| row.key.clone());
        assert_eq!(open.collect::<Vec<_>>(), [4, 8, 9, 10].map(id), "{position}");
        job.stop().await;
    }
}

/// A row as it is created for a shard of whose past nothing is known.
fn unread(key: String) -> Lease {
    Lease {
        key,
        owner: None,
        counter: 0,
        owner_switches: 0,
        checkpoint: Checkpoint::Latest,
        parents: Vec::new(),
        children: Vec::new(),
        hash_range: None,
        checkpoint_owner: None,
        latest_since: None,
    }
}

/// A record without a byte is a record: one that is the last of what there is, or of its shard, is delivered, and the
/// position moves past it.
#[tokio::test(flavor = "multi_thread")]
async fn a_last_record_without_a_byte_is_delivered_and_committed() {
    let account = Account::new();
    account.stream("lines", 1);
    let job = Job::start(&account.properties(&["lines"])).await;
    for message in ["one", "", "two", ""] {
        account.kinesis().put_record("lines", "key", message.as_bytes()).unwrap();
    }
    job.processed(4).await;
    let last = account.records("lines").swap_remove(3).sequence_number;
    until("the last of them is committed", async || {
        let row = account.leases("lines").await.swap_remove(0);
        (row.checkpoint.sequence_text() == last).then_some(())
    })
    .await;
    account.kinesis().put_record("lines", "key", b"").unwrap();
    account.kinesis().split_shard_evenly("lines", FIRST).unwrap();
    until("the shard is finished", async || {
        let row = account.leases("lines").await.swap_remove(0);
        (row.checkpoint == Checkpoint::ShardEnd).then_some(())
    })
    .await;
    job.stop().await;
    assert_each_once(&echoes::read(&account.output()), &account.records("lines"));
}
