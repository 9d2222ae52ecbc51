//! The fan-out reader of one shard, as a pure machine: when to subscribe and from where, when to take the next event,
//! and what an ended subscription means. It goes on after the last event without a gap or a repeat, takes one event at
//! a time and none while the task is behind, notices a subscription that went silent, backs off when refused, and
//! reports the end once. Times are milliseconds since 1970-01-01 UTC on a clock that does not jump.

use crate::envelope::Batch;
use crate::kinesis::aggregate;
use crate::kinesis::shard::{ChildShard, HashRange};
use crate::kinesis::shard_progress::{self, End, ShardProgress};
use crate::position::{Checkpoint, InitialPosition, Latest, SequenceNumber, StartingPosition};
use crate::service::{ErrorKind, ServiceError};
use crate::time::Millis;

/// How long a call or an event may take. The service sends an event every five seconds, be it an empty one.
pub const STALL: Millis = 60_000;
/// A subscription keeps the place of its consumer for so long; after that, another one may take over. Who was taken
/// over (by the shard's new holder, most likely) waits as long before it tries again.
const TAKEOVER: Millis = 5_000;
/// Between attempts while a subscription of somebody else, or an earlier one of our own, keeps the place: a fifth of
/// the calls that the service allows.
const IN_USE_PAUSE: Millis = 1_000;

/// What a reader is told once.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub initial_position: InitialPosition,
    /// Where a shard without any checkpoint starts if its row says LATEST.
    pub latest: Latest,
    /// No event is taken while this much is delivered and not yet processed.
    pub max_unprocessed_bytes: usize,
    pub max_unprocessed_records: usize,
    /// Of the waits after failed calls: readers with different seeds do not come back together.
    pub seed: u64,
}

/// One `SubscribeToShardEvent`; at least one every five seconds.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// The records since the last event, in sequence order; possibly none.
    pub batch: Batch,
    /// What a next subscription goes on after; absent at the end of a closed shard.
    pub continuation: Option<SequenceNumber>,
    /// The shards that follow, named at the end of a closed shard.
    pub children: Vec<ChildShard>,
    /// How far the event is behind the tip of the shard.
    pub millis_behind_latest: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Time passed; see [`Reader::wake_at`].
    Tick,
    /// The answer to [`Action::Subscribe`].
    Subscribed(Result<(), ServiceError>),
    /// The answer to [`Action::TakeEvent`]; `None` when the service ended the subscription, as it does after five
    /// minutes.
    Delivered(Result<Option<Delivery>, ServiceError>),
    /// The answer to [`Action::FindConsumer`]: whether it exists.
    Consumer(Result<bool, ServiceError>),
    /// The task is through with (or dropped) this much of what was delivered.
    Processed { bytes: usize, records: usize },
}

/// What the shell must do. One call is under way at a time; a new one takes the place of one that has not answered.
#[derive(Debug)]
pub enum Action {
    /// Subscribe; what is left of an earlier subscription is dropped.
    Subscribe(StartingPosition),
    /// Wait for the next event of the subscription.
    TakeEvent,
    /// Ask whether the consumer is registered.
    FindConsumer,
    Deliver(Batch),
    /// Everything up to the shard's end has been delivered.
    End {
        children: Vec<ChildShard>,
    },
    /// No retry can mend it.
    Fail(ServiceError),
}

#[derive(Debug)]
enum State {
    Unsubscribed { not_before: Millis },
    Subscribing { since: Millis },
    Subscribed,
    TakingEvent { since: Millis },
    FindingConsumer { since: Millis, missing: ServiceError },
    Ended,
}

/// The machine; see the module documentation.
pub struct Reader {
    progress: ShardProgress,
    state: State,
    /// Whether the subscription in force, or the last one, did.
    brought_events: bool,
}

impl Reader {
    /// A reader that delivers what follows `checkpoint`. The shard's hash range, if known, only tells foreign records
    /// apart; see [`aggregate`].
    #[must_use]
    pub fn new(settings: Settings, checkpoint: &Checkpoint, hash_range: Option<HashRange>) -> Self {
        let Settings { initial_position, latest, max_unprocessed_bytes, max_unprocessed_records, seed } = settings;
        let progress =
            shard_progress::Settings { initial_position, latest, max_unprocessed_bytes, max_unprocessed_records, seed };
        Self {
            progress: ShardProgress::new(progress, checkpoint, hash_range),
            state: State::Unsubscribed { not_before: 0 },
            brought_events: false,
        }
    }

    /// Takes in one event and returns what to do now, in order. Answers to calls that were given up are ignored.
    pub fn on(&mut self, now: Millis, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match (event, &mut self.state) {
            (Event::Processed { bytes, records }, _) => self.progress.on_processed(bytes, records),
            (Event::Subscribed(result), State::Subscribing { since }) => {
                let since = *since;
                self.subscribed(now, since, result, &mut actions);
            }
            (Event::Delivered(result), State::TakingEvent { .. }) => self.delivered(now, result, &mut actions),
            (Event::Consumer(result), State::FindingConsumer { .. }) => self.consumer(now, result, &mut actions),
            _ => {}
        }
        actions.extend(self.next_call(now));
        actions
    }

