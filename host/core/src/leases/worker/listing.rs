//! Listings of the stream's shards: one at a time, for the start, for the shards that ended or for the upkeep.

use super::{Listing, Phase, Worker};
use crate::leases::held::Held;
use crate::leases::message::{Action, Millis};
use crate::service::ServiceError;
use crate::shard::{Shard, ShardFilter, ShardId};

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
        let needed = for_children || self.upkeep.needs_listing();
        if needed && self.listing.is_none() && self.phase == Phase::Running {
            self.held.values_mut().for_each(Held::listing_asked);
            self.upkeep.listing_asked();
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
                return self.call_failed(now, &error);
            }
        };
        match (self.phase, why) {
            (Phase::Running, Some(Listing::Running)) => {
                self.listed_for_children(now, &shards);
                self.listed_for_upkeep(now, &shards);
            }
            (Phase::Starting | Phase::Running, Some(why)) => self.create_missing(now, why, &shards),
            _ => {}
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
