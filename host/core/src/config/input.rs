//! An input of a job: one variant for each system that streams can be read from; what is common to all are methods of
//! [`Input`]. Passive data.

use std::time::Duration;

use super::client::{Access, ClientSettings};
use crate::kinesis::stream::StreamIdentifier;
use crate::position::InitialPosition;

/// One stream to read, of whatever system. Its source for guests is `system.stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Kinesis(KinesisInput),
}

impl Input {
    /// The system's name in the configuration.
    #[must_use]
    pub fn system(&self) -> &str {
        match self {
            Self::Kinesis(input) => &input.system,
        }
    }

    /// The stream's name in its system (Samza's physical name).
    #[must_use]
    pub fn stream(&self) -> &str {
        match self {
            Self::Kinesis(input) => &input.stream,
        }
    }

    /// Where the progress of its readers is kept, for people.
    #[must_use]
    pub fn progress_table(&self) -> &str {
        match self {
            Self::Kinesis(input) => &input.table.name,
        }
    }

    /// Whether both would take the other's progress for their own.
    #[must_use]
    pub fn shares_progress_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Kinesis(mine), Self::Kinesis(theirs)) => mine.shares_leases_with(theirs),
        }
    }
}

/// A Kinesis stream, read under leases as the Kinesis Client Library has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KinesisInput {
    pub system: String,
    /// The stream's name at AWS.
    pub stream: String,
    /// Names the stream in calls where its name is not enough: in another account.
    pub stream_arn: Option<String>,
    pub kinesis: Access,
    /// The stream's own, where nothing else is set.
    pub dynamodb: Access,
    pub client: ClientSettings,
    pub table: LeaseTable,
    pub leases: Leases,
    pub retrieval: Retrieval,
}

impl KinesisInput {
    /// Whether both would take the other's leases for their own: they have one table, and its rows do not tell the
    /// streams apart.
    #[must_use]
    pub fn shares_leases_with(&self, other: &Self) -> bool {
        let identifiers = self.table.stream_identifier.as_ref().zip(other.table.stream_identifier.as_ref());
        self.table.name == other.table.name
            && self.dynamodb.region == other.dynamodb.region
            && self.dynamodb.endpoint == other.dynamodb.endpoint
            && identifiers.is_none_or(|(mine, theirs)| mine == theirs)
    }

    /// The stream as calls name it.
    #[must_use]
    pub fn stream_id(&self) -> &str {
        self.stream_arn.as_deref().unwrap_or(&self.stream)
    }
}

/// The lease table in DynamoDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTable {
    pub name: String,
    /// In a table that several streams share: which one this is.
    pub stream_identifier: Option<StreamIdentifier>,
    /// Whether it is read strongly consistent.
    pub consistent_reads: bool,
    /// How it is created when it does not exist.
    pub new: NewTable,
}

/// How leases are taken, kept and given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leases {
    /// `<job.name>-<job.id>-<stream>`, as Samza names the KCL application.
    pub application_name: String,
    /// `None`: a new random one at each start, as Samza does.
    pub worker_id: Option<String>,
    /// How long a lease lasts without renewal (KCL's FailoverTimeMillis).
    pub failover: Duration,
    pub parent_shard_poll: Duration,
    /// How often shards are listed though no lease seems to be missing; `None`: never after the start.
    pub shard_sync_interval: Option<Duration>,
    /// How often hash keys that no lease covers are looked for.
    pub audit_interval: Duration,
    /// Looks in a row that must find the same gap before shards are listed.
    pub audit_confidence: u32,
    /// `None`: leases of finished shards are kept.
    pub cleanup: Option<LeaseCleanup>,
    /// Create no lease for a shard that is listed with an open parent, instead of listing again.
    pub ignore_unexpected_child_shards: bool,
    pub max_for_worker: usize,
    /// Leases taken from a worker that has too many, after one look at the lease table.
    pub max_to_steal: usize,
}

/// How shards are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retrieval {
    /// Where shards without a checkpoint start.
    pub initial_position: InitialPosition,
    pub mode: RetrievalMode,
    /// Bytes of one shard that may wait between reader and task.
    pub max_cache_bytes: usize,
    /// Records of one shard that may wait between reader and task.
    pub max_cache_records: usize,
}

/// By which calls shards are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetrievalMode {
    Polling(Polling),
    /// Enhanced fan-out, as this consumer.
    FanOut(Consumer),
}

/// GetRecords calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polling {
    /// Records asked for by one call: 1 to 10,000.
    pub max_records: u32,
    pub idle_between_reads: Duration,
}

/// How often leases of finished shards are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseCleanup {
    /// Those whose children were begun; also how long any of them rests first.
    pub completed: Duration,
    /// Those that the stream has forgotten.
    pub garbage: Duration,
}

/// How a lease table that does not exist yet is created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewTable {
    pub billing_mode: BillingMode,
    /// Whether the table can be deleted only after this is taken off.
    pub deletion_protection: bool,
    /// Whether DynamoDB keeps backups of every second of its last days.
    pub point_in_time_recovery: bool,
}

/// How capacity of a table is paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BillingMode {
    #[default]
    PayPerRequest,
    /// Capacity units a second.
    Provisioned { read: u32, write: u32 },
}

/// A fan-out consumer of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consumer {
    /// Registered when it does not exist.
    Name(String),
    /// Must exist.
    Arn(String),
}
