//! What is kept of the files that a job's outputs were written to, one small file each, in the directory where the job
//! keeps its state: no task and no other program has reason to write there. It is written when a file is opened and
//! says something new, never while lines are appended.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shardmill_core::appending::{FileId, Mark};
use shardmill_core::hex;
use shardmill_runtime::sha256;

use crate::task_files::replace;

/// Far more than two paths take.
const RECORD_MAX_BYTES: u64 = 64 << 10;
/// Digits of the hash that names a record, in bytes.
const NAME_BYTES: usize = 16;

/// Of one output file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Where the links of its path led when it was opened first.
    pub(super) directory: PathBuf,
    pub(super) mark: Mark,
}

/// As it is written. Numbers of devices and inodes mean something on one machine only.
#[derive(Serialize, Deserialize)]
struct Written {
    path: PathBuf,
    machine: String,
    directory: PathBuf,
    device: u64,
    inode: u64,
    born_ns: Option<u64>,
    ours_from: u64,
}

/// The records of a job. Without a directory nothing is kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records(Option<PathBuf>);

impl Records {
    pub(crate) fn in_directory(directory: Option<PathBuf>) -> Self {
        Self(directory)
    }

    /// The file of the record of this path.
    pub(super) fn file(&self, path: &Path) -> PathBuf {
        let hash = hex::encode(&sha256(path.as_os_str().as_encoded_bytes()));
        self.0.clone().unwrap_or_default().join(format!("{}.json", &hash[..NAME_BYTES * 2]))
    }

    /// What is known; nothing if that is damaged, or another machine's.
    pub(super) fn read(&self, path: &Path) -> Option<Record> {
        self.0.as_ref()?;
        let mut text = Vec::new();
        fs::File::open(self.file(path)).ok()?.take(RECORD_MAX_BYTES).read_to_end(&mut text).ok()?;
        let written: Written = serde_json::from_slice(&text).ok()?;
        let Written { device, inode, born_ns: born, ours_from: from, .. } = written;
        let mark = Mark { file: FileId { device, inode, born }, from };
        let is_ours = written.path == path && written.machine == machine();
        is_ours.then_some(Record { directory: written.directory, mark })
    }

    pub(super) fn write(&self, path: &Path, record: &Record) -> io::Result<()> {
        let Some(directory) = &self.0 else { return Ok(()) };
        let Mark { file, from } = record.mark;
        fs::create_dir_all(directory)?;
        let text = serde_json::to_vec_pretty(&Written {
            path: path.to_owned(),
            machine: machine(),
            directory: record.directory.clone(),
            device: file.device,
            inode: file.inode,
            born_ns: file.born,
            ours_from: from,
        })?;
        replace(directory, &self.file(path), &text)
    }
}

fn machine() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
