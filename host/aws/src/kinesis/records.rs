//! The response of GetRecords in core's types, and the conversion of the SDK's own decoding (JSON) to batches.

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types as wire;
use shardmill_core::envelope::{Batch, BatchBuilder, Envelope};
use shardmill_core::kinesis::polling::Fetched;
use shardmill_core::kinesis::shard::ChildShard;

use super::{hash_range, millis};

/// Converts the response that the SDK decoded.
pub(super) fn from_sdk(answer: GetRecordsOutput) -> Result<Fetched, String> {
    Ok(Fetched {
        batch: batch(&answer.records)?,
        next_iterator: answer.next_shard_iterator,
        children: children(answer.child_shards)?,
        millis_behind_latest: answer.millis_behind_latest.unwrap_or(0).max(0).unsigned_abs(),
    })
}

/// Copies the SDK's records into one batch.
pub(super) fn batch(records: &[wire::Record]) -> Result<Batch, String> {
    let mut batch = BatchBuilder::default();
    for record in records {
        batch.push(Envelope {
            sequence: canonical_sequence(record.sequence_number.as_bytes())
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .ok_or_else(|| format!("`{}` is not a sequence number", record.sequence_number))?,
            sub_sequence: 0,
            key: record.partition_key.as_deref(),
            message: record.data.as_ref(),
            arrival_ms: record.approximate_arrival_timestamp.as_ref().map_or(0, millis),
        });
    }
    Ok(batch.finish())
}

pub(super) fn children(named: Option<Vec<wire::ChildShard>>) -> Result<Vec<ChildShard>, String> {
    let child = |child: wire::ChildShard| {
        let hash_range = hash_range(&child.shard_id, child.hash_key_range.as_ref())?;
        Ok(ChildShard { id: child.shard_id, parents: child.parent_shards, hash_range })
    };
    named.unwrap_or_default().into_iter().map(child).collect()
}

/// Digits without leading zeros, as [`Envelope::sequence`] requires.
pub(super) fn canonical_sequence(text: &[u8]) -> Option<&[u8]> {
    // Without an early exit this is one pass of vector instructions.
    if text.is_empty() || !text.iter().fold(true, |digits, byte| digits & byte.is_ascii_digit()) {
        return None;
    }
    // Keep the last digit, even if it is a zero.
    let zeros = text[..text.len() - 1].iter().take_while(|&&byte| byte == b'0').count();
    Some(&text[zeros..])
}
