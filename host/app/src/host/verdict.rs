//! What a run came to: whether every job has done its work with the module that its directory holds, and with what it did
//! it. A run that ends when it is caught up is often a test of that module: work done by another version is no success.

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use shardmill_core::jobs::{self, Directory, State};
use tracing::info;

use super::Host;
use super::entry::Entry;
use crate::task_files::UNREAD;

/// What became of a job in a run, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOutcome {
    pub job: String,
    /// What ran, as `name@1a2b3c4d5e6f`; beside a candidate, what had the other shards.
    pub module: Option<String>,
    /// What the task directory holds.
    pub in_directory: Option<String>,
    /// What became of that: `running`, `canary`, `rejected`, `rolled-back`, `superseded`, `pending` or `missing`.
    pub became: String,
    /// Why it does not run.
    pub reason: Option<String>,
}

/// Whether a job has processed all that was there.
#[derive(PartialEq, Eq)]
enum Caught {
    Up,
    NotYet,
    /// It cannot, or not with the module that it was to do it with.
    Never(String),
}

impl Host {
    /// Every job has done its work, or never will.
    pub(super) fn stop_if_caught_up(&mut self) {
        if !self.directory.is_settled() || self.jobs.iter().next().is_none() {
            return;
        }
        let ends: Vec<Caught> = self.jobs.iter().map(|(name, job)| self.caught_up(name, job)).collect();
        if ends.contains(&Caught::NotYet) {
            return;
        }
        info!("caught up");
        self.settings.until_caught_up = false;
        for end in ends {
            if let Caught::Never(why) = end {
                self.failure.get_or_insert(anyhow!("{why}"));
            }
        }
        self.tell(jobs::Event::Stop);
    }

    fn caught_up(&self, name: &str, job: &jobs::Job) -> Caught {
        let Some(entry) = self.entries.get(name) else { return Caught::NotYet };
        if job.is_configuring() {
            return Caught::NotYet;
        }
        let never = |why: &str| Caught::Never(format!("{name}: {why}"));
        if let (State::Running, Some(reason)) = (job.state(), entry.left_unread()) {
            return never(&reason);
        }
        match job.state() {
            State::Running if entry.is_caught_up() => {}
            State::Drained => {}
            State::Failed { reason, restart_at: None } => return never(&reason),
            State::Waiting if job.is_stuck() || job.misconfigured().is_some() => {
                let why = job.rejected().map(|(_, reason)| reason).or(job.misconfigured()).or(job.put_off());
                return never(why.unwrap_or("there is nothing to run"));
            }
            _ => return Caught::NotYet,
        }
        if let Some(reason) = job.put_off() {
            return never(&format!("its module was not rolled out: {reason}"));
        }
        let outcome = outcome(name, job, entry);
        match (outcome.became.as_str(), job.state()) {
            ("running" | "canary" | "missing", _) => Caught::Up,
            ("pending", State::Running) => Caught::NotYet,
            ("pending", _) => Caught::Up,
            _ => Caught::Never(describe(&outcome)),
        }
    }

    /// What became of each job.
    #[must_use]
    pub fn job_outcomes(&self) -> Vec<JobOutcome> {
        let known = self.jobs.iter().filter_map(|(name, job)| Some(outcome(name, job, self.entries.get(name)?)));
        known.collect()
    }
}

fn outcome(name: &str, job: &jobs::Job, entry: &Entry) -> JobOutcome {
    let deployment = entry.deployment();
    let (became, reason) = match job.directory(deployment.as_ref()) {
        Directory::Absent => ("missing", None),
        Directory::Pending => ("pending", job.put_off()),
        Directory::Current => ("running", None),
        Directory::Candidate => ("canary", None),
        Directory::Rejected(reason) => ("rejected", Some(reason)),
        Directory::RolledBack(reason) => ("rolled-back", Some(reason)),
        Directory::Superseded => ("superseded", Some("another version was chosen after it ran")),
    };
    JobOutcome {
        job: name.to_owned(),
        module: deployment.as_ref().map(|deployment| deployment.current.of_job(name).to_string()),
        in_directory: job.wanted().filter(|id| **id != UNREAD).map(|id| id.of_job(name).to_string()),
        became: became.to_owned(),
        reason: reason.map(str::to_owned),
    }
}

fn describe(outcome: &JobOutcome) -> String {
    let JobOutcome { module, in_directory, became, reason, .. } = outcome;
    let what = in_directory.as_deref().unwrap_or(&outcome.job);
    let ran = module.as_deref().unwrap_or("nothing");
    let reason = reason.as_deref().unwrap_or_default();
    let became = if became == "rolled-back" { "rolled back" } else { became };
    format!("{what} was {became}: {reason}; {ran} did the work")
}
