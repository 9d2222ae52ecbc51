//! Which rows a table lacks, as data: lineages, the leases that exist, and what must be created. Beside the cases that
//! the Kinesis Client Library has for it, which are in `syncer`: more tables on the same lineages, other lineages, and
//! random ones.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Stream;
use crate::dice::{Dice, histories};
use crate::kinesis::shard::{HashRange, Shard};
use crate::leases::sync::{first_leases, missing_leases, new_lease, unexpected_children};
use crate::position::{Checkpoint, InitialPosition};

const POSITIONS: [InitialPosition; 3] =
    [InitialPosition::Latest, InitialPosition::TrimHorizon, InitialPosition::AtTimestamp(200)];

/// A shard as `id<parent,parent`, with `*` after it when it is open. Numbers are starting sequence numbers too.
fn shard(text: &str) -> Shard {
    let (text, open) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
    let (id, parents) = text.split_once('<').unwrap_or((text, ""));
    Shard {
        id: id.to_owned(),
        parents: parents.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect(),
        hash_range: HashRange { start: 0, end: u128::MAX },
        starting_sequence: id.to_owned(),
        open,
    }
}

fn graph(text: &str) -> Vec<Shard> {
    text.split_whitespace().map(shard).collect()
}

/// What is created for a graph when `existing` shards have leases at `checkpoint`.
fn created(
    graph: &[Shard],
    existing: &str,
    checkpoint: &Checkpoint,
    initial: InitialPosition,
) -> Vec<(String, Checkpoint)> {
    let leases: Vec<_> = existing.split_whitespace().map(|id| new_lease(&shard(id), checkpoint.clone())).collect();
    let created = missing_leases(graph, &leases, &BTreeMap::new(), &unexpected_children(graph), initial);
    created.into_iter().map(|lease| (lease.key, lease.checkpoint)).collect()
}

/// Checks cases of (existing leases, created for LATEST, created for TRIM_HORIZON and AT_TIMESTAMP), in this order of
/// creation, each at its initial position.
fn check(graph: &[Shard], cases: &[(&str, &str, &str)]) {
    for (existing, latest, oldest) in cases {
        for (initial, expected) in POSITIONS.into_iter().zip([latest, oldest, oldest]) {
            let expected: Vec<(String, Checkpoint)> =
                expected.split_whitespace().map(|id| (id.to_owned(), initial.checkpoint())).collect();
            let created = created(graph, existing, &Checkpoint::Latest, initial);
            assert_eq!(created, expected, "leases of ({existing}), {initial:?}");
        }
    }
}

/// (44) Merges of merges, and a split:
///
/// ```text
/// 0 1 2 3 4   5
/// \ / \ / |   |
///  6   7  4   5
///   \ /   |  / \
///    8    4 9  10
/// ```
#[test]
fn splits_and_merges() {
    let graph = graph("0 1 2 3 4* 5 6<0,1 7<2,3 8<6,7* 9<5* 10<5*");
    check(
        &graph,
        &[
            ("0 1 2 3 4 5", "", ""),
            ("0 1 2 3 4 5 6 7 8 9 10", "", ""),
            ("4 5 8 9 10", "", ""),
            ("4", "8 9 10", "0 1 2 3 5"),
            ("5", "4 8", "0 1 2 3 4"),
            ("4 5", "8", "0 1 2 3"),
            ("8", "4 9 10", "4 5"),
            ("9", "4 8 10", "0 1 2 3 4 5"),
            ("10", "4 8 9", "0 1 2 3 4 5"),
            ("9 10", "4 8", "0 1 2 3 4"),
            ("6", "4 7 9 10", "2 3 4 5"),
            ("7", "4 6 9 10", "0 1 4 5"),
            ("6 7", "4 9 10", "4 5"),
            ("0", "1 4 7 9 10", "1 2 3 4 5"),
            ("0 2", "1 3 4 9 10", "1 3 4 5"),
            ("1 2", "0 3 4 9 10", "0 3 4 5"),
            ("0 1", "4 7 9 10", "2 3 4 5"),
            ("2 3 6", "4 9 10", "4 5"),
            ("0 7", "1 4 9 10", "1 4 5"),
            ("7 10", "4 6 9", "0 1 4 5"),
            ("5 6", "4 7", "2 3 4"),
            ("0 1 2 3 4 5 6", "", ""),
        ],
    );
}

