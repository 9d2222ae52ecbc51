//! The registration of a fan-out consumer. Owns the wait until the consumer is active; knows nothing of shards.

use std::time::{Duration, Instant};

use aws_sdk_kinesis::types::ConsumerStatus;
use shardmill_core::backoff::{Backoff, Waits};
use shardmill_core::config::Consumer;
use shardmill_core::service::{ErrorKind, ServiceError};

use super::{Kinesis, StreamId, stream_id, unreadable};

/// How long a consumer may take to become active, and how long to wait for a stream at its limit of consumers. AWS needs
/// some seconds; many workers that start at once share a few calls per second.
const REGISTER_LIMIT: Duration = Duration::from_secs(60);

/// Pauses between polls of a consumer: short at first, because a local backend's is active at once.
const POLLS: Backoff = Backoff { first: 50, longest: 2_000 };

const REGISTER: &str = "RegisterStreamConsumer";

struct Found {
    arn: String,
    status: ConsumerStatus,
}

impl Kinesis {
    /// Registers the consumer if necessary, waits until it is active, and returns its ARN. Uses an existing consumer of the
    /// same name. Different seeds spread the calls of concurrent workers. Waits for an unavailable service, and reports each
    /// failed call to `on_failure`.
    ///
    /// # Errors
    /// `NotFound` for an ARN or a stream that does not exist, `InUse` when the consumer is not active in time,
    /// `Throttled` when the stream stays at its limit of consumers for that long.
    pub async fn ensure_consumer(
        &self,
        stream: &str,
        consumer: &Consumer,
        seed: u64,
        mut on_failure: impl FnMut(&ServiceError),
    ) -> Result<String, ServiceError> {
        let mut begin = Instant::now();
        let mut waits = Waits::new(POLLS, seed);
        loop {
            let waiting = match self.try_consumer(stream, consumer).await {
                Ok(Found { arn, status: ConsumerStatus::Active }) => return Ok(arn),
                Ok(Found { arn, status }) => {
                    let seconds = begin.elapsed().as_secs();
                    let message = format!("consumer `{arn}` is {status}, expected ACTIVE (waited {seconds} s)");
                    ServiceError { kind: ErrorKind::InUse, operation: "DescribeStreamConsumer", message }
                }
                Err(error) if error.kind.is_transient() => {
                    on_failure(&error);
                    if !is_about_the_consumer(&error) {
                        // Time during which the service is unavailable does not count.
                        begin = Instant::now();
                    }
                    error
                }
                Err(error) => return Err(error),
            };
            if begin.elapsed() >= REGISTER_LIMIT {
                return Err(waiting);
            }
            tokio::time::sleep(Duration::from_millis(waits.after_failure())).await;
        }
    }

    /// Whether there is a consumer with this ARN.
    pub async fn consumer_exists(&self, arn: &str) -> Result<bool, ServiceError> {
        Ok(self.describe_consumer(None, &Consumer::Arn(arn.to_owned())).await?.is_some())
    }

    async fn try_consumer(&self, stream: &str, consumer: &Consumer) -> Result<Found, ServiceError> {
        match consumer {
            Consumer::Arn(arn) => self.describe_consumer(None, consumer).await?.ok_or_else(|| ServiceError {
                kind: ErrorKind::NotFound,
                operation: "DescribeStreamConsumer",
                message: format!("there is no consumer `{arn}`"),
            }),
            Consumer::Name(name) => {
                let stream = self.stream_arn(stream).await?;
                match self.describe_consumer(Some(&stream), consumer).await? {
                    Some(found) => Ok(found),
                    None => self.register_consumer(&stream, name).await,
                }
            }
        }
    }

    async fn stream_arn(&self, stream: &str) -> Result<String, ServiceError> {
        const OPERATION: &str = "DescribeStreamSummary";
        let StreamId { name, arn } = stream_id(stream);
        if let Some(arn) = arn {
            return Ok(arn);
        }
        let answer = self.client.describe_stream_summary().set_stream_name(name).send().await;
        let answer = answer.map_err(|e| self.destination.failure(OPERATION, &e))?;
        let summary = answer.stream_description_summary;
        Ok(summary.ok_or_else(|| unreadable(OPERATION, "a response without a summary".to_owned()))?.stream_arn)
    }

    /// `stream` is an ARN; it is required for a name.
    async fn describe_consumer(
        &self,
        stream: Option<&str>,
        consumer: &Consumer,
    ) -> Result<Option<Found>, ServiceError> {
        const OPERATION: &str = "DescribeStreamConsumer";
        let request = self.client.describe_stream_consumer();
        let request = match consumer {
            Consumer::Arn(arn) => request.consumer_arn(arn),
            Consumer::Name(name) => request.set_stream_arn(stream.map(str::to_owned)).consumer_name(name),
        };
        let answer = match request.send().await.map_err(|e| self.destination.failure(OPERATION, &e)) {
            Ok(answer) => answer,
            Err(ServiceError { kind: ErrorKind::NotFound, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = answer.consumer_description;
        let found = found.ok_or_else(|| unreadable(OPERATION, "a response without a consumer".to_owned()))?;
        Ok(Some(Found { arn: found.consumer_arn, status: found.consumer_status }))
    }

    /// `InUse` when another worker was faster.
    async fn register_consumer(&self, stream: &str, name: &str) -> Result<Found, ServiceError> {
        let answer = self.client.register_stream_consumer().stream_arn(stream).consumer_name(name).send().await;
        let answer = answer.map_err(|e| self.destination.failure(REGISTER, &e))?;
        let made = answer.consumer;
        let made = made.ok_or_else(|| unreadable(REGISTER, "a response without a consumer".to_owned()))?;
        Ok(Found { arn: made.consumer_arn, status: made.consumer_status })
    }
}

/// Whether the stream is at its limit of consumers, which the service reports as a limit exceeded.
fn is_about_the_consumer(error: &ServiceError) -> bool {
    error.kind == ErrorKind::InUse || (error.kind == ErrorKind::Throttled && error.operation == REGISTER)
}
