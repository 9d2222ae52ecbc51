//! What this process keeps in the file system and what it has granted to tasks: two lists that never overlap, whichever
//! comes first. They are the process's, as its view of the file system is: all jobs of a process are in them. Whether
//! two places overlap is decided by [`shardmill_core::own_files`]; this looks them up.

mod mounts;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use shardmill_core::own_files::{Identity, Overlap, Own, Place, kernel_file_system, overlap};

pub use shardmill_core::own_files::Role;

/// File systems of the kernel, where they usually are.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// A place in one of the lists, until this is dropped.
#[derive(Debug)]
pub struct Claim(u64);

#[derive(Default)]
struct Lists {
    last: u64,
    own: BTreeMap<u64, (Role, PathBuf)>,
    granted: BTreeMap<u64, PathBuf>,
}

static LISTS: Mutex<Lists> = Mutex::new(Lists { last: 0, own: BTreeMap::new(), granted: BTreeMap::new() });

fn lists() -> MutexGuard<'static, Lists> {
    LISTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lists {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut lists = lists();
        lists.own.remove(&self.0);
        lists.granted.remove(&self.0);
    }
}

/// Why a directory is not granted.
#[derive(Debug, thiserror::Error)]
pub enum NotGranted {
    #[error(transparent)]
    Overlap(#[from] Overlap),
    #[error("the directory {} cannot be granted: {} is {kind}, a file system of the kernel", granted.display(), at.display())]
    Kernel { granted: PathBuf, at: PathBuf, kind: String },
    #[error("cannot open the directory {}: {error}", directory.display())]
    NotThere { directory: PathBuf, error: io::Error },
    #[error(
        "the directory {} cannot be granted: below {}, which the operator allows, a link is on the way to it",
        directory.display(), operators.display()
    )]
    Link { directory: PathBuf, operators: PathBuf },
    #[error("the directory {} was replaced while it was opened", .0.display())]
    Replaced(PathBuf),
}

/// Keeps a place for the host: it is granted to nobody from now on. It need not exist yet.
///
/// # Errors
/// When a task that is alive was granted something that overlaps with it.
pub fn keep(role: Role, path: &Path) -> Result<Claim, Overlap> {
    let own = [Own { role: role.clone(), place: look_up(path) }];
    let id = {
        // Listed first and compared then: of two that come at the same time at least one sees the other.
        let mut lists = lists();
        let id = lists.next();
        lists.own.insert(id, (role, path.to_owned()));
        id
    };
    let claim = Claim(id);
    let granted: Vec<PathBuf> = lists().granted.values().cloned().collect();
    match granted.iter().find_map(|granted| overlap(&look_up(granted), &own)) {
        Some(overlap) => Err(overlap),
        None => Ok(claim),
    }
}

/// Whether a directory could be granted now, beside these places that are going to be the host's.
///
/// # Errors
/// Why not.
pub fn check(directory: &Path, planned: &[(Role, PathBuf)]) -> Result<(), NotGranted> {
    compare(&look_up(directory), planned)
}

/// Grants a directory to a task for as long as the claim lives. No link is followed below `operators`, which is a
/// directory above it or the directory itself.
pub(crate) fn grant(directory: &Path, operators: &Path) -> Result<(Claim, Place), NotGranted> {
    let id = {
        let mut lists = lists();
        let id = lists.next();
        lists.granted.insert(id, directory.to_owned());
        id
    };
    let claim = Claim(id);
    let place = look_up(directory);
    let below = directory.strip_prefix(operators).unwrap_or(Path::new(""));
    let unlinked =
        if below.as_os_str().is_empty() { place.path().to_owned() } else { look_up(operators).path().join(below) };
    if place.path() != unlinked {
        return Err(NotGranted::Link { directory: directory.to_owned(), operators: operators.to_owned() });
    }
    compare(&place, &[])?;
    Ok((claim, place))
}

/// Whether what was opened is what was compared, and of a kind that can be granted.
pub(crate) fn verify(place: &Place, opened: &File) -> Result<(), NotGranted> {
    let failed = |error: io::Error| NotGranted::NotThere { directory: place.path().to_owned(), error };
    let metadata = opened.metadata().map_err(failed)?;
    if place.identity() != Some(Identity { device: metadata.dev(), inode: metadata.ino() }) {
        return Err(NotGranted::Replaced(place.path().to_owned()));
    }
    let kind = rustix::fs::fstatfs(opened).map_err(|error| failed(error.into()))?.f_type;
    // The type of the field differs from machine to machine.
    #[allow(clippy::cast_sign_loss, clippy::useless_conversion, reason = "a number that is only compared")]
    let kind = kernel_file_system(kind as u64 & 0xffff_ffff);
    kind.map_or(Ok(()), |kind| {
        let at = place.path().to_owned();
        Err(NotGranted::Kernel { granted: at.clone(), at, kind: kind.to_owned() })
    })
}

fn compare(grant: &Place, planned: &[(Role, PathBuf)]) -> Result<(), NotGranted> {
    let mut all: Vec<(Role, PathBuf)> = lists().own.values().cloned().collect();
    all.extend_from_slice(planned);
    all.extend(KERNEL.map(|path| (Role::Kernel, PathBuf::from(path))));
    let own: Vec<Own> = all.into_iter().map(|(role, path)| Own { role, place: look_up(&path) }).collect();
    if let Some(overlap) = overlap(grant, &own) {
        return Err(overlap.into());
    }
    // Whatever is mounted below a directory is granted with it.
    let devices: Vec<u64> = own.iter().filter_map(|own| own.place.identity()).map(|identity| identity.device).collect();
    for mount in mounts::below(grant.path()) {
        if mounts::is_of_the_kernel(&mount.kind) {
            let granted = grant.path().to_owned();
            return Err(NotGranted::Kernel { granted, at: mount.path, kind: mount.kind });
        }
        // Another device has nothing of the host, and might be one that does not answer.
        if devices.contains(&mount.device)
            && let Some(overlap) = overlap(&look_up(&mount.path), &own)
        {
            return Err(Overlap { granted: grant.path().to_owned(), ..overlap }.into());
        }
    }
    Ok(())
}

/// The path without links, as far as it exists.
fn look_up(path: &Path) -> Place {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest = Vec::new();
    let mut existing = path.as_path();
    let real = loop {
        match fs::canonicalize(existing) {
            Ok(real) => break real,
            Err(_) => match (existing.parent(), existing.file_name()) {
                (Some(parent), Some(name)) => {
                    rest.push(name);
                    existing = parent;
                }
                _ => break existing.to_owned(),
            },
        }
    };
    let real = rest.iter().rev().fold(real, |path, name| path.join(name));
    Place::new(real, |path| {
        let metadata = fs::symlink_metadata(path).ok()?;
        Some(Identity { device: metadata.dev(), inode: metadata.ino() })
    })
}

#[cfg(test)]
mod tests;
