//! The host's clock: milliseconds since 1970 that never jump. The only place that reads the time for the state machines.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shardmill_core::time::Millis;

/// Wall-clock time at the start, advanced by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_ms: Millis,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: millis(since_epoch) }
    }

    #[must_use]
    pub fn now(&self) -> Millis {
        self.started_ms + millis(self.started.elapsed())
    }

    /// When this clock was started.
    #[must_use]
    pub fn started(&self) -> Millis {
        self.started_ms
    }

    /// The time left until `at`; zero when it has passed.
    #[must_use]
    pub fn until(&self, at: Millis) -> Duration {
        Duration::from_millis(at.saturating_sub(self.now()))
    }
}

/// A duration in the state machines' unit.
#[must_use]
pub fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
