//! Throttles the log of calls that fail repeatedly: a few failures are normal, more must neither go unreported nor flood
//! the log. While an outage lasts, the job's status names it. Decides only what is reported.

use std::fmt;
use std::sync::Arc;

use shardmill_core::service::ServiceError;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::status::{Outage, Status};

/// Failures in a row before the log reports them.
const SAID_FROM: u32 = 4;

/// The failures in a row of one kind of call.
#[derive(Debug)]
pub(crate) struct Failures {
    in_a_row: u32,
    said_from: u32,
}

/// What to log after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    Nothing,
    /// The call has failed so many times in a row, and is retried.
    Failing(u32),
    /// The call works again, after the log has reported failures.
    Mended,
}

impl Failures {
    /// For calls that a start waits for: until one has succeeded, the first failure is logged, because the process may
    /// not live to see another.
    pub(crate) fn at_start() -> Self {
        Self { said_from: 1, ..Self::default() }
    }

    /// Records the outcome of a call.
    pub(crate) fn after(&mut self, failed: bool) -> Say {
        if failed {
            self.in_a_row = self.in_a_row.saturating_add(1);
            let is_said = self.in_a_row >= self.said_from && self.in_a_row.is_power_of_two();
            return if is_said { Say::Failing(self.in_a_row) } else { Say::Nothing };
        }
        let Self { in_a_row: before, said_from } = std::mem::take(self);
        if before >= said_from { Say::Mended } else { Say::Nothing }
    }
}

/// The subject of calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Reading the lease table of this name.
    TableRead(String),
    /// Writing it: held leases expire.
    TableWrite(String),
    /// Listing the shards of a stream.
    ShardList {
        stream: String,
    },
    Shard {
        stream: String,
        shard: String,
    },
    /// The consumer registered for a stream.
    Consumer {
        stream: String,
    },
}

/// The calls of one kind, for log and status. Dropping it ends their outage.
#[derive(Debug)]
pub(crate) struct Calls {
    subject: Subject,
    failures: Failures,
    status: Arc<Status>,
    clock: Clock,
}

impl Calls {
    /// For calls of which a few may fail.
    pub(crate) fn new(subject: Subject, status: Arc<Status>, clock: Clock) -> Self {
        Self { subject, failures: Failures::default(), status, clock }
    }

    /// For calls that a start waits for: see [`Failures::at_start`].
    pub(crate) fn at_start(mut self) -> Self {
        self.failures = Failures::at_start();
        self
    }

    /// Records the outcome of a call.
    pub(crate) fn answered(&mut self, failure: Option<&ServiceError>) {
        let Self { subject, status, clock, .. } = self;
        match (self.failures.after(failure.is_some()), failure) {
            (Say::Failing(failures), Some(error)) => {
                warn!(%error, failures, "{subject} cannot be {}; retrying", subject.participle());
                let now = clock.now();
                status.update(|status| {
                    let outage = status.outages.entry(subject.clone()).or_insert_with(|| Outage::new(now));
                    outage.error = error.to_string();
                });
            }
            (Say::Mended, _) => {
                info!("{subject} can be {} again", subject.participle());
                self.forget();
            }
            _ => {}
        }
    }

    fn forget(&self) {
        self.status.update(|status| drop(status.outages.remove(&self.subject)));
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Subject {
    /// What cannot be done to the subject.
    #[must_use]
    pub fn participle(&self) -> &'static str {
        match self {
            Self::TableWrite(_) => "written",
            Self::ShardList { .. } => "listed",
            Self::Consumer { .. } => "registered",
            Self::TableRead(_) | Self::Shard { .. } => "read",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableRead(table) | Self::TableWrite(table) => write!(f, "the lease table {table}"),
            Self::ShardList { stream } => write!(f, "the shards of the stream {stream}"),
            Self::Shard { stream, shard } => write!(f, "{shard} of the stream {stream}"),
            Self::Consumer { stream } => write!(f, "the consumer of the stream {stream}"),
        }
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self { in_a_row: 0, said_from: SAID_FROM }
    }
}

#[cfg(test)]
mod tests {
    use shardmill_core::service::ErrorKind;

    use super::*;

    #[test]
    fn a_long_outage_is_logged_less_and_less_often_and_its_end_once() {
        let mut failures = Failures::default();
        let said: Vec<Say> = (0..20).map(|_| failures.after(true)).filter(|say| *say != Say::Nothing).collect();
        assert_eq!(said, [Say::Failing(4), Say::Failing(8), Say::Failing(16)]);
        assert_eq!([failures.after(false), failures.after(false)], [Say::Mended, Say::Nothing]);
    }

    #[test]
    fn the_first_failure_of_a_start_is_logged_at_once() {
        let mut failures = Failures::at_start();
        assert_eq!([failures.after(true), failures.after(true)], [Say::Failing(1), Say::Failing(2)]);
        assert_eq!(failures.after(false), Say::Mended);
        assert_eq!(failures.after(true), Say::Nothing, "it has worked");
        assert_eq!(Failures::at_start().after(false), Say::Nothing);
    }

    #[test]
    fn an_outage_is_shown_for_as_long_as_it_lasts() {
        let status = Arc::new(Status::default());
        let subject = Subject::TableRead("orders-1".to_owned());
        let mut calls = Calls::new(subject.clone(), Arc::clone(&status), Clock::start());
        let error = ServiceError { kind: ErrorKind::Unavailable, operation: "Scan", message: "503".to_owned() };
        let shown = || status.snapshot().outages.get(&subject).map(|outage| outage.error.clone());
        for _ in 1..SAID_FROM {
            calls.answered(Some(&error));
            assert_eq!(shown(), None, "that happens");
        }
        calls.answered(Some(&error));
        assert_eq!(shown().as_deref(), Some("Scan: 503"));
        calls.answered(None);
        assert_eq!(shown(), None);
        let mut calls = calls.at_start();
        calls.answered(Some(&error));
        assert!(shown().is_some());
        drop(calls);
        assert_eq!(shown(), None, "there are no calls any longer");
    }

    #[test]
    fn occasional_failures_are_not_logged() {
        let mut failures = Failures::default();
        let everyday = [true, true, true, false].into_iter().cycle().take(40);
        assert!(everyday.map(|failed| failures.after(failed)).all(|say| say == Say::Nothing));
    }
}
