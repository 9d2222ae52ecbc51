//! Shards are split and merged while the job runs: every record once, per key in order, parents before children.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use shardmill_core::leases::Lease;
use shardmill_core::position::Checkpoint;
use shardmill_local::Kinesis;
use shardmill_local::model::{ListShards, ShardInfo, StreamRef};
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Producer, assert_each_once, assert_keys_in_order, assert_shards_in_order};

use crate::job::Job;

/// Records written to one shape of the stream, at least.
const STEP: usize = 300;
const KEYS: usize = 40;

fn shards(kinesis: &Kinesis, stream: &str) -> Vec<ShardInfo> {
    let (now, stream) = (kinesis.now(), StreamRef::from(stream));
    kinesis.model().list_shards(now, &stream, ListShards::default()).unwrap().shards
}

fn open_shards(kinesis: &Kinesis, stream: &str) -> Vec<String> {
    let open = |shard: &ShardInfo| shard.ending.is_none();
    shards(kinesis, stream).into_iter().filter(open).map(|shard| shard.shard_id).collect()
}

/// Makes the changes one after the other while a producer writes, a step of records before the first and at least one
/// with each. Nobody waits for the job, so that its backlog spans generations of shards. Returns the records written.
pub(crate) fn reshard(account: &Account, producer: &mut Producer, changes: &[&dyn Fn(&Kinesis)]) -> usize {
    let kinesis = account.kinesis();
    producer.put(kinesis, "lines", STEP);
    let mut count = STEP;
    for change in changes {
        let changed = AtomicBool::new(false);
        count += std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut count = 0;
                while count < STEP || !changed.load(Ordering::Relaxed) {
                    producer.put(kinesis, "lines", 10);
                    count += 10;
                }
                count
            });
            change(kinesis);
            changed.store(true, Ordering::Relaxed);
            writer.join().unwrap()
        });
    }
    count
}

/// Each shard stands in the lease table as the stream has it: closed ones finished, with their children.
async fn assert_lineage(account: &Account, stream: &str) {
    let rows: BTreeMap<String, Lease> =
        account.leases(stream).await.into_iter().map(|row| (row.key.clone(), row)).collect();
    let shards = shards(account.kinesis(), stream);
    assert_eq!(rows.len(), shards.len(), "{rows:#?}");
    let parents =
        |shard: &ShardInfo| -> Vec<String> { shard.parent.iter().chain(&shard.adjacent_parent).cloned().collect() };
    for shard in &shards {
        let row = &rows[&shard.shard_id];
        let mut children: Vec<&String> = shards
            .iter()
            .filter(|child| parents(child).contains(&shard.shard_id))
            .map(|child| &child.shard_id)
            .collect();
        let mut named: Vec<&String> = row.children.iter().collect();
        children.sort();
        named.sort();
        assert_eq!(named, children, "{row:?}");
        assert_eq!(row.checkpoint == Checkpoint::ShardEnd, shard.ending.is_some(), "{row:?}");
        assert_eq!(row.owner, None, "{row:?}");
    }
}

pub(crate) async fn assert_nothing_lost_or_swapped(account: &Account) {
    let (echoes, records) = (echoes::read(&account.output()), account.records("lines"));
    assert_each_once(&echoes, &records);
    assert_shards_in_order(&echoes);
    // A key's records are in a parent first and in a child later: its numbers hold across both.
    assert_keys_in_order(&echoes);
    assert_lineage(account, "lines").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_and_a_merge_while_running_keep_every_key_in_order() {
    let account = Account::new();
    account.stream("lines", 2);
    let mut producer = Producer::new(KEYS);
    let job = Job::start(&account.properties(&["lines"])).await;
    let split = |kinesis: &Kinesis| kinesis.split_shard_evenly("lines", "shardId-000000000000").unwrap();
    let merge = |kinesis: &Kinesis| {
        kinesis.merge_shards("lines", "shardId-000000000002", "shardId-000000000003").unwrap();
    };
    let mut written = 0;
    for change in [&split as &dyn Fn(&Kinesis), &merge] {
        written += reshard(&account, &mut producer, &[change]);
        job.processed(written).await;
        job.caught_up().await;
    }
    job.stop().await;

    assert_eq!(open_shards(account.kinesis(), "lines").len(), 2);
    assert_nothing_lost_or_swapped(&account).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn update_shard_count_up_and_down_while_producers_write_loses_nothing() {
    let account = Account::new();
    account.stream("lines", 4);
    let mut producer = Producer::new(KEYS);
    let job = Job::start(&account.properties(&["lines"])).await;
    let to = |target: u32| move |kinesis: &Kinesis| kinesis.update_shard_count("lines", target).unwrap();
    // Both changes at once: merge children get parents that are children themselves, of shards not yet read.
    let written = reshard(&account, &mut producer, &[&to(8), &to(3)]);
    job.processed(written).await;
    job.caught_up().await;
    job.stop().await;

    assert_eq!(open_shards(account.kinesis(), "lines").len(), 3);
    assert_nothing_lost_or_swapped(&account).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_on_a_resharded_stream_reads_parents_before_children() {
    let account = Account::new();
    account.stream("lines", 2);
    let mut producer = Producer::new(KEYS);
    for shards in [4, 2, 3] {
        producer.put(account.kinesis(), "lines", STEP);
        account.kinesis().update_shard_count("lines", shards).unwrap();
    }
    producer.put(account.kinesis(), "lines", STEP);

    let job = Job::start(&account.properties(&["lines"])).await;
    job.processed(4 * STEP).await;
    job.caught_up().await;
    job.stop().await;

    assert_nothing_lost_or_swapped(&account).await;
}
