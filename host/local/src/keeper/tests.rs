//! Acknowledged data survives any end of the process; damage is reported with its place.

use crate::model::{CreateStream, ListShards, ModelConfig, PutEntry, StreamRef};

use super::*;

const START: Millis = 1_764_000_000_000;

/// A persisted model, as loaded by a process that starts soon after the records were written.
fn open(dir: &Path, segment_bytes: u64) -> Result<Model, Error> {
    open_at(START, dir, segment_bytes)
}

fn open_at(now: Millis, dir: &Path, segment_bytes: u64) -> Result<Model, Error> {
    let model = Model::new(ModelConfig { limits: false, ..ModelConfig::default() });
    let keeper = Keeper::open_with(dir, &model, Clock::manual(now), segment_bytes)?;
    Ok(model.kept_by(std::sync::Arc::new(keeper)))
}

fn put(model: &Model, now: Millis, stream: &str, key: &str, data: &[u8]) -> String {
    let entry = PutEntry { data, partition_key: Some(key), explicit_hash_key: None };
    model.put_record(now, &StreamRef::from(stream), entry, None).unwrap().sequence_number
}

fn create(model: &Model, now: Millis, name: &str) {
    let stream = CreateStream { name: name.to_owned(), shard_count: Some(2), ..CreateStream::default() };
    model.create_stream(now, stream).unwrap();
}

/// Everything that a client can see of a stream.
fn seen(model: &Model, now: Millis, stream: &str) -> String {
    let stream = StreamRef::from(stream);
    let request = ListShards { exclusive_start: None, max_results: None, filter: None };
    let shards = model.list_shards(now, &stream, request).unwrap();
    let records: Vec<_> = model
        .scan(now, &stream)
        .unwrap()
        .into_iter()
        .map(|(shard, batch)| {
            let records = batch.records().map(|it| format!("{it:?}"));
            (shard, records.collect::<Vec<_>>())
        })
        .collect();
    let consumers = model.consumers(now, &stream).unwrap();
    format!(
        "{:?} {:?} {shards:?} {records:?} {consumers:?}",
        model.describe(now, &stream).unwrap(),
        model.tags(now, &stream).unwrap()
    )
}

#[test]
fn streams_are_as_they_were_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (name, stream) = ("orders", StreamRef::from("orders"));
    let model = open(dir.path(), SEGMENT_BYTES).unwrap();
    create(&model, START, name);
    put(&model, START + 1, name, "a", b"1");
    model.split_shard(START + 2, &stream, "shardId-000000000000", "7").unwrap();
    for i in 0..20 {
        put(&model, START + 3 + i, name, &format!("key-{i}"), b"2");
    }
    model.merge_shards(START + 50, &stream, "shardId-000000000001", "shardId-000000000003").unwrap();
    model.register_consumer(START + 51, &stream, "reader").unwrap();
    model.set_retention(START + 52, &stream, 48, true).unwrap();
    model.add_tags(START + 53, &stream, BTreeMap::from([("k".to_owned(), "v".to_owned())])).unwrap();
    let last = put(&model, START + 54, name, "a", b"");
    let before = seen(&model, START + 60, name);
    drop(model);

    let model = open(dir.path(), SEGMENT_BYTES).unwrap();
    assert_eq!(seen(&model, START + 60, name), before);
    // And it continues where it was.
    assert!(put(&model, START + 61, name, "a", b"3") > last);
    let before = seen(&model, START + 70, name);
    drop(model);
    assert_eq!(seen(&open(dir.path(), SEGMENT_BYTES).unwrap(), START + 70, name), before);
}

#[test]
fn a_recreated_stream_has_later_numbers_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let model = open(dir.path(), SEGMENT_BYTES).unwrap();
    create(&model, START, "orders");
    let old = put(&model, START, "orders", "a", b"1");
    model.delete_stream(START, &StreamRef::from("orders"), false).unwrap();
    drop(model);

    let model = open(dir.path(), SEGMENT_BYTES).unwrap();
    assert!(model.describe(START, &StreamRef::from("orders")).is_err(), "it is gone");
    create(&model, START, "orders");
    assert!(put(&model, START, "orders", "a", b"1") > old);
}

