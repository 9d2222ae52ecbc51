//! The log of a task instance: the lines that the task writes through `log`, standard output and standard error, prefixed
//! with the task and the position, within limits for each call. Owns the limits and the splitting into lines; a
//! [`LogSink`] receives the lines.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shardmill_core::text::shown_lines;
use tracing::Level;

use crate::limits::{Hits, Limit};
use crate::state::{Source, TaskSpec};

/// Bytes of one line of standard output or error; a longer one continues on the next line.
const MAX_LINE_BYTES: usize = 4096;
/// How many of the last bytes of standard error a trap's message shows. Python's tracebacks are long.
const STDERR_TAIL_BYTES: usize = 4096;

/// Receives the lines that tasks log.
pub trait LogSink: Send + Sync {
    /// Receives one line. Called on the thread that runs the task, so it must not block for long.
    fn write(&self, line: &LogLine<'_>);
}

/// A line of a task's log.
#[derive(Clone, Debug)]
pub struct LogLine<'a> {
    pub level: Level,
    pub stream: LogStream,
    /// The name of the task instance.
    pub task: &'a str,
    /// The version of the module that logs, as `name@1a2b3c4d5e6f`: several may run at the same time.
    pub module: &'a str,
    /// The envelope of the current call, or the first one of a batch. `None` in `init`, `window` and `before-stop`.
    pub position: Option<LogPosition<'a>>,
    /// Without invisible characters; continuation lines are indented.
    pub message: &'a str,
}

/// Where in the input a task was when it logged.
#[derive(Clone, Copy, Debug)]
pub struct LogPosition<'a> {
    pub source: &'a Source,
    pub sequence: &'a str,
    pub sub_sequence: u32,
}

/// The origin of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// The interface `log`.
    Log,
    Stdout,
    Stderr,
    /// The host, about the task's log.
    Host,
}

/// Passes lines on to `tracing`, with the target `task`.
#[derive(Debug, Default)]
pub struct TracingLog;

impl LogSink for TracingLog {
    fn write(&self, line: &LogLine<'_>) {
        let LogLine { task, module, message, .. } = line;
        let partition = line.position.map(|at| at.source.partition.as_str());
        let sequence = line.position.map(|at| at.sequence);
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(target: "task", $level, task, module, partition, sequence, "{message}")
            };
        }
        match line.level {
            Level::ERROR => event!(Level::ERROR),
            Level::WARN => event!(Level::WARN),
            Level::INFO => event!(Level::INFO),
            Level::DEBUG => event!(Level::DEBUG),
            Level::TRACE => event!(Level::TRACE),
        }
    }
}

/// Shared by the host functions and the standard streams of one instance; only the instance's thread uses it.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Mutex<Inner>>);

struct Inner {
    sink: Arc<dyn LogSink>,
    task: String,
    module: String,
    position: Option<Position>,
    /// The buffer is reused: a position is copied once per call.
    sequence: String,
    max_bytes: usize,
    max_lines: usize,
    bytes_left: usize,
    lines_left: usize,
    dropped: usize,
    dropped_lines: usize,
    hits: Hits,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    stderr_tail: VecDeque<u8>,
}

struct Position {
    source: Arc<Source>,
    sub_sequence: u32,
}

impl Journal {
    pub(crate) fn new(spec: &TaskSpec, module: &str) -> Self {
        let (max_bytes, max_lines) = (spec.limits.log_max_bytes, spec.limits.log_max_lines);
        Self(Arc::new(Mutex::new(Inner {
            sink: Arc::clone(&spec.log),
            task: spec.task_name.clone(),
            module: module.to_owned(),
            position: None,
            sequence: String::new(),
            max_bytes,
            max_lines,
            bytes_left: max_bytes,
            lines_left: max_lines,
            dropped: 0,
            dropped_lines: 0,
            hits: Arc::clone(&spec.hits),
            stdout: Vec::new(),
            stderr: Vec::new(),
            stderr_tail: VecDeque::new(),
        })))
    }

    /// A call begins, at a position if it is for envelopes.
    pub(crate) fn begin(&self, at: Option<(&Arc<Source>, &str, u32)>) {
        let mut inner = self.lock();
        inner.bytes_left = inner.max_bytes;
        inner.lines_left = inner.max_lines;
        inner.stderr_tail.clear();
        inner.sequence.clear();
        inner.position = at.map(|(source, sequence, sub_sequence)| {
            inner.sequence.push_str(sequence);
            Position { source: Arc::clone(source), sub_sequence }
        });
    }

