//! Runs a job as a process of its own, for what a test's process cannot show: its death, its exit code, its signals.

use std::process::Command;

use shardmill_tests::account::Account;
use shardmill_tests::guests::rust_guest;
use shardmill_tests::process::Process;

/// A way to run the job that the account's configuration file describes, given the log's name and more arguments.
pub(crate) type Launch = fn(&Account, &str, &[&str]) -> Process;

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

/// The same; and where the kernel would end a process that writes beyond its limit for files, the write fails instead, as
/// it does on a full disk.
pub(crate) fn run_on_full_disks(account: &Account, log: &str, more: &[&str]) -> Process {
    run_ignoring("XFSZ", account, log, more)
}

/// As `nohup` starts it.
pub(crate) fn run_ignoring_hang_ups(account: &Account, log: &str) -> Process {
    drop(account.tasks(&[rust_guest("echo")]));
    run_ignoring("HUP", account, log, &[])
}

/// As a terminal starts it, also where the tests themselves were started by `nohup`.
pub(crate) fn run_in_a_terminal(account: &Account, log: &str) -> Process {
    drop(account.tasks(&[rust_guest("echo")]));
    let run = run_command(account, &[]);
    let mut env = Command::new("/usr/bin/env");
    env.arg("--default-signal=HUP").arg(run.get_program()).args(run.get_args());
    let variables = run.get_envs().filter_map(|(name, value)| Some((name, value?)));
    Process::start(env.env_clear().envs(variables), &account.path(log))
}

fn run_ignoring(signal: &str, account: &Account, log: &str, more: &[&str]) -> Process {
    let run = run_command(account, more);
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!(r#"trap "" {signal}; exec "$0" "$@""#)).arg(run.get_program()).args(run.get_args());
    let env = run.get_envs().filter_map(|(name, value)| Some((name, value?)));
    Process::start(shell.env_clear().envs(env), &account.path(log))
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
