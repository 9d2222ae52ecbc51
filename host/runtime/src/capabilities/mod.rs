//! What the sandbox lets a task do: one file for each interface of the contract, and WASI with what is granted. Owns
//! the linker; a capability sees only the store's [`State`].

mod collector;
mod config;
mod context;
mod coordinator;
mod file_budget;
mod files;
mod http;
mod io;
mod log;
mod stdio;

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use crate::bindings::shardmill::task;
use crate::grants::{Directory, Grants};
use crate::journal::{Journal, LogStream};
use crate::state::State;

pub(crate) use file_budget::FileBudget;
pub(crate) use http::MAX_HEADER_BYTES;

/// Random bytes that one host call may ask for.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

/// Links everything a component may import.
///
/// All of WASI 0.2 is linked, because compilers import far more than is used; files, network, environment and
/// arguments are there and empty. What a task gets of it: clocks, random numbers, its log as standard output, and the
/// files and variables that its job grants.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    io::link(linker)?;
    files::link(linker)?;
    linker.allow_shadowing(false);
    http::link(linker)?;
    collector::link(linker)?;
    log::link(linker)?;
    task::context::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    task::config::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    task::coordinator::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    task::types::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

impl task::types::Host for State {}

/// The WASI side of an instance. Or what is granted and is not there.
pub(crate) fn wasi(journal: &Journal, grants: &Grants) -> Result<WasiCtx, String> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(stdio::Stdio::new(journal.clone(), LogStream::Stdout))
        .stderr(stdio::Stdio::new(journal.clone(), LogStream::Stderr))
        .max_random_size(MAX_RANDOM_BYTES);
    for (name, value) in &grants.env {
        wasi.env(name, value);
    }
    for Directory { host, guest, writable } in &grants.directories {
        let access = if *writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        wasi.preopened_dir(host, guest, access)
            .map_err(|error| format!("cannot open the directory {}: {error:#}", host.display()))?;
    }
    Ok(wasi.build())
}
