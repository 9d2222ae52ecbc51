//! The control socket: how `shardmill ls`, `status` and the like talk to a running host. A Unix socket in a directory
//! that only this user can enter; no port is opened. One line of JSON asks, one line of JSON answers.
//!
//! Here is what is answered; what is asked is `core::control`'s. Where sockets are and who may remove one: `place`. Who answers: `server`. Who asks: `client`.

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

/// The longest line that asks.
const ASK_MAX_BYTES: u64 = 64 << 10;
/// The longest line that answers: some thousand shards.
const ANSWER_MAX_BYTES: u64 = 64 << 20;
/// How long a command may take: to go back to an old version may mean to start a Python task.
const COMMAND_PATIENCE: Duration = Duration::from_secs(60);
/// How long a report may take, which a host has at hand.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// The directories that may have control sockets of this user, there or not: what nobody else is to be given.
#[must_use]
pub fn directories() -> Vec<PathBuf> {
    place::Places::of_this_user().all().to_vec()
}

/// How long host and client wait for the answer.
fn patience(ask: &Ask) -> Duration {
    if *ask == Ask::Report { REPORT_PATIENCE } else { COMMAND_PATIENCE }
}

/// What a host answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    Report(HostReport),
    Done,
    Refused { reason: String },
}

#[cfg(test)]
mod tests;
