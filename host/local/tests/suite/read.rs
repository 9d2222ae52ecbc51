//! Reading: iterators, bounds, what a reply says about where the reader stands.

use shardmill_local::model::{ErrorKind, ModelConfig, Position};

use crate::world::{MIDDLE, World, refused, texts};

const DAY: u64 = 24 * 3_600_000;

#[test]
fn trim_horizon_reads_from_the_oldest_and_latest_from_now() {
    let mut world = World::new(1);
    world.put_numbers(3);
    let (oldest, latest) = (world.iterator(0, Position::TrimHorizon), world.iterator(0, Position::Latest));
    assert_eq!(texts(&world.get(&oldest)), ["0", "1", "2"]);
    assert_eq!(texts(&world.get(&latest)), Vec::<String>::new());
    world.put_at(0, "new");
    assert_eq!(texts(&world.get(&latest)), ["new"], "what came after the iterator, not after the call");
}

#[test]
fn at_and_after_a_sequence_number() {
    let mut world = World::new(1);
    let numbers = world.put_numbers(4);
    assert_eq!(texts(&world.read(0, Position::At(&numbers[1]))), ["1", "2", "3"]);
    assert_eq!(texts(&world.read(0, Position::After(&numbers[1]))), ["2", "3"]);
    assert_eq!(world.read(0, Position::After(&numbers[3])).count, 0);
    let starting = world.model.shard(world.now, &world.stream(), "0").unwrap().starting.to_string();
    assert_eq!(world.read(0, Position::At(&starting)).count, 4, "the shard's own starting number");
    assert_eq!(world.read(0, Position::After(&starting)).count, 4);
}

#[test]
fn a_sequence_number_must_be_of_this_shard() {
    let mut world = World::new(2);
    let numbers = world.put_numbers(1);
    let other = world.put_at(MIDDLE, "x").sequence_number;
    let invalid = ErrorKind::InvalidArgument;
    assert_eq!(refused(world.try_iterator(0, Position::At(&other)), "It encodes shardId-000000000001"), invalid);
    assert_eq!(refused(world.try_iterator(0, Position::At("12")), "StartingSequenceNumber 12"), invalid);
    world.put_numbers(1);
    let elsewhere = World::new(2);
    let foreign = elsewhere.try_iterator(0, Position::After(&numbers[0]));
    assert!(foreign.is_ok(), "the same counter in a stream of the same age cannot be told apart");
    let mut later = World::new(1);
    let many = later.put_numbers(50);
    let ahead = world.try_iterator(0, Position::At(&many[49]));
    assert_eq!(refused(ahead, "did not come from this stream"), invalid);
}

#[test]
fn at_timestamp_reads_what_arrived_then_or_later() {
    let mut world = World::new(1);
    let start = world.now;
    for i in 0..5 {
        world.now = start + 100 * i;
        world.put_at(0, &i.to_string());
    }
    let at = |after: u64| texts(&world.read(0, Position::AtTimestamp(start + after)));
    assert_eq!(at(0), ["0", "1", "2", "3", "4"]);
    assert_eq!(at(200), ["2", "3", "4"]);
    assert_eq!(at(201), ["3", "4"]);
    assert_eq!(texts(&world.read(0, Position::AtTimestamp(7))).len(), 5, "before the stream means its start");
    let future = world.try_iterator(0, Position::AtTimestamp(world.now + 1));
    assert_eq!(refused(future, "currentTimestampInMillis"), ErrorKind::InvalidArgument);
}

#[test]
fn at_timestamp_without_a_later_record_waits_at_the_tip() {
    let mut world = World::new(1);
    world.put_numbers(3);
    world.now += 1000;
    let iterator = world.iterator(0, Position::AtTimestamp(world.now));
    assert_eq!(world.get(&iterator).count, 0);
    world.put_at(0, "later");
    assert_eq!(texts(&world.get(&iterator)), ["later"]);
}

