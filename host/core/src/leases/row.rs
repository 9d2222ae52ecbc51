//! The lease row and the conditional writes on it, exactly as the Kinesis Client Library 2.x and 3.x write them, so
//! that workers of both kinds can share a table.

use crate::kinesis::shard::{HashRange, ShardId};
use crate::position::Checkpoint;
use crate::time::Millis;

/// A row of the lease table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `leaseKey`: the shard id.
    pub key: ShardId,
    /// `leaseOwner`: the worker that holds it; absent when nobody does.
    pub owner: Option<String>,
    /// `leaseCounter`: optimistic lock and heartbeat. It only ever grows.
    pub counter: u64,
    /// `ownerSwitchesSinceCheckpoint`.
    pub owner_switches: u64,
    /// `checkpoint` and `checkpointSubSequenceNumber`.
    pub checkpoint: Checkpoint,
    /// `parentShardId`, a string set in spite of its name.
    pub parents: Vec<ShardId>,
    /// `childShardIds`: learnt at the shard's end.
    pub children: Vec<ShardId>,
    /// `startingHashKey` and `endingHashKey`.
    pub hash_range: Option<HashRange>,
    /// `checkpointOwner`: a 3.x worker that hands the lease over and alone may checkpoint meanwhile.
    pub checkpoint_owner: Option<String>,
    /// `shardmillLatestSince`, ours alone: of a row whose checkpoint is LATEST, when a worker first had to do with it,
    /// in milliseconds since 1970-01-01 UTC by that worker's clock. LATEST stands for that moment from then on.
    pub latest_since: Option<Millis>,
}

/// `leaseCounter` is a `long` in the Kinesis Client Library: a row at its end cannot be renewed or taken any more.
const COUNTER_END: u64 = i64::MAX.unsigned_abs();
/// Digits of the longest sequence number that AWS documents.
const SEQUENCE_DIGITS_MAX: usize = 129;

impl Lease {
    /// Why no worker can use this row, if none can.
    pub(super) fn flaw(&self) -> Option<String> {
        let Self { counter, checkpoint, .. } = self;
        if *counter >= COUNTER_END {
            return Some(format!("`leaseCounter` is {counter} and cannot grow, expected a number below {COUNTER_END}"));
        }
        let digits = checkpoint.position().map_or(0, |position| position.sequence.as_str().len());
        (digits > SEQUENCE_DIGITS_MAX).then(|| {
            format!("`checkpoint` has {digits} digits, expected a sequence number of at most {SEQUENCE_DIGITS_MAX}")
        })
    }
}

/// One conditional write to a lease table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Puts the row unless its key exists. A new row has no owner and counter 0.
    Create(Lease),
    /// Puts the row as it is here, owner and counter included, unless its key exists: it was deleted under its holder.
    Restore(Lease),
    /// `leaseCounter` must still be `counter`, and `leaseOwner` or (while the lease is handed over) `checkpointOwner` must
    /// be `owner`; the counter grows by one. The counter alone could be that of a row which was deleted by hand, created
    /// again, and belongs to another worker.
    Renew { key: ShardId, owner: String, counter: u64 },
    /// `leaseCounter` must still be what `seen` says. The worker becomes the owner, the counter grows by one,
    /// `checkpointOwner` goes, and an owner switch is counted when another worker owned it. A row without
    /// `shardmillLatestSince` gets that of `seen`.
    Take { seen: Lease, worker: String },
    /// `leaseOwner` must still be `owner`. The owner goes, the counter grows by one.
    Evict { key: ShardId, owner: String },
    /// Under the condition of [`Write::Renew`]. Writes the checkpoint, resets the owner switches, deletes a pending
    /// checkpoint and `shardmillLatestSince`; the counter grows by one.
    Checkpoint { key: ShardId, owner: String, counter: u64, checkpoint: Checkpoint },
    /// The row must exist. Writes `childShardIds` only; the counter stays.
    Children { key: ShardId, children: Vec<ShardId> },
    /// The row must exist and have no hash range yet. Writes `startingHashKey` and `endingHashKey` only; the counter
    /// stays.
    HashRange { key: ShardId, range: HashRange },
    /// The row must be at SHARD_END and `leaseCounter` still `counter`, so that nobody has it in hand (the Kinesis
    /// Client Library asks for nothing). The row goes.
    Delete { key: ShardId, counter: u64 },
}

