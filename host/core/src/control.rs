//! What a host is asked on its control socket: one line of JSON each. What is answered is the host's business.

use serde::{Deserialize, Serialize};

use crate::text;

/// Bytes of a reason why a line is not understood.
const REASON_MAX_BYTES: usize = 300;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    Report,
    /// Finish, commit, release the leases, and stay down.
    Drain {
        job: String,
    },
    /// Run again.
    Resume {
        job: String,
    },
    /// Let the candidate take over now.
    Promote {
        job: String,
    },
    /// Go back to the version before, or to the one named.
    Rollback {
        job: String,
        to: Option<String>,
        /// The version to be rid of, by its first digits: where it is gone already, nothing is done.
        #[serde(default)]
        version: Option<String>,
    },
    /// Call the task no more, but keep the leases.
    Pause {
        job: String,
    },
}

/// Why a line asks for nothing: `error` is the parser's, which may repeat some of the line.
#[must_use]
pub fn not_understood(error: &dyn std::fmt::Display) -> String {
    format!("this host does not know what that means: {}", text::line(&error.to_string(), REASON_MAX_BYTES))
}
