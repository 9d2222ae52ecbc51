//! The capabilities of a task: one file for each interface of the contract, and WASI with the job's grants. Owns the
//! linker; a capability sees only the store's [`State`].

mod collector;
mod config;
mod context;
mod coordinator;
mod file_budget;
mod file_stream;
mod file_usage;
mod files;
mod http;
mod io;
mod links;
mod log;
mod stdio;

use std::sync::Arc;

use shardmill_core::config::{Directory, Grants};
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use crate::bindings::shardmill::task;
use crate::journal::{Journal, LogStream};
use crate::own_files::{self, Claim};
use crate::state::State;

pub(crate) use file_budget::FileBudget;
pub use file_usage::FileUsage;
pub(crate) use http::MAX_HEADER_BYTES;

/// Random bytes that one host call may request.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

/// Links everything that a component may import.
///
/// All of WASI 0.2 is linked, because compilers import far more than tasks use; files, network, environment and
/// arguments are present but empty. A task gets clocks, random numbers, standard output as its log, and the files and
/// variables that its job grants.
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

/// Builds the WASI context of an instance, and claims its directories for as long as it lives. Errors if a directory
/// cannot be granted.
pub(crate) fn wasi(journal: &Journal, grants: &Grants) -> Result<(WasiCtx, Vec<Claim>), String> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(stdio::Stdio::new(journal.clone(), LogStream::Stdout))
        .stderr(stdio::Stdio::new(journal.clone(), LogStream::Stderr))
        .max_random_size(MAX_RANDOM_BYTES);
    for (name, value) in &grants.env {
        wasi.env(name, value.expose());
    }
    let (mut claims, mut places) = (Vec::new(), Vec::new());
    for Directory { host, operators, guest, writable } in &grants.directories {
        let access = if *writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        let (claim, place) = own_files::grant(host, operators).map_err(|error| error.to_string())?;
        wasi.preopened_dir(host, guest, access)
            .map_err(|error| format!("cannot open the directory {}: {error:#}", host.display()))?;
        claims.push(claim);
        places.push(place);
    }
    let mut wasi = wasi.build();
    // The directory may have been replaced between the check and the opening.
    let opened = directories(&mut wasi).map_err(|error| format!("{error:#}"))?;
    for (place, opened) in places.iter().zip(&opened) {
        own_files::verify(place, opened).map_err(|error| error.to_string())?;
    }
    Ok((wasi, claims))
}

/// The opened directories of a context, in their order.
fn directories(wasi: &mut WasiCtx) -> wasmtime::Result<Vec<Arc<std::fs::File>>> {
    let mut table = ResourceTable::new();
    let listed = WasiFilesystemCtxView { ctx: wasi.filesystem(), table: &mut table }.get_directories()?;
    let mut opened = Vec::with_capacity(listed.len());
    for (directory, _) in &listed {
        if let Descriptor::Dir(directory) = table.get(directory)? {
            opened.push(Arc::clone(&directory.dir));
        }
    }
    Ok(opened)
}
