//! The registration of a fan-out consumer. Owns the wait until it can subscribe; knows nothing of shards.

use std::time::{Duration, Instant};

use aws_sdk_kinesis::types::ConsumerStatus;
use shardmill_core::backoff::{Backoff, Waits};
use shardmill_core::config::Consumer;
use shardmill_core::service::{ErrorKind, ServiceError};

use super::{Kinesis, StreamId, stream_id, unreadable};

/// How long a consumer may take until it can subscribe, and a stream to have a place for one more. AWS needs some seconds;
/// many workers that start at once share a few calls a second.
const REGISTER_LIMIT: Duration = Duration::from_secs(60);

/// Between looks at a consumer: short at first, because a local backend's is active at once.
const POLLS: Backoff = Backoff { first: 50, longest: 2_000 };

const REGISTER: &str = "RegisterStreamConsumer";

struct Found {
    arn: String,
    status: ConsumerStatus,
}

impl Kinesis {
    /// Makes sure that the consumer can subscribe, and returns its ARN. One of that name which exists is used. Callers
    /// with different seeds do not ask at the same time. A service that does not answer is waited for, and `on_failure`
    /// hears of each call that failed.
    ///
    /// # Errors
    /// `NotFound` for an ARN or a stream that does not exist, `InUse` when the consumer is not active in time,
    /// `Throttled` when the stream takes no more consumers for as long.
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
                        // The patience is with the consumer, not with the service.
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
        Ok(summary.ok_or_else(|| unreadable(OPERATION, "an answer without a summary".to_owned()))?.stream_arn)
    }

    /// `stream` is an ARN, and needed for a name.
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
        let found = found.ok_or_else(|| unreadable(OPERATION, "an answer without a consumer".to_owned()))?;
        Ok(Some(Found { arn: found.consumer_arn, status: found.consumer_status }))
    }

    /// `InUse` when another worker was faster.
    async fn register_consumer(&self, stream: &str, name: &str) -> Result<Found, ServiceError> {
        let answer = self.client.register_stream_consumer().stream_arn(stream).consumer_name(name).send().await;
        let answer = answer.map_err(|e| self.destination.failure(REGISTER, &e))?;
        let made = answer.consumer;
        let made = made.ok_or_else(|| unreadable(REGISTER, "an answer without a consumer".to_owned()))?;
        Ok(Found { arn: made.consumer_arn, status: made.consumer_status })
    }
}

/// A stream has so many consumers and no more, which the service calls a limit exceeded.
fn is_about_the_consumer(error: &ServiceError) -> bool {
    error.kind == ErrorKind::InUse || (error.kind == ErrorKind::Throttled && error.operation == REGISTER)
}
