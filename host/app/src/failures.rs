//! Calls of one kind that fail one after the other: a few are everyday, more must not be passed over in silence, nor fill
//! the log. While they last, the job's status names them. Decides nothing but what is said.

use std::fmt;
use std::sync::Arc;

use shardmill_core::service::ServiceError;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::status::{Outage, Status};

/// Failures in a row before the log says so.
const SAID_FROM: u32 = 4;

/// The failures in a row of one kind of call.
#[derive(Debug)]
pub(crate) struct Failures {
    in_a_row: u32,
    said_from: u32,
}

/// What the log should say after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    Nothing,
    /// It has failed so often in a row, and is tried on.
    Failing(u32),
    /// It works again, after the log has said that it does not.
    Mended,
}

impl Failures {
    /// Of calls that a start waits for: until one has worked, the first failure is said, for it may well be the last.
    pub(crate) fn at_start() -> Self {
        Self { said_from: 1, ..Self::default() }
    }

    /// Takes note of a call's end.
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

/// What calls are about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The lease table of this name, read.
    TableRead(String),
    /// The same, written: the leases that are held run out.
    TableWrite(String),
    /// The shards of a stream, listed.
    ShardList {
        stream: String,
    },
    Shard {
        stream: String,
        shard: String,
    },
    /// The consumer that a stream is to be read as.
    Consumer {
        stream: String,
    },
}

/// The calls of one kind, for log and status. What is dropped is not called any more, and fails no more.
#[derive(Debug)]
pub(crate) struct Calls {
    subject: Subject,
    failures: Failures,
    status: Arc<Status>,
    clock: Clock,
}

impl Calls {
    /// A few failures are everyday.
    pub(crate) fn new(subject: Subject, status: Arc<Status>, clock: Clock) -> Self {
        Self { subject, failures: Failures::default(), status, clock }
    }

    /// Those that a start waits for: see [`Failures::at_start`].
    pub(crate) fn at_start(mut self) -> Self {
        self.failures = Failures::at_start();
        self
    }

    /// Takes note of a call's end.
    pub(crate) fn answered(&mut self, failure: Option<&ServiceError>) {
        let Self { subject, status, clock, .. } = self;
        match (self.failures.after(failure.is_some()), failure) {
            (Say::Failing(failures), Some(error)) => {
                warn!(%error, failures, "{subject} cannot be {}; trying again", subject.participle());
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
    /// What cannot be done to it.
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
    fn what_fails_for_long_is_said_less_and_less_often_and_its_end_once() {
        let mut failures = Failures::default();
        let said: Vec<Say> = (0..20).map(|_| failures.after(true)).filter(|say| *say != Say::Nothing).collect();
        assert_eq!(said, [Say::Failing(4), Say::Failing(8), Say::Failing(16)]);
        assert_eq!([failures.after(false), failures.after(false)], [Say::Mended, Say::Nothing]);
    }

    #[test]
    fn what_a_start_waits_for_is_said_at_once() {
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
        assert_eq!(shown(), None, "nobody calls any more");
    }

    #[test]
    fn what_fails_now_and_then_is_not_worth_a_word() {
        let mut failures = Failures::default();
        let everyday = [true, true, true, false].into_iter().cycle().take(40);
        assert!(everyday.map(|failed| failures.after(failed)).all(|say| say == Say::Nothing));
    }
}
