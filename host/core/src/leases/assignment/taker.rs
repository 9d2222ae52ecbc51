//! Which leases a worker takes after it read the table, by the rules of the Kinesis Client Library 2.x, so that both
//! can balance one table between them:
//!
//! - a worker's share is `ceil(leases / workers)`, or one when there are as many workers as leases;
//! - free leases are taken at random up to the share; those that nobody cared for in three failover times, and this
//!   worker's own from before a restart, beyond it;
//! - only when nothing is free, some are stolen from the worker that has the most.
//!
//! Two deviations. Leases at SHARD_END, and those that wait for their parents, are not taken and count for nobody here,
//! because they are no work, while a Java worker takes and counts them. Its share is then the larger one, so that it never wants what a worker here
//! holds within its own share; what it leaves because it is full of such leases is overdue soon and is taken here.
//! And a lease that nobody owns is overdue only after it was seen so for a while, not at first sight: the first worker
//! of a starting fleet would take the whole table, from which the others had to steal it back.

use std::collections::{BTreeMap, BTreeSet};

use crate::kinesis::shard::ShardId;
use crate::leases::message::Settings;
use crate::leases::row::Lease;
use crate::leases::table::Table;
use crate::leases::waiting::is_waiting;
use crate::random::Random;
use crate::time::Millis;

/// One look at the table.
pub(super) struct Taker<'a> {
    pub(super) table: &'a Table,
    pub(super) now: Millis,
    pub(super) settings: &'a Settings,
    /// The leases that this worker holds or is taking.
    pub(super) mine: BTreeSet<ShardId>,
    /// How many of them count against its limit and its share.
    pub(super) places_taken: usize,
}

impl<'a> Taker<'a> {
    /// Some of the free leases, at random, so that workers which look at the same time do not want the same ones.
    pub(super) fn to_take(&self, random: &mut Random) -> Vec<Lease> {
        let mut free = self.free();
        random.shuffle(&mut free);
        let (mut chosen, others): (Vec<&Lease>, Vec<&Lease>) =
            free.into_iter().partition(|lease| self.goes_first(lease));
        chosen.truncate(self.settings.max_leases.saturating_sub(self.places_taken));
        let missing = self.wanted().saturating_sub(chosen.len());
        chosen.extend(others.into_iter().take(missing));
        chosen.into_iter().cloned().collect()
    }

    /// When nothing is free: some leases of the worker that has the most. One less than the share is balance enough.
    pub(super) fn to_steal(&self, random: &mut Random) -> Vec<Lease> {
        if !self.free().is_empty() {
            return Vec::new();
        }
        let mut loads: BTreeMap<&str, Vec<&Lease>> = BTreeMap::new();
        let of_others = self.table.of_others(self.now, self.settings);
        for (owner, lease) in of_others.filter(|(_, lease)| !is_waiting(self.table, lease)) {
            loads.entry(owner).or_default().push(lease);
        }
        let mut loads: Vec<Vec<&Lease>> = loads.into_values().collect();
        random.shuffle(&mut loads);
        let Some(mut most) = loads.into_iter().max_by_key(Vec::len) else {
            return Vec::new();
        };
        let wanted = self.wanted();
        let surplus = wanted.min(most.len().saturating_sub(self.share()));
        let stolen = if surplus == 0 && wanted > 1 { 1 } else { surplus };
        // A 3.x worker is handing it over, and may still checkpoint; or this worker has not heard yet that it lost it.
        most.retain(|lease| lease.checkpoint_owner.is_none() && !self.mine.contains(&lease.key));
        random.shuffle(&mut most);
        most.into_iter().take(stolen.min(self.settings.max_leases_to_steal)).cloned().collect()
    }

    fn free(&self) -> Vec<&'a Lease> {
        let ready = self.table.ready(self.now, self.settings).into_iter();
        ready.filter(|lease| !self.mine.contains(&lease.key)).collect()
    }

    fn goes_first(&self, lease: &Lease) -> bool {
        lease.owner.as_ref() == Some(&self.settings.worker)
            || self.table.is_overdue(self.now, &lease.key, self.settings.failover)
    }

    fn wanted(&self) -> usize {
        self.share().saturating_sub(self.places_taken)
    }

    fn share(&self) -> usize {
        let leases = self.table.readable_count().max(self.places_taken);
        let owners = self.table.live_owners(self.now, self.settings);
        let others: BTreeSet<&str> = owners.filter(|owner| *owner != self.settings.worker).collect();
        let workers = others.len() + 1;
        let share = if workers >= leases { 1 } else { leases.div_ceil(workers) };
        share.min(self.settings.max_leases)
    }
}
