//! The resource usage of a child process, as Linux accounts it.

use std::fs;
use std::io;
use std::time::Duration;

/// CPU time of all threads, and memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) resident_bytes: u64,
}

/// The usage of the process with this id.
///
/// # Errors
/// When the process has ended.
pub(super) fn of(pid: u32) -> io::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    parse(&stat, &statm).ok_or_else(|| io::Error::other("/proc is not as it is on Linux"))
}

fn parse(stat: &str, statm: &str) -> Option<Usage> {
    // The name of the program, in parentheses, may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let (ticks, a_second) = (user.saturating_add(system), rustix::param::clock_ticks_per_second().max(1));
    Some(Usage {
        cpu: Duration::from_millis(ticks.saturating_mul(1000) / a_second),
        resident_bytes: pages.saturating_mul(rustix::param::page_size() as u64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_found_behind_any_name() {
        let stat = "7 (a) b) R 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 1 2 3";
        let usage = parse(stat, "900 25 10 1 0 20 0").unwrap();
        assert_eq!(usage.cpu.as_millis() as u64, 200_000 / rustix::param::clock_ticks_per_second());
        assert_eq!(usage.resident_bytes, 25 * rustix::param::page_size() as u64);
        assert!(parse("", "").is_none());
    }

    #[test]
    fn this_process_has_some_memory() {
        assert!(of(std::process::id()).unwrap().resident_bytes > 1 << 20);
        assert!(of(u32::MAX).is_err());
    }
}
