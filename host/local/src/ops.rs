//! The operations: from a request's parameters to a call of the model and back to a reply.
//!
//! One function per operation, grouped as Kinesis's reference groups them. Knows the names of parameters; decides
//! nothing that the model decides.

mod consumers;
mod records;
mod shards;
mod streams;
mod tags;

use crate::model::{self, Batch, Error, ErrorKind, Millis, Model, StreamRef, Subscription};
use crate::protocol::{Params, Value};

/// What an operation answers.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Nothing: an empty body.
    Empty,
    Value(Value<'static>),
    Records(Batch),
    Subscription(Subscription),
}

/// Runs an operation by name.
pub(crate) fn run(model: &Model, now: Millis, operation: &str, params: &Params<'_>) -> Result<Reply, Error> {
    let call: fn(&Model, Millis, &Params<'_>) -> Result<Reply, Error> = match operation {
        "CreateStream" => streams::create,
        "DeleteStream" => streams::delete,
        "DescribeStream" => streams::describe,
        "DescribeStreamSummary" => streams::describe_summary,
        "ListStreams" => streams::list,
        "DescribeLimits" => streams::describe_limits,
        "IncreaseStreamRetentionPeriod" => streams::increase_retention,
        "DecreaseStreamRetentionPeriod" => streams::decrease_retention,
        "UpdateStreamMode" => streams::update_mode,
        "UpdateMaxRecordSize" => streams::update_max_record_size,
        "UpdateStreamRecordDistributionStrategy" => streams::update_distribution,
        "ListShards" => shards::list,
        "SplitShard" => shards::split,
        "MergeShards" => shards::merge,
        "UpdateShardCount" => shards::update_count,
        "PutRecord" => records::put_record,
        "PutRecords" => records::put_records,
        "GetShardIterator" => records::get_shard_iterator,
        "GetRecords" => records::get_records,
        "RegisterStreamConsumer" => consumers::register,
        "DescribeStreamConsumer" => consumers::describe,
        "ListStreamConsumers" => consumers::list,
        "DeregisterStreamConsumer" => consumers::deregister,
        "SubscribeToShard" => consumers::subscribe,
        "AddTagsToStream" => tags::add_to_stream,
        "RemoveTagsFromStream" => tags::remove_from_stream,
        "ListTagsForStream" => tags::list_for_stream,
        "TagResource" => tags::tag_resource,
        "UntagResource" => tags::untag_resource,
        "ListTagsForResource" => tags::list_for_resource,
        _ => return Err(unknown(operation)),
    };
    call(model, now, params)
}

/// The stream and the shard that a request is aimed at, as far as it says.
pub(crate) fn target(params: &Params<'_>) -> (Option<String>, Option<String>) {
    let text = |name| params.str(name).ok().flatten();
    let read = text("ShardIterator").and_then(model::iterator_target);
    let stream = ["StreamARN", "ConsumerARN", "StreamName"].into_iter().find_map(text);
    let (from_iterator, read_shard) = read.unzip();
    let stream = stream.map(|stream| StreamRef::from(stream).name().to_owned());
    (stream.or(from_iterator), text("ShardId").map(str::to_owned).or(read_shard))
}

fn unknown(operation: &str) -> Error {
    Error::new(ErrorKind::UnknownOperation, format!("operation {operation:?} is not one of the local backend's"))
}

/// The stream of a request: by ARN if there is one, else by name.
fn stream<'p>(params: &'p Params<'_>) -> Result<StreamRef<'p>, Error> {
    match params.str("StreamARN")? {
        Some(arn) if StreamRef::from(arn).name().is_empty() => Err(Error::constraint(
            &format!("'{arn}'"),
            "streamARN",
            "Member must satisfy regular expression pattern: arn:aws.*:kinesis:.*:\\d{12}:stream/\\S+",
        )),
        Some(arn) => Ok(StreamRef::from(arn)),
        None => match params.str("StreamName")? {
            Some(name) => Ok(StreamRef::from(name)),
            None => Err(Error::invalid("Either StreamName or StreamARN must be specified.")),
        },
    }
}

/// A constant of the service's model, by its word.
fn word<T: Copy>(member: &str, text: &str, words: &[(&str, T)]) -> Result<T, Error> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Error::constraint(
            &format!("'{text}'"),
            member,
            &format!("Member must satisfy enum value set: [{}]", all.join(", ")),
        )
    })
}
