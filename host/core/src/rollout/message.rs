//! What goes into a [`Rollout`](super::Rollout) and what comes out of it.

use super::deployment::Deployment;
use super::health::Health;
use crate::module::ModuleId;
use crate::run_loop::{InstanceId, SourceId};
use crate::time::Millis;

/// Tells requests apart, for their answers.
pub type RequestId = u64;

/// What a rollout is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether a new version is a candidate first, unless its deploy says otherwise.
    pub is_canary: bool,
    /// How much of the shards each wave of a candidate has; with the last one behind it the candidate takes over. Empty:
    /// every version takes over at once.
    pub waves: Vec<Wave>,
    /// How long a wave is watched before the next.
    pub bake: Millis,
    /// How long the previous version stays ready for a rollback after a take-over.
    pub keep_warm: Millis,
}

/// The share of a job's shards that a wave has; one at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wave {
    Shards(usize),
    Percent(usize),
}

impl Wave {
    /// How many of so many shards.
    pub(super) fn of(self, shards: usize) -> usize {
        match self {
            Self::Shards(count) => count.min(shards),
            Self::Percent(percent) => (shards * percent).div_ceil(100),
        }
    }
}

/// How a version gets its shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// As [`Settings::is_canary`] says.
    #[default]
    Configured,
    /// In waves.
    Canary,
    /// All at once.
    All,
    /// All at once, even if it was found bad before.
    Forced,
}

/// What a file says beside a module: its hash, and how it gets its shards.
const MANNERS: [(&str, Manner); 2] = [("canary", Manner::Canary), ("all", Manner::All)];

impl Manner {
    /// Reads what is said of the module with this hash; of another one, or in other words, nothing is.
    #[must_use]
    pub fn said_of(module: ModuleId, text: &str) -> Self {
        let Some((hash, word)) = text.trim().split_once(char::is_whitespace) else { return Self::default() };
        let said = MANNERS.iter().find(|(known, _)| *known == word.trim());
        said.filter(|_| hash.parse() == Ok(module)).map(|(_, manner)| *manner).unwrap_or_default()
    }

    /// The word for it, if there is one.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        MANNERS.iter().find(|(_, manner)| *manner == self).map(|(word, _)| *word)
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passed; see [`Rollout::wake_at`](super::Rollout::wake_at).
    Tick,
    /// A version is to be rolled out.
    Deploy { request: RequestId, module: ModuleId, how: Manner },
    /// The candidate is to take over now.
    Promote { request: RequestId },
    /// The candidate is to go; without one, the version before is to come back. If `version`, by its first digits, is
    /// named and is neither the candidate nor the current one, it is gone already.
    RollBack { request: RequestId, version: Option<String> },
    /// The answer to [`Action::Build`].
    Built { instance: InstanceId, result: Result<(), String> },
    /// The answer to [`Action::Write`].
    Written(Result<(), WriteError>),
    /// Another host of the job changed what is to run.
    Changed(Deployment),
    /// A shard is to be processed here; answered with [`Action::Assign`].
    Assigned { source: SourceId, shard: String },
    /// A shard is not processed here any more.
    Released { source: SourceId },
    /// A shard is processed to its end: its children, with all their parents.
    Ended { children: Vec<(String, Vec<String>)> },
    /// An instance cannot go on; answered with a route to another one, or [`Action::GiveUp`].
    GaveUp { instance: InstanceId, reason: String },
    /// How an instance did so far.
    Health { instance: InstanceId, health: Health },
}

/// Why a deployment was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// Another host was first; this is what it wrote.
    Changed(Box<Deployment>),
    /// The store does not work.
    Failed(String),
}

/// Why a request was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Because(String),
    /// The version cannot be started with the job's configuration.
    Unfit(String),
    /// This machine could not do it now; the same request may be met another time.
    NotNow(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Because(reason) | Self::Unfit(reason) | Self::NotNow(reason)) = self;
        f.write_str(reason)
    }
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Build an instance of the module and call its `init`, away from the task thread.
    Build { instance: InstanceId, module: ModuleId },
    /// Make it durable; nothing of it takes effect before.
    Write(Deployment),
    /// The instance processes the shard.
    Assign { source: SourceId, instance: InstanceId },
    /// Pass this on to the run loop; instances that were never used are just dropped.
    Route { moves: Vec<(SourceId, InstanceId)>, retire: Vec<InstanceId> },
    /// Nobody takes over from an instance that gave up.
    GiveUp { instance: InstanceId },
    /// The job has to stop: what it is to run does not run here.
    Fail { reason: String },
    /// The end of a request: it is done (written), or why it is not.
    Answer { request: RequestId, result: Result<(), Refusal> },
    /// For people.
    Tell(Outcome),
}

/// What became of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in this wave (from 1).
    Wave {
        module: ModuleId,
        wave: usize,
    },
    /// It processes everything.
    TookOver {
        module: ModuleId,
    },
    RolledBack {
        module: ModuleId,
        reason: String,
    },
    /// It cannot be built here any more, so there is no way back to it.
    NotWarm {
        module: ModuleId,
        reason: String,
    },
    /// The change holds on this host although it could not be written down.
    Unwritten {
        reason: String,
    },
}
