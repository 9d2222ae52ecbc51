//! What this program runs for itself to compile one module; no command of people. `shardmill::admit::compiler` starts it
//! and says what its end means.

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

/// Compiles standard input as the arguments of this process say; says on standard output why it does not. Ends the
/// process if they are not such arguments.
pub(crate) fn compile_module() -> ExitCode {
    let Arguments { parent, name, memory_bytes, cpu_seconds } = Arguments::parse_from(std::env::args_os().skip(1));
    match compiler::compile(&CompileModule { parent, name, memory_bytes, cpu_seconds }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_BAD_INPUT),
        Err(error) => report(Err(error)),
    }
}
