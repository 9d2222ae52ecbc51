//! From the files of the task directory to modules and configurations that the host can run: carries out what
//! `core::task_dir` wants, and tells `core::jobs` what became of it.

use std::sync::Arc;

use shardmill_core::config::Job;
use shardmill_core::jobs;
use shardmill_core::task_dir;
use shardmill_runtime::sha256;
use tracing::{error, info, warn};

use super::{Done, Host, Unusable, Work};
use crate::task_files::{self, Contents, Listing};

impl Host {
    pub(super) fn list(&mut self) {
        self.is_listing = true;
        let tasks = self.settings.tasks.clone();
        self.work.spawn_blocking(Work::List, move || Done::Listed(task_files::list(&tasks)));
    }

    pub(super) fn listed(&mut self, listing: std::io::Result<Listing>) {
        let Listing { mut files, unusable } = match listing {
            Ok(listing) => listing,
            Err(error) => {
                // A directory that cannot be seen is not an empty one: nothing is removed.
                let error = error.to_string();
                if self.listing_error.as_ref() != Some(&error) {
                    warn!(directory = %self.settings.tasks.display(), error, "cannot list the task directory; trying on");
                }
                self.listing_error = Some(error);
                return;
            }
        };
        self.listing_error = None;
        self.unusable = unusable;
        if let Some(only) = &self.settings.only {
            let module = format!("{only}.wasm");
            files.retain(|file, _| file.strip_suffix(".sha256").unwrap_or(file) == module);
        }
        let actions = self.directory.on(self.now(), task_dir::Event::Listed(files));
        self.follow(actions, None);
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

    fn begin_reading(&mut self, file: String) {
        let tasks = self.settings.tasks.clone();
        self.work.spawn_blocking(Work::Read(file.clone()), move || {
            let contents = task_files::read(&tasks, &file);
            Done::Read(file, contents)
        });
    }

    pub(super) fn read(&mut self, file: String, contents: Contents) {
        if let Some(flaw) = &contents.flaw {
            info!(file, flaw, "the file may not be whole yet; giving it time");
        }
        let (stamp, is_whole) = (contents.stamp, contents.flaw.is_none());
        let actions = self.directory.on(self.now(), task_dir::Event::Read { file, stamp, is_whole });
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
        let id = sha256(&contents.bytes);
        let is_new = self.jobs.get(name).is_none_or(|job| job.wanted().is_none());
        self.entry(name).module = Some((id, Arc::new(contents)));
        if is_new {
            self.configure(name);
        }
        self.tell(jobs::Event::Module { name: name.to_owned(), id });
    }

    /// Reads a job's configuration, if there is a module to run with it.
    fn configure(&mut self, name: &str) {
        let entry = self.entry(name);
        if entry.module.is_none() {
            return;
        }
        let is_only = self.settings.only.is_some();
        let sources = if is_only { Ok(Vec::new()) } else { self.entry(name).sources(name) };
        let loaded = sources.and_then(|it| (self.settings.load_job)(&it)).and_then(|job| self.unshared(name, job));
        let name = name.to_owned();
        match loaded {
            Ok(job) => {
                let is_new = self.entry(&name).job.as_ref() != Some(&job);
                let version = self.entry(&name).configured(job);
                self.tell(jobs::Event::Configured { name, version });
                if is_new {
                    self.configure_waiting();
                }
            }
            Err(reason) => {
                if self.jobs.get(&name).and_then(jobs::Job::misconfigured) != Some(&reason) {
                    error!(job = name, "its configuration cannot be used:\n{reason}");
                }
                self.tell(jobs::Event::Misconfigured { name, reason: reason.clone() });
                if is_only {
                    self.give_up(Unusable::Configuration(reason).into());
                }
            }
        }
    }

    /// Jobs whose configuration could not be used: what was in their way may be gone.
    pub(super) fn configure_waiting(&mut self) {
        let waiting = self.jobs.iter().filter(|(_, job)| job.misconfigured().is_some());
        let waiting: Vec<String> = waiting.map(|(name, _)| name.to_owned()).collect();
        waiting.iter().for_each(|name| self.configure(name));
    }

    /// Two jobs with one lease table would take each other's shards.
    fn unshared(&self, name: &str, job: Job) -> Result<Job, String> {
        if self.settings.only.is_none() && job.task_class != name {
            let class = &job.task_class;
            return Err(format!(
                "task.class={class}: in a task directory the module of job {name} is {name}.wasm; remove the key"
            ));
        }
        for (other, entry) in self.entries.iter().filter(|(other, _)| *other != name) {
            if let Some(table) = entry.shared_table(&job) {
                return Err(format!(
                    "it would share the lease table {table} with the job {other}, and each would read only a part of \
                     the shards: give it a job.name of its own in {name}.properties"
                ));
            }
        }
        Ok(job)
    }
}
