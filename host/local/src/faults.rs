//! Injected faults: what a network and a busy service do to a client, on demand.
//!
//! A [`Fault`] says to which calls it applies and what happens to them; both HTTP fronts pass every call through
//! [`serve`]. A call that is *held* is a process stopped at a known place without any code for it in the process: a
//! test waits until it is held, kills the process, and says what becomes of the call. Knows nothing of HTTP itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::journal::{Call, Journal};
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
    /// It is not carried out; the client gets a page in HTML with this status, as from a gateway in the service's place.
    Page(u16),
    /// It is not carried out; the connection is cut instead of a reply.
    LoseRequest,
    /// It is carried out; the connection is cut instead of the reply.
    LoseReply,
    /// It waits to be carried out until the fault is taken back, whether or not its client lives to see that.
    HoldRequest,
    /// It is carried out; the reply waits until the fault is taken back.
    HoldReply,
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

    /// Only requests whose body has this text in it, such as `"SET leaseCounter = :next"` with its quotes. Said more
    /// than once, all of them.
    #[must_use]
    pub fn containing(mut self, text: &str) -> Self {
        self.texts.push(text.to_owned());
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

/// The faults in force at one service. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<Rule>>>,
}

/// An injected fault: what it did, and a way to take it back.
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

/// Whether held calls may go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Gate {
    #[default]
    Closed,
    Open,
    Cut,
}

impl Faults {
    /// Puts a fault in force.
    pub fn inject(&self, fault: Fault) -> FaultHandle {
        let record = Arc::new(Record::default());
        self.rules().push(Rule { fault, seen: 0, record: Arc::clone(&record) });
        FaultHandle { faults: self.clone(), record }
    }

    /// Takes all faults back. Held calls go on.
    pub fn clear(&self) {
        for rule in self.rules().drain(..) {
            rule.record.gate.send_replace(Gate::Open);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules().is_empty()
    }

    /// What happens to a call, in the order of injection. Counts it.
    fn strike(&self, call: &Call) -> Vec<(FaultAction, Arc<Record>)> {
        self.rules().iter_mut().filter(|rule| rule.fault.matches(call)).filter_map(Rule::strike).collect()
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultHandle {
    /// Calls it struck.
    pub fn hits(&self) -> u32 {
        self.record.hits.load(Ordering::Acquire)
    }

    /// Calls it holds, or held: those of [`FaultAction::HoldReply`] have been carried out when they stand here.
    pub fn held(&self) -> Vec<Call> {
        self.record.held().clone()
    }

    /// Takes it back. Held calls go on: they are carried out, or answered.
    pub fn remove(&self) {
        self.end(Gate::Open);
    }

    /// Takes it back. The connections of held calls are cut; those that were not carried out never are.
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

    /// Holds a call until the fault is taken back.
    async fn hold(&self, call: &Call) -> Result<(), Cut> {
        self.held().push(call.clone());
        let mut gate = self.gate.subscribe();
        let opened = gate.wait_for(|gate| *gate != Gate::Closed).await.is_ok_and(|gate| *gate == Gate::Open);
        opened.then_some(()).ok_or(Cut)
    }
}

/// The connection is to be cut without a reply.
#[derive(Debug, thiserror::Error)]
#[error("connection cut on request of an injected fault")]
pub(crate) struct Cut;

/// What is to be answered to a call.
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

/// Carries a call out as the faults in force have it, and notes it in the journal if it succeeds. What a service has
/// received it does not forget: a call goes its way even if its client goes away.
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

/// What a gateway says.
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
