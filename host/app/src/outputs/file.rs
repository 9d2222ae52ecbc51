//! JSON lines appended to a file; durable means fsync. Owns how a file is gone on with: what is cut of it, and what is
//! not. The rule is [`shardmill_core::appending`].

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use shardmill_core::appending::{FileId, First, Found, Mark, first, mark};
use tracing::warn;

use super::OutputSystem;
use super::destination::{Destination, Kind, OpenError};
use super::lines::Lines;
use super::record::{Record, Records};

/// Bytes of a file's end that are searched for the last whole line: a message of 10 MiB in base64, and some.
const TAIL_MAX: u64 = 16 << 20;

/// How long another writer may take to finish the line that it is writing, and the pause between two looks.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

pub(super) struct AppendedFile {
    lines: Lines<File>,
    /// Pipes and devices have nothing to make durable.
    is_durable: bool,
}

impl AppendedFile {
    /// Opens or creates the file, of whose path the operator named the leading part `operators`. An unfinished line is cut if `records` know the file as ours, and ended otherwise.
    /// May block for [`PATIENCE`].
    pub(super) fn open(path: &Path, operators: &Path, records: &Records) -> Result<Self, OpenError> {
        let destination = Destination::new(path, operators)?;
        let before = records.read(destination.path());
        let opened = destination.open(before.as_ref().map(|record| record.directory.as_path()));
        let opened = opened.map_err(|error| match error {
            moved @ OpenError::Moved { .. } => moved.with_cure(&records.file(destination.path())),
            error => error,
        })?;
        if opened.kind != Kind::File {
            return Ok(Self { lines: Lines::to(opened.file), is_durable: false });
        }
        let mut file = opened.file;
        let known = before.as_ref().map(|record| record.mark);
        let mark = begin(&mut file, known.as_ref())?;
        if let Some(directory) = opened.directory {
            let now = Record { directory, mark };
            if before.as_ref() != Some(&now)
                && let Err(error) = records.write(destination.path(), &now)
            {
                // Without it the file is nobody's at the next start: nothing of it is cut.
                warn!(file = %path.display(), %error, "failed to keep which output file was written");
            }
        }
        Ok(Self { lines: Lines::to(file), is_durable: true })
    }
}

/// Makes the file end with a whole line, and says from where on the next ones are ours. It is locked, shared with
/// other writers, until it is closed.
fn begin(file: &mut File, known: Option<&Mark>) -> io::Result<Mark> {
    let until = Instant::now() + PATIENCE;
    loop {
        // Held together with the lock of any other writer, this one would fail.
        let is_alone = flock(&*file, FlockOperation::NonBlockingLockExclusive).is_ok();
        match look(file, known, is_alone)? {
            First::Nothing => break,
            First::Cut(length) => {
                file.set_len(length)?;
                break;
            }
            First::Newline if is_alone || Instant::now() >= until => {
                file.write_all(b"\n")?;
                break;
            }
            First::Newline => std::thread::sleep(PAUSE),
        }
    }
    // A file system without locks has one writer, as far as anybody knows.
    flock(&*file, FlockOperation::LockShared).unwrap_or_default();
    let (id, metadata) = identify(file)?;
    Ok(mark(id, metadata.len(), known))
}

fn look(file: &mut File, known: Option<&Mark>, is_alone: bool) -> io::Result<First> {
    let (id, metadata) = identify(file)?;
    let length = metadata.len();
    let looked_at = length.min(TAIL_MAX);
    file.seek(SeekFrom::Start(length - looked_at))?;
    let mut tail = Vec::new();
    io::Read::by_ref(file).take(looked_at).read_to_end(&mut tail)?;
    Ok(first(&Found { file: id, links: metadata.nlink(), length, tail: &tail, is_alone }, known))
}

fn identify(file: &File) -> io::Result<(FileId, std::fs::Metadata)> {
    let metadata = file.metadata()?;
    let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let born = born.and_then(|since| u64::try_from(since.as_nanos()).ok());
    Ok((FileId { device: metadata.dev(), inode: metadata.ino(), born }, metadata))
}

impl OutputSystem for AppendedFile {
    fn write(&mut self, stream: &str, key: Option<&str>, message: &[u8]) -> io::Result<()> {
        self.lines.push(stream, key, message)
    }

    fn show(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()?;
        if self.is_durable { self.lines.inner().sync_data() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
