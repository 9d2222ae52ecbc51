//! A lease row in DynamoDB. Owns the attribute names and types, which are those of the Kinesis Client Library 2.x and 3.x
//! plus one of this project, which that library preserves; knows no request.

use std::borrow::Cow;
use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use shardmill_core::kinesis::shard::{HashRange, ShardId};
use shardmill_core::kinesis::stream::StreamIdentifier;
use shardmill_core::leases::Lease;
use shardmill_core::position::Checkpoint;
use shardmill_core::text;

/// A row: attributes by name.
pub type Item = HashMap<String, AttributeValue>;

pub(super) mod attribute {
    pub(in crate::dynamodb) const KEY: &str = "leaseKey";
    pub(super) const OWNER: &str = "leaseOwner";
    pub(super) const COUNTER: &str = "leaseCounter";
    pub(super) const OWNER_SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
    pub(super) const CHECKPOINT: &str = "checkpoint";
    pub(super) const SUB_SEQUENCE: &str = "checkpointSubSequenceNumber";
    pub(super) const PARENTS: &str = "parentShardId";
    pub(super) const CHILDREN: &str = "childShardIds";
    pub(super) const HASH_START: &str = "startingHashKey";
    pub(super) const HASH_END: &str = "endingHashKey";
    pub(super) const CHECKPOINT_OWNER: &str = "checkpointOwner";
    pub(super) const ENTITY_TYPE: &str = "entityType";
    /// Only in rows of a multi-stream application: the stream's identifier, which is not just its name.
    pub(super) const STREAM_NAME: &str = "streamName";
    pub(super) const SHARD_ID: &str = "shardId";
    /// This project's attribute; only together with a checkpoint of LATEST.
    pub(super) const LATEST_SINCE: &str = "shardmillLatestSince";
}

/// The `entityType` of a lease. Version 3.5 and later write it; a row without one is a lease too.
const LEASE: &str = "LEASE";

/// Reads a row; `None` when it is not a lease but a worker's metrics, a lock or a migration's state. The error explains
/// why a lease cannot be read.
///
/// In a table that several streams share, `of` is the stream to read; the result is `None` for leases of others, too.
///
/// # Errors
/// Which attribute is invalid and what was expected; safe to log, although any process may have written the row.
pub fn read(item: &Item, of: Option<&StreamIdentifier>) -> Result<Option<Lease>, String> {
    lease(item, of).map_err(|error| text::reason(&error))
}

fn lease(item: &Item, of: Option<&StreamIdentifier>) -> Result<Option<Lease>, String> {
    if string(item, attribute::ENTITY_TYPE)?.is_some_and(|kind| kind != LEASE) {
        return Ok(None);
    }
    let Some(shard) = shard(item, of)? else {
        return Ok(None);
    };
    let sequence = required(attribute::CHECKPOINT, string(item, attribute::CHECKPOINT)?)?;
    let sub_sequence = count(item, attribute::SUB_SEQUENCE)?.unwrap_or(0);
    Ok(Some(Lease {
        key: shard,
        owner: string(item, attribute::OWNER)?.map(str::to_owned),
        counter: required(attribute::COUNTER, count(item, attribute::COUNTER)?)?,
        owner_switches: count(item, attribute::OWNER_SWITCHES)?.unwrap_or(0),
        checkpoint: Checkpoint::from_row(sequence, sub_sequence).map_err(|e| e.to_string())?,
        parents: texts(item, attribute::PARENTS)?,
        children: texts(item, attribute::CHILDREN)?,
        hash_range: hash_range(item)?,
        checkpoint_owner: string(item, attribute::CHECKPOINT_OWNER)?.map(str::to_owned),
        latest_since: count(item, attribute::LATEST_SINCE)?,
    }))
}

/// The shard of a lease; `None` when the lease belongs to another stream.
fn shard(item: &Item, of: Option<&StreamIdentifier>) -> Result<Option<ShardId>, String> {
    let key = required(attribute::KEY, string(item, attribute::KEY)?)?;
    match (of, string(item, attribute::STREAM_NAME)?) {
        (None, None) => Ok(Some(key.to_owned())),
        (None, Some(stream)) => Err(format!(
            "it belongs to stream `{stream}` of a multi-stream application, but no aws.kcl.StreamIdentifier is set"
        )),
        (Some(of), None) => {
            Err(format!("it belongs to a single-stream application, but aws.kcl.StreamIdentifier is set to `{of}`"))
        }
        (Some(of), Some(stream)) if stream != of.as_str() => Ok(None),
        (Some(of), Some(_)) => {
            let wrong = || format!("its key is not `{of}` and a shard, although its `streamName` says so");
            of.shard_of(key).map(Some).ok_or_else(wrong)
        }
    }
}

