//! Why a call of a task failed. Owns the classes of failures and the classification of wasmtime's errors.

use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};

use crate::bindings::shardmill::task::types;
use crate::footprint::{self, Footprint};
use crate::limits::{HostMemoryShort, MemoryLimitReached, TableLimitReached};
use shardmill_core::text::{self, reason as bounded, shown_lines as shown};

/// How many frames of a backtrace a message shows.
const MAX_FRAMES: usize = 16;
/// How many bytes of a frame it shows.
const MAX_FRAME_BYTES: usize = 400;

/// The error that a task returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// May succeed later; the task requests this delay in milliseconds.
    #[error("the task asks for a retry{}", match .0 { Some(ms) => format!(" in {ms} ms"), None => String::new() })]
    Retry(Option<u32>),
    /// The envelope can never succeed.
    #[error("the task rejects the envelope: {0}")]
    Reject(String),
    /// The job cannot continue.
    #[error("the task cannot continue: {0}")]
    Fatal(String),
    #[error("the task failed: {0}")]
    Other(String),
}

/// What ended an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrapReason {
    /// The call took longer than [`Limits::call_timeout`](shardmill_core::config::Limits::call_timeout) or `init_timeout`.
    Timeout,
    /// More memory than [`Limits::memory_max_bytes`](shardmill_core::config::Limits::memory_max_bytes).
    Memory,
    /// More table elements than any reasonable task has.
    Tables,
    /// Recursion deeper than the stack.
    Stack,
    /// `unreachable`: the end of panics, aborts and uncaught exceptions.
    Unreachable,
    /// More data in one host call than twice [`Limits::output_max_bytes`](shardmill_core::config::Limits::output_max_bytes).
    HostcallLimit,
    /// An [`Interrupter`](crate::Interrupter) ended it. Caused by the host, not the task.
    Interrupted,
    /// All jobs together have used up the host's memory. Caused by the host, not the task.
    HostMemory,
    /// Any other trap, such as an access outside the memory or a call of `exit`.
    Other,
}

/// A call did not return ok. Nothing that it sent or requested has taken effect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The instance has ended; create a new one and replay from the last commit.
    #[error("the task trapped ({reason}): {message}")]
    Trap {
        reason: TrapReason,
        /// Cause, the end of what the task wrote to standard error, and the backtrace, on several lines.
        message: String,
    },
    /// An instance costs more before it runs than [`Limits::memory_max_bytes`](shardmill_core::config::Limits::memory_max_bytes).
    #[error(
        "an instance needs {} before it runs: {footprint}; it may have {} (task.memory.max.mb)",
        footprint::shown(footprint.total()), footprint::shown(*max_bytes as u64)
    )]
    TooLarge { footprint: Footprint, max_bytes: usize },
    /// A granted resource is not available.
    #[error("{0} (task.grant.dir)")]
    Grant(String),
    /// The task returned a meaningless result.
    #[error("the task returned an invalid result: {0}")]
    InvalidResult(String),
    /// An earlier call trapped, for the reason given; the instance must not be called again.
    #[error("the instance has ended: it trapped in an earlier call ({0})")]
    Ended(TrapReason),
}

impl CallError {
    /// Whether the instance has ended.
    #[must_use]
    pub fn is_trap(&self) -> bool {
        matches!(self, Self::Trap { .. } | Self::Ended(_))
    }

    /// Adds what the host knows about the cause to the task's message.
    pub(crate) fn with_note(mut self, note: &str) -> Self {
        match &mut self {
            Self::Task(TaskError::Reject(reason) | TaskError::Fatal(reason) | TaskError::Other(reason)) => {
                reason.push_str(&format!(" ({note})"));
            }
            Self::Trap { message, .. } => message.push_str(&format!("\n({note})")),
            _ => {}
        }
        self
    }

    /// Whether the host caused the failure, so that the same call may succeed later. It does not count against the task or
    /// its envelopes.
    #[must_use]
    pub fn is_hosts(&self) -> bool {
        matches!(
            self,
            Self::Grant(_)
                | Self::Trap { reason: TrapReason::HostMemory | TrapReason::Interrupted, .. }
                | Self::Ended(TrapReason::HostMemory | TrapReason::Interrupted)
        )
    }

    /// The trap of a call that was interrupted before its own time-out.
    pub(crate) fn interrupted(self) -> Self {
        match self {
            Self::Trap { reason: TrapReason::Timeout, .. } => {
                Self::Trap { reason: TrapReason::Interrupted, message: "interrupted to complete a rollout".to_owned() }
            }
            other => other,
        }
    }
}

impl std::fmt::Display for TrapReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Timeout => "time-out",
            Self::Memory => "memory limit",
            Self::Tables => "table limit",
            Self::Stack => "stack overflow",
            Self::Unreachable => "unreachable",
            Self::HostcallLimit => "host call limit",
            Self::Interrupted => "interrupted",
            Self::HostMemory => "host memory",
            Self::Other => "trap",
        })
    }
}

impl From<types::TaskError> for TaskError {
    fn from(error: types::TaskError) -> Self {
        match error {
            types::TaskError::Retry(delay) => Self::Retry(delay),
            types::TaskError::Reject(reason) => Self::Reject(bounded(&reason)),
            types::TaskError::Fatal(reason) => Self::Fatal(bounded(&reason)),
            types::TaskError::Other(reason) => Self::Other(bounded(&reason)),
        }
    }
}

/// Classifies wasmtime's error of a failed call. `stderr` is the end of the call's standard error.
pub(crate) fn trap(error: &wasmtime::Error, timeout: Duration, stderr: &str) -> CallError {
    let reason = reason(error);
    let mut message = match reason {
        TrapReason::Timeout => format!("it was still running after {} ms", timeout.as_millis()),
        TrapReason::HostcallLimit => "one host call had more data than twice task.output.max.bytes".to_owned(),
        _ => error.root_cause().to_string(),
    };
    // The language runtime's message for a panic or an exception; the trap itself is always the same.
    for line in stderr.lines() {
        message.push_str("\n  stderr: ");
        message.push_str(&shown(line));
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        message.push_str(&frames(backtrace));
    }
    CallError::Trap { reason, message: text::cut(message) }
}

fn reason(error: &wasmtime::Error) -> TrapReason {
    if error.is::<MemoryLimitReached>() {
        return TrapReason::Memory;
    }
    if error.is::<HostMemoryShort>() {
        return TrapReason::HostMemory;
    }
    if error.is::<TableLimitReached>() {
        return TrapReason::Tables;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => TrapReason::Timeout,
        Some(Trap::StackOverflow) => TrapReason::Stack,
        Some(Trap::UnreachableCodeReached) => TrapReason::Unreachable,
        Some(_) => TrapReason::Other,
        // wasmtime has no type for this error.
        None if error.root_cause().to_string().contains("fuel allocated for hostcalls") => TrapReason::HostcallLimit,
        None => TrapReason::Other,
    }
}

fn frames(backtrace: &WasmBacktrace) -> String {
    // The first line is a heading.
    let text = backtrace.to_string();
    let frames = text.lines().skip(1).take(MAX_FRAMES);
    // A function's name may have a hundred thousand bytes.
    frames
        .fold("\n  backtrace:".to_owned(), |text, frame| text + "\n  " + &text::line(frame.trim_end(), MAX_FRAME_BYTES))
}