impl Write {
    /// The key of the row that this writes.
    #[must_use]
    pub fn key(&self) -> &ShardId {
        match self {
            Self::Create(lease) | Self::Restore(lease) | Self::Take { seen: lease, .. } => &lease.key,
            Self::Renew { key, .. }
            | Self::Evict { key, .. }
            | Self::Checkpoint { key, .. }
            | Self::Children { key, .. }
            | Self::HashRange { key, .. }
            | Self::Delete { key, .. } => key,
        }
    }

    /// What this leaves of a row (absent when it deletes it); `None` when its condition does not hold. This is the
    /// meaning of each write, for tables that are modelled: a real one carries it out by itself.
    #[must_use]
    pub fn applied_to(&self, before: Option<&Lease>) -> Option<Option<Lease>> {
        let Some(row) = before else {
            return match self {
                Self::Create(lease) | Self::Restore(lease) => Some(Some(lease.clone())),
                _ => None,
            };
        };
        let holds = match self {
            Self::Create(_) | Self::Restore(_) => false,
            Self::Renew { owner, counter, .. } | Self::Checkpoint { owner, counter, .. } => {
                let is_theirs = row.owner.as_ref() == Some(owner) || row.checkpoint_owner.as_ref() == Some(owner);
                row.counter == *counter && is_theirs
            }
            Self::Take { seen, .. } => row.counter == seen.counter,
            Self::Evict { owner, .. } => row.owner.as_ref() == Some(owner),
            Self::Children { .. } => true,
            Self::HashRange { .. } => row.hash_range.is_none(),
            Self::Delete { counter, .. } => row.counter == *counter && row.checkpoint == Checkpoint::ShardEnd,
        };
        if !holds {
            return None;
        }
        let mut row = row.clone();
        match self {
            Self::Create(_) | Self::Restore(_) | Self::Renew { .. } => {}
            Self::Take { seen, worker } => {
                let is_switch = seen.owner.as_ref().is_some_and(|owner| owner != worker);
                row.owner_switches = row.owner_switches.saturating_add(u64::from(is_switch));
                row.owner = Some(worker.clone());
                row.checkpoint_owner = None;
                row.latest_since = row.latest_since.or(seen.latest_since);
            }
            Self::Evict { .. } => row.owner = None,
            Self::Checkpoint { checkpoint, .. } => {
                row.checkpoint = checkpoint.clone();
                row.owner_switches = 0;
                row.latest_since = None;
            }
            Self::Children { children, .. } => row.children.clone_from(children),
            Self::HashRange { range, .. } => row.hash_range = Some(range.clone()),
            Self::Delete { .. } => return Some(None),
        }
        row.counter += u64::from(!matches!(self, Self::Children { .. } | Self::HashRange { .. }));
        Some(Some(row))
    }
}

/// What became of a [`Write`] that the table answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one is alive at a time; a box would only add an allocation")]
pub enum Outcome {
    Done,
    /// The condition did not hold; the row as it is (absent when there is none, or it could not be read).
    ConditionFailed(Option<Lease>),
}

impl Outcome {
    /// A row that cannot be used is as one that cannot be read.
    pub(super) fn without_flawed_row(self) -> Self {
        match self {
            Self::ConditionFailed(Some(row)) if row.flaw().is_some() => Self::ConditionFailed(None),
            outcome => outcome,
        }
    }
}

/// A whole table read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    pub leases: Vec<Lease>,
    /// Rows of other kinds (`entityType` other than `LEASE`); never touched, never counted.
    pub foreign: usize,
    /// Lease rows that could not be read: key (the shard's id, if it has one) and reason. They are left alone.
    pub undecodable: Vec<(ShardId, String)>,
}
