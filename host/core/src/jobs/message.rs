//! What goes into [`Jobs`](super::Jobs) and what comes out of it.

use crate::module::ModuleId;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A wait may be over.
    Tick,
    /// The directory holds this module. With a flaw its file cannot be used as it is: it is cut short, differs from its
    /// checksum, cannot be read.
    Module { name: String, id: ModuleId, flaw: Option<String> },
    /// The directory was listed and holds no such module.
    ModuleAbsent { name: String },
    /// The directory no longer holds the module.
    ModuleGone { name: String, on_delete: OnDelete },
    /// Its configuration is being read; nothing is started, deployed or restarted before the outcome.
    Configuring { name: String },
    /// Its configuration is valid. A number that it has not had before is a new configuration.
    Configured { name: String, version: u64 },
    /// Its configuration cannot be used; it runs on with the last good one, if it runs.
    Misconfigured { name: String, reason: String },
    /// Answers [`Action::Recall`].
    Recalled { name: String, recalled: Recalled },
    /// Answers [`Action::Recall`]: what is written down cannot be read. Nothing runs; it is asked again later.
    NotRecalled { name: String, reason: String },
    /// Answers [`Action::Admit`].
    Admitted { name: String, id: ModuleId },
    /// Answers [`Action::Admit`], [`Action::Start`] or [`Action::Deploy`]: these bytes do not run.
    Rejected { name: String, id: ModuleId, reason: String, cause: Cause },
    /// Answers [`Action::Admit`]: this machine could not check them now; they are checked again later.
    NotAdmitted { name: String, id: ModuleId, reason: String },
    /// Answers [`Action::Start`] or [`Action::Deploy`]: the running job has the module.
    Settled { name: String, id: ModuleId },
    /// Answers [`Action::Start`] or [`Action::Deploy`]: this machine could not roll the module out now; it is deployed again
    /// later.
    NotDeployed { name: String, id: ModuleId, reason: String },
    /// What is written down was changed by an operator while the job was down.
    DeploymentChanged { name: String },
    /// It is over: as asked, or because it could not be started or could not go on.
    Ended { name: String, end: End },
    /// An operator wants it to finish, commit, release its leases and stay down.
    Drain { name: String },
    /// An operator wants it to run.
    Resume { name: String },
    /// The host stops.
    Stop,
}

/// What is written down of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recalled {
    /// The number of the configuration by which it was looked for.
    pub config: u64,
    /// What the deployment calls current. `None`: nothing was ever deployed, or nothing is kept.
    pub current: Option<ModuleId>,
    /// Modules that are not tried again.
    pub rejected: Vec<Known>,
}

/// A module that was rejected in an earlier run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub id: ModuleId,
    pub reason: String,
    pub cause: Cause,
}

/// Why a module is rejected: what would have to change for the same bytes to be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The bytes themselves.
    Bytes,
    /// The file, or the checksum beside it.
    File,
    /// They do not start with the job's configuration, or are worse than the running version: they are tried again with
    /// another configuration.
    Configuration,
    /// An operator took them back, or deployed others before they ran: they are tried again when they are put into the
    /// directory again.
    Withdrawn,
}

/// What `task.on.delete` says: whether a job outlives its module's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDelete {
    /// A file that is lost by mistake must not stop a stream.
    #[default]
    Keep,
    /// Finish, commit, release the leases.
    Stop,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Stopped,
    /// The task gave up; the reason.
    TaskFailed(String),
    /// Anything else that may pass; the reason.
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look up what is written down of the job: what its deployment calls current, and what was rejected.
    Recall { name: String },
    /// Check these bytes of the module.
    Admit { name: String, id: ModuleId },
    /// Start the job with its newest configuration and what its deployment says; `offer` is an admitted module that may
    /// take over, or be the first.
    Start { name: String, offer: Option<ModuleId> },
    /// Give the running job an admitted module.
    Deploy { name: String, id: ModuleId },
    /// Stop the job gracefully.
    Stop { name: String },
}

impl Event {
    pub(super) fn begins_a_job(&self) -> bool {
        matches!(
            self,
            Self::Module { .. }
                | Self::ModuleAbsent { .. }
                | Self::Configuring { .. }
                | Self::Configured { .. }
                | Self::Misconfigured { .. }
        )
    }

    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Tick | Self::Stop => None,
            Self::Module { name, .. }
            | Self::ModuleAbsent { name }
            | Self::ModuleGone { name, .. }
            | Self::Configuring { name }
            | Self::Configured { name, .. }
            | Self::Misconfigured { name, .. }
            | Self::Recalled { name, .. }
            | Self::NotRecalled { name, .. }
            | Self::Admitted { name, .. }
            | Self::Rejected { name, .. }
            | Self::NotAdmitted { name, .. }
            | Self::Settled { name, .. }
            | Self::NotDeployed { name, .. }
            | Self::DeploymentChanged { name }
            | Self::Ended { name, .. }
            | Self::Drain { name }
            | Self::Resume { name } => Some(name),
        }
    }
}
