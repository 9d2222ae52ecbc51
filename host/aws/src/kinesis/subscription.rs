//! A consumer's subscription to a shard: creates it and reads its events. Knows nothing of when to subscribe, or from
//! which position.

use aws_sdk_kinesis::primitives::event_stream::EventReceiver;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError as StreamError;
use aws_sdk_kinesis::types::{
    self as wire, ShardIteratorType, SubscribeToShardEvent, SubscribeToShardEventStream as Events,
};
use shardmill_core::kinesis::fan_out::Delivery;
use shardmill_core::position::{SequenceNumber, StartingPosition};
use shardmill_core::service::ServiceError;

use super::records::{batch, children};
use super::{Kinesis, date_time, unreadable};
use crate::error::Destination;

const OPERATION: &str = "SubscribeToShard";

/// An active subscription. It reads ahead of [`Subscription::next_event`] only as far as the connection's flow-control
/// window allows; dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    events: EventReceiver<Events, StreamError>,
    destination: Destination,
}

impl Kinesis {
    /// Subscribes a consumer to a shard, for five minutes.
    ///
    /// # Errors
    /// `InUse` when any process has subscribed this consumer to this shard less than five seconds ago; `NotFound` when the
    /// consumer or the shard does not exist.
    pub async fn subscribe(
        &self,
        consumer_arn: &str,
        shard: &str,
        from: &StartingPosition,
    ) -> Result<Subscription, ServiceError> {
        let request = self.client.subscribe_to_shard().consumer_arn(consumer_arn).shard_id(shard);
        let answer = request.starting_position(starting_position(from)).send().await;
        let answer = answer.map_err(|e| self.destination.failure(OPERATION, &e))?;
        Ok(Subscription { events: answer.event_stream, destination: self.destination.clone() })
    }
}

impl Subscription {
    /// Waits for the next event; `None` when the service has ended the subscription.
    ///
    /// # Errors
    /// `InUse` when another subscription of the consumer has replaced this one, `NotFound` when the consumer or the stream
    /// has been deleted. No event follows an error.
    pub async fn next_event(&mut self) -> Result<Option<Delivery>, ServiceError> {
        loop {
            match self.events.recv().await.map_err(|e| self.destination.stream_failure(OPERATION, &e))? {
                Some(Events::SubscribeToShardEvent(event)) => {
                    return translate(event).map(Some).map_err(|message| unreadable(OPERATION, message));
                }
                // Unknown kinds of events carry no records.
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

fn starting_position(from: &StartingPosition) -> wire::StartingPosition {
    let position = wire::StartingPosition::builder();
    let position = match from {
        StartingPosition::TrimHorizon => position.r#type(ShardIteratorType::TrimHorizon),
        StartingPosition::Latest => position.r#type(ShardIteratorType::Latest),
        StartingPosition::AtTimestamp(ms) => position.r#type(ShardIteratorType::AtTimestamp).timestamp(date_time(*ms)),
        StartingPosition::AtSequenceNumber(sequence) => {
            position.r#type(ShardIteratorType::AtSequenceNumber).sequence_number(sequence.as_str())
        }
        StartingPosition::AfterSequenceNumber(sequence) => {
            position.r#type(ShardIteratorType::AfterSequenceNumber).sequence_number(sequence.as_str())
        }
    };
    position.build().expect("the type is set")
}

fn translate(event: SubscribeToShardEvent) -> Result<Delivery, String> {
    let continuation = event.continuation_sequence_number;
    // The SDK uses an empty text for a missing one.
    let continuation = (!continuation.is_empty()).then(|| SequenceNumber::parse(&continuation));
    Ok(Delivery {
        batch: batch(&event.records)?,
        continuation: continuation.transpose().map_err(|e| e.to_string())?,
        children: children(event.child_shards)?,
        millis_behind_latest: event.millis_behind_latest.max(0).unsigned_abs(),
    })
}
