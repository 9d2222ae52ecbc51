//! The Kinesis calls of a consumer: shards, iterators, records, subscriptions. Owns their translation to core's types;
//! does not know which shard is read when, or why.

mod admin;
mod cbor;
mod consumer;
mod decode;
mod protocol;
mod records;
mod subscription;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::SdkError;
use aws_sdk_kinesis::operation::get_records::GetRecordsError;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{self as wire, ShardFilterType, ShardIteratorType};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use shardmill_core::config::{Access, ClientSettings, Wire};
use shardmill_core::kinesis::polling::Fetched;
use shardmill_core::kinesis::shard::{HashRange, Shard, ShardFilter};
use shardmill_core::position::StartingPosition;
use shardmill_core::service::{ErrorKind, ServiceError};

use crate::client::Connection;
use crate::error::{Destination, chain};
use decode::{encode_request, looks_like_cbor};
use protocol::{Exchange, KinesisProtocol};

pub use admin::PutFailure;
pub use decode::{Error as DecodeError, decode_response};
pub use subscription::Subscription;

/// Pages of ListShards (1,000 shards each) after which the listing is assumed to be endless.
const MAX_PAGES: usize = 1_000;

/// The service's limit of records per GetRecords.
const MAX_RECORDS: u32 = 10_000;

/// A client of one region or endpoint. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Kinesis {
    client: Client,
    wire: Wire,
    destination: Destination,
}

impl Kinesis {
    /// Resolves region and credentials; calls no stream.
    ///
    /// # Errors
    /// `Invalid` without a region or with a malformed endpoint, `Denied` without credentials.
    pub async fn new(access: &Access, settings: &ClientSettings) -> Result<Self, ServiceError> {
        let connection = Connection { access, settings };
        let (config, destination) = connection.resolve().await?;
        let mut config = aws_sdk_kinesis::config::Builder::from(&config)
            .protocol(KinesisProtocol::new())
            .interceptor(connection.headers());
        config.set_retry_partition(connection.retry_partition());
        Ok(Self { client: Client::from_conf(config.build()), wire: settings.wire, destination })
    }

    /// Checks that a stream exists, by the one call that every consumer has the permission for.
    ///
    /// # Errors
    /// `NotFound` when there is no such stream.
    pub async fn find_stream(&self, stream: &str) -> Result<(), ServiceError> {
        const OPERATION: &str = "ListShards";
        let StreamId { name, arn } = stream_id(stream);
        let request = self.client.list_shards().set_stream_name(name).set_stream_arn(arn).max_results(1);
        let answer = request.send().await.map_err(|e| self.destination.failure(OPERATION, &e))?;
        answer.shards.map(drop).ok_or_else(|| unreadable(OPERATION, "a response without shards".to_owned()))
    }

    /// All shards that match `filter`, in the service's order. `stream` is a name or an ARN.
    pub async fn list_shards(&self, stream: &str, filter: ShardFilter) -> Result<Vec<Shard>, ServiceError> {
        const OPERATION: &str = "ListShards";
        let StreamId { name, arn } = stream_id(stream);
        let mut request =
            self.client.list_shards().set_stream_name(name).set_stream_arn(arn).set_shard_filter(shard_filter(filter));
        let mut shards = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = request.send().await.map_err(|e| self.destination.failure(OPERATION, &e))?;
            let listed = page.shards;
            for shard in listed.ok_or_else(|| unreadable(OPERATION, "a response without shards".to_owned()))? {
                shards.push(to_shard(shard).map_err(|message| unreadable(OPERATION, message))?);
            }
            let Some(token) = page.next_token else {
                return Ok(shards);
            };
            // A request for a following page has the token only, neither name nor filter.
            request = self.client.list_shards().next_token(token);
        }
        Err(unreadable(OPERATION, format!("more than {MAX_PAGES} pages of shards")))
    }

    /// An iterator for [`Kinesis::get_records`]; it expires five minutes later.
    pub async fn shard_iterator(
        &self,
        stream: &str,
        shard: &str,
        from: &StartingPosition,
    ) -> Result<String, ServiceError> {
        const OPERATION: &str = "GetShardIterator";
        let StreamId { name, arn } = stream_id(stream);
        let request = self.client.get_shard_iterator().set_stream_name(name).set_stream_arn(arn).shard_id(shard);
        let request = match from {
            StartingPosition::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            StartingPosition::Latest => request.shard_iterator_type(ShardIteratorType::Latest),
            StartingPosition::AtTimestamp(ms) => {
                request.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(date_time(*ms))
            }
            StartingPosition::AtSequenceNumber(sequence) => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(sequence.as_str()),
            StartingPosition::AfterSequenceNumber(sequence) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence.as_str()),
        };
        let answer = request.send().await.map_err(|e| self.destination.failure(OPERATION, &e))?;
        answer.shard_iterator.ok_or_else(|| unreadable(OPERATION, "a response without an iterator".to_owned()))
    }

    /// The next records after an iterator: at most `limit` (1 to 10,000) and 10 MB of them, possibly none.
    ///
    /// # Errors
    /// `ExpiredIterator` also for an iterator that the service no longer understands.
    pub async fn get_records(&self, iterator: &str, limit: u32) -> Result<Fetched, ServiceError> {
        const OPERATION: &str = "GetRecords";
        let Some(wire_limit) = i32::try_from(limit).ok().filter(|_| (1..=MAX_RECORDS).contains(&limit)) else {
            let message = format!("a limit of {limit}, expected 1 to {MAX_RECORDS}");
            return Err(ServiceError { kind: ErrorKind::Invalid, operation: OPERATION, message });
        };
        let exchange = Exchange::new(match self.wire {
            Wire::Cbor => Some(encode_request(iterator, limit)),
            Wire::Json => None,
        });
        let request = self.client.get_records().shard_iterator(iterator).limit(wire_limit);
        let answer = request.customize().interceptor(exchange.clone()).send().await;
        let answer = answer.map_err(|e| self.get_records_failure(&e))?;
        let body = ByteStream::new(exchange.response().unwrap_or_else(SdkBody::empty)).collect().await;
        let body = body.map_err(|e| unreadable(OPERATION, e.to_string()))?.into_bytes();
        match looks_like_cbor(&body) {
            true => decode_response(&body).map_err(|e| unreadable(OPERATION, chain(&e))),
            false => records::from_sdk(answer).map_err(|message| unreadable(OPERATION, message)),
        }
    }
}

