//! Rate limits of a shard, as windows of one second over the caller's time.

use super::Millis;

const WINDOW: Millis = 1000;

/// Usage against a limit per second. What exceeds a second's limit is carried into the seconds after it, so that
/// one read of 10 MB against 2 MB/s blocks the next five seconds, as Kinesis documents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    limit: u64,
    start: Millis,
    used: u64,
}

impl Window {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, start: 0, used: 0 }
    }

    /// Whether `amount` more fits now. An amount above the whole limit fits into an unused window.
    pub(crate) fn fits(&mut self, now: Millis, amount: u64) -> bool {
        self.advance(now);
        self.used + amount <= self.limit || (amount > self.limit && self.used == 0)
    }

    /// Whether anything is left of the limit now.
    pub(crate) fn has_room(&mut self, now: Millis) -> bool {
        self.advance(now);
        self.used < self.limit
    }

    pub(crate) fn add(&mut self, amount: u64) {
        self.used += amount;
    }

    fn advance(&mut self, now: Millis) {
        let windows = now.saturating_sub(self.start) / WINDOW;
        if windows == 0 {
            return;
        }
        self.used = self.used.saturating_sub(windows.saturating_mul(self.limit));
        self.start = if self.used == 0 { now } else { self.start + windows * WINDOW };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_limit_and_the_next_one_again() {
        let mut window = Window::new(5);
        for _ in 0..5 {
            assert!(window.fits(10_000, 1));
            window.add(1);
        }
        assert!(!window.fits(10_999, 1));
        assert!(window.fits(11_000, 1));
    }

    #[test]
    fn an_excess_is_paid_back_by_the_seconds_after_it() {
        let mut window = Window::new(2);
        assert!(window.has_room(50_000));
        window.add(10);
        assert!(!window.has_room(54_999));
        assert!(window.has_room(55_000));
    }

    #[test]
    fn one_amount_above_the_limit_passes_when_nothing_else_was_used() {
        let mut window = Window::new(4);
        assert!(window.fits(9_000, 9));
        window.add(9);
        assert!(!window.fits(10_100, 1));
        assert!(!window.fits(11_000, 4));
        assert!(window.fits(12_000, 4));
    }
}
