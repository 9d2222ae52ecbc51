//! The CPU time of a process by thread, as Linux accounts it.

use std::fs::read_to_string;
use std::path::PathBuf;

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
        // Linux accounts CPU time at its clock ticks.
        let work = move || {
            let mut sum = 0_u64;
            while spent() == 0.0 {
                sum = (0..1_000_000).fold(sum, |a, b| std::hint::black_box(a ^ b));
            }
            sum
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(work).unwrap().join().unwrap();
    }
}
