//! Streams as things: create, describe, list, delete, settings, tags.

use std::collections::BTreeMap;

use shardmill_local::model::{CreateStream, Distribution, ErrorKind, Mode, Model, ModelConfig, Status, StreamRef};

use crate::client::START;
use crate::world::{S, World, refused};

fn on_demand(name: &str) -> CreateStream {
    CreateStream { name: name.to_owned(), mode: Mode::OnDemand, ..CreateStream::default() }
}

#[test]
fn a_new_stream_has_the_defaults_of_aws() {
    let world = World::new(3);
    let info = world.model.describe(START, &world.stream()).unwrap();
    assert_eq!(info.arn, "arn:aws:kinesis:us-east-1:000000000000:stream/orders");
    assert_eq!(info.status, Status::Active);
    assert_eq!((info.mode, info.distribution), (Mode::Provisioned, Distribution::UserPartitionKey));
    assert_eq!((info.retention_hours, info.max_record_kib), (24, 1024));
    assert_eq!((info.open_shards, info.consumers, info.created), (3, 0, START));
}

#[test]
fn an_on_demand_stream_has_four_shards() {
    let model = Model::new(ModelConfig::default());
    model.create_stream(START, on_demand("o")).unwrap();
    assert_eq!(model.describe(START, &StreamRef::from("o")).unwrap().open_shards, 4);
    let with_count = CreateStream { shard_count: Some(2), ..on_demand("p") };
    assert_eq!(refused(model.create_stream(START, with_count), "On-Demand"), ErrorKind::InvalidArgument);
}

#[test]
fn a_bad_new_stream_is_refused() {
    let world = World::new(1);
    let create = |name: &str, shard_count| {
        let request = CreateStream { name: name.to_owned(), shard_count, ..CreateStream::default() };
        world.model.create_stream(START, request)
    };
    assert_eq!(refused(create(S, Some(1)), "already exists"), ErrorKind::ResourceInUse);
    assert_eq!(refused(create("a b", Some(1)), "[a-zA-Z0-9_.-]+"), ErrorKind::Validation);
    assert_eq!(refused(create("", Some(1)), "streamName"), ErrorKind::Validation);
    assert_eq!(refused(create(&"x".repeat(129), Some(1)), "128"), ErrorKind::Validation);
    assert_eq!(refused(create("x", Some(0)), "shardCount"), ErrorKind::Validation);
    assert_eq!(refused(create("x", None), "ShardCount"), ErrorKind::InvalidArgument);
}

#[test]
fn states_last_as_long_as_configured() {
    let mut world = World::with(1, ModelConfig { state_delay: 500, ..ModelConfig::default() });
    let status = |world: &World| world.model.describe(world.now, &world.stream()).map(|info| info.status);
    assert_eq!(status(&world), Ok(Status::Creating));
    assert_eq!(refused(world.try_put(0, b"x"), "not found"), ErrorKind::ResourceNotFound);
    assert_eq!(refused(world.split(0, 5), "not ACTIVE, instead in state CREATING"), ErrorKind::ResourceInUse);
    world.now += 500;
    assert_eq!(status(&world), Ok(Status::Active));
    world.split(0, 5).unwrap();
    assert_eq!(status(&world), Ok(Status::Updating));
    world.put_at(0, "writable while updating");
    world.now += 500;
    world.model.delete_stream(world.now, &world.stream(), false).unwrap();
    assert_eq!(status(&world), Ok(Status::Deleting));
    world.now += 500;
    assert_eq!(status(&world).unwrap_err().kind, ErrorKind::ResourceNotFound);
    let again = CreateStream { name: S.to_owned(), shard_count: Some(1), ..CreateStream::default() };
    world.model.create_stream(world.now, again).unwrap();
}

#[test]
fn a_deleted_stream_is_gone_and_its_iterators_do_not_read_its_successor() {
    let mut world = World::new(1);
    let iterator = world.iterator(0, shardmill_local::model::Position::TrimHorizon);
    world.model.delete_stream(world.now, &world.stream(), false).unwrap();
    assert_eq!(refused(world.try_put(0, b"x"), "Stream orders under account"), ErrorKind::ResourceNotFound);
    world.now += 10;
    let again = CreateStream { name: S.to_owned(), shard_count: Some(1), ..CreateStream::default() };
    world.model.create_stream(world.now, again).unwrap();
    let read = world.model.get_records(world.now, &iterator, None);
    assert_eq!(refused(read, "not found"), ErrorKind::ResourceNotFound);
}

