//! Links in granted directories. The sandbox never follows a link that leads out, but other programs that read there
//! would. So a task can neither create a link that leads up, nor move one that another program made: `../data` may be
//! harmless where it is, and lead out one directory further up.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};

/// How many entries are checked before a directory is moved, including all below it.
const ENTRIES_MAX: u32 = 10_000;
/// The depth of the check; each directory on the way is kept open.
const DEPTH_MAX: u32 = 64;

/// Whether a link with this text leads only further down, wherever it is.
pub(super) fn leads_down(target: &Path) -> bool {
    target.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Whether all links in a directory lead only down. A directory that is too large to check counts as having others.
///
/// # Errors
/// When it cannot be read.
pub(super) fn all_lead_down(directory: &File) -> io::Result<bool> {
    let mut left = ENTRIES_MAX;
    Ok(look(directory.try_clone()?.into(), DEPTH_MAX, &mut left)?)
}

fn look(directory: OwnedFd, depth: u32, left: &mut u32) -> rustix::io::Result<bool> {
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Some(rest) = left.checked_sub(1) else { return Ok(false) };
        *left = rest;
        let kind = match entry.file_type() {
            FileType::Unknown => FileType::from_raw_mode(statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode),
            kind => kind,
        };
        match kind {
            FileType::Symlink => {
                let target = readlinkat(&directory, name, Vec::new())?;
                if !leads_down(Path::new(std::ffi::OsStr::new(&*target.to_string_lossy()))) {
                    return Ok(false);
                }
            }
            FileType::Directory => {
                let Some(depth) = depth.checked_sub(1) else { return Ok(false) };
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                if !look(openat(&directory, name, flags, Mode::empty())?, depth, left)? {
                    return Ok(false);
                }
            }
            _ => {}
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_leads_down_or_it_does_not() {
        for (target, down) in [
            ("a", true),
            ("a/b", true),
            ("./a", true),
            ("..", false),
            ("../a", false),
            ("a/../b", false),
            ("a/..", false),
            ("/", false),
            ("/etc/passwd", false),
            ("...", true),
        ] {
            assert_eq!(leads_down(Path::new(target)), down, "{target}");
        }
    }

    #[test]
    fn a_directory_is_checked_recursively_within_the_limits() {
        let dir = tempfile::tempdir().unwrap();
        let looked = || all_lead_down(&File::open(dir.path()).unwrap()).unwrap();
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        symlink("b", dir.path().join("a/down")).unwrap();
        assert!(looked());
        symlink("../../x", dir.path().join("a/b/c/up")).unwrap();
        assert!(!looked());
        fs::remove_file(dir.path().join("a/b/c/up")).unwrap();
        fs::create_dir_all(dir.path().join("d/".repeat(DEPTH_MAX as usize + 1))).unwrap();
        assert!(!looked());
    }
}
