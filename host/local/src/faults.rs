//! Injected faults: what a network and a busy service do to a client, on demand.
//!
//! A [`Fault`] says to which calls it applies and what happens to them. The HTTP front asks before and after each
//! call. Knows nothing of HTTP itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::ErrorKind;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultAction {
    /// It is carried out this much later.
    Latency(Duration),
    /// It is not carried out; the client gets this exception ([`ErrorKind::InternalFailure`] is HTTP 500,
    /// [`ErrorKind::ServiceUnavailable`] 503, [`ErrorKind::ProvisionedThroughputExceeded`] a throttle,
    /// [`ErrorKind::ExpiredIterator`] an expired iterator).
    Error(ErrorKind),
    /// It is carried out; the connection is cut instead of the reply.
    LoseReply,
    /// `SubscribeToShard` only: the connection is cut after so many events.
    DropSubscription {
        /// Events sent before it.
        after_events: u32,
    },
}

/// A fault and the calls it applies to: all, until narrowed.
#[derive(Debug, Clone)]
pub struct Fault {
    action: FaultAction,
    operation: Option<String>,
    stream: Option<String>,
    shard: Option<String>,
    skip: u32,
    times: Option<u32>,
}

impl Fault {
    /// A fault on every call.
    pub fn new(action: FaultAction) -> Self {
        Self { action, operation: None, stream: None, shard: None, skip: 0, times: None }
    }

    /// Only this operation, such as `GetRecords`.
    #[must_use]
    pub fn operation(mut self, operation: &str) -> Self {
        self.operation = Some(operation.to_owned());
        self
    }

    /// Only this stream, by name.
    #[must_use]
    pub fn stream(mut self, name: &str) -> Self {
        self.stream = Some(name.to_owned());
        self
    }

    /// Only this shard, by full id: operations that name a shard or carry its iterator.
    #[must_use]
    pub fn shard(mut self, shard_id: &str) -> Self {
        self.shard = Some(shard_id.to_owned());
        self
    }

    /// Not the first `calls` matching calls.
    #[must_use]
    pub fn skip(mut self, calls: u32) -> Self {
        self.skip = calls;
        self
    }

    /// At most so many calls; without it until it is removed.
    #[must_use]
    pub fn times(mut self, calls: u32) -> Self {
        self.times = Some(calls);
        self
    }
}

/// What a call is aimed at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) stream: Option<String>,
    pub(crate) shard: Option<String>,
}

/// The faults in force. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<Rule>>>,
}

/// An injected fault: how often it struck, and a way to take it back.
#[derive(Debug, Clone)]
pub struct FaultHandle {
    faults: Faults,
    hits: Arc<AtomicU32>,
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    seen: u32,
    hits: Arc<AtomicU32>,
}

impl Faults {
    /// Puts a fault in force.
    pub fn inject(&self, fault: Fault) -> FaultHandle {
        let hits = Arc::new(AtomicU32::new(0));
        self.rules().push(Rule { fault, seen: 0, hits: Arc::clone(&hits) });
        FaultHandle { faults: self.clone(), hits }
    }

    /// Takes all faults back.
    pub fn clear(&self) {
        self.rules().clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules().is_empty()
    }

    /// What happens to a call, in the order of injection. Counts it.
    pub(crate) fn strike(&self, operation: &str, target: &Target) -> Vec<FaultAction> {
        self.rules().iter_mut().filter(|rule| rule.fault.matches(operation, target)).filter_map(Rule::strike).collect()
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultHandle {
    /// Calls it struck.
    pub fn hits(&self) -> u32 {
        self.hits.load(Ordering::Acquire)
    }

    /// Takes it back.
    pub fn remove(&self) {
        self.faults.rules().retain(|rule| !Arc::ptr_eq(&rule.hits, &self.hits));
    }
}

impl Fault {
    fn matches(&self, operation: &str, target: &Target) -> bool {
        let fits =
            |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| found == Some(wanted));
        fits(&self.operation, Some(operation))
            && fits(&self.stream, target.stream.as_deref())
            && fits(&self.shard, target.shard.as_deref())
    }
}

impl Rule {
    fn strike(&mut self) -> Option<FaultAction> {
        self.seen += 1;
        let turn = self.seen.checked_sub(self.fault.skip + 1)?;
        if self.fault.times.is_some_and(|times| turn >= times) {
            return None;
        }
        self.hits.fetch_add(1, Ordering::Release);
        Some(self.fault.action.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_the_calls_it_names_and_as_often() {
        let faults = Faults::default();
        let error = FaultAction::Error(ErrorKind::InternalFailure);
        let handle = faults.inject(Fault::new(error.clone()).operation("GetRecords").stream("a").skip(1).times(2));
        let on = |stream: &str| Target { stream: Some(stream.to_owned()), shard: None };
        assert_eq!(faults.strike("GetRecords", &on("b")), []);
        assert_eq!(faults.strike("PutRecord", &on("a")), []);
        let struck: Vec<_> = (0..5).map(|_| faults.strike("GetRecords", &on("a")).len()).collect();
        assert_eq!(struck, [0, 1, 1, 0, 0]);
        assert_eq!(handle.hits(), 2);
        handle.remove();
        assert!(faults.is_empty());
    }
}
