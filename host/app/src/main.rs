//! The binary `shardmill`: command line in, exit code out.

mod cli;
mod commands;
mod usage_error;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use shardmill::admit::compiler;

#[cfg(feature = "local")]
use crate::cli::local::Bench;
use crate::cli::{Cli, Color, Command, Config};

fn main() -> ExitCode {
    // The internal compile command is not in the help, and clap does not suggest it.
    if std::env::args_os().nth(1).is_some_and(|command| command == compiler::COMMAND) {
        commands::log::init(0, Color::Auto);
        return commands::compile_module::compile_module();
    }
    let cli = parse();
    commands::log::init(cli.verbose, cli.color);
    let result = match cli.command {
        Command::Run(args) => commands::run::run(&args),
        Command::Deploy(args) => commands::deploy::deploy(&args),
        Command::Ls(args) => commands::jobs::ls(&args),
        Command::Status(args) => commands::jobs::status(&args),
        Command::Drain(args) => commands::jobs::drain(&args),
        Command::Promote(args) => commands::jobs::promote(&args),
        Command::Rollback(args) => commands::jobs::rollback(&args),
        Command::Versions(args) => commands::versions::versions(&args),
        Command::Pause(args) => commands::jobs::pause(&args),
        Command::Resume(args) => commands::jobs::resume(&args),
        #[cfg(feature = "local")]
        Command::Demo(args) => commands::demo::demo(&args),
        #[cfg(feature = "local")]
        Command::Local(args) => commands::local::local(&args),
        Command::Build(args) => commands::build::build(&args),
        Command::Check(args) => commands::check::check(&args),
        Command::Config(Config::Check(args)) => commands::config::check(&args),
        Command::Config(Config::Show(args)) => commands::config::show(&args),
        #[cfg(feature = "local")]
        Command::Bench(Bench::Drain(args)) => commands::bench::drain(&args),
        #[cfg(feature = "local")]
        Command::Bench(Bench::Swap(args)) => commands::bench::swap(&args),
        #[cfg(feature = "local")]
        Command::Bench(Bench::Neighbours(args)) => commands::bench::neighbours(&args),
    };
    commands::report(result)
}

/// Parses the command line. Exits when there is nothing to run: after a help text, or on wrong usage.
fn parse() -> Cli {
    // Help and usage errors need the colour setting before the command line is parsed.
    let command = Cli::command().color(color(std::env::args()).for_help());
    let parsed = command.try_get_matches().and_then(|matches: ArgMatches| Cli::from_arg_matches(&matches));
    parsed.unwrap_or_else(|error| usage_error::improved(error).exit())
}

/// The value of `--color`.
fn color(args: impl Iterator<Item = String>) -> Color {
    let mut args = args.skip(1);
    let mut color = Color::Auto;
    while let Some(arg) = args.next() {
        let value = match arg.strip_prefix("--color") {
            Some("") => args.next(),
            Some(value) => value.strip_prefix('=').map(str::to_owned),
            None if arg == "--" => break,
            None => None,
        };
        color = value.and_then(|value| clap::ValueEnum::from_str(&value, false).ok()).unwrap_or(color);
    }
    color
}
