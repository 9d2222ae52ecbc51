//! Enhanced fan-out: registered consumers and their subscriptions to shards.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::read::{BYTES_MAX, Batch, RECORDS_MAX, batch, resolve};
use super::stream::{Status, Stream, StreamState};
use super::{Error, ErrorKind, Millis, Model, Position, StreamRef, lock, names, read, write};

/// Consumers per stream when limits are enforced.
const CONSUMERS_MAX: usize = 20;
/// A second subscription within this time is rejected; later it replaces the first one.
const TAKEOVER: Millis = 5_000;

#[derive(Debug)]
pub(crate) struct Consumer {
    name: String,
    arn: String,
    created: Millis,
    active_at: Millis,
    /// The active subscription of each shard.
    subscribed: HashMap<u32, InForce>,
}

#[derive(Debug, Clone, Copy)]
struct InForce {
    generation: u64,
    since: Millis,
}

impl Consumer {
    /// A consumer of an earlier process: active and without subscriptions.
    pub(super) fn restored(name: &str, arn: &str, created: Millis) -> Self {
        let (name, arn, subscribed) = (name.to_owned(), arn.to_owned(), HashMap::new());
        Self { name, arn, created, active_at: created, subscribed }
    }

    /// Name, ARN and when it was registered.
    pub(super) fn identity(&self) -> (&str, &str, Millis) {
        (&self.name, &self.arn, self.created)
    }
}

/// A consumer as `DescribeStreamConsumer` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Its state now.
    pub status: Status,
    /// When it was registered.
    pub created: Millis,
    /// The stream it belongs to.
    pub stream_arn: String,
}

/// A subscription to a shard: a position in its log that advances with each event.
#[derive(Debug)]
pub struct Subscription {
    stream: Arc<Stream>,
    consumer_arn: String,
    shard: u32,
    generation: u64,
    position: u64,
    ended: bool,
}

/// An event of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionStep {
    /// Records (perhaps none), and the number to go on after; none at the end of the shard, which is also the end
    /// of the subscription.
    Event {
        /// The records, with the child shards at the end.
        batch: Batch,
        /// Where the next subscription continues.
        continuation: Option<String>,
    },
    /// It ended prematurely: replaced, or the consumer or stream was deleted.
    Failed(Error),
}

impl Model {
    /// Registers a consumer.
    ///
    /// # Errors
    /// No such stream; an illegal name or one in use; more than 20.
    pub fn register_consumer(&self, now: Millis, stream: &StreamRef<'_>, name: &str) -> Result<ConsumerInfo, Error> {
        names::check_name("consumerName", name)?;
        let stream = self.stream(now, stream)?;
        let mut state = write(&stream.state);
        if state.consumers.iter().any(|c| c.name == name) {
            return Err(Error::in_use(format!(
                "Consumer {name} under stream {} already exists for account {}.",
                stream.name,
                names::ACCOUNT
            )));
        }
        if self.config.limits && state.consumers.len() >= CONSUMERS_MAX {
            return Err(Error::limit(format!("Consumer limit exceeded: a stream can have {CONSUMERS_MAX} consumers")));
        }
        let consumer = Consumer {
            name: name.to_owned(),
            arn: names::consumer_arn(&stream.arn, name, now),
            created: now,
            active_at: now + self.config.state_delay,
            subscribed: HashMap::new(),
        };
        let info = consumer.info(&stream, now);
        state.consumers.push(consumer);
        self.note(&stream, &state)?;
        Ok(info)
    }

    /// Removes a consumer, found by ARN or by stream and name; its subscriptions end.
    ///
    /// # Errors
    /// No such stream or consumer.
    pub fn deregister_consumer(&self, now: Millis, consumer: ConsumerRef<'_>) -> Result<(), Error> {
        let stream = self.stream(now, &consumer.stream())?;
        let mut state = write(&stream.state);
        let at = consumer.find(&stream, &state)?;
        let removed = state.consumers.remove(at);
        for shard in removed.subscribed.keys() {
            lock(&state.shards[*shard as usize].log).wake();
        }
        self.note(&stream, &state)
    }

    /// A consumer as it is now.
    ///
    /// # Errors
    /// No such stream or consumer.
    pub fn describe_consumer(&self, now: Millis, consumer: ConsumerRef<'_>) -> Result<ConsumerInfo, Error> {
        let stream = self.stream(now, &consumer.stream())?;
        let state = read(&stream.state);
        let at = consumer.find(&stream, &state)?;
        Ok(state.consumers[at].info(&stream, now))
    }

    /// All consumers of a stream, in the order of their registration.
    ///
    /// # Errors
    /// No such stream.
    pub fn consumers(&self, now: Millis, stream: &StreamRef<'_>) -> Result<Vec<ConsumerInfo>, Error> {
        let stream = self.stream(now, stream)?;
        let state = read(&stream.state);
        Ok(state.consumers.iter().map(|c| c.info(&stream, now)).collect())
    }

