//! `shardmill deploy`: validates a module, puts it into a task directory atomically, so that no host sees half of it, and
//! with `--wait` waits for the outcome of the rollout.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::json;

use shardmill::bounded_file::{self, MODULE_MAX_BYTES};
use shardmill::host::{CandidateReport, JobReport, JobState};
use shardmill::task_files;
use shardmill_core::module::ModuleId;
use shardmill_core::rollout::Manner;
use shardmill_runtime::{Engine, module_id};

use super::{BadInput, jobs, modules, print, print_json, runtime, say};
use crate::cli::Deploy;

/// How often the hosts are polled.
const POLL: Duration = Duration::from_millis(200);
/// Without `--timeout`, the wait ends when nothing has happened for this long.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn deploy(args: &Deploy) -> Result<()> {
    let name = name(args)?;
    let bytes = modules::read(&args.file)?;
    if !args.tasks.is_dir() {
        return Err(BadInput(format!("there is no task directory {}", args.tasks.display())).into());
    }
    check(args, &name, &bytes)?;
    let id = module_id(&bytes);
    let (module, file) = (id.of_job(&name).to_string(), args.tasks.join(format!("{name}.wasm")));
    let tasks = args.tasks.display();
    let how = match (args.canary, args.all) {
        (true, _) => Manner::Canary,
        (_, true) => Manner::All,
        _ => Manner::Configured,
    };
    task_files::deploy(&args.tasks, &name, &bytes, how)
        .with_context(|| format!("failed to write {}", file.display()))?;
    if args.wait {
        say(&format!("{module} is in {tasks}; waiting until it has taken over"));
        let stamp = stamp(&file);
        Deployed { name: name.clone(), module: module.clone(), id, file, stamp }.wait(args)?;
    }
    let has_host = args.wait || jobs::has_host(&args.tasks);
    if args.json {
        let result = json!({
            "job": name, "module": module, "sha256": id, "runs": args.wait, "has_host": has_host
        });
        print_json(&result.to_string());
    } else {
        print(&match (args.wait, has_host) {
            (true, _) => format!("{module} runs"),
            (false, true) => format!("{module} is deployed; follow its rollout with `shardmill ls`"),
            (false, false) => {
                format!("{module} is deployed; no host runs {tasks}: the next host to start picks it up")
            }
        });
    }
    Ok(())
}

/// Keeps a module that no host would admit from replacing one that runs. If the module cannot be checked on this machine,
/// that is left to the host. A new module is compiled here, so the host finds it compiled.
fn check(args: &Deploy, name: &str, bytes: &[u8]) -> Result<()> {
    Engine::check_header(name, bytes).map_err(|error| refused(args, &error))?;
    let admitted = modules::admission(&args.modules, None)
        .and_then(|admission| Ok(runtime()?.block_on(admission.admit(name, bytes.to_vec()))));
    match admitted {
        Ok(Err(rejected)) if rejected.is_final() => Err(refused(args, &rejected).into()),
        Ok(Err(failed)) => {
            say(&format!("validation skipped here, the host will validate the module: {failed}"));
            Ok(())
        }
        Err(error) => {
            say(&format!("validation skipped here, the host will validate the module: {error:#}"));
            Ok(())
        }
        Ok(Ok(_)) => Ok(()),
    }
}

fn refused(args: &Deploy, reason: &dyn std::fmt::Display) -> BadInput {
    BadInput(format!("{} is not deployed: {reason}", args.file.display()))
}

/// The job's name: as given, or the file's, with `-` for each `_` that Cargo puts into file names.
fn name(args: &Deploy) -> Result<String> {
    let stem = args.file.file_stem().and_then(|stem| stem.to_str()).map(|stem| stem.replace('_', "-"));
    let name = args.name.clone().or(stem);
    let name = name.ok_or_else(|| BadInput(format!("{} yields no job name; give --name", args.file.display())))?;
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(is_good) {
        let text =
            format!("invalid job name `{name}`: only letters, digits, `.`, `-` and `_` are allowed; give --name");
        return Err(BadInput(text).into());
    }
    Ok(name)
}

/// A module in the task directory.
struct Deployed {
    name: String,
    /// The module as reports show it.
    module: String,
    id: ModuleId,
    file: PathBuf,
    stamp: Option<(u64, SystemTime)>,
}

/// Identifies a file: another stamp means another file. `None` when the file no longer exists.
fn stamp(file: &Path) -> Option<(u64, SystemTime)> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.ino(), metadata.modified().ok()?))
}

/// How far the rollout is on one host.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Runs,
    /// In progress; the text describes the step for people.
    Waits(String),
    /// In progress, in a step that is expected to take long.
    Bakes(String),
    /// The module will not run without intervention.
    Ended(String),
}

