//! Which leases a table still needs, given the stream's shards. Pure functions of (shards, leases, initial position).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::audit::first_hole_in;
use super::row::Lease;
use crate::kinesis::shard::{ChildShard, HashRange, Shard, ShardFilter, ShardId};
use crate::position::{Checkpoint, InitialPosition, SequenceNumber};

/// The filter with which an empty table lists the shards to start with.
pub(super) fn bootstrap_filter(initial: InitialPosition) -> ShardFilter {
    match initial {
        InitialPosition::Latest => ShardFilter::AtLatest,
        InitialPosition::TrimHorizon => ShardFilter::AtTrimHorizon,
        InitialPosition::AtTimestamp(ms) => ShardFilter::AtTimestamp(ms),
    }
}

/// The shards whose parent the same listing calls open. A stream closes a shard when it opens its children, so such a
/// listing is of two moments.
pub(super) fn unexpected_children(shards: &[Shard]) -> BTreeSet<&str> {
    let open: BTreeSet<&str> = shards.iter().filter(|shard| shard.open).map(|shard| shard.id.as_str()).collect();
    let is_unexpected = |shard: &&Shard| shard.parents.iter().any(|parent| open.contains(parent.as_str()));
    shards.iter().filter(is_unexpected).map(|shard| shard.id.as_str()).collect()
}

/// The rows of an empty table: every shard that was listed for the initial position, except for `unexpected` ones.
pub(super) fn first_leases(shards: &[Shard], unexpected: &BTreeSet<&str>, initial: InitialPosition) -> Vec<Lease> {
    let mut shards: Vec<&Shard> = shards.iter().filter(|shard| !unexpected.contains(shard.id.as_str())).collect();
    shards.sort_by_cached_key(|shard| creation_order(shard));
    shards.into_iter().map(|shard| new_lease(shard, initial.checkpoint())).collect()
}

/// Parents come before their children, so that a crash between two creations is healed by the next run.
fn creation_order(shard: &Shard) -> (Option<SequenceNumber>, ShardId) {
    (SequenceNumber::parse(&shard.starting_sequence).ok(), shard.id.clone())
}

/// The row of a shard that nobody has read yet.
pub(super) fn new_lease(shard: &Shard, checkpoint: Checkpoint) -> Lease {
    Lease {
        key: shard.id.clone(),
        owner: None,
        counter: 0,
        owner_switches: 0,
        checkpoint,
        parents: shard.parents.clone(),
        children: Vec::new(),
        hash_range: Some(shard.hash_range.clone()),
        checkpoint_owner: None,
        latest_since: None,
    }
}

/// The row of a child named at its parents' end. Always TRIM_HORIZON: its first record follows their last.
pub(super) fn child_lease(child: &ChildShard) -> Lease {
    Lease {
        key: child.id.clone(),
        owner: None,
        counter: 0,
        owner_switches: 0,
        checkpoint: Checkpoint::TrimHorizon,
        parents: child.parents.clone(),
        children: Vec::new(),
        hash_range: Some(child.hash_range.clone()),
        checkpoint_owner: None,
        latest_since: None,
    }
}

/// The rows that a table with leases lacks, in the order in which to create them (by starting sequence number, so
/// that a crash in between is healed by the next run).
///
/// An open shard whose ancestor has a lease gets its own when that ancestor's end is reached; only what no lease
/// leads to is created here: the shard itself for LATEST, its oldest ancestors otherwise, and likewise for the
/// unknown second parent of a merge. A child whose parents are all at SHARD_END but which has no row gets one.
/// `unexpected` shards get none. A row that cannot be read leads to its shard's descendants like any other, but how far
/// it got is not known.
pub(super) fn missing_leases(
    shards: &[Shard],
    leases: &[Lease],
    unreadable: &BTreeMap<ShardId, String>,
    unexpected: &BTreeSet<&str>,
    initial: InitialPosition,
) -> Vec<Lease> {
    let mut sync = Sync {
        shards: shards.iter().map(|shard| (shard.id.as_str(), shard)).collect(),
        leases: leases.iter().map(|lease| (lease.key.as_str(), lease)).collect(),
        unreadable,
        initial,
        covered: HashMap::new(),
        created_from: BTreeSet::new(),
        new: BTreeMap::new(),
    };
    for shard in shards.iter().filter(|shard| shard.open && !unexpected.contains(shard.id.as_str())) {
        if !sync.cover(shard) {
            sync.create_from(shard);
        }
    }
    let mut new: Vec<(&Shard, Checkpoint)> =
        sync.new.into_iter().map(|(id, checkpoint)| (sync.shards[id], checkpoint)).collect();
    new.sort_by_cached_key(|(shard, _)| creation_order(shard));
    new.into_iter().map(|(shard, checkpoint)| new_lease(shard, checkpoint)).collect()
}

