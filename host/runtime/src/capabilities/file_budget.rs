//! The limits on file writes: the bytes that a call may write, and the total content of the writable directories.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn_blocking};

use super::file_usage::{Amount, FileUsage, Over};
use crate::limits::{Hits, Limit};
use crate::state::TaskSpec;

/// What the current call may still write, and the limits of the total. Shared with the streams that an instance writes
/// through, which outlive a call.
#[derive(Clone, Default)]
pub(crate) struct FileBudget {
    max: u64,
    left: Arc<AtomicU64>,
    total: Amount,
    usage: FileUsage,
    /// The writable directories.
    directories: Arc<[PathBuf]>,
    hits: Hits,
}

/// The outcome of a reservation that cannot wait.
pub(super) enum AtOnce {
    Reserved,
    /// The limit seems to be exceeded; the content is being counted.
    Counting(AbortOnDropJoinHandle<io::Result<()>>),
}

impl FileBudget {
    pub(crate) fn new(spec: &TaskSpec) -> Self {
        let TaskSpec { limits, grants, file_usage, hits, .. } = spec;
        let max = limits.files_max_bytes as u64;
        let writable = grants.directories.iter().filter(|directory| directory.writable);
        Self {
            max,
            left: Arc::new(AtomicU64::new(max)),
            total: Amount { bytes: limits.files_total_max_bytes, files: limits.files_max_count },
            usage: file_usage.clone(),
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
    /// When the call has written too much: the error of a full file system.
    pub(super) fn take(&self, bytes: usize) -> io::Result<()> {
        // One thread at a time calls an instance, so no other write comes in between.
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

    /// Reserves bytes and names within the total. Counts the actual content when the limit seems to be exceeded.
    ///
    /// # Errors
    /// When there is no room: the error of a full file system or an exhausted quota.
    pub(super) async fn reserve(&self, bytes: u64, files: u64) -> Result<(), FsError> {
        let amount = Amount { bytes, files };
        // Without a writable directory the operation fails by itself.
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

    async fn count(&self) -> io::Result<()> {
        let (usage, directories) = (self.usage.clone(), Arc::clone(&self.directories));
        spawn_blocking(move || usage.count(&directories)).await
    }

    /// Like [`FileBudget::reserve`] for bytes, but without waiting.
    pub(super) fn reserve_at_once(&self, bytes: u64) -> AtOnce {
        let amount = Amount { bytes, files: 0 };
        if self.directories.is_empty() || amount == Amount::default() || self.try_reserve(amount).is_ok() {
            return AtOnce::Reserved;
        }
        let (usage, directories) = (self.usage.clone(), Arc::clone(&self.directories));
        AtOnce::Counting(spawn_blocking(move || usage.count(&directories)))
    }

    /// The same after the count, whose result is final.
    ///
    /// # Errors
    /// When there is no room.
    pub(super) fn reserve_counted(&self, bytes: u64, counted: io::Result<()>) -> io::Result<()> {
        if counted.is_ok() && self.try_reserve(Amount { bytes, files: 0 }).is_ok() {
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
