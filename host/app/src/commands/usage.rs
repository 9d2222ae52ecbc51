//! The resource usage of this process, as Linux accounts it.

use std::fs::read_to_string;

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

#[cfg(test)]
mod tests {
    use super::*;

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
