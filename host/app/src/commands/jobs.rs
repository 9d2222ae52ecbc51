//! `shardmill ls`, `status`, `promote`, `rollback`, `pause`, `drain`, `resume`: query and control the jobs of the running
//! hosts of a task directory.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;
use shardmill::admin::{Answer, Answers, Ask, ask};
use shardmill::host::{CandidateReport, HostReport, JobReport, Rejection, RolloutReport};
use shardmill_core::text;

use super::{NotReady, print, print_json, say};
use crate::cli::{JobArgs, Ls, Rollback};

/// Lines of a problem that `ls` shows.
const PROBLEM_LINES: usize = 8;

pub(crate) fn ls(args: &Ls) -> Result<()> {
    let hosts = reports(&args.tasks)?;
    if args.json {
        print_json(&serde_json::to_string(&json!({ "hosts": hosts }))?);
    } else {
        print(&table(&hosts));
    }
    Ok(())
}

/// Fails when the job is not ready, so that a readiness probe can call it.
pub(crate) fn status(args: &JobArgs) -> Result<()> {
    let mut hosts = reports(&args.tasks)?;
    let passed_over = passed_over(&hosts, &args.job);
    let name = module_name(&hosts, &args.job)?;
    for host in &mut hosts {
        host.jobs.retain(|job| job.name == name);
    }
    let jobs: Vec<&JobReport> = hosts.iter().flat_map(|host| &host.jobs).collect();
    if jobs.is_empty() {
        bail!(
            "no host runs a job {} from {}; `shardmill ls` lists the jobs{passed_over}",
            args.job,
            args.tasks.display()
        );
    }
    if args.json {
        print_json(&serde_json::to_string(&json!({ "hosts": hosts }))?);
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

/// The ignored files that may have been meant as the job's module.
fn passed_over(hosts: &[HostReport], job: &str) -> String {
    let job = job.to_lowercase();
    let begins_so = |file: &&String| {
        let rest = file.to_lowercase().strip_prefix(&job).map(str::to_owned);
        rest.is_some_and(|rest| rest.starts_with(['.', ':']))
    };
    let files = hosts.iter().flat_map(|host| &host.passed_over).chain(hosts.iter().flat_map(|host| &host.problems));
    files.filter(begins_so).map(|file| format!("; ignored: {file}")).collect()
}

pub(crate) fn drain(args: &JobArgs) -> Result<()> {
    request(args, |job| Ask::Drain { job }, "drained: it finishes, commits and releases its leases")
}

pub(crate) fn resume(args: &JobArgs) -> Result<()> {
    request(args, |job| Ask::Resume { job }, "resumed")
}

pub(crate) fn promote(args: &JobArgs) -> Result<()> {
    request(args, |job| Ask::Promote { job }, "promoted: the canary takes over")
}

pub(crate) fn rollback(args: &Rollback) -> Result<()> {
    // The version that is there now: if another host or a failed probation rolls it back meanwhile, the request must
    // not roll back a second one.
    let hosts = reports(&args.job.tasks)?;
    let name = module_name(&hosts, &args.job.job)?;
    let version = match args.to {
        Some(_) => None,
        None => hosts.iter().flat_map(|host| &host.jobs).find_map(|it| of_now(it, &name)),
    };
    let ask = Ask::Rollback { job: name, to: args.to.clone(), version };
    send(&args.job, &ask, &format!("rolled back; `shardmill status {}` shows what runs", args.job.job))
}

pub(crate) fn pause(args: &JobArgs) -> Result<()> {
    request(args, |job| Ask::Pause { job }, "paused; leases are kept")
}

/// The reports of all hosts of a task directory on this machine.
pub(crate) fn reports(tasks: &Path) -> Result<Vec<HostReport>> {
    let mut reports = Vec::new();
    let Answers { answers, silent } = answers(tasks, &Ask::Report)?;
    silent.iter().for_each(|silent| say(silent));
    for answer in answers {
        match answer {
            Answer::Report(report) => reports.push(report),
            Answer::Done => {}
            Answer::Refused { reason } => bail!("{reason}"),
        }
    }
    Ok(reports)
}

/// Whether a host of this user runs the task directory on this machine, as far as it can be determined.
pub(crate) fn has_host(tasks: &Path) -> bool {
    ask(tasks, &Ask::Report).is_ok_and(|Answers { answers, silent }| !answers.is_empty() || !silent.is_empty())
}

/// The version that a roll-back replaces: the candidate, or the current version. By the first digits of its hash.
fn of_now(report: &JobReport, job: &str) -> Option<String> {
    let candidate = report.rollout.as_ref().and_then(|rollout| rollout.candidate.as_ref());
    let module = candidate.map(|candidate| &candidate.module).or(report.module.as_ref());
    let (_, digits) = module.filter(|_| report.name == job)?.split_once('@')?;
    Some(digits.to_owned())
}

/// The name of a job's module: the typed name, or the module with this `job.name`. An unknown name is left to the hosts to
/// reject.
///
/// # Errors
/// When several modules have this `job.name`.
pub(crate) fn module_name(hosts: &[HostReport], typed: &str) -> Result<String> {
    let jobs = || hosts.iter().flat_map(|host| &host.jobs);
    if jobs().any(|job| job.name == typed) {
        return Ok(typed.to_owned());
    }
    let called = jobs().filter(|job| job.job_name.as_deref() == Some(typed)).map(|job| job.name.clone());
    module_called(typed, called)
}

/// The one module with this `job.name`; the typed name if there is none.
///
/// # Errors
/// When several modules have it.
pub(super) fn module_called(typed: &str, called: impl IntoIterator<Item = String>) -> Result<String> {
    let called = Vec::from_iter(BTreeSet::from_iter(called));
    match called.as_slice() {
        [] => Ok(typed.to_owned()),
        [name] => Ok(name.clone()),
        several => bail!("{typed} is the job.name of several jobs; name one of their modules: {}", several.join(", ")),
    }
}

/// Sends a request about the job to every host.
fn request(args: &JobArgs, what: impl FnOnce(String) -> Ask, done: &str) -> Result<()> {
    let Answers { answers, .. } = answers(&args.tasks, &Ask::Report)?;
    let report = |answer| if let Answer::Report(report) = answer { Some(report) } else { None };
    let hosts: Vec<HostReport> = answers.into_iter().filter_map(report).collect();
    send(args, &what(module_name(&hosts, &args.job)?), done)
}

/// Succeeds when one host that has the job has carried it out.
fn send(args: &JobArgs, what: &Ask, done: &str) -> Result<()> {
    let mut refused = None;
    let mut is_done = false;
    let Answers { answers, silent } = answers(&args.tasks, what)?;
    for answer in answers {
        match answer {
            Answer::Refused { reason } => refused = Some(reason),
            Answer::Done | Answer::Report(_) => is_done = true,
        }
    }
    match refused {
        _ if !silent.is_empty() => bail!("{}", silent.join("; ")),
        Some(reason) if !is_done => bail!("{reason}"),
        _ if args.json => print_json(&json!({ "job": args.job, "ok": true }).to_string()),
        _ => print(&format!("{} {done}", args.job)),
    }
    Ok(())
}

fn answers(tasks: &Path, what: &Ask) -> Result<Answers> {
    let failed = || format!("failed to ask the host of {}", tasks.display());
    let answers = ask(tasks, what).with_context(failed)?;
    if answers.answers.is_empty() && !answers.silent.is_empty() {
        bail!("{}", answers.silent.join("; "));
    }
    if answers.answers.is_empty() && !tasks.is_dir() {
        bail!("there is no task directory {}; name the host's directory with `--tasks DIR`", text::path(tasks));
    }
    if answers.answers.is_empty() {
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
        host.problems.iter().for_each(|problem| problems += &format!("\nhost {}: {}", host.pid, text::entry(problem)));
        host.passed_over.iter().for_each(|file| problems += &format!("\nignored: {}", text::entry(file)));
        for job in &host.jobs {
            rows.push([
                host.pid.to_string(),
                job.title(),
                job.state.to_string(),
                versions(job),
                job.shards.len().to_string(),
                behind(job),
                job.processed.to_string(),
                job.failed_calls.to_string(),
            ]);
            for problem in &job.problems {
                problems += &format!("\n{}: {}", text::shown(&job.name), in_short(problem, &job.name));
            }
        }
    }
    columns(&rows) + &problems
}

/// The first lines of a problem: a list has no room for a backtrace.
fn in_short(problem: &str, job: &str) -> String {
    let problem = text::entry(problem);
    let lines = problem.lines().take_while(|line| line.trim() != "backtrace:").take(PROBLEM_LINES);
    let lines: Vec<&str> = lines.collect();
    let mut text = lines.join("\n");
    if lines.len() < problem.lines().count() {
        text += &format!("\n  ... (see `shardmill status {job}`)");
    }
    text
}

/// Formats rows as a table. Each cell is one line, whatever it contains.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| text::shown(cell))).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[Cow<'_, str>; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The running version, and the one that is being rolled out or validated.
fn versions(job: &JobReport) -> String {
    let mut text = job.module.clone().unwrap_or_else(|| "-".to_owned());
    let rollout = job.rollout.as_ref();
    if let Some(CandidateReport { module, shards, of_shards, .. }) = rollout.and_then(|it| it.candidate.as_ref()) {
        text += &format!(" ({module} on {shards} of {of_shards})");
    } else if let Some(checking) = &job.checking {
        text += &format!(" (validating {checking})");
    }
    text
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// How far the job is behind: the lag of its slowest shard.
fn behind(job: &JobReport) -> String {
    let behind = job.shards.iter().filter_map(|shard| shard.behind_ms).max();
    behind.map_or_else(|| "-".to_owned(), seconds)
}

fn rollout_lines(rollout: &RolloutReport, rejected: Option<&Rejection>) -> String {
    let mut text = String::new();
    if let Some(candidate) = &rollout.candidate {
        let CandidateReport { module, wave, waves, shards, of_shards, .. } = candidate;
        text += &format!("  candidate  {module} in wave {wave} of {waves}, on {shards} of {of_shards} shards\n");
    }
    if let Some(previous) = &rollout.previous {
        text += &format!("  previous   {previous}\n");
    }
    if let Some(starting) = &rollout.starting {
        text += &format!("  starting   {starting}\n");
    }
    // The problems already report the module of the task directory.
    let is_reported = |text: &str| rejected.is_some_and(|it| it.rolled_back && text.starts_with(&it.module));
    for bad in rollout.quarantined.iter().filter(|bad| !is_reported(&bad.module)) {
        text += &format!("  quarantined  {}: {}\n", bad.module, text::entry(&bad.reason));
    }
    if let Some(last) = rollout.last.as_ref().filter(|last| !is_reported(last)) {
        text += &format!("  last       {}\n", text::entry(last));
    }
    if let (Some(last), Some(longest)) = (rollout.last_pause_us, rollout.longest_pause_us) {
        let ms = |us: u64| us as f64 / 1_000.0;
        let count = rollout.swaps;
        text +=
            &format!("  swaps      {count}, the last in {:.1} ms, the longest in {:.1} ms\n", ms(last), ms(longest));
    }
    text
}

fn details(host: u32, job: &JobReport) -> String {
    let mut text = format!("{}  {}  on host {host}\n", text::shown(&job.title()), job.state);
    text += &format!("  module     {}\n", job.module.as_deref().unwrap_or("-"));
    text += &job.rollout.as_ref().map(|rollout| rollout_lines(rollout, job.rejected.as_ref())).unwrap_or_default();
    text += &format!(
        "  processed  {} envelopes, {} messages sent, {} failed calls, {} traps\n",
        job.processed, job.sent, job.failed_calls, job.traps
    );
    if let Some(checking) = &job.checking {
        text += &format!("  checking   {checking}\n");
    }
    let times = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    text += &format!(
        "  totals     {}, {}, {}, {:.1} s compiling and validating\n",
        times(job.starts, "start"),
        times(job.rejected_modules, "rejected module"),
        times(job.rolled_back, "roll-back"),
        job.admission_ms as f64 / 1_000.0
    );
    for (limit, hits) in job.limits.iter().filter(|(_, hits)| **hits > 0) {
        text += &format!("  limit      {limit} was hit {hits} times\n");
    }
    for problem in &job.problems {
        text += &format!("  problem    {}\n", text::entry(problem));
    }
    let mut rows = vec![["  STREAM", "SHARD", "MODULE", "BEHIND", "WAITING"].map(str::to_owned)];
    for shard in &job.shards {
        let behind = match shard.behind_ms {
            _ if shard.is_finished => "finished".to_owned(),
            Some(ms) => seconds(ms),
            None => "-".to_owned(),
        };
        let module = shard.module.clone().unwrap_or_else(|| "-".to_owned());
        rows.push([format!("  {}", shard.stream), shard.shard.clone(), module, behind, shard.waiting.to_string()]);
    }
    text + &columns(&rows)
}
