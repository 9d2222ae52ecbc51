//! Reads files that other programs may write or replace. Checks after opening that the file is a regular one, and reads no
//! more than its kind of file may hold: a pipe, a device or an endless file neither blocks nor fills the memory. This is
//! the only way in which this program reads a file of a task or state directory. Blocking: the file system may hang.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The largest module.
pub const MODULE_MAX_BYTES: u64 = 128 << 20;
/// The largest properties file of a job.
pub const PROPERTIES_MAX_BYTES: u64 = 1 << 20;
/// The largest checksum or rollout file.
pub const SMALL_MAX_BYTES: u64 = 4 << 10;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is {0}, not a regular file")]
    NotAFile(&'static str),
    #[error("it is larger than {max} bytes")]
    TooLarge { max: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether reading the same file may succeed later: the machine failed, not the file.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Io(_))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// A file's content, and the metadata of the opened file after it was read.
#[derive(Debug)]
pub struct Content {
    pub bytes: Vec<u8>,
    pub metadata: Metadata,
}

/// Opens a regular file for reading. Links are followed, as Kubernetes' volumes are made of them.
///
/// # Errors
/// When it cannot be opened, or is not a regular file.
pub fn open(path: &Path) -> Result<(File, Metadata), Error> {
    // A pipe without a writer would block the opening; a terminal must not become this process's own.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata)),
        false => Err(Error::NotAFile(kind(&metadata))),
    }
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// When it cannot be read, is not a regular file, or is larger, also when it grows while it is read.
pub fn read(path: &Path, max: u64) -> Result<Content, Error> {
    let (file, metadata) = open(path)?;
    read_opened(&file, &metadata, max)
}

/// Reads an opened file from its current position.
///
/// # Errors
/// As [`read`].
pub fn read_opened(file: &File, metadata: &Metadata, max: u64) -> Result<Content, Error> {
    if metadata.len() > max {
        return Err(Error::TooLarge { max });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(Error::TooLarge { max });
    }
    Ok(Content { bytes, metadata: file.metadata()? })
}

/// Reads a small file as text.
///
/// # Errors
/// As [`read`]; also when it is not UTF-8.
pub fn read_text(path: &Path, max: u64) -> Result<String, Error> {
    let bytes = read(path, max)?.bytes;
    String::from_utf8(bytes).map_err(|error| Error::Io(io::Error::new(io::ErrorKind::InvalidData, error)))
}

fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_that_is_not_regular_neither_blocks_nor_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        let endless = directory.path().join("endless");
        symlink("/dev/zero", &endless).unwrap();
        for (path, what) in [(&pipe, "a pipe"), (&endless, "a device"), (&directory.path().to_owned(), "a directory")] {
            let error = read(path, 10).unwrap_err();
            assert_eq!(error.to_string(), format!("it is {what}, not a regular file"));
            assert!(!error.may_pass());
        }
    }

    #[test]
    fn no_more_is_read_than_a_file_may_hold() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "0123456789").unwrap();
        assert_eq!(read(&path, 10).unwrap().bytes, b"0123456789");
        assert_eq!(read(&path, 9).unwrap_err().to_string(), "it is larger than 9 bytes");
        // It grew after it was opened.
        let (file, before) = open(&path).unwrap();
        std::fs::write(&path, "0123456789a").unwrap();
        assert!(matches!(read_opened(&file, &before, 10), Err(Error::TooLarge { max: 10 })));
        // Its size is not reported, as for a file of /proc.
        assert!(matches!(read(Path::new("/proc/self/status"), 10), Err(Error::TooLarge { max: 10 })));
    }

    #[test]
    fn a_missing_file_is_distinguished_from_a_bad_one() {
        let error = read(Path::new("/nonexistent/file"), 10).unwrap_err();
        assert!(error.is_not_found() && error.may_pass());
    }
}
