//! What a host says of its jobs, to people and programs. Programs read it as JSON: `STATUS.md` says what every field
//! means, so that they never change what they mean, and new ones have defaults.

mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shardmill_core::jobs::{Directory, Job, State};
use shardmill_core::rollout::Deployment;
use shardmill_core::time::Millis;
use shardmill_runtime::Limit;

use super::Host;
use super::entry::Entry;
use super::files::SLOW;
use crate::clock::millis;
use crate::failures::Subject;
use crate::status::{self, Outage, Snapshot};
use crate::task_files::UNREAD;

pub use state::JobState;

/// A host and its jobs at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// Process id.
    pub pid: u32,
    /// Whether every job runs, or does not on purpose.
    pub is_ready: bool,
    /// The task directory as it was named, made absolute; links in it are as they were.
    #[serde(default)]
    pub tasks: String,
    /// Which directory that is now; absent before it was listed.
    #[serde(default)]
    pub device: Option<u64>,
    #[serde(default)]
    pub inode: Option<u64>,
    /// What keeps it from seeing the task directory, or something in it.
    #[serde(default)]
    pub problems: Vec<String>,
    /// What is in the task directory and is no file of a job, and why.
    #[serde(default)]
    pub passed_over: Vec<String>,
    pub jobs: Vec<JobReport>,
}

/// A job at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    pub name: String,
    /// `job.name`, which may be another; absent while its configuration cannot be used.
    #[serde(default)]
    pub job_name: Option<String>,
    pub state: JobState,
    /// Why it is not running, or cannot use what is in the directory.
    pub problems: Vec<String>,
    /// Shards that nobody reads, of no host.
    #[serde(default)]
    pub unread: Vec<UnreadReport>,
    /// Services that do not answer as they should.
    #[serde(default)]
    pub outages: Vec<OutageReport>,
    /// The module in the directory that cannot run, if it is such a one.
    pub rejected: Option<Rejection>,
    /// What runs, as `name@1a2b3c4d5e6f`.
    pub module: Option<String>,
    /// The newest that may run.
    pub admitted: Option<String>,
    /// What the task directory holds.
    #[serde(default)]
    pub in_directory: Option<String>,
    /// What is being checked and compiled.
    #[serde(default)]
    pub checking: Option<String>,
    /// Why what the task directory holds could not be checked or rolled out yet; it is tried again.
    #[serde(default)]
    pub deferred: Option<String>,
    /// When a failed job is started again, in milliseconds since 1970.
    pub restart_at: Option<u64>,
    /// Envelopes processed since the job's start, again after a replay included.
    pub processed: u64,
    /// Messages sent since the job's start.
    pub sent: u64,
    /// Calls that failed since the job's start.
    pub failed_calls: u64,
    /// Calls that ended an instance since the job's start: traps, time-outs, memory that ran out.
    #[serde(default)]
    pub traps: u64,
    /// How often the task ran into each of its limits since the job's start, by the limit's name.
    pub limits: BTreeMap<String, u64>,
    /// Starts since the host knows the job: the first, and those after a failure or with another configuration.
    #[serde(default)]
    pub starts: u64,
    /// Modules that were not let in or were turned down since the host knows the job; not those that were rolled back.
    #[serde(default)]
    pub rejected_modules: u64,
    /// Versions that were rolled back since the job's start.
    #[serde(default)]
    pub rolled_back: u64,
    /// How long modules were checked and compiled since the host knows the job, in milliseconds.
    #[serde(default)]
    pub admission_ms: u64,
    /// Where the rollout of versions stands; absent before the job has begun.
    pub rollout: Option<RolloutReport>,
    pub shards: Vec<ShardReport>,
}

/// A shard that nobody reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadReport {
    /// `system.stream`.
    pub input: String,
    pub shard: String,
    pub reason: String,
}

