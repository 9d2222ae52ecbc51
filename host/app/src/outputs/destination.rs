//! Finds and opens the file that an output is written to, so that no link that was put on the way later leads it
//! elsewhere.
//!
//! The directory is the operator's word: links in its path are followed when the output is opened for the first time, and
//! where they led is kept. Each later time they must lead there again, and from the root on no link is followed. The file
//! itself is never reached through a link, neither is any directory below the one that the operator named. What is below
//! `/dev` is the system's, and opened as it is.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fcntl_setfl, fstat, open, openat, statat};
use rustix::io::Errno;

/// Where the names of devices and of this process's own streams are.
const DEVICES: [&str; 2] = ["/dev", "/proc/self/fd"];

/// A file may be removed or made by another program while it is opened.
const ATTEMPTS: usize = 4;

/// As `open(2)` has it for new files, before the process's mask.
const NEW_FILE: Mode = Mode::from_raw_mode(0o666);

/// Why an output cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it names no file")]
    NoName,
    #[error("no directory {}: {error}", .path.display())]
    NoDirectory { path: PathBuf, error: io::Error },
    #[error("{} is a symbolic link, which is not followed: name what it leads to", .0.display())]
    Link(PathBuf),
    #[error("{} is {kind}; an output is a file, a pipe or a character device", .path.display())]
    Unusable { path: PathBuf, kind: &'static str },
    #[error("{} is a pipe that no program reads", .0.display())]
    NoReader(PathBuf),
    #[error(
        "its directory led to {} when it was opened first, and leads to {} now: somebody changed a link on the way{cure}",
        before.display(), now.display()
    )]
    Moved { before: PathBuf, now: PathBuf, cure: String },
}

impl From<Errno> for OpenError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl OpenError {
    /// Says how to make the host take the new place.
    pub(super) fn with_cure(self, record: &Path) -> Self {
        match self {
            Self::Moved { before, now, .. } => {
                let cure = format!("; if it is meant, remove {} and start again", record.display());
                Self::Moved { before, now, cure }
            }
            other => other,
        }
    }
}

/// What was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    /// A pipe or a device: nothing of it can be read, cut or forced to a disk.
    Stream,
}

#[derive(Debug)]
pub(super) struct Opened {
    /// Every write goes to its end.
    pub(super) file: File,
    pub(super) kind: Kind,
    /// Without links; `None` for what is below `/dev`.
    pub(super) directory: Option<PathBuf>,
}

/// The path of an output, as its configuration has it.
pub(super) struct Destination {
    path: PathBuf,
    /// The leading part of it that the operator named.
    named: PathBuf,
}

impl Destination {
    /// The operator named `named`, which is the path or a directory above it; the author of the job may have named the
    /// rest.
    ///
    /// # Errors
    /// When it names no file.
    pub(super) fn new(path: &Path, named: &Path) -> Result<Self, OpenError> {
        let (path, named) = (std::path::absolute(path)?, std::path::absolute(named)?);
        let (Some(parent), Some(_)) = (path.parent(), path.file_name()) else { return Err(OpenError::NoName) };
        let named = if parent.starts_with(&named) { named } else { parent.to_owned() };
        Ok(Self { path, named })
    }

    /// As it is written, from the root on.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn is_device_name(&self) -> bool {
        DEVICES.iter().any(|devices| self.path.starts_with(devices))
    }

    /// Opens the file for appending, and makes it if it is not there. `before` is its directory when it was opened the
    /// first time. Never waits for the other end of a pipe.
    pub(super) fn open(&self, before: Option<&Path>) -> Result<Opened, OpenError> {
        if self.is_device_name() {
            return self.open_device();
        }
        let no_directory = |path: &Path| {
            let path = path.to_owned();
            |error| OpenError::NoDirectory { path, error }
        };
        let real = fs::canonicalize(&self.named).map_err(no_directory(&self.named))?;
        let parent = self.path.parent().ok_or(OpenError::NoName)?;
        let below = parent.strip_prefix(&self.named).map_err(|_| OpenError::NoName)?;
        let directory = real.join(below);
        if let Some(before) = before.filter(|before| *before != directory) {
            let (before, now) = (before.to_owned(), directory);
            return Err(OpenError::Moved { before, now, cure: String::new() });
        }
        let opened = walk(&directory)?;
        let name = self.path.file_name().ok_or(OpenError::NoName)?;
        for _ in 0..ATTEMPTS {
            if let Some((file, kind)) = open_in(&opened, Path::new(name), &directory.join(name))? {
                return Ok(Opened { file, kind, directory: Some(directory) });
            }
        }
        Err(OpenError::Io(io::Error::other("another program keeps replacing it")))
    }

    /// Of what is below `/dev` the name is meant, whatever it leads to: standard output may be a file.
    fn open_device(&self) -> Result<Opened, OpenError> {
        let flags = OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let as_stream = openat(CWD, &self.path, OFlags::WRONLY | flags, Mode::empty());
        let file = File::from(as_stream.map_err(|error| unopened(error, &self.path))?);
        let metadata = file.metadata()?;
        if metadata.file_type().is_file() {
            // Its end is looked at; where that is not allowed, it is only appended to.
            let reopened = openat(CWD, &self.path, OFlags::RDWR | flags, Mode::empty()).map(File::from);
            let same = reopened.ok().filter(|reopened| {
                reopened.metadata().is_ok_and(|other| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino()))
            });
            let kind = if same.is_some() { Kind::File } else { Kind::Stream };
            return Ok(Opened { file: blocking(same.unwrap_or(file))?, kind, directory: None });
        }
        if metadata.file_type().is_block_device() {
            return Err(OpenError::Unusable { path: self.path.clone(), kind: "a block device" });
        }
        Ok(Opened { file: blocking(file)?, kind: Kind::Stream, directory: None })
    }
}

