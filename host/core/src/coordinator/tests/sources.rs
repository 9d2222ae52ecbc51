//! A shard's way: lease, source, reader, checkpoint, end.

use super::*;

#[test]
fn a_lease_becomes_a_source_of_the_task_that_the_grouper_says() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.start(0, "a1", 3), ["source 0 is a1 of 0", "task 0: assigned 0 under 3 at TRIM_HORIZON to 0"]);
    assert_eq!(bench.start(1, "b1", 1), ["source 1 is b1 of 1", "task 1: assigned 1 under 1 at TRIM_HORIZON to 0"]);
    assert_eq!(bench.read(1, 1, 1), ["read 1 as 1 from TRIM_HORIZON"]);
}

#[test]
fn a_shard_that_comes_back_is_the_same_source() {
    let mut bench = Bench::new(1);
    bench.start(0, "a1", 1);
    bench.read(0, 0, 1);
    let why = leases::Loss::Expired;
    let lost = leases::Action::Revoke { key: "a1".to_owned(), epoch: 1, why };
    assert_eq!(bench.lease(0, lost), ["stop reading 0", "task 0: revoked 0 under 1"]);
    assert_eq!(bench.start(0, "a1", 2), ["task 0: assigned 0 under 2 at TRIM_HORIZON to 0"]);
}

/// Two inputs may have shards of one name.
#[test]
fn shards_of_two_inputs_are_two_sources() {
    let mut bench = Bench::new(1);
    bench.start(0, "a1", 1);
    assert_eq!(bench.start(1, "a1", 1)[0], "source 1 is a1 of 0");
    let checkpoint = |source| run_loop::Action::Checkpoint { source, epoch: 1, checkpoint: Checkpoint::ShardEnd };
    assert_eq!(bench.task(0, checkpoint(1)), ["lease 1: checkpoint a1 under 1 at SHARD_END"]);
}

#[test]
fn credit_is_for_the_reader_that_delivered() {
    let mut bench = Bench::new(1);
    bench.start(0, "a1", 1);
    bench.read(0, 0, 1);
    bench.read(0, 0, 2);
    let processed = |generation| run_loop::Action::Processed { source: 0, generation, bytes: 10, records: 2 };
    assert_eq!(bench.task(0, processed(1)), NONE, "of an older reading");
    assert_eq!(bench.task(0, processed(2)), ["credit 0: 10 bytes, 2 records"]);
}

#[test]
fn the_end_of_a_shard_goes_to_the_rollout_and_to_its_lease() {
    let mut bench = Bench::new(1);
    bench.start(0, "a1", 1);
    bench.read(0, 0, 1);
    let end = run_loop::Action::EndShard { source: 0, epoch: 1, children: vec![child("a2", "a1")] };
    assert_eq!(bench.task(0, end), ["lease 0: ended a1"]);
    let sealed = leases::Action::ShardSealed { key: "a1".to_owned(), epoch: 1 };
    assert_eq!(bench.lease(0, sealed), ["stop reading 0", "task 0: sealed 0"]);
}

#[test]
fn a_checkpoint_is_noticed_and_its_task_hears_of_it() {
    let mut bench = Bench::new(1);
    bench.start(0, "a1", 1);
    let (key, checkpoint) = ("a1".to_owned(), Checkpoint::ShardEnd);
    let done = leases::Action::Checkpointed { key, epoch: 1, checkpoint: checkpoint.clone(), written: true };
    assert_eq!(bench.lease(0, done.clone()), ["task 0: checkpointed 0"]);
    let notices = bench.notices(Event::Lease { input: 0, action: done });
    assert_eq!(notices, [Notice::Checkpointed { source: 0, checkpoint, written: true }]);
}
