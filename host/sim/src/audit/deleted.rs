//! What a row that somebody deleted by hand permits: that records since the last commit are read again, and that the
//! order between a shard and those that came of it suffers where nobody could know of the row. Not that one is lost, or
//! that the row is put back before what its holder has committed.

use std::collections::BTreeMap;

use shardmill_core::kinesis::shard::ShardId;
use shardmill_core::leases::{Lease, Notice};
use shardmill_core::time::Millis;

use super::{Audit, Life};

#[derive(Default)]
pub(super) struct Deleted {
    /// When.
    rows: BTreeMap<ShardId, Millis>,
    /// One of the shards had children already.
    is_order_excused: bool,
}

impl Audit {
    pub(crate) fn row_deleted(&mut self, now: Millis, row: &Lease) {
        let shard = self.truth.index(&row.key);
        self.deleted.is_order_excused |= !self.truth.shards[shard].children.is_empty();
        self.deleted.rows.insert(row.key.clone(), now);
    }

    pub(crate) fn was_deleted(&self, key: &str) -> bool {
        self.deleted.rows.contains_key(key)
    }

    /// Whether a row was deleted of a shard that came of this one, or of an ancestor of it. If nobody lives who knew that
    /// row, the lineage is read again from its first shard on.
    pub(super) fn is_related_to_a_deleted(&self, shard: usize) -> bool {
        let parents = &self.truth.shards[shard].parents;
        self.leads_to_a_deleted(shard) || parents.iter().any(|&parent| self.is_related_to_a_deleted(parent))
    }

    fn leads_to_a_deleted(&self, shard: usize) -> bool {
        let children = &self.truth.shards[shard].children;
        self.was_deleted(&self.truth.shards[shard].id) || children.iter().any(|&child| self.leads_to_a_deleted(child))
    }

    pub(super) fn is_order_excused(&self) -> bool {
        self.deleted.is_order_excused
    }

    /// A worker puts a row back that it believes to hold. It may have lost the lease without having heard of it: then who
    /// took it hears of this.
    pub(super) fn restored(&mut self, life: Life, lease: &Lease) {
        let (key, checkpoint) = (&lease.key, &lease.checkpoint);
        let was_deleted = self.was_deleted(key);
        self.require(was_deleted, || format!("{key} is put back, but nobody deleted it"));
        self.holders.insert(key.clone(), life);
        let shard = self.truth.index(key);
        let covered = self.truth.covered(shard, checkpoint);
        let of_life = self.holdings.iter().filter(|((of, _), holding)| *of == life && holding.shard == shard);
        let written = of_life.map(|(_, holding)| holding.written).max().unwrap_or_default();
        self.require(covered >= written, || format!("{key} is put back at {checkpoint}, but {written} are committed"));
        let durable = self.truth.shards[shard].durable;
        self.require(covered <= durable, || format!("{key} is put back at {checkpoint}, but {durable} are durable"));
    }

    /// A new row, perhaps in the place of a deleted one.
    pub(super) fn refilled(&mut self, now: Millis, lease: &Lease) {
        let (key, checkpoint) = (&lease.key, &lease.checkpoint);
        let shard = self.truth.index(key);
        let (covered, durable) = (self.truth.covered(shard, checkpoint), self.truth.shards[shard].durable);
        let is_earned = covered <= durable || self.truth.is_excused(now, shard, covered);
        self.require(is_earned, || format!("{key} begins at {checkpoint}, but {durable} are durable"));
    }

    /// What a worker reports must be so.
    pub(crate) fn noticed(&mut self, name: &str, notice: &Notice) {
        let is_true = match notice {
            Notice::RowRestored { key, .. } | Notice::RowRefilled { key, .. } => self.was_deleted(key),
            Notice::RowIgnored { key, .. } => !self.truth.knows(key),
            // Calls that are carried out twice look like it.
            Notice::DuplicateWorker { .. } => true,
        };
        self.require(is_true, || format!("{name} reports {notice:?}"));
    }
}
