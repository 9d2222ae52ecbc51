//! Compiled modules on disk, so that a module is compiled once and started many times. Owns the one directory from which
//! machine code is loaded, and the rules that make this safe; knows nothing of the compiler process.
//!
//! Wasmtime runs whatever a compiled file contains, so a file is loaded only if this program made it: the directory and
//! the file belong to this user and no other user can write them, and the file's name contains a seal (HMAC-SHA256) of
//! its content, with a key that only this user can read and no task ever sees. A file that is incomplete, foreign, or
//! made by another version counts as missing and is replaced.

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use shardmill_core::hex;
use shardmill_core::module::VersionName;
use tracing::{debug, warn};
use wasmtime::component::Component;

use crate::admission;
use crate::description::Description;
use crate::engine::Engine;
use crate::module::Module;

/// How many compiled modules are kept: three versions of about twenty jobs.
const MAX_FILES: usize = 64;
/// How many bytes are kept. Python's and StarlingMonkey's modules have 35 MiB.
const MAX_BYTES: u64 = 2 << 30;
/// A partial file of this age is no longer being written.
const ABANDONED: Duration = Duration::from_secs(3600);

const SUFFIX: &str = ".cwasm";
const PARTIAL_SUFFIX: &str = ".part";

/// The file with the key of the seals, beside the sealed files.
const KEY_FILE: &str = "seal.key";
const KEY_BYTES: usize = 32;

/// A directory of compiled modules, for one user of one machine.
#[derive(Clone)]
pub struct ArtifactStore {
    directory: PathBuf,
    key: [u8; KEY_BYTES],
    max_files: usize,
    max_bytes: u64,
}

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot keep compiled modules in {}: {reason}", path.display())]
    NotPrivate { path: PathBuf, reason: String },
    #[error("failed to {verb} {}: {source}", path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
}

/// An artifact that is being written; removed if it is dropped before [`ArtifactStore::keep`].
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    /// The file to write to, for example as another process's standard output.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// The first bytes of a file that contains a message instead of an artifact.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn text(&mut self, max_bytes: u64) -> io::Result<String> {
        self.file.rewind()?;
        let mut text = Vec::new();
        (&mut self.file).take(max_bytes).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // The file no longer exists under this name if it was kept.
        drop(fs::remove_file(&self.path));
    }
}

/// Omits the key, which is secret.
impl fmt::Debug for ArtifactStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArtifactStore({})", self.directory.display())
    }
}

