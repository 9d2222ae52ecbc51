//! Operations on streams as a whole.

use super::{Reply, stream, word};
use crate::model::{CreateStream, Distribution, Error, Millis, Mode, Model, StreamInfo};
use crate::protocol::{Params, Value};

const MODES: &[(&str, Mode)] = &[("PROVISIONED", Mode::Provisioned), ("ON_DEMAND", Mode::OnDemand)];
const DISTRIBUTIONS: &[(&str, Distribution)] =
    &[("AUTO", Distribution::Auto), ("USER_PARTITION_KEY", Distribution::UserPartitionKey)];
const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 10_000;
const SHARD_LIMIT: u32 = 20_000;
const ON_DEMAND_LIMIT: u32 = 50;

pub(super) fn create(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let tags = params.string_map("Tags")?.unwrap_or_default();
    let request = CreateStream {
        name: params.required_str("StreamName")?.to_owned(),
        shard_count: params.number("ShardCount")?,
        mode: mode(params)?.unwrap_or_default(),
        max_record_kib: params.number("MaxRecordSizeInKiB")?,
        distribution: distribution(params)?.unwrap_or_default(),
        tags: tags.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
    };
    model.create_stream(now, request)?;
    Ok(Reply::Empty)
}

pub(super) fn delete(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let with_consumers = params.bool("EnforceConsumerDeletion")?.unwrap_or(false);
    model.delete_stream(now, &stream(params)?, with_consumers)?;
    Ok(Reply::Empty)
}

pub(super) fn describe(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let stream = stream(params)?;
    let limit = limit(params, "Limit")?;
    let info = model.describe(now, &stream)?;
    let start = params.str("ExclusiveStartShardId")?;
    let (shards, more) = model.describe_shards(now, &stream, start, limit as usize)?;
    let description = description(&info)
        .with("Shards", Some(Value::list(shards.iter().map(super::shards::shard))))
        .with("HasMoreShards", Some(more));
    Ok(Reply::Value(Value::map([("StreamDescription", description)])))
}

pub(super) fn describe_summary(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let info = model.describe(now, &stream(params)?)?;
    let summary = description(&info)
        .with("OpenShardCount", Some(info.open_shards))
        .with("ConsumerCount", Some(info.consumers))
        .with("MaxRecordSizeInKiB", Some(info.max_record_kib))
        .with("RecordDistributionStrategy", Some(info.distribution.as_str()));
    Ok(Reply::Value(Value::map([("StreamDescriptionSummary", summary)])))
}

pub(super) fn list(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    // A token is the name that the page before ended with.
    let after = match params.str("NextToken")? {
        Some(token) => Some(token),
        None => params.str("ExclusiveStartStreamName")?,
    };
    let page = model.list_streams(now, after, limit(params, "Limit")? as usize);
    let last = page.streams.last().filter(|_| page.has_more).map(|info| info.name.clone());
    let summary = |info: &StreamInfo| {
        Value::map([
            ("StreamName", info.name.clone().into()),
            ("StreamARN", info.arn.clone().into()),
            ("StreamStatus", info.status.as_str().into()),
            ("StreamModeDetails", Value::map([("StreamMode", info.mode.as_str().into())])),
            ("StreamCreationTimestamp", Value::Timestamp(info.created)),
        ])
    };
    let names = page.streams.iter().map(|info| info.name.clone().into());
    let reply = Value::map([
        ("StreamNames", Value::list(names)),
        ("HasMoreStreams", page.has_more.into()),
        ("StreamSummaries", Value::list(page.streams.iter().map(summary))),
    ]);
    Ok(Reply::Value(reply.with("NextToken", last)))
}

pub(super) fn describe_limits(model: &Model, now: Millis, _: &Params<'_>) -> Result<Reply, Error> {
    let (open, on_demand) = model.usage(now);
    Ok(Reply::Value(Value::map([
        ("ShardLimit", SHARD_LIMIT.into()),
        ("OpenShardCount", open.into()),
        ("OnDemandStreamCount", on_demand.into()),
        ("OnDemandStreamCountLimit", ON_DEMAND_LIMIT.into()),
    ])))
}

pub(super) fn increase_retention(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    retention(model, now, params, true)
}

pub(super) fn decrease_retention(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    retention(model, now, params, false)
}

fn retention(model: &Model, now: Millis, params: &Params<'_>, longer: bool) -> Result<Reply, Error> {
    let hours = params.required_number("RetentionPeriodHours")?;
    model.set_retention(now, &stream(params)?, hours, longer)?;
    Ok(Reply::Empty)
}

pub(super) fn update_mode(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let mode = mode(params)?.ok_or_else(|| Error::missing("streamModeDetails"))?;
    model.set_mode(now, &stream(params)?, mode)?;
    Ok(Reply::Empty)
}

pub(super) fn update_max_record_size(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let kib = params.required_number("MaxRecordSizeInKiB")?;
    model.set_max_record_size(now, &stream(params)?, kib)?;
    Ok(Reply::Empty)
}

pub(super) fn update_distribution(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let distribution = distribution(params)?.ok_or_else(|| Error::missing("recordDistributionStrategy"))?;
    model.set_distribution(now, &stream(params)?, distribution)?;
    Ok(Reply::Empty)
}

fn description(info: &StreamInfo) -> Value<'static> {
    let metrics = Value::map([("ShardLevelMetrics", Value::List(Vec::new()))]);
    Value::map([
        ("StreamName", info.name.clone().into()),
        ("StreamARN", info.arn.clone().into()),
        ("StreamStatus", info.status.as_str().into()),
        ("StreamModeDetails", Value::map([("StreamMode", info.mode.as_str().into())])),
        ("RetentionPeriodHours", info.retention_hours.into()),
        ("StreamCreationTimestamp", Value::Timestamp(info.created)),
        ("EnhancedMonitoring", Value::List(vec![metrics])),
        ("EncryptionType", "NONE".into()),
    ])
}

fn mode(params: &Params<'_>) -> Result<Option<Mode>, Error> {
    let Some(details) = params.structure("StreamModeDetails")? else {
        return Ok(None);
    };
    word("streamModeDetails.streamMode", details.required_str("StreamMode")?, MODES).map(Some)
}

fn distribution(params: &Params<'_>) -> Result<Option<Distribution>, Error> {
    let text = params.str("RecordDistributionStrategy")?;
    text.map(|text| word("recordDistributionStrategy", text, DISTRIBUTIONS)).transpose()
}

fn limit(params: &Params<'_>, name: &str) -> Result<u32, Error> {
    let bound = match params.number(name)? {
        None => return Ok(LIST_DEFAULT),
        Some(0) => "greater than or equal to 1",
        Some(n) if n > LIST_MAX => "less than or equal to 10000",
        Some(n) => return Ok(n),
    };
    let value = params.number(name)?.unwrap_or_default();
    Err(Error::constraint(&format!("'{value}'"), "limit", &format!("Member must have value {bound}")))
}
