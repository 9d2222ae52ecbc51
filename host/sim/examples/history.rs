//! Tells all that happens in the history of one seed: `cargo run -p shardmill-sim --example history -- 17`.

#![allow(clippy::print_stdout, reason = "it is what this is for")]

fn main() {
    let seed = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("a seed, which is a number");
    let (result, trace) = shardmill_sim::tell(seed, None);
    println!("{trace}\n{result:?}");
}
