//! `wasi:filesystem` within bounds: no function takes longer than the call may, only regular files and directories are
//! opened, and a call writes so many bytes. What a task may reach at all is decided by what was opened for it before.
//!
//! A file system that hangs (a network share without its server) ends the call and not more; the thread that hangs in it
//! stays until the system lets it go.

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorType, DirectoryEntryStream, ErrorCode, HostDescriptor as Unbounded,
    HostDirectoryEntryStream as UnboundedEntries,
};
use wasmtime_wasi::p2::bindings::sync::filesystem::types;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, IoError};

use super::file_budget::{FileBudget, Metered};
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

/// Replaces what is linked already.
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

    /// Files that the task writes to one after the other, whatever stream it uses.
    fn metered(&mut self, stream: Resource<DynOutputStream>) -> FsResult<Resource<DynOutputStream>> {
        let table = &mut self.all.table;
        let inner = table.delete(stream)?;
        let metered: DynOutputStream = Box::new(Metered { inner, budget: self.budget.clone() });
        Ok(table.push(metered)?)
    }
}

/// Whether opening it, reading it and writing it are over soon. A pipe waits for its other end, a device does as it
/// likes.
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
    /// Looks before it opens, because opening alone may take for ever; and after it, because somebody else may have put
    /// something in the place of what was looked at.
    fn open_at(
        &mut self,
        at: Resource<Descriptor>,
        how: types::PathFlags,
        path: String,
        open: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        self.wait(async |all| {
            let (borrowed, looked_at) = (Resource::new_borrow(at.rep()), path.clone());
            if let Ok(found) = Unbounded::stat_at(all, borrowed, how.into(), looked_at).await
                && !is_plain(found.type_)
            {
                return Err(ErrorCode::NotPermitted.into());
            }
            let opened = Unbounded::open_at(all, at, how.into(), path, open.into(), flags.into()).await?;
            if is_plain(Unbounded::get_type(all, Resource::new_borrow(opened.rep())).await?) {
                return Ok(opened);
            }
            Unbounded::drop(all, opened).map_err(FsError::trap)?;
            Err(ErrorCode::NotPermitted.into())
        })
    }

    fn write(&mut self, file: Resource<Descriptor>, bytes: Vec<u8>, offset: u64) -> FsResult<u64> {
        self.budget.take(bytes.len())?;
        self.wait(|all| Unbounded::write(all, file, bytes, offset))
    }

    fn write_via_stream(&mut self, file: Resource<Descriptor>, offset: u64) -> FsResult<Resource<DynOutputStream>> {
        let stream = Unbounded::write_via_stream(&mut self.all, file, offset)?;
        self.metered(stream)
    }

    fn append_via_stream(&mut self, file: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let stream = Unbounded::append_via_stream(&mut self.all, file)?;
        self.metered(stream)
    }

    // From here on as wasmtime does it, within the call's time.

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

    fn set_size(&mut self, file: Resource<Descriptor>, size: u64) -> FsResult<()> {
        self.wait(|all| Unbounded::set_size(all, file, size))
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

    fn create_directory_at(&mut self, at: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.wait(|all| Unbounded::create_directory_at(all, at, path))
    }

    fn remove_directory_at(&mut self, at: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.wait(|all| Unbounded::remove_directory_at(all, at, path))
    }

    fn unlink_file_at(&mut self, at: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.wait(|all| Unbounded::unlink_file_at(all, at, path))
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

    fn link_at(
        &mut self,
        at: Resource<Descriptor>,
        how: types::PathFlags,
        old: String,
        new_at: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        self.wait(|all| Unbounded::link_at(all, at, how.into(), old, new_at, new))
    }

    fn rename_at(
        &mut self,
        at: Resource<Descriptor>,
        old: String,
        new_at: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        self.wait(|all| Unbounded::rename_at(all, at, old, new_at, new))
    }

    fn symlink_at(&mut self, at: Resource<Descriptor>, to: String, path: String) -> FsResult<()> {
        self.wait(|all| Unbounded::symlink_at(all, at, to, path))
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
