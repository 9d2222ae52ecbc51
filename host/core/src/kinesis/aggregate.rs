//! User records inside the records that the Kinesis Producer Library (KPL) aggregates: `F3 89 9A C2`, a protobuf message,
//! the message's MD5. Owns that format and what is done with records that only look like it; knows nothing of positions
//! or of who reads. Keys and data lie whole in the message, so user records are slices of the same buffer.
//!
//! **Malformed**: a record that begins like an aggregate and is none (too short, another MD5, a message that breaks the
//! format, a key index outside its table, a key that is not UTF-8) is delivered as it is, whole.
//!
//! **Foreign**: a user record whose hash key is outside the shard's range is delivered like any other, and counted.
//! The Kinesis Client Library drops the whole aggregate instead, because the KPL puts a user record again when its
//! aggregate went to another shard than expected (it looked up the shards before a split or merge). But nothing in an
//! aggregate tells that the KPL wrote it: other producers put whatever keys together and never look where it went, and
//! streams that place records without regard to keys have no right shard at all. Then this is the only copy.
//! So a drop may lose a record, and a delivery may at worst repeat one, which at-least-once allows. What foreign records
//! do cost: keys are not confined to one shard, so that those of one key may overtake each other.
//!
//! An aggregate may hold no user records. Then nothing is delivered, and the reader still has to move past it.

mod protobuf;

use std::ops::AddAssign;

use crate::envelope::{Batch, Record, Span};
use crate::kinesis::shard::HashRange;

use protobuf::{Fields, Malformed, Value};

/// What an aggregate begins with.
const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
/// The MD5 at its end.
const DIGEST_LEN: u32 = 16;

/// What was found in one or more batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that were aggregates.
    pub aggregates: u64,
    /// Records that begin like an aggregate, are none, and were delivered as they are.
    pub malformed: u64,
    /// User records that were delivered though their hash key is outside the shard's range.
    pub foreign: u64,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.aggregates += other.aggregates;
        self.malformed += other.malformed;
        self.foreign += other.foreign;
    }
}

/// Replaces each aggregate by its user records, with sub-sequence numbers from 0. A batch without aggregates comes back
/// untouched. `hash_range` is the shard's; without it no record counts as foreign.
#[must_use]
pub fn deaggregate(batch: Batch, hash_range: Option<&HashRange>) -> (Batch, Report) {
    let buffer = batch.buffer();
    let Some(first) = batch.records().iter().position(|record| looks_aggregated(buffer, record)) else {
        return (batch, Report::default());
    };
    let mut report = Report::default();
    let mut opener = Opener { buffer, hash_range, keys: Vec::new(), explicit_hash_keys: Vec::new() };
    let (plain, rest) = batch.records().split_at(first);
    let mut records = Vec::with_capacity(batch.len());
    records.extend_from_slice(plain);
    for record in rest {
        if !looks_aggregated(buffer, record) {
            records.push(*record);
            continue;
        }
        let before = records.len();
        match opener.open(record, &mut records) {
            Ok(foreign) => {
                report.aggregates += 1;
                report.foreign += foreign;
            }
            Err(Malformed) => {
                report.malformed += 1;
                records.truncate(before);
                records.push(*record);
            }
        }
    }
    (batch.recut(records), report)
}

fn looks_aggregated(buffer: &[u8], record: &Record) -> bool {
    buffer[record.message.range()].starts_with(&MAGIC)
}

/// Opens the aggregates of one batch; the tables are those of the aggregate at hand.
struct Opener<'a> {
    buffer: &'a [u8],
    hash_range: Option<&'a HashRange>,
    keys: Vec<Key>,
    explicit_hash_keys: Vec<Key>,
}

/// An entry of one of an aggregate's tables.
struct Key {
    text: Span,
    /// Whether its hash is outside the shard's range, once somebody asked: many records may share a key.
    foreign: Option<bool>,
}

impl Key {
    fn is_foreign(&mut self, buffer: &[u8], range: &HashRange, hash: impl FnOnce(&[u8]) -> Option<u128>) -> bool {
        let text = &buffer[self.text.range()];
        *self.foreign.get_or_insert_with(|| !hash(text).is_some_and(|hash| range.contains(hash)))
    }
}

