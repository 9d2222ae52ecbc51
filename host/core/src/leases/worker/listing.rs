//! Listings of the stream's shards: one at a time, for the start or for the shards that ended.

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

    /// Some ended shard needs the stream's shards: to learn its children, or because a merge child may not start yet.
    pub(super) fn list_for_children(&mut self, needed: fn(&Held) -> bool) {
        let needed = self.held.values().any(|held| held.needs_listing() || needed(held));
        if needed && self.listing.is_none() && self.phase == Phase::Running {
            self.held.values_mut().for_each(Held::listing_asked);
            self.list(Listing::Children, ShardFilter::All);
        }
    }

    pub(super) fn listed(&mut self, now: Millis, result: Result<Vec<Shard>, ServiceError>) {
        let why = self.listing.take();
        let shards = match result {
            Ok(shards) => shards,
            Err(error) => {
                self.held.values_mut().for_each(Held::listing_failed);
                return self.call_failed(now, &error);
            }
        };
        match (self.phase, why) {
            (Phase::Starting, Some(why)) => self.create_missing(now, why, &shards),
            (Phase::Running, Some(Listing::Children)) => self.listed_for_children(now, &shards),
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
        self.list_for_children(Held::needs_listing);
    }
}
