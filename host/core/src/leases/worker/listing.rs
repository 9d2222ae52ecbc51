//! Listings of the stream's shards: one at a time, for the start, for the shards that ended or for the upkeep.

use super::{Listing, Phase, Worker};
use crate::kinesis::shard::{Shard, ShardFilter, ShardId};
use crate::leases::contradiction::Verdict;
use crate::leases::held::Held;
use crate::leases::message::Action;
use crate::leases::names::Names;
use crate::leases::notice::Notice;
use crate::service::ServiceError;
use crate::time::Millis;

/// How soon the stream is listed again for a shard whose end could not be sealed after the last listing.
const LISTING_POLL: Millis = 1_000;

impl Worker {
    pub(super) fn list(&mut self, why: Listing, filter: ShardFilter) {
        self.listing = Some(why);
        self.actions.push(Action::List(filter));
    }

    /// Lists the stream's shards when some ended shard needs them, to learn its children or because a merge child may
    /// not start yet, or when the upkeep does.
    pub(super) fn list_if_needed(&mut self, needed: fn(&Held) -> bool) {
        let for_children = self.held.values().any(|held| held.needs_listing() || needed(held));
        let needed = for_children || self.upkeep.needs_listing() || self.is_check_wanted;
        if needed && self.listing.is_none() && self.phase == Phase::Running {
            self.held.values_mut().for_each(Held::listing_asked);
            self.upkeep.listing_asked();
            self.is_check_wanted = false;
            self.list(Listing::Running, ShardFilter::All);
        }
    }

    pub(super) fn listed(&mut self, now: Millis, result: Result<Vec<Shard>, ServiceError>) {
        let why = self.listing.take();
        let shards = match result {
            Ok(shards) => shards,
            Err(error) => {
                self.held.values_mut().for_each(Held::listing_failed);
                self.upkeep.listing_failed();
                return self.call_failed(now, error.kind, error.to_string());
            }
        };
        let is_all = why != Some(Listing::Bootstrap);
        self.names = Names::of(&shards, is_all);
        if is_all {
            self.compare(now, &shards);
        }
        match (self.phase, why) {
            (Phase::Running, Some(Listing::Running)) => {
                self.listed_for_children(now, &shards);
                self.listed_for_upkeep(now, &shards);
            }
            (Phase::Starting | Phase::Running, Some(why)) => self.create_missing(now, why, &shards, now),
            _ => {}
        }
    }

    /// After a look at the table: whether a listing is needed to see what a suspicious row is, or to fill a hole.
    pub(super) fn want_check(&mut self, now: Millis) {
        let is_due = |when: Option<Millis>| when.is_some_and(|when| when <= now);
        self.is_check_wanted |= is_due(self.contradictions.confirm_at()) || is_due(self.fill_at());
    }

    /// Looks for rows that contradict what the stream says of its shards.
    fn compare(&mut self, now: Millis, shards: &[Shard]) {
        self.table.heed(|key| self.names.is_listed(key));
        let is_mine = |key: &ShardId| self.held.contains_key(key) || self.taking.contains_key(key);
        match self.contradictions.listed(now, &self.table, &self.names, shards, is_mine) {
            Verdict::Ignored(rows) => rows.into_iter().for_each(|(key, reason)| self.ignore(key, reason)),
            Verdict::Foreign(reason) => self.fail_by_table(of_another_stream(&reason)),
        }
        self.table.suspect(self.contradictions.keys().cloned().collect());
        if let Some(when) = self.contradictions.confirm_at() {
            self.scan_by(when.max(now));
        }
    }

    /// Leaves a row alone that is for no shard.
    pub(super) fn ignore(&mut self, key: ShardId, reason: String) {
        if self.table.ignore(key.clone()) {
            self.notice(Notice::RowIgnored { key, reason });
        }
    }

    fn listed_for_children(&mut self, now: Millis, shards: &[Shard]) {
        self.failures = 0;
        let known = self.table.keys();
        let refused = |(key, held): (&ShardId, &mut Held)| Some((key.clone(), held.listed(&known, shards)?));
        let refused: Vec<(ShardId, String)> = self.held.iter_mut().filter_map(refused).collect();
        for (key, reason) in refused {
            self.fail(format!("shard {key}: {reason}"));
        }
        if self.held.values().any(Held::needs_another_listing) {
            self.scan_by(now + LISTING_POLL);
        }
        self.list_if_needed(Held::needs_listing);
    }
}

/// What a person must know who gave this worker the table of another stream.
fn of_another_stream(reason: &str) -> String {
    format!(
        "it holds positions that did not come from this stream: {reason}. Either the stream was deleted and created again \
         under the same name, or the table belongs to another stream. Set TableName to a new table; or stop every worker \
         of this job and delete the rows of the table, to begin at the initial position"
    )
}
