//! Configuration in Apache Samza's properties format: texts in, one typed and validated [`Job`] out.
//!
//! The stages are the files, in order: `source` (texts to entries with their origin), `check` (every entry against the
//! table of known keys in `keys`), `resolve` (entries to the types of `job`), then `show` and `reference` for people.
//! All problems are reported at once, each with its place. It must not know the file system, the environment (it comes
//! in as a map), the clock or AWS.

mod check;
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

pub use job::{
    Access, BatchLimits, BillingMode, ClientSettings, Consumer, Credentials, Directory, Grants, Input, Job,
    LeaseCleanup, Limits, NewTable, Output, Proxy, ProxyLogin, Retrieval, Retry, RetryBudget, RetryMode, Role, Rollout,
    StaticCredentials, Wire,
};
pub use problem::{Code, Errors, Notice, Origin, Problem};
pub use reference::reference_markdown;
pub use resolve::Resolved;
pub use secret::Secret;
pub use show::{render_check, render_notices, render_problems, render_reason, render_show};
pub use source::Source;

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub job: Job,
    /// What to know about it; to be told once, at start.
    pub notices: Vec<Notice>,
    /// Every setting as it holds in the end, secrets masked.
    pub resolved: Vec<Resolved>,
}

/// Loads a configuration. Of two sources that set one key the later in `sources` wins; of `env` only the
/// `AWS_ENDPOINT_URL*` variables are read, for what no key sets, and those that the task is granted. `lenient` turns unknown keys into notices.
///
/// # Errors
/// All problems of all sources at once.
pub fn load(sources: &[Source], env: &BTreeMap<String, String>, lenient: bool) -> Result<Loaded, Errors> {
    let mut report = problem::Report::default();
    let entries = source::merge(sources, &mut report);
    check::entries(&entries, lenient, &mut report);
    let (job, resolved) = resolve::job(&entries, env, &mut report);
    let notices = report.finish()?;
    Ok(Loaded { job, notices, resolved })
}

/// Whether the sources say which module to run, by `task.class`. Without, every module of a task directory is a job.
#[must_use]
pub fn names_a_task(sources: &[Source]) -> bool {
    source::merge(sources, &mut problem::Report::default()).contains_key("task.class")
}
