//! The files of a task directory, as `core::task_dir` needs them: listings with stamps, and contents that are known to
//! be complete or not. Blocking; decides nothing.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shardmill_core::module::ModuleId;
use shardmill_core::rollout::Manner;
use shardmill_core::task_dir::{Reading, Stamp, is_beside_a_module, is_cut_short, is_of_interest, why_passed_over};
use shardmill_core::text;
use shardmill_runtime::{Engine, module_id};

use crate::bounded_file::{self, MODULE_MAX_BYTES, PROPERTIES_MAX_BYTES, SMALL_MAX_BYTES};

/// How many names a list of ignored or unusable files shows.
const PASSED_OVER_MAX: usize = 20;

/// Stands for the hash of a file that was not read.
pub(crate) const UNREAD: ModuleId = ModuleId::of_sha256([0; 32]);

/// A file as it was read.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The file's stamp after it was read; `None` when the file no longer exists.
    pub(crate) stamp: Option<Stamp>,
    /// Empty if the file has a flaw.
    pub(crate) bytes: Vec<u8>,
    /// The hash of the bytes that were read.
    pub(crate) id: ModuleId,
    /// Why the file cannot be used as it is.
    pub(crate) flaw: Option<String>,
    pub(crate) reading: Reading,
    /// For a module: the rollout strategy that `shardmill deploy` left beside it.
    pub(crate) how: Manner,
    /// The file beside the module that is not used, and why.
    pub(crate) unused: Option<String>,
}

/// The content of a task directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The files of interest.
    pub(crate) files: BTreeMap<String, Stamp>,
    /// The files that would be of interest if their names could be used, each with the reason.
    pub(crate) unusable: Vec<String>,
    /// The files that belong to no job, each with the reason; the first few.
    pub(crate) passed_over: Vec<String>,
    /// The identity of the directory: its device and inode.
    pub(crate) directory: (u64, u64),
}

/// Lists the files of interest in a directory. Follows symbolic links, because Kubernetes' volumes consist of them.
pub(crate) fn list(directory: &Path) -> io::Result<Listing> {
    let metadata = fs::metadata(directory)?;
    let mut listing = Listing { directory: (metadata.dev(), metadata.ino()), ..Listing::default() };
    for entry in fs::read_dir(directory)? {
        let file_name = entry?.file_name();
        let name = file_name.to_string_lossy().into_owned();
        // Temporary files of copy programs and editors, and this program's own.
        if name.starts_with('.') || is_beside_a_module(&name) && !is_of_interest(&name) {
            continue;
        }
        let metadata = fs::metadata(directory.join(&file_name));
        let is_file = metadata.as_ref().is_ok_and(Metadata::is_file);
        if !is_of_interest(&name) {
            listing.passed_over.push(format!("{}: {}", text::shown(&name), why_passed_over(&name, is_file)));
            continue;
        }
        let flaw = match metadata.or_else(|_| fs::symlink_metadata(directory.join(&file_name))) {
            _ if file_name.to_str().is_none() => "its name is not UTF-8: rename it",
            _ if name.chars().any(text::is_hidden) => "its name contains invisible characters: rename it",
            // Whatever the file is: reading it reports what is wrong with it.
            Ok(metadata) => {
                listing.files.insert(name, stamp(&metadata));
                continue;
            }
            // It has been removed since.
            Err(_) => continue,
        };
        listing.unusable.push(format!("{}: {flaw}", text::shown(&name)));
    }
    for names in [&mut listing.unusable, &mut listing.passed_over] {
        names.sort();
        let more = names.len().saturating_sub(PASSED_OVER_MAX);
        names.truncate(PASSED_OVER_MAX);
        names.extend((more > 0).then(|| format!("and {more} more")));
    }
    Ok(listing)
}

/// Reads a file into memory once. A file is never mapped: truncating a mapped file would kill the process.
pub(crate) fn read(directory: &Path, file: &str) -> Contents {
    let path = directory.join(file);
    let is_module = file.ends_with(".wasm");
    let max = match file {
        _ if is_module => MODULE_MAX_BYTES,
        _ if file.ends_with(".properties") => PROPERTIES_MAX_BYTES,
        _ => SMALL_MAX_BYTES,
    };
    let content = match bounded_file::read(&path, max) {
        Ok(content) => content,
        Err(error) => return unread(&path, &error),
    };
    let stamp = Some(stamp(&content.metadata));
    let id = module_id(&content.bytes);
    if !is_module {
        return Contents { stamp, id, ..Contents::whole(content.bytes) };
    }
    if let Some((flaw, reading)) = flaw(&path, &content.bytes, id) {
        return Contents { stamp, id, flaw: Some(flaw), reading, ..Contents::whole(Vec::new()) };
    }
    let (how, unused) = match manner(&path, id) {
        Ok(how) => (how, None),
        Err(error) => {
            let file = manner_file(&path);
            (Manner::default(), Some(format!("{} is not used: {error}", file.display())))
        }
    };
    Contents { stamp, id, how, unused, ..Contents::whole(content.bytes) }
}

