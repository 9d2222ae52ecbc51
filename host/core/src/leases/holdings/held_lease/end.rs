//! The steps at a shard's end, in their order: children's leases, then their names on the parent, then SHARD_END, then
//! the release. A crash in between leaves a state from which the next owner repeats them.

use std::collections::BTreeSet;

use crate::kinesis::shard::{ChildShard, Shard, ShardId};
use crate::leases::row::{Lease, Write};
use crate::leases::sync;
use crate::position::Checkpoint;

/// Listings in a row that may lack what follows a shard whose reader reached its end, before the job is told: the
/// service's listings are a little behind its reads.
const UNFOLLOWED_MAX: u32 = 10;

pub(super) struct End {
    children: Vec<ChildShard>,
    step: Step,
    unfollowed: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    Due,
    /// On its way, and asked for after this shard ended.
    Asked,
    /// It left something to wait for: a merge child's other parent has no lease yet.
    Again,
}

#[derive(Debug, PartialEq)]
enum Step {
    /// The stream's shards are needed: no child was named, or a child's other parent has no lease.
    Listing(Listing),
    Creating {
        missing: Vec<ShardId>,
    },
    Linking,
    Sealing,
    Releasing,
}

impl End {
    pub(super) fn new(children: Vec<ChildShard>, known: &BTreeSet<ShardId>) -> Self {
        let parents_known = children.iter().flat_map(|child| &child.parents).all(|id| known.contains(id));
        let step = match !children.is_empty() && parents_known {
            true => Step::Creating { missing: ids(&children) },
            false => Step::Listing(Listing::Due),
        };
        Self { children, step, unfollowed: 0 }
    }

    pub(super) fn needs_listing(&self) -> bool {
        self.step == Step::Listing(Listing::Due)
    }

    pub(super) fn needs_another_listing(&self) -> bool {
        self.step == Step::Listing(Listing::Again)
    }

    /// Whether it waits for a listing, perhaps for other shards to be read first.
    pub(super) fn awaits_a_listing(&self) -> bool {
        matches!(self.step, Step::Listing(_))
    }

    pub(super) fn listing_asked(&mut self) {
        if let Step::Listing(listing) = &mut self.step {
            *listing = Listing::Asked;
        }
    }

    pub(super) fn listing_failed(&mut self) {
        if let Step::Listing(listing @ Listing::Asked) = &mut self.step {
            *listing = Listing::Again;
        }
    }

    /// The stream's shards, when they were asked for after the end of the shard `key`. Returns why it cannot be sealed.
    pub(super) fn listed(&mut self, key: &str, known: &BTreeSet<ShardId>, shards: &[Shard]) -> Option<String> {
        if self.step != Step::Listing(Listing::Asked) {
            return None;
        }
        self.step = Step::Listing(Listing::Again);
        let children = match self.children.is_empty() {
            true => sync::children_of(key, shards),
            false => std::mem::take(&mut self.children),
        };
        let covers = |shard: &Shard| sync::first_uncovered(shard, &children).is_none();
        if let Some(shard) = shards.iter().find(|shard| shard.id == key && !covers(shard)) {
            self.unfollowed += 1;
            return (self.unfollowed >= UNFOLLOWED_MAX).then(|| unfollowed(shard));
        }
        self.children = children;
        // A child that has its row was created when all of its parents had theirs: one that has none now is done.
        let awaits =
            |child: &ChildShard| !known.contains(&child.id) && !sync::awaited_parents(child, known, shards).is_empty();
        if !self.children.iter().any(awaits) {
            self.step = match self.children.is_empty() {
                true => Step::Sealing,
                false => Step::Creating { missing: ids(&self.children) },
            };
        }
        None
    }

    pub(super) fn child_exists(&mut self, child: &str) {
        if let Step::Creating { missing } = &mut self.step {
            missing.retain(|id| id != child);
            if missing.is_empty() {
                self.step = Step::Linking;
            }
        }
    }

    pub(super) fn children_named(&mut self) {
        self.step = Step::Sealing;
    }

    pub(super) fn sealed(&mut self) {
        self.step = Step::Releasing;
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.step == Step::Releasing
    }

    /// The write that takes the next step; `None` while a listing is awaited, and for the release.
    pub(super) fn next_write(&self, lease: &Lease, worker: &str) -> Option<Write> {
        match &self.step {
            Step::Listing(_) | Step::Releasing => None,
            Step::Creating { missing } => {
                let child = self.children.iter().find(|child| missing.first() == Some(&child.id))?;
                Some(Write::Create(sync::child_lease(child)))
            }
            Step::Linking => Some(Write::Children { key: lease.key.clone(), children: ids(&self.children) }),
            Step::Sealing => Some(Write::Checkpoint {
                key: lease.key.clone(),
                owner: worker.to_owned(),
                counter: lease.counter,
                checkpoint: Checkpoint::ShardEnd,
            }),
        }
    }
}

fn unfollowed(shard: &Shard) -> String {
    let why = if shard.open { "calls it open" } else { "lists no children that take over all of its hash keys" };
    format!("its reader reached the end, but the stream {why}: it cannot be sealed")
}

fn ids(children: &[ChildShard]) -> Vec<ShardId> {
    children.iter().map(|child| child.id.clone()).collect()
}
