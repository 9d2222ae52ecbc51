//! The time the HTTP front and the [`Kinesis`](crate::Kinesis) handle give to the model.

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

    /// A clock that stands at `start` until it is [advanced](Self::advance). Clones move together.
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

    /// Moves a manual clock on; a system clock goes its own way.
    pub fn advance(&self, by: Duration) {
        if let Some(time) = &self.manual {
            time.fetch_add(crate::millis(by), Ordering::Relaxed);
        }
    }
}