/// (44) A stream that is merged and split again and again:
///
/// ```text
/// 0  3   6   9
/// \ / \ / \ /
///  2   5   8
/// / \ / \ / \
/// 1  4   7  10
/// ```
#[test]
fn a_chain_of_merges_and_splits() {
    let graph = graph("0 1 2<0,1 3<2 4<2 5<3,4 6<5 7<5 8<6,7 9<8* 10<8*");
    check(
        &graph,
        &[
            ("0", "1", "1"),
            ("1", "0", "0"),
            ("0 1", "", ""),
            ("2", "", ""),
            ("3", "4", "0 1"),
            ("4", "3", "0 1"),
            ("3 4", "", ""),
            ("0 3", "1", "1"),
            ("6 7", "", ""),
            ("2 6", "", ""),
            ("8", "", ""),
            ("9", "10", "0 1"),
            ("8 9", "", ""),
            ("9 10", "", ""),
            ("0 1 2 3 4 5 6 7 8 9 10", "", ""),
        ],
    );
}

/// (44) A stream that was never resharded, or of which nothing is left.
#[test]
fn streams_without_a_past() {
    check(&graph(""), &[("", "", ""), ("0", "", "")]);
    check(&graph("0*"), &[("", "0", "0"), ("0", "", ""), ("7", "0", "0")]);
    check(&graph("0* 1*"), &[("", "0 1", "0 1"), ("0", "1", "1"), ("1", "0", "0"), ("0 1", "", "")]);
    check(&graph("0 1"), &[("", "", ""), ("0", "", "")]);
}

/// (44) Retention cut the oldest shards off: what names a parent that is not listed is the oldest there is.
#[test]
fn parents_that_left_the_stream() {
    let graph = graph("6<0,1 7<2,3 8<6,7* 9<5* 10<5*");
    check(
        &graph,
        &[("", "8 9 10", "6 7 9 10"), ("6", "7 9 10", "7 9 10"), ("6 7 9", "10", "10"), ("0 1", "8 9 10", "6 7 9 10")],
    );
}

/// (46) A child of an open shard gets no lease, whatever else there is; its parent does.
#[test]
fn unexpected_children_get_nothing() {
    let split = graph("0* 1<0* 2<0* 3*");
    assert_eq!(unexpected_children(&split), BTreeSet::from(["1", "2"]));
    check(&split, &[("", "0 3", "0 3"), ("0", "3", "3"), ("0 3", "", ""), ("1", "0 3", "0 3")]);
    let merge = graph("0 1* 2<0,1*");
    assert_eq!(unexpected_children(&merge), BTreeSet::from(["2"]));
    check(&merge, &[("", "1", "1"), ("0", "1", "1"), ("0 1", "", "")]);
    let grandchildren = graph("0* 1<0 2<0* 3<1* 4<1*");
    assert_eq!(unexpected_children(&grandchildren), BTreeSet::from(["1", "2"]));
    check(&grandchildren, &[("0", "", ""), ("", "0 3 4", "0")]);
    assert!(unexpected_children(&graph("0 1<0* 2<0*")).is_empty());
}

/// (42, 45) An empty table gets every shard that was listed, open or closed, at the initial position, in the order of
/// starting sequence numbers as numbers.
#[test]
fn an_empty_table_gets_what_was_listed() {
    let listed = graph("10 9* 100* 20<9*");
    for initial in POSITIONS {
        let leases = first_leases(&listed, &unexpected_children(&listed), initial);
        let keys: Vec<&str> = leases.iter().map(|lease| lease.key.as_str()).collect();
        assert_eq!(keys, ["9", "10", "100"]);
        assert!(leases.iter().all(|lease| lease.checkpoint == initial.checkpoint()));
    }
}

