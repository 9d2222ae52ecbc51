//! Output streams to files, within the budget of their task. Owns the bytes of a write that waits for a count of the
//! directories' content; until the count ends, the stream is busy, as it is during a write.

use std::fs::File;
use std::io;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;

use super::file_budget::{AtOnce, FileBudget};
use super::file_usage::FileUsage;

/// A stream into a file.
pub(super) struct Metered {
    pub(super) inner: DynOutputStream,
    pub(super) budget: FileBudget,
    pub(super) file: Arc<File>,
    /// The position of the next byte; `None`: the end of the file.
    pub(super) position: Option<u64>,
    pub(super) length: KnownLength,
    pub(super) state: State,
}

#[derive(Default)]
pub(super) enum State {
    #[default]
    Open,
    /// By how much these bytes would grow the file.
    Counting {
        counting: AbortOnDropJoinHandle<io::Result<()>>,
        bytes: Bytes,
        growth: u64,
    },
    Failed(io::Error),
    Closed,
}

/// A lower bound of the file's length, unless it was truncated since.
pub(super) struct KnownLength {
    length: u64,
    cuts: u64,
}

impl KnownLength {
    /// Blocks for a moment.
    pub(super) fn of(file: &File, usage: &FileUsage) -> io::Result<Self> {
        let cuts = usage.cuts();
        Ok(Self { length: file.metadata()?.len(), cuts })
    }
}

impl Metered {
    /// The most by which these bytes can grow the file.
    fn growth(&mut self, bytes: u64) -> io::Result<u64> {
        let Some(position) = self.position else { return Ok(bytes) };
        if self.length.cuts != self.budget.usage().cuts() {
            // Rare, and the file system has just answered.
            self.length = KnownLength::of(&self.file, self.budget.usage())?;
        }
        Ok(position.saturating_add(bytes).saturating_sub(self.length.length))
    }

    /// Records that so many bytes are being written.
    fn advance(&mut self, bytes: u64) {
        if let Some(position) = &mut self.position {
            *position = position.saturating_add(bytes);
            self.length.length = self.length.length.max(*position);
        }
    }

    fn pass_on(&mut self, bytes: Bytes) -> StreamResult<()> {
        let count = bytes.len() as u64;
        self.inner.write(bytes)?;
        self.advance(count);
        Ok(())
    }

    /// Whether the stream accepts bytes; reports the error of an earlier write once.
    fn opened(&mut self) -> StreamResult<bool> {
        match &self.state {
            State::Open => Ok(true),
            State::Counting { .. } => Ok(false),
            State::Closed => Err(StreamError::Closed),
            State::Failed(_) => match mem::replace(&mut self.state, State::Closed) {
                State::Failed(error) => Err(failed(error)),
                _ => Err(StreamError::Closed),
            },
        }
    }

    /// Waits for a pending count, and then writes or fails by its result.
    async fn counted(&mut self) {
        let State::Counting { counting, .. } = &mut self.state else { return };
        let counted = counting.await;
        let State::Counting { bytes, growth, .. } = mem::take(&mut self.state) else { return };
        let passed_on = match self.budget.reserve_counted(growth, counted) {
            Ok(()) => self.pass_on(bytes),
            Err(error) => Err(failed(error)),
        };
        self.state = match passed_on {
            Ok(()) => State::Open,
            Err(StreamError::LastOperationFailed(error)) => {
                State::Failed(error.downcast().unwrap_or_else(|error| io::Error::other(error.to_string())))
            }
            Err(StreamError::Closed | StreamError::Trap(_)) => State::Closed,
        };
    }
}

fn failed(error: io::Error) -> StreamError {
    StreamError::LastOperationFailed(error.into())
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Metered {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !self.opened()? {
            return Err(StreamError::trap("write not permitted: check_write not called first"));
        }
        let taken = self.budget.take(bytes.len()).and_then(|()| self.growth(bytes.len() as u64));
        let growth = taken.map_err(failed)?;
        match self.budget.reserve_at_once(growth) {
            AtOnce::Reserved => self.pass_on(bytes),
            AtOnce::Counting(counting) => {
                self.state = State::Counting { counting, bytes, growth };
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.opened()? { self.inner.flush() } else { Ok(()) }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.opened()? { self.inner.check_write() } else { Ok(0) }
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.counted().await;
        self.opened()?;
        let count = bytes.len() as u64;
        let taken = self.budget.take(bytes.len()).and_then(|()| self.growth(count));
        let growth = taken.map_err(failed)?;
        if let AtOnce::Counting(counting) = self.budget.reserve_at_once(growth) {
            let counted = counting.await;
            self.budget.reserve_counted(growth, counted).map_err(failed)?;
        }
        self.inner.blocking_write_and_flush(bytes).await?;
        self.advance(count);
        Ok(())
    }

    async fn cancel(&mut self) {
        self.state = State::Closed;
        self.inner.cancel().await;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Metered {
    async fn ready(&mut self) {
        self.counted().await;
        self.inner.ready().await;
    }
}
