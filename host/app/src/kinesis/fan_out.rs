//! The shell around the fan-out machine: one task per shard that subscribes, takes events and delivers batches to the
//! run loop. Dropping it at any point is safe: that ends the subscription, and what it delivered carries its generation.

use std::sync::Arc;

use shardmill_aws::{Kinesis, Subscription};
use shardmill_core::config::{Access, ClientSettings, Consumer};
use shardmill_core::kinesis::fan_out::{Action, Event, Reader};
use shardmill_core::service::ServiceError;
use tokio::sync::{Mutex, OnceCell};
use tracing::{debug, info};

use crate::clock::Clock;
use crate::failures::{Calls, Subject};
use crate::kinesis::polling::ShardReader;
use crate::status::Status;

/// Subscriptions that share a client, and so an HTTP/2 connection: the client opens one, and waits without end for a place
/// in it when the service takes no more (128 at AWS). Few, because a subscription that waits for a slow task fills a part
/// of the connection's window, and nothing gets through a full one.
const SUBSCRIPTIONS_PER_CLIENT: usize = 8;

/// The consumer that an input's shards are read as. Registered once, however many shards wait for it.
pub(crate) struct FanOut {
    access: Access,
    settings: ClientSettings,
    stream: String,
    consumer: Consumer,
    seed: u64,
    status: Arc<Status>,
    clock: Clock,
    arn: OnceCell<Result<String, ServiceError>>,
    clients: Mutex<Vec<Arc<Kinesis>>>,
}

impl FanOut {
    pub(crate) fn new(
        (access, settings): (Access, ClientSettings),
        stream: String,
        consumer: Consumer,
        seed: u64,
        status: Arc<Status>,
        clock: Clock,
    ) -> Self {
        Self {
            access,
            settings,
            stream,
            consumer,
            seed,
            status,
            clock,
            arn: OnceCell::new(),
            clients: Mutex::default(),
        }
    }

    fn calls(&self) -> Calls {
        Calls::new(Subject::Consumer { stream: self.stream.clone() }, Arc::clone(&self.status), self.clock)
    }

    /// The consumer's ARN, once it can subscribe. After a failure it is not tried again.
    pub(crate) async fn arn(&self) -> Result<String, ServiceError> {
        self.arn.get_or_init(|| self.register()).await.clone()
    }

    async fn register(&self) -> Result<String, ServiceError> {
        let mut calls = self.calls().at_start();
        let failed = |error: &ServiceError| calls.answered(Some(error));
        let arn = self.client().await?.ensure_consumer(&self.stream, &self.consumer, self.seed, failed).await?;
        info!(stream = self.stream, consumer = arn, "reading by fan-out");
        Ok(arn)
    }

    /// A client with a place for one more subscription; the place is free again when the client is dropped.
    async fn client(&self) -> Result<Arc<Kinesis>, ServiceError> {
        let mut clients = self.clients.lock().await;
        let taken = |client: &Arc<Kinesis>| Arc::strong_count(client) - 1;
        if let Some(client) = clients.iter().find(|client| taken(client) < SUBSCRIPTIONS_PER_CLIENT) {
            return Ok(Arc::clone(client));
        }
        match Kinesis::new(&self.access, &self.settings).await {
            Ok(client) => {
                let client = Arc::new(client);
                clients.push(Arc::clone(&client));
                Ok(client)
            }
            // A crowded one is better than none.
            Err(error) => clients.iter().min_by_key(|client| taken(client)).cloned().ok_or(error),
        }
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
        let kinesis = self.fan_out.client().await?;
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
                    event = self.call(call, &kinesis, &consumer, &mut subscription) => {
                        self.shard.calls.answered(match &event {
                            Event::Subscribed(Err(error)) | Event::Delivered(Err(error)) | Event::Consumer(Err(error)) => {
                                Some(error)
                            }
                            _ => None,
                        });
                        event
                    }
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

    async fn call(
        &self,
        action: Action,
        kinesis: &Kinesis,
        consumer: &str,
        subscription: &mut Option<Subscription>,
    ) -> Event {
        match action {
            Action::Subscribe(position) => {
                // The old connection first: nothing of it may come any more.
                *subscription = None;
                debug!(stream = self.shard.stream, shard = self.shard.shard, ?position, "subscribing");
                let made = kinesis.subscribe(consumer, &self.shard.shard, &position).await;
                Event::Subscribed(made.map(|made| *subscription = Some(made)))
            }
            Action::TakeEvent => Event::Delivered(match subscription {
                Some(subscription) => subscription.next_event().await,
                None => Ok(None),
            }),
            Action::FindConsumer => Event::Consumer(kinesis.consumer_exists(consumer).await),
            Action::Deliver(_) | Action::End { .. } | Action::Fail(_) => Event::Tick,
        }
    }
}

#[cfg(test)]
mod tests {
    use shardmill_core::config::{Secret, StaticCredentials};

    use super::*;

    #[tokio::test]
    async fn clients_are_shared_by_few_and_used_again() {
        let credentials =
            StaticCredentials { access_key: "test".to_owned(), secret_key: Secret::new("test"), session_token: None };
        let access = Access {
            region: Some("us-east-1".to_owned()),
            // Nothing is called.
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            credentials: credentials.into(),
            role: None,
        };
        let fan_out = FanOut::new(
            (access, ClientSettings::default()),
            "lines".to_owned(),
            Consumer::Name("test".to_owned()),
            1,
            Arc::default(),
            Clock::start(),
        );
        let mut readers = Vec::new();
        for _ in 0..2 * SUBSCRIPTIONS_PER_CLIENT {
            readers.push(fan_out.client().await.unwrap());
        }
        let first = Arc::clone(&readers[0]);
        let with_first = |readers: &[Arc<Kinesis>]| readers.iter().filter(|it| Arc::ptr_eq(it, &first)).count();
        assert_eq!(with_first(&readers), SUBSCRIPTIONS_PER_CLIENT);
        assert_eq!(fan_out.clients.lock().await.len(), 2);
        readers.drain(..SUBSCRIPTIONS_PER_CLIENT);
        for _ in 1..SUBSCRIPTIONS_PER_CLIENT {
            readers.push(fan_out.client().await.unwrap());
        }
        assert_eq!(fan_out.clients.lock().await.len(), 2, "a place that was given up is taken again");
        assert_eq!(with_first(&readers), SUBSCRIPTIONS_PER_CLIENT - 1);
    }
}