/// Not in the Kinesis Client Library, where a finished lease is taken again until its children exist: a child whose
/// parents are all finished starts at its first record, also when the stream has forgotten them.
#[test]
fn children_of_finished_parents_start_at_their_first_record() {
    let first = |id: &str| (id.to_owned(), Checkpoint::TrimHorizon);
    for initial in POSITIONS {
        let created = |text, existing| created(&graph(text), existing, &Checkpoint::ShardEnd, initial);
        assert_eq!(created("0 1<0* 2<0*", "0"), [first("1"), first("2")]);
        assert_eq!(created("1<0* 2<0*", "0"), [first("1"), first("2")], "0 has left the stream");
        assert_eq!(created("0 1 2<0,1*", "0 1"), [first("2")]);
        assert_eq!(created("1 2<0,1*", "0 1"), [first("2")]);
        assert_eq!(created("0 1 2<0,1*", "0"), [("1".to_owned(), initial.checkpoint())], "1 comes first");
    }
}

/// The rules once more, as they are told: every shard either descends from one with a lease, or from one that gets a
/// lease because old records are wanted, or is new.
struct Rules<'a> {
    shards: BTreeMap<&'a str, &'a Shard>,
    leases: BTreeSet<&'a str>,
    old_records: bool,
}

impl<'a> Rules<'a> {
    fn parents(&self, id: &str) -> Vec<&'a str> {
        let parents = self.shards[id].parents.iter();
        parents.filter_map(|parent| self.shards.get_key_value(parent.as_str())).map(|(id, _)| *id).collect()
    }

    fn descends(&self, id: &str) -> bool {
        self.leases.contains(id) || self.parents(id).iter().any(|parent| self.old_records || self.descends(parent))
    }

    /// The shards without a lease on the ways from an open one up to those that have one.
    fn uncovered(&self, id: &'a str, found: &mut BTreeSet<&'a str>) {
        if !self.leases.contains(id) && found.insert(id) {
            self.parents(id).into_iter().for_each(|parent| self.uncovered(parent, found));
        }
    }

    fn created(&self) -> BTreeSet<&'a str> {
        let mut created = BTreeSet::new();
        for (id, _) in self.shards.iter().filter(|(id, shard)| shard.open && !self.leases.contains(*id)) {
            let mut uncovered = BTreeSet::new();
            self.uncovered(id, &mut uncovered);
            if !self.descends(id) {
                created.insert(*id);
            }
            let parents = uncovered.iter().filter(|id| self.descends(id)).flat_map(|id| self.parents(id));
            created.extend(parents.filter(|parent| !self.descends(parent)));
        }
        created
    }
}

/// (44) The same answer for any lineage and any set of leases.
#[test]
fn every_lineage_gets_what_the_rules_say() {
    histories(0..5_000, |seed| {
        let mut dice = Dice::new(seed);
        let mut stream = Stream::with_past(&mut dice);
        for _ in 0..dice.below(6) {
            stream.reshard(&mut dice);
        }
        let shards: Vec<Shard> = stream.shards.values().map(|model| model.shard.clone()).collect();
        let percent = dice.below(70);
        let leases: Vec<_> = shards
            .iter()
            .filter(|_| dice.chance(percent))
            .map(|shard| new_lease(shard, Checkpoint::TrimHorizon))
            .collect();
        for initial in POSITIONS {
            let rules = Rules {
                shards: shards.iter().map(|shard| (shard.id.as_str(), shard)).collect(),
                leases: leases.iter().map(|lease| lease.key.as_str()).collect(),
                old_records: initial != InitialPosition::Latest,
            };
            let created = missing_leases(&shards, &leases, &BTreeMap::new(), &BTreeSet::new(), initial);
            assert!(created.iter().all(|lease| lease.checkpoint == initial.checkpoint()));
            let created: BTreeSet<&str> = created.iter().map(|lease| lease.key.as_str()).collect();
            assert_eq!(created, rules.created(), "{initial:?}, leases {:?}, {shards:#?}", rules.leases);
        }
    });
}
