//! How long to wait before a failed call is tried again: doubling, bounded, and drawn at random from the upper half of
//! that, so that those who failed together do not come back together.

use crate::random::Random;
use crate::time::Millis;

/// Doublings after which every wait is the longest one.
const DOUBLINGS_MAX: u32 = 20;

/// The bounds of the waits: at most `first` after one failure, twice that after the next, never more than `longest`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub first: Millis,
    pub longest: Millis,
}

/// The waits of one caller between the failures in a row of one call.
pub struct Waits {
    backoff: Backoff,
    failures: u32,
    random: Random,
}

impl Waits {
    /// Callers with different seeds wait differently.
    #[must_use]
    pub fn new(backoff: Backoff, seed: u64) -> Self {
        Self { backoff, failures: 0, random: Random::new(seed) }
    }

    /// How long to wait after another failure.
    pub fn after_failure(&mut self) -> Millis {
        self.failures = self.failures.saturating_add(1);
        self.backoff.pause(self.failures, &mut self.random)
    }
}

impl Backoff {
    /// The wait after so many failures in a row (one or more).
    pub(crate) fn pause(self, failures: u32, random: &mut Random) -> Millis {
        let whole = self.whole(failures);
        let spread = u32::try_from(whole / 2 + 1).unwrap_or(u32::MAX >> 1);
        whole - Millis::from(random.below(spread))
    }

    fn whole(self, failures: u32) -> Millis {
        self.first.saturating_mul(1 << failures.saturating_sub(1).min(DOUBLINGS_MAX)).min(self.longest)
    }

    /// Whether these waits, one after the other, are what it may draw.
    #[cfg(test)]
    pub(crate) fn draws(self, pauses: &[Millis]) -> bool {
        let may_be = |(pause, whole): (&Millis, Millis)| (whole / 2..=whole).contains(pause);
        pauses.iter().zip((1..).map(|failures| self.whole(failures))).all(may_be)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const BACKOFF: Backoff = Backoff { first: 100, longest: 5_000 };

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_less_than_half_of_that() {
        for (failures, whole) in [(1, 100), (2, 200), (3, 400), (6, 3_200), (7, 5_000), (u32::MAX, 5_000)] {
            let pauses = (0..1_000).map(|seed| BACKOFF.pause(failures, &mut Random::new(seed)));
            let pauses: BTreeSet<Millis> = pauses.collect();
            assert!(pauses.iter().all(|pause| (whole / 2..=whole).contains(pause)), "{failures}: {pauses:?}");
            assert!(pauses.len() > 30, "{failures} failures: everybody comes back at {pauses:?}");
        }
    }

    #[test]
    fn the_same_seed_waits_the_same() {
        let waits = |seed| {
            let mut waits = Waits::new(BACKOFF, seed);
            (1..10).map(|_| waits.after_failure()).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
        assert!(BACKOFF.draws(&waits(7)), "{:?}", waits(7));
    }
}
