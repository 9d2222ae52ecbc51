//! Takes on their way: how many at a time, and what their answers mean.

use std::collections::{BTreeMap, BTreeSet};

use crate::kinesis::shard::ShardId;
use crate::leases::context::{Context, Phase};
use crate::leases::holdings::Acquired;
use crate::leases::limits::BACKOFF;
use crate::leases::message::Action;
use crate::leases::row::{Lease, Outcome, Write};
use crate::position::{Checkpoint, Latest};
use crate::service::ServiceError;
use crate::time::Millis;

/// Free leases taken at a time, at first and after another worker was faster. While none is, twice as many the next
/// time: alone, a worker soon has all; of a fleet that starts, no worker tries what the others have long taken.
const TAKES_MIN: usize = 10;
/// When a worker that others are faster than scans the table, before it takes more.
const SCAN_AGAIN: Millis = 500;
/// The counter of a row after its first take.
const FIRST_TAKE: u64 = 1;

/// A take on its way.
struct PendingTake {
    sent_at: Millis,
    /// The worker it is stolen from, unless this is the second try.
    victim: Option<String>,
    /// No worker noted before since when the row is at LATEST.
    is_first_contact: bool,
}

/// How many free leases are taken at a time.
struct Pace {
    at_once: usize,
    /// There are more to take once those on their way are answered.
    is_more: bool,
    refused: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self { at_once: TAKES_MIN, is_more: false, refused: false }
    }
}

#[derive(Default)]
pub(super) struct Takes {
    pending: BTreeMap<ShardId, PendingTake>,
    pace: Pace,
    /// Takes in a row that the table did not answer.
    failures: u32,
    /// Rows that this worker created at LATEST and did not read yet.
    created_at_latest: BTreeSet<ShardId>,
}

impl Takes {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.pending.contains_key(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ShardId> {
        self.pending.keys()
    }

    pub(super) fn created_at_latest(&mut self, key: ShardId) {
        self.created_at_latest.insert(key);
    }

    /// Sends as many takes of free leases as the pace allows.
    pub(super) fn send_free(&mut self, context: &mut Context, now: Millis, mut free: Vec<Lease>) {
        let room = self.pace.at_once.saturating_sub(self.pending.len());
        self.pace.is_more = free.len() > room;
        free.truncate(room);
        free.into_iter().for_each(|seen| self.send(context, now, seen, None));
    }

    /// Sends takes of leases that other workers hold.
    pub(super) fn send_stolen(&mut self, context: &mut Context, now: Millis, stolen: Vec<Lease>) {
        for seen in stolen {
            let victim = seen.owner.clone();
            self.send(context, now, seen, victim);
        }
    }

    fn send(&mut self, context: &mut Context, now: Millis, mut seen: Lease, victim: Option<String>) {
        let is_first_contact = seen.checkpoint == Checkpoint::Latest && seen.latest_since.is_none();
        if is_first_contact {
            seen.latest_since = Some(now);
        }
        self.pending.insert(seen.key.clone(), PendingTake { sent_at: now, victim, is_first_contact });
        let worker = context.settings.worker.clone();
        context.send(Action::Write(Write::Take { seen, worker }));
    }

    /// Whether more is to be taken now, because all takes are answered.
    pub(super) fn go_on(&mut self, context: &mut Context, now: Millis) -> bool {
        if !self.pending.is_empty() {
            return false;
        }
        let Pace { at_once, is_more, refused } = std::mem::take(&mut self.pace);
        match (is_more, refused) {
            (true, true) => context.scan_by(now + SCAN_AGAIN),
            (true, false) => self.pace.at_once = at_once.saturating_mul(2),
            (false, _) => {}
        }
        is_more && !refused
    }

    pub(super) fn answered(
        &mut self,
        context: &mut Context,
        now: Millis,
        seen: Lease,
        result: Result<Outcome, ServiceError>,
    ) -> Option<Acquired> {
        match &result {
            Ok(Outcome::Done) => {}
            Ok(Outcome::ConditionFailed(_)) => self.pace.refused = true,
            // The next scan of the table goes on.
            Err(_) => self.pace.is_more = false,
        }
        let PendingTake { sent_at, victim, is_first_contact } = self.pending.remove(&seen.key)?;
        let lease = self.lease(context, now, seen, result, victim)?;
        self.failures = 0;
        context.table.learn(now, lease.clone());
        let latest = self.latest(now, &lease, is_first_contact);
        Some(Acquired { lease, taken_at: sent_at, latest })
    }

    /// The row as this worker took it.
    fn lease(
        &mut self,
        context: &mut Context,
        now: Millis,
        seen: Lease,
        result: Result<Outcome, ServiceError>,
        victim: Option<String>,
    ) -> Option<Lease> {
        let me = context.settings.worker.clone();
        let taken = seen.counter.saturating_add(1);
        let lost_reply = |row: &Lease| row.owner.as_ref() == Some(&me) && row.counter == taken;
        match result {
            Ok(Outcome::Done) => {
                return Some(Lease { owner: Some(me), counter: taken, checkpoint_owner: None, ..seen });
            }
            Ok(Outcome::ConditionFailed(Some(row))) if lost_reply(&row) => return Some(row),
            // It may have happened all the same. If not, the release finds another owner.
            Err(_) if context.phase == Phase::Stopping => return Some(seen),
            Ok(Outcome::ConditionFailed(Some(row))) => self.refused(context, now, row, victim),
            Ok(Outcome::ConditionFailed(None)) => context.table.vanish(now, &seen.key),
            Err(error) if error.kind.is_transient() => {
                self.failures += 1;
                let pause = BACKOFF.pause(self.failures, &mut context.random);
                context.scan_by(now + pause);
            }
            Err(error) => context.fail_by_table(error),
        }
        None
    }

    /// What LATEST stands for in a row that was just taken. Only who has made sure that no worker read the shard before
    /// may begin with what arrives next.
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
    fn refused(&mut self, context: &mut Context, now: Millis, row: Lease, victim: Option<String>) {
        let is_still_theirs = victim.is_some() && row.owner == victim && row.checkpoint != Checkpoint::ShardEnd;
        if is_still_theirs && context.is_running() {
            self.send(context, now, row, None);
        }
    }
}
