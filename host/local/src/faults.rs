//! Fault injection: network and service failures on demand.
//!
//! A [`Fault`] defines which calls it applies to and what happens to them; both HTTP fronts pass every call through
//! [`serve`]. A *held* call stops a process at a known point without any code for it in the process: a test waits until
//! the call is held, kills the process, and decides what happens to the call. Knows nothing of HTTP itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::journal::{Call, Journal};
use crate::model::ErrorKind;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultAction {
    /// The call is executed after this delay.
    Latency(Duration),
    /// The call is not executed; the client gets this exception ([`ErrorKind::InternalFailure`] is HTTP 500,
    /// [`ErrorKind::ServiceUnavailable`] 503, [`ErrorKind::ProvisionedThroughputExceeded`] a throttle,
    /// [`ErrorKind::ExpiredIterator`] an expired iterator).
    Error(ErrorKind),
    /// The call is not executed; the client gets an HTML page with this status, as from a gateway.
    Page(u16),
    /// The call is not executed; the connection is cut instead of a response.
    LoseRequest,
    /// The call is executed; the connection is cut instead of the response.
    LoseReply,
    /// The call is executed only when the fault is released, even if its client has died by then.
    HoldRequest,
    /// The call is executed; the response waits until the fault is released.
    HoldReply,
    /// `SubscribeToShard` only: the connection is cut after this number of events.
    DropSubscription {
        /// Events sent before the cut.
        after_events: u32,
    },
}

/// A fault and the calls it applies to: all, until narrowed.
#[derive(Debug, Clone)]
pub struct Fault {
    action: FaultAction,
    operation: Option<String>,
    resource: Option<String>,
    shard: Option<String>,
    caller: Option<String>,
    texts: Vec<String>,
    skip: u32,
    times: Option<u32>,
}

impl Fault {
    /// A fault on every call.
    pub fn new(action: FaultAction) -> Self {
        Self {
            action,
            operation: None,
            resource: None,
            shard: None,
            caller: None,
            texts: Vec::new(),
            skip: 0,
            times: None,
        }
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
        self.resource = Some(name.to_owned());
        self
    }

    /// Only this table, by name.
    #[must_use]
    pub fn table(self, name: &str) -> Self {
        self.stream(name)
    }

    /// Only this shard, by full id: operations that name a shard or carry its iterator.
    #[must_use]
    pub fn shard(mut self, shard_id: &str) -> Self {
        self.shard = Some(shard_id.to_owned());
        self
    }

    /// Only calls signed with this access key.
    #[must_use]
    pub fn caller(mut self, access_key: &str) -> Self {
        self.caller = Some(access_key.to_owned());
        self
    }

    /// Only requests whose body contains this text, such as `"SET leaseCounter = :next"` with its quotes. If called more
    /// than once, all texts must match.
    #[must_use]
    pub fn containing(mut self, text: &str) -> Self {
        self.texts.push(text.to_owned());
        self
    }

    /// Skips the first `calls` matching calls.
    #[must_use]
    pub fn skip(mut self, calls: u32) -> Self {
        self.skip = calls;
        self
    }

    /// Affects at most this number of calls; by default all until the fault is removed.
    #[must_use]
    pub fn times(mut self, calls: u32) -> Self {
        self.times = Some(calls);
        self
    }

    fn matches(&self, call: &Call) -> bool {
        let fits =
            |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| found == Some(wanted));
        fits(&self.operation, Some(&call.operation))
            && fits(&self.resource, call.resource.as_deref())
            && fits(&self.shard, call.shard.as_deref())
            && fits(&self.caller, Some(&call.caller))
            && self.texts.iter().all(|text| contains(&call.body, text.as_bytes()))
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

/// The active faults of one service. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<Rule>>>,
}

/// An active fault: counts its effects, and can be released or dropped.
#[derive(Debug, Clone)]
pub struct FaultHandle {
    faults: Faults,
    record: Arc<Record>,
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    seen: u32,
    record: Arc<Record>,
}

#[derive(Debug, Default)]
struct Record {
    hits: AtomicU32,
    held: Mutex<Vec<Call>>,
    gate: watch::Sender<Gate>,
}

/// Whether held calls may continue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Gate {
    #[default]
    Closed,
    Open,
    Cut,
}

impl Faults {
    /// Activates a fault.
    pub fn inject(&self, fault: Fault) -> FaultHandle {
        let record = Arc::new(Record::default());
        self.rules().push(Rule { fault, seen: 0, record: Arc::clone(&record) });
        FaultHandle { faults: self.clone(), record }
    }

