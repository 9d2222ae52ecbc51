//! Where control sockets are, which belongs to which task directory, and who may remove one.
//!
//! A socket's name consists of a hash of the task directory, by which a client finds the host; the process id, for
//! people; and random digits, because two containers that share the directory may both be process 1. Names are never
//! reused.
//!
//! Beside `NAME.sock` is `NAME.lock`, on which its host holds a lock (`flock`) until it exits or dies. Both appear by a
//! rename, complete: the lock file once it is locked, the socket once it listens. So a lock that can be acquired belongs
//! to a dead host, and the process that acquires it removes the pair. The lock file names the directory that the host
//! runs, because a path may lead elsewhere than when the host started: to a link that replaced the directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shardmill_core::hex;
use shardmill_core::text;
use shardmill_runtime::sha256;

/// Bytes of the task directory's hash in a name: the path of a socket is limited to 107 bytes.
const HASH_BYTES: usize = 8;
pub(super) const SOCKET: &str = "sock";
pub(super) const LOCK: &str = "lock";
/// Prefix of files that have not appeared yet. Clients ignore names that begin with a dot.
const HIDDEN: &str = ".";
/// Age after which a file that never appeared, or a socket that refuses connections and has no lock file, is stale. Hosts
/// of earlier releases have no lock file and listen right after the socket is bound, never this long after.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);
/// Directories to try under names that other users may have taken.
const SPARE_DIRECTORIES: u32 = 8;
/// More bytes than a lock file needs.
const LOCK_MAX_BYTES: u64 = 64 << 10;

/// The directories where this user's sockets may be, in the order in which a host prefers them. They depend on the
/// environment only; a client searches all of them, so it finds a host with another environment in most cases.
#[derive(Debug, Clone)]
pub(super) struct Places {
    user: u32,
    directories: Vec<PathBuf>,
}

impl Places {
    /// The directories of this process's user, by this process's environment.
    pub(super) fn of_this_user() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let user = rustix::process::geteuid().as_raw();
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        Self::new(user, variable("XDG_RUNTIME_DIR").as_deref(), &std::env::temp_dir(), cache.as_deref())
    }

    /// `runtime` is private but may be unset; every user can write to `temporary`, and may have taken the names there;
    /// `cache` may be on a network file system.
    pub(super) fn new(user: u32, runtime: Option<&Path>, temporary: &Path, cache: Option<&Path>) -> Self {
        let mut directories: Vec<PathBuf> = runtime.map(|runtime| runtime.join("shardmill")).into_iter().collect();
        for temporary in [temporary, Path::new("/tmp")] {
            directories.push(temporary.join(format!("shardmill-{user}")));
            directories.extend((1..=SPARE_DIRECTORIES).map(|n| temporary.join(format!("shardmill-{user}-{n}"))));
        }
        directories.push(PathBuf::from(format!("/run/user/{user}/shardmill")));
        directories.extend(cache.map(|cache| cache.join("shardmill/control")));
        let mut seen = std::collections::BTreeSet::new();
        directories.retain(|directory| seen.insert(directory.clone()));
        Self { user, directories }
    }

    /// Every directory where sockets may be, whether it exists or not.
    pub(super) fn all(&self) -> &[PathBuf] {
        &self.directories
    }

    /// The directories that exist and are private to this user.
    pub(super) fn existing(&self) -> impl Iterator<Item = &Path> {
        self.directories.iter().map(PathBuf::as_path).filter(|directory| self.check(directory).is_ok())
    }

    /// Calls `make` with one directory after the other, creating it if necessary, until a call succeeds.
    ///
    /// # Errors
    /// Why none of the directories can be used.
    pub(super) fn first<T>(&self, mut make: impl FnMut(&Path) -> io::Result<T>) -> io::Result<T> {
        let mut reasons = Vec::new();
        for directory in &self.directories {
            match self.create(directory).and_then(|()| make(directory)) {
                Ok(made) => return Ok(made),
                Err(error) => reasons.push(format!("{}: {error}", text::path(directory))),
            }
        }
        // The reason of the preferred directory is the one to report.
        let others = reasons.len() - 1;
        Err(io::Error::other(format!("{} ({others} other places were tried)", reasons.swap_remove(0))))
    }

    fn create(&self, directory: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && directory.ends_with("shardmill/control") => {
                DirBuilder::new().mode(0o700).recursive(true).create(directory)?;
            }
            result => result?,
        }
        self.check(directory)
    }

    /// Rejects a link, which another user may have put there.
    fn check(&self, directory: &Path) -> io::Result<()> {
        let metadata = fs::symlink_metadata(directory)?;
        if metadata.is_dir() && metadata.uid() == self.user && metadata.mode() & 0o077 == 0 {
            return Ok(());
        }
        let text = format!("not a directory that only user {} can enter; remove it", self.user);
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }
}