/// A user record as the message has it.
struct UserRecord {
    key: usize,
    explicit_hash_key: Option<usize>,
    data: Span,
}

impl Opener<'_> {
    /// Appends the user records of an aggregate; returns how many of them are foreign. After an error some may have been
    /// appended.
    fn open(&mut self, aggregate: &Record, records: &mut Vec<Record>) -> Result<u64, Malformed> {
        let message = self.checked_message(aggregate.message)?;
        records.reserve(self.read_tables(message)?);
        let (mut foreign, mut sub_sequence) = (0, 0);
        for field in Fields::new(self.buffer, message) {
            let (3, Value::Bytes(span)) = field? else {
                continue;
            };
            let user = self.user_record(span)?;
            let key = Some(self.keys[user.key].text);
            records.push(Record { sub_sequence, key, message: user.data, ..*aggregate });
            foreign += u64::from(self.is_foreign(&user));
            sub_sequence += 1;
        }
        Ok(foreign)
    }

    /// The protobuf message between magic and digest. It is not empty, which is the Kinesis Client Library's rule.
    fn checked_message(&self, body: Span) -> Result<Span, Malformed> {
        let frame = MAGIC.len() as u32 + DIGEST_LEN;
        let len = body.len.checked_sub(frame).filter(|len| *len > 0).ok_or(Malformed)?;
        let message = Span { start: body.start + MAGIC.len() as u32, len };
        let digest = Span { start: message.start + len, len: DIGEST_LEN };
        let matches = md5::compute(&self.buffer[message.range()]).0 == self.buffer[digest.range()];
        matches.then_some(message).ok_or(Malformed)
    }

    /// Fields may come in any order, so the tables are read before the records; returns how many records there are.
    fn read_tables(&mut self, message: Span) -> Result<usize, Malformed> {
        self.keys.clear();
        self.explicit_hash_keys.clear();
        let mut records = 0;
        for field in Fields::new(self.buffer, message) {
            match field? {
                (1, Value::Bytes(text)) => {
                    std::str::from_utf8(&self.buffer[text.range()]).map_err(|_| Malformed)?;
                    self.keys.push(Key { text, foreign: None });
                }
                (2, Value::Bytes(text)) => self.explicit_hash_keys.push(Key { text, foreign: None }),
                (3, Value::Bytes(_)) => records += 1,
                (1..=3, _) => return Err(Malformed),
                _ => {}
            }
        }
        Ok(records)
    }

    fn user_record(&self, span: Span) -> Result<UserRecord, Malformed> {
        let (mut key, mut explicit_hash_key, mut data) = (None, None, None);
        for field in Fields::new(self.buffer, span) {
            match field? {
                (1, Value::Varint(index)) => key = Some(entry(&self.keys, index)?),
                (2, Value::Varint(index)) => explicit_hash_key = Some(entry(&self.explicit_hash_keys, index)?),
                (3, Value::Bytes(bytes)) => data = Some(bytes),
                (1..=3, _) => return Err(Malformed),
                _ => {}
            }
        }
        Ok(UserRecord { key: key.ok_or(Malformed)?, explicit_hash_key, data: data.ok_or(Malformed)? })
    }

    /// An explicit hash key that is no hash key is in no shard's range.
    fn is_foreign(&mut self, record: &UserRecord) -> bool {
        let Some(range) = self.hash_range else {
            return false;
        };
        match record.explicit_hash_key {
            Some(index) => self.explicit_hash_keys[index].is_foreign(self.buffer, range, decimal),
            None => self.keys[record.key].is_foreign(self.buffer, range, digest),
        }
    }
}

/// The place of an index in a table, if it has one.
fn entry(table: &[Key], index: u64) -> Result<usize, Malformed> {
    usize::try_from(index).ok().filter(|index| *index < table.len()).ok_or(Malformed)
}

/// The hash of an explicit hash key.
fn decimal(text: &[u8]) -> Option<u128> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The hash of a partition key.
fn digest(key: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(md5::compute(key).0))
}

#[cfg(test)]
mod tests;