#[test]
fn streams_are_listed_by_name_in_pages() {
    let model = Model::new(ModelConfig::default());
    for name in ["c", "a", "b"] {
        model.create_stream(START, on_demand(name)).unwrap();
    }
    let first = model.list_streams(START, None, 2);
    assert_eq!(first.streams.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(first.has_more);
    let second = model.list_streams(START, Some("b"), 2);
    assert_eq!((second.streams[0].name.as_str(), second.has_more), ("c", false));
    assert_eq!(model.usage(START), (12, 3));
}

#[test]
fn retention_moves_between_a_day_and_a_year_and_only_as_asked() {
    let world = World::new(1);
    let set = |hours, longer| world.model.set_retention(START, &world.stream(), hours, longer);
    set(48, true).unwrap();
    assert_eq!(refused(set(24, true), "longer"), ErrorKind::InvalidArgument);
    assert_eq!(refused(set(72, false), "shorter"), ErrorKind::InvalidArgument);
    assert_eq!(refused(set(23, false), "between 24 and 8760"), ErrorKind::InvalidArgument);
    assert_eq!(refused(set(8761, true), "between 24 and 8760"), ErrorKind::InvalidArgument);
    set(24, false).unwrap();
    assert_eq!(world.model.describe(START, &world.stream()).unwrap().retention_hours, 24);
}

#[test]
fn only_on_demand_streams_distribute_records_themselves() {
    let world = World::new(1);
    let (model, stream) = (&world.model, world.stream());
    let auto = Distribution::Auto;
    assert_eq!(refused(model.set_distribution(START, &stream, auto), "On-Demand"), ErrorKind::InvalidArgument);
    model.set_mode(START, &stream, Mode::OnDemand).unwrap();
    model.set_distribution(START, &stream, auto).unwrap();
    assert_eq!(model.describe(START, &stream).unwrap().distribution, auto);
    let back = model.set_mode(START, &stream, Mode::Provisioned);
    assert_eq!(refused(back, "AUTO"), ErrorKind::InvalidArgument);
    let create =
        CreateStream { name: "p".to_owned(), shard_count: Some(1), distribution: auto, ..CreateStream::default() };
    assert_eq!(refused(model.create_stream(START, create), "AUTO"), ErrorKind::InvalidArgument);
}

#[test]
fn the_largest_record_is_between_one_and_ten_mib() {
    let world = World::new(1);
    let set = |kib| world.model.set_max_record_size(START, &world.stream(), kib);
    assert_eq!(refused(set(1023), "maxRecordSizeInKiB"), ErrorKind::Validation);
    assert_eq!(refused(set(10_241), "10240"), ErrorKind::Validation);
    set(10_240).unwrap();
    assert_eq!(world.model.describe(START, &world.stream()).unwrap().max_record_kib, 10_240);
}

#[test]
fn tags_are_added_replaced_and_removed() {
    let world = World::new(1);
    let (model, stream) = (&world.model, world.stream());
    let tags = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    model.add_tags(START, &stream, tags(&[("a", "1"), ("b", "2")])).unwrap();
    model.add_tags(START, &stream, tags(&[("b", "3")])).unwrap();
    model.remove_tags(START, &stream, &["a", "absent"]).unwrap();
    assert_eq!(model.tags(START, &stream).unwrap(), tags(&[("b", "3")]));
    let many = (0..50).map(|i| (format!("k{i}"), String::new())).collect();
    assert_eq!(refused(model.add_tags(START, &stream, many), "50"), ErrorKind::LimitExceeded);
    let strange = tags(&[("a!", "v")]);
    assert_eq!(refused(model.add_tags(START, &stream, strange), "invalid characters"), ErrorKind::InvalidArgument);
    let long = tags(&[("x", &"v".repeat(257))]);
    assert_eq!(refused(model.add_tags(START, &stream, long), "256"), ErrorKind::InvalidArgument);
}

/// Whoever has a position of the old stream must notice, also when both were made within a second.
#[test]
fn a_stream_that_is_made_again_at_once_has_later_sequence_numbers() {
    let world = World::new(2);
    let put = |at: u128| world.put_at(at, "x").sequence_number;
    let mut last = [0, u128::MAX].map(put).into_iter().max().unwrap();
    for _ in 0..3 {
        world.model.delete_stream(START, &world.stream(), true).unwrap();
        let request = CreateStream { name: S.to_owned(), shard_count: Some(2), ..CreateStream::default() };
        world.model.create_stream(START, request).unwrap();
        let (first, second) = (put(0), put(u128::MAX));
        assert!(first > last && second > last, "{first} and {second} come after {last}");
        last = first.max(second);
    }
}
