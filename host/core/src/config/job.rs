//! The typed result of a configuration: a [`Job`], its inputs, outputs and limits. Passive data: every value here has
//! been checked, every default applied.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Secret;
use crate::http_origin::HttpOrigin;
use crate::jobs::OnDelete;
use crate::kinesis::stream::StreamIdentifier;
use crate::network::Network;
use crate::position::InitialPosition;
use crate::rollout::Wave;

/// One module and the configuration it runs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// `job.name` (or `app.name`, which wins as in Samza).
    pub name: String,
    /// `job.id` (or `app.id`).
    pub id: String,
    /// The module's name in the task directory, without `.wasm`.
    pub task_class: String,
    /// Never empty; no two have the same lease table, unless their rows tell the streams apart.
    pub inputs: Vec<Input>,
    /// Output systems by name; guests address them as `system.stream`.
    pub outputs: BTreeMap<String, Output>,
    /// Time between commits; `None`: only at stop, at shard end and when the task asks.
    pub commit: Option<Duration>,
    /// Time between windows; `None`: no windows.
    pub window: Option<Duration>,
    pub limits: Limits,
    pub grants: Grants,
    pub batch: BatchLimits,
    pub retry: Retry,
    pub rollout: Rollout,
    /// How long a graceful stop may take before it is cut short.
    pub shutdown_timeout: Duration,
    /// Whether the job outlives its module's file.
    pub on_delete: OnDelete,
    /// What the task sees through its `config` interface: every `task.config.NAME` as `NAME`.
    pub task_config: BTreeMap<String, String>,
}

/// One Kinesis stream to read. Its source for guests is `system.stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub system: String,
    /// The stream's name at AWS (Samza's physical name).
    pub stream: String,
    /// Names the stream in calls where its name is not enough: in another account.
    pub stream_arn: Option<String>,
    pub kinesis: Access,
    /// The stream's own, where nothing else is set.
    pub dynamodb: Access,
    /// `<job.name>-<job.id>-<stream>`, as Samza names the KCL application.
    pub application_name: String,
    /// The lease table in DynamoDB.
    pub table_name: String,
    /// In a lease table that several streams share: which one this is.
    pub stream_identifier: Option<StreamIdentifier>,
    pub new_table: NewTable,
    /// Whether the lease table is read strongly consistent.
    pub consistent_reads: bool,
    /// `None`: a new random one at each start, as Samza does.
    pub worker_id: Option<String>,
    /// Where shards without a checkpoint start.
    pub initial_position: InitialPosition,
    pub wire: Wire,
    pub retrieval: Retrieval,
    /// How long a lease lasts without renewal (KCL's FailoverTimeMillis).
    pub failover: Duration,
    /// Records asked for by one GetRecords call: 1 to 10,000.
    pub max_records: u32,
    pub idle_between_reads: Duration,
    pub parent_shard_poll: Duration,
    /// How often shards are listed though no lease seems to be missing; `None`: never after the start.
    pub shard_sync_interval: Option<Duration>,
    /// How often hash keys that no lease covers are looked for.
    pub audit_interval: Duration,
    /// Looks in a row that must find the same gap before shards are listed.
    pub audit_confidence: u32,
    /// `None`: leases of finished shards are kept.
    pub lease_cleanup: Option<LeaseCleanup>,
    /// Create no lease for a shard that is listed with an open parent, instead of listing again.
    pub ignore_unexpected_child_shards: bool,
    pub max_leases_for_worker: usize,
    /// Leases taken from a worker that has too many, after one look at the lease table.
    pub max_leases_to_steal: usize,
    /// Bytes of one shard that may wait between reader and task.
    pub max_cache_bytes: usize,
    /// Records of one shard that may wait between reader and task.
    pub max_cache_records: usize,
    pub client: ClientSettings,
}

impl Input {
    /// Whether both would take the other's leases for their own: they have one table, and its rows do not tell the
    /// streams apart.
    #[must_use]
    pub fn shares_leases_with(&self, other: &Self) -> bool {
        let identifiers = self.stream_identifier.as_ref().zip(other.stream_identifier.as_ref());
        self.table_name == other.table_name
            && self.dynamodb.region == other.dynamodb.region
            && self.dynamodb.endpoint == other.dynamodb.endpoint
            && identifiers.is_none_or(|(mine, theirs)| mine == theirs)
    }

    /// The stream as calls name it.
    pub fn stream_id(&self) -> &str {
        self.stream_arn.as_deref().unwrap_or(&self.stream)
    }
}

/// How often leases of finished shards are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseCleanup {
    /// Those whose children were begun; also how long any of them rests first.
    pub completed: Duration,
    /// Those that the stream has forgotten.
    pub garbage: Duration,
}

/// How one service is reached, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// `None`: from the AWS default chain.
    pub region: Option<String>,
    /// `None`: the region's own.
    pub endpoint: Option<String>,
    pub credentials: Credentials,
    /// Assumed with the credentials.
    pub role: Option<Role>,
}

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// The AWS default chain.
    Chain,
    Static(StaticCredentials),
    /// A profile of the AWS files.
    Profile(String),
}

/// A role of IAM to assume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub arn: String,
    pub external_id: Option<String>,
    pub session_name: String,
    /// `None`: the region's own.
    pub sts_endpoint: Option<String>,
}

/// Credentials written in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticCredentials {
    pub access_key: String,
    pub secret_key: Secret,
    pub session_token: Option<Secret>,
}

