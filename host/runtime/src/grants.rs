//! What a task is given beyond its records. Nothing, unless the job's configuration says so.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::capabilities::FileUsage;
use crate::http::HttpGrant;

/// The parts of this machine that a task may see.
#[derive(Clone, Default)]
pub struct Grants {
    /// Environment variables, with their values.
    pub env: BTreeMap<String, String>,
    pub directories: Vec<Directory>,
    /// What is in the directories that may be written to; clones share it, as the instances of a job share the
    /// directories.
    pub usage: FileUsage,
    /// Where it may send HTTP requests; nowhere without it.
    pub http: Option<HttpGrant>,
}

/// A directory that a task may open files in, with all that is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub host: PathBuf,
    /// The leading part of `host` that the operator named: a link in it is followed, and none in the rest, which the
    /// author of the job may have named.
    pub operators: PathBuf,
    /// Where the task finds it.
    pub guest: String,
    pub writable: bool,
}

impl Grants {
    /// The same with nothing to write to and nobody to send to.
    pub(crate) fn read_only(&self) -> Self {
        let read_only = |directory: &Directory| Directory { writable: false, ..directory.clone() };
        let directories = self.directories.iter().map(read_only).collect();
        Self { env: self.env.clone(), directories, usage: self.usage.clone(), http: None }
    }
}

impl fmt::Debug for Grants {
    /// Values of variables are not shown: they are where secrets are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.keys().collect();
        let mut shown = f.debug_struct("Grants");
        shown.field("env", &names).field("directories", &self.directories).field("http", &self.http).finish()
    }
}
