//! Whether there is anything that this worker could still come to read.

use std::collections::BTreeSet;

use super::{Phase, Worker};
use crate::leases::held::Held;

impl Worker {
    /// Whether this worker reads everything that it may hold now, and nothing is left that nobody reads: no lease is free,
    /// being taken, waiting for a parent or being sealed, what others hold they were seen to renew, and no row contradicts
    /// the stream; all as of the last look at the table.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_steady() && self.unread().is_empty() && self.is_all_held(&BTreeSet::new())
    }

    /// Likewise, except for the shards that [`Worker::unread`] names, and for those that wait for them: there are some,
    /// and nothing that this worker does will change it.
    #[must_use]
    pub fn is_settled_but_unread(&self) -> bool {
        let unread: BTreeSet<String> = self.unread().into_iter().map(|unread| unread.key).collect();
        !unread.is_empty() && self.is_steady() && self.is_all_held(&unread)
    }

    /// Whether every free lease is held by this worker, is one of `except`, or waits for one of those.
    fn is_all_held(&self, except: &BTreeSet<String>) -> bool {
        let mut except = except.clone();
        let mut free = self.table.available(self.looked_at, &self.settings);
        free.retain(|lease| !self.held.contains_key(&lease.key));
        loop {
            let before = free.len();
            let excused = |key: &String| except.contains(key);
            let (waiting, left): (Vec<_>, Vec<_>) =
                free.into_iter().partition(|lease| excused(&lease.key) || lease.parents.iter().any(excused));
            except.extend(waiting.into_iter().map(|lease| lease.key.clone()));
            free = left;
            if free.is_empty() || free.len() == before {
                return free.is_empty();
            }
        }
    }

    fn is_steady(&self) -> bool {
        let reading = |held: &Held| held.started && !held.is_ending();
        self.is_running()
            && self.taking.is_empty()
            && self.contradictions.is_empty()
            && self.table.vanished().next().is_none()
            && self.held.values().all(reading)
            && !self.table.is_in_doubt(self.looked_at, &self.settings)
    }

    pub(super) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether this worker may take no more leases.
    pub(super) fn is_at_limit(&self) -> bool {
        self.places_taken() >= self.settings.max_leases
    }

    /// The leases that count against the limit.
    pub(super) fn places_taken(&self) -> usize {
        self.held.values().filter(|held| held.takes_a_place()).count() + self.taking.len()
    }
}