#[test]
fn records_past_their_retention_are_deleted_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let files = || numbers(&dir.path().join(DIRECTORY)).unwrap().len();
    let model = open(dir.path(), 2_000).unwrap();
    create(&model, START, "orders");
    let mut last = String::new();
    for i in 0..400 {
        last = put(&model, START + i, "orders", "a", &[b'x'; 100]);
    }
    assert!(files() > 4, "{} segments", files());
    let before = seen(&model, START + 500, "orders");
    drop(model);
    let model = open(dir.path(), 2_000).unwrap();
    assert_eq!(seen(&model, START + 500, "orders"), before, "what is within it stays");
    drop(model);

    let later = START + 24 * HOUR + 400;
    drop(open_at(later, dir.path(), 2_000).unwrap());
    assert_eq!(files(), 1);
    let model = open_at(later, dir.path(), 2_000).unwrap();
    assert!(put(&model, later, "orders", "a", b"") > last, "the numbers go on all the same");
    assert_eq!(
        model
            .scan(later, &StreamRef::from("orders"))
            .unwrap()
            .iter()
            .map(|(_, it)| it.records().count())
            .sum::<usize>(),
        1
    );

    // And also while it runs.
    let much_later = later + 48 * HOUR;
    let stream = StreamRef::from("orders");
    drop(model);
    let model = open_at(much_later, dir.path(), 2_000).unwrap();
    for _ in 0..100 {
        put(&model, START, "orders", "a", &[b'x'; 100]);
    }
    assert!(files() <= 2, "{} segments", files());
    assert!(model.describe(much_later, &stream).is_ok());
}

/// The process may end after any byte that it writes.
#[test]
fn a_journal_truncated_anywhere_opens_with_its_complete_entries() {
    let dir = tempfile::tempdir().unwrap();
    let model = open(dir.path(), SEGMENT_BYTES).unwrap();
    create(&model, START, "orders");
    let written: Vec<String> = (0..3).map(|i| put(&model, START + i, "orders", "a", b"data")).collect();
    drop(model);
    let file = dir.path().join(DIRECTORY).join(name(1));
    let whole = fs::read(&file).unwrap();
    let mut counts = Vec::new();
    for length in 0..=whole.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(DIRECTORY)).unwrap();
        fs::write(dir.path().join(DIRECTORY).join(name(1)), &whole[..length]).unwrap();
        // Twice: the first open must not leave anything that breaks the second one.
        for time in ["first", "second"] {
            let model = open(dir.path(), SEGMENT_BYTES).unwrap();
            let stream = StreamRef::from("orders");
            let records = model.scan(START + 10, &stream).map(|shards| {
                shards.iter().flat_map(|(_, batch)| batch.records().map(|it| it.sequence_number.to_owned())).collect()
            });
            let records: Vec<String> = records.unwrap_or_default();
            assert_eq!(records, written[..records.len()], "{length} bytes, the {time} time");
            counts.push(records.len());
        }
    }
    counts.dedup();
    assert_eq!(counts, [0, 1, 2, 3]);
}

#[test]
fn a_damaged_journal_is_named_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let model = open(dir.path(), SEGMENT_BYTES).unwrap();
    create(&model, START, "orders");
    put(&model, START, "orders", "a", b"data");
    put(&model, START, "orders", "a", b"more");
    drop(model);
    let file = dir.path().join(DIRECTORY).join(name(1));
    let whole = fs::read(&file).unwrap();
    for at in [0, 3, 8, 20, whole.len() / 2] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&file, bytes).unwrap();
        // A wrong length may look like an end; complete entries before it must not be lost then.
        let Err(error) = open(dir.path(), SEGMENT_BYTES).map(drop) else { continue };
        let said = error.to_string();
        assert!(said.contains(&file.display().to_string()) && said.contains("damaged at byte"), "{said}");
    }
    let mut bytes = whole.clone();
    let last = bytes.len() / 2;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(open(dir.path(), SEGMENT_BYTES).is_err());
}

#[test]
fn a_directory_is_used_by_one_process_only() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), SEGMENT_BYTES).unwrap();
    let said = open(dir.path(), SEGMENT_BYTES).map(drop).unwrap_err().to_string();
    assert!(said.contains("another process uses it"), "{said}");
    drop(first);
    open(dir.path(), SEGMENT_BYTES).unwrap();
}
