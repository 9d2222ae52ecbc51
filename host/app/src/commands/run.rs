//! `shardmill run`: one job, from its configuration to its exit code.

use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use shardmill::clock::Clock;
use shardmill::job::RunningJob;
use shardmill_core::config::Job;
use shardmill_runtime::Module;
use tracing::info;

use super::modules::{admission, load_module};
use super::{BadInput, Signals, load_job, print, runtime, usage};
use crate::cli::Run;

/// How often a job that runs until it is caught up is looked at.
const CAUGHT_UP_POLL: Duration = Duration::from_millis(20);

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
    let job = load_job(&args.config)?;
    let path = args.tasks.join(format!("{}.wasm", job.task_class));
    if !path.is_file() {
        let class = &job.task_class;
        let text = format!(
            "no module for task.class={class}: expected {}; `shardmill build` makes one, `--tasks DIR` names another \
             directory",
            path.display()
        );
        return Err(BadInput(text).into());
    }
    let admission = admission(&args.modules)?;
    let runtime = runtime()?;
    let module = runtime.block_on(load_module(&admission, &path))?.module;
    info!(job = job.name, id = job.id, module = %module.id(), "starting");
    let summary = runtime.block_on(until_stopped(&job, module, clock, args.until_caught_up))?;
    if args.json {
        print(&serde_json::to_string(&summary)?);
    }
    Ok(())
}

async fn until_stopped(job: &Job, module: Module, clock: Clock, until_caught_up: bool) -> Result<Summary> {
    let mut signals = Signals::listen()?;
    let mut running = RunningJob::start(job, module, clock).await?;
    let mut stopping = false;
    loop {
        // Every arm is cancel-safe: signals, joins by reference and timers lose nothing when dropped.
        tokio::select! {
            result = running.wait() => {
                result?;
                break;
            }
            () = signals.next() => {
                if stopping {
                    bail!("stopped at once by a second signal; what is not committed is read again by the next start");
                }
                info!("stopping: finishing, committing, releasing the leases; a second signal stops at once");
                stopping = true;
                running.stop();
            }
            () = tokio::time::sleep(CAUGHT_UP_POLL), if until_caught_up && !stopping => {
                if running.is_caught_up() {
                    info!("caught up");
                    stopping = true;
                    running.stop();
                }
            }
        }
    }
    let end = clock.now();
    let status = running.status().snapshot();
    let summary = Summary {
        envelopes: status.processed,
        messages_sent: status.sent,
        failed_calls: status.failed_calls,
        first_record_ms: status.first_record_at.map(|at| at.saturating_sub(clock.started())),
        since_first_record_ms: status.first_record_at.map(|at| end.saturating_sub(at)),
        cpu_seconds: usage::cpu_seconds(),
        peak_rss_mb: usage::peak_rss_mb(),
    };
    info!(envelopes = summary.envelopes, sent = summary.messages_sent, "stopped");
    Ok(summary)
}
