//! The content of the directories that a job's task may write to: bytes by the lengths of files, and names. Owns an upper
//! bound of both, which is cheap to maintain, and the scan that finds the exact figures when the bound is reached. The
//! scan also releases what has been deleted, by any process.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long a scan may take. A content that takes longer to count is over the limit.
const SCAN_TIME: Duration = Duration::from_secs(2);

/// The usage of one job; its instances share it.
#[derive(Clone, Default)]
pub struct FileUsage(Arc<Mutex<Usage>>);

#[derive(Default)]
struct Usage {
    /// An upper bound, since the first scan.
    used: Option<Amount>,
    /// The sum of all reservations ever made.
    reserved: Amount,
    /// How often a file was truncated, which invalidates a known length.
    cuts: u64,
    /// Files that tasks have opened. A deleted file occupies the disk until it is closed.
    opened: Vec<Weak<File>>,
    /// The number of opened files at which closed ones are pruned next.
    prune_at: usize,
}

/// An amount of bytes and names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), files: self.files.saturating_add(other.files) }
    }

    fn minus(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_sub(other.bytes), files: self.files.saturating_sub(other.files) }
    }
}

/// The limit that a reservation exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Nothing has been counted yet.
    NotCounted,
    Bytes,
    Files,
}

impl FileUsage {
    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an amount, unless the sum would exceed `max`.
    pub(super) fn reserve(&self, amount: Amount, max: Amount) -> Result<(), Over> {
        let mut usage = self.lock();
        let then = usage.used.ok_or(Over::NotCounted)?.plus(amount);
        // A kind that is not added to is not checked.
        if amount.bytes > 0 && then.bytes > max.bytes {
            return Err(Over::Bytes);
        }
        if amount.files > 0 && then.files > max.files {
            return Err(Over::Files);
        }
        usage.used = Some(then);
        usage.reserved = usage.reserved.plus(amount);
        Ok(())
    }

    /// Releases an amount that does not exist, or no longer exists.
    pub(super) fn give_back(&self, amount: Amount) {
        let mut usage = self.lock();
        usage.used = usage.used.map(|used| used.minus(amount));
    }

    /// A file was truncated.
    pub(super) fn cut(&self) {
        self.lock().cuts += 1;
    }

    pub(super) fn cuts(&self) -> u64 {
        self.lock().cuts
    }

    pub(super) fn opened(&self, file: &Arc<File>) {
        let mut usage = self.lock();
        if usage.opened.len() >= usage.prune_at {
            usage.opened.retain(|file| file.strong_count() > 0);
            usage.prune_at = (usage.opened.len() * 2).max(64);
        }
        usage.opened.push(Arc::downgrade(file));
    }

    /// Counts the content. Blocking.
    ///
    /// # Errors
    /// When the content cannot be counted, or not in time.
    pub(super) fn count(&self, directories: &[PathBuf]) -> io::Result<()> {
        let (before, opened) = {
            let usage = self.lock();
            (usage.reserved, usage.opened.iter().filter_map(Weak::upgrade).collect::<Vec<_>>())
        };
        let counted = scan(directories, &opened)?;
        let mut usage = self.lock();
        // The scan may have missed reservations made during it.
        let meanwhile = usage.reserved.minus(before);
        usage.used = Some(counted.plus(meanwhile));
        Ok(())
    }
}

/// Everything in these directories, and the deleted files that are still open.
fn scan(directories: &[PathBuf], opened: &[Arc<File>]) -> io::Result<Amount> {
    let began = Instant::now();
    let (mut all, mut several) = (Amount::default(), HashSet::new());
    let mut left = directories.to_vec();
    while let Some(directory) = left.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            // Another process deleted it during the scan.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            if began.elapsed() > SCAN_TIME {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            all.files += 1;
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.nlink() < 2 || several.insert((metadata.dev(), metadata.ino())) {
                all.bytes = all.bytes.saturating_add(metadata.len());
            }
        }
    }
    for file in opened {
        let metadata = file.metadata()?;
        if metadata.nlink() == 0 && several.insert((metadata.dev(), metadata.ino())) {
            all.bytes = all.bytes.saturating_add(metadata.len());
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Amount = Amount { bytes: 1000, files: 10 };

    fn bytes(bytes: u64) -> Amount {
        Amount { bytes, files: 0 }
    }

    #[test]
    fn content_counts_by_length_recursively_and_no_file_twice() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        File::create(dir.path().join("below/sparse")).unwrap().set_len(1 << 40).unwrap();
        fs::write(dir.path().join("a"), [0; 10]).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        let counted = scan(&[dir.path().to_owned()], &[]).unwrap();
        assert_eq!(counted, Amount { bytes: (1 << 40) + 10 + 1, files: 5 }, "a link counts with its text");
    }

    #[test]
    fn nothing_is_reserved_before_the_first_count_nor_beyond_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let usage = FileUsage::default();
        assert_eq!(usage.reserve(bytes(1), MAX), Err(Over::NotCounted));
        fs::write(dir.path().join("a"), [0; 400]).unwrap();
        usage.count(&[dir.path().to_owned()]).unwrap();
        assert_eq!(usage.reserve(bytes(601), MAX), Err(Over::Bytes));
        assert_eq!(usage.reserve(bytes(600), MAX), Ok(()));
        assert_eq!(usage.reserve(Amount { bytes: 0, files: 9 }, MAX), Ok(()));
        assert_eq!(usage.reserve(Amount { bytes: 0, files: 1 }, MAX), Err(Over::Files));
        assert_eq!(usage.reserve(bytes(u64::MAX), MAX), Err(Over::Bytes));
    }

    #[test]
    fn the_next_count_releases_deleted_files_unless_they_are_still_open() {
        let dir = tempfile::tempdir().unwrap();
        let usage = FileUsage::default();
        let path = dir.path().join("a");
        let file = Arc::new(File::create(&path).unwrap());
        file.set_len(1000).unwrap();
        usage.opened(&file);
        let count = || usage.count(&[dir.path().to_owned()]).unwrap();
        fs::remove_file(&path).unwrap();
        count();
        assert_eq!(usage.reserve(bytes(1), MAX), Err(Over::Bytes), "its bytes are still on the disk");
        drop(file);
        count();
        assert_eq!(usage.reserve(bytes(1000), MAX), Ok(()));
    }
}
