//! What the host keeps of one job: the newest files, what was made of them, and the running job.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shardmill_core::config::{Job, Source};
use shardmill_core::hex;
use shardmill_core::jobs::OnDelete;
use shardmill_core::module::ModuleId;
use shardmill_core::rollout::Deployment;
use shardmill_core::text;
use shardmill_runtime::sha256;

use super::actor::{Command, JobActor, Proposal, Started};
use crate::deployments::{Deployments, Identity};
use crate::task_files::Contents;

/// What became of a job's modules since it is known to the host, in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Modules that were not admitted or failed their trial.
    pub(super) rejected: u64,
    /// Starts of the job: the first, and those after failures or with another configuration.
    pub(super) starts: u64,
    /// How long modules were checked and compiled, altogether.
    pub(super) admission: Duration,
}

/// `NAME.wasm` as it was read last.
pub(super) struct ModuleFile {
    pub(super) id: ModuleId,
    /// Until it is admitted or rejected.
    pub(super) contents: Option<Arc<Contents>>,
    /// What stands beside it and is not used, and why.
    pub(super) unused: Option<String>,
}

/// What goes on with a job's configuration.
#[derive(Default, PartialEq, Eq)]
pub(super) enum Configuring {
    #[default]
    No,
    Yes,
    /// Something changed meanwhile.
    Outdated,
}

#[derive(Default)]
pub(super) struct Entry {
    /// `NAME.properties`, if there is one; or why it cannot be read.
    pub(super) properties: Option<Result<String, String>>,
    pub(super) module: Option<ModuleFile>,
    /// The module is read again, to be checked again.
    pub(super) is_read_again: bool,
    /// The newest module that was admitted, and its bytes; not one that was rejected since.
    pub(super) admitted: Option<Proposal>,
    /// The one that the running job took last.
    pub(super) taken: Option<Proposal>,
    /// The newest configuration that can be used, and how many there were before it.
    pub(super) job: Option<Job>,
    version: u64,
    pub(super) configuring: Configuring,
    /// An operator paused it; a restart does not change that.
    pub(super) is_paused: bool,
    pub(super) counts: Counts,
    /// Its part of the state directory.
    pub(super) kept: Option<Deployments>,
    /// Since when the state directory has been asked what is to run.
    pub(super) recalling_since: Option<Instant>,
    /// Why it is not kept what is deployed.
    pub(super) unkept: Option<String>,
    pub(super) actor: Option<JobActor>,
    /// What is known of the job that ran last.
    pub(super) last: Option<Started>,
}

impl Entry {
    /// What the directory adds to the configuration of the host. The job of a host that has only one is named by it.
    ///
    /// # Errors
    /// When its properties cannot be read, or the name is none.
    pub(super) fn sources(&self, name: &str) -> Result<Vec<Source>, String> {
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let has_another = self.properties.is_some() && !name.contains(|it: char| text::is_hidden(it) || it == '\\');
        if !is_name && !has_another {
            let shown = text::shown(name);
            return Err(format!(
                "`{shown}` cannot be the name of a job: expected letters, digits, `.`, `-` and `_`; rename {shown}.wasm"
            ));
        }
        let mut sources = vec![Source::Module(name.to_owned())];
        if let Some(text) = self.properties.clone().transpose()? {
            sources.push(Source::Job { name: format!("{name}.properties"), text });
        }
        Ok(sources)
    }

    /// Takes in a good configuration; returns its number, a new one if it differs from the last.
    pub(super) fn configured(&mut self, job: Job) -> u64 {
        if self.job.as_ref() != Some(&job) {
            self.version += 1;
            self.job = Some(job);
        }
        self.version
    }

    /// The number of its configuration.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Which job its configuration makes of it.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.job.as_ref().map(|job| Identity { name: job.name.clone(), id: job.id.clone() })
    }

    /// Tells its configuration from others. Secrets are no part of it.
    pub(super) fn fingerprint(&self) -> Option<String> {
        self.job.as_ref().map(|job| hex::encode(&sha256(format!("{job:?}").as_bytes())))
    }

    pub(super) fn on_delete(&self) -> OnDelete {
        self.job.as_ref().map(|job| job.on_delete).unwrap_or_default()
    }

    /// A lease table that this job and another would have in common.
    pub(super) fn shared_table(&self, other: &Job) -> Option<&str> {
        let inputs = &self.job.as_ref()?.inputs;
        let shared = inputs.iter().find(|mine| other.inputs.iter().any(|input| input.shares_progress_with(mine)))?;
        Some(shared.progress_table())
    }

    /// A module that was admitted, if it is still at hand.
    pub(super) fn proposal(&self, id: ModuleId) -> Option<Proposal> {
        let known = self.admitted.iter().chain(&self.taken);
        known.into_iter().find(|proposal| proposal.id == id).cloned()
    }

    /// The bytes of the module that is in the directory are not needed any more.
    pub(super) fn drop_contents(&mut self, id: ModuleId) {
        if let Some(module) = self.module.as_mut().filter(|module| module.id == id) {
            module.contents = None;
        }
    }

    /// Tells the running job; nothing happens when none runs.
    pub(super) fn command(&self, command: Command) {
        if let Some(actor) = &self.actor {
            // It may be at its end, of which the host hears next.
            drop(actor.commands.send(command));
        }
    }

    /// Whether the running job has processed everything that is in its streams.
    pub(super) fn is_caught_up(&self) -> bool {
        self.started().is_some_and(|started| started.status.snapshot().is_caught_up(started.inputs))
    }

    /// Why the running job, though it has processed all that it may, has left records unread.
    pub(super) fn left_unread(&self) -> Option<String> {
        let started = self.started()?;
        started.status.snapshot().left_unread(started.inputs)
    }

    /// What is known of the job that runs, or ran last; `None` until it has started.
    pub(super) fn started(&self) -> Option<Started> {
        match &self.actor {
            Some(actor) => actor.started.borrow().clone(),
            None => self.last.clone(),
        }
    }

    /// What the job runs, or ran last.
    pub(super) fn deployment(&self) -> Option<Deployment> {
        self.started()?.status.snapshot().rollout.deployment
    }

    /// Its module is gone, and so is the job. What its properties say is for the next of this name.
    pub(super) fn forget(&mut self) {
        *self = Self { properties: self.properties.take(), version: self.version, ..Self::default() };
    }

    pub(super) fn ended(&mut self) {
        self.last = self.started();
        self.actor = None;
    }
}
