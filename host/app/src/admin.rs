//! The control socket: how `shardmill ls`, `status` and the like talk to a running host. A Unix socket in a directory
//! that only this user can enter; no port is opened. A request is one line of JSON, and so is its response.
//!
//! Responses are defined here, requests in `core::control`. `place` knows where sockets are and who may remove one;
//! `server` is the host's side, `client` the command's.

mod client;
mod place;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::HostReport;

pub use client::{Answers, ask};
pub use server::AdminSocket;
pub use shardmill_core::control::Ask;

/// The longest request.
const ASK_MAX_BYTES: u64 = 64 << 10;
/// The longest response: some thousand shards.
const ANSWER_MAX_BYTES: u64 = 64 << 20;
/// How long a command may take: a roll-back may have to start a Python task.
const COMMAND_PATIENCE: Duration = Duration::from_secs(60);
/// How long a report may take: the host only has to write it.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// The directories where this user's control sockets may be, whether they exist or not. No task may be granted them.
#[must_use]
pub fn directories() -> Vec<PathBuf> {
    place::Places::of_this_user().all().to_vec()
}

/// How long host and client wait for the response.
fn patience(ask: &Ask) -> Duration {
    if *ask == Ask::Report { REPORT_PATIENCE } else { COMMAND_PATIENCE }
}

/// A host's response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    Report(HostReport),
    Done,
    Refused { reason: String },
}

#[cfg(test)]
mod tests;
