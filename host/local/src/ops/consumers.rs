//! Operations of enhanced fan-out.

use super::{Reply, records::position};
use crate::model::{ConsumerInfo, ConsumerRef, Error, Millis, Model, StreamRef};
use crate::protocol::{Params, Value};

const PAGE: usize = 100;

pub(super) fn register(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let stream = StreamRef::from(params.required_str("StreamARN")?);
    let info = model.register_consumer(now, &stream, params.required_str("ConsumerName")?)?;
    Ok(Reply::Value(Value::map([("Consumer", consumer(&info))])))
}

pub(super) fn describe(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let info = model.describe_consumer(now, consumer_ref(params)?)?;
    let description = consumer(&info).with("StreamARN", Some(info.stream_arn));
    Ok(Reply::Value(Value::map([("ConsumerDescription", description)])))
}

pub(super) fn list(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let stream = StreamRef::from(params.required_str("StreamARN")?);
    let size = params.number("MaxResults")?.map_or(PAGE, |n| n as usize).max(1);
    // A token is the number of consumers on the pages before.
    let skip = match params.str("NextToken")? {
        Some(token) => token.parse().map_err(|_| Error::invalid("Invalid NextToken."))?,
        None => 0usize,
    };
    let all = model.consumers(now, &stream)?;
    let end = skip.saturating_add(size);
    let next = (end < all.len()).then(|| end.to_string());
    let page = all.iter().skip(skip).take(size).map(consumer);
    Ok(Reply::Value(Value::map([("Consumers", Value::list(page))]).with("NextToken", next)))
}

pub(super) fn deregister(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    model.deregister_consumer(now, consumer_ref(params)?)?;
    Ok(Reply::Empty)
}

pub(super) fn subscribe(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let arn = params.required_str("ConsumerARN")?;
    let shard = params.required_shard("ShardId")?;
    let start = params.structure("StartingPosition")?.ok_or_else(|| Error::missing("startingPosition"))?;
    let position = position(&start, "startingPosition.type", start.required_str("Type")?, "SequenceNumber")?;
    Ok(Reply::Subscription(model.subscribe(now, arn, shard, position)?))
}

fn consumer_ref<'p>(params: &'p Params<'_>) -> Result<ConsumerRef<'p>, Error> {
    let (arn, stream, name) = (params.str("ConsumerARN")?, params.str("StreamARN")?, params.str("ConsumerName")?);
    match (arn, stream, name) {
        (Some(arn), _, _) => Ok(ConsumerRef::Arn(arn)),
        (None, Some(stream), Some(name)) => Ok(ConsumerRef::Named(stream, name)),
        _ => Err(Error::invalid("Either ConsumerARN or both StreamARN and ConsumerName must be specified.")),
    }
}

fn consumer(info: &ConsumerInfo) -> Value<'static> {
    Value::map([
        ("ConsumerName", info.name.clone().into()),
        ("ConsumerARN", info.arn.clone().into()),
        ("ConsumerStatus", info.status.as_str().into()),
        ("ConsumerCreationTimestamp", Value::Timestamp(info.created)),
    ])
}
