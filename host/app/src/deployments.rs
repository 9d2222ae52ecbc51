//! What the hosts of a job agree on, in a directory that they share: which versions run where (one small file a job),
//! the bytes of those versions, so that a host can run what it never saw in its task directory, and what was rejected. Owns
//! that directory; decides nothing: what is written is `core::rollout`'s.
//!
//! ```text
//! STATE/NAME/job.json             whose it is: the first job (job.name and job.id) that ran the module NAME
//! STATE/NAME/deployment.json      the deployment
//! STATE/NAME/lock                 held while it is written
//! STATE/NAME/modules/SHA256.wasm  versions, the newest few
//! STATE/NAME/proposed             versions that had their chance, a line each
//! STATE/NAME/outputs/HASH.json    the files that the job's outputs were written to
//! STATE/NAME/rejected.json        versions that were not admitted or failed their trial, the last few
//! STATE/NAME/jobs/JOB+ID/         the same files of another job that runs the same module, except for job.json
//! ```
//!
//! Releases before 0.2 know only the directory of the module. It is taken over as it is: the first job that finds it
//! without an owner becomes its owner, and goes on with the same files under the same lock. So hosts of both releases that
//! run one job agree as before, and neither undoes what the other does.
//!
//! The directory may go away while hosts run. It is made again for what is written next, and [`Deployments::restore`] writes
//! again what ran; the bytes come from the files that were opened before. The directory that it lies in is never made:
//! whoever moved that away may be about to put another one there.

mod modules;
mod owner;
mod rejections;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use shardmill_core::module::ModuleId;
use shardmill_core::rollout::{Deployment, Found, WriteError, found};

use crate::bounded_file;
use crate::task_files::replace;

pub use modules::Version;
pub use owner::Identity;
pub use rejections::RejectedModule;

/// Versions that are remembered as proposed.
const PROPOSED_MAX: usize = 256;
/// So many lines of 64 digits, with room to spare.
const PROPOSED_MAX_BYTES: u64 = 32 << 10;
/// A deployment names each shard of a rollout once: ten thousand are some megabytes. The reasons of those in quarantine
/// are bounded where they are written.
const DEPLOYMENT_MAX_BYTES: u64 = 16 << 20;
/// How often a lock is taken again because its file was replaced meanwhile.
const LOCKS_MAX: usize = 10;

/// One job's part of the shared directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deployments {
    /// The shared directory.
    state: PathBuf,
    /// This job's part of it.
    directory: PathBuf,
    /// Whose it is, where that is written down beside it.
    owner: Option<Identity>,
    /// The bytes of the versions that run, so that they are at hand when their files are removed.
    held: Arc<Mutex<BTreeMap<ModuleId, File>>>,
}

impl Deployments {
    /// The directory of a module's first job, as it is.
    #[must_use]
    pub fn at(state: &Path, module: &str) -> Self {
        Self { state: state.to_owned(), directory: state.join(module), owner: None, held: Arc::default() }
    }

    /// Where it is kept which files the job's outputs were written to.
    pub(crate) fn outputs(&self) -> PathBuf {
        self.directory.join("outputs")
    }

