//! The typed result of the `host.*` keys: what the operator says of a host as a whole, and what it opens to the authors
//! of its jobs. Passive data, checked; that jobs keep to it is `authority`'s business.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::http_origin::HttpOrigin;
use crate::network::Network;

/// What is set for a host and not for a job. `None` and empty: nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Bytes that the tasks of all jobs and the compilers of their modules may have in use together
    /// (`host.memory.max.mb`). `None`: a share of what the machine has, which is not known here.
    pub memory_max: Option<u64>,
    /// What is opened to the `NAME.properties` of all jobs: `host.allow.*`.
    pub allow: Allow,
    /// What is opened to one job, by its module's name: `host.jobs.NAME.allow.*`.
    pub jobs: BTreeMap<String, Allow>,
}

/// What jobs may set beyond their own business. `None`: nothing is said; empty: nothing is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow {
    /// Environment variables that they may grant themselves.
    pub env: Option<Vec<String>>,
    /// Directories that they may grant themselves, with all below them.
    pub directories: Option<Vec<AllowedDirectory>>,
    /// Origins that they may grant themselves.
    pub http: Option<Vec<HttpOrigin>>,
    /// Networks of special purpose that the names of granted origins may resolve to, whoever granted them.
    pub http_networks: Option<Vec<Network>>,
    /// Directories in which they may define outputs to files, with all below them.
    pub files: Option<Vec<PathBuf>>,
    /// Other keys that they may set: patterns in which `*` stands for any characters.
    pub keys: Option<Vec<String>>,
    /// The most that they may set a limit to, by the limit's key.
    pub limits: BTreeMap<&'static str, i64>,
}

/// A directory that jobs may grant themselves, with all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedDirectory {
    pub path: PathBuf,
    pub writable: bool,
}

impl Host {
    /// What holds for one job: what is said of it alone, else what is said of all. `None` is the single job of the
    /// operator, of which nothing is said.
    #[must_use]
    pub fn allow(&self, job: Option<&str>) -> Allow {
        let all = self.allow.clone();
        let Some(own) = job.and_then(|job| self.jobs.get(job)).cloned() else { return all };
        let mut limits = all.limits;
        limits.extend(own.limits);
        Allow {
            env: own.env.or(all.env),
            directories: own.directories.or(all.directories),
            http: own.http.or(all.http),
            http_networks: own.http_networks.or(all.http_networks),
            files: own.files.or(all.files),
            keys: own.keys.or(all.keys),
            limits,
        }
    }
}
