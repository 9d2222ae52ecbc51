//! `wasi:filesystem` within limits: no function takes longer than the call may, only regular files and directories are
//! opened, no link is created that leads out, and the bytes written by a call and the total bytes and names are limited.
//! Which files a task can reach at all depends on the directories that were opened for it before.
//!
//! A file system that hangs (a network share without its server) ends the call and nothing else; the blocked thread stays
//! until the system releases it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, DirectoryEntryStream, ErrorCode, HostDescriptor as Unbounded,
    HostDirectoryEntryStream as UnboundedEntries, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::bindings::sync::filesystem::types;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, IoError};
use wasmtime_wasi::runtime::spawn_blocking;

use super::file_budget::FileBudget;
use super::file_stream::{KnownLength, Metered, State as StreamState};
use super::links::{all_lead_down, leads_down};
use crate::interrupt::CallTime;
use crate::state::State;

struct Files<'a> {
    all: WasiFilesystemCtxView<'a>,
    time: &'a CallTime,
    budget: &'a FileBudget,
}

struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = Files<'a>;
}

/// Replaces functions that are linked already.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    types::add_to_linker::<State, HasFiles>(linker, |state| {
        let (call, wasi) = state.calling();
        let all = WasiFilesystemCtxView { ctx: wasi.ctx.filesystem(), table: wasi.table };
        Files { all, time: &call.time, budget: &call.files }
    })
}

impl<'a> Files<'a> {
    fn wait<'b, T, F: Future<Output = FsResult<T>>>(
        &'b mut self,
        start: impl FnOnce(&'b mut WasiFilesystemCtxView<'a>) -> F,
    ) -> FsResult<T> {
        self.time.wait(start(&mut self.all)).map_err(FsError::trap)?
    }

    /// An output stream to a file within the budget, from this position or, without one, from the end.
    fn metered(
        &mut self,
        stream: Resource<DynOutputStream>,
        file: Arc<File>,
        position: Option<u64>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let (usage, looked_at) = (self.budget.usage().clone(), Arc::clone(&file));
        let length = self.wait(async |_| Ok(spawn_blocking(move || KnownLength::of(&looked_at, &usage)).await?))?;
        let table = &mut self.all.table;
        let inner = table.delete(stream)?;
        let budget = self.budget.clone();
        let metered: DynOutputStream =
            Box::new(Metered { inner, budget, file, position, length, state: StreamState::Open });
        Ok(table.push(metered)?)
    }
}

/// The file of a descriptor.
fn opened(all: &WasiFilesystemCtxView<'_>, file: &Resource<Descriptor>) -> FsResult<Arc<File>> {
    match all.table.get(file)? {
        Descriptor::File(file) => Ok(Arc::clone(&file.file)),
        Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor.into()),
    }
}

async fn length(file: Arc<File>) -> FsResult<u64> {
    Ok(spawn_blocking(move || file.metadata()).await?.len())
}

/// Runs an operation that creates a new name, if there is room for one.
async fn with_a_name<T>(budget: &FileBudget, make: impl Future<Output = FsResult<T>>) -> FsResult<T> {
    budget.reserve(0, 1).await?;
    let made = make.await;
    if made.is_err() {
        budget.give_back_name();
    }
    made
}

/// Whether all links that move with this name lead only down, wherever it is moved.
async fn may_be_moved(all: &mut WasiFilesystemCtxView<'_>, at: u32, path: &str) -> FsResult<bool> {
    let borrowed = || Resource::new_borrow(at);
    match Unbounded::stat_at(all, borrowed(), PathFlags::empty(), path.to_owned()).await?.type_ {
        DescriptorType::SymbolicLink => {
            let target = Unbounded::readlink_at(all, borrowed(), path.to_owned()).await?;
            Ok(leads_down(Path::new(&target)))
        }
        DescriptorType::Directory => {
            let (open, flags) = (OpenFlags::DIRECTORY, DescriptorFlags::READ);
            let directory =
                Unbounded::open_at(all, borrowed(), PathFlags::empty(), path.to_owned(), open, flags).await?;
            let looked_at = match all.table.get(&directory)? {
                Descriptor::Dir(directory) => Arc::clone(&directory.dir),
                Descriptor::File(_) => return Err(ErrorCode::NotDirectory.into()),
            };
            Unbounded::drop(all, directory).map_err(FsError::trap)?;
            Ok(spawn_blocking(move || all_lead_down(&looked_at)).await?)
        }
        _ => Ok(true),
    }
}

fn parent(path: &str) -> Option<&Path> {
    Path::new(path).parent()
}

