//! GetRecords in AWS CBOR 1.1: the request, the response and errors. Owns their field names and the tolerance for
//! endpoints that deviate; records are returned as slices of the body.

use std::borrow::Cow;
use std::str::Utf8Error;

use bytes::Bytes;
use shardmill_core::envelope::{self, Batch, BatchBuilder, Envelope, Record, Span};
use shardmill_core::kinesis::polling::Fetched;
use shardmill_core::kinesis::shard::{ChildShard, HashRange};

use super::cbor::{self, Cursor, Number};
use super::records::canonical_sequence;

/// A smaller time is in seconds (up to the year 5138), a larger one in milliseconds (from 1973, long before Kinesis).
const SECONDS_BELOW: f64 = 1e11;

/// The least bytes of a record: space is reserved for the announced number, but never for more than fit into the body.
const MIN_RECORD_BYTES: usize = 20;

/// A body that is not a response to GetRecords.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("malformed CBOR: {0}")]
    Cbor(#[from] cbor::Error),
    #[error("record {index} has no sequence number of decimal digits")]
    Sequence { index: usize },
    #[error("`{field}` is not UTF-8")]
    NotUtf8 { field: &'static str, source: Utf8Error },
    #[error("a child shard without {what}")]
    Child { what: &'static str },
    #[error(transparent)]
    Batch(#[from] envelope::Error),
    #[error("{len} bytes are more than the 4 GiB that a batch can address")]
    TooLong { len: usize },
}

/// Whether a body is CBOR. The first byte of a CBOR map or tag never begins JSON, so the content type is ignored: some
/// endpoints send JSON labelled as CBOR.
pub(super) fn looks_like_cbor(body: &[u8]) -> bool {
    matches!(body.first(), Some(0xa0..=0xdb))
}

/// The body of a GetRecords request.
pub(super) fn encode_request(iterator: &str, limit: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(iterator.len() + 32);
    cbor::write_map(&mut out, 2);
    cbor::write_text(&mut out, "ShardIterator");
    cbor::write_text(&mut out, iterator);
    cbor::write_text(&mut out, "Limit");
    cbor::write_unsigned(&mut out, limit.into());
    out
}

/// Decodes the body of a response. Records borrow it; they are copied only if their strings are chunked.
pub fn decode_response(body: &Bytes) -> Result<Fetched, Error> {
    if u32::try_from(body.len()).is_err() {
        return Err(Error::TooLong { len: body.len() });
    }
    let mut records = Vec::new();
    let mut chunked = false;
    let rest = walk(body, |raw, room| {
        if records.capacity() == 0 {
            records.reserve_exact(room);
        }
        match raw.borrowed(body) {
            Some(record) => records.push(record),
            None => chunked = true,
        }
    })?;
    let batch = if chunked { copy(body)? } else { Batch::new(body.clone(), records)? };
    Ok(Fetched { batch, ..rest })
}

/// The error code and message of an error body; `None` when it has none.
pub(super) fn decode_error(body: &[u8]) -> Result<(Option<String>, Option<String>), cbor::Error> {
    let mut cursor = Cursor::new(body);
    let (mut code, mut message) = (None, None);
    let mut entries = cursor.map()?;
    while cursor.next(&mut entries)? {
        let key = cursor.text()?;
        let into = match &*key {
            b"__type" => &mut code,
            b"message" | b"Message" => &mut message,
            _ => {
                cursor.skip()?;
                continue;
            }
        };
        if !cursor.null()? {
            *into = Some(String::from_utf8_lossy(&cursor.text()?).into_owned());
        }
    }
    Ok((code, message))
}

/// One record of the body.
#[derive(Default)]
struct RawRecord<'a> {
    /// Digits without leading zeros.
    sequence: Cow<'a, [u8]>,
    key: Option<Cow<'a, [u8]>>,
    data: Cow<'a, [u8]>,
    arrival_ms: u64,
}

impl RawRecord<'_> {
    /// The record as slices of `body`; `None` when a part of it is not a slice.
    fn borrowed(&self, body: &[u8]) -> Option<Record> {
        let span = |part: &Cow<'_, [u8]>| match part {
            Cow::Borrowed(slice) => Some(span_of(body, slice)),
            Cow::Owned(_) => None,
        };
        Some(Record {
            sequence: span(&self.sequence)?,
            sub_sequence: 0,
            key: match &self.key {
                Some(key) => Some(span(key)?),
                None => None,
            },
            message: span(&self.data)?,
            arrival_ms: self.arrival_ms,
        })
    }
}

/// The range of a slice in its body.
fn span_of(body: &[u8], slice: &[u8]) -> Span {
    // An empty slice may point anywhere.
    let start = if slice.is_empty() { 0 } else { slice.as_ptr().addr() - body.as_ptr().addr() };
    let fits = "the body's length fits 32 bits";
    Span { start: u32::try_from(start).expect(fits), len: u32::try_from(slice.len()).expect(fits) }
}

