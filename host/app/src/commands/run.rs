//! `shardmill run`: a host and its jobs, from the configuration to the exit code.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use shardmill::admin::AdminSocket;
use shardmill::clock::Clock;
use shardmill::deployments::{Deployments, Identity};
use shardmill::host::{Host, JobOutcome, Request, Settings, Totals, Unusable};
use shardmill::tasks::Panicked;
use shardmill_core::config::{Job, render_reason};
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::modules::admission;
use super::{BadInput, JobLoader, Signals, log_notices, print_json, runtime, state_directory, usage};
use crate::cli::Run;

/// Requests that may wait for the host.
const REQUESTS_WAITING_MAX: usize = 16;

/// How long jobs may take to release their leases after a second signal: a little more than their own limit.
const HURRY_LIMIT: Duration = Duration::from_secs(3);

/// The same signal within this time does not count as a second one: `timeout` and similar programs signal both the
/// process and its group.
const ECHO: Duration = Duration::from_millis(250);

/// The summary of a run, which `--json` prints however the run ended.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Summary {
    pub(crate) envelopes: u64,
    pub(crate) messages_sent: u64,
    pub(crate) failed_calls: u64,
    /// From the start of the process to the first record received; absent when none was received.
    pub(crate) first_record_ms: Option<u64>,
    /// From the first record received to the end.
    pub(crate) since_first_record_ms: Option<u64>,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_mb: u64,
    /// With a single job: the module that ran.
    #[serde(default)]
    pub(crate) module: Option<String>,
    /// With a single job: the outcome of the module in the task directory.
    #[serde(default)]
    pub(crate) became: Option<String>,
    #[serde(default)]
    pub(crate) jobs: Vec<JobOutcome>,
    /// Why the exit code is not 0.
    #[serde(default)]
    pub(crate) error: Option<String>,
}

pub(crate) fn run(args: &Run) -> Result<()> {
    let clock = Clock::start();
    allow_open_files();
    let mut host = None;
    let result = run_host(args, clock, &mut host);
    let totals = host.as_ref().map(Host::totals).unwrap_or_default();
    let outcomes = host.as_ref().map(Host::job_outcomes).unwrap_or_default();
    let error = result.as_ref().err().map(|error| format!("{error:#}"));
    let summary = summary(&totals, clock, outcomes, error);
    if result.is_ok() {
        info!(envelopes = summary.envelopes, sent = summary.messages_sent, "stopped");
    }
    if args.json {
        print_json(&serde_json::to_string(&summary)?);
    }
    result
}

/// Runs a host to its end, and leaves it in `ran` for the summary.
fn run_host(args: &Run, clock: Clock, ran: &mut Option<Host>) -> Result<()> {
    let loader = Arc::new(JobLoader::new(&args.config)?);
    let state = state_directory(args.state.as_deref(), &args.tasks);
    // With `task.class` the command line describes one whole job; its errors are reported before anything starts.
    let only = loader.names_a_task().then(|| only_job(&loader, args, &state)).transpose()?;
    if only.is_none() && !args.tasks.is_dir() {
        let text = format!(
            "no task directory {}: create it and add modules (`shardmill build PATH --tasks DIR`), name another one with \
            `--tasks DIR`, or name a module with task.class",
            args.tasks.display()
        );
        return Err(BadInput(text).into());
    }
    // Errors of the operator's own configuration are reported before anything starts, too.
    let memory_max = loader.host()?.memory_max;
    if args.state.is_some() {
        // If this fails, each job reports why.
        drop(std::fs::create_dir_all(&state));
    }
    let host = ran.insert(Host::new(Settings {
        tasks: args.tasks.clone(),
        only,
        state,
        load_job: Arc::new(move |directory| load_job(&loader, directory)),
        admission: admission(&args.modules, memory_max)?,
        clock,
        until_caught_up: args.until_caught_up,
    }));
    let runtime = runtime()?;
    let result = runtime.block_on(until_stopped(host, &args.tasks));
    // Do not wait for work that hangs on a disk or a service: it may never end.
    runtime.shutdown_background();
    result.map_err(|error| match error.downcast::<Unusable>() {
        Ok(unusable) => BadInput(unusable.to_string()).into(),
        Err(error) => error,
    })
}

/// Raises the limit of open files to the hard limit: even an idle job needs some, and many jobs soon use up the default
/// of about a thousand.
fn allow_open_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        debug!(%error, "cannot raise the limit of open files");
    }
}

