//! Plays many histories and counts: `cargo run --release -p shardmill-sim --example histories -- 0 100000`.

#![allow(clippy::print_stdout, reason = "it is what this is for")]

use std::time::Instant;

/// More failures tell nothing new.
const FAILURES_MAX: u64 = 20;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("the first and the last seed"));
    let (first, end) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(1_000));
    let started = Instant::now();
    let (mut failed, mut events, mut records, mut repeats, mut simulated) = (0, 0, 0, 0, 0);
    let (mut take_overs, mut waves, mut roll_backs) = (0, 0, 0);
    for seed in first..end {
        match shardmill_sim::play(seed, None) {
            Ok(report) => {
                events += report.events;
                records += report.records;
                repeats += report.repeats;
                simulated += report.took / 1_000;
                take_overs += report.take_overs;
                waves += report.waves;
                roll_backs += report.roll_backs;
            }
            Err(what) => {
                failed += 1;
                println!("seed {seed}: {}", what.lines().last().unwrap_or_default());
                if failed == FAILURES_MAX {
                    return;
                }
            }
        }
    }
    println!(
        "{} histories in {:.1} s, {failed} failed; {simulated} simulated seconds, {events} events, {records} records, {repeats} repeats; \
         versions: {take_overs} take-overs, {waves} waves, {roll_backs} roll-backs",
        end - first,
        started.elapsed().as_secs_f64()
    );
}
