//! Operations on records.

use super::{Reply, stream, word};
use crate::model::{Error, ErrorKind, Millis, Model, Position, PutEntry, Written};
use crate::protocol::{HASH_KEY_DIGITS, Params, SEQUENCE_DIGITS, Value};

pub(super) fn put_record(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let data = params.blob("Data")?.ok_or_else(|| Error::missing("data"))?;
    let entry = PutEntry {
        data: &data,
        partition_key: params.str("PartitionKey")?,
        explicit_hash_key: params.decimal("ExplicitHashKey", HASH_KEY_DIGITS)?,
    };
    refuse_dry_run(params)?;
    let minimum = params.decimal("SequenceNumberForOrdering", SEQUENCE_DIGITS)?;
    let written = model.put_record(now, &stream(params)?, entry, minimum)?;
    Ok(Reply::Value(Value::map([
        ("ShardId", written.shard_id.into()),
        ("SequenceNumber", written.sequence_number.into()),
    ])))
}

pub(super) fn put_records(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let records = params.structures("Records")?;
    let data = records
        .iter()
        .map(|record| record.blob("Data")?.ok_or_else(|| Error::missing("records.member.data")))
        .collect::<Result<Vec<_>, _>>()?;
    let entries = records
        .iter()
        .zip(&data)
        .map(|(record, data)| {
            Ok(PutEntry {
                data,
                partition_key: record.str("PartitionKey")?,
                explicit_hash_key: record.decimal("ExplicitHashKey", HASH_KEY_DIGITS)?,
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    refuse_dry_run(params)?;
    let results = model.put_records(now, &stream(params)?, &entries)?;
    let failed = results.iter().filter(|result| result.is_err()).count();
    let result = |result| match result {
        Ok(Written { shard_id, sequence_number }) => {
            Value::map([("SequenceNumber", Value::from(sequence_number)), ("ShardId", shard_id.into())])
        }
        Err(Error { kind, message }) => {
            Value::map([("ErrorCode", kind.code().into()), ("ErrorMessage", message.into())])
        }
    };
    Ok(Reply::Value(Value::map([
        ("FailedRecordCount", failed.into()),
        ("Records", Value::list(results.into_iter().map(result))),
    ])))
}

pub(super) fn get_shard_iterator(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let shard = params.required_shard("ShardId")?;
    let kind = params.required_str("ShardIteratorType")?;
    let position = position(params, "shardIteratorType", kind, "StartingSequenceNumber")?;
    let iterator = model.shard_iterator(now, &stream(params)?, shard, position)?;
    Ok(Reply::Value(Value::map([("ShardIterator", iterator.into())])))
}

pub(super) fn get_records(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let limit = params.number("Limit")?.map(|n| n as usize);
    let iterator = params.required_str("ShardIterator")?;
    Ok(Reply::Records(model.get_records(now, iterator, limit)?))
}

/// A starting position as `GetShardIterator` and `SubscribeToShard` take it.
pub(super) fn position<'p>(
    params: &'p Params<'_>,
    member: &str,
    kind: &str,
    number_name: &str,
) -> Result<Position<'p>, Error> {
    #[derive(Clone, Copy)]
    enum Type {
        At,
        After,
        AtTimestamp,
        Plain(Position<'static>),
    }
    let types = [
        ("AT_SEQUENCE_NUMBER", Type::At),
        ("AFTER_SEQUENCE_NUMBER", Type::After),
        ("TRIM_HORIZON", Type::Plain(Position::TrimHorizon)),
        ("LATEST", Type::Plain(Position::Latest)),
        ("AT_TIMESTAMP", Type::AtTimestamp),
    ];
    let number = || {
        let number = params.decimal(number_name, SEQUENCE_DIGITS)?;
        number.ok_or_else(|| Error::invalid(format!("Must specify {number_name} parameter for iterator type {kind}.")))
    };
    match word(member, kind, &types)? {
        Type::Plain(position) => Ok(position),
        Type::At => Ok(Position::At(number()?)),
        Type::After => Ok(Position::After(number()?)),
        Type::AtTimestamp => {
            let time = params.timestamp("Timestamp")?;
            time.map(Position::AtTimestamp).ok_or_else(|| {
                Error::invalid("Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP.")
            })
        }
    }
}

/// A dry run answers with an exception whether it would succeed or not; what it would be refused for comes first
/// on Kinesis, here only malformed parameters do.
fn refuse_dry_run(params: &Params<'_>) -> Result<(), Error> {
    if params.bool("DryRun")?.unwrap_or(false) {
        return Err(Error::new(
            ErrorKind::DryRunOperation,
            "Request would have succeeded, but the DryRun parameter was specified.",
        ));
    }
    Ok(())
}
