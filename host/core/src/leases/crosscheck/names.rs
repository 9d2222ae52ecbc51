//! What the shards of a stream are called: one prefix and a number that grows with each new shard. A row with another
//! name is for no shard of this stream, whatever else it says.

use std::collections::BTreeSet;

use crate::kinesis::shard::{Shard, ShardId};
use crate::position::SequenceNumber;

/// The names in the last listing of a stream's shards.
#[derive(Default)]
pub(super) struct Names {
    listed: BTreeSet<ShardId>,
    /// Shards that are not listed any more, but are parents of some that are.
    parents: BTreeSet<ShardId>,
    prefixes: BTreeSet<String>,
    newest: Option<SequenceNumber>,
}

impl Names {
    /// Of a listing; `is_all` says whether it was of all shards.
    pub(super) fn of(shards: &[Shard], is_all: bool) -> Self {
        let split = || shards.iter().filter_map(|shard| split(&shard.id));
        Self {
            listed: shards.iter().map(|shard| shard.id.clone()).collect(),
            parents: shards.iter().flat_map(|shard| shard.parents.iter().cloned()).collect(),
            prefixes: split().map(|(prefix, _)| prefix.to_owned()).collect(),
            newest: split().map(|(_, number)| number).filter(|_| is_all).max(),
        }
    }

    /// Whether the listing had this shard.
    pub(super) fn is_listed(&self, key: &str) -> bool {
        self.listed.contains(key)
    }

    /// Whether no shard of the stream can have this name, not even one that is newer than the listing. Says nothing
    /// when nothing was listed.
    pub(super) fn is_foreign(&self, key: &str) -> bool {
        let known = self.is_listed(key) || self.parents.contains(key) || self.prefixes.is_empty();
        !known && split(key).is_none_or(|(prefix, _)| !self.prefixes.contains(prefix))
    }

    /// Whether the stream had no shard of this name when all of its shards were listed. Those that it has forgotten
    /// are older than those that it lists.
    pub(super) fn is_unknown(&self, key: &str) -> bool {
        if self.is_listed(key) || self.parents.contains(key) {
            return false;
        }
        if self.is_foreign(key) {
            return true;
        }
        let number = split(key).map(|(_, number)| number);
        self.newest.as_ref().is_some_and(|newest| number.is_none_or(|number| number > *newest))
    }
}

/// A name's prefix and its number; `None` without a number.
fn split(id: &str) -> Option<(&str, SequenceNumber)> {
    let prefix = id.trim_end_matches(|c: char| c.is_ascii_digit());
    SequenceNumber::parse(&id[prefix.len()..]).ok().map(|number| (prefix, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinesis::shard::HashRange;

    fn names(shards: &[(&str, &[&str])]) -> Names {
        let shard = |(id, parents): &(&str, &[&str])| Shard {
            id: (*id).to_owned(),
            parents: parents.iter().map(|&id| id.to_owned()).collect(),
            hash_range: HashRange { start: 0, end: u128::MAX },
            starting_sequence: "1".to_owned(),
            open: true,
        };
        Names::of(&shards.iter().map(shard).collect::<Vec<_>>(), true)
    }

    #[test]
    fn a_name_is_foreign_or_unknown_or_that_of_a_shard() {
        let names = names(&[("shardId-000000000004", &["shardId-000000000002"]), ("shardId-000000000005", &[])]);
        // (name, is foreign, is unknown)
        let cases = [
            ("shardId-000000000004", false, false),
            ("shardId-000000000002", false, false),
            ("shardId-000000000000", false, false),
            ("shardId-000000000006", false, true),
            ("shardId-99999999999999999999999999999999999999999999999999", false, true),
            ("foo", true, true),
            ("foo-000000000004", true, true),
            ("", true, true),
            ("shardId-", true, true),
            ("111122223333:orders:1700000000:shardId-000000000004", true, true),
        ];
        for (name, is_foreign, is_unknown) in cases {
            assert_eq!((names.is_foreign(name), names.is_unknown(name)), (is_foreign, is_unknown), "{name}");
        }
    }

    #[test]
    fn an_empty_listing_says_nothing() {
        let names = names(&[]);
        assert!(!names.is_foreign("foo") && !names.is_unknown("foo"));
    }
}