/// A service that does not answer as it should, for as long as it does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutageReport {
    /// What is to be read or written.
    pub what: String,
    /// In milliseconds since 1970.
    pub since: u64,
    /// What a call failed with.
    pub error: String,
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
    /// A version that is about to get shards: an instance of it is being started.
    #[serde(default)]
    pub starting: Option<String>,
    /// What became of the last change.
    pub last: Option<String>,
    /// Moves of shards between versions since the job began.
    pub swaps: u64,
    /// How long no envelope could be processed at the last move, in microseconds.
    #[serde(default)]
    pub last_pause_us: Option<u64>,
    /// The longest such pause of the last thousand moves.
    pub longest_pause_us: Option<u64>,
}

/// A version that has some shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateReport {
    /// As `name@1a2b3c4d5e6f`.
    pub module: String,
    /// From 1.
    pub wave: usize,
    /// How many there are before it takes over.
    #[serde(default)]
    pub waves: usize,
    /// When the wave began, in milliseconds since 1970.
    #[serde(default)]
    pub since: u64,
    /// How many shards it has, on all hosts.
    pub shards: usize,
    /// Of how many.
    #[serde(default)]
    pub of_shards: usize,
}

/// A module that was not let in, or was sent back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// As `name@1a2b3c4d5e6f`.
    pub module: String,
    pub reason: String,
    /// Whether it ran and was sent back. It is not tried again unless it is named.
    #[serde(default)]
    pub rolled_back: bool,
}

impl Rejection {
    /// What became of it, why, and what can be done.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { module, reason, rolled_back } = self;
        match module.split_once('@').filter(|_| *rolled_back) {
            Some((job, digits)) => {
                format!("{module} was rolled back: {reason}; `shardmill rollback {job} --to {digits}` tries it again")
            }
            None => format!("{module} was rejected: {reason}"),
        }
    }
}

impl JobReport {
    /// Its name for people: the module's, and `job.name` where that is another.
    #[must_use]
    pub fn title(&self) -> String {
        match self.job_name.as_ref().filter(|job_name| **job_name != self.name) {
            Some(job_name) => format!("{} ({job_name})", self.name),
            None => self.name.clone(),
        }
    }

    /// Whether it runs, or does not on purpose.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.is_ready()
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
            Some(entry) => of_job(name, job, entry, host.now()),
            None => of_job(name, job, &Entry::default(), host.now()),
        })
        .collect();
    let is_ready = jobs.iter().all(JobReport::is_ready);
    let tasks = std::path::absolute(&host.settings.tasks).unwrap_or_else(|_| host.settings.tasks.clone());
    let (device, inode) = host.seen.directory.unzip();
    HostReport {
        pid: std::process::id(),
        is_ready,
        tasks: tasks.display().to_string(),
        device,
        inode,
        problems: host.directory_problems(),
        passed_over: host.passed_over(),
        jobs,
    }
}