    /// The call has ended: flushes its buffers.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let rest = std::mem::take(inner.pending(stream));
            if !rest.is_empty() {
                inner.emit_bytes(stream, &rest);
            }
        }
        let (bytes, lines) = (std::mem::take(&mut inner.dropped), std::mem::take(&mut inner.dropped_lines));
        if bytes > 0 {
            let max = inner.max_bytes;
            let note = format!("{bytes} bytes of log were dropped: one call may log {max} bytes (task.log.max.bytes)");
            inner.note(Limit::LogBytes, &note);
        }
        if lines > 0 {
            let max = inner.max_lines;
            let note = format!("{lines} lines of log were dropped: one call may log {max} lines (task.log.max.lines)");
            inner.note(Limit::LogLines, &note);
        }
    }

    /// The last bytes that this call wrote to standard error.
    pub(crate) fn stderr_tail(&self) -> String {
        let mut inner = self.lock();
        String::from_utf8_lossy(inner.stderr_tail.make_contiguous()).trim().to_owned()
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        let mut inner = self.lock();
        let taken = inner.take(message.len());
        let cut = message.floor_char_boundary(taken);
        if cut > 0 || message.is_empty() {
            inner.line(level, LogStream::Log, &message[..cut]);
        }
    }

    /// A line of the host about the task; counts against the task's limits.
    pub(crate) fn note(&self, message: &str) {
        let mut inner = self.lock();
        if inner.take(message.len()) == message.len() {
            inner.line(Level::WARN, LogStream::Host, message);
        }
    }

    /// Receives bytes of a standard stream and logs the complete lines.
    pub(crate) fn write(&self, stream: LogStream, bytes: &[u8]) {
        let mut inner = self.lock();
        if stream == LogStream::Stderr {
            inner.stderr_tail.extend(&bytes[bytes.len().saturating_sub(STDERR_TAIL_BYTES)..]);
            let over = inner.stderr_tail.len().saturating_sub(STDERR_TAIL_BYTES);
            inner.stderr_tail.drain(..over);
        }
        let taken = inner.take(bytes.len());
        for piece in bytes[..taken].split_inclusive(|&byte| byte == b'\n') {
            for piece in piece.chunks(MAX_LINE_BYTES) {
                inner.write_piece(stream, piece);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// How many of `wanted` bytes this call may still log; counts the rest as dropped.
    fn take(&mut self, wanted: usize) -> usize {
        let taken = wanted.min(self.bytes_left);
        self.bytes_left -= taken;
        self.dropped += wanted - taken;
        taken
    }

    /// `piece` is at most one line long, with a newline only at its end.
    fn write_piece(&mut self, stream: LogStream, piece: &[u8]) {
        let mut line = std::mem::take(self.pending(stream));
        line.extend_from_slice(piece);
        if line.ends_with(b"\n") || line.len() >= MAX_LINE_BYTES {
            self.emit_bytes(stream, &line);
            line.clear();
        }
        *self.pending(stream) = line;
    }

    fn pending(&mut self, stream: LogStream) -> &mut Vec<u8> {
        if stream == LogStream::Stderr { &mut self.stderr } else { &mut self.stdout }
    }

    fn emit_bytes(&mut self, stream: LogStream, line: &[u8]) {
        let level = if stream == LogStream::Stderr { Level::WARN } else { Level::INFO };
        let text = String::from_utf8_lossy(line);
        self.line(level, stream, text.trim_end_matches(['\n', '\r']));
    }

    /// Logs a line of the task, if its limits allow one.
    fn line(&mut self, level: Level, stream: LogStream, message: &str) {
        if self.lines_left == 0 {
            self.dropped_lines += 1;
            return;
        }
        self.lines_left -= 1;
        self.emit(level, stream, message);
    }

    fn note(&self, limit: Limit, note: &str) {
        self.hits.count(limit);
        self.emit(Level::WARN, LogStream::Host, note);
    }

    fn emit(&self, level: Level, stream: LogStream, message: &str) {
        let position = self.position.as_ref().map(|position| LogPosition {
            source: &position.source,
            sequence: &self.sequence,
            sub_sequence: position.sub_sequence,
        });
        let (task, module, message) = (&self.task, &self.module, &shown_lines(message));
        self.sink.write(&LogLine { level, stream, task, module, position, message });
    }
}
