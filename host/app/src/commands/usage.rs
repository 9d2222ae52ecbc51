//! The resource usage of this process, as Linux accounts it.

use std::fs::read_to_string;
use std::path::PathBuf;

/// Clock ticks per second in `/proc`; fixed in the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of all threads, in seconds; 0 where `/proc` is not available.
pub(crate) fn cpu_seconds() -> f64 {
    // The second field, the program's name, may contain spaces: count from its closing parenthesis.
    let stat = read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    ticks.sum::<u64>() as f64 / TICKS_PER_SECOND
}

/// Peak resident memory, in MB; 0 where `/proc` is not available.
pub(crate) fn peak_rss_mb() -> u64 {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024 / 1_000_000
}

/// Linux truncates a thread's name to this many characters.
pub(crate) const THREAD_NAME_MAX: usize = 15;

/// The live threads of a process, by name, with their CPU time in seconds; `None` where `/proc` is not available.
pub(crate) fn thread_seconds(process: u32) -> Option<Vec<(String, f64)>> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let seconds = |thread: PathBuf| {
        let name = read_to_string(thread.join("comm")).ok()?;
        // The first of three numbers: nanoseconds on a processor.
        let spent: u64 = read_to_string(thread.join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()?;
        Some((name.trim_end().to_owned(), spent as f64 / 1e9))
    };
    // A thread may end during the loop.
    let threads: Vec<_> = threads.filter_map(|thread| seconds(thread.ok()?.path())).collect();
    (!threads.is_empty()).then_some(threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test joins its thread")]
    fn threads_are_identified_by_their_names() {
        let name = "a-thread-that-works";
        let spent = move || {
            let threads = thread_seconds(std::process::id()).unwrap();
            threads.into_iter().find(|(found, _)| *found == name[..THREAD_NAME_MAX]).unwrap().1
        };
        // Linux counts when its clock ticks.
        let work = move || {
            let mut sum = 0_u64;
            while spent() == 0.0 {
                sum = (0..1_000_000).fold(sum, |a, b| std::hint::black_box(a ^ b));
            }
            sum
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(work).unwrap().join().unwrap();
    }

    #[test]
    fn a_process_that_works_uses_time_and_memory() {
        let before = cpu_seconds();
        let mut sum = 0_u64;
        while cpu_seconds() <= before {
            sum = (0..1_000_000).fold(sum, |a, b| std::hint::black_box(a ^ b));
        }
        assert!(peak_rss_mb() > 0, "{sum}");
    }
}
