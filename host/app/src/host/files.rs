//! From the files of the task directory to modules and configurations that the host can run: carries out what
//! `core::task_dir` wants, and tells `core::jobs` what became of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shardmill_core::jobs;
use shardmill_core::module::ModuleId;
use shardmill_core::task_dir::{self, Reading};
use tracing::{info, warn};

use super::entry::ModuleFile;
use super::{Done, Host, Work};
use crate::deployments;
use crate::task_files::{self, Contents, Listing};

/// A look at a directory that takes longer is a problem to be shown.
pub(super) const SLOW: Duration = Duration::from_millis(task_dir::SLOW_AFTER);

/// What the host knows of the task directory beside its files.
#[derive(Default)]
pub(super) struct Seen {
    /// Since when it is being listed.
    pub(super) listing_since: Option<Instant>,
    /// Why it could not be listed the last time.
    pub(super) error: Option<String>,
    /// What is in it and can be no file of a job.
    pub(super) unusable: Vec<String>,
    /// What is in it and is no file of a job.
    pub(super) passed_over: Vec<String>,
    /// Its device and inode, if it was ever listed.
    pub(super) directory: Option<(u64, u64)>,
    /// Modules that were deployed from it by an earlier host, with their current versions.
    pub(super) deployed: Vec<(String, ModuleId)>,
}

impl Host {
    pub(super) fn list(&mut self) {
        self.seen.listing_since = Some(Instant::now());
        let tasks = self.settings.tasks.clone();
        self.work.spawn_blocking(Work::List, move || Done::Listed(task_files::list(&tasks)));
    }

    pub(super) fn listed(&mut self, listing: std::io::Result<Listing>) {
        self.seen.listing_since = None;
        let Listing { mut files, unusable, passed_over, directory } = match listing {
            Ok(listing) => listing,
            Err(error) => {
                // A directory that cannot be seen is not an empty one: nothing is removed.
                let error = error.to_string();
                if self.seen.error.as_ref() != Some(&error) {
                    warn!(directory = %self.settings.tasks.display(), error, "cannot list the task directory; retrying");
                }
                self.seen.error = Some(error);
                return;
            }
        };
        let is_first = self.seen.directory.replace(directory).is_none();
        self.seen.error = None;
        self.seen.unusable = unusable;
        if let Some(only) = self.settings.only.clone() {
            let module = format!("{only}.wasm");
            files.retain(|file, _| file.strip_suffix(".sha256").unwrap_or(file) == module);
            if is_first && !files.contains_key(&module) {
                self.tell(jobs::Event::ModuleAbsent { name: only.clone() });
                self.configure(&only);
            }
        } else {
            for name in passed_over.iter().filter(|name| !self.seen.passed_over.contains(name)) {
                info!("ignored in the task directory: {name}");
            }
            self.seen.passed_over = passed_over;
            if is_first {
                self.look_for_deployed();
            }
        }
        let actions = self.directory.on(self.now(), task_dir::Event::Listed(files));
        self.follow(actions, None);
    }

    /// A job whose module is missing at the start does not run: without its files it is not known how. That is said.
    fn look_for_deployed(&mut self) {
        let state = self.settings.state.clone();
        // A state directory elsewhere may be that of several task directories.
        if state.starts_with(&self.settings.tasks) {
            self.work.spawn_blocking(Work::LookForDeployed, move || Done::Deployed(deployments::deployed(&state)));
        }
    }

    /// What is in the task directory and is no file of a job, and what was deployed from it and is not there.
    pub(super) fn passed_over(&self) -> Vec<String> {
        let missing = self.seen.deployed.iter().filter(|(name, _)| self.jobs.get(name).is_none());
        let missing = missing.map(|(name, current)| {
            let (module, state) = (current.of_job(name), self.settings.state.join(name));
            format!(
                "{name}: {module} was deployed here, and {name}.wasm is not in the task directory: it does not run; put \
                 the file back, or remove {} to forget it",
                state.display()
            )
        });
        self.seen.passed_over.iter().cloned().chain(missing).collect()
    }

    /// What keeps the host from seeing the task directory, or something in it.
    pub(super) fn directory_problems(&self) -> Vec<String> {
        let tasks = self.settings.tasks.display();
        let error = self.seen.error.iter().map(|error| format!("the task directory {tasks} cannot be listed: {error}"));
        let slow = self.seen.listing_since.map(|since| since.elapsed()).filter(|elapsed| *elapsed >= SLOW);
        let slow =
            slow.map(|elapsed| format!("the task directory {tasks} has not answered for {} s", elapsed.as_secs()));
        let now = self.now();
        let hanging = self.directory.slow(now).map(|(file, since)| {
            format!(
                "{file}: reading it has not ended for {} s; the other files go on",
                now.saturating_sub(since) / 1_000
            )
        });
        error.chain(slow).chain(hanging).chain(self.seen.unusable.iter().cloned()).collect()
    }

