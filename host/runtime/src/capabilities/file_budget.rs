//! How many bytes a call may write to files, how much there may be in the directories that a task may write to, and the
//! streams that keep to both.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rustix::io::Errno;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{DynOutputStream, FsError, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::runtime::spawn_blocking;

use super::file_usage::{Amount, FileUsage, Over};
use crate::grants::Grants;
use crate::limits::{Hits, Limit, Limits};

/// What the call that is going on may still write, and what there may be in all. Shared with the streams that an
/// instance writes through, which stay from one call to the next.
#[derive(Clone, Default)]
pub(crate) struct FileBudget {
    max: u64,
    left: Arc<AtomicU64>,
    total: Amount,
    usage: FileUsage,
    /// Those that may be written to.
    directories: Arc<[PathBuf]>,
    hits: Hits,
}

impl FileBudget {
    pub(crate) fn new(limits: &Limits, grants: &Grants, hits: &Hits) -> Self {
        let max = limits.files_max_bytes as u64;
        let writable = grants.directories.iter().filter(|directory| directory.writable);
        Self {
            max,
            left: Arc::new(AtomicU64::new(max)),
            total: Amount { bytes: limits.files_total_max_bytes, files: limits.files_max_count },
            usage: grants.usage.clone(),
            directories: writable.map(|directory| directory.host.clone()).collect(),
            hits: Arc::clone(hits),
        }
    }

    /// A call begins.
    pub(crate) fn refill(&self) {
        self.left.store(self.max, Ordering::Relaxed);
    }

    pub(super) fn usage(&self) -> &FileUsage {
        &self.usage
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

    /// Room for so many more bytes and names in all. What is there is counted when it seems to be too much.
    ///
    /// # Errors
    /// When there is no room: what a full file system or an exhausted quota says.
    pub(super) async fn reserve(&self, bytes: u64, files: u64) -> Result<(), FsError> {
        let amount = Amount { bytes, files };
        // Where nothing is writable, whatever it is fails by itself.
        if self.directories.is_empty() || amount == Amount::default() || self.try_reserve(amount).is_ok() {
            return Ok(());
        }
        match self.count().await.map_err(|_| Over::Bytes).and_then(|()| self.try_reserve(amount)) {
            Ok(()) => Ok(()),
            Err(Over::Files) => {
                self.hits.count(Limit::FileCount);
                Err(ErrorCode::Quota.into())
            }
            Err(Over::Bytes | Over::NotCounted) => {
                self.hits.count(Limit::FileTotal);
                Err(ErrorCode::InsufficientSpace.into())
            }
        }
    }

    /// Counts what is there, unless that was done.
    ///
    /// # Errors
    /// When it cannot be counted.
    pub(super) async fn count_once(&self) -> io::Result<()> {
        if self.directories.is_empty() || self.usage.is_counted() {
            return Ok(());
        }
        self.count().await
    }

    async fn count(&self) -> io::Result<()> {
        let (usage, directories) = (self.usage.clone(), Arc::clone(&self.directories));
        spawn_blocking(move || usage.count(&directories)).await
    }

    /// As [`FileBudget::reserve`] of bytes, where nothing can be waited for: what was deleted is noticed by the next
    /// that can.
    fn reserve_at_once(&self, bytes: u64) -> io::Result<()> {
        let amount = Amount { bytes, files: 0 };
        if amount == Amount::default() || self.try_reserve(amount).is_ok() {
            return Ok(());
        }
        self.hits.count(Limit::FileTotal);
        Err(Errno::NOSPC.into())
    }

    fn try_reserve(&self, amount: Amount) -> Result<(), Over> {
        self.usage.reserve(amount, self.total)
    }

    pub(super) fn give_back_name(&self) {
        self.usage.give_back(Amount { bytes: 0, files: 1 });
    }
}

/// A stream into a file.
pub(super) struct Metered {
    pub(super) inner: DynOutputStream,
    pub(super) budget: FileBudget,
    pub(super) file: Arc<File>,
    /// Where the next byte goes; `None`: to the end.
    pub(super) position: Option<u64>,
    pub(super) length: KnownLength,
}

/// How long a file is at least, as far as it was not cut since.
pub(super) struct KnownLength {
    length: u64,
    cuts: u64,
}

impl KnownLength {
    /// Blocking, for a moment.
    pub(super) fn of(file: &File, usage: &FileUsage) -> io::Result<Self> {
        let cuts = usage.cuts();
        Ok(Self { length: file.metadata()?.len(), cuts })
    }
}

impl Metered {
    /// By how much the file grows with these bytes, at most.
    fn growth(&mut self, bytes: u64) -> io::Result<u64> {
        let Some(position) = self.position else { return Ok(bytes) };
        if self.length.cuts != self.budget.usage.cuts() {
            // It is rare, and the file system has just answered.
            self.length = KnownLength::of(&self.file, &self.budget.usage)?;
        }
        Ok(position.saturating_add(bytes).saturating_sub(self.length.length))
    }

    /// So many bytes are on their way.
    fn advance(&mut self, bytes: u64) {
        if let Some(position) = &mut self.position {
            *position = position.saturating_add(bytes);
            self.length.length = self.length.length.max(*position);
        }
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Metered {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let count = bytes.len() as u64;
        let reserved = self.growth(count).and_then(|growth| self.budget.reserve_at_once(growth));
        reserved.and_then(|()| self.budget.take(bytes.len())).map_err(failed)?;
        self.inner.write(bytes)?;
        self.advance(count);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        let count = bytes.len() as u64;
        self.budget.take(bytes.len()).map_err(failed)?;
        let growth = self.growth(count).map_err(failed)?;
        self.budget.reserve(growth, 0).await.map_err(|_| failed(Errno::NOSPC.into()))?;
        self.inner.blocking_write_and_flush(bytes).await?;
        self.advance(count);
        Ok(())
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

fn failed(error: io::Error) -> StreamError {
    StreamError::LastOperationFailed(error.into())
}

#[wasmtime_wasi::async_trait]
impl Pollable for Metered {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}
