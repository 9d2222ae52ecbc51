//! Whether a directory that a task is granted and a place that the host keeps for itself overlap. Pure: how places are
//! looked up is the caller's business.
//!
//! Two directories are compared by their paths without links, and by the identity (device and inode) of each directory
//! on the way: a bind mount gives a directory another path, never another identity.

use std::fmt;
use std::path::{Path, PathBuf};

/// What a directory is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
}

/// Where something is, or will be: a path without links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    /// Of the path and of each directory above it, from the inside out; `None` where nothing exists yet.
    identities: Vec<Option<Identity>>,
}

impl Place {
    /// `identify` is asked for the path and each directory above it.
    pub fn new(path: PathBuf, mut identify: impl FnMut(&Path) -> Option<Identity>) -> Self {
        let identities = path.ancestors().map(&mut identify).collect();
        Self { path, identities }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Of the path itself; `None` when nothing is there.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.identities.first().copied().flatten()
    }

    /// Whether this is the other, or lies in it.
    fn is_in(&self, other: &Self) -> bool {
        let is_there = other.identity().is_some_and(|identity| self.identities.contains(&Some(identity)));
        is_there || self.path.starts_with(&other.path)
    }

    fn is(&self, other: &Self) -> bool {
        self.path == other.path || self.identity().is_some_and(|identity| other.identity() == Some(identity))
    }

    /// Whether both are of a file system that is not the root's.
    fn is_of_the_device_of(&self, other: &Self) -> bool {
        let root = other.identities.last().copied().flatten();
        let (Some(mine), Some(theirs)) = (self.identity(), other.identity()) else { return false };
        mine.device == theirs.device && root.is_none_or(|root| root.device != theirs.device)
    }
}

/// What a place is to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Tasks,
    State,
    ModuleCache,
    ControlSockets,
    /// The directory of a file that an output system appends to.
    Output {
        job: String,
        system: String,
    },
    /// The kernel's view of the machine and of this process.
    Kernel,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tasks => f.write_str("the task directory"),
            Self::State => f.write_str("the state directory (--state)"),
            Self::ModuleCache => f.write_str("the directory of compiled modules (--module-cache)"),
            Self::ControlSockets => f.write_str("the directory of the control socket"),
            Self::Output { job, system } => write!(f, "where the output system {system} of job {job} has its file"),
            Self::Kernel => f.write_str("a file system of the kernel"),
        }
    }
}

/// A place that is the host's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    pub role: Role,
    pub place: Place,
}

/// How a granted directory lies to a place of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Same,
    Contains,
    Below,
}

/// A directory that cannot be granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the directory {} cannot be granted: {relation} {}, {role}; grant one that is apart from the host's own files",
    granted.display(), own.display()
)]
pub struct Overlap {
    pub granted: PathBuf,
    pub own: PathBuf,
    pub role: Role,
    pub relation: Relation,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "it is",
            Self::Contains => "it contains",
            Self::Below => "it lies in",
        })
    }
}

/// The first of the host's own places that a granted directory has anything in common with.
///
/// Beside an output's file there may be other things: a directory next to it may be granted.
pub fn overlap<'a>(grant: &Place, own: impl IntoIterator<Item = &'a Own>) -> Option<Overlap> {
    own.into_iter().find_map(|Own { role, place }| {
        let relation = relation(grant, place, role)?;
        Some(Overlap { granted: grant.path.clone(), own: place.path.clone(), role: role.clone(), relation })
    })
}

fn relation(grant: &Place, own: &Place, role: &Role) -> Option<Relation> {
    if grant.is(own) {
        return Some(Relation::Same);
    }
    if own.is_in(grant) {
        return Some(Relation::Contains);
    }
    let is_below = match role {
        Role::Output { .. } => false,
        // Mounted at another place, it is the same device.
        Role::Kernel => grant.is_in(own) || grant.is_of_the_device_of(own),
        Role::Tasks | Role::State | Role::ModuleCache | Role::ControlSockets => grant.is_in(own),
    };
    is_below.then_some(Relation::Below)
}

/// The name of a file system that shows or controls the kernel or its processes, by the number that `statfs` has for it.
/// None of them is a place for a task's files.
#[must_use]
pub fn kernel_file_system(magic: u64) -> Option<&'static str> {
    // From Linux' uapi/linux/magic.h; devtmpfs has the number of tmpfs and is known by its device.
    const KNOWN: &[(u64, &str)] = &[
        (0x9fa0, "proc"),
        (0x6265_6572, "sysfs"),
        (0x0027_e0eb, "cgroup"),
        (0x6367_7270, "cgroup2"),
        (0x6462_6720, "debugfs"),
        (0x7472_6163, "tracefs"),
        (0x7363_6673, "securityfs"),
        (0x6265_6570, "configfs"),
        (0x6165_676c, "pstore"),
        (0xde5e_81e4, "efivarfs"),
        (0xf97c_ff8c, "selinuxfs"),
        (0x4341_5d53, "smackfs"),
        (0x5a3c_69f0, "apparmorfs"),
        (0xcafe_4a11, "bpf"),
        (0x1cd1, "devpts"),
        (0x1980_0202, "mqueue"),
        (0x6e73_6673, "nsfs"),
        (0x4249_4e4d, "binfmt_misc"),
        (0x6573_5543, "fusectl"),
        (0x6759_6969, "rpc_pipefs"),
        (0x5049_4446, "pidfs"),
        (0x0765_5821, "resctrl"),
    ];
    KNOWN.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests;
