//! Versions that were not admitted or failed their trial: so that a restart says the same of them, and does not look at
//! them again.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shardmill_core::module::ModuleId;
use tracing::warn;

use super::Deployments;
use crate::bounded_file;
use crate::task_files::replace;

/// Versions that are remembered as rejected; the oldest is forgotten first.
const REJECTED_MAX: usize = 32;
/// The longest reason that is written down.
const REASON_MAX_BYTES: usize = 8 << 10;
/// So many reasons, in which JSON may write each byte with six.
const REJECTED_MAX_BYTES: u64 = 2 << 20;

/// A version that was rejected, and under what circumstances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedModule {
    pub module: ModuleId,
    pub reason: String,
    /// The release that rejected it: another one may know better.
    pub release: String,
    /// Of what was tried with the job's configuration: which that was, as a hash.
    #[serde(default)]
    pub configuration: Option<String>,
    /// An operator took it back, or deployed another one before it ran.
    #[serde(default)]
    pub is_withdrawn: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct Rejections {
    rejected: Vec<RejectedModule>,
}

impl Deployments {
    /// What was rejected, the oldest first. A damaged file is none: it costs nothing but another look.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn rejected(&self) -> io::Result<Vec<RejectedModule>> {
        match bounded_file::read(&self.rejections(), REJECTED_MAX_BYTES) {
            Ok(content) => Ok(serde_json::from_slice::<Rejections>(&content.bytes)
                .inspect_err(|error| warn!(file = %self.rejections().display(), %error, "ignored: it is damaged"))
                .unwrap_or_default()
                .rejected),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(bounded_file::Error::Io(error)) => Err(error),
            Err(error) => {
                warn!(file = %self.rejections().display(), %error, "ignored");
                Ok(Vec::new())
            }
        }
    }

    /// Remembers a rejected version, in place of what was said of it before.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn reject(&self, mut new: RejectedModule) -> io::Result<()> {
        new.reason.truncate(new.reason.floor_char_boundary(REASON_MAX_BYTES));
        self.change(|rejected| {
            rejected.retain(|it| it.module != new.module);
            rejected.push(new);
            rejected.drain(..rejected.len().saturating_sub(REJECTED_MAX));
        })
    }

    /// Forgets that a version was rejected: it runs.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn forgive(&self, module: ModuleId) -> io::Result<()> {
        // Nothing to write in most cases.
        if !self.rejected()?.iter().any(|it| it.module == module) {
            return Ok(());
        }
        self.change(|rejected| rejected.retain(|it| it.module != module))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<RejectedModule>)) -> io::Result<()> {
        let _lock = self.lock()?;
        let mut rejected = self.rejected()?;
        change(&mut rejected);
        replace(&self.directory, &self.rejections(), &serde_json::to_vec_pretty(&Rejections { rejected })?)
    }

    fn rejections(&self) -> PathBuf {
        self.directory.join("rejected.json")
    }
}