fn of_job(name: &str, job: &Job, entry: &Entry, now: Millis) -> JobReport {
    let started = entry.started();
    let is_up = entry.actor.is_some();
    let snapshot = started.as_ref().map(|started| started.status.snapshot()).unwrap_or_default();
    let waves = entry.job.as_ref().map_or(0, |job| job.rollout.waves.len());
    let rollout = snapshot.rollout.deployment.as_ref().map(|deployment| of_rollout(name, deployment, waves, &snapshot));
    let rejected = rejection(name, job, snapshot.rollout.deployment.as_ref());
    let (state, failure, restart_at) = match job.state() {
        State::Waiting => (JobState::Waiting, None, None),
        State::Running if started.is_none() => (JobState::Starting, None, None),
        State::Running if snapshot.rollout.paused => (JobState::Paused, None, None),
        State::Running => (JobState::Running, None, None),
        State::Stopping => (JobState::Stopping, None, None),
        State::Drained => (JobState::Drained, None, None),
        State::Failed { reason, restart_at } => (JobState::Failed, Some(reason), restart_at),
    };
    let limits = Limit::ALL.into_iter().map(|limit| (limit.name().to_owned(), snapshot.limits.of(limit))).collect();
    let deployment = snapshot.rollout.deployment.as_ref().filter(|_| is_up);
    let current = deployment.map(|deployment| deployment.current.of_job(name).to_string());
    let mut problems = problems(job, entry, failure, rejected.as_ref(), &snapshot);
    let mut unread = Vec::new();
    if is_up {
        problems.extend(snapshot.inputs.values().filter_map(status::Input::unread));
        problems.extend(snapshot.duplicates.values().map(|(since, text)| {
            let seconds = now.saturating_sub(*since) / 1_000;
            format!("{text} (first seen {seconds} s ago)")
        }));
        problems.extend(outage_problems(&snapshot.outages, now));
        unread = snapshot.inputs.into_values().flat_map(of_unread).collect();
    }
    let outages = if is_up { snapshot.outages } else { BTreeMap::new() };
    // Of a job that is down they are others' by now.
    let shards = snapshot.shards.into_values().filter(|_| is_up).map(|shard| of_shard(name, shard));
    let mut shards: Vec<ShardReport> = shards.collect();
    shards.sort_by(|a, b| (&a.stream, &a.shard).cmp(&(&b.stream, &b.shard)));
    JobReport {
        name: name.to_owned(),
        job_name: entry.job.as_ref().map(|job| job.name.clone()),
        state,
        problems,
        unread,
        outages: outages.into_iter().map(of_outage).collect(),
        rejected,
        admitted: job.admitted().map(|id| id.of_job(name).to_string()),
        in_directory: job.wanted().filter(|id| **id != UNREAD).map(|id| id.of_job(name).to_string()),
        checking: job.admitting().map(|id| id.of_job(name).to_string()),
        deferred: job.put_off().map(str::to_owned),
        module: current,
        restart_at,
        processed: snapshot.processed,
        sent: snapshot.sent,
        failed_calls: snapshot.failed_calls,
        traps: snapshot.traps,
        limits,
        starts: entry.counts.starts,
        rejected_modules: entry.counts.rejected,
        rolled_back: snapshot.rollout.rolled_back,
        admission_ms: millis(entry.counts.admission),
        rollout,
        shards,
    }
}

/// Why the module of the task directory does not run.
fn rejection(name: &str, job: &Job, deployment: Option<&Deployment>) -> Option<Rejection> {
    let wanted = *job.wanted()?;
    let is_read = wanted != UNREAD;
    let module = if is_read { wanted.of_job(name).to_string() } else { format!("{name}.wasm") };
    let (reason, rolled_back) = match job.directory(deployment) {
        Directory::RolledBack(reason) => (reason.to_owned(), true),
        Directory::Rejected(reason) => (reason.to_owned(), false),
        Directory::Superseded => {
            let digits = wanted.digits();
            let text = format!(
                "it had its chance, and another version was chosen since; `shardmill rollback {name} --to {digits}` goes \
                 back to it if it is kept"
            );
            (text, false)
        }
        Directory::Absent | Directory::Pending | Directory::Current | Directory::Candidate => return None,
    };
    Some(Rejection { module, reason, rolled_back })
}

/// Everything that is not as it should be, and what can be done about it.
fn problems(
    job: &Job,
    entry: &Entry,
    failure: Option<String>,
    rejected: Option<&Rejection>,
    snapshot: &Snapshot,
) -> Vec<String> {
    let rejected = rejected.map(Rejection::describe);
    let put_off = job.put_off().map(|reason| format!("its module does not run yet, which is tried again: {reason}"));
    let slow = entry.recalling_since.map(|since| since.elapsed()).filter(|elapsed| *elapsed >= SLOW);
    let slow = slow.map(|elapsed| format!("the state directory has not answered for {} s", elapsed.as_secs()));
    let unused = entry.module.as_ref().and_then(|module| module.unused.clone());
    let misconfigured = job.misconfigured().map(|reason| format!("its configuration cannot be used: {reason}"));
    let unseen = snapshot.rollout.problem.clone().filter(|_| entry.actor.is_some());
    let unkept = entry.unkept.clone().filter(|_| entry.actor.is_some());
    let waits = snapshot.waits.values().take(1).filter(|_| entry.actor.is_some());
    let waits = waits.map(|reason| format!("it waits and is tried again, its records are kept: {reason}"));
    let of_module = failure.into_iter().chain(rejected).chain(put_off).chain(misconfigured).chain(unused);
    of_module.chain(unseen).chain(unkept).chain(waits).chain(slow).collect()
}