/// A task directory, as the given path resolves now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TaskDirectory {
    /// The given path, made absolute.
    given: PathBuf,
    /// The path with all links resolved.
    canonical: PathBuf,
}

impl TaskDirectory {
    /// Resolves a path. The directory need not exist: its host keeps running and reports that it is missing.
    ///
    /// # Errors
    /// When the path is empty, or the current directory no longer exists.
    pub(super) fn find(given: &Path) -> io::Result<Self> {
        let given = std::path::absolute(given)?;
        // If the directory is missing, resolve its parent.
        let of_parent = || Some(given.parent()?.canonicalize().ok()?.join(given.file_name()?));
        let canonical = given.canonicalize().ok().or_else(of_parent).unwrap_or_else(|| given.clone());
        Ok(Self { given, canonical })
    }

    /// The prefix of the names of its sockets. The previous release finds them by it, too.
    pub(super) fn prefix(&self) -> String {
        hex::encode(&sha256(self.canonical.as_os_str().as_encoded_bytes())[..HASH_BYTES])
    }

    /// Whether the host that wrote `self` into its lock file runs this directory. The host uses the path that it was
    /// started with, wherever that leads now.
    fn is_served_as(&self, wanted: &Self) -> bool {
        let identity = |path: &Path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
        self.canonical == wanted.canonical
            || self.given == wanted.given
            || identity(&self.given).is_some_and(|it| Some(it) == identity(&wanted.given))
    }
}

/// The content of a lock file.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    pid: u32,
    tasks: TaskDirectory,
}

/// A new name, locked and not visible yet: see [`Claim::show`].
#[derive(Debug)]
pub(super) struct Claim {
    directory: PathBuf,
    name: String,
    /// Holds the lock until it is closed, at the end of the process at the latest.
    _lock: File,
}

impl Claim {
    /// Claims a name for a socket in this directory; its lock file becomes visible.
    pub(super) fn new(directory: &Path, tasks: &TaskDirectory) -> io::Result<Self> {
        let random = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("{}-{}-{}", tasks.prefix(), std::process::id(), &random[..8]);
        let hidden = directory.join(format!("{HIDDEN}{name}.{LOCK}"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&hidden)?;
        file.try_lock()?;
        let record = serde_json::to_vec(&Record { pid: std::process::id(), tasks: tasks.clone() });
        // Without this content the host is still found by its name: a full disk must not make it invisible.
        let written = record.map_err(io::Error::from).and_then(|record| file.write_all(&record));
        drop(written);
        fs::rename(&hidden, directory.join(format!("{name}.{LOCK}")))?;
        Ok(Self { directory: directory.to_owned(), name, _lock: file })
    }

    /// The path to bind the socket to before it becomes visible.
    pub(super) fn hidden(&self) -> PathBuf {
        // Not longer than the final name.
        self.directory.join(format!("{HIDDEN}{}.new", self.name))
    }

    /// Makes the socket visible; it must be listening.
    pub(super) fn show(&self) -> io::Result<()> {
        fs::rename(self.hidden(), self.path(SOCKET))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", self.name))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock is held until both are removed. A later sweep removes what cannot be removed now.
        for path in [self.hidden(), self.path(SOCKET), self.path(LOCK)] {
            drop(fs::remove_file(path));
        }
    }
}

/// A visible socket.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// The process id in its name.
    pub(super) host: String,
}

