//! The shell around the fan-out machine: one task per shard that subscribes, takes events and delivers batches to the
//! run loop. Dropping it at any point is safe: that ends the subscription, and what it delivered carries its generation.

use std::sync::Arc;

use shardmill_aws::{ConsumerId, Kinesis, Subscription, SubscriptionEvent};
use shardmill_core::fanout::{Action, Delivery, Event, Reader};
use shardmill_core::service::ServiceError;
use tokio::sync::OnceCell;
use tracing::{debug, info};

use crate::shard_reader::ShardReader;

/// The consumer that an input's shards are read as. Registered once, however many shards wait for it.
pub(crate) struct FanOut {
    kinesis: Kinesis,
    stream: String,
    consumer: ConsumerId,
    arn: OnceCell<Result<String, ServiceError>>,
}

impl FanOut {
    /// Subscriptions that wait for a slow task hold up what else goes through their connection, so `kinesis` should
    /// not be used for other calls.
    pub(crate) fn new(kinesis: Kinesis, stream: String, consumer: ConsumerId) -> Self {
        Self { kinesis, stream, consumer, arn: OnceCell::new() }
    }

    /// The consumer's ARN, once it can subscribe. After a failure it is not tried again.
    pub(crate) async fn arn(&self) -> Result<String, ServiceError> {
        self.arn.get_or_init(|| self.register()).await.clone()
    }

    async fn register(&self) -> Result<String, ServiceError> {
        let arn = self.kinesis.ensure_consumer(&self.stream, &self.consumer).await?;
        info!(stream = self.stream, consumer = arn, "reading by fan-out");
        Ok(arn)
    }
}

/// What a fan-out reader works on.
pub(crate) struct FanOutReader {
    pub(crate) shard: ShardReader,
    pub(crate) fan_out: Arc<FanOut>,
}

impl FanOutReader {
    /// Reads until the shard's end, a failure that no retry mends (returned), or until nobody listens any more.
    pub(crate) async fn run(mut self, mut reader: Reader) -> Result<(), ServiceError> {
        let consumer = self.fan_out.arn().await?;
        let mut subscription = None;
        let mut event = Event::Tick;
        loop {
            let mut call = None;
            for action in reader.on(self.shard.clock.now(), event) {
                match action {
                    Action::Deliver(batch) => {
                        if !self.shard.deliver(batch).await {
                            return Ok(());
                        }
                    }
                    Action::End { children } => {
                        self.shard.end(children).await;
                        return Ok(());
                    }
                    Action::Fail(error) => return Err(error),
                    request @ (Action::Subscribe(_) | Action::TakeEvent | Action::FindConsumer) => call = Some(request),
                }
            }
            self.shard.show(reader.millis_behind_latest(), reader.aggregation());
            let due = tokio::time::sleep(self.shard.clock.until(reader.wake_at()));
            event = match call {
                // A call that is given up half-way takes its subscription with it: the next one is a new one.
                Some(call) => tokio::select! {
                    event = self.call(call, &consumer, &mut subscription) => event,
                    () = due => Event::Tick,
                },
                // Both arms are cancel-safe: a missed notification is stored, a timer loses nothing.
                None => tokio::select! {
                    (bytes, records) = self.shard.progress.taken() => Event::Processed { bytes, records },
                    () = due => Event::Tick,
                },
            };
        }
    }

    async fn call(&self, action: Action, consumer: &str, subscription: &mut Option<Subscription>) -> Event {
        let kinesis = &self.fan_out.kinesis;
        match action {
            Action::Subscribe(position) => {
                // The old connection first: nothing of it may come any more.
                *subscription = None;
                debug!(stream = self.shard.stream, shard = self.shard.shard, ?position, "subscribing");
                let made = kinesis.subscribe(consumer, &self.shard.shard, &position).await;
                Event::Subscribed(made.map(|made| *subscription = Some(made)))
            }
            Action::TakeEvent => Event::Delivered(match subscription {
                Some(subscription) => subscription.next_event().await.map(|event| event.map(delivery)),
                None => Ok(None),
            }),
            Action::FindConsumer => Event::Consumer(kinesis.consumer_exists(consumer).await),
            Action::Deliver(_) | Action::End { .. } | Action::Fail(_) => Event::Tick,
        }
    }
}

fn delivery(event: SubscriptionEvent) -> Delivery {
    let SubscriptionEvent { batch, continuation, children, millis_behind_latest } = event;
    Delivery { batch, continuation, children, millis_behind_latest }
}
