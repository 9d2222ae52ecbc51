//! Operations on the shards of a stream.

use super::{Reply, stream};
use crate::model::{Error, ListShards, Millis, Model, ShardFilter, ShardInfo, ShardPage};
use crate::protocol::{HASH_KEY_DIGITS, Params, Value, records::hash_range};

pub(super) fn list(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let max_results = params.number("MaxResults")?.map(|n| n as usize);
    let filter = params.structure("ShardFilter")?;
    let exclusive_start = params.str("ExclusiveStartShardId")?;
    if let Some(token) = params.str("NextToken")? {
        let named = params.str("StreamName")?.is_some() || params.str("StreamARN")?.is_some();
        if named || filter.is_some() || exclusive_start.is_some() {
            return Err(Error::invalid(
                "NextToken and StreamName, StreamARN, ShardFilter or ExclusiveStartShardId cannot be provided together.",
            ));
        }
        return Ok(page(model.list_shards_next(now, token, max_results)?));
    }
    let request = ListShards { filter: filter.as_ref().map(shard_filter).transpose()?, exclusive_start, max_results };
    Ok(page(model.list_shards(now, &stream(params)?, request)?))
}

pub(super) fn split(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let shard = params.required_shard("ShardToSplit")?;
    let key = params.decimal("NewStartingHashKey", HASH_KEY_DIGITS)?;
    let key = key.ok_or_else(|| Error::missing("newStartingHashKey"))?;
    model.split_shard(now, &stream(params)?, shard, key)?;
    Ok(Reply::Empty)
}

pub(super) fn merge(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let shard = params.required_shard("ShardToMerge")?;
    let adjacent = params.required_shard("AdjacentShardToMerge")?;
    model.merge_shards(now, &stream(params)?, shard, adjacent)?;
    Ok(Reply::Empty)
}

pub(super) fn update_count(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let target = params.required_number("TargetShardCount")?;
    super::word("scalingType", params.required_str("ScalingType")?, &[("UNIFORM_SCALING", ())])?;
    let stream = stream(params)?;
    let current = model.update_shard_count(now, &stream, target)?;
    let info = model.describe(now, &stream)?;
    Ok(Reply::Value(Value::map([
        ("StreamName", info.name.into()),
        ("StreamARN", info.arn.into()),
        ("CurrentShardCount", current.into()),
        ("TargetShardCount", target.into()),
    ])))
}

/// A shard as `ListShards` and `DescribeStream` show it.
pub(super) fn shard(info: &ShardInfo) -> Value<'static> {
    let numbers = Value::map([("StartingSequenceNumber", info.starting.to_string().into())])
        .with("EndingSequenceNumber", info.ending.map(|n| n.to_string()));
    Value::map([
        ("ShardId", info.shard_id.clone().into()),
        ("HashKeyRange", hash_range(info.range)),
        ("SequenceNumberRange", numbers),
    ])
    .with("ParentShardId", info.parent.clone())
    .with("AdjacentParentShardId", info.adjacent_parent.clone())
}

fn page(page: ShardPage) -> Reply {
    let shards = Value::list(page.shards.iter().map(shard));
    Reply::Value(Value::map([("Shards", shards)]).with("NextToken", page.next_token))
}

fn shard_filter<'p>(filter: &'p Params<'_>) -> Result<ShardFilter<'p>, Error> {
    #[derive(Clone, Copy)]
    enum Type {
        AfterShardId,
        AtTimestamp,
        FromTimestamp,
        Plain(ShardFilter<'static>),
    }
    let types = [
        ("AFTER_SHARD_ID", Type::AfterShardId),
        ("AT_TRIM_HORIZON", Type::Plain(ShardFilter::AtTrimHorizon)),
        ("FROM_TRIM_HORIZON", Type::Plain(ShardFilter::FromTrimHorizon)),
        ("AT_LATEST", Type::Plain(ShardFilter::AtLatest)),
        ("AT_TIMESTAMP", Type::AtTimestamp),
        ("FROM_TIMESTAMP", Type::FromTimestamp),
    ];
    let timestamp = || {
        let time = filter.timestamp("Timestamp")?;
        time.ok_or_else(|| Error::invalid("Timestamp must be provided for this ShardFilter type."))
    };
    match super::word("shardFilter.type", filter.required_str("Type")?, &types)? {
        Type::Plain(filter) => Ok(filter),
        Type::AtTimestamp => Ok(ShardFilter::AtTimestamp(timestamp()?)),
        Type::FromTimestamp => Ok(ShardFilter::FromTimestamp(timestamp()?)),
        Type::AfterShardId => {
            let id = filter.str("ShardId")?;
            id.map(ShardFilter::AfterShardId)
                .ok_or_else(|| Error::invalid("ShardId must be provided for this ShardFilter type."))
        }
    }
}
