//! `shardmill versions`: lists the kept versions of a job. Reads the shared state directory; no host need run.

use std::io;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use shardmill::clock::millis;
use shardmill::deployments::{Deployments, Identity, Version};
use shardmill_core::module::ModuleId;
use shardmill_core::rollout::Deployment;

use super::{BadInput, jobs, print, print_json, state_directory};
use crate::cli::{JobArgs, Versions};

pub(crate) fn versions(args: &Versions) -> Result<()> {
    let JobArgs { job, tasks, json } = &args.job;
    let state = state_directory(args.state.as_deref(), tasks);
    let failed =
        |error: io::Error| BadInput(format!("no versions of a job {job} are kept in {}: {error}", state.display()));
    let job = &match Deployments::modules_of(&state, job) {
        // No version of any job is kept; the message names the requested job.
        Err(_) => job.clone(),
        Ok(_) if state.join(job).is_dir() => job.clone(),
        Ok(modules) => jobs::module_called(job, modules)?,
    };
    let mut all = Vec::new();
    for (owner, kept) in Deployments::all(&state, job).map_err(failed)? {
        all.push((owner, kept.versions().map_err(failed)?, kept.read().context("failed to read what runs")?));
    }
    if *json {
        let rows = |versions: &[Version], deployment: Option<&Deployment>| -> Value {
            versions.iter().map(|version| as_json(version, role(deployment, version))).collect()
        };
        let first = all.first().map(|(_, versions, deployment)| rows(versions, deployment.as_ref()));
        let others = all.iter().skip(1).map(|(owner, versions, deployment)| {
            let (name, id) = owner.as_ref().map(|owner| (&owner.name, &owner.id)).unzip();
            json!({ "job_name": name, "job_id": id, "versions": rows(versions, deployment.as_ref()) })
        });
        print_json(&json!({ "job": job, "versions": first, "other_jobs": others.collect::<Value>() }).to_string());
        return Ok(());
    }
    let is_one = all.len() == 1;
    for (owner, versions, deployment) in all {
        if let Some(Identity { name, id }) = owner.filter(|_| !is_one) {
            print(&format!("job.name={name} job.id={id}"));
        }
        let mut lines = vec![["VERSION", "ROLE", "BYTES", "AGE"].map(str::to_owned)];
        lines.extend(versions.iter().map(|version| {
            let role = role(deployment.as_ref(), version).to_owned();
            [version.module.of_job(job).to_string(), role, version.bytes.to_string(), age(version.since)]
        }));
        print(&jobs::columns(&lines));
    }
    Ok(())
}

fn role(deployment: Option<&Deployment>, version: &Version) -> &'static str {
    let Some(deployment) = deployment else { return "kept" };
    let is = |module: Option<ModuleId>| module == Some(version.module);
    if deployment.current == version.module {
        "current"
    } else if is(deployment.candidate.as_ref().map(|candidate| candidate.module)) {
        "candidate"
    } else if is(deployment.previous.as_ref().map(|previous| previous.module)) {
        "previous"
    } else if deployment.quarantine(version.module).is_some() {
        "rolled back"
    } else {
        "kept"
    }
}

fn as_json(version: &Version, role: &str) -> Value {
    let since = version.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    json!({ "sha256": version.module, "role": role, "bytes": version.bytes, "since_ms": millis(since) })
}

fn age(since: SystemTime) -> String {
    let seconds = since.elapsed().unwrap_or_default().as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}
