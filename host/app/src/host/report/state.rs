//! What a job is doing, for people and programs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a job is doing. Programs and people read it in lowercase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    Waiting,
    Starting,
    Running,
    Paused,
    Stopping,
    Drained,
    Failed,
}

impl JobState {
    /// Whether the job runs, or does not on purpose.
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Drained)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Drained => "drained",
            Self::Failed => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_people_read_the_same_word() {
        use JobState::{Drained, Failed, Paused, Running, Starting, Stopping, Waiting};
        for state in [Waiting, Starting, Running, Paused, Stopping, Drained, Failed] {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
    }
}
