//! What went in and what came out: numbered records, the echo task's messages, and the promises between them. Knows
//! nothing of how a job is run.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use shardmill_core::position::compare_sequence;
use shardmill_local::{Kinesis, Record};

/// Records that one PutRecords call takes.
const PUT_MAX: usize = 500;

/// Writes records whose message is `key number`; the numbers of a key count from 0.
#[derive(Debug, Default)]
pub struct Producer {
    keys: usize,
    written: usize,
}

impl Producer {
    /// A producer that takes turns with so many keys.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self { keys, written: 0 }
    }

    /// Puts the next `count` records.
    ///
    /// # Panics
    /// When the stream does not take them.
    pub fn put(&mut self, kinesis: &Kinesis, stream: &str, count: usize) {
        self.put_with(kinesis, stream, count, "");
    }

    /// Puts the next `count` records, with `order` at the end of each message.
    ///
    /// # Panics
    /// When the stream does not take them.
    pub fn put_with(&mut self, kinesis: &Kinesis, stream: &str, count: usize, order: &str) {
        let records: Vec<(String, String)> = (self.written..self.written + count)
            .map(|index| (format!("key-{}", index % self.keys), index / self.keys))
            .map(|(key, number)| (key.clone(), format!("{key} {number}{order}")))
            .collect();
        for chunk in records.chunks(PUT_MAX) {
            let chunk: Vec<(&str, &[u8])> =
                chunk.iter().map(|(key, message)| (key.as_str(), message.as_bytes())).collect();
            kinesis.put_records(stream, &chunk).expect("the stream takes records");
        }
        self.written += count;
    }
}

/// One message of the echo task, with its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Echo {
    pub shard: String,
    pub sequence: String,
    pub key: Option<String>,
    pub text: String,
}

/// What stands in an output file so far, without a last line that is not whole. Nothing when there is no file.
///
/// # Panics
/// When a line is not what the echo task sends.
#[must_use]
pub fn read(path: &Path) -> Vec<Echo> {
    read_with_streams(path).into_iter().map(|(_, echo)| echo).collect()
}

/// The same, each with the output stream that it went to.
///
/// # Panics
/// When a line is not what the echo task sends.
#[must_use]
pub fn read_with_streams(path: &Path) -> Vec<(String, Echo)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(echo).collect()
}

fn echo(line: &str) -> (String, Echo) {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let output = value["stream"].as_str().unwrap_or_else(|| panic!("no stream: {line}"));
    let message = value["message"].as_str().unwrap_or_else(|| panic!("no message: {line}"));
    let mut words = message.splitn(3, ' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_else(|| panic!("no echo: {line}"));
    let (shard, sequence, text) = (word(), word(), word());
    (output.to_owned(), Echo { shard, sequence, text, key: value["key"].as_str().map(str::to_owned) })
}

impl From<&Record> for Echo {
    fn from(record: &Record) -> Self {
        Self {
            shard: record.shard_id.clone(),
            sequence: record.sequence_number.clone(),
            key: record.partition_key.clone(),
            text: String::from_utf8_lossy(&record.data).into_owned(),
        }
    }
}

/// Every record left exactly once.
///
/// # Panics
/// When one is missing, repeated or changed.
pub fn assert_each_once(echoes: &[Echo], records: &[Record]) {
    let mut out = echoes.to_vec();
    let mut expected: Vec<Echo> = records.iter().map(Echo::from).collect();
    out.sort();
    expected.sort();
    assert_same(&out, &expected);
}

/// Every record left, possibly more than once.
///
/// # Panics
/// When one is missing or changed.
pub fn assert_each_at_least_once(echoes: &[Echo], records: &[Record]) {
    let mut out = echoes.to_vec();
    let mut expected: Vec<Echo> = records.iter().map(Echo::from).collect();
    out.sort();
    out.dedup();
    expected.sort();
    assert_same(&out, &expected);
}

fn assert_same(out: &[Echo], expected: &[Echo]) {
    let differs = out.iter().zip(expected).find(|(a, b)| a != b);
    assert!(
        out.len() == expected.len() && differs.is_none(),
        "{} messages of {} records; the first that differ (out, in): {differs:#?}",
        out.len(),
        expected.len()
    );
}

/// The records of each shard left in their order, without a repeat.
///
/// # Panics
/// When one stands before, or beside, an earlier one.
pub fn assert_shards_in_order(echoes: &[Echo]) {
    let mut last: BTreeMap<&str, &Echo> = BTreeMap::new();
    for echo in echoes {
        if let Some(before) = last.insert(&echo.shard, echo) {
            let order = compare_sequence(&before.sequence, &echo.sequence);
            assert!(order.is_lt(), "{echo:?} came after {before:?}");
        }
    }
}

/// The records of each key left in the order of their numbers, without a gap or a repeat, whatever shards they were in.
///
/// # Panics
/// When a number is not the next one.
pub fn assert_keys_in_order(echoes: &[Echo]) {
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    for echo in echoes {
        let key = echo.key.as_deref().expect("numbered records have keys");
        let number = next.entry(key).or_default();
        assert_eq!(echo.text, format!("{key} {number}"), "out of order in {}", echo.shard);
        *number += 1;
    }
}

/// The numbers of each key only ever grow, whatever shards they were in; earlier runs may have written some of them.
///
/// # Panics
/// When a number is not greater than the one before.
pub fn assert_keys_increase(echoes: &[Echo]) {
    let mut last: BTreeMap<&str, (u64, &Echo)> = BTreeMap::new();
    for echo in echoes {
        let (key, number) = echo.text.split_once(' ').expect("numbered records are `key number`");
        let number = number.parse().expect("numbered records are `key number`");
        if let Some((before, earlier)) = last.insert(key, (number, echo)) {
            assert!(before < number, "{echo:?} came after {earlier:?}");
        }
    }
}

/// The last sequence number of each shard that has records.
#[must_use]
pub fn last_sequences(records: &[Record]) -> BTreeMap<String, String> {
    records.iter().map(|record| (record.shard_id.clone(), record.sequence_number.clone())).collect()
}