    /// When the next [`Event::Tick`] is due, also while a call is under way; `Millis::MAX` while another event must
    /// come first.
    #[must_use]
    pub fn wake_at(&self) -> Millis {
        match self.state {
            State::Unsubscribed { not_before } => not_before,
            State::Subscribing { since } | State::TakingEvent { since } | State::FindingConsumer { since, .. } => {
                since + STALL
            }
            State::Subscribed | State::Ended => Millis::MAX,
        }
    }

    /// How far behind the tip the last event was, in milliseconds; `None` before the first one.
    #[must_use]
    pub fn millis_behind_latest(&self) -> Option<u64> {
        self.progress.millis_behind_latest()
    }

    /// What de-aggregation found so far.
    #[must_use]
    pub fn aggregation(&self) -> aggregate::Report {
        self.progress.aggregation()
    }

    fn next_call(&mut self, now: Millis) -> Option<Action> {
        match self.state {
            State::Subscribed if !self.progress.is_full() => {
                self.state = State::TakingEvent { since: now };
                Some(Action::TakeEvent)
            }
            // Due for the first time, or for an answer that did not come.
            _ if now >= self.wake_at() => {
                self.state = State::Subscribing { since: now };
                Some(Action::Subscribe(self.progress.position()))
            }
            _ => None,
        }
    }

    fn subscribed(&mut self, now: Millis, since: Millis, result: Result<(), ServiceError>, actions: &mut Vec<Action>) {
        if let Err(error) = result {
            if self.progress.position_refused(error.kind) {
                self.state = State::Unsubscribed { not_before: now };
                return;
            }
            return self.failed(now, error, IN_USE_PAUSE, actions);
        }
        self.state = State::Subscribed;
        self.brought_events = false;
        // The next subscription must not skip what arrives before the first event.
        self.progress.position_accepted(since);
    }

    fn delivered(&mut self, now: Millis, result: Result<Option<Delivery>, ServiceError>, actions: &mut Vec<Action>) {
        let delivery = match result {
            Ok(Some(delivery)) => delivery,
            Ok(None) => return self.ended_by_service(now),
            Err(error) => return self.failed(now, error, TAKEOVER, actions),
        };
        let Delivery { batch, continuation, children, millis_behind_latest } = delivery;
        self.brought_events = true;
        actions.extend(self.progress.on_answer(batch, millis_behind_latest).map(Action::Deliver));
        match continuation {
            Some(continuation) => {
                self.progress.continue_after(continuation);
                self.state = State::Subscribed;
            }
            None => self.ended(now, children, actions),
        }
    }

    /// Nothing follows.
    fn ended(&mut self, now: Millis, children: Vec<ChildShard>, actions: &mut Vec<Action>) {
        match self.progress.on_end(children) {
            End::Reached { children } => {
                self.state = State::Ended;
                actions.push(Action::End { children });
            }
            End::Doubtful { wait } => self.state = State::Unsubscribed { not_before: now + wait },
        }
    }

    /// Its five minutes are over, most likely. One that ends without any event is not worth asking for at once.
    fn ended_by_service(&mut self, now: Millis) {
        let mut not_before = now;
        if !self.brought_events {
            not_before += self.progress.on_failure();
        }
        self.state = State::Unsubscribed { not_before };
    }

    fn failed(&mut self, now: Millis, error: ServiceError, in_use_pause: Millis, actions: &mut Vec<Action>) {
        if error.kind == ErrorKind::NotFound {
            self.state = State::FindingConsumer { since: now, missing: error };
            return actions.push(Action::FindConsumer);
        }
        if !error.kind.is_transient() {
            self.state = State::Ended;
            return actions.push(Action::Fail(error));
        }
        let pause = if error.kind == ErrorKind::InUse { in_use_pause } else { self.progress.on_failure() };
        self.state = State::Unsubscribed { not_before: now + pause };
    }

    /// What is missing, if not the consumer, is the shard: it left retention with all its records, an end that names
    /// no children. A shard must not count as read because somebody removed the consumer.
    fn consumer(&mut self, now: Millis, result: Result<bool, ServiceError>, actions: &mut Vec<Action>) {
        let State::FindingConsumer { missing, .. } = std::mem::replace(&mut self.state, State::Ended) else {
            return;
        };
        match result {
            Ok(true) => actions.push(Action::End { children: Vec::new() }),
            Ok(false) => actions.push(Action::Fail(missing)),
            Err(error) if error.kind.is_transient() => self.failed(now, error, IN_USE_PAUSE, actions),
            Err(error) => actions.push(Action::Fail(error)),
        }
    }
}

#[cfg(test)]
mod tests;