impl Deployed {
    /// Waits until every host runs the module, or one reports why it does not.
    fn wait(&self, args: &Deploy) -> Result<()> {
        let total = args.timeout.map(Duration::from_secs);
        let mut deadline = Instant::now() + total.unwrap_or(PATIENCE);
        let mut reported = String::new();
        loop {
            let hosts = jobs::reports(&args.tasks).with_context(|| format!("no host runs {} yet", self.module))?;
            let jobs = hosts.iter().flat_map(|host| &host.jobs).filter(|job| job.name == self.name);
            let mut progress: Vec<Progress> = jobs.map(|job| self.progress(job)).collect();
            if !progress.is_empty() && progress.iter().all(|it| *it == Progress::Runs) {
                return Ok(());
            }
            progress.sort_by_key(|it| !matches!(it, Progress::Ended(_)));
            let now = match progress.into_iter().find(|it| *it != Progress::Runs) {
                Some(Progress::Ended(reason)) => bail!("{reason}"),
                Some(Progress::Bakes(text)) => {
                    deadline = if total.is_some() { deadline } else { Instant::now() + PATIENCE };
                    text
                }
                Some(Progress::Waits(text)) => text,
                _ => "no host has seen it yet".to_owned(),
            };
            if let Some(found) = self.replaced_by() {
                bail!("{} was replaced by {found} before it had taken over", self.module);
            }
            if now != reported {
                say(&format!("{}: {now}", self.module));
                reported.clone_from(&now);
                deadline = if total.is_some() { deadline } else { Instant::now() + PATIENCE };
            } else if Instant::now() >= deadline {
                bail!(
                    "timed out waiting for {}: {now}; the rollout continues, see `shardmill status {}`",
                    self.module,
                    self.name
                );
            }
            std::thread::sleep(POLL);
        }
    }

    fn progress(&self, job: &JobReport) -> Progress {
        let is_it = |shown: &Option<String>| shown.as_ref() == Some(&self.module);
        if let Some(rejected) = job.rejected.as_ref().filter(|rejected| rejected.module == self.module) {
            return Progress::Ended(rejected.describe());
        }
        let rollout = job.rollout.as_ref();
        let candidate = rollout.and_then(|rollout| rollout.candidate.as_ref());
        if let Some(candidate) = candidate.filter(|candidate| candidate.module == self.module) {
            return Progress::Bakes(wave(candidate));
        }
        if let Some(deferred) = job.deferred.as_ref().filter(|_| is_it(&job.in_directory)) {
            return Progress::Waits(format!("validation deferred, will retry: {deferred}"));
        }
        let is_admitted = is_it(&job.admitted);
        match job.state {
            // For whatever reason the job is paused, this module will process next.
            JobState::Running | JobState::Paused if is_it(&job.module) && candidate.is_none() => Progress::Runs,
            JobState::Failed if is_admitted && job.restart_at.is_some() => {
                Progress::Waits(format!("the job is restarting: {}", job.problems.join("; ")))
            }
            JobState::Drained | JobState::Failed if is_admitted => {
                let why =
                    if job.problems.is_empty() { String::new() } else { format!(": {}", job.problems.join("; ")) };
                let Self { name, module, .. } = self;
                Progress::Ended(format!(
                    "{module} does not run, the job is {}{why}; start it with `shardmill resume {name}`",
                    job.state
                ))
            }
            JobState::Waiting if is_admitted && !job.problems.is_empty() => {
                Progress::Ended(format!("{} does not run: {}", self.module, job.problems.join("; ")))
            }
            _ if is_it(&job.checking) => Progress::Waits("compiling and validating".to_owned()),
            _ if rollout.is_some_and(|rollout| is_it(&rollout.starting)) => Progress::Waits("starting".to_owned()),
            _ if is_admitted => Progress::Waits("running the trial".to_owned()),
            _ => Progress::Waits("no host has seen it yet".to_owned()),
        }
    }

    /// The module that has replaced this one in the task directory.
    fn replaced_by(&self) -> Option<String> {
        if stamp(&self.file) == self.stamp {
            return None;
        }
        let found = bounded_file::read(&self.file, MODULE_MAX_BYTES).ok()?;
        let found = module_id(&found.bytes);
        (found != self.id).then(|| found.of_job(&self.name).to_string())
    }
}

fn wave(candidate: &CandidateReport) -> String {
    let CandidateReport { wave, waves, shards, of_shards, .. } = candidate;
    format!("in wave {wave} of {waves}, on {shards} of {of_shards} shards")
}
