//! The successful calls of clients, in order, recorded on request. Knows nothing of HTTP, or of what a call means.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// A received call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// The access key that signed it, which distinguishes clients with different keys; empty without a signature.
    pub caller: String,
    /// The region that it is signed for; empty without a signature.
    pub region: String,
    /// Such as `UpdateItem`.
    pub operation: String,
    /// Name of the stream or table, if the request contains it.
    pub resource: Option<String>,
    /// The shard's id, if the request names one or carries its iterator.
    pub shard: Option<String>,
    /// The unchanged body: JSON, or CBOR for Kinesis.
    pub body: Bytes,
}

/// The calls of some operations since recording them was requested. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
struct Notes {
    operations: Vec<String>,
    calls: Vec<Call>,
}

impl Journal {
    /// The calls so far, of both services, in the order of their execution. Two concurrent calls on different connections
    /// may be in either order.
    pub fn calls(&self) -> Vec<Call> {
        self.notes().calls.clone()
    }

    pub(crate) fn begin(&self, operations: &[&str]) {
        self.notes().operations.extend(operations.iter().map(|&operation| operation.to_owned()));
    }

    pub(crate) fn wants(&self, operation: &str) -> bool {
        self.notes().operations.iter().any(|wanted| wanted == operation)
    }

    pub(crate) fn note(&self, call: &Call) {
        if self.wants(&call.operation) {
            self.notes().calls.push(call.clone());
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
