//! The binary `shardmill`: command line in, exit code out.

mod cli;
mod commands;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Bench, Cli, Command, Config};

fn main() -> ExitCode {
    let cli = Cli::parse();
    commands::init_log(cli.verbose);
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
        Command::Demo(args) => commands::demo::demo(&args),
        Command::Local(args) => commands::local::local(&args),
        Command::Build(args) => commands::build::build(&args),
        Command::Check(args) => commands::check::check(&args),
        Command::Config(Config::Check(args)) => commands::config::check(&args),
        Command::Config(Config::Show(args)) => commands::config::show(&args),
        Command::Bench(Bench::Drain(args)) => commands::bench::drain(&args),
        Command::Bench(Bench::Swap(args)) => commands::bench::swap(&args),
        Command::Bench(Bench::Neighbours(args)) => commands::bench::neighbours(&args),
        Command::CompileModule(args) => commands::compile_module(&args),
    };
    commands::report(result)
}