struct Sync<'a> {
    shards: HashMap<&'a str, &'a Shard>,
    leases: HashMap<&'a str, &'a Lease>,
    unreadable: &'a BTreeMap<ShardId, String>,
    initial: InitialPosition,
    /// Whether a lease of the shard or of an ancestor leads to it.
    covered: HashMap<&'a str, bool>,
    /// Shards from which leases were created on already: lineages that split and merge over and over meet again.
    created_from: BTreeSet<&'a str>,
    new: BTreeMap<&'a str, Checkpoint>,
}

impl<'a> Sync<'a> {
    fn parents(&self, shard: &'a Shard) -> Vec<&'a Shard> {
        shard.parents.iter().filter_map(|id| self.shards.get(id.as_str()).copied()).collect()
    }

    fn cover(&mut self, shard: &'a Shard) -> bool {
        let id = shard.id.as_str();
        if let Some(&known) = self.covered.get(id) {
            return known;
        }
        let has_row = self.leases.contains_key(id) || self.unreadable.contains_key(id);
        let covered = has_row || self.cover_by_parents(shard);
        self.covered.insert(id, covered);
        covered
    }

    fn cover_by_parents(&mut self, shard: &'a Shard) -> bool {
        let parents = self.parents(shard);
        if parents.is_empty() && shard.parents.iter().any(|id| self.is_at_end(id)) {
            // Its parents left the stream, but their rows tell that it follows without a gap.
            self.new.insert(&shard.id, Checkpoint::TrimHorizon);
            return true;
        }
        let covered: Vec<bool> = parents.iter().map(|parent| self.cover(parent)).collect();
        if !covered.contains(&true) {
            return false;
        }
        for (parent, _) in parents.iter().zip(&covered).filter(|(_, covered)| !**covered) {
            self.create_from(parent);
        }
        if parents.iter().all(|parent| self.is_at_end(&parent.id)) {
            self.new.insert(&shard.id, Checkpoint::TrimHorizon);
        }
        true
    }

    fn is_at_end(&self, id: &str) -> bool {
        self.leases.get(id).is_some_and(|lease| lease.checkpoint == Checkpoint::ShardEnd)
    }

    /// Nothing leads to `shard`: start it, or its oldest ancestors when old records are wanted.
    fn create_from(&mut self, shard: &'a Shard) {
        if !self.created_from.insert(&shard.id) {
            return;
        }
        let parents = match self.initial {
            InitialPosition::Latest => Vec::new(),
            InitialPosition::TrimHorizon | InitialPosition::AtTimestamp(_) => self.parents(shard),
        };
        if parents.is_empty() {
            self.new.insert(&shard.id, self.initial.checkpoint());
        }
        for parent in parents {
            self.create_from(parent);
        }
    }
}

/// The children that `parent` has in a listing: what a reader that reached the end without being told asks for.
pub(super) fn children_of(parent: &str, shards: &[Shard]) -> Vec<ChildShard> {
    let is_child = |shard: &&Shard| shard.parents.iter().any(|id| id == parent);
    shards
        .iter()
        .filter(is_child)
        .map(|shard| ChildShard {
            id: shard.id.clone(),
            parents: shard.parents.clone(),
            hash_range: shard.hash_range.clone(),
        })
        .collect()
}

/// The first hash keys of `shard` that no child covers: keys that nobody would read any more.
pub(super) fn first_uncovered(shard: &Shard, children: &[ChildShard]) -> Option<HashRange> {
    first_hole_in(&shard.hash_range, children.iter().map(|child| &child.hash_range).collect())
}

/// The other parents of `child` that have no lease although their shard still exists: their lease is about to be
/// created by whoever reads *their* parents, and the child must not overtake them.
pub(super) fn awaited_parents(child: &ChildShard, leases: &BTreeSet<ShardId>, shards: &[Shard]) -> Vec<ShardId> {
    let exists = |id: &ShardId| shards.iter().any(|shard| shard.id == *id);
    child.parents.iter().filter(|id| !leases.contains(*id) && exists(id)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: u32, parents: &[u32], sequence: u32, open: bool) -> Shard {
        Shard {
            id: id.to_string(),
            parents: parents.iter().map(u32::to_string).collect(),
            hash_range: HashRange { start: 0, end: u128::MAX },
            starting_sequence: sequence.to_string(),
            open,
        }
    }

    /// The tree of the Kinesis Client Library's documentation: 0-5 till 102, 6-7 till 205, then 8, 4, 9, 10 open.
    fn documented_tree() -> Vec<Shard> {
        let mut shards: Vec<Shard> = (0..4).map(|id| shard(id, &[], 0, false)).collect();
        shards.push(shard(4, &[], 0, true));
        shards.push(shard(5, &[], 0, false));
        shards.push(shard(6, &[0, 1], 103, false));
        shards.push(shard(7, &[2, 3], 103, false));
        shards.push(shard(8, &[6, 7], 206, true));
        shards.push(shard(9, &[5], 206, true));
        shards.push(shard(10, &[5], 206, true));
        shards
    }

    fn leases(ids: &[u32], checkpoint: &Checkpoint) -> Vec<Lease> {
        ids.iter().map(|&id| new_lease(&shard(id, &[], 0, true), checkpoint.clone())).collect()
    }

    fn created(existing: &[u32], initial: InitialPosition) -> Vec<(String, Checkpoint)> {
        let existing = leases(existing, &Checkpoint::Latest);
        missing_leases(&documented_tree(), &existing, &BTreeMap::new(), &BTreeSet::new(), initial)
            .into_iter()
            .map(|lease| (lease.key, lease.checkpoint))
            .collect()
    }

    #[test]
    fn the_documented_tree_gives_the_documented_leases() {
        let latest = vec![("6".to_owned(), Checkpoint::Latest)];
        assert_eq!(created(&[4, 5, 7], InitialPosition::Latest), latest);
        let oldest = |checkpoint: Checkpoint| vec![("0".to_owned(), checkpoint.clone()), ("1".to_owned(), checkpoint)];
        assert_eq!(created(&[4, 5, 7], InitialPosition::TrimHorizon), oldest(Checkpoint::TrimHorizon));
        assert_eq!(created(&[4, 5, 7], InitialPosition::AtTimestamp(200)), oldest(Checkpoint::AtTimestamp));
    }

    #[test]
    fn a_half_created_table_is_completed() {
        let first: Vec<String> =
            created(&[0, 1], InitialPosition::TrimHorizon).into_iter().map(|(key, _)| key).collect();
        assert_eq!(first, ["2", "3", "4", "5"]);
        let open: Vec<String> = created(&[4], InitialPosition::Latest).into_iter().map(|(key, _)| key).collect();
        assert_eq!(open, ["10", "8", "9"]);
    }

    #[test]
    fn a_child_whose_row_vanished_after_its_parents_ended_is_created_again() {
        let ended = leases(&[4, 5, 6, 7], &Checkpoint::ShardEnd);
        let again =
            missing_leases(&documented_tree(), &ended, &BTreeMap::new(), &BTreeSet::new(), InitialPosition::Latest);
        let keys: Vec<&str> = again.iter().map(|lease| lease.key.as_str()).collect();
        assert_eq!(keys, ["10", "8", "9"]);
        assert!(again.iter().all(|lease| lease.checkpoint == Checkpoint::TrimHorizon));
    }

    /// A stream that scales up and down every day: the paths through its lineage are 2^60.
    #[test]
    fn a_lineage_of_many_splits_and_merges_is_walked_once() {
        let mut shards = vec![shard(0, &[], 0, false)];
        for round in 0..60 {
            let (parent, child) = (3 * round, 3 * round + 1);
            shards.push(shard(child, &[parent], child, false));
            shards.push(shard(child + 1, &[parent], child, false));
            shards.push(shard(child + 2, &[child, child + 1], child + 2, round == 59));
        }
        let created = missing_leases(&shards, &[], &BTreeMap::new(), &BTreeSet::new(), InitialPosition::TrimHorizon);
        assert_eq!(created.iter().map(|lease| lease.key.as_str()).collect::<Vec<_>>(), ["0"]);
    }

    #[test]
    fn a_merged_child_waits_for_a_parent_whose_lease_is_still_to_come() {
        let tree = documented_tree();
        let child = &children_of("7", &tree)[0];
        assert_eq!(child.id, "8");
        let known = BTreeSet::from(["7".to_owned()]);
        assert_eq!(awaited_parents(child, &known, &tree), ["6"]);
        assert_eq!(awaited_parents(child, &known, &tree[7..]), Vec::<String>::new(), "an aged-out parent is no reason");
    }
}
