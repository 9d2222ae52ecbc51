//! The events of one `SubscribeToShard` connection, created as the connection consumes them.
//!
//! Without a task or a queue: an event is created when the client has room for it, so the connection provides the
//! back-pressure.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::faults::Cut;
use crate::kinesis::Kinesis;
use crate::model::{Subscription, SubscriptionStep};
use crate::protocol::{Protocol, event_stream, records};

const EVENT: &str = "SubscribeToShardEvent";
/// Data in one event, unless a single record is larger.
const EVENT_BYTES: u64 = 512 * 1024;
/// The read rate of a subscription when limits are enforced.
const BYTES_PER_SECOND: f64 = 2.0 * 1024.0 * 1024.0;
/// The minimum interval of events at the tip, so that single records do not become single events.
const PACE: Duration = Duration::from_millis(10);
/// The pause between the last event and a cut: an immediate error would discard buffered events.
const CUT_DELAY: Duration = Duration::from_millis(5);
/// An event is sent this often even if it is empty, so that the client knows that it is connected.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Events {
    subscription: Subscription,
    protocol: Protocol,
    kinesis: Kinesis,
    /// Events left before the connection is cut by a fault.
    drop_after: Option<u32>,
    state: State,
    /// While waiting for records: when an empty event is due. Otherwise: when the next event may be sent.
    timer: Pin<Box<Sleep>>,
    life: Pin<Box<Sleep>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Send the initial response.
    Starting,
    /// Send an event at once: the first one tells the client its position.
    Due,
    /// The rate limit does not allow an event yet.
    Pausing,
    /// Waiting for records or the heartbeat.
    Waiting,
    /// A fault cuts the connection.
    Cutting,
    Done,
}

impl Events {
    pub(super) fn new(
        subscription: Subscription,
        protocol: Protocol,
        kinesis: Kinesis,
        drop_after: Option<u32>,
    ) -> Self {
        let life = Duration::from_millis(kinesis.model().config().subscription_life);
        Self {
            subscription,
            protocol,
            kinesis,
            drop_after,
            state: State::Starting,
            timer: Box::pin(tokio::time::sleep(HEARTBEAT)),
            life: Box::pin(tokio::time::sleep(life)),
        }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if self.state == State::Starting {
            self.state = State::Due;
            return Poll::Ready(Some(Ok(event_stream::initial_response(self.protocol))));
        }
        if self.state == State::Done || self.life.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if self.drop_after == Some(0) && self.state != State::Cutting {
            self.wait(State::Cutting, CUT_DELAY);
        }
        if self.state == State::Cutting {
            return self.timer.as_mut().poll(cx).map(|()| {
                self.state = State::Done;
                Some(Err(Cut))
            });
        }
        if self.state == State::Pausing {
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.wait(State::Waiting, HEARTBEAT);
        }
        if self.state == State::Waiting
            && self.subscription.poll_ready(cx).is_pending()
            && self.timer.as_mut().poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        Poll::Ready(self.event().map(Ok))
    }

    fn event(&mut self) -> Option<Bytes> {
        let now = self.kinesis.now();
        let Some(step) = self.subscription.next(now, EVENT_BYTES) else {
            self.state = State::Done;
            return None;
        };
        let (batch, continuation) = match step {
            SubscriptionStep::Event { batch, continuation } => (batch, continuation),
            SubscriptionStep::Failed(error) => {
                self.state = State::Done;
                return Some(event_stream::exception(self.protocol, &error));
            }
        };
        self.drop_after = self.drop_after.map(|left| left.saturating_sub(1));
        let bytes: usize = batch.slices.iter().map(Bytes::len).sum();
        let behind = batch.millis_behind_latest > 0;
        if continuation.is_none() {
            self.state = State::Due;
        } else {
            self.pause(bytes, behind);
        }
        let payload = records::subscription_event(self.protocol, batch, continuation);
        Some(event_stream::event(self.protocol, EVENT, &payload))
    }

    fn pause(&mut self, bytes: usize, behind: bool) {
        let pace = if behind { Duration::ZERO } else { PACE };
        let limited = if self.kinesis.model().config().limits {
            Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND)
        } else {
            Duration::ZERO
        };
        match pace.max(limited) {
            Duration::ZERO => self.state = State::Due,
            pause => self.wait(State::Pausing, pause),
        }
    }

    fn wait(&mut self, state: State, time: Duration) {
        self.state = state;
        self.timer.as_mut().reset(Instant::now() + time);
    }
}
