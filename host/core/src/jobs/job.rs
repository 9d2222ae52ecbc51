//! One job of a host: what is known of it, and what can be said of it. How it comes to be known is in `intake`, what
//! follows from it in `steps`.

use std::collections::BTreeMap;

use super::message::{Cause, Recalled};
use crate::module::ModuleId;
use crate::rollout::Deployment;
use crate::time::Millis;

/// What can be said of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing can run yet: the module or the configuration is not there or not good.
    Waiting,
    Running,
    Stopping,
    /// An operator, or the task itself, wanted it to stop; it runs again when it is resumed.
    Drained,
    /// It stopped by itself.
    Failed {
        reason: String,
        /// `None`: only when something changes or an operator resumes it.
        restart_at: Option<Millis>,
    },
}

/// What became of the module in the task directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directory<'a> {
    /// There is none.
    Absent,
    /// It is on its way: being checked, tried out or started, or waiting for that.
    Pending,
    /// It processes every shard, or every shard that is not a candidate's.
    Current,
    /// It processes some shards.
    Candidate,
    /// It was not admitted, or failed its trial; the reason.
    Rejected(&'a str),
    /// It ran and was rolled back; the reason.
    RolledBack(&'a str),
    /// It had its chance, and another version was chosen since.
    Superseded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    Down,
    Up { config: u64, since: Millis },
    Stopping,
}

/// The module of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Unknown,
    Absent,
    Is(ModuleId),
}

#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) reason: String,
    pub(super) cause: Cause,
}

/// What this machine could not do for the module of the directory.
#[derive(Debug)]
pub(super) struct PutOff {
    pub(super) reason: String,
    pub(super) until: Millis,
}

/// One job.
#[derive(Debug)]
pub struct Job {
    pub(super) run: Run,
    pub(super) wanted: Wanted,
    pub(super) admitting: Option<ModuleId>,
    pub(super) put_off: Option<PutOff>,
    /// The newest module that was admitted.
    pub(super) admitted: Option<ModuleId>,
    /// What the running job was given last.
    pub(super) deployed: Option<ModuleId>,
    /// Of that, what it has not answered yet.
    pub(super) deploying: Option<ModuleId>,
    /// What it took last. Started again where nothing is kept.
    pub(super) good: Option<ModuleId>,
    pub(super) rejections: BTreeMap<ModuleId, Rejection>,
    pub(super) config: Option<u64>,
    pub(super) is_configuring: bool,
    pub(super) misconfigured: Option<String>,
    pub(super) recalled: Option<Recalled>,
    /// For which configuration it was asked what is written down.
    pub(super) asked: Option<u64>,
    /// What is written down may have changed since.
    pub(super) is_stale: bool,
    /// It starts without the module of the directory if that is not checked by then.
    pub(super) begin_by: Option<Millis>,
    pub(super) failure: Option<(String, Option<Millis>)>,
    /// The wait before the last restart.
    pub(super) waited: Millis,
    pub(super) is_drained: bool,
    pub(super) is_gone: bool,
    pub(super) has_run: bool,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            run: Run::Down,
            wanted: Wanted::Unknown,
            admitting: None,
            put_off: None,
            admitted: None,
            deployed: None,
            deploying: None,
            good: None,
            rejections: BTreeMap::new(),
            config: None,
            is_configuring: false,
            misconfigured: None,
            recalled: None,
            asked: None,
            is_stale: false,
            begin_by: None,
            failure: None,
            waited: 0,
            is_drained: false,
            is_gone: false,
            has_run: false,
        }
    }
}

impl Job {
    #[must_use]
    pub fn state(&self) -> State {
        match self.run {
            Run::Up { .. } => State::Running,
            Run::Stopping => State::Stopping,
            Run::Down if self.is_drained => State::Drained,
            Run::Down => match &self.failure {
                Some((reason, restart_at)) => State::Failed { reason: reason.clone(), restart_at: *restart_at },
                None => State::Waiting,
            },
        }
    }

    /// The bytes in the directory.
    #[must_use]
    pub fn wanted(&self) -> Option<&ModuleId> {
        match &self.wanted {
            Wanted::Is(id) => Some(id),
            Wanted::Unknown | Wanted::Absent => None,
        }
    }

    /// The bytes in the directory that cannot run, and why; `None` when those that are there are good or not known yet.
    #[must_use]
    pub fn rejected(&self) -> Option<(&ModuleId, &str)> {
        let id = self.wanted()?;
        Some((id, &self.rejections.get(id)?.reason))
    }

    /// Why this machine could not check or roll out its module yet.
    #[must_use]
    pub fn put_off(&self) -> Option<&str> {
        Some(&self.put_off.as_ref()?.reason)
    }

    /// Why its configuration, as it is now, cannot be used.
    #[must_use]
    pub fn misconfigured(&self) -> Option<&str> {
        self.misconfigured.as_deref()
    }

    /// Whether its configuration is being read.
    #[must_use]
    pub fn is_configuring(&self) -> bool {
        self.is_configuring
    }

    /// The newest module that was found to be good.
    #[must_use]
    pub fn admitted(&self) -> Option<&ModuleId> {
        self.admitted.as_ref()
    }

    /// The module that is being checked.
    #[must_use]
    pub fn admitting(&self) -> Option<&ModuleId> {
        self.admitting.as_ref()
    }

    /// What became of the module in the directory, given what the job runs or ran last.
    #[must_use]
    pub fn directory<'a>(&'a self, deployment: Option<&'a Deployment>) -> Directory<'a> {
        let id = match &self.wanted {
            Wanted::Unknown => return Directory::Pending,
            Wanted::Absent => return Directory::Absent,
            Wanted::Is(id) => id,
        };
        if let Some(deployment) = deployment {
            if let Some(reason) = deployment.quarantine(*id) {
                return Directory::RolledBack(reason);
            }
            if deployment.current == *id {
                return Directory::Current;
            }
            if deployment.candidate.as_ref().is_some_and(|candidate| candidate.module == *id) {
                return Directory::Candidate;
            }
        }
        if let Some(Rejection { reason, .. }) = self.rejections.get(id) {
            return Directory::Rejected(reason);
        }
        let was_taken = self.good == Some(*id) && self.deploying != Some(*id) && self.put_off.is_none();
        if was_taken && deployment.is_some() { Directory::Superseded } else { Directory::Pending }
    }

    /// Whether nothing can run before something changes: nothing is deployed, and the directory's module does not run.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        let has_nothing = self.recalled.as_ref().is_some_and(|recalled| recalled.current.is_none());
        let wanted = match self.wanted {
            Wanted::Unknown => return false,
            Wanted::Absent => None,
            Wanted::Is(id) => Some(id),
        };
        let waits = wanted.is_some_and(|id| !self.rejections.contains_key(&id)) && self.put_off.is_none();
        self.is_down() && !self.is_configuring && has_nothing && self.offer().is_none() && !waits
    }

    pub(super) fn is_down(&self) -> bool {
        self.run == Run::Down
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        self.is_down() && self.is_gone
    }

    pub(super) fn wake_at(&self) -> Millis {
        let restart = self.failure.as_ref().filter(|_| !self.is_configuring).and_then(|(_, restart_at)| *restart_at);
        let again = self.put_off.as_ref().map(|put_off| put_off.until);
        restart.into_iter().chain(again).chain(self.begin_by).min().unwrap_or(Millis::MAX)
    }
}
