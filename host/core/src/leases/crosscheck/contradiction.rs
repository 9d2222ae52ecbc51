//! Rows that contradict the stream's own list of its shards: they were not left by a worker of this stream. A listing
//! may be a little behind, so it takes a second one, some time later, to confirm what the first one showed.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Names;
use crate::kinesis::shard::{Shard, ShardId};
use crate::leases::row::Lease;
use crate::leases::table::Table;
use crate::position::{Checkpoint, SequenceNumber};
use crate::time::Millis;

/// From the first listing to the one that may confirm it: more than listings lag behind the stream.
pub(super) const CONFIRM_AFTER: Millis = 5_000;

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contradiction {
    /// It is at SHARD_END, but the stream calls its shard open.
    FinishedButOpen,
    /// Its checkpoint is before the shard's first record.
    BeforeStart { checkpoint: Checkpoint, start: SequenceNumber },
    /// There is no such shard, and there never was.
    NoShard,
}

impl Contradiction {
    /// Whether the rest of the table cannot be trusted either.
    fn is_of_another_stream(&self) -> bool {
        *self != Self::NoShard
    }

    fn describe(&self, key: &str) -> String {
        match self {
            Self::FinishedButOpen => format!("`{key}` is at SHARD_END, but the stream lists the shard as open"),
            Self::BeforeStart { checkpoint, start } => {
                format!("`{key}` is at {checkpoint}, but the first sequence number of the shard is {start}")
            }
            Self::NoShard => "the stream lists no shard of this name".to_owned(),
        }
    }
}

/// What came of a listing.
pub(super) enum Verdict {
    /// Rows that are for no shard, and why.
    Ignored(Vec<(ShardId, String)>),
    /// The table is not this stream's.
    Foreign(String),
}

/// The contradictions that were seen, and since when.
#[derive(Default)]
pub(super) struct Contradictions {
    suspects: BTreeMap<ShardId, (Contradiction, Millis)>,
    confirmed: BTreeSet<ShardId>,
}

impl Contradictions {
    /// Takes in a listing of all shards. `is_held` says which leases this worker holds: it finds out by reading what they
    /// are.
    pub(super) fn listed(
        &mut self,
        now: Millis,
        table: &Table,
        names: &Names,
        shards: &[Shard],
        is_held: impl Fn(&ShardId) -> bool,
    ) -> Verdict {
        let before = std::mem::take(&mut self.suspects);
        let mut confirmed = Vec::new();
        for (key, found) in find(table, names, shards) {
            if found == Contradiction::NoShard && is_held(&key) {
                continue;
            }
            let known = before.get(&key).filter(|(known, _)| *known == found);
            let since = known.map_or(now, |(_, since)| *since);
            if now.saturating_sub(since) >= CONFIRM_AFTER {
                confirmed.push((key.clone(), found.clone()));
            }
            self.suspects.insert(key, (found, since));
        }
        self.confirmed = confirmed.iter().map(|(key, _)| key.clone()).collect();
        // What is left alone is no suspect any more; the others stay, so that nothing is done with them.
        self.suspects.retain(|key, (found, _)| found.is_of_another_stream() || !self.confirmed.contains(key));
        match confirmed.iter().find(|(_, found)| found.is_of_another_stream()) {
            Some((key, found)) => Verdict::Foreign(found.describe(key)),
            None => Verdict::Ignored(
                confirmed.into_iter().map(|(key, found)| (key.clone(), found.describe(&key))).collect(),
            ),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.suspects.is_empty()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ShardId> {
        self.suspects.keys()
    }

    /// When the stream is to be listed again, if any row is suspected and that is not confirmed.
    pub(super) fn confirm_at(&self) -> Option<Millis> {
        let open = self.suspects.iter().filter(|(key, _)| !self.confirmed.contains(*key));
        open.map(|(_, (_, since))| since.saturating_add(CONFIRM_AFTER)).min()
    }
}

fn find(table: &Table, names: &Names, shards: &[Shard]) -> Vec<(ShardId, Contradiction)> {
    let listed =
        shards.iter().filter_map(|shard| Some((shard.id.clone(), contradiction(shard, table.get(&shard.id)?)?)));
    let unknown = table.usable_keys().filter(|key| names.is_unknown(key));
    listed.chain(unknown.map(|key| (key.clone(), Contradiction::NoShard))).collect()
}

fn contradiction(shard: &Shard, lease: &Lease) -> Option<Contradiction> {
    if lease.checkpoint == Checkpoint::ShardEnd {
        return shard.open.then_some(Contradiction::FinishedButOpen);
    }
    let start = SequenceNumber::parse(&shard.starting_sequence).ok()?;
    let is_before = lease.checkpoint.position().is_some_and(|position| position.sequence < start);
    is_before.then(|| Contradiction::BeforeStart { checkpoint: lease.checkpoint.clone(), start })
}
