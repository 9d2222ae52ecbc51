//! A stop that does not wait for the task any longer. Its leases are released all the same, so that a successor need not
//! wait until they run out.
//!
//! That cannot let two workers checkpoint one holding of a lease. From here on nothing that the task thread asks for is
//! heard, so no further checkpoint is asked for; one that is on its way to the table precedes the release, because a
//! lease has one write on its way at a time; and whatever should come later finds another counter in the row, by which
//! every write is conditional. What the call that is still under way sends may be sent again, as after a crash.

use std::time::Duration;

use anyhow::anyhow;

use super::{Phase, Supervisor};
use crate::clock::millis;

/// How long the release of the leases may take after a stop was cut short; a healthy table answers within milliseconds.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// What the job was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::job) enum Stop {
    NotAsked,
    InGoodOrder,
    AtOnce,
}

pub(super) fn by_request() -> anyhow::Error {
    anyhow!("stopped at once by a second signal; what is not committed is read again by the next start")
}

pub(super) fn by_patience(patience: Duration) -> anyhow::Error {
    let limit = millis(patience);
    anyhow!("the stop took longer than task.shutdown.ms={limit}; what is not committed is read again by the next start")
}

impl Supervisor {
    /// Ends the stop: at first the leases are still released, within a bound; the second time they are not waited for.
    pub(super) fn cut_short(&mut self, why: anyhow::Error) {
        self.failure.get_or_insert(why);
        if self.phase == Phase::Releasing {
            self.phase = Phase::Over;
        } else {
            self.release();
            self.give_up_at = self.clock.now() + millis(RELEASE_LIMIT);
        }
    }
}
