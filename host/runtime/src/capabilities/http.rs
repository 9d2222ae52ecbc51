//! `wasi:http`: the requests that a task sends, implemented by wasmtime, to the origins that its job grants. A task does
//! not serve requests: such exports are never called.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest as _, Method};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::state::State;

const TYPES: &str = "wasi:http/types@0.2.12";

// Limits of a request. It occupies the host's memory, an instance may have many, and wasmtime keeps all it receives.

/// Bytes of one set of headers. Servers accept 8 to 16 KiB.
pub(crate) const MAX_HEADER_BYTES: usize = 16 << 10;
const MAX_PATH_BYTES: usize = 8 << 10;
/// Bytes of an authority: a name has at most 255, plus a port.
const MAX_AUTHORITY_BYTES: usize = 300;
/// Bytes of a method that is not one of HTTP's own.
const MAX_METHOD_BYTES: usize = 32;

type Context<'a> = StoreContextMut<'a, State>;
type Request = Resource<HostOutgoingRequest>;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    let set = "[method]outgoing-request.set-method";
    types.func_wrap(set, |mut cx: Context<'_>, (request, method): (Request, Method)| {
        if let Method::Other(name) = &method
            && name.len() > MAX_METHOD_BYTES
        {
            return Ok((Err(()),));
        }
        Ok((cx.data_mut().http().set_method(request, method)?,))
    })?;
    let set = "[method]outgoing-request.set-path-with-query";
    types.func_wrap(set, |mut cx: Context<'_>, (request, path): (Request, Option<String>)| {
        if is_longer(path.as_ref(), MAX_PATH_BYTES) {
            return Ok((Err(()),));
        }
        Ok((cx.data_mut().http().set_path_with_query(request, path)?,))
    })?;
    let set = "[method]outgoing-request.set-authority";
    types.func_wrap(set, |mut cx: Context<'_>, (request, authority): (Request, Option<String>)| {
        if is_longer(authority.as_ref(), MAX_AUTHORITY_BYTES) {
            return Ok((Err(()),));
        }
        Ok((cx.data_mut().http().set_authority(request, authority)?,))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

fn is_longer(text: Option<&String>, max: usize) -> bool {
    text.is_some_and(|text| text.len() > max)
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.requesting()
    }
}
