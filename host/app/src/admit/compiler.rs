//! The process that compiles one module and exits: `shardmill compile-module`, an internal command. Owns both sides of
//! it: how the host starts it, which rights it drops before it reads a byte, and what its exit status means.
//!
//! It has an empty environment and no files but its standard streams. It reads the module from standard input. It writes
//! the artifact, or the reason why there is none, to standard output, which is a file of the store.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use shardmill_core::text;
use shardmill_runtime::{AdmissionError, Engine};
use tokio::process::Command;

use super::confine::{self, Limits};
use super::{Rejected, machine};

/// The name of the command.
pub const COMMAND: &str = "compile-module";
/// The module cannot be compiled; the reason is on standard output.
const EXIT_REFUSED: i32 = 64;
/// What Rust's allocator prints before it aborts.
const OUT_OF_MEMORY: &str = "memory allocation of";

/// The prefix of a line that names a restriction which this machine cannot impose.
const UNCONFINED: &str = "not confined: ";

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

/// The largest compiled module: Python's and StarlingMonkey's have 35 MiB.
const ARTIFACT_MAX_BYTES: u64 = 512 << 20;

/// The limits of compiling one module.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    pub memory_bytes: u64,
    /// CPU time on all cores together, in whole seconds.
    pub cpu: Duration,
    /// CPU time after which it makes room for modules of other jobs.
    pub first_cpu: Duration,
    pub wall: Duration,
}

impl Default for Caps {
    /// Many times what the largest modules need: a Python task of 18 MiB takes 13 s of CPU time and 360 MiB.
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            cpu: Duration::from_secs(120),
            first_cpu: Duration::from_secs(10),
            wall: Duration::from_secs(300),
        }
    }
}

/// The arguments of the process.
#[derive(Debug)]
pub struct CompileModule {
    /// The process that waits for it.
    pub parent: u32,
    /// The module's name in messages.
    pub name: String,
    pub memory_bytes: u64,
    pub cpu_seconds: u64,
}

/// The command that compiles its standard input into `output`.
pub(super) fn command(program: &Path, name: &str, output: File, caps: Caps) -> Command {
    let mut command = Command::new(program);
    let flag = |name: &str, value: &dyn std::fmt::Display| OsString::from(format!("--{name}={value}"));
    command
        .arg(COMMAND)
        .arg(flag("parent", &std::process::id()))
        .arg(flag("name", &name))
        .arg(flag("memory-bytes", &caps.memory_bytes))
        .arg(flag("cpu-seconds", &caps.cpu.as_secs().max(1)))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(Stdio::piped());
    command
}

/// Compiles standard input to standard output. Returns whether the module was compiled; if not, the reason is on
/// standard output.
///
/// # Errors
/// When this machine is at fault.
pub fn compile(args: &CompileModule) -> Result<bool> {
    confine::close_inherited()?;
    confine::die_with(args.parent)?;
    let CompileModule { memory_bytes, cpu_seconds, .. } = *args;
    let limits = Limits { memory_bytes, cpu_seconds, output_bytes: ARTIFACT_MAX_BYTES };
    confine::limit(limits).context("failed to set the limits")?;
    for missing in confine::confine() {
        // The host reports this.
        writeln!(std::io::stderr(), "{UNCONFINED}{missing}").context("failed to write to standard error")?;
    }
    let mut wasm = Vec::new();
    std::io::stdin().lock().read_to_end(&mut wasm).context("failed to read the module")?;
    let compiled = Engine::new()?.precompile(&args.name, &wasm);
    let message = compiled.as_ref().err().map(AdmissionError::to_message);
    let mut output = std::io::stdout().lock();
    let bytes = compiled.as_deref().unwrap_or_else(|_| message.as_deref().unwrap_or_default().as_bytes());
    output.write_all(bytes).and_then(|()| output.flush()).context("failed to write the compiled module")?;
    Ok(compiled.is_ok())
}

/// How a compiler process ended.
pub(super) struct End {
    pub(super) status: ExitStatus,
    /// What it wrote to standard error.
    pub(super) said: String,
    /// The beginning of what it wrote to standard output.
    pub(super) output: String,
}

impl End {
    /// The restrictions that this machine could not impose on it.
    pub(super) fn unconfined(&self) -> Vec<&str> {
        self.said.lines().filter_map(|line| line.strip_prefix(UNCONFINED)).collect()
    }

    /// What the end of the process means for the module.
    pub(super) fn judge(self, name: &str, caps: &Caps) -> Result<(), Rejected> {
        let Self { status, said, output } = self;
        let said: Vec<&str> = said.lines().filter(|line| !line.starts_with(UNCONFINED)).collect();
        let said = text::reason(said.join("\n").trim());
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(EXIT_REFUSED) {
            let refused = AdmissionError::from_message(name, &output);
            return Err(refused.map_or_else(|| machine(name, &"the compiler did not say why"), Rejected::Module));
        }
        let of = name.to_owned();
        Err(match status.signal() {
            Some(SIGXCPU) => Rejected::Time { name: of, seconds: caps.cpu.as_secs() },
            Some(SIGXFSZ) => Rejected::Size { name: of, max_mb: ARTIFACT_MAX_BYTES >> 20 },
            Some(SIGABRT) if said.contains(OUT_OF_MEMORY) => {
                Rejected::Memory { name: of, max_mb: caps.memory_bytes >> 20 }
            }
            // Not sent by this process, but by the system's out-of-memory killer.
            Some(SIGKILL) => machine(name, &"the compiler was killed"),
            Some(_) => Rejected::Crash { name: of, status, said },
            None => machine(name, &said),
        })
    }
}
