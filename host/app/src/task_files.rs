//! The files of a task directory, as `core::task_dir` wants them: listings with stamps, and contents that are known to
//! be whole or not. Blocking; decides nothing.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shardmill_core::module::hex;
use shardmill_core::rollout::Manner;
use shardmill_core::task_dir::{Stamp, is_cut_short, is_of_interest};
use shardmill_core::text;
use shardmill_runtime::sha256;

/// A file as it was read.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The file's after the reading; `None` when it is gone.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) bytes: Vec<u8>,
    /// Why it is not whole, if it is not.
    pub(crate) flaw: Option<String>,
    /// Whether there is nothing to look at, for the same reason.
    pub(crate) is_unreadable: bool,
    /// Of a module: how it is to be rolled out, as `shardmill deploy` left it.
    pub(crate) how: Manner,
}

impl Contents {
    /// Of a file that could not be looked at.
    pub(crate) fn unreadable(reason: &dyn std::fmt::Display) -> Self {
        let flaw = Some(format!("it cannot be read: {reason}"));
        Self { stamp: None, bytes: Vec::new(), flaw, is_unreadable: true, how: Manner::default() }
    }
}

/// What is in a task directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Those of interest.
    pub(crate) files: BTreeMap<String, Stamp>,
    /// What would be of interest if it were a file with a name, and why it is not.
    pub(crate) unusable: Vec<String>,
}

/// The files of interest in a directory. Symbolic links are followed, as Kubernetes' volumes are made of them.
pub(crate) fn list(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(directory)? {
        let file_name = entry?.file_name();
        let name = file_name.to_string_lossy().into_owned();
        if !is_of_interest(&name) {
            continue;
        }
        let flaw = match fs::metadata(directory.join(&file_name)) {
            _ if file_name.to_str().is_none() => "its name is not UTF-8: rename it",
            Ok(metadata) if metadata.is_file() => {
                listing.files.insert(name, stamp(&metadata));
                continue;
            }
            Ok(_) => "it is not a file",
            // Gone since.
            Err(_) if fs::symlink_metadata(directory.join(&file_name)).is_err() => continue,
            Err(_) => "it is a link to nothing",
        };
        listing.unusable.push(format!("{}: {flaw}", text::shown(&name)));
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
            let is_module = file.ends_with(".wasm");
            let flaw = is_module.then(|| flaw(&path, &bytes)).flatten();
            let how = if is_module { manner(&path, &bytes) } else { Manner::default() };
            Contents { stamp, bytes, flaw, is_unreadable: false, how }
        }
        Err(error) => Contents { stamp, ..Contents::unreadable(&error) },
    }
}

/// Puts a module into a task directory in one step, with how it is to be rolled out, if that is not left to the
/// configuration. The latter stands beside it, as `NAME.wasm.rollout`: so every host of the directory sees it, also one
/// that starts later; and with the module's hash, so that it never means another module.
///
/// # Errors
/// When it cannot be written; the old module stays.
pub fn deploy(directory: &Path, name: &str, wasm: &[u8], how: Manner) -> io::Result<()> {
    let path = directory.join(format!("{name}.wasm"));
    match how.word() {
        Some(word) => {
            let text = format!("{}  {word}\n", hex(&sha256(wasm)));
            replace(directory, &manner_file(&path), text.as_bytes())?;
        }
        None => match fs::remove_file(manner_file(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        },
    }
    replace(directory, &path, wasm)
}

fn manner_file(module: &Path) -> PathBuf {
    module.with_extension("wasm.rollout")
}

/// What is said of these bytes; of others, the configuration decides.
fn manner(module: &Path, wasm: &[u8]) -> Manner {
    let Ok(text) = fs::read_to_string(manner_file(module)) else { return Manner::default() };
    Manner::said_of(&hex(&sha256(wasm)), &text)
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

fn flaw(path: &Path, bytes: &[u8]) -> Option<String> {
    if is_cut_short(bytes) {
        return Some(format!("it ends in the middle of a section, after {} bytes: copy it again", bytes.len()));
    }
    let sums = path.with_extension("wasm.sha256");
    let text = fs::read_to_string(&sums).ok()?;
    // As sha256sum writes it: the sum, blanks, the file's name.
    let expected = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    let found = hex(&sha256(bytes));
    (expected != found).then(|| {
        format!("its SHA-256 is {found}, and {} says {expected}: copy both again, the module last", sums.display())
    })
}

fn stamp(metadata: &Metadata) -> Stamp {
    // Of the content, or of who may read it.
    let at = (metadata.mtime(), metadata.mtime_nsec()).max((metadata.ctime(), metadata.ctime_nsec()));
    let at = Duration::new(u64::try_from(at.0).unwrap_or(0), u32::try_from(at.1).unwrap_or(0));
    Stamp { bytes: metadata.len(), modified: at.as_nanos(), inode: metadata.ino() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_deploy_says_how_for_its_own_bytes_only() {
        let directory = tempfile::tempdir().unwrap();
        let how = |wasm: &[u8], how| {
            deploy(directory.path(), "orders", wasm, how).unwrap();
            read(directory.path(), "orders.wasm").how
        };
        assert_eq!(how(b"one", Manner::Canary), Manner::Canary);
        assert_eq!(how(b"two", Manner::All), Manner::All);
        assert_eq!(how(b"two", Manner::Configured), Manner::Configured);
        how(b"three", Manner::Canary);
        fs::write(directory.path().join("orders.wasm"), "a copy").unwrap();
        assert_eq!(read(directory.path(), "orders.wasm").how, Manner::Configured, "it is about other bytes");
        let listed = list(directory.path()).unwrap();
        assert_eq!(listed.files.into_keys().collect::<Vec<_>>(), ["orders.wasm"]);
    }

    /// It could not be read, and now it can: that is a change, although its content is as old as it was.
    #[test]
    fn who_may_read_a_file_is_a_part_of_its_stamp() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.wasm");
        fs::write(&path, "a").unwrap();
        let before = list(directory.path()).unwrap().files["a.wasm"];
        // The clock of the file system may be coarse.
        let is_changed = |mode: u32| {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600 + mode % 2)).unwrap();
            list(directory.path()).unwrap().files["a.wasm"] != before
        };
        assert!((0..1_000_000).any(is_changed));
    }

    #[test]
    fn what_cannot_be_a_module_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let name = std::ffi::OsString::from_vec(b"caf\xe9.wasm".to_vec());
        fs::write(directory.path().join(name), "a").unwrap();
        fs::create_dir(directory.path().join("directory.wasm")).unwrap();
        std::os::unix::fs::symlink("nothing", directory.path().join("link.wasm")).unwrap();
        let mut listing = list(directory.path()).unwrap();
        listing.unusable.sort();
        assert_eq!(
            listing.unusable,
            [
                "caf\u{fffd}.wasm: its name is not UTF-8: rename it",
                "directory.wasm: it is not a file",
                "link.wasm: it is a link to nothing",
            ]
        );
        assert_eq!(listing.files.len(), 0);
    }
}
