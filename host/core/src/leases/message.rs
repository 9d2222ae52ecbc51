//! What goes into a [`Worker`](super::Worker) and what comes out of it.

use super::limits::EPSILON;
use super::notice::Notice;
use super::row::{Outcome, Scan, Write};
use crate::kinesis::shard::{ChildShard, HashRange, Shard, ShardFilter, ShardId};
use crate::position::{Checkpoint, InitialPosition, Latest};
use crate::service::ServiceError;
use crate::time::Millis;

/// Tells two holdings of the same lease apart: grows with every acquisition of this worker.
pub type Epoch = u64;

/// What a worker is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the lease table, for messages.
    pub table: String,
    /// The value that goes into `leaseOwner`; unique among the workers of a table.
    pub worker: String,
    /// A lease whose counter did not change for this long is anybody's.
    pub failover: Millis,
    pub initial_position: InitialPosition,
    pub max_leases: usize,
    /// Leases that are stolen from another worker after one look at the table.
    pub max_leases_to_steal: usize,
    /// How often a child looks whether its parents are done.
    pub parent_poll: Millis,
    /// How often the leader of the fleet looks for hash keys that no lease covers.
    pub audit_interval: Millis,
    /// Looks in a row that must find the same hole before shards are listed and the missing leases created.
    pub audit_confidence: u32,
    /// How often the leader does that without a reason; `None`: never.
    pub shard_sync_interval: Option<Millis>,
    /// `None`: leases of finished shards stay.
    pub cleanup: Option<Cleanup>,
    /// Create no lease for a child of a shard that the stream calls open, instead of asking again.
    pub ignore_unexpected_children: bool,
    /// Which of several equal leases are taken: workers with different seeds collide less.
    pub seed: u64,
}

impl Settings {
    /// The Kinesis Client Library's: from one theft to the next, and between scans when nothing can come of them.
    pub(super) fn take_interval(&self) -> Millis {
        self.failover.saturating_add(EPSILON).saturating_mul(2)
    }

    /// From one round of renewals to the next.
    pub(super) fn renew_interval(&self) -> Millis {
        (self.failover / 3).saturating_sub(EPSILON).max(1)
    }
}

/// How often the leader of the fleet deletes leases of finished shards.
#[derive(Clone, Debug)]
pub struct Cleanup {
    /// Those whose children were begun; also how long any of them rests first.
    pub completed: Millis,
    /// Those that the stream has forgotten.
    pub garbage: Millis,
}

/// What happened.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "one is alive at a time; a box would only add an allocation")]
pub enum Event {
    /// Time passed; see [`Worker::wake_at`](super::Worker::wake_at).
    Tick,
    Scanned(Result<Scan, ServiceError>),
    Listed(Result<Vec<Shard>, ServiceError>),
    Written {
        write: Write,
        result: Result<Outcome, ServiceError>,
    },
    /// Everything up to `checkpoint` is committed. One that waits to be written is overtaken by the next, and then not
    /// answered on its own.
    Checkpoint {
        key: ShardId,
        epoch: Epoch,
        checkpoint: Checkpoint,
    },
    /// The shard is read and committed to its end. No children means that the reader was not told of any.
    ShardEnded {
        key: ShardId,
        epoch: Epoch,
        children: Vec<ChildShard>,
    },
    /// Release everything. All that can be committed has been.
    Stop,
}

/// Why a lease is not held any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Before its time was over: another worker took it to balance the shards, or somebody changed the row by hand.
    Taken { by: Option<String> },
    /// It could not be renewed in time.
    Expired,
    /// The table refuses to be written to.
    Refused,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Scan,
    /// Likewise, strongly consistent: it shows every write that was answered before it is asked for.
    ScanConsistently,
    List(ShardFilter),
    Write(Write),
    /// Read the shard from its checkpoint on; if that is LATEST, from what `latest` says.
    Start {
        key: ShardId,
        epoch: Epoch,
        checkpoint: Checkpoint,
        /// As the row has it.
        hash_range: Option<HashRange>,
        latest: Latest,
    },
    /// Stop reading the shard and drop what is in flight: somebody else may own it now.
    Revoke {
        key: ShardId,
        epoch: Epoch,
        why: Loss,
    },
    /// The answer to [`Event::Checkpoint`]: whether the row covers it. `false` when the lease was lost before.
    Checkpointed {
        key: ShardId,
        epoch: Epoch,
        checkpoint: Checkpoint,
        written: bool,
    },
    /// The answer to [`Event::ShardEnded`]: the children's leases exist and the shard's is at SHARD_END. It may take as
    /// long as other shards need, and after [`Event::Stop`] it may not come at all.
    ShardSealed {
        key: ShardId,
        epoch: Epoch,
    },
    /// Something that a person should know of; the worker goes on.
    Notice(Notice),
    /// The job cannot go on.
    Fail(String),
    /// Nothing is held any more.
    Stopped,
}
