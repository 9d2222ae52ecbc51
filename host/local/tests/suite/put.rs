//! Writing: placement, sizes, limits, partial failure.

use shardmill_local::model::{
    CreateStream, Distribution, ErrorKind, Mode, Model, ModelConfig, Position, PutEntry, SequenceNumber, StreamRef,
    hash_key,
};

use crate::client::START;
use crate::world::{MIDDLE, S, World, id, refused, texts};

fn entry<'a>(data: &'a [u8], partition_key: Option<&'a str>) -> PutEntry<'a> {
    PutEntry { data, partition_key, explicit_hash_key: None }
}

#[test]
fn a_partition_key_goes_where_its_md5_does() {
    let world = World::new(4);
    for i in 0..200 {
        let key = format!("key-{i}");
        let written = world.model.put_record(START, &world.stream(), entry(b"x", Some(&key)), None).unwrap();
        assert_eq!(written.shard_id, id((hash_key(&key) >> 126) as u32));
    }
}

#[test]
fn an_explicit_hash_key_reaches_both_ends_of_the_space() {
    let world = World::new(4);
    assert_eq!(world.put_at(0, "x").shard_id, id(0));
    assert_eq!(world.put_at(MIDDLE - 1, "x").shard_id, id(1));
    assert_eq!(world.put_at(MIDDLE, "x").shard_id, id(2));
    assert_eq!(world.put_at(u128::MAX, "x").shard_id, id(3));
    let past = "340282366920938463463374607431768211456";
    for bad in [past, "-1", "x", ""] {
        let entry = PutEntry { data: b"x", partition_key: Some("k"), explicit_hash_key: Some(bad) };
        let result = world.model.put_record(START, &world.stream(), entry, None);
        assert_eq!(refused(result, "ExplicitHashKey"), ErrorKind::InvalidArgument);
    }
}

#[test]
fn sequence_numbers_have_56_digits_and_grow() {
    let mut world = World::new(1);
    let numbers = world.put_numbers(100);
    assert!(numbers.iter().all(|n| n.len() == 56 && n.bytes().all(|b| b.is_ascii_digit())));
    assert!(numbers.is_sorted_by(|a, b| a < b));
    let shard = world.model.shard(world.now, &world.stream(), &id(0)).unwrap();
    assert!(shard.starting < SequenceNumber::parse(&numbers[0]).unwrap());
    let ordering = world.model.put_record(world.now, &world.stream(), entry(b"x", Some("k")), Some(&numbers[99]));
    assert!(ordering.unwrap().sequence_number > numbers[99]);
    let bad = world.model.put_record(world.now, &world.stream(), entry(b"x", Some("k")), Some("7"));
    assert_eq!(refused(bad, "7"), ErrorKind::InvalidArgument);
}

#[test]
fn a_number_of_the_parent_orders_before_the_child_just_after_a_reshard() {
    let world = World::new(1);
    let parent = world.put_at(0, "x").sequence_number;
    world.split(0, MIDDLE).unwrap();
    let written = world.model.put_record(START, &world.stream(), entry(b"y", Some("k")), Some(&parent)).unwrap();
    assert!(written.sequence_number > parent);
}

#[test]
fn without_a_key_a_record_needs_a_stream_that_distributes() {
    let world = World::new(1);
    let put = world.model.put_record(START, &world.stream(), entry(b"x", None), None);
    assert_eq!(refused(put, "partitionKey"), ErrorKind::Validation);

    let model = Model::new(ModelConfig::default());
    let auto = CreateStream {
        name: "a".to_owned(),
        mode: Mode::OnDemand,
        distribution: Distribution::Auto,
        ..CreateStream::default()
    };
    model.create_stream(START, auto).unwrap();
    let stream = StreamRef::from("a");
    let explicit = PutEntry { data: b"x", partition_key: Some("same"), explicit_hash_key: Some("0") };
    let entries = [[entry(b"x", None), explicit]; 10].concat();
    let written = model.put_records(START, &stream, &entries).unwrap();
    for shard in 0..4 {
        let there = written.iter().filter(|w| w.as_ref().unwrap().shard_id == id(shard)).count();
        assert_eq!(there, 5, "records are spread evenly, whatever their key");
    }
    let iterator = model.shard_iterator(START, &stream, &id(0), Position::TrimHorizon).unwrap();
    let batch = model.get_records(START, &iterator, None).unwrap();
    let keys: Vec<_> = batch.records().map(|record| record.partition_key).collect();
    assert_eq!(keys, [None, None, None, None, None], "every second record, and none had a key");
    let iterator = model.shard_iterator(START, &stream, &id(1), Position::TrimHorizon).unwrap();
    let batch = model.get_records(START, &iterator, None).unwrap();
    assert!(batch.records().all(|record| record.partition_key == Some("same")), "a given key is returned");
}