/// The module of the single job that the command line describes. It may be missing if a version of it was deployed
/// before, which then runs; but a run with `--until-caught-up` requires the module in the directory.
fn only_job(loader: &JobLoader, args: &Run, state: &Path) -> Result<String> {
    let Job { task_class, name, id, .. } = loader.load(&[])?.job;
    let path = args.tasks.join(format!("{task_class}.wasm"));
    let is_there = std::fs::symlink_metadata(&path).is_ok();
    if is_there || !args.until_caught_up && was_deployed(state, &task_class, &Identity { name, id }) {
        return Ok(task_class);
    }
    let text = format!(
        "no module for task.class={task_class}: expected {}; build one with `shardmill build`, or name another directory \
        with `--tasks DIR`",
        path.display()
    );
    Err(BadInput(text).into())
}

fn was_deployed(state: &Path, module: &str, job: &Identity) -> bool {
    let all = Deployments::all(state, module).unwrap_or_default();
    let mut ours = all.iter().filter(|(owner, _)| owner.as_ref().is_none_or(|owner| owner == job));
    // The host reports what cannot be read.
    ours.any(|(_, kept)| !matches!(kept.read(), Ok(None)))
}

fn load_job(loader: &JobLoader, directory: &[shardmill_core::config::Source]) -> Result<Job, String> {
    let loaded = loader.try_load(directory).map_err(|errors| render_reason(&errors))?;
    log_notices(&loaded.notices);
    Ok(loaded.job)
}

async fn until_stopped(host: &mut Host, tasks: &Path) -> Result<()> {
    let mut signals = Signals::listen()?;
    let (requests, mut requested) = mpsc::channel(REQUESTS_WAITING_MAX);
    // Jobs without a control socket are better than no jobs.
    let mut socket = AdminSocket::serve(tasks, requests.clone())
        .inspect_err(|error| warn!(%error, "no control socket: `shardmill ls` and the like cannot see this host"))
        .ok();
    let running = host.run(&mut requested);
    tokio::pin!(running);
    let (mut asked, mut broken) = (None, None);
    loop {
        // Every arm is cancel-safe: signals, the socket and the host by reference lose nothing when dropped.
        tokio::select! {
            result = &mut running => return broken.map_or(result, |panicked: Panicked| Err(panicked.into())),
            panicked = failed(&mut socket), if broken.is_none() => {
                error!("{panicked}; stopping, because a host without a control socket looks dead");
                broken = Some(panicked);
                // See below.
                drop(requests.try_send(Request::Stop));
            }
            signal = signals.next() => match asked {
                None => {
                    info!("stopping: finishing, committing, releasing the leases; a second signal forces the shutdown");
                    asked = Some((signal, Instant::now()));
                    // The queue is full of requests only when the host is stuck, and then a second signal helps.
                    drop(requests.try_send(Request::Stop));
                }
                Some((first, at)) if signal == first && at.elapsed() < ECHO => {}
                Some(_) => {
                    drop(requests.try_send(Request::StopAtOnce));
                    // Its result would only say that it was interrupted.
                    drop(tokio::time::timeout(HURRY_LIMIT, &mut running).await);
                    bail!("forced shutdown by a second signal; uncommitted records will be reprocessed");
                }
            }
        }
    }
}

/// Waits for the control socket to fail, if there is one.
async fn failed(socket: &mut Option<AdminSocket>) -> Panicked {
    match socket {
        Some(socket) => socket.failed().await,
        None => std::future::pending().await,
    }
}

fn summary(totals: &Totals, clock: Clock, jobs: Vec<JobOutcome>, error: Option<String>) -> Summary {
    let end = clock.now();
    let only = if let [only] = &jobs[..] { Some(only) } else { None };
    Summary {
        envelopes: totals.processed,
        messages_sent: totals.sent,
        failed_calls: totals.failed_calls,
        first_record_ms: totals.first_record_at.map(|at| at.saturating_sub(clock.started())),
        since_first_record_ms: totals.first_record_at.map(|at| end.saturating_sub(at)),
        cpu_seconds: usage::cpu_seconds(),
        peak_rss_mb: usage::peak_rss_mb(),
        module: only.and_then(|job| job.module.clone()),
        became: only.map(|job| job.became.clone()),
        jobs,
        error,
    }
}
