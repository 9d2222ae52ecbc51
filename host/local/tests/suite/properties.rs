//! What holds for any history of reshards, writes and time.

use proptest::prelude::*;
use shardmill_local::model::{Position, ShardFilter};

use crate::world::{World, id, index};

/// One thing that happens; numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    Split { shard: usize, at: u128 },
    Merge { shard: usize },
    Rescale { target: u32 },
    Put { key: u128 },
    Wait { ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (any::<usize>(), any::<u128>()).prop_map(|(shard, at)| Step::Split { shard, at }),
        any::<usize>().prop_map(|shard| Step::Merge { shard }),
        (1u32..12).prop_map(|target| Step::Rescale { target }),
        any::<u128>().prop_map(|key| Step::Put { key }),
        (0u64..20_000_000).prop_map(|ms| Step::Wait { ms }),
    ];
    proptest::collection::vec(step, 1..25)
}

/// Carries a step out; returns the text it wrote, if any.
fn apply(world: &mut World, step: &Step, count: usize) -> Option<String> {
    let mut open = world.list(ShardFilter::AtLatest);
    open.sort_by_key(|i| world.model.shard(world.now, &world.stream(), &id(*i)).unwrap().range.start);
    match *step {
        Step::Split { shard, at } => {
            let shard = open[shard % open.len()];
            let range = world.model.shard(world.now, &world.stream(), &id(shard)).unwrap().range;
            let inside = range.start < at && at < range.end;
            assert_eq!(world.split(shard, at).is_ok(), inside);
        }
        Step::Merge { shard } if open.len() > 1 => {
            let left = shard % (open.len() - 1);
            world.merge(open[left], open[left + 1]).unwrap();
        }
        Step::Merge { .. } => {}
        Step::Rescale { target } => {
            world.model.update_shard_count(world.now, &world.stream(), target).unwrap();
            assert_eq!(world.list(ShardFilter::AtLatest).len(), target as usize);
        }
        Step::Put { key } => {
            let text = format!("{count}");
            world.put_at(key, &text);
            return Some(text);
        }
        Step::Wait { ms } => world.now += ms,
    }
    None
}

/// These shards cover the hash space exactly once.
fn assert_complete(world: &World, shards: &[u32]) {
    let mut ranges: Vec<_> =
        shards.iter().map(|i| world.model.shard(world.now, &world.stream(), &id(*i)).unwrap().range).collect();
    ranges.sort_by_key(|range| range.start);
    assert_eq!(ranges[0].start, 0);
    assert_eq!(ranges.last().unwrap().end, u128::MAX);
    for pair in ranges.windows(2) {
        assert_eq!(pair[0].end + 1, pair[1].start);
    }
}

fn assert_lineage(world: &World) {
    for shard in world.list(ShardFilter::FromTrimHorizon) {
        let info = world.model.shard(world.now, &world.stream(), &id(shard)).unwrap();
        if let Some(ending) = info.ending {
            assert!(info.starting < ending);
        }
        for parent in info.parent.iter().chain(&info.adjacent_parent) {
            assert!(index(parent) < shard, "parents come first");
            if let Ok(parent) = world.model.shard(world.now, &world.stream(), parent) {
                assert!(parent.ending.unwrap() < info.starting, "a child's numbers start after its parents' end");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_history_keeps_complete_ranges_and_ordered_lineage(shards in 1u32..6, steps in steps()) {
        let mut world = World::new(shards);
        let mut moments = vec![world.now];
        for (count, step) in steps.iter().enumerate() {
            apply(&mut world, step, count);
            moments.push(world.now);
            assert_complete(&world, &world.list(ShardFilter::AtLatest));
            assert_complete(&world, &world.list(ShardFilter::AtTrimHorizon));
            assert_lineage(&world);
        }
        for moment in moments {
            assert_complete(&world, &world.list(ShardFilter::AtTimestamp(moment)));
        }
    }

    #[test]
    fn a_reader_that_follows_children_from_the_trim_horizon_sees_every_record_once(
        shards in 1u32..4,
        steps in steps(),
    ) {
        let mut world = World::new(shards);
        let mut written = Vec::new();
        for (count, step) in steps.iter().enumerate() {
            if !matches!(step, Step::Wait { .. }) {
                written.extend(apply(&mut world, step, count));
            }
        }
        let mut todo = world.list(ShardFilter::AtTrimHorizon);
        let mut done = Vec::new();
        let mut seen = Vec::new();
        while let Some(shard) = todo.pop() {
            if done.contains(&shard) {
                continue;
            }
            done.push(shard);
            let batch = world.read(shard, Position::TrimHorizon);
            seen.extend(crate::world::texts(&batch));
            prop_assert_eq!(batch.next_iterator.is_none(), !batch.child_shards.is_empty());
            todo.extend(batch.child_shards.iter().map(|child| index(&child.shard_id)));
        }
        seen.sort_unstable();
        written.sort_unstable();
        prop_assert_eq!(seen, written);
    }
}
