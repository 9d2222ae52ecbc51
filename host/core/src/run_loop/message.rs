//! What goes into a [`RunLoop`](super::RunLoop) and what comes out of it.

use std::ops::Range;
use std::sync::Arc;

use crate::envelope::Batch;
use crate::kinesis::shard::ChildShard;
use crate::leases::Epoch;
use crate::position::{Checkpoint, Position};
use crate::time::Millis;

/// A shard as the run loop and the guest number it.
pub type SourceId = u32;

/// A place for one live instance of the task: a version of its module. The number outlives a trap (another instance of
/// the same module is built in its place) and is never used again for another version.
pub type InstanceId = u64;

/// Tells the readings of one shard apart: everything that an older reading still delivers is dropped.
pub type Generation = u64;

/// What a run loop is told once.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Envelopes and payload bytes that one call of the instance gets at most (one envelope is always allowed).
    pub call_max_records: usize,
    pub call_max_bytes: usize,
    /// Time between two commits; `None` commits only when asked, at a shard's end and at the stop.
    pub commit_interval: Option<Millis>,
    pub retry: Retry,
}

/// What happens to an envelope whose call fails.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Calls of the same envelopes, the first included, before the job stops.
    pub max_attempts: u32,
    /// Wait after the first failure; doubles up to `backoff_max`.
    pub backoff: Millis,
    pub backoff_max: Millis,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passed; see [`RunLoop::wake_at`](super::RunLoop::wake_at).
    Tick,
    /// An instance is built, and ready for its first envelope.
    Added {
        instance: InstanceId,
    },
    /// The lease of a shard is held and its parents are done; `instance` processes it.
    Assigned {
        source: SourceId,
        epoch: Epoch,
        checkpoint: Checkpoint,
        instance: InstanceId,
    },
    /// From the end of the call in flight on, these sources are processed by these instances; answered with
    /// [`Action::Routed`]. Sources that are not here are passed over.
    Route {
        moves: Vec<(SourceId, InstanceId)>,
        /// Instances that are needed no more: each says goodbye and is dropped once it has no source left.
        retire: Vec<InstanceId>,
    },
    /// The answer to [`Action::GaveUp`] when no other instance takes over: the job stops.
    GiveUp {
        instance: InstanceId,
    },
    /// No call from now on; what is processed is still committed.
    Pause,
    Resume,
    /// The lease is gone.
    Revoked {
        source: SourceId,
        epoch: Epoch,
    },
    Batch {
        source: SourceId,
        generation: Generation,
        batch: Batch,
    },
    /// The reader delivered everything up to the shard's end.
    End {
        source: SourceId,
        generation: Generation,
        children: Vec<ChildShard>,
    },
    /// The answer to [`Action::Call`].
    Returned(Returned),
    /// The answer to [`Action::Rebuild`].
    Rebuilt(Result<(), RebuildFailure>),
    /// The answer to [`Action::BeforeStop`], whether it succeeded or not.
    BeforeStopReturned {
        /// The instance died of it: what it did since the last commit is replayed.
        trapped: bool,
    },
    /// The answer to [`Action::Flush`].
    Flushed(Result<(), String>),
    /// The answer to [`Action::Checkpoint`].
    Checkpointed {
        source: SourceId,
        epoch: Epoch,
    },
    /// The answer to [`Action::EndShard`], which nothing waits for: it may take as long as other shards need.
    Sealed {
        source: SourceId,
        epoch: Epoch,
    },
    Stop,
}

/// How a call of the instance went.
#[derive(Clone, Debug, Default)]
pub struct Returned {
    /// Envelopes from the start of the range that are done; their outputs are applied.
    pub processed: usize,
    /// The first envelope (relative to the range) that the guest named as failed, when it could.
    pub failed_at: Option<usize>,
    pub error: Option<CallFailure>,
    /// The guest asked for a commit.
    pub commit: bool,
    /// The guest asked the job to stop, with its reason.
    pub shutdown: Option<String>,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure {
    pub class: FailureClass,
    pub message: String,
}

/// What a failed call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// Try again, after so many milliseconds if the guest said.
    Retry(Option<u32>),
    /// The envelope can never succeed.
    Reject,
    /// The job must stop.
    Fatal,
    Other,
    /// The instance is dead.
    Trap,
    /// The host could not do its part (no memory left in its budget, a call ended for a rollout or a stop, something
    /// granted that is away), and the instance is dead. Says nothing of the envelopes: it is never an attempt at them.
    Host,
}

impl FailureClass {
    /// Whether the instance is dead, and with it all that it did since the last commit.
    #[must_use]
    pub fn ends_instance(self) -> bool {
        matches!(self, Self::Trap | Self::Host)
    }
}

/// Why no new instance was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RebuildFailure {
    /// The host cannot now; it is tried again.
    Host(String),
    /// The task does not start.
    Task(String),
}

/// What the shell must do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Read the shard from `from` on; a reading under an older generation ends.
    Read {
        source: SourceId,
        generation: Generation,
        from: Checkpoint,
    },
    /// This much of what the reading delivered is through.
    Processed {
        source: SourceId,
        generation: Generation,
        bytes: usize,
        records: usize,
    },
    Call {
        instance: InstanceId,
        source: SourceId,
        batch: Arc<Batch>,
        range: Range<usize>,
        attempt: u32,
    },
    /// Drop the dead instance and build a new one in its place.
    Rebuild {
        instance: InstanceId,
    },
    /// The instance waits because the host cannot do its part, for this reason; `None` when that is over.
    Waits {
        instance: InstanceId,
        reason: Option<String>,
    },
    /// Let the instance say goodbye: its last call.
    BeforeStop {
        instance: InstanceId,
    },
    /// The instance is needed no more.
    Drop {
        instance: InstanceId,
    },
    /// Everything that [`Event::Route`] asked for is done.
    Routed,
    /// The instance cannot go on. Nothing is called on it until its sources are routed to another one
    /// ([`Event::Route`]) or nobody takes over ([`Event::GiveUp`]).
    GaveUp {
        instance: InstanceId,
        failure: Failure,
    },
    /// Make the outputs durable.
    Flush,
    Checkpoint {
        source: SourceId,
        epoch: Epoch,
        checkpoint: Checkpoint,
    },
    EndShard {
        source: SourceId,
        epoch: Epoch,
        children: Vec<ChildShard>,
    },
    /// The guest asked for the job's end.
    Shutdown(String),
    /// The loop is over; everything that could be committed is. Shard ends may still be on their way.
    Finished(Result<(), Failure>),
}

/// Why the job had to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// These envelopes of a shard could not be processed.
    Envelopes { source: SourceId, first: Position, last: Position, attempts: u32, cause: CallFailure },
    /// The outputs could not be made durable.
    Flush(String),
    /// The task did not start again after a trap.
    Rebuild(String),
}
