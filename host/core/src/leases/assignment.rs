//! Which leases this worker takes, and when. The rules are those of the Kinesis Client Library 2.x, where each worker
//! chooses for itself (`taker`); `acquire` sends the takes and says which of them made a lease this worker's.
//!
//! This is the seam for the assignment of the Kinesis Client Library 3.x, where the fleet's leader chooses for all: it
//! would stand beside the taker here. Nothing outside asks more of an assignment than [`Assignment`] has.

mod acquire;
mod taker;

use std::collections::BTreeSet;

use super::context::Context;
use super::holdings::{Acquired, Holdings};
use super::row::{Lease, Outcome};
use crate::kinesis::shard::ShardId;
use crate::service::ServiceError;
use crate::time::Millis;
use acquire::Takes;
use taker::Taker;

/// A scan is not due at the very end of an interval between thefts: one that is so little before it will do.
const THEFT_SLACK: Millis = 500;

#[derive(Default)]
pub(super) struct Assignment {
    takes: Takes,
    /// No lease is stolen before.
    steal_at: Millis,
}

impl Assignment {
    /// Takes what no worker holds, up to a fair share of all leases; nothing unless the worker is running.
    pub(super) fn take(&mut self, context: &mut Context, now: Millis, holdings: &Holdings) {
        self.choose(context, now, holdings, false);
    }

    /// [`Assignment::take`] after a scan; when that shows nothing free, some leases of a worker that has too many, once in
    /// each of the protocol's intervals.
    pub(super) fn take_or_steal(&mut self, context: &mut Context, now: Millis, holdings: &Holdings) {
        self.choose(context, now, holdings, now >= self.steal_at);
    }

    fn choose(&mut self, context: &mut Context, now: Millis, holdings: &Holdings, may_steal: bool) {
        if !context.is_running() {
            return;
        }
        let (mine, places_taken) = self.load(holdings);
        let Context { settings, table, random, .. } = context;
        let taker = Taker { table, now: table.scanned_at(), settings, mine, places_taken };
        let stolen = if may_steal { taker.to_steal(random) } else { Vec::new() };
        let free = taker.to_take(random);
        if !stolen.is_empty() {
            self.steal_at = now + settings.take_interval().saturating_sub(THEFT_SLACK);
        }
        self.takes.send_free(context, now, free);
        self.takes.send_stolen(context, now, stolen);
    }

    /// The answer to a take: the lease, if it is this worker's now.
    pub(super) fn answered(
        &mut self,
        context: &mut Context,
        now: Millis,
        seen: Lease,
        result: Result<Outcome, ServiceError>,
    ) -> Option<Acquired> {
        self.takes.answered(context, now, seen, result)
    }

    /// Whether to [`Assignment::take`] more, after an answer.
    pub(super) fn goes_on(&mut self, context: &mut Context, now: Millis) -> bool {
        self.takes.go_on(context, now)
    }

    /// This worker created a row at LATEST, which no worker has read yet.
    pub(super) fn created_at_latest(&mut self, key: ShardId) {
        self.takes.created_at_latest(key);
    }

    /// How many takes are on their way.
    pub(super) fn pending(&self) -> usize {
        self.takes.len()
    }

    pub(super) fn is_pending(&self, key: &str) -> bool {
        self.takes.contains(key)
    }

    /// The leases that this worker holds or is taking, and how many of them count against its limit and its share.
    fn load(&self, holdings: &Holdings) -> (BTreeSet<ShardId>, usize) {
        let mut mine = holdings.unsealed();
        mine.extend(self.takes.keys().cloned());
        (mine, holdings.places_taken() + self.takes.len())
    }
}
