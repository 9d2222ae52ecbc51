//! The bounds of what a task may use: how often each was hit, and the enforcement of memory; the other bounds are enforced
//! where the thing happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shardmill_core::config::Limits;
use shardmill_core::memory_budget::Short;
use wasmtime::ResourceLimiter;

use crate::footprint::POINTER_BYTES;
use crate::host_memory::Share;

/// Core instances of one component. Python's have a few dozen, one for each library.
const MAX_CORE_INSTANCES: usize = 1_000;
/// Linear memories of one component: one for each core module that has its own.
const MAX_MEMORIES: usize = 100;
const MAX_TABLES: usize = 1_000;
/// Entries of all tables together; a Python interpreter has 10,000 functions.
const MAX_TABLE_ELEMENTS: usize = 1_000_000;

/// What a task can run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    CallTime,
    InitTime,
    Memory,
    Tables,
    Stack,
    HostCall,
    OutputBytes,
    OutputCount,
    LogBytes,
    LogLines,
    FileBytes,
    /// Of all files in the directories granted for writing.
    FileTotal,
    FileCount,
    /// Sent by one call, or under way at a time.
    HttpRequests,
}

impl Limit {
    pub const ALL: [Self; 14] = [
        Self::CallTime,
        Self::InitTime,
        Self::Memory,
        Self::Tables,
        Self::Stack,
        Self::HostCall,
        Self::OutputBytes,
        Self::OutputCount,
        Self::LogBytes,
        Self::LogLines,
        Self::FileBytes,
        Self::FileTotal,
        Self::FileCount,
        Self::HttpRequests,
    ];

    /// For metrics and machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CallTime => "call-time",
            Self::InitTime => "init-time",
            Self::Memory => "memory",
            Self::Tables => "tables",
            Self::Stack => "stack",
            Self::HostCall => "host-call",
            Self::OutputBytes => "output-bytes",
            Self::OutputCount => "output-count",
            Self::LogBytes => "log-bytes",
            Self::LogLines => "log-lines",
            Self::FileBytes => "file-bytes",
            Self::FileTotal => "file-total",
            Self::FileCount => "file-count",
            Self::HttpRequests => "http-requests",
        }
    }
}

/// How often the instances of a job ran into each limit: calls, or for outputs refused messages.
#[derive(Debug, Default)]
pub struct LimitHits([AtomicU64; Limit::ALL.len()]);

impl LimitHits {
    pub(crate) fn count(&self, limit: Limit) {
        self.0[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn of(&self, limit: Limit) -> u64 {
        self.0[limit as usize].load(Ordering::Relaxed)
    }

    /// Those limits that were hit.
    pub fn hit(&self) -> impl Iterator<Item = (Limit, u64)> {
        Limit::ALL.into_iter().map(|limit| (limit, self.of(limit))).filter(|(_, count)| *count > 0)
    }
}

/// A task's [`LimitHits`].
pub(crate) type Hits = Arc<LimitHits>;

/// What a guest may hand to the host in one host call: twice a call's output, so that a message that is somewhat too large
/// gets an answer and only a hopeless one a trap.
pub(crate) fn hostcall_bytes(limits: &Limits) -> usize {
    limits.output_max_bytes.saturating_mul(2).max(1 << 20)
}

/// Growing a memory or a table was refused. Ends the call as a trap, where the backtrace shows who asked.
#[derive(Debug, thiserror::Error)]
#[error("it wanted {wanted} bytes of memory and may have {max} (task.memory.max.mb)")]
pub(crate) struct MemoryLimitReached {
    max: usize,
    wanted: usize,
}

/// As [`MemoryLimitReached`], of something that no sensible task comes near.
#[derive(Debug, thiserror::Error)]
#[error("it wanted {wanted} table elements and may have {MAX_TABLE_ELEMENTS}")]
pub(crate) struct TableLimitReached {
    wanted: usize,
}

/// The host's doing, not the task's: all jobs together have used up what they may have.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct HostMemoryShort(#[from] pub(crate) Short);

/// Counts what a store costs, against the limit of its job and against the host's budget.
pub(crate) struct MemoryLimiter {
    max: usize,
    /// Contexts, tables and linear memories.
    used: usize,
    table_elements: usize,
    share: Share,
    /// What the last growth was granted, until it is known to have happened: bytes, and elements if it was a table's.
    granted: (usize, usize),
}

impl MemoryLimiter {
    /// `contexts` are the bytes that the instance has beside its memories and tables, and `share` has already.
    pub(crate) fn new(max: usize, contexts: usize, share: Share) -> Self {
        Self { max, used: contexts, table_elements: 0, share, granted: (0, 0) }
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    fn grow(&mut self, bytes: usize, elements: usize) -> wasmtime::Result<()> {
        let wanted = self.used.saturating_add(bytes);
        if wanted > self.max {
            return Err(MemoryLimitReached { max: self.max, wanted }.into());
        }
        self.share.grow(bytes as u64).map_err(HostMemoryShort)?;
        self.used = wanted;
        self.table_elements += elements;
        self.granted = (bytes, elements);
        Ok(())
    }

    /// What was granted was not to be had, for example past the memory's own maximum: the guest is told so.
    fn undo(&mut self, error: &wasmtime::Error) {
        tracing::debug!(%error, "a task's memory could not grow");
        let (bytes, elements) = std::mem::take(&mut self.granted);
        self.share.shrink(bytes as u64);
        self.used -= bytes;
        self.table_elements -= elements;
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current), 0).map(|()| true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo(&error);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let wanted = self.table_elements.saturating_add(more);
        if wanted > MAX_TABLE_ELEMENTS {
            return Err(TableLimitReached { wanted }.into());
        }
        self.grow(more.saturating_mul(POINTER_BYTES.into()), more).map(|()| true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo(&error);
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}
