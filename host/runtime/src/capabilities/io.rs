//! `wasi:io`: waiting and streaming, implemented by wasmtime, but no longer than the call may take.
//!
//! Whatever a guest waits for, be it a clock, a file or a response, it waits here, in a host function, where the engine's
//! epochs cannot end its call. So every function that may wait does so through [`CallTime::wait`].

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::io::poll::{Host as AsyncPoll, HostPollable as AsyncPollable};
use wasmtime_wasi::p2::bindings::io::streams::{HostInputStream as AsyncInput, HostOutputStream as AsyncOutput};
use wasmtime_wasi::p2::bindings::sync::io::poll::{self, Host as PollHost, HostPollable};
use wasmtime_wasi::p2::bindings::sync::io::streams::{self, Host as StreamsHost, HostInputStream, HostOutputStream};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};

use crate::interrupt::CallTime;
use crate::state::State;

/// The object that a guest waits for, and the time that it may wait.
struct Io<'a> {
    table: &'a mut ResourceTable,
    time: &'a CallTime,
}

struct HasIo;

impl HasData for HasIo {
    type Data<'a> = Io<'a>;
}

/// Replaces what is linked already.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    poll::add_to_linker::<State, HasIo>(linker, io)?;
    streams::add_to_linker::<State, HasIo>(linker, io)
}

fn io(state: &mut State) -> Io<'_> {
    let (call, wasi) = state.calling();
    Io { table: wasi.table, time: &call.time }
}

impl PollHost for Io<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.time.wait(AsyncPoll::poll(self.table, pollables))?
    }
}

impl HostPollable for Io<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.time.wait(AsyncPollable::ready(self.table, pollable))?
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.time.wait(AsyncPollable::block(self.table, pollable))?
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        AsyncPollable::drop(self.table, pollable)
    }
}

impl Io<'_> {
    /// Like [`CallTime::wait`], but an error of the stream is returned to the guest.
    fn stream<T>(time: &CallTime, done: impl Future<Output = StreamResult<T>>) -> StreamResult<T> {
        time.wait(done).map_err(StreamError::Trap)?
    }
}

impl StreamsHost for Io<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> wasmtime::Result<streams::StreamError> {
        StreamsHost::convert_stream_error(self.table, error)
    }
}

impl HostInputStream for Io<'_> {
    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        AsyncInput::read(self.table, stream, len)
    }

    fn blocking_read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        Self::stream(self.time, AsyncInput::blocking_read(self.table, stream, len))
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        AsyncInput::skip(self.table, stream, len)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        Self::stream(self.time, AsyncInput::blocking_skip(self.table, stream, len))
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<Resource<DynPollable>> {
        AsyncInput::subscribe(self.table, stream)
    }

    /// Waits for the stream's pending read.
    fn drop(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<()> {
        self.time.wait(AsyncInput::drop(self.table, stream))?
    }
}

impl HostOutputStream for Io<'_> {
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        AsyncOutput::check_write(self.table, stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        AsyncOutput::write(self.table, stream, bytes)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        Self::stream(self.time, AsyncOutput::blocking_write_and_flush(self.table, stream, bytes))
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        AsyncOutput::flush(self.table, stream)
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        Self::stream(self.time, AsyncOutput::blocking_flush(self.table, stream))
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<Resource<DynPollable>> {
        AsyncOutput::subscribe(self.table, stream)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        AsyncOutput::write_zeroes(self.table, stream, len)
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        Self::stream(self.time, AsyncOutput::blocking_write_zeroes_and_flush(self.table, stream, len))
    }

    fn splice(&mut self, to: Resource<DynOutputStream>, from: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        AsyncOutput::splice(self.table, to, from, len)
    }

    fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        Self::stream(self.time, AsyncOutput::blocking_splice(self.table, to, from, len))
    }

    /// Waits for the stream's pending write.
    fn drop(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<()> {
        self.time.wait(AsyncOutput::drop(self.table, stream))?
    }
}