#[test]
fn a_limit_pages_through_everything_in_order() {
    let mut world = World::new(1);
    let numbers = world.put_numbers(25);
    let mut iterator = Some(world.iterator(0, Position::TrimHorizon));
    let mut seen = Vec::new();
    while seen.len() < 25 {
        let batch = world.model.get_records(world.now, &iterator.unwrap(), Some(10)).unwrap();
        assert!(batch.count <= 10);
        seen.extend(batch.records().map(|record| record.sequence_number.to_owned()));
        iterator = batch.next_iterator;
    }
    assert_eq!(seen, numbers);
    let iterator = iterator.unwrap();
    for bad in [0, 10_001] {
        let refusal = world.model.get_records(world.now, &iterator, Some(bad));
        assert_eq!(refused(refusal, "limit"), ErrorKind::Validation);
    }
}

#[test]
fn a_reply_has_ten_thousand_records_and_ten_megabytes_at_most() {
    let world = World::new(1);
    for _ in 0..10_001 {
        world.put_at(0, "x");
    }
    assert_eq!(world.read(0, Position::TrimHorizon).count, 10_000);

    let world = World::new(1);
    let data = vec![0; 900_000];
    for _ in 0..15 {
        world.try_put(0, &data).unwrap();
    }
    let first = world.read(0, Position::TrimHorizon);
    assert_eq!(first.count, 11, "11 x 900,001 bytes are within 10 MiB, 12 are not");
    assert!(first.millis_behind_latest > 0);
    assert_eq!(world.get(&first.next_iterator.unwrap()).count, 4);
}

#[test]
fn millis_behind_latest_is_the_age_of_the_oldest_unread_record() {
    let mut world = World::new(1);
    world.put_at(0, "a");
    world.now += 3000;
    world.put_at(0, "b");
    world.now += 4000;
    let iterator = world.iterator(0, Position::TrimHorizon);
    let first = world.model.get_records(world.now, &iterator, Some(1)).unwrap();
    assert_eq!(first.millis_behind_latest, 4000);
    let second = world.get(&first.next_iterator.unwrap());
    assert_eq!(second.millis_behind_latest, 0);
    let fresh = World::new(1);
    fresh.put_at(0, "a");
    fresh.put_at(0, "b");
    let iterator = fresh.iterator(0, Position::TrimHorizon);
    let read = fresh.model.get_records(fresh.now, &iterator, Some(1)).unwrap();
    assert_eq!(read.millis_behind_latest, 1, "not zero while a record of the same ms is unread");
}

#[test]
fn arrival_times_are_milliseconds_and_never_go_back() {
    let mut world = World::new(1);
    world.now += 123;
    world.put_at(0, "a");
    world.now -= 100;
    world.put_at(0, "b");
    let arrivals: Vec<_> = world.read(0, Position::TrimHorizon).records().map(|r| r.arrival).collect();
    assert_eq!(arrivals, [world.now + 100, world.now + 100]);
}

#[test]
fn an_iterator_expires_when_its_life_is_over() {
    let mut world = World::with(1, ModelConfig { iterator_ttl: 5_000, ..ModelConfig::default() });
    let iterator = world.iterator(0, Position::TrimHorizon);
    world.now += 5_000;
    let next = world.get(&iterator).next_iterator.unwrap();
    world.now += 1;
    let expired = world.model.get_records(world.now, &iterator, None);
    assert_eq!(refused(expired, "5000 milliseconds"), ErrorKind::ExpiredIterator);
    world.get(&next);
}

#[test]
fn a_foreign_iterator_is_rejected() {
    let world = World::new(1);
    let good = world.iterator(0, Position::TrimHorizon);
    let cut = &good[..good.len() - 1];
    for bad in ["", "AAAA", "not base64 !", cut] {
        let read = world.model.get_records(world.now, bad, None);
        assert_eq!(refused(read, "Invalid ShardIterator."), ErrorKind::InvalidArgument);
    }
    let absent = world.try_iterator(7, Position::TrimHorizon);
    assert_eq!(
        refused(absent, "Shard shardId-000000000007 in stream orders under account 000000000000 does not exist"),
        ErrorKind::ResourceNotFound
    );
}

