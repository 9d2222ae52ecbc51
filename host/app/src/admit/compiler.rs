//! The process that compiles one module and ends: `shardmill compile-module`, which is no command of people. Owns both
//! sides of it: how it is started, the limits that it sets itself before it reads a byte, and what its end means.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use rustix::process::{Resource, Rlimit};
use shardmill_runtime::{ArtifactStore, Engine, ModuleId};
use tokio::process::Command;

/// The name of the command.
pub const COMMAND: &str = "compile-module";
/// The module is not to be compiled; standard output says why.
pub(super) const EXIT_REFUSED: i32 = 64;
/// What Rust's allocator says before it aborts.
pub(super) const OUT_OF_MEMORY: &str = "memory allocation of";

/// Compiling is not urgent: the running version serves meanwhile.
const NICENESS: i32 = 10;

/// What compiling one module may take.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    pub memory_bytes: u64,
    /// CPU time on all cores together, in whole seconds.
    pub cpu: Duration,
    pub wall: Duration,
}

impl Default for Caps {
    /// Many times what the largest modules take: a Python task of 18 MiB takes 13 s of CPU time and 360 MiB.
    fn default() -> Self {
        Self { memory_bytes: 2 << 30, cpu: Duration::from_secs(120), wall: Duration::from_secs(300) }
    }
}

/// What the process is told.
#[derive(Debug, Parser)]
pub struct CompileModule {
    /// Where the compiled module is put
    #[arg(long)]
    store: PathBuf,
    /// The module's name in messages
    #[arg(long)]
    name: String,
    #[arg(long)]
    memory_bytes: u64,
    #[arg(long)]
    cpu_seconds: u64,
}

/// The command that compiles what it gets on standard input.
pub(super) fn command(program: &Path, store: &Path, name: &str, caps: Caps) -> Command {
    let mut command = Command::new(program);
    let flag = |name: &str, value: &dyn std::fmt::Display| OsString::from(format!("--{name}={value}"));
    command
        .arg(COMMAND)
        .arg("--store")
        .arg(store)
        .arg(flag("name", &name))
        .arg(flag("memory-bytes", &caps.memory_bytes))
        .arg(flag("cpu-seconds", &caps.cpu.as_secs().max(1)))
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What this process was told, which was started by [`command`]. Ends it when that is not so.
#[must_use]
pub fn arguments() -> CompileModule {
    CompileModule::parse_from(std::env::args_os().skip(1))
}

/// Compiles standard input into the store. `Some` reason when the module is refused.
///
/// # Errors
/// When this machine is at fault.
pub fn compile(args: &CompileModule) -> Result<Option<String>> {
    restrict(args).context("failed to set the limits")?;
    let store = ArtifactStore::open(&args.store)?;
    let mut wasm = Vec::new();
    std::io::stdin().lock().read_to_end(&mut wasm).context("failed to read the module")?;
    let engine = Engine::new()?;
    match engine.precompile(&args.name, &wasm) {
        Ok(artifact) => {
            store.put(&engine, &ModuleId::of(&args.name, &wasm), &artifact)?;
            Ok(None)
        }
        Err(error) => Ok(Some(error.to_string())),
    }
}

fn restrict(args: &CompileModule) -> rustix::io::Result<()> {
    use rustix::process::{nice, setrlimit};
    let at_most = |n: u64| Rlimit { current: Some(n), maximum: Some(n) };
    // Of the data, not of the address space: a thread's allocator reserves much of that and uses little.
    setrlimit(Resource::Data, at_most(args.memory_bytes))?;
    // One more until the hard limit, so that the signal says what happened.
    setrlimit(Resource::Cpu, Rlimit { current: Some(args.cpu_seconds), maximum: Some(args.cpu_seconds + 1) })?;
    setrlimit(Resource::Core, at_most(0))?;
    nice(NICENESS).map(drop)
}
