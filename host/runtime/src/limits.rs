//! The bounds of what a task may use. Owns their values and the enforcement of memory; the other bounds are enforced
//! where the thing happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::ResourceLimiter;

/// Core instances of one component. Python's have a few dozen, one for each library.
const MAX_CORE_INSTANCES: usize = 1_000;
/// Linear memories of one component: one for each core module that has its own.
const MAX_MEMORIES: usize = 100;
const MAX_TABLES: usize = 1_000;
/// Entries of all tables together; a Python interpreter has 10,000 functions.
const MAX_TABLE_ELEMENTS: usize = 1_000_000;

/// What one task instance may use. Whoever goes over a limit of time or memory is trapped; going over the others is
/// told to the task (outputs, files, requests) or noted in its log (log bytes).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Wall-clock time of one call, whatever the number of envelopes in it.
    pub call_timeout: Duration,
    /// Wall-clock time of instantiation, and of `init` again.
    pub init_timeout: Duration,
    /// Linear memory of the instance, all memories together.
    pub memory_max_bytes: usize,
    /// Key and message bytes that one call may send.
    pub output_max_bytes: usize,
    /// Messages that one call may send.
    pub output_max_count: usize,
    /// Bytes that one call may write to the log, standard output and standard error together.
    pub log_max_bytes: usize,
    /// Lines of the same.
    pub log_max_lines: usize,
    /// Bytes that one call may write to files.
    pub files_max_bytes: usize,
    /// Bytes that all files of the directories granted for writing may have together, by their lengths.
    pub files_total_max_bytes: u64,
    /// Files, directories and links that there may be in them.
    pub files_max_count: u64,
    /// HTTP requests that one call may send.
    pub http_max_requests: usize,
}

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

impl Default for Limits {
    /// Room for an interpreter (Python's starts at 12 MiB, JavaScript's engines reach 75 MiB) and for a Kinesis record of
    /// 10 MiB that is passed on.
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(10),
            init_timeout: Duration::from_secs(30),
            memory_max_bytes: 256 << 20,
            output_max_bytes: 32 << 20,
            output_max_count: 100_000,
            log_max_bytes: 64 << 10,
            log_max_lines: 1000,
            files_max_bytes: 256 << 20,
            files_total_max_bytes: 1 << 30,
            files_max_count: 10_000,
            http_max_requests: 100,
        }
    }
}

impl Limits {
    /// What a guest may hand to the host in one host call: twice a call's output, so that a message that is somewhat too
    /// large gets an answer and only a hopeless one a trap.
    pub(crate) fn hostcall_bytes(&self) -> usize {
        self.output_max_bytes.saturating_mul(2).max(1 << 20)
    }
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

/// Counts the linear memories of a store together.
pub(crate) struct MemoryLimiter {
    max: usize,
    used: usize,
    table_elements: usize,
}

impl MemoryLimiter {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, used: 0, table_elements: 0 }
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.max {
            return Err(MemoryLimitReached { max: self.max, wanted }.into());
        }
        self.used = wanted;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Within our limit but not to be had, for example past the memory's own maximum: the guest is told.
        tracing::debug!(%error, "a task's memory could not grow");
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.table_elements.saturating_add(desired.saturating_sub(current));
        if wanted > MAX_TABLE_ELEMENTS {
            return Err(TableLimitReached { wanted }.into());
        }
        self.table_elements = wanted;
        Ok(true)
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