#[test]
fn sizes_are_checked_before_anything_is_written() {
    let world = World::new(1);
    let stream = world.stream();
    let put = |data: &[u8], key: &str| world.model.put_record(START, &stream, entry(data, Some(key)), None);
    let mib = vec![0; 1024 * 1024];
    put(&mib[1..], "k").unwrap();
    assert_eq!(refused(put(&mib, "k"), "1048576"), ErrorKind::Validation);
    assert_eq!(refused(put(b"x", ""), "partitionKey"), ErrorKind::Validation);
    assert_eq!(refused(put(b"x", &"é".repeat(257)), "256"), ErrorKind::Validation);
    put(b"x", &"é".repeat(256)).unwrap();

    let puts = |entries: &[PutEntry<'_>]| world.model.put_records(START, &stream, entries);
    assert_eq!(refused(puts(&[]), "records"), ErrorKind::Validation);
    assert_eq!(refused(puts(&vec![entry(b"x", Some("k")); 501]), "500"), ErrorKind::Validation);
    let mixed = [entry(b"good", Some("k")), entry(b"bad", None)];
    assert_eq!(refused(puts(&mixed), "records.2.member.partitionKey"), ErrorKind::Validation);
    let large = vec![entry(&mib[1..], Some("k")); 11];
    assert_eq!(refused(puts(&large), "10 MB"), ErrorKind::InvalidArgument);
    assert_eq!(world.read(0, Position::TrimHorizon).count, 2, "nothing of a refused request is written");
}

#[test]
fn a_stream_may_take_records_of_ten_mib() {
    let world = World::new(1);
    world.model.set_max_record_size(START, &world.stream(), 10_240).unwrap();
    let data = vec![1; 10 * 1024 * 1024 - 1];
    world.try_put(0, &data).unwrap();
    assert_eq!(world.read(0, Position::TrimHorizon).records().next().unwrap().data, data);
}

#[test]
fn a_shard_takes_a_thousand_records_a_second() {
    let mut world = World::with(2, ModelConfig::default());
    let key = "0";
    let entries = vec![PutEntry { data: b"x", partition_key: Some("k"), explicit_hash_key: Some(key) }; 500];
    let failures = |world: &World| {
        let results = world.model.put_records(world.now, &world.stream(), &entries).unwrap();
        results.into_iter().filter_map(Result::err).map(|error| error.kind).collect::<Vec<_>>()
    };
    assert_eq!(failures(&world), []);
    assert_eq!(failures(&world), []);
    world.put_at(MIDDLE, "the other shard has its own limit");
    let third = failures(&world);
    assert_eq!(third, vec![ErrorKind::ProvisionedThroughputExceeded; 500], "refused one by one, not as a request");
    assert_eq!(refused(world.try_put(0, b"x"), "Rate exceeded"), ErrorKind::ProvisionedThroughputExceeded);
    world.now += 1000;
    assert_eq!(failures(&world), []);
}

#[test]
fn a_shard_takes_a_mebibyte_a_second_and_the_rest_of_a_request_fails_alone() {
    let world = World::with(1, ModelConfig::default());
    let data = vec![0; 200_000];
    let entries = vec![entry(&data, Some("k")); 7];
    let results = world.model.put_records(START, &world.stream(), &entries).unwrap();
    let taken: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(taken, [true, true, true, true, true, false, false]);
    assert_eq!(world.read(0, Position::TrimHorizon).count, 5);
}

#[test]
fn without_limits_nothing_is_throttled() {
    let world = World::new(1);
    let entries = vec![entry(b"x", Some("k")); 500];
    for _ in 0..10 {
        let results = world.model.put_records(START, &world.stream(), &entries).unwrap();
        assert!(results.iter().all(Result::is_ok));
    }
    assert_eq!(world.read(0, Position::TrimHorizon).count, 5000);
}

#[test]
fn records_of_a_request_keep_their_order_in_each_shard() {
    let world = World::new(2);
    let keys: Vec<String> = (0..100u128).map(|i| (if i % 3 == 0 { 0 } else { MIDDLE }).to_string()).collect();
    let bodies: Vec<String> = (0..100).map(|i| format!("{i:03}")).collect();
    let entries: Vec<_> = keys
        .iter()
        .zip(&bodies)
        .map(|(key, body)| PutEntry { data: body.as_bytes(), partition_key: Some("k"), explicit_hash_key: Some(key) })
        .collect();
    let written = world.model.put_records(START, &StreamRef::from(S), &entries).unwrap();
    for (i, result) in written.iter().enumerate() {
        assert_eq!(result.as_ref().unwrap().shard_id, id(u32::from(i % 3 != 0)), "results are in request order");
    }
    for shard in 0..2 {
        let read = texts(&world.read(shard, Position::TrimHorizon));
        assert!(read.is_sorted_by(|a, b| a < b));
    }
}
