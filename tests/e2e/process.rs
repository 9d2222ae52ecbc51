//! Runs a job as a process of its own, for what a test's process cannot show: its death, its exit code, its signals.

use std::process::Command;

use shardmill_tests::account::Account;
use shardmill_tests::guests::rust_guest;
use shardmill_tests::process::Process;

/// `shardmill run` of the job that the account's configuration file describes.
pub(crate) fn run(account: &Account, log: &str, more: &[&str]) -> Process {
    run_in(account, log, more, &[])
}

/// The same with these variables in its environment, and no others.
pub(crate) fn run_in(account: &Account, log: &str, more: &[&str], env: &[(&str, &str)]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardmill"));
    command.arg("run").arg("--config-path").arg(account.configuration());
    command.arg("--tasks").arg(account.tasks(&[rust_guest("echo")])).args(more);
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/modules");
    Process::start(
        command.env_clear().envs(env.iter().copied()).env("SHARDMILL_MODULE_CACHE", cache),
        &account.path(log),
    )
}