/// Whether opening, reading and writing it end soon. A pipe waits for its other end, and a device may do anything.
fn is_plain(ty: DescriptorType) -> bool {
    matches!(ty, DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink)
}

impl types::Host for Files<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<types::ErrorCode> {
        types::Host::convert_error_code(&mut self.all, error)
    }

    fn filesystem_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<types::ErrorCode>> {
        types::Host::filesystem_error_code(&mut self.all, error)
    }
}

impl types::HostDescriptor for Files<'_> {
    /// Checks the type before opening, because opening alone may block for ever, and again afterwards, because another process
    /// may have replaced the file in between.
    fn open_at(
        &mut self,
        at: Resource<Descriptor>,
        how: types::PathFlags,
        path: String,
        open: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let (budget, is_cut) = (self.budget, open.contains(types::OpenFlags::TRUNCATE));
        self.wait(async |all| {
            let (borrowed, looked_at) = (Resource::new_borrow(at.rep()), path.clone());
            let found = Unbounded::stat_at(all, borrowed, how.into(), looked_at).await;
            if found.as_ref().is_ok_and(|found| !is_plain(found.type_)) {
                return Err(ErrorCode::NotPermitted.into());
            }
            let is_new = found.is_err() && open.contains(types::OpenFlags::CREATE);
            let opening = Unbounded::open_at(all, at, how.into(), path, open.into(), flags.into());
            let opened = if is_new { with_a_name(budget, opening).await? } else { opening.await? };
            if is_cut {
                budget.usage().cut();
            }
            if let Descriptor::File(file) = all.table.get(&opened)? {
                budget.usage().opened(&file.file);
            }
            if is_plain(Unbounded::get_type(all, Resource::new_borrow(opened.rep())).await?) {
                return Ok(opened);
            }
            Unbounded::drop(all, opened).map_err(FsError::trap)?;
            Err(ErrorCode::NotPermitted.into())
        })
    }

    fn write(&mut self, file: Resource<Descriptor>, bytes: Vec<u8>, offset: u64) -> FsResult<u64> {
        let budget = self.budget;
        budget.take(bytes.len())?;
        self.wait(async |all| {
            let length = length(opened(all, &file)?).await?;
            let end = offset.saturating_add(bytes.len() as u64);
            budget.reserve(end.saturating_sub(length), 0).await?;
            Unbounded::write(all, file, bytes, offset).await
        })
    }

    fn write_via_stream(&mut self, file: Resource<Descriptor>, offset: u64) -> FsResult<Resource<DynOutputStream>> {
        let opened = opened(&self.all, &file)?;
        let stream = Unbounded::write_via_stream(&mut self.all, file, offset)?;
        self.metered(stream, opened, Some(offset))
    }

    fn append_via_stream(&mut self, file: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let opened = opened(&self.all, &file)?;
        let stream = Unbounded::append_via_stream(&mut self.all, file)?;
        self.metered(stream, opened, None)
    }

    fn set_size(&mut self, file: Resource<Descriptor>, size: u64) -> FsResult<()> {
        let budget = self.budget;
        self.wait(async |all| {
            let length = length(opened(all, &file)?).await?;
            budget.reserve(size.saturating_sub(length), 0).await?;
            Unbounded::set_size(all, file, size).await?;
            if size < length {
                budget.usage().cut();
            }
            Ok(())
        })
    }

    fn create_directory_at(&mut self, at: Resource<Descriptor>, path: String) -> FsResult<()> {
        let budget = self.budget;
        self.wait(async |all| with_a_name(budget, Unbounded::create_directory_at(all, at, path)).await)
    }

    fn remove_directory_at(&mut self, at: Resource<Descriptor>, path: String) -> FsResult<()> {
        let budget = self.budget;
        self.wait(async |all| {
            Unbounded::remove_directory_at(all, at, path).await?;
            budget.give_back_name();
            Ok(())
        })
    }

    fn unlink_file_at(&mut self, at: Resource<Descriptor>, path: String) -> FsResult<()> {
        let budget = self.budget;
        self.wait(async |all| {
            Unbounded::unlink_file_at(all, at, path).await?;
            budget.give_back_name();
            Ok(())
        })
    }

    /// Denied: a second name would lead to the file wherever it is moved, also out of the grant.
    fn link_at(
        &mut self,
        _: Resource<Descriptor>,
        _: types::PathFlags,
        _: String,
        _: Resource<Descriptor>,
        _: String,
    ) -> FsResult<()> {
        Err(ErrorCode::NotPermitted.into())
    }

    fn symlink_at(&mut self, at: Resource<Descriptor>, to: String, path: String) -> FsResult<()> {
        if !leads_down(Path::new(&to)) {
            return Err(ErrorCode::NotPermitted.into());
        }
        let budget = self.budget;
        self.wait(async |all| with_a_name(budget, Unbounded::symlink_at(all, at, to, path)).await)
    }

    fn rename_at(
        &mut self,
        at: Resource<Descriptor>,
        old: String,
        new_at: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        // Within its directory a link keeps its target.
        let stays = at.rep() == new_at.rep() && parent(&old) == parent(&new);
        self.wait(async |all| {
            if !stays && !may_be_moved(all, at.rep(), &old).await? {
                return Err(ErrorCode::NotPermitted.into());
            }
            Unbounded::rename_at(all, at, old, new_at, new).await
        })
    }

    // From here on the functions delegate to wasmtime, within the call's time limit.

    fn read(&mut self, file: Resource<Descriptor>, len: u64, offset: u64) -> FsResult<(Vec<u8>, bool)> {
        self.wait(|all| Unbounded::read(all, file, len, offset))
    }

    fn read_via_stream(&mut self, file: Resource<Descriptor>, offset: u64) -> FsResult<Resource<DynInputStream>> {
        Unbounded::read_via_stream(&mut self.all, file, offset)
    }

    fn advise(&mut self, file: Resource<Descriptor>, offset: u64, len: u64, advice: types::Advice) -> FsResult<()> {
        self.wait(|all| Unbounded::advise(all, file, offset, len, advice.into()))
    }

    fn sync_data(&mut self, file: Resource<Descriptor>) -> FsResult<()> {
        self.wait(|all| Unbounded::sync_data(all, file))
    }

    fn sync(&mut self, file: Resource<Descriptor>) -> FsResult<()> {
        self.wait(|all| Unbounded::sync(all, file))
    }

    fn get_flags(&mut self, file: Resource<Descriptor>) -> FsResult<types::DescriptorFlags> {
        Ok(self.wait(|all| Unbounded::get_flags(all, file))?.into())
    }

    fn get_type(&mut self, file: Resource<Descriptor>) -> FsResult<types::DescriptorType> {
        Ok(self.wait(|all| Unbounded::get_type(all, file))?.into())
    }

    fn set_times(
        &mut self,
        file: Resource<Descriptor>,
        access: types::NewTimestamp,
        modification: types::NewTimestamp,
    ) -> FsResult<()> {
        self.wait(|all| Unbounded::set_times(all, file, access.into(), modification.into()))
    }

    fn set_times_at(
        &mut self,
        at: Resource<Descriptor>,
        how: types::PathFlags,
        path: String,
        access: types::NewTimestamp,
        modification: types::NewTimestamp,
    ) -> FsResult<()> {
        self.wait(|all| Unbounded::set_times_at(all, at, how.into(), path, access.into(), modification.into()))
    }

    fn read_directory(&mut self, directory: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        self.wait(|all| Unbounded::read_directory(all, directory))
    }

    fn stat(&mut self, file: Resource<Descriptor>) -> FsResult<types::DescriptorStat> {
        Ok(self.wait(|all| Unbounded::stat(all, file))?.into())
    }

    fn stat_at(
        &mut self,
        at: Resource<Descriptor>,
        how: types::PathFlags,
        path: String,
    ) -> FsResult<types::DescriptorStat> {
        Ok(self.wait(|all| Unbounded::stat_at(all, at, how.into(), path))?.into())
    }

    fn readlink_at(&mut self, at: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.wait(|all| Unbounded::readlink_at(all, at, path))
    }

    fn is_same_object(&mut self, a: Resource<Descriptor>, b: Resource<Descriptor>) -> wasmtime::Result<bool> {
        self.time.wait(Unbounded::is_same_object(&mut self.all, a, b))?
    }

    fn metadata_hash(&mut self, file: Resource<Descriptor>) -> FsResult<types::MetadataHashValue> {
        Ok(self.wait(|all| Unbounded::metadata_hash(all, file))?.into())
    }

    fn metadata_hash_at(
        &mut self,
        at: Resource<Descriptor>,
        how: types::PathFlags,
        path: String,
    ) -> FsResult<types::MetadataHashValue> {
        Ok(self.wait(|all| Unbounded::metadata_hash_at(all, at, how.into(), path))?.into())
    }

    fn drop(&mut self, file: Resource<Descriptor>) -> wasmtime::Result<()> {
        types::HostDescriptor::drop(&mut self.all, file)
    }
}

impl types::HostDirectoryEntryStream for Files<'_> {
    fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        Ok(self.wait(|all| UnboundedEntries::read_directory_entry(all, stream))?.map(Into::into))
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        types::HostDirectoryEntryStream::drop(&mut self.all, stream)
    }
}
