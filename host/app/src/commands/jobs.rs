//! `shardmill ls`, `status`, `promote`, `rollback`, `pause`, `drain`, `resume`: what the running hosts of a task directory say of their jobs, and what
//! they are asked to do with them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;
use shardmill::admin::{Answer, Ask, ask};
use shardmill::host::{HostReport, JobReport, RolloutReport};

use super::{NotReady, print};
use crate::cli::{JobArgs, Ls, Rollback};

pub(crate) fn ls(args: &Ls) -> Result<()> {
    let hosts = reports(&args.tasks)?;
    if args.json {
        print(&serde_json::to_string(&json!({ "hosts": hosts }))?);
    } else {
        print(&table(&hosts));
    }
    Ok(())
}

/// Fails when the job is not as it should be, so that a readiness probe can call it.
pub(crate) fn status(args: &JobArgs) -> Result<()> {
    let mut hosts = reports(&args.tasks)?;
    for host in &mut hosts {
        host.jobs.retain(|job| job.name == args.job);
    }
    let jobs: Vec<&JobReport> = hosts.iter().flat_map(|host| &host.jobs).collect();
    if jobs.is_empty() {
        bail!(
            "no host runs a job {} from {}; `shardmill ls` shows those that there are",
            args.job,
            args.tasks.display()
        );
    }
    if args.json {
        print(&serde_json::to_string(&json!({ "hosts": hosts }))?);
    } else {
        for host in &hosts {
            host.jobs.iter().for_each(|job| print(&details(host.pid, job)));
        }
    }
    match jobs.iter().all(|job| job.is_ready()) {
        true => Ok(()),
        false => Err(NotReady.into()),
    }
}

pub(crate) fn drain(args: &JobArgs) -> Result<()> {
    tell(args, &Ask::Drain { job: args.job.clone() }, "drained: it finishes, commits and releases its leases")
}

pub(crate) fn resume(args: &JobArgs) -> Result<()> {
    tell(args, &Ask::Resume { job: args.job.clone() }, "resumed")
}

pub(crate) fn promote(args: &JobArgs) -> Result<()> {
    tell(args, &Ask::Promote { job: args.job.clone() }, "promoted: the candidate takes over")
}

pub(crate) fn rollback(args: &Rollback) -> Result<()> {
    let ask = Ask::Rollback { job: args.job.job.clone(), to: args.to.clone() };
    tell(&args.job, &ask, "rolled back; `shardmill status` says what runs")
}

pub(crate) fn pause(args: &JobArgs) -> Result<()> {
    tell(args, &Ask::Pause { job: args.job.clone() }, "paused: its task is not called; its leases are kept")
}

/// What all hosts of a task directory on this machine say.
pub(crate) fn reports(tasks: &Path) -> Result<Vec<HostReport>> {
    let mut reports = Vec::new();
    for answer in answers(tasks, &Ask::Report)? {
        match answer {
            Answer::Report(report) => reports.push(report),
            Answer::Done => {}
            Answer::Refused { reason } => bail!("{reason}"),
        }
    }
    Ok(reports)
}

/// Tells every host; it is done when one that has the job did it.
fn tell(args: &JobArgs, what: &Ask, done: &str) -> Result<()> {
    let mut refused = None;
    let mut is_done = false;
    for answer in answers(&args.tasks, what)? {
        match answer {
            Answer::Refused { reason } => refused = Some(reason),
            Answer::Done | Answer::Report(_) => is_done = true,
        }
    }
    match refused {
        Some(reason) if !is_done => bail!("{reason}"),
        _ if args.json => print(&json!({ "job": args.job, "ok": true }).to_string()),
        _ => print(&format!("{} {done}", args.job)),
    }
    Ok(())
}

fn answers(tasks: &Path, what: &Ask) -> Result<Vec<Answer>> {
    let failed = || format!("failed to ask the host of {}", tasks.display());
    let answers = ask(tasks, what).with_context(failed)?;
    if answers.is_empty() {
        bail!(
            "no host of this user runs the task directory {} on this machine; `shardmill run` starts one",
            tasks.display()
        );
    }
    Ok(answers)
}

fn table(hosts: &[HostReport]) -> String {
    let mut rows =
        vec![["HOST", "JOB", "STATE", "MODULE", "SHARDS", "BEHIND", "PROCESSED", "FAILED"].map(str::to_owned)];
    let mut problems = String::new();
    for host in hosts {
        for job in &host.jobs {
            rows.push([
                host.pid.to_string(),
                job.name.clone(),
                job.state.clone(),
                job.module.clone().unwrap_or_else(|| "-".to_owned()),
                job.shards.len().to_string(),
                behind(job),
                job.processed.to_string(),
                job.failed_calls.to_string(),
            ]);
            for problem in &job.problems {
                problems += &format!("\n{}: {problem}", job.name);
            }
        }
    }
    columns(&rows) + &problems
}

pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// How far the job is behind, by its last shard.
fn behind(job: &JobReport) -> String {
    let behind = job.shards.iter().filter_map(|shard| shard.behind_ms).max();
    behind.map_or_else(|| "-".to_owned(), |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100))
}

fn rollout_lines(rollout: &RolloutReport) -> String {
    let mut text = String::new();
    if let Some(candidate) = &rollout.candidate {
        text += &format!("  candidate  {} in wave {}\n", candidate.module, candidate.wave);
    }
    if let Some(previous) = &rollout.previous {
        text += &format!("  previous   {previous}\n");
    }
    for quarantined in &rollout.quarantined {
        text += &format!("  rolled back {}: {}\n", quarantined.module, quarantined.reason);
    }
    if let Some(last) = &rollout.last {
        text += &format!("  last       {last}\n");
    }
    text
}

fn details(host: u32, job: &JobReport) -> String {
    let mut text = format!("{}  {}  on host {host}\n", job.name, job.state);
    text += &format!("  module     {}\n", job.module.as_deref().unwrap_or("-"));
    text += &job.rollout.as_ref().map(rollout_lines).unwrap_or_default();
    text += &format!(
        "  processed  {} envelopes, {} messages sent, {} failed calls\n",
        job.processed, job.sent, job.failed_calls
    );
    for (limit, hits) in &job.limits {
        text += &format!("  limit      {limit} was hit {hits} times\n");
    }
    for problem in &job.problems {
        text += &format!("  problem    {problem}\n");
    }
    let mut rows = vec![["  STREAM", "SHARD", "MODULE", "BEHIND", "WAITING"].map(str::to_owned)];
    for shard in &job.shards {
        let behind = match shard.behind_ms {
            _ if shard.is_finished => "finished".to_owned(),
            Some(ms) => format!("{ms} ms"),
            None => "-".to_owned(),
        };
        let module = shard.module.clone().unwrap_or_else(|| "-".to_owned());
        rows.push([format!("  {}", shard.stream), shard.shard.clone(), module, behind, shard.waiting.to_string()]);
    }
    text + &columns(&rows)
}
