//! `shardmill deploy`: checks a module, puts it into a task directory in one step, so that no host sees half of it, and
//! waits, if asked to, until it has taken over or has not.

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

/// How often hosts are asked how far they are.
const POLL: Duration = Duration::from_millis(200);
/// How long nothing may happen before the wait is given up, if it is not told how long it may take.
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
            (false, true) => format!("{module} is deployed; `shardmill ls` shows what becomes of it"),
            (false, false) => {
                format!("{module} is deployed; no host runs on {tasks}: it is taken at the next start")
            }
        });
    }
    Ok(())
}

/// What no host would admit does not take the place of what one may run. What this machine cannot tell is left to the
/// host; a module that it compiles for the first time is compiled here, and there no more.
fn check(args: &Deploy, name: &str, bytes: &[u8]) -> Result<()> {
    Engine::check_header(name, bytes).map_err(|error| refused(args, &error))?;
    let admitted = modules::admission(&args.modules, None)
        .and_then(|admission| Ok(runtime()?.block_on(admission.admit(name, bytes.to_vec()))));
    match admitted {
        Ok(Err(rejected)) if rejected.is_final() => Err(refused(args, &rejected).into()),
        Ok(Err(failed)) => {
            say(&format!("not checked, which is left to the host: {failed}"));
            Ok(())
        }
        Err(error) => {
            say(&format!("not checked, which is left to the host: {error:#}"));
            Ok(())
        }
        Ok(Ok(_)) => Ok(()),
    }
}

fn refused(args: &Deploy, reason: &dyn std::fmt::Display) -> BadInput {
    BadInput(format!("{} is not deployed: {reason}", args.file.display()))
}

/// The job's name: given, or the file's, with `-` for the `_` that Rust's tools write.
fn name(args: &Deploy) -> Result<String> {
    let stem = args.file.file_stem().and_then(|stem| stem.to_str()).map(|stem| stem.replace('_', "-"));
    let name = args.name.clone().or(stem);
    let name = name.ok_or_else(|| BadInput(format!("{} has no name for a job; give --name", args.file.display())))?;
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(is_good) {
        let text = format!("`{name}` cannot be the name of a job: letters, digits, `.`, `-` and `_` only; give --name");
        return Err(BadInput(text).into());
    }
    Ok(name)
}

/// A module that is in the task directory.
struct Deployed {
    name: String,
    /// As reports show it.
    module: String,
    id: ModuleId,
    file: PathBuf,
    stamp: Option<(u64, SystemTime)>,
}

/// Another one of a file is another file. None when it is gone.
fn stamp(file: &Path) -> Option<(u64, SystemTime)> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.ino(), metadata.modified().ok()?))
}

/// How far a host's job is with it.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Runs,
    /// On its way, and where; for people.
    Waits(String),
    /// Likewise, and it is meant to take long.
    Bakes(String),
    /// It will not run, or not by itself.
    Ended(String),
}

impl Deployed {
    /// Waits until every host runs the module, or one says why it does not.
    fn wait(&self, args: &Deploy) -> Result<()> {
        let total = args.timeout.map(Duration::from_secs);
        let mut deadline = Instant::now() + total.unwrap_or(PATIENCE);
        let mut told = String::new();
        loop {
            let hosts = jobs::reports(&args.tasks).with_context(|| format!("nobody runs {} yet", self.module))?;
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
            if now != told {
                say(&format!("{}: {now}", self.module));
                told.clone_from(&now);
                deadline = if total.is_some() { deadline } else { Instant::now() + PATIENCE };
            } else if Instant::now() >= deadline {
                bail!(
                    "gave up waiting for {}: {now}; it goes on, and `shardmill status {}` says more",
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
            return Progress::Waits(format!("not yet, and it is tried again: {deferred}"));
        }
        let is_admitted = is_it(&job.admitted);
        match job.state {
            // Whatever paused it, it is what is called next.
            JobState::Running | JobState::Paused if is_it(&job.module) && candidate.is_none() => Progress::Runs,
            JobState::Failed if is_admitted && job.restart_at.is_some() => {
                Progress::Waits(format!("the job is started again: {}", job.problems.join("; ")))
            }
            JobState::Drained | JobState::Failed if is_admitted => {
                let why =
                    if job.problems.is_empty() { String::new() } else { format!(": {}", job.problems.join("; ")) };
                let Self { name, module, .. } = self;
                Progress::Ended(format!(
                    "{module} does not run, the job is {}{why}; `shardmill resume {name}` starts it",
                    job.state
                ))
            }
            JobState::Waiting if is_admitted && !job.problems.is_empty() => {
                Progress::Ended(format!("{} does not run: {}", self.module, job.problems.join("; ")))
            }
            _ if is_it(&job.checking) => Progress::Waits("it is checked and compiled".to_owned()),
            _ if rollout.is_some_and(|rollout| is_it(&rollout.starting)) => Progress::Waits("it is started".to_owned()),
            _ if is_admitted => Progress::Waits("it is tried out".to_owned()),
            _ => Progress::Waits("no host has seen it yet".to_owned()),
        }
    }

    /// Somebody else's module, in the place of this one.
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
    format!("it is in wave {wave} of {waves}, on {shards} of {of_shards} shards")
}
