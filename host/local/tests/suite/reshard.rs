//! Split, merge, update: lineage, ranges, the end of a shard.

use shardmill_local::model::{CreateStream, ErrorKind, HashRange, Mode, ModelConfig, Position, ShardFilter, StreamRef};

use crate::client::START;
use crate::world::{MIDDLE, World, id, refused, texts};

#[test]
fn a_split_cuts_the_range_and_names_the_parent() {
    let world = World::new(1);
    world.split(0, 1000).unwrap();
    let shard = |i| world.model.shard(START, &world.stream(), &id(i)).unwrap();
    assert_eq!(shard(1).range, HashRange { start: 0, end: 999 });
    assert_eq!(shard(2).range, HashRange { start: 1000, end: u128::MAX });
    assert_eq!(shard(1).parent, Some(id(0)));
    assert_eq!(shard(1).adjacent_parent, None);
    let ending = shard(0).ending.unwrap();
    assert!(ending < shard(1).starting && ending < shard(2).starting, "children start after the parent ends");
    assert_eq!(shard(1).ending, None);
}

#[test]
fn a_merge_joins_the_ranges_and_names_both_parents() {
    let world = World::new(2);
    world.merge(1, 0).unwrap();
    let child = world.model.shard(START, &world.stream(), &id(2)).unwrap();
    assert_eq!(child.range, HashRange::ALL);
    assert_eq!((child.parent, child.adjacent_parent), (Some(id(1)), Some(id(0))));
    for parent in [0, 1] {
        let parent = world.model.shard(START, &world.stream(), &id(parent)).unwrap();
        assert!(parent.ending.unwrap() < child.starting);
    }
}

#[test]
fn a_reshard_that_cannot_be_is_refused() {
    let world = World::new(4);
    let invalid = ErrorKind::InvalidArgument;
    assert_eq!(refused(world.split(0, 0), "NewStartingHashKey 0"), invalid);
    assert_eq!(refused(world.split(0, MIDDLE), "less than the shard's EndingHashKey"), invalid);
    assert_eq!(refused(world.merge(0, 2), "not an adjacent pair"), invalid);
    assert_eq!(refused(world.merge(0, 0), "not an adjacent pair"), invalid);
    assert_eq!(refused(world.split(9, 5), "shardId-000000000009"), ErrorKind::ResourceNotFound);
    world.split(0, 5).unwrap();
    assert_eq!(refused(world.split(0, 3), "already been merged or split"), invalid);
    assert_eq!(refused(world.merge(0, 1), "already been merged or split"), invalid);
}

#[test]
fn a_closed_parent_is_read_to_its_end_which_comes_with_the_last_records() {
    let world = World::new(1);
    let latest = world.iterator(0, Position::Latest);
    world.put_at(0, "a");
    world.put_at(0, "b");
    world.split(0, MIDDLE).unwrap();
    assert_eq!(world.put_at(0, "c").shard_id, id(1), "writes go to the child");

    let one = world.model.get_records(START, &latest, Some(1)).unwrap();
    assert!(one.next_iterator.is_some() && one.child_shards.is_empty(), "not yet the end");
    let end = world.get(&one.next_iterator.unwrap());
    assert_eq!(texts(&end), ["b"]);
    assert_eq!((end.next_iterator, end.millis_behind_latest), (None, 0));
    let children: Vec<_> = end.child_shards.iter().map(|c| (c.shard_id.clone(), c.parents.clone())).collect();
    assert_eq!(children, [(id(1), vec![id(0)]), (id(2), vec![id(0)])]);
    assert_eq!(end.child_shards[1].range.start, MIDDLE);
    assert_eq!(texts(&world.read(1, Position::TrimHorizon)), ["c"]);
}