impl ArtifactStore {
    /// Opens a directory; creates it with mode 0700 if it does not exist.
    ///
    /// # Errors
    /// When it belongs to another user, others may read or write it, or it cannot be created.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let fail = |verb, source| Error::Io { verb, path: directory.to_owned(), source };
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent).map_err(|error| fail("create the directories above", error))?;
        }
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail("create", error)),
            _ => {}
        }
        // Resolve links once: a link that is changed later must not change the directory.
        let directory = directory.canonicalize().map_err(|error| fail("find", error))?;
        let metadata = fs::metadata(&directory).map_err(|error| fail("inspect", error))?;
        let reason = if !metadata.is_dir() {
            "it is not a directory".to_owned()
        } else if metadata.uid() != rustix::process::geteuid().as_raw() {
            format!("it belongs to user {}, not to this one", metadata.uid())
        } else if metadata.mode() & 0o077 != 0 {
            format!("others have access to it (mode {:o}); chmod 700 it", metadata.mode() & 0o777)
        } else {
            let path = directory.join(KEY_FILE);
            let key =
                key(&path).map_err(|source| Error::Io { verb: "open the key of compiled modules", path, source })?;
            return Ok(Self { directory, key, max_files: MAX_FILES, max_bytes: MAX_BYTES });
        };
        Err(Error::NotPrivate { path: directory, reason })
    }

    /// The same with other limits: the number of files, and their bytes together.
    #[must_use]
    pub fn bounded(self, max_files: usize, max_bytes: u64) -> Self {
        Self { max_files, max_bytes, ..self }
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The module, if it has been compiled for this engine; `None` when it has to be compiled.
    ///
    /// # Errors
    /// When the host does not offer what the component imports.
    pub fn get(&self, engine: &Engine, version: &VersionName) -> Result<Option<Module>, admission::Error> {
        let prefix = prefix(engine, version);
        let Some(path) = self.files(&prefix).into_iter().next().map(|file| file.path) else { return Ok(None) };
        match self.load(engine, &path, &prefix) {
            Ok((component, description)) => {
                touch(&path);
                engine.admit(version.clone(), &component, description).map(Some)
            }
            Err(reason) => {
                warn!(path = %path.display(), reason, "a compiled module cannot be used and will be recompiled");
                remove(&path);
                Ok(None)
            }
        }
    }

    /// Begins a file for the result of [`Engine::precompile`]. No reader sees half an artifact: [`ArtifactStore::keep`]
    /// gives it its name.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn begin(&self) -> Result<Partial, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{}-{number}{PARTIAL_SUFFIX}", std::process::id()));
        // A dead process with the same id may have left one.
        drop(fs::remove_file(&path));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => Ok(Partial { path, file }),
            Err(source) => Err(Error::Io { verb: "create", path, source }),
        }
    }

    /// Seals a complete artifact, stores it for a component, and evicts others to make room for it.
    ///
    /// # Errors
    /// When it cannot be read or renamed.
    pub fn keep(&self, engine: &Engine, version: &VersionName, mut partial: Partial) -> Result<(), Error> {
        let prefix = prefix(engine, version);
        let fail = |source| Error::Io { verb: "keep", path: partial.path.clone(), source };
        let sealed = partial.file.rewind().and_then(|()| self.seal(&prefix, &mut partial.file));
        let path = self.directory.join(format!("{prefix}{}{SUFFIX}", sealed.map_err(fail)?));
        fs::rename(&partial.path, &path).map_err(fail)?;
        for old in self.files(&prefix).into_iter().filter(|old| old.path != path) {
            remove(&old.path);
        }
        self.make_room(&path);
        Ok(())
    }

    /// Stores the result of [`Engine::precompile`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, engine: &Engine, version: &VersionName, artifact: &[u8]) -> Result<(), Error> {
        let mut partial = self.begin()?;
        let written = partial.file.write_all(artifact);
        written.map_err(|source| Error::Io { verb: "write", path: partial.path.clone(), source })?;
        self.keep(engine, version, partial)
    }

    /// The seal at the end of a file's name. Without the key no process can make it for another content or name.
    fn seal(&self, prefix: &str, artifact: &mut impl Read) -> io::Result<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).map_err(io::Error::other)?;
        mac.update(prefix.as_bytes());
        let mut buffer = vec![0; 64 << 10];
        loop {
            match artifact.read(&mut buffer)? {
                0 => return Ok(hex::encode(&mac.finalize().into_bytes())),
                read => mac.update(&buffer[..read]),
            }
        }
    }

    fn load(&self, engine: &Engine, path: &Path, prefix: &str) -> Result<(Component, Description), String> {
        let text = |error: io::Error| error.to_string();
        check_private(&fs::symlink_metadata(path).map_err(text)?)?;
        let mut file = File::open(path).map_err(text)?;
        let found = path.file_name().and_then(|name| name.to_str()?.strip_prefix(prefix)?.strip_suffix(SUFFIX));
        // No constant-time comparison: a process that can list the directory sees the valid seal anyway.
        if found != Some(self.seal(prefix, &mut file).map_err(text)?.as_str()) {
            return Err("its seal does not match its content and this store's key".to_owned());
        }
        let description = Description::read(&mut file).map_err(text)?;
        Ok((deserialize(engine, path)?, description))
    }

    /// Removes the least recently used files until the limits hold, but never `kept`.
    fn make_room(&self, kept: &Path) {
        let mut files = self.files("");
        files.sort_by_key(|file| file.used);
        let mut count = files.len();
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files.iter().filter(|file| file.path != kept) {
            if count <= self.max_files && bytes <= self.max_bytes {
                break;
            }
            debug!(path = %file.path.display(), "evicting the least recently used compiled module");
            remove(&file.path);
            count -= 1;
            bytes -= file.bytes;
        }
        for partial in self.list(|name| name.ends_with(PARTIAL_SUFFIX)) {
            if partial.used.elapsed().is_ok_and(|age| age > ABANDONED) {
                remove(&partial.path);
            }
        }
    }

    fn files(&self, prefix: &str) -> Vec<Kept> {
        self.list(|name| name.starts_with(prefix) && name.ends_with(SUFFIX))
    }

    /// The files of the store; those that cannot be inspected are omitted.
    fn list(&self, wanted: impl Fn(&str) -> bool) -> Vec<Kept> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let kept = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(&wanted)).map(|entry| {
            let metadata = entry.metadata().ok();
            let used = metadata.as_ref().and_then(|it| it.modified().ok()).unwrap_or(SystemTime::UNIX_EPOCH);
            Kept { path: entry.path(), used, bytes: metadata.map_or(0, |it| it.len()) }
        });
        kept.collect()
    }
}