impl Kinesis {
    /// With a valid limit, the iterator is the only argument that GetRecords can reject.
    fn get_records_failure(&self, error: &SdkError<GetRecordsError>) -> ServiceError {
        let mut failure = self.destination.failure("GetRecords", error);
        if error.as_service_error().is_some_and(GetRecordsError::is_invalid_argument_exception) {
            failure.kind = ErrorKind::ExpiredIterator;
        }
        failure
    }
}

/// How requests name a stream.
struct StreamId {
    name: Option<String>,
    arn: Option<String>,
}

fn stream_id(stream: &str) -> StreamId {
    match stream.starts_with("arn:") {
        true => StreamId { name: None, arn: Some(stream.to_owned()) },
        false => StreamId { name: Some(stream.to_owned()), arn: None },
    }
}

/// A response that breaks the service's own rules: nothing was wrong with the request, so it may be repeated.
fn unreadable(operation: &'static str, message: String) -> ServiceError {
    ServiceError { kind: ErrorKind::Unavailable, operation, message: format!("unreadable response: {message}") }
}

fn shard_filter(filter: ShardFilter) -> Option<wire::ShardFilter> {
    let filter_type = match filter {
        ShardFilter::All => return None,
        ShardFilter::AtLatest => ShardFilterType::AtLatest,
        ShardFilter::AtTrimHorizon => ShardFilterType::AtTrimHorizon,
        ShardFilter::AtTimestamp(_) => ShardFilterType::AtTimestamp,
    };
    let timestamp = match filter {
        ShardFilter::AtTimestamp(ms) => Some(date_time(ms)),
        _ => None,
    };
    let filter = wire::ShardFilter::builder().r#type(filter_type).set_timestamp(timestamp).build();
    Some(filter.expect("the type is set"))
}

fn to_shard(shard: wire::Shard) -> Result<Shard, String> {
    let sequences = shard.sequence_number_range;
    let sequences = sequences.ok_or_else(|| format!("shard `{}` without sequence numbers", shard.shard_id))?;
    Ok(Shard {
        hash_range: hash_range(&shard.shard_id, shard.hash_key_range.as_ref())?,
        id: shard.shard_id,
        parents: shard.parent_shard_id.into_iter().chain(shard.adjacent_parent_shard_id).collect(),
        starting_sequence: sequences.starting_sequence_number,
        open: sequences.ending_sequence_number.is_none(),
    })
}

fn hash_range(shard: &str, range: Option<&wire::HashKeyRange>) -> Result<HashRange, String> {
    let range = range.ok_or_else(|| format!("shard `{shard}` without a hash range"))?;
    let bound = |text: &str| {
        text.parse().map_err(|_| format!("`{text}` in the hash range of shard `{shard}` is not a 128-bit number"))
    };
    Ok(HashRange { start: bound(&range.starting_hash_key)?, end: bound(&range.ending_hash_key)? })
}

fn date_time(ms: u64) -> DateTime {
    DateTime::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// Milliseconds since 1970; earlier times are 0. Rounded, because a JSON time is a float of seconds that may be slightly
/// less than its millisecond.
fn millis(time: &DateTime) -> u64 {
    u64::try_from((time.as_nanos() + 500_000).div_euclid(1_000_000)).unwrap_or(0)
}
