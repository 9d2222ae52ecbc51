//! The command line as users type it: what the binary prints, where, and with which exit code. Snapshots hold the
//! words; `INSTA_UPDATE=always` writes them anew.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, or says what it leaves out"
)]

mod bench;
mod build;
mod check;
mod config;
mod control;
mod demo;
mod help;
mod hosts;
mod kept;
mod local;
mod readme;
mod rollouts;
mod run;
mod shell;
