//! The files of a task directory, as `core::task_dir` wants them: listings with stamps, and contents that are known to
//! be whole or not. Blocking; decides nothing.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};
use shardmill_core::jobs::Hash;
use shardmill_core::task_dir::{Stamp, is_cut_short, is_of_interest};

/// A file as it was read.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The file's after the reading; `None` when it is gone.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) bytes: Vec<u8>,
    /// Why it is not whole, if it is not.
    pub(crate) flaw: Option<String>,
}

/// The files of interest in a directory. Symbolic links are followed, as Kubernetes' volumes are made of them.
pub(crate) fn list(directory: &Path) -> io::Result<BTreeMap<String, Stamp>> {
    let mut listing = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if !is_of_interest(&name) {
            continue;
        }
        // A link to nowhere, or gone since: not there.
        if let Ok(metadata) = fs::metadata(directory.join(&name))
            && metadata.is_file()
        {
            listing.insert(name, stamp(&metadata));
        }
    }
    Ok(listing)
}

/// Reads a file into memory once; it is never mapped, for a mapped file that is cut short ends the process.
pub(crate) fn read(directory: &Path, file: &str) -> Contents {
    let path = directory.join(file);
    let bytes = fs::read(&path);
    let stamp = fs::metadata(&path).ok().map(|metadata| stamp(&metadata));
    match bytes {
        Ok(bytes) => {
            let flaw = file.ends_with(".wasm").then(|| flaw(&path, &bytes)).flatten();
            Contents { stamp, bytes, flaw }
        }
        Err(error) => Contents { stamp, bytes: Vec::new(), flaw: Some(format!("it cannot be read: {error}")) },
    }
}

/// Writes beside the file, then renames: whoever looks sees the old file or the new one, also after a loss of power.
///
/// # Errors
/// When it cannot be written; the old file stays.
pub fn replace(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = directory.join(format!(".{}-{}.part", std::process::id(), uuid::Uuid::new_v4().simple()));
    let written = File::create_new(&partial)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&partial, path))
        .and_then(|()| File::open(directory)?.sync_all());
    if written.is_err() {
        drop(fs::remove_file(&partial));
    }
    written
}

/// SHA-256 of a file's bytes.
pub fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// A hash as people write it.
pub fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn flaw(path: &Path, bytes: &[u8]) -> Option<String> {
    if is_cut_short(bytes) {
        return Some(format!("it ends in the middle of a section, after {} bytes: copy it again", bytes.len()));
    }
    let sums = path.with_extension("wasm.sha256");
    let text = fs::read_to_string(&sums).ok()?;
    // As sha256sum writes it: the sum, blanks, the file's name.
    let expected = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    let found = hex(&hash(bytes));
    (expected != found).then(|| {
        format!("its SHA-256 is {found}, and {} says {expected}: copy both again, the module last", sums.display())
    })
}

fn stamp(metadata: &Metadata) -> Stamp {
    let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Stamp { bytes: metadata.len(), modified: modified.map_or(0, |at| at.as_nanos()), inode: metadata.ino() }
}
