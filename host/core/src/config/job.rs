//! The typed result of a configuration: a [`Job`], its inputs, outputs and limits. Passive data: every value here has
//! been checked, every default applied.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Secret;
use super::input::Input;
use crate::grouper::Grouper;
use crate::http_origin::HttpOrigin;
use crate::jobs::OnDelete;
use crate::network::Network;
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
    /// Which of the job's tasks reads which shard of them.
    pub grouper: Grouper,
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

/// What one task instance may use. A call that goes over a limit of time or memory ends as a trap; a task that goes over
/// another is answered with an error (outputs, files, requests), or loses what is over (log).
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

impl Default for Limits {
    /// Room for an interpreter (Python's starts at 12 MiB, JavaScript's engines reach 75 MiB) and for a Kinesis record of
    /// 10 MiB that is passed on.
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(10),
            init_timeout: Duration::from_secs(30),
            memory_max_bytes: 256 << 20,
            output_max_bytes: 32 << 20,
            output_max_count: 100_000,
            log_max_bytes: 64 << 10,
            log_max_lines: 1000,
            files_max_bytes: 256 << 20,
            files_total_max_bytes: 1 << 30,
            files_max_count: 10_000,
            http_max_requests: 100,
        }
    }
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

impl Grants {
    /// The same with nothing to write to and nobody to send to.
    #[must_use]
    pub fn read_only(&self) -> Self {
        let Self { env, directories, http: _, http_networks: _ } = self;
        let read_only = |directory: &Directory| Directory { writable: false, ..directory.clone() };
        let directories = directories.iter().map(read_only).collect();
        Self { env: env.clone(), directories, http: Vec::new(), http_networks: Vec::new() }
    }
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
