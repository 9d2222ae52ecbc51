//! `ListShards`: every filter, pages, tokens.

use shardmill_local::model::{ErrorKind, ListShards, ShardFilter};

use crate::client::START;
use crate::world::{MIDDLE, World, id, index, refused};

const DAY: u64 = 24 * 3_600_000;

/// One shard (0), split after an hour (1, 2); 2 split after two hours (3, 4).
fn resharded() -> World {
    let mut world = World::new(1);
    world.now += 3_600_000;
    world.split(0, MIDDLE).unwrap();
    world.now += 3_600_000;
    world.split(2, MIDDLE + (MIDDLE >> 1)).unwrap();
    world
}

#[test]
fn at_latest_has_the_open_shards_only() {
    assert_eq!(resharded().list(ShardFilter::AtLatest), [1, 3, 4]);
}

#[test]
fn from_trim_horizon_has_all_and_is_the_default() {
    let world = resharded();
    assert_eq!(world.list(ShardFilter::FromTrimHorizon), [0, 1, 2, 3, 4]);
    let all = world.model.list_shards(world.now, &world.stream(), ListShards::default()).unwrap();
    assert_eq!(all.shards.len(), 5);
    assert_eq!(all.next_token, None);
}

#[test]
fn at_trim_horizon_has_the_shards_open_there_and_no_child_beside_its_parent() {
    let mut world = resharded();
    assert_eq!(world.list(ShardFilter::AtTrimHorizon), [0]);
    world.now = START + DAY + 3_600_000;
    assert_eq!(world.list(ShardFilter::AtTrimHorizon), [1, 2]);
    world.now = START + DAY + 7_200_000;
    assert_eq!(world.list(ShardFilter::AtTrimHorizon), [1, 3, 4]);
}

#[test]
fn at_timestamp_has_the_shards_open_then() {
    let world = resharded();
    let at = |after: u64| world.list(ShardFilter::AtTimestamp(START + after));
    assert_eq!(at(0), [0]);
    assert_eq!(at(3_599_999), [0]);
    assert_eq!(at(3_600_000), [1, 2]);
    assert_eq!(at(7_200_000), [1, 3, 4]);
    assert_eq!(world.list(ShardFilter::AtTimestamp(5)), [0], "before the stream means its trim horizon");
}

#[test]
fn from_timestamp_has_the_shards_open_then_or_later() {
    let world = resharded();
    let from = |after: u64| world.list(ShardFilter::FromTimestamp(START + after));
    assert_eq!(from(0), [0, 1, 2, 3, 4]);
    assert_eq!(from(3_600_001), [1, 2, 3, 4]);
    assert_eq!(from(7_200_001), [1, 3, 4]);
}

#[test]
fn after_shard_id_and_exclusive_start_go_on_after_it() {
    let world = resharded();
    assert_eq!(world.list(ShardFilter::AfterShardId(&id(2))), [3, 4]);
    let request = ListShards { exclusive_start: Some("shardId-000000000003"), ..ListShards::default() };
    let page = world.model.list_shards(world.now, &world.stream(), request).unwrap();
    assert_eq!(page.shards[0].shard_id, id(4));
    let bad = ListShards { exclusive_start: Some("nonsense"), ..ListShards::default() };
    let refusal = world.model.list_shards(world.now, &world.stream(), bad);
    assert_eq!(refused(refusal, "nonsense"), ErrorKind::InvalidArgument);
}

#[test]
fn a_closed_shard_disappears_when_its_records_have_passed_retention() {
    let mut world = resharded();
    world.now = START + 3_600_000 + DAY - 1;
    assert_eq!(world.list(ShardFilter::FromTrimHorizon), [0, 1, 2, 3, 4]);
    world.now += 1;
    assert_eq!(world.list(ShardFilter::FromTrimHorizon), [1, 2, 3, 4]);
    let iterator = world.try_iterator(0, shardmill_local::model::Position::TrimHorizon);
    assert_eq!(refused(iterator, "Shard shardId-000000000000"), ErrorKind::ResourceNotFound);
}

#[test]
fn pages_cover_everything_once_and_keep_their_filter() {
    let world = resharded();
    for (filter, expected) in
        [(ShardFilter::FromTrimHorizon, vec![0, 1, 2, 3, 4]), (ShardFilter::AtLatest, vec![1, 3, 4])]
    {
        let request = ListShards { filter: Some(filter), max_results: Some(2), ..ListShards::default() };
        let mut page = world.model.list_shards(world.now, &world.stream(), request).unwrap();
        let mut seen: Vec<u32> = Vec::new();
        loop {
            assert!(page.shards.len() <= 2);
            seen.extend(page.shards.iter().map(|shard| index(&shard.shard_id)));
            let Some(token) = page.next_token else { break };
            page = world.model.list_shards_next(world.now, &token, Some(2)).unwrap();
        }
        assert_eq!(seen, expected);
    }
}

#[test]
fn a_page_token_lives_five_minutes_and_is_ours() {
    let mut world = resharded();
    let request = ListShards { max_results: Some(1), ..ListShards::default() };
    let page = world.model.list_shards(world.now, &world.stream(), request).unwrap();
    let token = page.next_token.unwrap();
    world.now += 300_000;
    world.model.list_shards_next(world.now, &token, None).unwrap();
    world.now += 1;
    let expired = world.model.list_shards_next(world.now, &token, None);
    assert_eq!(refused(expired, "NextToken"), ErrorKind::ExpiredNextToken);
    let foreign = world.model.list_shards_next(world.now, "AAAA", None);
    assert_eq!(refused(foreign, "NextToken"), ErrorKind::InvalidArgument);
}

#[test]
fn a_page_has_between_one_and_ten_thousand_shards() {
    let world = World::new(1200);
    let list = |max_results| {
        let request = ListShards { max_results, ..ListShards::default() };
        world.model.list_shards(world.now, &world.stream(), request)
    };
    assert_eq!(list(None).unwrap().shards.len(), 1000);
    assert_eq!(list(Some(10_000)).unwrap().shards.len(), 1000);
    assert_eq!(refused(list(Some(0)), "maxResults"), ErrorKind::Validation);
    assert_eq!(refused(list(Some(10_001)), "maxResults"), ErrorKind::Validation);
}