/// Opens a directory from the root on, following no link.
fn walk(directory: &Path) -> Result<OwnedFd, OpenError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = open("/", flags, Mode::empty())?;
    let mut path = PathBuf::from("/");
    for part in directory.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::RootDir | Component::CurDir => continue,
            // Without links there is no way up.
            Component::ParentDir | Component::Prefix(_) => {
                return Err(OpenError::NoDirectory { path, error: io::ErrorKind::InvalidInput.into() });
            }
        };
        path.push(name);
        at = match openat(&at, name, flags, Mode::empty()) {
            Ok(next) => next,
            Err(_) if is_link(&at, Path::new(name)) => return Err(OpenError::Link(path)),
            Err(error) => return Err(OpenError::NoDirectory { path, error: error.into() }),
        };
    }
    Ok(at)
}

fn is_link(directory: &OwnedFd, name: &Path) -> bool {
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| kind_of(&stat) == FileType::Symlink)
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// `None`: it is not what it was a moment ago. `path` is for people.
fn open_in(directory: &OwnedFd, name: &Path, path: &Path) -> Result<Option<(File, Kind)>, OpenError> {
    let flags = OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let found = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => {
            let new = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            return match openat(directory, name, flags | new, NEW_FILE) {
                Ok(file) => {
                    keep_name(directory)?;
                    Ok(Some((blocking(file.into())?, Kind::File)))
                }
                Err(Errno::EXIST) => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    // Looked at before it is opened: opening alone may do things to a device, or wait.
    let unusable = |kind| Err(OpenError::Unusable { path: path.to_owned(), kind });
    let (kind, access) = match kind_of(&found) {
        FileType::RegularFile => (Kind::File, OFlags::RDWR),
        FileType::Fifo | FileType::CharacterDevice => (Kind::Stream, OFlags::WRONLY),
        FileType::Symlink => return Err(OpenError::Link(path.to_owned())),
        FileType::Directory => return unusable("a directory"),
        FileType::BlockDevice => return unusable("a block device"),
        FileType::Socket => return unusable("a socket"),
        FileType::Unknown => return unusable("of no known kind"),
    };
    match openat(directory, name, flags | access, Mode::empty()) {
        Ok(file) => {
            let stat = fstat(&file)?;
            let is_same = (stat.st_dev, stat.st_ino) == (found.st_dev, found.st_ino);
            Ok(if is_same { Some((blocking(file.into())?, kind)) } else { None })
        }
        // Removed, or replaced by a link.
        Err(Errno::NOENT | Errno::LOOP) => Ok(None),
        Err(error) => Err(unopened(error, path)),
    }
}

fn unopened(error: Errno, path: &Path) -> OpenError {
    match error {
        Errno::NXIO => OpenError::NoReader(path.to_owned()),
        error => error.into(),
    }
}

/// From now on a write waits: it was only the opening that must not.
fn blocking(file: File) -> io::Result<File> {
    fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

/// A new file is not durable before its name is.
fn keep_name(directory: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // A directory that may be written to and not be read cannot be forced to the disk.
    let Ok(readable) = openat(directory, ".", flags, Mode::empty()) else { return Ok(()) };
    match rustix::fs::fsync(&readable) {
        // Not every file system has a notion of it.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
