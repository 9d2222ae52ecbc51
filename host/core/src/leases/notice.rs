//! What a worker reports for people to act on, while it goes on by itself: facts about the lease table that no worker
//! of the protocol brings about. Owns their texts; the shell adds the names of the stream and of the table.

use std::fmt;

use crate::kinesis::shard::ShardId;
use crate::position::Checkpoint;

/// Something in the lease table contradicts what this worker knows. Each is reported once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The row of a lease that this worker holds was deleted, or replaced by one that knows less. It is there again, at
    /// the last committed position; reading went on meanwhile.
    RowRestored { key: ShardId, checkpoint: Checkpoint },
    /// The row of a shard was deleted and no worker that held it has created it again: this worker did, at the last
    /// position that it saw in it.
    RowRefilled { key: ShardId, checkpoint: Checkpoint },
    /// Another process renews and checkpoints under this worker's identifier: both read the same shards.
    DuplicateWorker { key: ShardId, worker: String },
    /// The row is no lease that can be used. It is left alone, and its shard, if there is one, is not read.
    RowIgnored { key: ShardId, reason: String },
}

impl Notice {
    /// The key of the row that it is about.
    #[must_use]
    pub fn key(&self) -> &ShardId {
        match self {
            Self::RowRestored { key, .. }
            | Self::RowRefilled { key, .. }
            | Self::DuplicateWorker { key, .. }
            | Self::RowIgnored { key, .. } => key,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RowRestored { checkpoint, .. } => write!(
                f,
                "the lease row was deleted while this worker held it; it was created again at {checkpoint}, the last \
                 committed position. To reset a job on purpose, stop it first and then delete the rows, or set another \
                 TableName"
            ),
            Self::RowRefilled { checkpoint, .. } => write!(
                f,
                "the lease row was deleted while the job ran; it was created again at {checkpoint}, the last position \
                 that was seen in it. To reset a job on purpose, stop it first and then delete the rows, or set another \
                 TableName"
            ),
            Self::DuplicateWorker { worker, .. } => write!(
                f,
                "another process uses the worker identifier `{worker}`, so both may read the same shards; give each \
                 process a WorkerId of its own, or none"
            ),
            Self::RowIgnored { reason, .. } => write!(f, "the lease row cannot be used and is left alone: {reason}"),
        }
    }
}

/// A shard that no live worker reads; see [`Worker::unread`](super::Worker::unread).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub key: ShardId,
    pub why: UnreadReason,
}

/// Why this worker does not read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnreadReason {
    /// It holds as many leases as `MaxLeasesForWorker` allows.
    Limit(usize),
    /// The row cannot be used; how so.
    Row(String),
}

impl fmt::Display for UnreadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limit) => {
                write!(f, "MaxLeasesForWorker={limit} is reached, and no other worker takes its lease")
            }
            Self::Row(reason) => write!(f, "its lease row cannot be used: {reason}"),
        }
    }
}