/// A file of the store.
struct Kept {
    path: PathBuf,
    used: SystemTime,
    bytes: u64,
}

/// The prefix of the names of a component's files, for an engine like this one.
fn prefix(engine: &Engine, version: &VersionName) -> String {
    // The hash may differ between versions of Rust; then the component is recompiled.
    let mut hasher = DefaultHasher::new();
    engine.wasmtime().precompile_compatibility_hash().hash(&mut hasher);
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    format!("{}.{:016x}.", version.module(), hasher.finish())
}

/// Reads the key from its file, which is created if it does not exist.
fn key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let read = || -> io::Result<[u8; KEY_BYTES]> {
        check_private(&fs::symlink_metadata(path)?).map_err(io::Error::other)?;
        let mut key = Vec::new();
        File::open(path)?.take(KEY_BYTES as u64 + 1).read_to_end(&mut key)?;
        key.try_into().map_err(|_| io::Error::other(format!("it must have {KEY_BYTES} bytes; remove it")))
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let partial = path.with_extension(format!("{}{PARTIAL_SUFFIX}", std::process::id()));
    drop(fs::remove_file(&partial));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
    written.and_then(|mut file| file.write_all(&key))?;
    // If another process was first, its key wins: there is only one.
    let linked = fs::hard_link(&partial, path);
    drop(fs::remove_file(&partial));
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read(),
    }
}

#[expect(unsafe_code, reason = "loading machine code is the purpose of this module")]
fn deserialize(engine: &Engine, path: &Path) -> Result<Component, String> {
    // SAFETY: `Component::serialize` of this version and configuration made the file and it is unchanged since, which the
    // seal in its name proves. It stays unchanged while it is mapped: the file and its directory belong to this user, no
    // other user can write them, and this module never modifies a file but replaces it. Bytes after the artifact are not
    // read.
    let loaded = unsafe { Component::deserialize_file(engine.wasmtime(), path) };
    loaded.map_err(|error| format!("{error:#}"))
}

fn check_private(metadata: &Metadata) -> Result<(), String> {
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        let (user, mode) = (metadata.uid(), metadata.mode() & 0o777);
        return Err(format!("user {user} and mode {mode:o}: others may read or write it"));
    }
    Ok(())
}

/// Records the use of a file in its modification time. If this fails, the file is only evicted too early.
fn touch(path: &Path) {
    drop(File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now())));
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(path = %path.display(), %error, "a compiled module cannot be removed");
    }
}

#[cfg(test)]
mod tests;
