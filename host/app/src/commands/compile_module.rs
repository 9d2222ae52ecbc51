//! The internal command that compiles one module. `shardmill::admit::compiler` starts it and interprets its exit status.

use std::process::ExitCode;

use clap::Parser;
use shardmill::admit::compiler::{self, CompileModule};

use super::{EXIT_BAD_INPUT, report};

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long)]
    parent: u32,
    #[arg(long)]
    name: String,
    #[arg(long)]
    memory_bytes: u64,
    #[arg(long)]
    cpu_seconds: u64,
}

/// Compiles standard input by the arguments of this process; prints the reason of a rejection to standard output. Exits
/// if the arguments are invalid.
pub(crate) fn compile_module() -> ExitCode {
    let Arguments { parent, name, memory_bytes, cpu_seconds } = Arguments::parse_from(std::env::args_os().skip(1));
    match compiler::compile(&CompileModule { parent, name, memory_bytes, cpu_seconds }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_BAD_INPUT),
        Err(error) => report(Err(error)),
    }
}
