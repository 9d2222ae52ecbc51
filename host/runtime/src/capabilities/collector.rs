//! `collector`: messages, kept in the call's buffer. Linked by hand, not by the generated trait, so that key and message
//! go from the guest's memory into the buffer without a copy in between.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList, WasmStr};

use crate::bindings::shardmill::task::collector::SendError;
use crate::limits::Limit;
use crate::outputs::{Outputs, Unresolved};
use crate::state::State;

const INTERFACE: &str = "shardmill:task/collector@0.1.0";

/// The parameters of `send`: output, key, message.
type Send = (u32, Option<WasmStr>, WasmList<u8>);

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut instance = linker.instance(INTERFACE)?;
    instance.func_wrap("output", |mut cx: StoreContextMut<'_, State>, (name,): (WasmStr,)| {
        let (resolved, unknown) = {
            let name = name.to_str(&cx)?;
            let resolved = cx.data().spec.outputs.resolve(&name);
            (resolved, (resolved == Err(Unresolved::Unknown)).then(|| name.into_owned()))
        };
        let call = &mut cx.data_mut().call;
        if let Ok(output) = resolved {
            call.streams = call.streams.max(output + 1);
        }
        call.unknown_output = call.unknown_output.take().or(unknown);
        Ok((resolved.map_err(|error| match error {
            Unresolved::Unknown => SendError::UnknownOutput,
            Unresolved::Full => SendError::Limit,
        }),))
    })?;
    instance.func_wrap("send", |mut cx: StoreContextMut<'_, State>, arguments: Send| {
        // Take the outputs out of the store for the moment, because the key and the message borrow the store.
        let mut outputs = std::mem::take(&mut cx.data_mut().call.outputs);
        let sent = send(&cx, &mut outputs, arguments);
        cx.data_mut().call.outputs = outputs;
        Ok((sent?,))
    })
}

fn send(
    cx: &StoreContextMut<'_, State>,
    outputs: &mut Outputs,
    (output, key, message): Send,
) -> wasmtime::Result<Result<(), SendError>> {
    let State { call, spec, .. } = cx.data();
    let Some(mark) = call.mark else {
        let only = "messages can be sent in process, process-batch, window and before-stop";
        return Ok(Err(SendError::Other(only.to_owned())));
    };
    if output >= call.streams {
        return Ok(Err(SendError::UnknownOutput));
    }
    let max = spec.limits.output_max_bytes;
    let refused = |limit, error| {
        spec.hits.count(limit);
        Ok(Err(error))
    };
    if message.len() > max {
        return refused(Limit::OutputBytes, SendError::TooLarge);
    }
    let key = key.as_ref().map(|key| key.to_str(cx)).transpose()?;
    let bytes = key.as_ref().map_or(0, |key| key.len()) + message.len();
    if bytes > max {
        return refused(Limit::OutputBytes, SendError::TooLarge);
    }
    let sent = outputs.since(mark);
    if sent.bytes() + bytes > max {
        return refused(Limit::OutputBytes, SendError::Limit);
    }
    if sent.messages() >= spec.limits.output_max_count {
        return refused(Limit::OutputCount, SendError::Limit);
    }
    outputs.push(output, key.as_deref(), message.as_le_slice(cx));
    Ok(Ok(()))
}