/// Reads a response; passes every record to `on_record`, with the number of records to reserve space for.
fn walk<'a>(body: &'a [u8], mut on_record: impl FnMut(RawRecord<'a>, usize)) -> Result<Fetched, Error> {
    let mut cursor = Cursor::new(body);
    let mut rest = Fetched::default();
    let mut entries = cursor.map()?;
    while cursor.next(&mut entries)? {
        let key = cursor.text()?;
        if cursor.null()? {
            continue;
        }
        match &*key {
            b"Records" => {
                let mut items = cursor.array()?;
                let most = body.len() / MIN_RECORD_BYTES + 1;
                let room = items.announced().map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX)).min(most);
                let mut index = 0;
                while cursor.next(&mut items)? {
                    on_record(record(&mut cursor, index)?, room);
                    index += 1;
                }
            }
            b"NextShardIterator" => rest.next_iterator = Some(utf8(cursor.text()?, "NextShardIterator")?),
            b"MillisBehindLatest" => rest.millis_behind_latest = unsigned(cursor.number()?),
            b"ChildShards" => {
                let mut items = cursor.array()?;
                while cursor.next(&mut items)? {
                    rest.children.push(child(&mut cursor)?);
                }
            }
            _ => cursor.skip()?,
        }
    }
    cursor.end()?;
    Ok(rest)
}

fn record<'a>(cursor: &mut Cursor<'a>, index: usize) -> Result<RawRecord<'a>, Error> {
    let mut record = RawRecord::default();
    let mut entries = cursor.map()?;
    while cursor.next(&mut entries)? {
        let key = cursor.text()?;
        if cursor.null()? {
            continue;
        }
        match &*key {
            b"SequenceNumber" => {
                record.sequence = digits(cursor.text()?).ok_or(Error::Sequence { index })?;
            }
            b"PartitionKey" => record.key = Some(cursor.text()?),
            b"Data" => record.data = cursor.bytes()?,
            b"ApproximateArrivalTimestamp" => record.arrival_ms = millis(cursor.number()?),
            _ => cursor.skip()?,
        }
    }
    if record.sequence.is_empty() {
        return Err(Error::Sequence { index });
    }
    Ok(record)
}

fn child(cursor: &mut Cursor<'_>) -> Result<ChildShard, Error> {
    let (mut id, mut parents, mut hash_range) = (None, Vec::new(), None);
    let mut entries = cursor.map()?;
    while cursor.next(&mut entries)? {
        let key = cursor.text()?;
        if cursor.null()? {
            continue;
        }
        match &*key {
            b"ShardId" => id = Some(utf8(cursor.text()?, "ShardId")?),
            b"ParentShards" => {
                let mut items = cursor.array()?;
                while cursor.next(&mut items)? {
                    parents.push(utf8(cursor.text()?, "ParentShards")?);
                }
            }
            b"HashKeyRange" => hash_range = Some(range(cursor)?),
            _ => cursor.skip()?,
        }
    }
    let id = id.ok_or(Error::Child { what: "`ShardId`" })?;
    let hash_range = hash_range.ok_or(Error::Child { what: "`HashKeyRange`" })?;
    Ok(ChildShard { id, parents, hash_range })
}

fn range(cursor: &mut Cursor<'_>) -> Result<HashRange, Error> {
    const WHAT: &str = "a `HashKeyRange` of two 128-bit numbers";
    let (mut start, mut end) = (None, None);
    let mut entries = cursor.map()?;
    while cursor.next(&mut entries)? {
        let key = cursor.text()?;
        match &*key {
            b"StartingHashKey" => start = utf8(cursor.text()?, "StartingHashKey")?.parse().ok(),
            b"EndingHashKey" => end = utf8(cursor.text()?, "EndingHashKey")?.parse().ok(),
            _ => cursor.skip()?,
        }
    }
    let (start, end) = start.zip(end).ok_or(Error::Child { what: WHAT })?;
    Ok(HashRange { start, end })
}

/// The slow path, for bodies with chunked strings.
fn copy(body: &[u8]) -> Result<Batch, Error> {
    let mut batch = BatchBuilder::default();
    let mut failure = None;
    walk(body, |raw, _| {
        let text = |bytes, field| std::str::from_utf8(bytes).map_err(|source| Error::NotUtf8 { field, source });
        let sequence = text(&raw.sequence, "SequenceNumber");
        let key = raw.key.as_deref().map(|key| text(key, "PartitionKey")).transpose();
        match (sequence, key) {
            (Ok(sequence), Ok(key)) => {
                batch.push(Envelope { sequence, sub_sequence: 0, key, message: &raw.data, arrival_ms: raw.arrival_ms });
            }
            (Err(error), _) | (_, Err(error)) => failure = Some(error),
        }
    })?;
    failure.map_or_else(|| Ok(batch.finish()), Err)
}

fn digits(text: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
    Some(match text {
        Cow::Borrowed(text) => Cow::Borrowed(canonical_sequence(text)?),
        Cow::Owned(text) => Cow::Owned(canonical_sequence(&text)?.to_vec()),
    })
}

fn utf8(text: Cow<'_, [u8]>, field: &'static str) -> Result<String, Error> {
    String::from_utf8(text.into_owned()).map_err(|e| Error::NotUtf8 { field, source: e.utf8_error() })
}

/// Milliseconds since 1970. AWS CBOR 1.1 uses integers of milliseconds with tag 1; other endpoints omit the tag, or send
/// seconds, as an integer or a float. The magnitude distinguishes them.
fn millis(time: Number) -> u64 {
    let time = match time {
        Number::Integer(time) if time as f64 >= SECONDS_BELOW => return time.unsigned_abs(),
        Number::Integer(time) => time as f64,
        Number::Float(time) => time,
    };
    // Float casts saturate, and turn NaN into 0.
    if time < SECONDS_BELOW { (time * 1000.0).round() as u64 } else { time as u64 }
}

fn unsigned(number: Number) -> u64 {
    match number {
        Number::Integer(value) => value.max(0).unsigned_abs(),
        Number::Float(value) => value as u64,
    }
}

#[cfg(test)]
mod tests;
