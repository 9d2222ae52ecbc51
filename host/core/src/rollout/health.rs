//! How an instance does, and when that is bad enough to go back to the version before. The bounds are wide: they are for
//! versions that are broken, not for those that are a little slower.

use std::collections::VecDeque;
use std::iter::Sum;

use crate::time::Millis;

/// Traps and time-outs within [`RESTART_WINDOW`] that are too many.
const RESTARTS_MAX: usize = 3;
const RESTART_WINDOW: Millis = 60_000;

/// Failed calls below which nothing is said about their rate.
const FAILURES_MIN: u64 = 10;
/// A rate of failed calls is bad at so many times the old one...
const FAILURES_FACTOR: f64 = 2.0;
/// ...plus this share of all calls.
const FAILURES_MARGIN: f64 = 0.05;

/// Envelopes below which nothing is said about their time.
const ENVELOPES_MIN: u64 = 1_000;
/// Time per envelope is bad at so many times the old one...
const TIME_FACTOR: f64 = 4.0;
/// ...plus this many microseconds.
const TIME_MARGIN: f64 = 1_000.0;

/// What an instance did since it was built in its place, replacements after traps included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub calls: u64,
    /// Calls that did not return ok, traps included.
    pub failed_calls: u64,
    /// Traps and time-outs.
    pub traps: u64,
    /// Envelopes processed.
    pub envelopes: u64,
    /// Time spent in calls, in microseconds.
    pub busy_us: u64,
}

/// Of instances that process different shards, together.
impl Sum for Health {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, Self { calls, failed_calls, traps, envelopes, busy_us }| Self {
            calls: sum.calls + calls,
            failed_calls: sum.failed_calls + failed_calls,
            traps: sum.traps + traps,
            envelopes: sum.envelopes + envelopes,
            busy_us: sum.busy_us + busy_us,
        })
    }
}

impl Health {
    fn failure_rate(&self) -> f64 {
        self.failed_calls as f64 / self.calls.max(1) as f64
    }

    fn envelope_us(&self) -> f64 {
        self.busy_us as f64 / self.envelopes.max(1) as f64
    }

    /// What is bad about it beside the old version.
    pub(super) fn worse_than(&self, old: &Self) -> Option<String> {
        let (rate, before) = (self.failure_rate(), old.failure_rate());
        if self.failed_calls >= FAILURES_MIN && rate > before * FAILURES_FACTOR + FAILURES_MARGIN {
            return Some(format!("{:.1} % of its calls fail, {:.1} % before", rate * 100.0, before * 100.0));
        }
        let (time, before) = (self.envelope_us(), old.envelope_us());
        let known = self.envelopes >= ENVELOPES_MIN && old.envelopes >= ENVELOPES_MIN;
        if known && time > before * TIME_FACTOR + TIME_MARGIN {
            return Some(format!("it takes {time:.0} µs an envelope, {before:.0} µs before"));
        }
        None
    }
}

/// When an instance trapped.
#[derive(Clone, Debug, Default)]
pub(super) struct Restarts {
    seen: u64,
    at: VecDeque<Millis>,
}

impl Restarts {
    /// Takes in the number so far; says when there are too many.
    pub(super) fn too_many(&mut self, now: Millis, traps: u64) -> Option<String> {
        for _ in 0..traps.saturating_sub(self.seen).min(RESTARTS_MAX as u64) {
            self.at.push_back(now);
        }
        self.seen = self.seen.max(traps);
        while self.at.front().is_some_and(|&at| now.saturating_sub(at) > RESTART_WINDOW) {
            self.at.pop_front();
        }
        (self.at.len() >= RESTARTS_MAX)
            .then(|| format!("{} traps or time-outs in {} s", self.at.len(), RESTART_WINDOW / 1000))
    }
}
