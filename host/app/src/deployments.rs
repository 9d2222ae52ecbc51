//! What the hosts of a job agree on, in a directory that they share: which versions run where (one small file a job),
//! and the bytes of those versions, so that a host can run what it never saw in its task directory. Owns that
//! directory; decides nothing: what is written is `core::rollout`'s.
//!
//! ```text
//! STATE/NAME/deployment.json      the deployment
//! STATE/NAME/lock                 held while it is written
//! STATE/NAME/modules/SHA256.wasm  versions, the newest few
//! STATE/NAME/proposed             versions that had their chance, a line each
//! STATE/NAME/outputs/HASH.json    the files that the job's outputs were written to
//! ```

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use shardmill_core::module::hex;
use shardmill_core::rollout::{Deployment, ModuleId, WriteError};
use shardmill_runtime::sha256;

use crate::task_files::replace;

/// Versions whose bytes are kept for each job, besides those that the deployment names.
const VERSIONS_KEPT: usize = 3;

/// Versions that are remembered as proposed.
const PROPOSED_MAX: usize = 256;

/// One job's part of the shared directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deployments {
    directory: PathBuf,
}

/// A version whose bytes are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub module: ModuleId,
    pub bytes: u64,
    /// When it was first seen.
    pub since: SystemTime,
}

impl Deployments {
    /// The directory of a job, as it is.
    #[must_use]
    pub fn at(state: &Path, job: &str) -> Self {
        Self { directory: state.join(job) }
    }

    /// Where it is kept which files the job's outputs were written to.
    pub(crate) fn outputs(&self) -> PathBuf {
        self.directory.join("outputs")
    }

    /// Makes the directory of a job if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(state: &Path, job: &str) -> io::Result<Self> {
        let this = Self::at(state, job);
        fs::create_dir_all(this.modules())?;
        Ok(this)
    }

    /// What was written last; `None` when nothing was.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn read(&self) -> io::Result<Option<Deployment>> {
        match fs::read(self.file()) {
            Ok(text) => {
                let damaged = |error| {
                    let file = self.file();
                    let text = format!(
                        "{} is damaged: {error}; stop the hosts of the job and remove it: they begin with the module of \
                         the task directory",
                        file.display()
                    );
                    io::Error::new(ErrorKind::InvalidData, text)
                };
                serde_json::from_slice(&text).map(Some).map_err(damaged)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the successor of what was written last. Waits for a host that is writing. Blocking.
    ///
    /// # Errors
    /// When another host has written since, or the directory does not work.
    pub fn write(&self, next: &Deployment) -> Result<(), WriteError> {
        let failed = |error: io::Error| WriteError::Failed(format!("{}: {error}", self.file().display()));
        let _lock = self.lock().map_err(failed)?;
        if let Some(last) = self.read().map_err(failed)?
            && next.revision != last.revision + 1
        {
            return Err(WriteError::Changed(Box::new(last)));
        }
        let text = serde_json::to_vec_pretty(next).map_err(|error| failed(error.into()))?;
        replace(&self.directory, &self.file(), &text).map_err(failed)?;
        self.prune(next).map_err(failed)
    }

    /// Keeps the bytes of a version; nothing is written if they are there.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep(&self, wasm: &[u8]) -> io::Result<ModuleId> {
        let module = hex(&sha256(wasm));
        let path = self.module_file(&module);
        // A file that is cut short is replaced.
        let is_there = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == wasm.len() as u64);
        if !is_there {
            replace(&self.modules(), &path, wasm)?;
        }
        Ok(module)
    }

    /// The bytes of a version; `None` when they are not here.
    ///
    /// # Errors
    /// When they cannot be read, or are not what their name says.
    pub fn module(&self, module: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.module_file(module);
        match fs::read(&path) {
            Ok(wasm) if hex(&sha256(&wasm)) == module => Ok(Some(wasm)),
            Ok(_) => Err(io::Error::new(ErrorKind::InvalidData, format!("{} is damaged; remove it", path.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes that a version of a task directory had its chance: it was rolled out, or turned down. It does not get
    /// another one from a host that starts: that may have an old copy, or the version may have been left on purpose.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn propose(&self, module: &str) -> io::Result<()> {
        // Nothing to write, and so nothing that a read-only directory could keep from being done.
        if self.is_proposed(module)? {
            return Ok(());
        }
        let _lock = self.lock()?;
        let mut proposed = self.proposed()?;
        proposed.push(module.to_owned());
        let over = proposed.len().saturating_sub(PROPOSED_MAX);
        replace(&self.directory, &self.directory.join("proposed"), proposed[over..].join("\n").as_bytes())
    }

    /// Whether a version had its chance.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_proposed(&self, module: &str) -> io::Result<bool> {
        Ok(self.proposed()?.iter().any(|earlier| earlier == module))
    }

    fn proposed(&self) -> io::Result<Vec<ModuleId>> {
        match fs::read_to_string(self.directory.join("proposed")) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Held until the file is closed, at the latest by the end of the process. Waits for whoever holds it.
    fn lock(&self) -> io::Result<File> {
        let lock = File::create(self.directory.join("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    /// The versions that are here, the newest first.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn versions(&self) -> io::Result<Vec<Version>> {
        let mut versions = Vec::new();
        for entry in fs::read_dir(self.modules())? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(module) = name.to_str().and_then(|name| name.strip_suffix(".wasm")) else { continue };
            // Another host may remove one at any time.
            let Ok(metadata) = entry.metadata() else { continue };
            let since = metadata.modified()?;
            versions.push(Version { module: module.to_owned(), bytes: metadata.len(), since });
        }
        versions.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.module.cmp(&b.module)));
        Ok(versions)
    }

    fn prune(&self, deployment: &Deployment) -> io::Result<()> {
        let named = |version: &Version| deployment.modules().any(|module| *module == version.module);
        let unnamed = self.versions()?.into_iter().filter(|version| !named(version));
        for old in unnamed.skip(VERSIONS_KEPT) {
            match fs::remove_file(self.module_file(&old.module)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self) -> PathBuf {
        self.directory.join("deployment.json")
    }

    fn modules(&self) -> PathBuf {
        self.directory.join("modules")
    }

    fn module_file(&self, module: &str) -> PathBuf {
        self.modules().join(format!("{module}.wasm"))
    }
}

#[cfg(test)]
mod tests;