/// The name of a row for messages, even when it cannot be read: the shard if possible.
pub(super) fn key_of(item: &Item, of: Option<&StreamIdentifier>) -> ShardId {
    let key = string(item, attribute::KEY).ok().flatten().unwrap_or("(no key)");
    of.and_then(|of| of.shard_of(key)).unwrap_or_else(|| key.to_owned())
}

/// The row of a lease that no worker has taken yet: no owner and counter 0, whatever `lease` contains.
pub(super) fn new_row(lease: &Lease, of: Option<&StreamIdentifier>) -> Item {
    let mut row = HashMap::from([
        (attribute::KEY, text(&key(of, &lease.key))),
        (attribute::COUNTER, number(0)),
        (attribute::OWNER_SWITCHES, number(0)),
        (attribute::CHECKPOINT, text(lease.checkpoint.sequence_text())),
        (attribute::SUB_SEQUENCE, number(lease.checkpoint.sub_sequence())),
        (attribute::ENTITY_TYPE, text(LEASE)),
    ]);
    if let Some(HashRange { start, end }) = &lease.hash_range {
        row.insert(attribute::HASH_START, text(&start.to_string()));
        row.insert(attribute::HASH_END, text(&end.to_string()));
    }
    if let Some(of) = of {
        row.insert(attribute::STREAM_NAME, text(of.as_str()));
        row.insert(attribute::SHARD_ID, text(&lease.key));
    }
    if let Some(since) = lease.latest_since {
        row.insert(attribute::LATEST_SINCE, number(since));
    }
    // A string set must not be empty.
    if !lease.parents.is_empty() {
        row.insert(attribute::PARENTS, AttributeValue::Ss(lease.parents.clone()));
    }
    row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The row of a lease with its current owner, to restore a row that was deleted while it was held.
pub(super) fn whole_row(lease: &Lease, of: Option<&StreamIdentifier>) -> Item {
    let mut row = new_row(lease, of);
    row.insert(attribute::COUNTER.to_owned(), number(lease.counter));
    row.insert(attribute::OWNER_SWITCHES.to_owned(), number(lease.owner_switches));
    if let Some(owner) = &lease.owner {
        row.insert(attribute::OWNER.to_owned(), text(owner));
    }
    // A string set must not be empty.
    if !lease.children.is_empty() {
        row.insert(attribute::CHILDREN.to_owned(), AttributeValue::Ss(lease.children.clone()));
    }
    row
}

/// The key of a shard's row.
pub(super) fn key<'a>(of: Option<&StreamIdentifier>, shard: &'a str) -> Cow<'a, str> {
    of.map_or(Cow::Borrowed(shard), |of| Cow::Owned(of.lease_key(shard)))
}

pub(super) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(super) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn string<'a>(item: &'a Item, name: &str) -> Result<Option<&'a str>, String> {
    match item.get(name) {
        None => Ok(None),
        Some(AttributeValue::S(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{name}` is not a string")),
    }
}

fn texts(item: &Item, name: &str) -> Result<Vec<String>, String> {
    match item.get(name) {
        None => Ok(Vec::new()),
        Some(AttributeValue::Ss(texts)) => {
            let mut texts = texts.clone();
            // A set has no order; sort it, so that a lease does not change when its row is read again.
            texts.sort_unstable();
            Ok(texts)
        }
        Some(_) => Err(format!("`{name}` is not a set of strings")),
    }
}

fn count(item: &Item, name: &str) -> Result<Option<u64>, String> {
    match item.get(name) {
        None => Ok(None),
        Some(AttributeValue::N(digits)) => {
            digits.parse().map(Some).map_err(|_| format!("`{name}` is {digits}, expected a whole number"))
        }
        Some(_) => Err(format!("`{name}` is not a number")),
    }
}

fn required<T>(name: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("`{name}` is missing"))
}

fn hash_range(item: &Item) -> Result<Option<HashRange>, String> {
    let bound = |name| {
        let digits = string(item, name)?;
        digits
            .map(|digits| digits.parse().map_err(|_| format!("`{name}` is `{digits}`, expected a 128-bit number")))
            .transpose()
    };
    let (start, end) = (bound(attribute::HASH_START)?, bound(attribute::HASH_END)?);
    Ok(start.zip(end).map(|(start, end)| HashRange { start, end }))
}
