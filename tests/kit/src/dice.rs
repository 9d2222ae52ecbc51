//! Random numbers and seeds for the tests that play through histories: the same ones on every machine.
//!
//! Each seed is one history. `SEEDS=17` or `SEEDS=0..5000` in the environment replays chosen ones.

use std::ops::Range;

/// Plays one history per seed; a failure names the seed that replays it.
pub fn histories(seeds: Range<u64>, play: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in chosen().unwrap_or(seeds) {
        let history = std::panic::catch_unwind(|| play(seed));
        assert!(history.is_ok(), "seed {seed} failed as printed above; replay it alone with SEEDS={seed}");
    }
}

/// The seeds that the environment asks for.
pub fn chosen() -> Option<Range<u64>> {
    let text = std::env::var("SEEDS").ok()?;
    let number = |text: &str| text.parse::<u64>().expect("SEEDS is a number or a range like 0..100");
    Some(match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&text)..number(&text) + 1,
    })
}

/// A generator (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// An index below `end`.
    pub fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("it is below a usize")
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let index = self.index(of.len().max(1));
        of.get(index)
    }
}
