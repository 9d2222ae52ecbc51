//! Taking leases: what the taker chose is sent, and the answers make holdings.

use std::collections::BTreeSet;

use super::{BACKOFF, EPSILON, Phase, Worker};
use crate::kinesis::shard::ShardId;
use crate::leases::held::Held;
use crate::leases::message::Action;
use crate::leases::row::{Lease, Outcome, Write};
use crate::leases::taker::Taker;
use crate::position::{Checkpoint, Latest};
use crate::service::ServiceError;
use crate::time::Millis;

/// Free leases taken at a time, at first and after another worker was faster. While nobody is, twice as many the next
/// time: alone, a worker soon has all; of a fleet that starts, nobody tries what the others have long taken.
const TAKES_MIN: usize = 10;
/// When a worker that others are faster than looks at the table, before it takes more.
const LOOK_AGAIN: Millis = 500;
/// A look is not due at the very end of an interval between thefts: one that is so little before it will do.
const THEFT_SLACK: Millis = 500;
/// The counter of a row after its first take.
const FIRST_TAKE: u64 = 1;

/// A take on its way.
pub(super) struct Taking {
    sent_at: Millis,
    /// The worker it is stolen from, unless this is the second try.
    victim: Option<String>,
    /// Nobody noted before since when the row is at LATEST.
    is_first_contact: bool,
}

/// How many free leases are taken at a time.
pub(super) struct Pace {
    at_once: usize,
    /// There are more to take once those on their way are answered.
    is_more: bool,
    refused: bool,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { at_once: TAKES_MIN, is_more: false, refused: false }
    }
}

impl Worker {
    /// Takes what nobody holds, up to a fair share of all leases.
    pub(super) fn take(&mut self, now: Millis) {
        if self.phase == Phase::Running {
            let (mine, places_taken) = (self.mine(), self.places_taken());
            let (table, settings) = (&self.table, &self.settings);
            let taker = Taker { table, now: self.looked_at, settings, mine, places_taken };
            let mut free = taker.to_take(&mut self.random);
            let room = self.pace.at_once.saturating_sub(self.taking.len());
            self.pace.is_more = free.len() > room;
            free.truncate(room);
            free.into_iter().for_each(|seen| self.send_take(now, seen, None));
        }
    }

    /// Likewise after a look at the table; when that shows nothing free, some leases of a worker that has too many, once
    /// in each of the protocol's intervals.
    pub(super) fn take_or_steal(&mut self, now: Millis) {
        if self.phase == Phase::Running && now < self.steal_at {
            self.take(now);
        } else if self.phase == Phase::Running {
            let (mine, places_taken) = (self.mine(), self.places_taken());
            let (table, settings) = (&self.table, &self.settings);
            let taker = Taker { table, now: self.looked_at, settings, mine, places_taken };
            let stolen = taker.to_steal(&mut self.random);
            if !stolen.is_empty() {
                self.steal_at = now + self.take_interval().saturating_sub(THEFT_SLACK);
            }
            self.take(now);
            for seen in stolen {
                let victim = seen.owner.clone();
                self.send_take(now, seen, victim);
            }
        }
    }

    /// The Kinesis Client Library's: from one theft to the next, and between looks when nothing can come of them.
    pub(super) fn take_interval(&self) -> Millis {
        self.settings.failover.saturating_add(EPSILON).saturating_mul(2)
    }

    fn mine(&self) -> BTreeSet<ShardId> {
        let held = self.held.iter().filter(|(_, held)| !held.is_sealed()).map(|(key, _)| key);
        held.chain(self.taking.keys()).cloned().collect()
    }

    fn send_take(&mut self, now: Millis, mut seen: Lease, victim: Option<String>) {
        let is_first_contact = seen.checkpoint == Checkpoint::Latest && seen.latest_since.is_none();
        if is_first_contact {
            seen.latest_since = Some(now);
        }
        self.taking.insert(seen.key.clone(), Taking { sent_at: now, victim, is_first_contact });
        self.actions.push(Action::Write(Write::Take { seen, worker: self.settings.worker.clone() }));
    }

