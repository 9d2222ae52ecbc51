//! What goes into [`Jobs`](super::Jobs) and what comes out of it.

use super::Hash;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A wait may be over.
    Tick,
    /// The directory holds this module.
    Module { name: String, id: Hash },
    /// The directory holds it no more.
    ModuleGone { name: String, on_delete: OnDelete },
    /// Its configuration is valid. A number that it has not had before is a new configuration.
    Configured { name: String, version: u64 },
    /// Its configuration cannot be used; it runs on with the last good one, if it runs.
    Misconfigured { name: String, reason: String },
    /// Answers [`Action::Admit`].
    Admitted { name: String, id: Hash },
    /// Answers [`Action::Admit`], or says that a deployed module was sent back: it is not deployed again.
    Rejected { name: String, id: Hash, reason: String },
    /// A deployed module was sent back because it does not go with the configuration: it is deployed again with another.
    Unfit { name: String, id: Hash, reason: String },
    /// Answers [`Action::Admit`]: this machine could not check it now; it is asked again later.
    NotAdmitted { name: String, id: Hash, reason: String },
    /// It is over: as asked, or because it could not be started or could not go on.
    Ended { name: String, end: End },
    /// Somebody wants it to finish, commit, release its leases and stay down.
    Drain { name: String },
    /// Somebody wants it to run.
    Resume { name: String },
    /// The host stops.
    Stop,
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
    /// Check these bytes of the module.
    Admit { name: String, id: Hash },
    /// Start the job with an admitted module and its newest configuration.
    Start { name: String, id: Hash },
    /// Give the running job an admitted module.
    Deploy { name: String, id: Hash },
    /// Stop the job gracefully.
    Stop { name: String },
}

impl Event {
    pub(super) fn begins_a_job(&self) -> bool {
        matches!(self, Self::Module { .. } | Self::Configured { .. } | Self::Misconfigured { .. })
    }

    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Tick | Self::Stop => None,
            Self::Module { name, .. }
            | Self::ModuleGone { name, .. }
            | Self::Configured { name, .. }
            | Self::Misconfigured { name, .. }
            | Self::Admitted { name, .. }
            | Self::Rejected { name, .. }
            | Self::Unfit { name, .. }
            | Self::NotAdmitted { name, .. }
            | Self::Ended { name, .. }
            | Self::Drain { name }
            | Self::Resume { name } => Some(name),
        }
    }
}