/// How a lease table that does not exist yet is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewTable {
    pub billing_mode: BillingMode,
    pub deletion_protection: bool,
    /// Whether DynamoDB keeps backups of every second of its last days.
    pub point_in_time_recovery: bool,
}

/// How capacity of a table is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BillingMode {
    PayPerRequest,
    /// Read and write capacity units.
    Provisioned {
        read: u32,
        write: u32,
    },
}

/// How shards are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retrieval {
    Polling,
    /// Enhanced fan-out, as this consumer.
    FanOut(Consumer),
}

/// A fan-out consumer of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consumer {
    /// Registered when it does not exist.
    Name(String),
    /// Must exist.
    Arn(String),
}

/// Encoding of the Kinesis calls: AWS CBOR 1.1 or JSON 1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Cbor,
    Json,
}

/// Settings of the AWS clients of one system, named after the Java SDK's ClientConfiguration. `None`: the client's
/// own default, for the proxy a direct connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// Until a connection is open.
    pub connection_timeout: Option<Duration>,
    /// Until the first byte of an answer.
    pub socket_timeout: Option<Duration>,
    /// One attempt of a call.
    pub request_timeout: Option<Duration>,
    /// A call with all its attempts and the pauses between them.
    pub execution_timeout: Option<Duration>,
    /// Retries after the first attempt of a call.
    pub max_error_retry: Option<u32>,
    pub retry_mode: RetryMode,
    pub retry_budget: RetryBudget,
    pub proxy: Option<Proxy>,
    /// Open connections to one host.
    pub max_connections: Option<usize>,
    pub connection_max_idle: Option<Duration>,
    /// Age after which a connection gets no new request.
    pub connection_ttl: Option<Duration>,
    pub tcp_keep_alive: bool,
    pub user_agent_prefix: Option<String>,
    pub user_agent_suffix: Option<String>,
    /// Sent with every request, by name.
    pub headers: BTreeMap<String, Secret>,
}

/// How a client waits between the attempts of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RetryMode {
    #[default]
    Standard,
    /// Throttled calls slow first attempts down too.
    Adaptive,
}

/// How many retries in a row a client may make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RetryBudget {
    /// The client's own.
    #[default]
    Default,
    Retries(u32),
    Unlimited,
}

/// The HTTP proxy through which AWS is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A name or an IP address.
    pub host: String,
    pub port: u16,
    /// `None`: the proxy asks for none.
    pub login: Option<ProxyLogin>,
    /// Hosts that are called directly; `*` stands for any characters.
    pub non_proxy_hosts: Vec<String>,
}

/// Basic authentication at a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLogin {
    pub username: String,
    pub password: Secret,
}

/// An output system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// JSON lines on standard output.
    Console,
    /// JSON lines appended to a file, forced to disk at each commit.
    File {
        path: PathBuf,
        /// The part of the path, at its beginning, that the operator named. What is below it a job named, and whoever
        /// may write there may have made: no part of that may be a link.
        operators: PathBuf,
    },
}

/// What one task instance may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// One call of `process`, `process-batch` or a window.
    pub call_timeout: Duration,
    /// `init`, and the start of an instance.
    pub init_timeout: Duration,
    pub memory_max_bytes: usize,
    /// Keys and messages sent by one call, in bytes.
    pub output_max_bytes: usize,
    /// Envelopes sent by one call.
    pub output_max_count: usize,
    /// Log text of one call; what is over is cut and counted.
    pub log_max_bytes: usize,
    /// Log lines of one call.
    pub log_max_lines: usize,
    /// Bytes that one call may write to files.
    pub files_max_bytes: usize,
    /// Bytes of all files in directories granted for writing, by their lengths.
    pub files_total_max_bytes: u64,
    /// Names in directories granted for writing.
    pub files_max_count: u64,
    /// HTTP requests sent by one call.
    pub http_max_requests: usize,
}

/// What the task is given of the machine, beyond its records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Environment variables. Their values are where people keep secrets.
    pub env: BTreeMap<String, Secret>,
    pub directories: Vec<Directory>,
    /// Where it may send HTTP requests to.
    pub http: Vec<HttpOrigin>,
    /// Networks of special purpose that the names in `http` may resolve to.
    pub http_networks: Vec<Network>,
}

/// A directory that the task may open files in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    pub host: PathBuf,
    /// The part of `host`, at its beginning, that the operator named. What is below it a job named, and whoever may
    /// write there may have made: no part of that may be a link.
    pub operators: PathBuf,
    /// Where the task finds it.
    pub guest: String,
    pub writable: bool,
}

/// How much one `process-batch` call is given; a single record may be larger than `max_bytes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchLimits {
    pub max_records: usize,
    pub max_bytes: usize,
}

/// How a new version of the module replaces the one that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Whether it gets some shards first, unless its deploy says otherwise.
    pub is_canary: bool,
    /// What a candidate has before it takes over; empty: it takes over at once.
    pub waves: Vec<Wave>,
    /// How long each wave is watched.
    pub bake: Duration,
    /// How long a call may hold up a move before it is ended and replayed.
    pub drain: Duration,
}

/// What happens when a call fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Calls for one envelope or batch, the first included.
    pub max_attempts: u32,
    /// Pause before the second attempt; doubles with each one after it.
    pub backoff: Duration,
    pub backoff_max: Duration,
}
