//! Configuration in Apache Samza's properties format: texts in, one typed and validated [`Job`] out.
//!
//! The stages are the files, in order: `source` (texts to entries with their origin), `check` (every entry against the
//! table of known keys in `keys`), `authority` (whether who set it may), `resolve` (entries to the types of `job` and
//! `host`), then `show` and `reference` for people.
//! All problems are reported at once, each with its place. It must not know the file system, the environment (it comes
//! in as a map), the clock or AWS.

mod authority;
mod check;
mod client;
mod garbled;
mod host;
mod input;
mod job;
mod keys;
mod parse;
mod problem;
mod reference;
mod resolve;
mod secret;
mod show;
mod source;
mod value;

use std::collections::BTreeMap;

pub use client::{
    Access, ClientSettings, Connections, Credentials, Headers, Proxy, ProxyLogin, RetryBudget, RetryMode, Role,
    StaticCredentials, Wire,
};
pub use host::{Allow, AllowedDirectory, Host};
pub use input::{
    BillingMode, Consumer, Input, KinesisInput, LeaseCleanup, LeaseTable, Leases, NewTable, Polling, Retrieval,
    RetrievalMode,
};
pub use job::{BatchLimits, Directory, Grants, Job, Limits, Output, Retry, Rollout};
pub use problem::{Code, Errors, Notice, Origin, Problem};
pub use reference::reference_markdown;
pub use resolve::Resolved;
use resolve::Scene;
pub use secret::Secret;
pub use show::{
    render_check, render_check_host, render_notices, render_problems, render_reason, render_show, render_show_host,
};
pub use source::{Source, Speaker};

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub job: Job,
    /// What is set for the host that the job runs in.
    pub host: Host,
    /// What to know about it; to be told once, at start.
    pub notices: Vec<Notice>,
    /// Every setting as it holds in the end, secrets masked.
    pub resolved: Vec<Resolved>,
    pub keys: Keys,
}

/// The configuration of a host that can be used, for what jobs it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedHost {
    pub host: Host,
    pub notices: Vec<Notice>,
    /// Every setting as it holds for a job that sets none itself, secrets masked.
    pub resolved: Vec<Resolved>,
    pub keys: Keys,
}

/// How many keys are set, and how many of them do something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keys {
    pub set: usize,
    /// Known and without a meaning or an effect here, or ignored.
    pub without_effect: usize,
}

/// Loads a job's configuration. Of two sources that set one key the later in `sources` wins, and what a source of a job's
/// author may set is bounded by what the others say. Of `env` only the `AWS_ENDPOINT_URL*` variables are read, for what no
/// key sets, and those that the task is granted. `lenient` turns unknown keys into notices.
///
/// # Errors
/// All problems of all sources at once.
pub fn load(sources: &[Source], env: &BTreeMap<String, String>, lenient: bool) -> Result<Loaded, Errors> {
    load_as(Scene::Job, sources, env, lenient)
}

/// Loads the configuration of a host without that of any job: what is wrong with it alone, and what holds in it.
///
/// # Errors
/// All problems of all sources at once.
pub fn load_host(sources: &[Source], env: &BTreeMap<String, String>, lenient: bool) -> Result<LoadedHost, Errors> {
    let mut with_any_job = sources.to_vec();
    with_any_job.push(Source::Module(ANY_JOB.to_owned()));
    let Loaded { host, notices, resolved, keys, .. } = load_as(Scene::Host, &with_any_job, env, lenient)?;
    Ok(LoadedHost { host, notices, resolved, keys })
}

/// What a job is called where it can be any of a host.
const ANY_JOB: &str = "NAME";

fn load_as(scene: Scene, sources: &[Source], env: &BTreeMap<String, String>, lenient: bool) -> Result<Loaded, Errors> {
    let mut report = problem::Report::default();
    let merged = source::merge(sources, &mut report);
    let idle = check::entries(&merged, lenient, &mut report);
    let (host, mut resolved) = resolve::host(&merged.entries, &mut report);
    let job = merged.module.as_deref();
    let allow = host.allow(job);
    authority::check(&merged.entries, &allow, job.unwrap_or(ANY_JOB), &mut report);
    let (job, of_job) = resolve::job(&merged.entries, env, allow, scene, &mut report);
    resolved.extend(of_job);
    let notices = report.finish()?;
    let unused = notices.iter().filter(|notice| notice.code == Code::NoEffect).map(|notice| notice.count);
    // The name of a module is nothing that was written.
    let set = merged.entries.values().filter(|entry| !matches!(entry.origin, Origin::Module(_))).count();
    let keys = Keys { set, without_effect: idle + unused.sum::<usize>() };
    Ok(Loaded { job, host, notices, resolved, keys })
}

/// Whether the sources say which module to run, by `task.class`. Without, every module of a task directory is a job.
#[must_use]
pub fn names_a_task(sources: &[Source]) -> bool {
    has_any(sources, &["task.class"])
}

/// Whether the sources are those of one job: they name it, or its module. Otherwise they are a host's.
#[must_use]
pub fn names_a_job(sources: &[Source]) -> bool {
    has_any(sources, &["task.class", "job.name", "app.name"])
}

fn has_any(sources: &[Source], keys: &[&str]) -> bool {
    let entries = source::merge(sources, &mut problem::Report::default()).entries;
    keys.iter().any(|key| entries.contains_key(*key))
}