/// The state of a host, by the lock file beside its socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lives,
    /// The host is dead; its files have been removed.
    Dead,
    /// There is no lock file: the host is of an earlier release, or has just exited.
    Unknown,
}

impl Found {
    fn new(path: PathBuf) -> Option<Self> {
        let stem = path.file_stem()?.to_str()?;
        let host = stem.split('-').nth(1)?.to_owned();
        Some(Self { path, host })
    }

    /// Finds out whether the host is alive.
    pub(super) fn fate(&self) -> Fate {
        let Ok(lock) = File::open(self.path.with_extension(LOCK)) else { return Fate::Unknown };
        if lock.try_lock().is_err() {
            return Fate::Lives;
        }
        self.remove();
        Fate::Dead
    }

    /// The same for a host that has just refused a connection: a host without a lock file may be about to listen, but only
    /// for a moment.
    pub(super) fn fate_of_refusing(&self) -> Fate {
        match self.fate() {
            Fate::Unknown if age(&self.path).is_some_and(|age| age >= ABANDONED_AFTER) => {
                self.remove();
                Fate::Dead
            }
            fate => fate,
        }
    }

    /// Removes the lock file last, while it is locked: a process that finds no lock file finds no socket either.
    fn remove(&self) {
        for path in [self.path.clone(), self.path.with_extension(LOCK)] {
            drop(fs::remove_file(path));
        }
    }

    /// Whether its host says so.
    fn serves(&self, wanted: &TaskDirectory) -> bool {
        let mut text = String::new();
        let read = File::open(self.path.with_extension(LOCK))
            .and_then(|lock| lock.take(LOCK_MAX_BYTES).read_to_string(&mut text));
        let record = read.ok().and_then(|_| serde_json::from_str::<Record>(&text).ok());
        record.is_some_and(|record| record.tasks.is_served_as(wanted))
    }
}

/// The sockets of the hosts that run a task directory.
pub(super) fn find(places: &Places, tasks: &TaskDirectory) -> io::Result<Vec<Found>> {
    let prefix = format!("{}-", tasks.prefix());
    let mut found = Vec::new();
    for directory in places.existing() {
        for (name, path) in entries(directory)? {
            let Some(socket) = Found::new(path).filter(|_| is_in_view(&name, SOCKET)) else { continue };
            if name.starts_with(&prefix) || socket.serves(tasks) {
                found.push(socket);
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Removes what dead hosts left behind in a directory.
pub(super) fn sweep(directory: &Path) -> io::Result<()> {
    for (name, path) in entries(directory)? {
        if is_in_view(&name, LOCK) {
            if let Some(found) = Found::new(path.with_extension(SOCKET)) {
                found.fate();
            }
        } else if is_in_view(&name, SOCKET) && !path.with_extension(LOCK).exists() {
            let refuses = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
            if UnixStream::connect(&path).is_err_and(refuses)
                && let Some(found) = Found::new(path)
            {
                found.fate_of_refusing();
            }
        } else if name.starts_with(HIDDEN) && age(&path).is_some_and(|age| age >= ABANDONED_AFTER) {
            drop(fs::remove_file(path));
        }
    }
    Ok(())
}

fn is_in_view(name: &str, extension: &str) -> bool {
    !name.starts_with(HIDDEN) && name.strip_suffix(extension).is_some_and(|rest| rest.ends_with('.'))
}

fn entries(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        entries.extend(entry.file_name().into_string().ok().map(|name| (name, entry.path())));
    }
    Ok(entries)
}

fn age(path: &Path) -> Option<Duration> {
    fs::symlink_metadata(path).ok()?.modified().ok()?.elapsed().ok()
}
