//! The time that the HTTP front and the [`Kinesis`](crate::Kinesis) handle pass to the model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::Millis;

/// The system's clock, or one that a test moves.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    manual: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stays at `start` until it is [advanced](Self::advance). Clones share the time.
    pub fn manual(start: Millis) -> Self {
        Self { manual: Some(Arc::new(AtomicU64::new(start))) }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now(&self) -> Millis {
        match &self.manual {
            Some(time) => time.load(Ordering::Relaxed),
            None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, crate::millis),
        }
    }

    /// Advances a manual clock; has no effect on a system clock.
    pub fn advance(&self, by: Duration) {
        if let Some(time) = &self.manual {
            time.fetch_add(crate::millis(by), Ordering::Relaxed);
        }
    }
}
