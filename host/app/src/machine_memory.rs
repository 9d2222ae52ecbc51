//! How much memory this process may use: the machine's, or less if a control group limits it.

use std::fs;
use std::path::{Path, PathBuf};

/// The share that instances and compilers may use together, in percent. The rest is for the host itself and for growth
/// between two samples.
const SHARE_PERCENT: u64 = 75;

/// The default of `host.memory.max.mb`, in bytes: three quarters of what this process may use. Unlimited where neither
/// the machine's memory nor a control group's limit is known.
#[must_use]
pub fn default_limit() -> u64 {
    default_limit_of(&|path| fs::read_to_string(path).ok())
}

fn default_limit_of(read: &dyn Fn(&Path) -> Option<String>) -> u64 {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| machine(&text));
    let limits = control_groups(&read(Path::new("/proc/self/cgroup")).unwrap_or_default());
    let limits = limits.iter().filter_map(|path| read(path)?.trim().parse().ok());
    match machine.into_iter().chain(limits).min() {
        Some(bytes) => bytes / 100 * SHARE_PERCENT,
        None => u64::MAX,
    }
}

fn machine(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The files with the limits of this process's control groups and their ancestors; "max" in one means no limit.
fn control_groups(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            v1 if v1.split(',').any(|it| it == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        // In a container the group's own directory may be the root.
        let group = Path::new(group.trim_start_matches('/'));
        files.extend(group.ancestors().map(|above| Path::new(root).join(above).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn limit(files: &[(&str, &str)]) -> u64 {
        default_limit_of(&|path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
        })
    }

    const MACHINE: (&str, &str) = ("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");

    #[test]
    fn it_is_three_quarters_of_the_machine() {
        assert_eq!(limit(&[MACHINE]), 8 * GIB / 100 * 75);
        assert_eq!(limit(&[]), u64::MAX, "not on Linux");
    }

    #[test]
    fn it_is_three_quarters_of_the_tightest_control_group() {
        let groups = ("/proc/self/cgroup", "0::/pod/container\n");
        let max = |path, text| limit(&[MACHINE, groups, (path, text)]);
        assert_eq!(max("/sys/fs/cgroup/pod/container/memory.max", "4294967296\n"), 4 * GIB / 100 * 75);
        assert_eq!(max("/sys/fs/cgroup/pod/memory.max", "1073741824\n"), GIB / 100 * 75, "of a group above");
        assert_eq!(max("/sys/fs/cgroup/memory.max", "1073741824\n"), GIB / 100 * 75, "seen from inside a container");
        assert_eq!(max("/sys/fs/cgroup/pod/container/memory.max", "max\n"), 8 * GIB / 100 * 75);

        let groups = ("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n");
        let file = "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes";
        assert_eq!(limit(&[MACHINE, groups, (file, "2147483648")]), 2 * GIB / 100 * 75);
        assert_eq!(limit(&[MACHINE, groups, (file, "9223372036854771712")]), 8 * GIB / 100 * 75, "v1's \"no limit\"");
    }
}
