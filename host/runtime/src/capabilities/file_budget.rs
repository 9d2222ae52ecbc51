//! How many bytes a call may write to files, and the streams that keep to it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rustix::io::Errno;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::limits::{Hits, Limit, Limits};

/// What the call that is going on may still write. Shared with the streams that an instance writes through, which stay
/// from one call to the next.
#[derive(Clone, Default)]
pub(crate) struct FileBudget {
    max: u64,
    left: Arc<AtomicU64>,
    hits: Hits,
}

impl FileBudget {
    pub(crate) fn new(limits: &Limits, hits: &Hits) -> Self {
        let max = limits.files_max_bytes as u64;
        Self { max, left: Arc::new(AtomicU64::new(max)), hits: Arc::clone(hits) }
    }

    /// A call begins.
    pub(crate) fn refill(&self) {
        self.left.store(self.max, Ordering::Relaxed);
    }

    /// # Errors
    /// When the call has written too much: what a full file system says.
    pub(super) fn take(&self, bytes: usize) -> io::Result<()> {
        // One thread at a time calls an instance, so nobody takes in between.
        let left = self.left.load(Ordering::Relaxed);
        match left.checked_sub(bytes as u64) {
            Some(rest) => {
                self.left.store(rest, Ordering::Relaxed);
                Ok(())
            }
            None => {
                self.hits.count(Limit::FileBytes);
                Err(Errno::NOSPC.into())
            }
        }
    }
}

/// A stream into a file.
pub(super) struct Metered {
    pub(super) inner: DynOutputStream,
    pub(super) budget: FileBudget,
}

impl Metered {
    fn take(&self, bytes: &Bytes) -> StreamResult<()> {
        self.budget.take(bytes.len()).map_err(|error| StreamError::LastOperationFailed(error.into()))
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Metered {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes)?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes)?;
        self.inner.blocking_write_and_flush(bytes).await
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Metered {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}
