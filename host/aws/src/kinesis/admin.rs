//! Calls that create and fill streams, for the demo, the benchmark's loader and tests. The consumer needs none of them.

use std::time::{Duration, Instant};

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamStatus};
use shardmill_core::service::{ErrorKind, ServiceError};

use super::{Kinesis, StreamId, stream_id, unreadable};

/// The pause between polls of a stream that is being created; a local backend's is active at the first one.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// A record that PutRecords rejected, although the call succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutFailure {
    /// Index into the given records.
    pub index: usize,
    /// `ProvisionedThroughputExceededException` or `InternalFailure`.
    pub code: String,
    pub message: String,
}

impl Kinesis {
    /// Puts up to 500 records and 5 MiB, keys included; returns the rejected ones. A record without a key is for streams
    /// with automatic record distribution.
    pub async fn put_records(
        &self,
        stream: &str,
        records: &[(Option<&str>, &[u8])],
    ) -> Result<Vec<PutFailure>, ServiceError> {
        const OPERATION: &str = "PutRecords";
        let StreamId { name, arn } = stream_id(stream);
        let entry = |(key, data): &(Option<&str>, &[u8])| {
            PutRecordsRequestEntry::builder()
                .set_partition_key(key.map(str::to_owned))
                .data(Blob::new(*data))
                .build()
                .expect("the data is set")
        };
        let request = self.client.put_records().set_stream_name(name).set_stream_arn(arn);
        let request = request.set_records(Some(records.iter().map(entry).collect()));
        let answer = request.send().await.map_err(|e| self.destination.failure(OPERATION, &e))?;
        let failures = answer.records.into_iter().enumerate().filter_map(|(index, result)| {
            let message = result.error_message.unwrap_or_default();
            result.error_code.map(|code| PutFailure { index, code, message })
        });
        Ok(failures.collect())
    }

    /// Creates a stream with a fixed number of shards. It is not active at once, see [`Kinesis::wait_active`].
    pub async fn create_stream(&self, stream: &str, shards: u32) -> Result<(), ServiceError> {
        const OPERATION: &str = "CreateStream";
        let shards = i32::try_from(shards).map_err(|_| ServiceError {
            kind: ErrorKind::Invalid,
            operation: OPERATION,
            message: format!("{shards} shards are more than a stream can have"),
        })?;
        let request = self.client.create_stream().stream_name(stream).shard_count(shards);
        request.send().await.map_err(|e| self.destination.failure(OPERATION, &e))?;
        Ok(())
    }

    /// Waits until a stream is active; `InUse` when it is not within `limit`.
    pub async fn wait_active(&self, stream: &str, limit: Duration) -> Result<(), ServiceError> {
        const OPERATION: &str = "DescribeStreamSummary";
        let StreamId { name, arn } = stream_id(stream);
        let begin = Instant::now();
        loop {
            let request = self.client.describe_stream_summary().set_stream_name(name.clone());
            let request = request.set_stream_arn(arn.clone());
            let answer = request.send().await.map_err(|e| self.destination.failure(OPERATION, &e))?;
            let Some(summary) = answer.stream_description_summary else {
                return Err(unreadable(OPERATION, "a response without a summary".to_owned()));
            };
            match summary.stream_status {
                // A stream can be read and written during resharding.
                StreamStatus::Active | StreamStatus::Updating => return Ok(()),
                status if begin.elapsed() >= limit => {
                    let message = format!("stream `{stream}` is still {status} after {} s", limit.as_secs());
                    return Err(ServiceError { kind: ErrorKind::InUse, operation: OPERATION, message });
                }
                _ => tokio::time::sleep(POLL_EVERY).await,
            }
        }
    }
}
