//! `shardmill run`: a host and its jobs, from the configuration to the exit code.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use shardmill::admin::AdminSocket;
use shardmill::clock::Clock;
use shardmill::host::{Host, Request, Settings, Totals, Unusable};
use shardmill::tasks::Panicked;
use shardmill_core::config::{Job, render_reason};
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::modules::admission;
use super::{BadInput, JobLoader, Signals, print_json, runtime, state_directory, tell_notices, usage};
use crate::cli::Run;

/// Requests of people that may wait for the host.
const REQUESTS_WAITING_MAX: usize = 16;

/// How long jobs may take to give their leases back after a second signal: a little more than they take themselves.
const HURRY_LIMIT: Duration = Duration::from_secs(3);

/// The same signal so soon again is no second one: `timeout` and the like send theirs to the process and to its group.
const ECHO: Duration = Duration::from_millis(250);

/// What a run did; printed by `--json`.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Summary {
    pub(crate) envelopes: u64,
    pub(crate) messages_sent: u64,
    pub(crate) failed_calls: u64,
    /// From the start of the process to the first record received; absent when none was.
    pub(crate) first_record_ms: Option<u64>,
    /// From the first record received to the end.
    pub(crate) since_first_record_ms: Option<u64>,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_mb: u64,
}

pub(crate) fn run(args: &Run) -> Result<()> {
    let clock = Clock::start();
    allow_open_files();
    let loader = JobLoader::new(&args.config)?;
    // With `task.class` the command line is one whole job, and what is wrong with it is told before anything begins.
    let only = loader.names_a_task().then(|| only_job(&loader, &args.tasks)).transpose()?;
    if only.is_none() && !args.tasks.is_dir() {
        let text = format!(
            "no task directory {}: make one and put modules into it (`shardmill build PATH --tasks DIR`), name another \
             with `--tasks DIR`, or name a module with task.class",
            args.tasks.display()
        );
        return Err(BadInput(text).into());
    }
    // What is wrong with the operator's own configuration is told before anything begins, too.
    loader.host()?;
    let mut host = Host::new(Settings {
        tasks: args.tasks.clone(),
        only,
        state: state_directory(args.state.as_deref(), &args.tasks),
        load_job: Box::new(move |directory| load_job(&loader, directory)),
        admission: admission(&args.modules, None)?,
        clock,
        until_caught_up: args.until_caught_up,
    });
    let runtime = runtime()?;
    let result = runtime.block_on(until_stopped(&mut host, &args.tasks));
    // Whatever still waits for a disk or a service is not waited for: it may never end.
    runtime.shutdown_background();
    result.map_err(|error| match error.downcast::<Unusable>() {
        Ok(unusable) => BadInput(unusable.to_string()).into(),
        Err(error) => error,
    })?;
    let summary = summary(&host.totals(), clock);
    info!(envelopes = summary.envelopes, sent = summary.messages_sent, "stopped");
    if args.json {
        print_json(&serde_json::to_string(&summary)?);
    }
    Ok(())
}

/// Takes the open files that the system grants at most: a job needs some, even when it is idle, and the thousand that
/// it grants to begin with are soon used up by many jobs.
fn allow_open_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        debug!(%error, "the limit of open files stays as it is");
    }
}

/// The module of the one job that the command line describes.
fn only_job(loader: &JobLoader, tasks: &Path) -> Result<String> {
    let Job { task_class, .. } = loader.load(&[])?.job;
    let path = tasks.join(format!("{task_class}.wasm"));
    if !path.is_file() {
        let text = format!(
            "no module for task.class={task_class}: expected {}; `shardmill build` makes one, `--tasks DIR` names \
             another directory",
            path.display()
        );
        return Err(BadInput(text).into());
    }
    Ok(task_class)
}

fn load_job(loader: &JobLoader, directory: &[shardmill_core::config::Source]) -> Result<Job, String> {
    let loaded = loader.try_load(directory).map_err(|errors| render_reason(&errors))?;
    tell_notices(&loaded.notices);
    Ok(loaded.job)
}

async fn until_stopped(host: &mut Host, tasks: &Path) -> Result<()> {
    let mut signals = Signals::listen()?;
    let (requests, mut requested) = mpsc::channel(REQUESTS_WAITING_MAX);
    // Jobs that nobody can ask about are better than none.
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
                error!("{panicked}; stopping, for a host that cannot be asked looks dead");
                broken = Some(panicked);
                // As below.
                drop(requests.try_send(Request::Stop));
            }
            signal = signals.next() => match asked {
                None => {
                    info!("stopping: finishing, committing, releasing the leases; a second signal stops at once");
                    asked = Some((signal, Instant::now()));
                    // The queue is full of requests only when the host is stuck, and then a second signal helps.
                    drop(requests.try_send(Request::Stop));
                }
                Some((first, at)) if signal == first && at.elapsed() < ECHO => {}
                Some(_) => {
                    drop(requests.try_send(Request::StopAtOnce));
                    // What it has to say is that it was cut short.
                    drop(tokio::time::timeout(HURRY_LIMIT, &mut running).await);
                    bail!("stopped at once by a second signal; what is not committed is read again by the next start");
                }
            }
        }
    }
}

/// Waits for the end of the control socket, if there is one, which nobody asked for.
async fn failed(socket: &mut Option<AdminSocket>) -> Panicked {
    match socket {
        Some(socket) => socket.failed().await,
        None => std::future::pending().await,
    }
}

fn summary(totals: &Totals, clock: Clock) -> Summary {
    let end = clock.now();
    Summary {
        envelopes: totals.processed,
        messages_sent: totals.sent,
        failed_calls: totals.failed_calls,
        first_record_ms: totals.first_record_at.map(|at| at.saturating_sub(clock.started())),
        since_first_record_ms: totals.first_record_at.map(|at| end.saturating_sub(at)),
        cpu_seconds: usage::cpu_seconds(),
        peak_rss_mb: usage::peak_rss_mb(),
    }
}
