//! What a host says of its jobs, to people and programs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shardmill_core::jobs::{Job, State};
use shardmill_core::rollout::Deployment;

use super::Host;
use super::entry::Entry;
use crate::status::{self, Snapshot};
use crate::task_files::hex;

/// Digits of a version's hash that are shown.
const SHOWN_DIGITS: usize = 12;

/// A host and its jobs at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// Process id.
    pub pid: u32,
    /// Whether every job runs, or does not on purpose.
    pub is_ready: bool,
    pub jobs: Vec<JobReport>,
}

/// A job at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    pub name: String,
    /// `waiting`, `starting`, `running`, `paused`, `stopping`, `drained` or `failed`.
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
    /// How often the task ran into each of its limits since the job's start, by the limit's name.
    pub limits: BTreeMap<String, u64>,
    /// Where the rollout of versions stands; absent before the job has begun.
    pub rollout: Option<RolloutReport>,
    pub shards: Vec<ShardReport>,
}

/// Which versions of a job hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutReport {
    /// Grows with every change.
    pub revision: u64,
    pub candidate: Option<CandidateReport>,
    /// The version before, as `name@1a2b3c4d5e6f`.
    pub previous: Option<String>,
    /// Until when it is kept ready for a rollback, in milliseconds since 1970.
    pub previous_warm_until: Option<u64>,
    /// What was rolled back and is not tried again by itself.
    pub quarantined: Vec<Rejection>,
    /// What became of the last change.
    pub last: Option<String>,
    /// Moves of shards between versions since the job began.
    pub swaps: u64,
    /// The longest pause of the last thousand moves, in microseconds.
    pub longest_pause_us: Option<u64>,
}

/// A version that has some shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateReport {
    /// As `name@1a2b3c4d5e6f`.
    pub module: String,
    /// From 1.
    pub wave: usize,
    /// How many it has, on all hosts.
    pub shards: usize,
}

/// A module that was not let in, or was sent back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// As `name@1a2b3c4d5e6f`.
    pub module: String,
    pub reason: String,
}

impl JobReport {
    /// Whether it runs, or does not on purpose.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.state.as_str(), "running" | "paused" | "drained")
    }
}

/// A shard that a job reads, or has read to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardReport {
    pub stream: String,
    pub shard: String,
    /// The version that processes it, as `name@1a2b3c4d5e6f`.
    pub module: Option<String>,
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

fn of_job(name: &str, job: &Job, entry: &Entry) -> JobReport {
    let started = entry.started();
    let is_up = entry.actor.is_some();
    let snapshot = started.as_ref().map(|started| started.status.snapshot()).unwrap_or_default();
    let rollout = snapshot.rollout.deployment.as_ref().map(|deployment| of_rollout(name, deployment, &snapshot));
    let rejected = rejection(name, job, snapshot.rollout.deployment.as_ref());
    let (state, failure, restart_at) = match job.state() {
        State::Waiting => ("waiting", None, None),
        State::Running if started.is_none() => ("starting", None, None),
        State::Running if snapshot.rollout.paused => ("paused", None, None),
        State::Running => ("running", None, None),
        State::Stopping => ("stopping", None, None),
        State::Drained => ("drained", None, None),
        State::Failed { reason, restart_at } => ("failed", Some(reason), restart_at),
    };
    let rejected_problem = rejected.iter().map(|it| format!("{} was rejected: {}", it.module, it.reason));
    let put_off = job.put_off().map(|reason| format!("its module is not checked yet: {reason}"));
    let misconfigured = job.misconfigured().map(|reason| format!("configuration: {reason}"));
    let problems = failure.into_iter().chain(rejected_problem).chain(put_off).chain(misconfigured).collect();
    let limits = snapshot.limits.hit().map(|(limit, hits)| (limit.name().to_owned(), hits)).collect();
    let current = snapshot.rollout.deployment.filter(|_| is_up).map(|deployment| shown(name, &deployment.current));
    let shards = snapshot.shards.into_values().map(|shard| of_shard(name, shard));
    JobReport {
        name: name.to_owned(),
        state: state.to_owned(),
        problems,
        rejected,
        admitted: job.admitted().map(|id| shown(name, &hex(id))),
        module: current,
        restart_at,
        processed: snapshot.processed,
        sent: snapshot.sent,
        failed_calls: snapshot.failed_calls,
        limits,
        rollout,
        shards: shards.collect(),
    }
}

/// Why the module of the task directory does not run: it was not let in, or it was sent back.
fn rejection(name: &str, job: &Job, deployment: Option<&Deployment>) -> Option<Rejection> {
    let wanted = hex(job.wanted()?);
    let module = shown(name, &wanted);
    if let Some((_, reason)) = job.rejected() {
        return Some(Rejection { module, reason: reason.to_owned() });
    }
    let reason = deployment?.quarantine(&wanted)?;
    Some(Rejection { module, reason: format!("rolled back: {reason}") })
}

fn of_rollout(name: &str, deployment: &Deployment, snapshot: &Snapshot) -> RolloutReport {
    let candidate = deployment.candidate.as_ref().map(|candidate| CandidateReport {
        module: shown(name, &candidate.module),
        wave: candidate.wave + 1,
        shards: candidate.shards.len(),
    });
    let quarantined = deployment
        .quarantined
        .iter()
        .map(|quarantined| Rejection { module: shown(name, &quarantined.module), reason: quarantined.reason.clone() });
    let longest = snapshot.swaps.pauses.iter().max();
    RolloutReport {
        revision: deployment.revision,
        candidate,
        previous: deployment.previous.as_ref().map(|previous| shown(name, &previous.module)),
        previous_warm_until: deployment.previous.as_ref().map(|previous| previous.warm_until),
        quarantined: quarantined.collect(),
        last: snapshot.rollout.last.clone(),
        swaps: snapshot.swaps.count,
        longest_pause_us: longest.map(|pause| u64::try_from(pause.as_micros()).unwrap_or(u64::MAX)),
    }
}

fn of_shard(name: &str, shard: status::Shard) -> ShardReport {
    ShardReport {
        stream: shard.stream,
        shard: shard.shard,
        module: shard.module.map(|module| shown(name, &module)),
        waiting: shard.waiting,
        behind_ms: shard.behind,
        is_finished: shard.finished,
    }
}

/// A version as people see it.
fn shown(name: &str, module: &str) -> String {
    format!("{name}@{}", &module[..module.len().min(SHOWN_DIGITS)])
}
