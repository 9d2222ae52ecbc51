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
    drop(account.tasks(&[rust_guest("echo")]));
    Process::start(run_command(account, more).envs(env.iter().copied()), &account.path(log))
}

/// The same with what is in the task directory.
pub(crate) fn run_tasks(account: &Account, log: &str, more: &[&str]) -> Process {
    Process::start(&mut run_command(account, more), &account.path(log))
}

/// A command about the account's task directory, such as `promote`.
pub(crate) fn command(account: &Account, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardmill"));
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/modules");
    command.args(args).arg("--tasks").arg(account.tasks(&[]));
    command.env_clear().env("SHARDMILL_MODULE_CACHE", cache);
    command
}

fn run_command(account: &Account, more: &[&str]) -> Command {
    let mut command = command(account, &["run"]);
    command.arg("--config-path").arg(account.configuration()).args(more);
    command
}