/// In words, with how long each lasts. Many shards of one stream are one problem.
fn outage_problems(outages: &BTreeMap<Subject, Outage>, now: Millis) -> Vec<String> {
    let group = |subject: &Subject| match subject {
        Subject::Shard { stream, .. } => Some(stream.clone()),
        _ => None,
    };
    let mut problems = Vec::new();
    let mut told = BTreeSet::new();
    for (subject, Outage { since, error }) in outages {
        let stream = group(subject);
        if stream.as_ref().is_some_and(|stream| !told.insert(stream.clone())) {
            continue;
        }
        let others = outages.keys().filter(|other| stream.is_some() && group(other) == stream).count();
        let others = match others.saturating_sub(1) {
            0 => String::new(),
            1 => " and one more shard".to_owned(),
            more => format!(" and {more} more shards"),
        };
        let seconds = now.saturating_sub(*since) / 1_000;
        let then = match subject {
            Subject::TableWrite(_) => "; leases that are not renewed run out, and then nobody reads their shards",
            _ => "",
        };
        let participle = subject.participle();
        problems.push(format!(
            "{subject}{others} cannot be {participle} for {seconds} s, and is tried again{then}: {error}"
        ));
    }
    problems
}

fn of_unread(input: status::Input) -> impl Iterator<Item = UnreadReport> {
    let status::Input { name, standing } = input;
    let unread = standing.unread.into_iter();
    unread.map(move |it| UnreadReport { input: name.clone(), shard: it.key, reason: it.why.to_string() })
}

fn of_outage((subject, Outage { since, error }): (Subject, Outage)) -> OutageReport {
    OutageReport { what: subject.to_string(), since, error }
}

fn of_rollout(name: &str, deployment: &Deployment, waves: usize, snapshot: &Snapshot) -> RolloutReport {
    let candidate = deployment.candidate.as_ref().map(|candidate| CandidateReport {
        module: candidate.module.of_job(name).to_string(),
        wave: candidate.wave + 1,
        waves,
        since: candidate.since,
        shards: candidate.shards.len(),
        of_shards: candidate.shards.len() + candidate.others.len(),
    });
    let quarantined = deployment.quarantined.iter().map(|quarantined| {
        let module = quarantined.module.of_job(name).to_string();
        Rejection { module, reason: quarantined.reason.clone(), rolled_back: true }
    });
    let micros = |pause: &Duration| u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
    RolloutReport {
        revision: deployment.revision,
        candidate,
        previous: deployment.previous.as_ref().map(|previous| previous.module.of_job(name).to_string()),
        previous_warm_until: deployment.previous.as_ref().map(|previous| previous.warm_until),
        quarantined: quarantined.collect(),
        starting: snapshot.rollout.starting.as_ref().map(|module| module.of_job(name).to_string()),
        last: snapshot.rollout.last.clone(),
        swaps: snapshot.swaps.count,
        last_pause_us: snapshot.swaps.pauses.back().map(micros),
        longest_pause_us: snapshot.swaps.pauses.iter().max().map(micros),
    }
}

fn of_shard(name: &str, shard: status::Shard) -> ShardReport {
    ShardReport {
        stream: shard.stream,
        shard: shard.shard,
        module: shard.module.map(|module| module.of_job(name).to_string()),
        waiting: shard.waiting,
        behind_ms: shard.behind,
        is_finished: shard.finished,
    }
}

#[cfg(test)]
mod tests;