    /// The answer to a take.
    pub(super) fn taken(&mut self, now: Millis, seen: Lease, result: Result<Outcome, ServiceError>) {
        match &result {
            Ok(Outcome::Done) => {}
            Ok(Outcome::ConditionFailed(_)) => self.pace.refused = true,
            // The next look at the table goes on.
            Err(_) => self.pace.is_more = false,
        }
        self.take_answered(now, seen, result);
        if self.taking.is_empty() {
            self.go_on(now);
        }
    }

    /// All takes are answered.
    fn go_on(&mut self, now: Millis) {
        let Pace { at_once, is_more, refused } = std::mem::replace(&mut self.pace, Pace::new());
        match (is_more, refused) {
            (true, true) => self.scan_by(now + LOOK_AGAIN),
            (true, false) => {
                self.pace.at_once = at_once.saturating_mul(2);
                self.take(now);
            }
            (false, _) => {}
        }
    }

    fn take_answered(&mut self, now: Millis, seen: Lease, result: Result<Outcome, ServiceError>) {
        let Some(Taking { sent_at, victim, is_first_contact }) = self.taking.remove(&seen.key) else {
            return;
        };
        let me = &self.settings.worker;
        let taken = seen.counter.saturating_add(1);
        let lost_reply = |row: &Lease| row.owner.as_ref() == Some(me) && row.counter == taken;
        let lease = match result {
            Ok(Outcome::Done) => Lease { owner: Some(me.clone()), counter: taken, checkpoint_owner: None, ..seen },
            Ok(Outcome::ConditionFailed(Some(row))) if lost_reply(&row) => row,
            // It may have happened all the same. If not, the release finds another owner.
            Err(_) if self.phase == Phase::Stopping => seen,
            Ok(Outcome::ConditionFailed(Some(row))) => return self.take_refused(now, row, victim),
            Ok(Outcome::ConditionFailed(None)) => return self.table.vanish(now, &seen.key),
            Err(error) if error.kind.is_transient() => {
                self.takes_failed += 1;
                let pause = BACKOFF.pause(self.takes_failed, &mut self.random);
                return self.scan_by(now + pause);
            }
            Err(error) => return self.fail_by_table(error),
        };
        self.takes_failed = 0;
        self.table.learn(now, lease.clone());
        self.epochs += 1;
        let latest = self.latest(now, &lease, is_first_contact);
        let held = Held::new(lease, self.epochs, sent_at, latest);
        if held.is_sealed() {
            // An earlier life of this worker sealed it with its last write: there is nothing to read.
            return self.start_ready(now);
        }
        if held.is_expired(now, self.settings.failover) && self.phase == Phase::Running {
            // The answer was too slow to be trusted.
            return self.scan_by(now);
        }
        self.held.insert(held.lease.key.clone(), held);
        self.start_ready(now);
    }

    /// What LATEST stands for in a row that was just taken. Only who has made sure that nobody read the shard before may
    /// begin with what arrives next.
    fn latest(&mut self, now: Millis, lease: &Lease, is_first_contact: bool) -> Latest {
        let is_unread = self.created_at_latest.remove(&lease.key) && lease.counter == FIRST_TAKE;
        match lease.latest_since {
            // A time that is still to come is no time of a contact.
            Some(contact) if !is_unread && !is_first_contact => Latest::Since(contact.min(now)),
            _ => Latest::Next,
        }
    }

    /// The row changed since it was seen. For a free lease that means that another worker was faster. A stolen one's
    /// owner renews it all the time, and a large table takes long to read: what the refusal says of the row is newer.
    fn take_refused(&mut self, now: Millis, row: Lease, victim: Option<String>) {
        let is_still_theirs = victim.is_some() && row.owner == victim && row.checkpoint != Checkpoint::ShardEnd;
        if is_still_theirs && self.phase == Phase::Running {
            self.send_take(now, row, None);
        }
    }
}