    /// Releases all faults. Held calls continue.
    pub fn clear(&self) {
        for rule in self.rules().drain(..) {
            rule.record.gate.send_replace(Gate::Open);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules().is_empty()
    }

    /// The action for a call: the first matching fault in the order of injection. Counts the call.
    fn strike(&self, call: &Call) -> Vec<(FaultAction, Arc<Record>)> {
        self.rules().iter_mut().filter(|rule| rule.fault.matches(call)).filter_map(Rule::strike).collect()
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultHandle {
    /// The number of affected calls.
    pub fn hits(&self) -> u32 {
        self.record.hits.load(Ordering::Acquire)
    }

    /// The number of calls that it holds or has held: those of [`FaultAction::HoldReply`] have been executed by then.
    pub fn held(&self) -> Vec<Call> {
        self.record.held().clone()
    }

    /// Releases the fault. Held calls continue: they are executed, or their responses sent.
    pub fn remove(&self) {
        self.end(Gate::Open);
    }

    /// Removes the fault and cuts the connections of held calls. Calls that have not been executed never will be.
    pub fn cut(&self) {
        self.end(Gate::Cut);
    }

    fn end(&self, gate: Gate) {
        self.faults.rules().retain(|rule| !Arc::ptr_eq(&rule.record, &self.record));
        self.record.gate.send_replace(gate);
    }
}

impl Rule {
    fn strike(&mut self) -> Option<(FaultAction, Arc<Record>)> {
        self.seen += 1;
        let turn = self.seen.checked_sub(self.fault.skip + 1)?;
        if self.fault.times.is_some_and(|times| turn >= times) {
            return None;
        }
        self.record.hits.fetch_add(1, Ordering::Release);
        Some((self.fault.action.clone(), Arc::clone(&self.record)))
    }
}

impl Record {
    fn held(&self) -> MutexGuard<'_, Vec<Call>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a call until the fault is released.
    async fn hold(&self, call: &Call) -> Result<(), Cut> {
        self.held().push(call.clone());
        let mut gate = self.gate.subscribe();
        let opened = gate.wait_for(|gate| *gate != Gate::Closed).await.is_ok_and(|gate| *gate == Gate::Open);
        opened.then_some(()).ok_or(Cut)
    }
}

/// The connection must be cut without a response.
#[derive(Debug, thiserror::Error)]
#[error("connection cut on request of an injected fault")]
pub(crate) struct Cut;

/// The response to a call.
#[derive(Debug)]
pub(crate) enum Served<R> {
    Refused(ErrorKind),
    Page(u16),
    Done {
        reply: R,
        /// Events before the connection is cut.
        drop_after: Option<u32>,
    },
}

/// Executes a call subject to the active faults, and records it in the journal if it succeeds. As at a real service, a
/// received call is executed even if its client disconnects.
#[expect(clippy::disallowed_methods, reason = "it is awaited below, and a panic cuts the connection")]
pub(crate) async fn serve<R: Send + 'static>(
    faults: &Faults,
    journal: &Journal,
    call: Call,
    succeeded: fn(&R) -> bool,
    carry_out: impl Future<Output = Result<R, Cut>> + Send + 'static,
) -> Result<Served<R>, Cut> {
    let struck = faults.strike(&call);
    let journal = journal.clone();
    let noted = async move |call: &Call| {
        let reply = carry_out.await?;
        if succeeded(&reply) {
            journal.note(call);
        }
        Ok(reply)
    };
    let detached = tokio::spawn(async move {
        let (mut after, mut drop_after) = (Vec::new(), None);
        for (action, record) in struck {
            match action {
                FaultAction::Latency(latency) => tokio::time::sleep(latency).await,
                FaultAction::Error(kind) => return Ok(Served::Refused(kind)),
                FaultAction::Page(status) => return Ok(Served::Page(status)),
                FaultAction::LoseRequest => return Err(Cut),
                FaultAction::HoldRequest => record.hold(&call).await?,
                FaultAction::DropSubscription { after_events } => drop_after = Some(after_events),
                FaultAction::LoseReply | FaultAction::HoldReply => after.push((action, record)),
            }
        }
        let reply = noted(&call).await?;
        for (action, record) in after {
            match action {
                FaultAction::HoldReply => record.hold(&call).await?,
                _ => return Err(Cut),
            }
        }
        Ok(Served::Done { reply, drop_after })
    });
    detached.await.unwrap_or(Err(Cut))
}

/// The page of a gateway.
pub(crate) const PAGE: &str = "<html><body>The service is not available</body></html>";
pub(crate) const PAGE_TYPE: &str = "text/html";

#[cfg(test)]
mod tests {
    use super::*;

    fn call(operation: &str, stream: &str) -> Call {
        Call { operation: operation.to_owned(), resource: Some(stream.to_owned()), ..Call::default() }
    }

    #[test]
    fn a_fault_strikes_the_calls_it_names_and_as_often() {
        let faults = Faults::default();
        let error = FaultAction::Error(ErrorKind::InternalFailure);
        let handle = faults.inject(Fault::new(error).operation("GetRecords").stream("a").skip(1).times(2));
        assert!(faults.strike(&call("GetRecords", "b")).is_empty());
        assert!(faults.strike(&call("PutRecord", "a")).is_empty());
        let struck: Vec<_> = (0..5).map(|_| faults.strike(&call("GetRecords", "a")).len()).collect();
        assert_eq!(struck, [0, 1, 1, 0, 0]);
        assert_eq!(handle.hits(), 2);
        handle.remove();
        assert!(faults.is_empty());
    }

    #[test]
    fn a_fault_finds_a_caller_and_texts() {
        let faults = Faults::default();
        let fault = Fault::new(FaultAction::LoseRequest).caller("me").containing("\"SET a = :a\"").containing(":b");
        let handle = faults.inject(fault);
        let by = |caller: &str, body: &'static str| {
            let call = Call { caller: caller.to_owned(), body: body.into(), ..call("UpdateItem", "t") };
            faults.strike(&call).len()
        };
        assert_eq!(by("me", r#"{"UpdateExpression":"SET a = :a",":b":{"N":"1"}}"#), 1);
        assert_eq!(by("you", r#"{"UpdateExpression":"SET a = :a",":b":{"N":"1"}}"#), 0);
        assert_eq!(by("me", r#"{"UpdateExpression":"SET a = :a, b = :b"}"#), 0);
        assert_eq!(by("me", "{}"), 0);
        assert_eq!(handle.hits(), 1);
    }
}