    fn follow(&mut self, actions: Vec<task_dir::Action>, mut contents: Option<Contents>) {
        for action in actions {
            match action {
                task_dir::Action::Read(file) => self.begin_reading(file),
                task_dir::Action::Changed(file) => {
                    if let Some(contents) = contents.take() {
                        self.changed(&file, contents);
                    }
                }
                task_dir::Action::Removed(file) => self.removed(&file),
            }
        }
    }

    pub(super) fn begin_reading(&mut self, file: String) {
        let tasks = self.settings.tasks.clone();
        self.work.spawn_blocking(Work::Read(file.clone()), move || {
            let contents = task_files::read(&tasks, &file);
            Done::Read(file, contents)
        });
    }

    pub(super) fn read(&mut self, file: String, contents: Contents) {
        if let Some(flaw) = contents.flaw.as_ref().filter(|_| contents.reading == Reading::CutShort) {
            info!(file, flaw, "the file may not be whole yet; giving it time");
        }
        let (stamp, reading) = (contents.stamp, contents.reading);
        let actions = self.directory.on(self.now(), task_dir::Event::Read { file, stamp, reading });
        self.follow(actions, Some(contents));
    }

    fn changed(&mut self, file: &str, contents: Contents) {
        if let Some(module) = file.strip_suffix(".wasm.sha256") {
            // The module is looked at again in the light of it.
            if self.entries.contains_key(module) {
                self.begin_reading(format!("{module}.wasm"));
            }
        } else if let Some(name) = file.strip_suffix(".wasm") {
            self.module(name, contents);
        } else if let Some(name) = file.strip_suffix(".properties") {
            let text = match contents.flaw {
                Some(flaw) => Err(format!("{file}: {flaw}")),
                None => String::from_utf8(contents.bytes).map_err(|error| format!("{file}: it is not UTF-8: {error}")),
            };
            self.entry(name).properties = Some(text);
            self.configure(name);
        }
    }

    fn removed(&mut self, file: &str) {
        if let Some(name) = file.strip_suffix(".wasm") {
            let on_delete = self.entry(name).on_delete();
            info!(job = name, ?on_delete, "its module is gone from the task directory");
            self.not_read_again(name);
            self.tell(jobs::Event::ModuleGone { name: name.to_owned(), on_delete });
        } else if let Some(name) = file.strip_suffix(".properties") {
            self.entry(name).properties = None;
            // A job that outlives its files keeps its configuration, too.
            if self.jobs.get(name).is_some_and(|job| job.wanted().is_some()) {
                self.configure(name);
            }
        }
    }

    fn module(&mut self, name: &str, contents: Contents) {
        let (id, flaw, unused) = (contents.id, contents.flaw.clone(), contents.unused.clone());
        if let Some(unused) = &unused {
            warn!(job = name, "{unused}");
        }
        if let Some(flaw) = &flaw
            && self.jobs.get(name).and_then(jobs::Job::rejected) != Some((&id, flaw))
        {
            let then = self.then(name);
            warn!(job = name, "{name}.wasm is rejected, {then}: {flaw}");
            self.entry(name).counts.rejected += 1;
        }
        let is_new = self.jobs.get(name).is_none_or(|job| job.wanted().is_none());
        let contents = Some(Arc::new(contents)).filter(|_| flaw.is_none());
        self.entry(name).module = Some(ModuleFile { id, contents, unused });
        if is_new {
            self.configure(name);
        }
        let is_checked_again =
            self.entry(name).is_read_again && self.jobs.get(name).and_then(jobs::Job::admitting) == Some(&id);
        if is_checked_again && flaw.is_none() {
            self.entry(name).is_read_again = false;
            self.admit(name.to_owned(), id);
        } else {
            self.not_read_again(name);
        }
        self.tell(jobs::Event::Module { name: name.to_owned(), id, flaw });
    }

    /// What was to be read and checked again is not there any more.
    fn not_read_again(&mut self, name: &str) {
        if !std::mem::take(&mut self.entry(name).is_read_again) {
            return;
        }
        if let Some(&id) = self.jobs.get(name).and_then(jobs::Job::admitting) {
            let reason = "its file changed".to_owned();
            self.tell(jobs::Event::NotAdmitted { name: name.to_owned(), id, reason });
        }
    }
}
