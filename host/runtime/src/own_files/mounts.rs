//! The mounts below a directory, from `/proc/self/mountinfo` on Linux. Other systems report none.

use std::path::{Path, PathBuf};

/// File systems of the kernel, by the names that mounts have. Of these, devtmpfs has no number of its own.
const OF_THE_KERNEL: &[&str] = &[
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devtmpfs",
    "devpts",
    "debugfs",
    "tracefs",
    "securityfs",
    "configfs",
    "pstore",
    "efivarfs",
    "selinuxfs",
    "smackfs",
    "bpf",
    "mqueue",
    "nsfs",
    "binfmt_misc",
    "fusectl",
    "rpc_pipefs",
    "resctrl",
];

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) kind: String,
}

pub(super) fn is_of_the_kernel(kind: &str) -> bool {
    OF_THE_KERNEL.contains(&kind)
}

pub(super) fn below(directory: &Path) -> Vec<Mount> {
    // If it cannot be read, only the paths are compared.
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_below = |mount: &Mount| mount.path != directory && mount.path.starts_with(directory);
    text.lines().filter_map(parse).filter(is_below).collect()
}

/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw`
fn parse(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(2);
    let (major, minor) = fields.next()?.split_once(':')?;
    let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    let path = unescaped(fields.nth(1)?);
    Some(Mount { path, device, kind: file_system.split(' ').next()?.to_owned() })
}

/// Blanks and the like are written as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = text.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let octal = octal.and_then(|octal| u8::from_str_radix(std::str::from_utf8(octal).ok()?, 8).ok());
        path.push(octal.unwrap_or(bytes[at]));
        at += if octal.is_some() { 4 } else { 1 };
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_as_linux_writes_it() {
        let mount = parse("36 35 98:3 /a /mnt/two\\040words rw,noatime master:1 shared:2 - proc none rw").unwrap();
        assert_eq!((mount.path, mount.kind.as_str()), (PathBuf::from("/mnt/two words"), "proc"));
        assert_eq!(mount.device, rustix::fs::makedev(98, 3));
        assert_eq!(parse("36 35 98:3 /a"), None);
    }

    #[test]
    fn mounts_below_the_root_are_found_and_none_below_a_file() {
        assert!(below(Path::new("/")).iter().any(|mount| mount.kind == "proc"));
        assert_eq!(below(Path::new("/proc/self/mountinfo")), []);
    }
}
