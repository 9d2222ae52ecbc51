//! A process's own clock: set wrong, running fast or slow, standing still while its machine is suspended. It never goes
//! back, as the host's clock does not.

use shardmill_core::time::Millis;

pub(crate) struct Clock {
    started: Millis,
    /// What it shows at its start.
    shown: Millis,
    /// Milliseconds that it gains in a million.
    drift: Millis,
    /// How long it stood still.
    suspended: Millis,
}

impl Clock {
    /// A clock that is `ahead` of the true time, or behind it.
    pub(crate) fn new(now: Millis, ahead: i64, drift: Millis) -> Self {
        Self { started: now, shown: now.saturating_add_signed(ahead), drift, suspended: 0 }
    }

    /// The time that it shows at the true time `now`.
    pub(crate) fn local(&self, now: Millis) -> Millis {
        let since = now.saturating_sub(self.started).saturating_sub(self.suspended);
        self.shown + since + since * self.drift / 1_000_000
    }

    /// The first true time, from `now` on, at which it shows `local` or more.
    pub(crate) fn when(&self, now: Millis, local: Millis) -> Millis {
        if local == Millis::MAX {
            return Millis::MAX;
        }
        let missing = local.saturating_sub(self.local(now));
        let mut when = now + missing - missing * self.drift / 1_000_000;
        while self.local(when) < local {
            when += 1;
        }
        when
    }

    pub(crate) fn suspend(&mut self, pause: Millis) {
        self.suspended += pause;
    }
}