/// A file that could not be read.
fn unread(path: &Path, error: &bounded_file::Error) -> Contents {
    let is_link = error.is_not_found();
    let metadata = if is_link { fs::symlink_metadata(path) } else { fs::metadata(path) };
    let stamp = metadata.ok().map(|metadata| stamp(&metadata));
    let (flaw, reading) = match error {
        // A link may be created before its target.
        _ if is_link => ("it is a link to a missing file".to_owned(), Reading::CutShort),
        error if error.may_pass() => (format!("it cannot be read: {error}"), Reading::Unreadable),
        error => (error.to_string(), Reading::Whole),
    };
    Contents { stamp, flaw: Some(flaw), reading, ..Contents::whole(Vec::new()) }
}

impl Contents {
    /// For a file that could not be examined.
    pub(crate) fn unreadable(reason: &dyn std::fmt::Display) -> Self {
        let flaw = Some(format!("it cannot be read: {reason}"));
        Self { flaw, reading: Reading::Unreadable, ..Self::whole(Vec::new()) }
    }

    fn whole(bytes: Vec<u8>) -> Self {
        let (reading, how) = (Reading::Whole, Manner::default());
        Self { stamp: None, bytes, id: UNREAD, flaw: None, reading, how, unused: None }
    }
}

/// Puts a module into a task directory atomically, with its rollout strategy if that overrides the configuration. The
/// strategy is written to `NAME.wasm.rollout` beside the module, so that every host of the directory sees it, also one
/// that starts later. It carries the module's hash, so that it never applies to another module.
///
/// # Errors
/// When the module cannot be written; the old module stays.
pub fn deploy(directory: &Path, name: &str, wasm: &[u8], how: Manner) -> io::Result<()> {
    let path = directory.join(format!("{name}.wasm"));
    match how.word() {
        Some(word) => {
            let text = format!("{}  {word}\n", module_id(wasm));
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

/// The strategy for a module with this hash; for others the configuration decides.
fn manner(module: &Path, id: ModuleId) -> Result<Manner, bounded_file::Error> {
    match bounded_file::read_text(&manner_file(module), SMALL_MAX_BYTES) {
        Ok(text) => Ok(Manner::said_of(id, &text)),
        Err(error) if error.is_not_found() => Ok(Manner::default()),
        Err(error) => Err(error),
    }
}

/// Writes a temporary file, then renames it: readers see the old file or the new one, also after a power failure.
///
/// # Errors
/// When the file cannot be written; the old file stays.
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

/// What is wrong with the file of a module, apart from its content, and whether the file may still become complete.
fn flaw(path: &Path, bytes: &[u8], id: ModuleId) -> Option<(String, Reading)> {
    if is_cut_short(bytes) {
        let cut = || format!("it ends in the middle of a section, after {} bytes: copy it again", bytes.len());
        // The header may give a better reason.
        let flaw = Engine::check_header(&name(path), bytes).map_or_else(|error| error.to_string(), |()| cut());
        return Some((flaw, Reading::CutShort));
    }
    let sums = path.with_extension("wasm.sha256");
    let text = match bounded_file::read_text(&sums, SMALL_MAX_BYTES) {
        Ok(text) => text,
        Err(error) if error.is_not_found() => return None,
        Err(error) => {
            let reading = if error.may_pass() { Reading::Unreadable } else { Reading::CutShort };
            return Some((
                format!("its checksum {} cannot be used: {error}; replace or remove it", sums.display()),
                reading,
            ));
        }
    };
    // The format of sha256sum: the sum, blanks, the file's name.
    let expected = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    let found = id.to_string();
    let differs = || {
        let expected: String = expected.chars().take(found.len()).collect();
        let sums = sums.display();
        format!("its SHA-256 is {found}, and {sums} says {}: copy both again, the module last", expected.escape_debug())
    };
    (expected != found).then(|| (differs(), Reading::CutShort))
}

fn name(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn stamp(metadata: &Metadata) -> Stamp {
    // The later change: of the content, or of the permissions.
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
    fn a_rollout_file_applies_to_its_own_module_only() {
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

    /// A file that becomes readable has changed, although its content has not.
    #[test]
    fn the_stamp_of_a_file_includes_its_permissions() {
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
    fn files_that_cannot_be_modules_are_reported() {
        let directory = tempfile::tempdir().unwrap();
        let name = std::ffi::OsString::from_vec(b"caf\xe9.wasm".to_vec());
        fs::write(directory.path().join(name), "a").unwrap();
        fs::write(directory.path().join("a\u{1b}[2J.wasm"), "a").unwrap();
        fs::create_dir(directory.path().join("directory.wasm")).unwrap();
        std::os::unix::fs::symlink("nothing", directory.path().join("link.wasm")).unwrap();
        let mut listing = list(directory.path()).unwrap();
        listing.unusable.sort();
        assert_eq!(
            listing.unusable,
            [
                "a\\u{1b}[2J.wasm: its name contains invisible characters: rename it",
                "caf\u{fffd}.wasm: its name is not UTF-8: rename it",
            ]
        );
        assert_eq!(listing.files.into_keys().collect::<Vec<_>>(), ["directory.wasm", "link.wasm"]);
        let flaw = |file: &str| read(directory.path(), file).flaw.unwrap();
        assert_eq!(flaw("directory.wasm"), "it is a directory, not a regular file");
        assert_eq!(flaw("link.wasm"), "it is a link to a missing file");
        assert!(read(directory.path(), "missing.wasm").stamp.is_none());
    }

    #[test]
    fn ignored_files_are_listed_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["CAPS.WASM", "x.Wasm", "orders.wasm.bak", "readme.md", ".hidden", "a.wasm", "a.wasm.rollout"];
        names.iter().for_each(|name| fs::write(directory.path().join(name), "a").unwrap());
        fs::create_dir(directory.path().join("old")).unwrap();
        let listing = list(directory.path()).unwrap();
        assert_eq!(
            listing.passed_over,
            [
                "CAPS.WASM: its ending is not .wasm: rename it to CAPS.wasm if it is a module",
                "old: it is a directory: modules are looked for in the task directory only",
                "orders.wasm.bak: its ending is not .wasm, .wasm.sha256 or .properties",
                "readme.md: its ending is not .wasm, .wasm.sha256 or .properties",
                "x.Wasm: its ending is not .wasm: rename it to x.wasm if it is a module",
            ]
        );
        assert_eq!(listing.files.into_keys().collect::<Vec<_>>(), ["a.wasm"]);
        (0..100).for_each(|number| fs::write(directory.path().join(format!("{number}.bak")), "a").unwrap());
        assert_eq!(list(directory.path()).unwrap().passed_over.len(), PASSED_OVER_MAX + 1);
    }

    /// A bad file beside a module costs none of its versions.
    #[test]
    fn a_pipe_or_an_endless_file_beside_a_module_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a.wasm"), "a module").unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("a.wasm.rollout"), rustix::fs::Mode::RUSR).unwrap();
        let contents = read(directory.path(), "a.wasm");
        assert_eq!((contents.bytes.as_slice(), contents.flaw), (&b"a module"[..], None));
        assert!(contents.unused.unwrap().ends_with("a.wasm.rollout is not used: it is a pipe, not a regular file"));

        std::os::unix::fs::symlink("/dev/zero", path("a.wasm.sha256")).unwrap();
        let contents = read(directory.path(), "a.wasm");
        assert!(contents.flaw.unwrap().contains("it is a device, not a regular file; replace or remove it"));
        assert_eq!(contents.bytes.len(), 0, "what cannot be used is not kept");
        assert_eq!(contents.id, module_id(b"a module"));
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        for (name, max) in [("a.wasm", MODULE_MAX_BYTES), ("a.properties", PROPERTIES_MAX_BYTES)] {
            File::create(directory.path().join(name)).unwrap().set_len(max + 1).unwrap();
            let contents = read(directory.path(), name);
            assert_eq!(contents.flaw, Some(format!("it is larger than {max} bytes")));
            assert_eq!((contents.reading, contents.bytes.capacity()), (Reading::Whole, 0));
        }
    }
}
