//! Replies that carry records: `GetRecords` and the events of `SubscribeToShard`.
//!
//! In CBOR the stored bytes are the records' form, so they are put between a head and a tail and not touched. In
//! JSON they are written anew from the stored fields.

use bytes::Bytes;

use super::{Protocol, Value, cbor, json};
use crate::model::{Batch, ChildShard, HashRange};

/// JSON around one record besides its data and key.
const JSON_OVERHEAD: usize = 170;

/// The reply to `GetRecords`, in pieces.
pub(crate) fn get_records(protocol: Protocol, batch: Batch) -> Vec<Bytes> {
    let rest = Value::map([("MillisBehindLatest", batch.millis_behind_latest.into())])
        .with("NextShardIterator", batch.next_iterator.clone())
        .with("ChildShards", child_shards(&batch.child_shards));
    reply(protocol, batch, rest)
}

/// The payload of one `SubscribeToShardEvent`, in pieces.
pub(crate) fn subscription_event(protocol: Protocol, batch: Batch, continuation: Option<String>) -> Vec<Bytes> {
    let rest = Value::map([("MillisBehindLatest", batch.millis_behind_latest.into())])
        .with("ContinuationSequenceNumber", continuation)
        .with("ChildShards", child_shards(&batch.child_shards));
    reply(protocol, batch, rest)
}

pub(crate) fn hash_range(range: HashRange) -> Value<'static> {
    Value::map([("StartingHashKey", range.start.to_string().into()), ("EndingHashKey", range.end.to_string().into())])
}

fn child_shards(children: &[ChildShard]) -> Option<Vec<Value<'static>>> {
    let child = |child: &ChildShard| {
        Value::map([
            ("ShardId", child.shard_id.clone().into()),
            ("ParentShards", Value::list(child.parents.iter().cloned().map(Value::from))),
            ("HashKeyRange", hash_range(child.range)),
        ])
    };
    (!children.is_empty()).then(|| children.iter().map(child).collect())
}

/// `Records` and the other fields in one structure.
fn reply(protocol: Protocol, batch: Batch, rest: Value<'_>) -> Vec<Bytes> {
    match protocol {
        Protocol::Cbor => cbor_reply(batch, &rest),
        Protocol::Json => vec![json_reply(&batch, &rest).into()],
    }
}

fn cbor_reply(batch: Batch, rest: &Value<'_>) -> Vec<Bytes> {
    let Value::Map(fields) = rest else {
        return Vec::new();
    };
    let mut head = Vec::with_capacity(24);
    cbor::map(&mut head, fields.len() + 1);
    cbor::text(&mut head, "Records");
    cbor::array(&mut head, batch.count);
    let mut tail = Vec::with_capacity(256);
    for (key, value) in fields {
        cbor::text(&mut tail, key);
        cbor::encode(&mut tail, value);
    }
    let mut pieces = Vec::with_capacity(batch.slices.len() + 2);
    pieces.push(Bytes::from(head));
    pieces.extend(batch.slices);
    pieces.push(Bytes::from(tail));
    pieces
}

fn json_reply(batch: &Batch, rest: &Value<'_>) -> Vec<u8> {
    let stored: usize = batch.slices.iter().map(Bytes::len).sum();
    let mut out = Vec::with_capacity(512 + stored / 3 * 4 + batch.count * JSON_OVERHEAD / 2);
    out.extend_from_slice(b"{\"Records\":[");
    for (i, record) in batch.records().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"SequenceNumber\":\"");
        out.extend_from_slice(record.sequence_number.as_bytes());
        out.extend_from_slice(b"\",\"ApproximateArrivalTimestamp\":");
        json::timestamp(&mut out, record.arrival);
        out.extend_from_slice(b",\"Data\":");
        json::blob(&mut out, record.data);
        if let Some(key) = record.partition_key {
            out.extend_from_slice(b",\"PartitionKey\":");
            json::text(&mut out, key);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"],");
    let opened = out.len();
    json::encode(&mut out, rest);
    out.remove(opened);
    out
}
