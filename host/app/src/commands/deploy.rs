//! `shardmill deploy`: puts a module into a task directory in one step, so that no host sees half of it, and waits, if
//! asked to, until it runs.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use shardmill::host::JobReport;
use shardmill::task_files::{hash, hex, replace};

use super::{BadInput, jobs, print, say};
use crate::cli::Deploy;

/// How often hosts are asked how far they are.
const POLL: Duration = Duration::from_millis(200);
/// The start of a module's hash by which it is known in reports.
const SHOWN_BYTES: usize = 6;

pub(crate) fn deploy(args: &Deploy) -> Result<()> {
    let bytes = fs::read(&args.file)
        .map_err(|error| BadInput(format!("cannot read module {}: {error}", args.file.display())))?;
    let name = name(args)?;
    if !args.tasks.is_dir() {
        return Err(BadInput(format!("there is no task directory {}", args.tasks.display())).into());
    }
    let sha256 = hex(&hash(&bytes));
    let module = format!("{name}@{}", &sha256[..2 * SHOWN_BYTES]);
    let path = args.tasks.join(format!("{name}.wasm"));
    replace(&args.tasks, &path, &bytes).with_context(|| format!("failed to write {}", path.display()))?;
    if args.wait {
        say(&format!("{module} is in {}; waiting until it runs", args.tasks.display()));
        wait(args, &name, &module)?;
    }
    if args.json {
        print(&json!({ "job": name, "module": module, "sha256": sha256, "runs": args.wait }).to_string());
    } else {
        let state = if args.wait { "runs" } else { "is deployed; `shardmill ls` shows what becomes of it" };
        print(&format!("{module} {state}"));
    }
    Ok(())
}

/// The job's name: given, or the file's, with `-` for the `_` that Rust's tools write.
fn name(args: &Deploy) -> Result<String> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    let stem = args.file.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.ok_or_else(|| BadInput(format!("{} has no name for a job; give --name", args.file.display())))?;
    Ok(stem.replace('_', "-"))
}

/// Waits until every host runs the module, or one says why it does not.
fn wait(args: &Deploy, name: &str, module: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let hosts = jobs::reports(&args.tasks)?;
        let reports: Vec<_> = hosts.iter().flat_map(|host| &host.jobs).filter(|job| job.name == name).collect();
        if let Some(rejected) = reports.iter().filter_map(|job| job.rejected.as_ref()).find(|it| it.module == module) {
            bail!("{module} was rejected: {}", rejected.reason);
        }
        let failed = |job: &&&JobReport| job.state == "failed" && job.admitted.as_deref() == Some(module);
        if let Some(job) = reports.iter().find(failed) {
            bail!("{module} does not run: {}", job.problems.join("; "));
        }
        let runs = |job: &&JobReport| job.state == "running" && job.module.as_deref() == Some(module);
        if !reports.is_empty() && reports.iter().all(runs) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("{module} does not run after {} s; `shardmill status {name}` says more", args.timeout);
        }
        std::thread::sleep(POLL);
    }
}