#[test]
fn both_parents_of_a_merge_end_with_the_same_child() {
    let world = World::new(2);
    world.merge(0, 1).unwrap();
    for parent in [0, 1] {
        let end = world.read(parent, Position::Latest);
        assert_eq!(end.next_iterator, None);
        assert_eq!(end.child_shards.len(), 1);
        assert_eq!(end.child_shards[0].parents, [id(0), id(1)]);
    }
}

#[test]
fn a_reader_at_the_tip_learns_of_the_end() {
    let world = World::new(1);
    let iterator = world.read(0, Position::Latest).next_iterator.unwrap();
    world.split(0, MIDDLE).unwrap();
    let end = world.get(&iterator);
    assert_eq!((end.count, end.next_iterator.is_none(), end.child_shards.len()), (0, true, 2));
    let ending = world.model.shard(START, &world.stream(), "0").unwrap().ending.unwrap().to_string();
    assert_eq!(world.read(0, Position::After(&ending)).child_shards.len(), 2);
}

#[test]
fn update_shard_count_splits_and_merges_with_lineage() {
    let world = World::new(2);
    assert_eq!(world.model.update_shard_count(START, &world.stream(), 4).unwrap(), 2);
    assert_eq!(world.list(ShardFilter::AtLatest).len(), 4);
    for shard in world.list(ShardFilter::AtLatest) {
        let info = world.model.shard(START, &world.stream(), &id(shard)).unwrap();
        assert!(info.parent.is_some());
        assert_eq!(info.range.start % (1 << 126), 0, "ranges are equal");
    }
    world.model.update_shard_count(START, &world.stream(), 3).unwrap();
    let open = world.list(ShardFilter::AtLatest);
    assert_eq!(open.len(), 3);
    let third = u128::MAX / 3;
    let mut starts: Vec<_> =
        open.iter().map(|i| world.model.shard(START, &world.stream(), &id(*i)).unwrap().range.start).collect();
    starts.sort_unstable();
    assert_eq!(starts, [0, third, 2 * third]);
    assert_eq!(world.list(ShardFilter::AtTrimHorizon), [0, 1], "those the stream began with");
}

#[test]
fn update_shard_count_at_most_doubles_and_halves_while_limits_hold() {
    let world = World::with(4, ModelConfig::default());
    let update = |target| world.model.update_shard_count(START, &world.stream(), target);
    assert_eq!(refused(update(9), "up over double"), ErrorKind::InvalidArgument);
    assert_eq!(refused(update(1), "down below half"), ErrorKind::InvalidArgument);
    assert_eq!(refused(update(0), "targetShardCount"), ErrorKind::Validation);
    update(8).unwrap();
    let free = World::new(4);
    free.model.update_shard_count(START, &free.stream(), 1).unwrap();
    free.model.update_shard_count(START, &free.stream(), 10).unwrap();
    assert_eq!(free.list(ShardFilter::AtLatest).len(), 10);

    let on_demand = CreateStream { name: "o".to_owned(), mode: Mode::OnDemand, ..CreateStream::default() };
    world.model.create_stream(START, on_demand).unwrap();
    let refusal = world.model.update_shard_count(START, &StreamRef::from("o"), 8);
    assert_eq!(refused(refusal, "On-Demand"), ErrorKind::InvalidArgument);
}

#[test]
fn a_stream_resharded_before_its_first_reader_is_read_whole_from_the_trim_horizon() {
    let world = World::new(1);
    world.put_at(0, "before");
    world.split(0, MIDDLE).unwrap();
    world.put_at(0, "left");
    world.put_at(MIDDLE, "right");
    let mut todo: Vec<String> = vec![id(world.list(ShardFilter::AtTrimHorizon)[0])];
    let mut seen = Vec::new();
    while let Some(shard) = todo.pop() {
        let batch = world.read(crate::world::index(&shard), Position::TrimHorizon);
        seen.extend(texts(&batch));
        todo.extend(batch.child_shards.into_iter().map(|child| child.shard_id));
    }
    seen.sort_unstable();
    assert_eq!(seen, ["before", "left", "right"]);
}
