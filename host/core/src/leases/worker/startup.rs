//! How a worker gets from the first scan to `Running`: which shards to list, and the rows that the table lacks. Also
//! creates those that turn out to be missing later.

use std::collections::BTreeMap;

use super::{BACKOFF, Listing, Phase, START_ATTEMPTS_MAX, VIEW_AGE_MAX, Worker};
use crate::kinesis::shard::{Shard, ShardFilter, ShardId};
use crate::leases::audit::first_hole;
use crate::leases::creations::{Creations, Progress};
use crate::leases::message::Loss;
use crate::leases::row::{Lease, Outcome};
use crate::leases::sync;
use crate::position::Checkpoint;
use crate::service::{ErrorKind, ServiceError};
use crate::time::Millis;

/// When a starting worker looks what is left after others began to fill the table too.
const LOOK_AGAIN: Millis = 500;

impl Worker {
    /// An empty table is filled by the shards of the initial position; otherwise all shards tell what is missing. One
    /// whose rows cannot be read is not empty: to fill it would repeat, or skip, what they say is done.
    pub(super) fn list_at_start(&mut self, now: Millis) {
        let has_unreadable = !self.table.unreadable().is_empty();
        if has_unreadable && !self.is_legible {
            self.fail_by_table(unreadable(self.table.unreadable()));
            self.scan_at = now + BACKOFF.longest;
        } else if self.table.is_empty() && !has_unreadable {
            self.list(Listing::Bootstrap, sync::bootstrap_filter(self.settings.initial_position));
        } else {
            self.list(Listing::Complete, ShardFilter::All);
        }
    }

    /// `seen_since` says since when it is known that rows are missing.
    pub(super) fn create_missing(&mut self, now: Millis, why: Listing, shards: &[Shard], seen_since: Millis) {
        if now.saturating_sub(self.viewed_at) > VIEW_AGE_MAX {
            let error = outdated();
            return self.call_failed(now, error.kind, error.to_string());
        }
        let initial = self.settings.initial_position;
        let unexpected = sync::unexpected_children(shards);
        if let (Some(child), false) = (unexpected.first(), self.settings.ignore_unexpected_children) {
            return self.implausible(now, &inconsistent(child));
        }
        let mut missing = match why {
            Listing::Bootstrap => match first_hole(shards.iter().map(|shard| &shard.hash_range).collect()) {
                Some(hole) => return self.implausible(now, &incomplete(shards, hole.start, hole.end)),
                None => sync::first_leases(shards, &unexpected, initial),
            },
            Listing::Complete | Listing::Running => {
                let missing =
                    sync::missing_leases(shards, &self.known_leases(), self.table.unreadable(), &unexpected, initial);
                self.fillable(now, seen_since, missing, shards)
            }
        };
        let contact = |lease: &mut Lease| {
            lease.latest_since = lease.latest_since.or(Some(now)).filter(|_| lease.checkpoint == Checkpoint::Latest);
        };
        missing.iter_mut().for_each(contact);
        self.creations = Creations::new(missing, &mut self.random);
        if self.creations.is_empty() {
            self.finish_creations(now);
        }
    }

    /// The stream was listed, and the listing cannot be true. Another one may be; after so many, a person must look.
    fn implausible(&mut self, now: Millis, error: &ServiceError) {
        self.implausible_listings += 1;
        self.call_failed(now, error.kind, error.to_string());
        if self.phase == Phase::Starting && self.implausible_listings >= START_ATTEMPTS_MAX {
            self.scan_at = now + BACKOFF.longest;
            self.fail(error.to_string());
        }
    }

    /// Those that the table shows, that this worker holds all the same, and that vanished a moment ago.
    fn known_leases(&self) -> Vec<Lease> {
        let mut known = self.table.leases();
        known.extend(self.table.vanished().map(|(lease, _)| lease.clone()));
        let unseen = self.held.values().filter(|held| !self.table.has_row(&held.lease.key));
        known.extend(unseen.map(|held| held.lease.clone()));
        known
    }

    /// Every missing row is there: start-up is over. What this worker knows of the table by then is enough to take the
    /// first leases without another scan, which may not even show the new rows yet.
    fn finish_creations(&mut self, now: Millis) {
        match self.phase {
            Phase::Starting => {
                self.phase = Phase::Running;
                self.failures = 0;
                self.take_or_steal(now);
            }
            Phase::Running => self.take(now),
            Phase::Stopping | Phase::Stopped => {}
        }
    }

    /// The answer to the creation of a row: one that start-up lacked, or a child of an ended shard.
    pub(super) fn created(&mut self, now: Millis, lease: Lease, result: Result<Outcome, ServiceError>) {
        match result {
            Ok(outcome) => {
                let is_refilled = self.refilled(&lease, &outcome);
                if outcome == Outcome::Done {
                    let is_new = !is_refilled && lease.latest_since.is_some();
                    self.created_at_latest.extend(is_new.then(|| lease.key.clone()));
                    self.table.learn(now, lease.clone());
                }
                self.held.values_mut().for_each(|held| held.child_exists(&lease.key));
                match self.creations.exists(&lease.key, outcome == Outcome::Done) {
                    Progress::Going => {}
                    Progress::Abandoned if self.phase == Phase::Starting => self.scan_by(now + LOOK_AGAIN),
                    Progress::Complete | Progress::Abandoned => self.finish_creations(now),
                }
            }
            Err(error) if error.kind.is_transient() => {
                self.held.values_mut().for_each(|held| held.child_failed(now, &lease.key, &mut self.random));
                if self.phase == Phase::Running {
                    // The next look at the table finds the hole again.
                    self.creations.give_up(&lease.key);
                } else {
                    self.creations.failed(now, lease, &mut self.random);
                }
            }
            Err(error) => {
                self.fail_by_table(error);
                let creating =
                    self.held.iter_mut().filter_map(|(key, held)| held.take_creation(&lease.key).then_some(key));
                let creating: Vec<ShardId> = creating.cloned().collect();
                creating.iter().for_each(|key| self.lose(key, Loss::Refused));
            }
        }
    }
}

/// What a person must know who gave this worker a table that it can do nothing with.
fn unreadable(rows: &BTreeMap<ShardId, String>) -> String {
    let example = rows.first_key_value().map(|(key, reason)| format!("`{key}`: {reason}")).unwrap_or_default();
    let count = rows.len();
    format!(
        "none of the {count} leases in the table can be read, so nothing is known of what was processed, and nothing is \
         read ({example}); set TableName to this stream's lease table, or delete these rows to begin at the initial \
         position"
    )
}

fn outdated() -> ServiceError {
    let message = format!("the lease table and the stream were not read within {VIEW_AGE_MAX} ms");
    ServiceError { kind: ErrorKind::Unavailable, operation: "ListShards", message }
}

fn inconsistent(child: &str) -> ServiceError {
    let message = format!("the stream lists {child}, but calls a parent of it open: the listing is of two moments");
    ServiceError { kind: ErrorKind::Unavailable, operation: "ListShards", message }
}

fn incomplete(shards: &[Shard], from: u128, to: u128) -> ServiceError {
    let message = format!("the {} shards listed leave hash keys {from}..={to} uncovered", shards.len());
    ServiceError { kind: ErrorKind::Unavailable, operation: "ListShards", message }
}
