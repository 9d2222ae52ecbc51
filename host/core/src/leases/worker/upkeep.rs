//! The upkeep of the table, if this worker is the leader: its wishes are carried out, the answers taken in.

use super::{Listing, Worker};
use crate::kinesis::shard::Shard;
use crate::leases::leader;
use crate::leases::message::Action;
use crate::leases::row::{Outcome, Write};
use crate::leases::upkeep::Upkeep;
use crate::service::ServiceError;
use crate::time::Millis;

impl Worker {
    /// After the table was read.
    pub(super) fn look_after_table(&mut self, now: Millis) {
        if !self.is_leader(now) {
            self.upkeep = Upkeep::new(now, &self.settings);
            return;
        }
        let is_missed = !self.held.is_empty() || self.table.vanished().next().is_some();
        if self.table.is_empty() && self.listing.is_none() && !is_missed {
            // Somebody deleted everything, and no worker is left that would put it back.
            return self.list_at_start(now);
        }
        if !self.contradictions.is_empty() {
            // Rows of another stream are for a person to see.
            return;
        }
        let writes = self.upkeep.look(now, &self.settings, &self.table);
        self.send_upkeep(writes);
    }

    /// Only owners that were seen alive can be elected: the rows of finished shards may name one that is gone for ever.
    fn is_leader(&self, now: Millis) -> bool {
        let me = self.settings.worker.as_str();
        let others = self.table.live_owners(now, &self.settings);
        leader::is_leader(me, others.chain((!self.held.is_empty()).then_some(me)))
    }

    pub(super) fn listed_for_upkeep(&mut self, now: Millis, shards: &[Shard]) {
        let (writes, sync_since) = self.upkeep.listed(now, &self.settings, &self.table, shards);
        if self.contradictions.is_empty() {
            self.send_upkeep(writes);
        }
        let is_fill_due = self.fill_at().is_some_and(|when| when <= now);
        if (sync_since.is_some() || is_fill_due) && self.creations.is_empty() {
            self.create_missing(now, Listing::Running, shards, sync_since.unwrap_or(now));
        }
    }

    /// What this worker holds is written to by its holding only, one write after the other.
    fn send_upkeep(&mut self, writes: Vec<Write>) {
        let mine = |write: &Write| matches!(write, Write::Delete { key, .. } if self.held.contains_key(key));
        self.actions.extend(writes.into_iter().filter(|write| !mine(write)).map(Action::Write));
    }

    /// The answer to a deletion. One that failed is due again at a later look.
    pub(super) fn deleted(&mut self, key: &str, result: Result<Outcome, ServiceError>) {
        if matches!(result, Ok(Outcome::Done | Outcome::ConditionFailed(None))) {
            self.table.forget(key);
        }
    }
}