    /// Subscribes a consumer to a shard.
    ///
    /// # Errors
    /// No such consumer or shard; not active yet; a subscription of the same kind began less than 5 s ago.
    pub fn subscribe(
        &self,
        now: Millis,
        consumer_arn: &str,
        shard_id: &str,
        position: Position<'_>,
    ) -> Result<Subscription, Error> {
        let consumer = ConsumerRef::Arn(consumer_arn);
        let stream = self.stream(now, &consumer.stream())?;
        let mut state = write(&stream.state);
        let at = consumer.find(&stream, &state)?;
        if state.consumers[at].status(now) != Status::Active {
            return Err(Error::in_use(format!("Consumer {consumer_arn} is not ACTIVE.")));
        }
        let shard = state.shard(now, &stream.name, shard_id)?;
        let index = shard.index;
        let position = resolve(now, &stream, &state, shard, position, "SubscribeToShard")?;

        let before = state.consumers[at].subscribed.get(&index).copied();
        let wait = TAKEOVER.min(self.config.subscription_life);
        if before.is_some_and(|s| now < s.since + wait) {
            return Err(Error::in_use(format!(
                "Another active subscription exists for this consumer: {}:{}:{}:{}",
                names::ACCOUNT,
                stream.name,
                names::shard_id(index),
                state.consumers[at].name
            )));
        }
        let generation = before.map_or(0, |s| s.generation) + 1;
        state.consumers[at].subscribed.insert(index, InForce { generation, since: now });
        lock(&state.shards[index as usize].log).wake();
        drop(state);
        Ok(Subscription {
            stream,
            consumer_arn: consumer_arn.to_owned(),
            shard: index,
            generation,
            position,
            ended: false,
        })
    }
}

/// A consumer, said by ARN or by stream and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerRef<'a> {
    /// Its ARN.
    Arn(&'a str),
    /// The ARN (or name) of the stream, and its name.
    Named(&'a str, &'a str),
}

impl<'a> ConsumerRef<'a> {
    fn stream(self) -> StreamRef<'a> {
        match self {
            Self::Arn(arn) | Self::Named(arn, _) => StreamRef::from(arn),
        }
    }

    fn find(self, stream: &Stream, state: &StreamState) -> Result<usize, Error> {
        let is_it = |c: &Consumer| match self {
            Self::Arn(arn) => c.arn == arn,
            Self::Named(_, name) => c.name == name,
        };
        let (Self::Arn(said) | Self::Named(_, said)) = self;
        state.consumers.iter().position(is_it).ok_or_else(|| {
            Error::not_found(format!(
                "Consumer {said} under stream {} not found for account {}.",
                stream.name,
                names::ACCOUNT
            ))
        })
    }
}

impl Consumer {
    fn status(&self, now: Millis) -> Status {
        if now < self.active_at { Status::Creating } else { Status::Active }
    }

    fn info(&self, stream: &Stream, now: Millis) -> ConsumerInfo {
        ConsumerInfo {
            name: self.name.clone(),
            arn: self.arn.clone(),
            status: self.status(now),
            created: self.created,
            stream_arn: stream.arn.clone(),
        }
    }
}

impl Subscription {
    /// The next event; `None` after the last one. Without new records the event is empty: ask
    /// [`poll_ready`](Self::poll_ready) first.
    pub fn next(&mut self, now: Millis, max_size: u64) -> Option<SubscriptionStep> {
        if self.ended {
            return None;
        }
        let stream = Arc::clone(&self.stream);
        let state = read(&stream.state);
        if let Some(error) = self.lost(&state) {
            self.ended = true;
            return Some(SubscriptionStep::Failed(error));
        }
        let shard = &state.shards[self.shard as usize];
        let mut log = lock(&shard.log);
        log.trim(now.saturating_sub(state.retention()));
        let run = log.read(self.position, RECORDS_MAX, max_size.min(BYTES_MAX));
        self.position = run.next;
        let continuation = log.number_before(run.next).to_string();
        let mut batch = batch(now, &stream, &state, shard, &log, run);
        self.ended = batch.next_iterator.take().is_none();
        Some(SubscriptionStep::Event { batch, continuation: (!self.ended).then_some(continuation) })
    }

    /// Ready when [`next`](Self::next) has an event.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let state = read(&self.stream.state);
        let shard = &state.shards[self.shard as usize];
        let mut log = lock(&shard.log);
        let news = self.ended || shard.closed.is_some() || log.tip() > self.position;
        if news || self.lost(&state).is_some() {
            return Poll::Ready(());
        }
        log.wait(cx.waker());
        Poll::Pending
    }

    fn lost(&self, state: &StreamState) -> Option<Error> {
        if matches!(state.transition, Some((Status::Deleting, _))) {
            return Some(Error::not_found(format!(
                "Stream {} under account {} not found.",
                self.stream.name,
                names::ACCOUNT
            )));
        }
        let Some(consumer) = state.consumers.iter().find(|c| c.arn == self.consumer_arn) else {
            return Some(Error::not_found(format!("Consumer {} not found.", self.consumer_arn)));
        };
        let in_force = consumer.subscribed.get(&self.shard);
        if in_force.is_some_and(|s| s.generation == self.generation) {
            return None;
        }
        Some(Error::new(ErrorKind::ResourceInUse, "Another subscription of this consumer to this shard took over."))
    }
}
