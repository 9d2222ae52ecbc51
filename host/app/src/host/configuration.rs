//! A job's configuration, from its files to the machine: read away from the host's loop, for a long file takes its time and
//! must not hold up signals, `status` and the other jobs.

use std::sync::Arc;

use shardmill_core::config::Job;
use shardmill_core::jobs;
use tracing::error;

use super::entry::Configuring;
use super::{Done, Host, Unusable, Work};

impl Host {
    /// Begins to read a job's configuration, if there is a module to run with it.
    pub(super) fn configure(&mut self, name: &str) {
        let is_only = self.settings.only.is_some();
        let entry = self.entry(name);
        if entry.module.is_none() && !is_only {
            return;
        }
        if entry.configuring != Configuring::No {
            entry.configuring = Configuring::Outdated;
            return;
        }
        entry.configuring = Configuring::Yes;
        let sources = if is_only { Ok(Vec::new()) } else { entry.sources(name) };
        let load_job = Arc::clone(&self.settings.load_job);
        let name = name.to_owned();
        self.tell(jobs::Event::Configuring { name: name.clone() });
        self.work.spawn_blocking(Work::Configure(name.clone()), move || {
            let loaded = sources.and_then(|sources| load_job(&sources));
            Done::Configured { name, loaded: loaded.map(Box::new) }
        });
    }

    pub(super) fn configured(&mut self, name: String, loaded: Result<Box<Job>, String>) {
        let is_outdated = std::mem::take(&mut self.entry(&name).configuring) == Configuring::Outdated;
        // Its module may be gone by now.
        if self.jobs.get(&name).is_none() {
            return;
        }
        if is_outdated {
            return self.configure(&name);
        }
        match loaded.and_then(|job| self.unshared(&name, *job)) {
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
                if self.settings.only.is_some() {
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