    /// The directory of a job that runs a module. Makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn open(state: &Path, module: &str, job: &Identity) -> io::Result<Self> {
        let first = Self { owner: Some(job.clone()), ..Self::at(state, module) };
        first.make()?;
        let this = match first.owner()? {
            Some(owner) if owner != *job => first.of_another(job),
            _ => first,
        };
        this.make()?;
        Ok(this)
    }

    /// The directories of all jobs that run or ran a module, with the job's name and id as far as they are known.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn all(state: &Path, module: &str) -> io::Result<Vec<(Option<Identity>, Self)>> {
        let first = Self::at(state, module);
        let mut all = vec![(first.owner()?, first.clone())];
        all.extend(first.others()?.into_iter().map(|job| (Some(job.clone()), first.of_another(&job))));
        Ok(all)
    }

    /// The modules that a job of this `job.name` runs or ran.
    ///
    /// # Errors
    /// When the shared directory cannot be listed.
    pub fn modules_of(state: &Path, job_name: &str) -> io::Result<Vec<String>> {
        let mut modules = Vec::new();
        for entry in fs::read_dir(state)? {
            let entry = entry?;
            let Some(module) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let is_job = entry.file_type()?.is_dir() && !module.starts_with('.');
            // What is damaged, or no job's, is not the job that is looked for.
            let owners = if is_job { Self::all(state, &module).unwrap_or_default() } else { Vec::new() };
            if owners.iter().flat_map(|(owner, _)| owner).any(|owner| owner.name == job_name) {
                modules.push(module);
            }
        }
        Ok(modules)
    }

    /// What was written last; `None` when nothing was.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn read(&self) -> io::Result<Option<Deployment>> {
        let damaged = |error: &dyn std::fmt::Display| {
            let file = self.file();
            let text = format!(
                "{} is damaged: {error}; stop the hosts of the job and remove it: they begin with the module of the \
                 task directory",
                file.display()
            );
            io::Error::new(ErrorKind::InvalidData, text)
        };
        match bounded_file::read(&self.file(), DEPLOYMENT_MAX_BYTES) {
            Ok(content) => serde_json::from_slice(&content.bytes).map(Some).map_err(|error| damaged(&error)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(bounded_file::Error::Io(error)) => Err(error),
            Err(error) => Err(damaged(&error)),
        }
    }

    /// Writes the successor of what was written last. Waits for a host that is writing. Blocking.
    ///
    /// # Errors
    /// When another host has written since, or the directory does not work.
    pub fn write(&self, next: &Deployment) -> Result<(), WriteError> {
        let failed = |error: io::Error| WriteError::Failed(format!("{}: {error}", self.file().display()));
        let _lock = self.lock().map_err(failed)?;
        // One that is older than what came before it is of a directory that was put in the place of ours.
        match self.read().map_err(failed)? {
            Some(last) if last.revision >= next.revision => return Err(WriteError::Changed(Box::new(last))),
            Some(_) => {}
            // The first one, or the directory is gone.
            None => self.keep_held(next).map_err(failed)?,
        }
        self.put(next).map_err(failed)
    }

    /// Writes again what runs, if what is written down was lost; returns whether it was. Waits for a host that is writing.
    /// Blocking.
    ///
    /// # Errors
    /// When the directory cannot be made, read or written.
    pub fn restore(&self, runs: &Deployment) -> io::Result<bool> {
        if !matches!(found(runs, self.read()?.as_ref()), Found::Lost(_)) {
            return Ok(false);
        }
        let _lock = self.lock()?;
        // Another host may have been first.
        let Found::Lost(again) = found(runs, self.read()?.as_ref()) else { return Ok(false) };
        self.keep_held(&again)?;
        self.put(&again)?;
        Ok(true)
    }

    fn put(&self, next: &Deployment) -> io::Result<()> {
        replace(&self.directory, &self.file(), &serde_json::to_vec_pretty(next)?)?;
        self.hold_only(next);
        self.prune(next)
    }

    /// Notes that a version of a task directory had its chance: it was rolled out, and may have been left on purpose since.
    /// It does not get another one from a host that starts, which may have an old copy.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn propose(&self, module: ModuleId) -> io::Result<()> {
        // Nothing to write, and so nothing that a read-only directory could keep from being done.
        if self.is_proposed(module)? {
            return Ok(());
        }
        let _lock = self.lock()?;
        let mut proposed = self.proposed()?;
        proposed.push(module);
        let over = proposed.len().saturating_sub(PROPOSED_MAX);
        let lines: Vec<String> = proposed[over..].iter().map(ModuleId::to_string).collect();
        replace(&self.directory, &self.directory.join("proposed"), lines.join("\n").as_bytes())
    }

    /// Whether a version had its chance.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_proposed(&self, module: ModuleId) -> io::Result<bool> {
        Ok(self.proposed()?.contains(&module))
    }

    fn proposed(&self) -> io::Result<Vec<ModuleId>> {
        match bounded_file::read_text(&self.directory.join("proposed"), PROPOSED_MAX_BYTES) {
            Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Held until the file is closed, at the latest by the end of the process. Waits for whoever holds it. Makes the
    /// directory again if it is gone.
    fn lock(&self) -> io::Result<File> {
        let path = self.directory.join("lock");
        for _ in 0..LOCKS_MAX {
            self.make()?;
            let lock = File::create(&path)?;
            lock.lock()?;
            // The directory may have been removed meanwhile, and made again by another host.
            let (held, named) = (lock.metadata()?, fs::metadata(&path));
            if named.is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
                return Ok(lock);
            }
        }
        Err(io::Error::other(format!("{} is replaced again and again", path.display())))
    }

    /// Makes the directory of the job, but never the one that the shared directory lies in.
    fn make(&self) -> io::Result<()> {
        let below = self.directory.strip_prefix(&self.state).unwrap_or(Path::new(""));
        let mut path = self.state.clone();
        make_one(&path)?;
        for part in below.components() {
            path.push(part);
            make_one(&path)?;
        }
        make_one(&self.modules())?;
        self.claim()
    }

    fn file(&self) -> PathBuf {
        self.directory.join("deployment.json")
    }
}

/// Modules of which something is deployed, with the current versions of their first jobs. What cannot be read is left out.
/// Blocking.
#[must_use]
pub fn deployed(state: &Path) -> Vec<(String, ModuleId)> {
    let names =
        fs::read_dir(state).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let current = |name: &String| Deployments::at(state, name).read().ok().flatten().map(|it| it.current);
    names.filter_map(|name| Some((name.clone(), current(&name)?))).collect()
}

fn make_one(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        // A file in its place is found by what comes next.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(io::Error::new(error.kind(), format!("failed to make {}: {error}", directory.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
