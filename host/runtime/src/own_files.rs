//! The paths that this process reserves for itself and those that it has granted to tasks: two lists that never overlap,
//! whichever entry comes first. There is one pair per process, for all its jobs, as they share its view of the file
//! system. [`shardmill_core::own_files`] decides whether two paths overlap; this file resolves them.

mod mounts;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use shardmill_core::own_files::{Identity, Overlap, Own, Place, kernel_file_system, overlap};

pub use shardmill_core::own_files::Role;

/// The usual mount points of the kernel's file systems.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// An entry in one of the lists, removed when this is dropped.
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

/// Why a directory cannot be granted.
#[derive(Debug, thiserror::Error)]
pub enum NotGranted {
    #[error(transparent)]
    Overlap(#[from] Overlap),
    #[error("the directory {} cannot be granted: {} is {kind}, a file system of the kernel", granted.display(), at.display())]
    Kernel { granted: PathBuf, at: PathBuf, kind: String },
    #[error("cannot open the directory {}: {error}", directory.display())]
    NotThere { directory: PathBuf, error: io::Error },
    #[error(
        "the directory {} cannot be granted: its path contains a link below {}, which the operator allows",
        directory.display(), operators.display()
    )]
    Link { directory: PathBuf, operators: PathBuf },
    #[error("the directory {} was replaced while it was opened", .0.display())]
    Replaced(PathBuf),
}

/// Reserves a path for the host: from now on it is granted to no task. It need not exist yet.
///
/// # Errors
/// When a live task has been granted a directory that overlaps with it.
pub fn keep(role: Role, path: &Path) -> Result<Claim, Overlap> {
    let own = [Own { role: role.clone(), place: look_up(path) }];
    let id = {
        // Add the entry before comparing: of two concurrent claims at least one sees the other.
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

/// Checks that a directory could be granted now, also considering paths that the host is going to reserve.
///
/// # Errors
/// Why it cannot be granted.
pub fn check(directory: &Path, planned: &[(Role, PathBuf)]) -> Result<(), NotGranted> {
    compare(&look_up(directory), planned)
}

/// Grants a directory to a task for as long as the claim lives. Below `operators`, which is a parent of the directory or
/// the directory itself, links are not followed.
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

/// Checks that the opened directory is the one that was compared, and of a kind that can be granted.
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
    // A grant of a directory includes whatever is mounted below it.
    let devices: Vec<u64> = own.iter().filter_map(|own| own.place.identity()).map(|identity| identity.device).collect();
    for mount in mounts::below(grant.path()) {
        if mounts::is_of_the_kernel(&mount.kind) {
            let granted = grant.path().to_owned();
            return Err(NotGranted::Kernel { granted, at: mount.path, kind: mount.kind });
        }
        // Another device contains nothing of the host, and might not respond.
        if devices.contains(&mount.device)
            && let Some(overlap) = overlap(&look_up(&mount.path), &own)
        {
            return Err(Overlap { granted: grant.path().to_owned(), ..overlap }.into());
        }
    }
    Ok(())
}

/// The path with links resolved, as far as it exists.
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
