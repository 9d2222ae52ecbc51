//! What a host says of its jobs, to people and programs.

use serde::{Deserialize, Serialize};
use shardmill_core::jobs::State;

use super::Host;
use super::entry::Entry;
use crate::task_files::hex;

/// A host and its jobs at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// Process id.
    pub pid: u32,
    /// Whether every job runs, or was drained on purpose.
    pub is_ready: bool,
    pub jobs: Vec<JobReport>,
}

/// A job at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    pub name: String,
    /// `waiting`, `starting`, `running`, `stopping`, `drained` or `failed`.
    pub state: String,
    /// Why it is not running, or cannot use what is in the directory.
    pub problems: Vec<String>,
    /// The module in the directory that cannot run, if it is such a one.
    pub rejected: Option<Rejection>,
    /// What runs, as `name@1a2b3c4d5e6f`.
    pub module: Option<String>,
    /// The newest that may run.
    pub admitted: Option<String>,
    /// When a failed job is started again, in milliseconds since 1970.
    pub restart_at: Option<u64>,
    /// Envelopes processed since the job's start, again after a replay included.
    pub processed: u64,
    /// Messages sent since the job's start.
    pub sent: u64,
    /// Calls that failed since the job's start.
    pub failed_calls: u64,
    pub shards: Vec<ShardReport>,
}

/// A module that was not let in, or was sent back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// As `name@1a2b3c4d5e6f`.
    pub module: String,
    pub reason: String,
}

impl JobReport {
    /// Whether it does what it should, or was drained on purpose.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.state.as_str(), "running" | "drained")
    }
}

/// A shard that a job reads, or has read to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardReport {
    pub stream: String,
    pub shard: String,
    /// Envelopes that were read and are not processed yet.
    pub waiting: u64,
    /// Milliseconds behind the end of the shard, as the last answer of Kinesis said; absent before the first.
    pub behind_ms: Option<u64>,
    pub is_finished: bool,
}

/// What the jobs of a host have done together; of a job that was started again, since then.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    pub processed: u64,
    pub sent: u64,
    pub failed_calls: u64,
    /// When the first record came in, in milliseconds since 1970.
    pub first_record_at: Option<u64>,
}

pub(super) fn totals(host: &Host) -> Totals {
    let mut totals = Totals::default();
    for started in host.entries.values().filter_map(Entry::started) {
        let status = started.status.snapshot();
        totals.processed += status.processed;
        totals.sent += status.sent;
        totals.failed_calls += status.failed_calls;
        totals.first_record_at = totals.first_record_at.into_iter().chain(status.first_record_at).min();
    }
    totals
}

pub(super) fn of(host: &Host) -> HostReport {
    let jobs: Vec<JobReport> = host
        .jobs
        .iter()
        .map(|(name, job)| match host.entries.get(name) {
            Some(entry) => of_job(name, job, entry),
            None => of_job(name, job, &Entry::default()),
        })
        .collect();
    let is_ready = jobs.iter().all(JobReport::is_ready);
    HostReport { pid: std::process::id(), is_ready, jobs }
}

fn of_job(name: &str, job: &shardmill_core::jobs::Job, entry: &Entry) -> JobReport {
    let started = entry.started();
    let mut problems = Vec::new();
    let mut restart_at = None;
    let state = match job.state() {
        State::Waiting => "waiting",
        State::Running if started.is_none() => "starting",
        State::Running => "running",
        State::Stopping => "stopping",
        State::Drained => "drained",
        State::Failed { reason, restart_at: at } => {
            problems.push(reason);
            restart_at = at;
            "failed"
        }
    };
    let rejected = job.rejected().map(|(id, reason)| {
        let module = format!("{name}@{}", hex(&id[..6]));
        problems.push(format!("{module} was rejected: {reason}"));
        Rejection { module, reason: reason.to_owned() }
    });
    problems.extend(job.put_off().map(|reason| format!("module: not checked yet: {reason}")));
    problems.extend(job.misconfigured().map(|reason| format!("configuration: {reason}")));
    let module = started.as_ref().filter(|_| entry.actor.is_some()).map(|started| started.module.clone());
    let snapshot = started.map(|started| started.status.snapshot()).unwrap_or_default();
    let shards = snapshot.shards.into_values().map(|shard| ShardReport {
        stream: shard.stream,
        shard: shard.shard,
        waiting: shard.waiting,
        behind_ms: shard.behind,
        is_finished: shard.finished,
    });
    JobReport {
        name: name.to_owned(),
        state: state.to_owned(),
        problems,
        rejected,
        admitted: job.admitted().map(|id| format!("{name}@{}", hex(&id[..6]))),
        module,
        restart_at,
        processed: snapshot.processed,
        sent: snapshot.sent,
        failed_calls: snapshot.failed_calls,
        shards: shards.collect(),
    }
}