#[test]
fn records_fall_off_after_the_retention_period() {
    let mut world = World::new(1);
    let start = world.now;
    let old = world.put_at(0, "old").sequence_number;
    world.now += 3_600_000;
    world.put_at(0, "young");
    let iterator = world.iterator(0, Position::TrimHorizon);
    let _ = iterator;
    world.now = start + DAY - 1;
    assert_eq!(texts(&world.read(0, Position::TrimHorizon)), ["old", "young"]);
    world.now = start + DAY;
    assert_eq!(texts(&world.read(0, Position::TrimHorizon)), ["young"]);
    assert_eq!(texts(&world.read(0, Position::At(&old))), ["young"], "a trimmed number means the trim horizon");
    world.now = start + DAY + 3_600_000;
    assert_eq!(world.read(0, Position::TrimHorizon).count, 0);
    world.put_at(0, "new");
    assert_eq!(texts(&world.read(0, Position::TrimHorizon)), ["new"]);
}

#[test]
fn a_longer_retention_keeps_records_longer() {
    let mut world = World::new(1);
    world.put_at(0, "x");
    world.model.set_retention(world.now, &world.stream(), 48, true).unwrap();
    world.now += DAY;
    assert_eq!(world.read(0, Position::TrimHorizon).count, 1);
    world.now += DAY;
    assert_eq!(world.read(0, Position::TrimHorizon).count, 0);
}

#[test]
fn trimming_over_many_chunks_keeps_positions() {
    let mut world = World::new(1);
    let start = world.now;
    let data = vec![0; 50_000];
    let mut numbers = Vec::new();
    for i in 0..40 {
        world.now = start + i * 60_000;
        numbers.push(world.try_put(0, &data).unwrap().sequence_number);
    }
    let iterator = world.iterator(0, Position::At(&numbers[30]));
    world.now = start + DAY + 19 * 60_000 + 1;
    assert_eq!(world.read(0, Position::TrimHorizon).count, 20);
    assert_eq!(world.read(0, Position::After(&numbers[25])).count, 14);
    let expired = world.model.get_records(world.now, &iterator, None);
    assert_eq!(refused(expired, "Iterator expired"), ErrorKind::ExpiredIterator);
}

#[test]
fn a_shard_is_read_five_times_a_second() {
    let mut world = World::with(2, ModelConfig::default());
    let (first, second) = (world.iterator(0, Position::Latest), world.iterator(1, Position::Latest));
    for _ in 0..5 {
        world.get(&first);
    }
    let sixth = world.model.get_records(world.now, &first, None);
    assert_eq!(
        refused(sixth, "Rate exceeded for shard shardId-000000000000"),
        ErrorKind::ProvisionedThroughputExceeded
    );
    world.get(&second);
    world.now += 1000;
    world.get(&first);
}

#[test]
fn ten_megabytes_read_at_once_block_the_shard_for_five_seconds() {
    let mut world = World::with(1, ModelConfig::default());
    let data = vec![0; 1024 * 1024 - 1];
    for _ in 0..10 {
        world.try_put(0, &data).unwrap();
        world.now += 1000;
    }
    let iterator = world.iterator(0, Position::TrimHorizon);
    let read = world.now;
    assert_eq!(world.get(&iterator).count, 10);
    world.now = read + 4_999;
    let refusal = world.model.get_records(world.now, &iterator, None);
    assert_eq!(refused(refusal, "Rate exceeded"), ErrorKind::ProvisionedThroughputExceeded);
    world.now = read + 5_000;
    world.get(&iterator);
}
