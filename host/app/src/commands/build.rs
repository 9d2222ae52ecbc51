//! `shardmill build`: a Rust task from source to a checked module.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::check::examine;
use super::modules::admission;
use super::{BadInput, runtime, say};
use crate::cli::{Build, ModuleArgs};

const TARGET: &str = "wasm32-wasip2";

pub(crate) fn build(args: &Build) -> Result<()> {
    let wasm = compile(&args.path)?;
    let admission = admission(&ModuleArgs::default(), None)?;
    let mut findings = runtime()?.block_on(examine(&admission, &wasm, None))?;
    if let Some(tasks) = args.tasks.as_deref().filter(|_| findings.is_ok()) {
        findings.moved_to(&install(&wasm, tasks)?);
    }
    findings.report(args.json)
}

/// Compiles the task in `directory`; returns the path of its module.
pub(crate) fn compile(directory: &Path) -> Result<PathBuf> {
    if !directory.join("Cargo.toml").is_file() {
        let text = format!("no Rust task in {}: expected a Cargo.toml there", directory.display());
        return Err(BadInput(text).into());
    }
    add_target(directory)?;
    say(&format!("compiling {} for {TARGET}", directory.display()));
    let output = cargo(directory)
        .args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to run cargo")?;
    if !output.status.success() {
        bail!("cargo could not compile {}", directory.display());
    }
    let directory = directory.canonicalize().context("failed to resolve the task's directory")?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let wasm = messages.lines().filter_map(|line| wasm_of(line, &directory)).next_back();
    wasm.with_context(|| {
        format!("cargo made no .wasm of {}: its Cargo.toml needs [lib] crate-type = [\"cdylib\"]", directory.display())
    })
}

/// The module that a cargo message reports for the package in `directory`.
fn wasm_of(message: &str, directory: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let manifest = Path::new(message.get("manifest_path")?.as_str()?);
    if message.get("reason")? != "compiler-artifact" || manifest.parent()? != directory {
        return None;
    }
    let files = message.get("filenames")?.as_array()?;
    files.iter().filter_map(Value::as_str).map(PathBuf::from).find(|file| file.extension().is_some_and(|e| e == "wasm"))
}

/// The task's own toolchain file and target directory apply, not those of the calling process.
fn cargo(directory: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(directory);
    for inherited in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC", "RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_MANIFEST_DIR"] {
        cargo.env_remove(inherited);
    }
    cargo
}

/// Adds the WebAssembly target through rustup when it is missing. Without rustup, cargo itself reports what is missing.
fn add_target(directory: &Path) -> Result<()> {
    let rustup = || {
        let mut rustup = Command::new("rustup");
        rustup.current_dir(directory).env_remove("RUSTUP_TOOLCHAIN").arg("target");
        rustup
    };
    let Ok(listed) = rustup().args(["list", "--installed"]).output() else { return Ok(()) };
    if String::from_utf8_lossy(&listed.stdout).lines().any(|target| target == TARGET) {
        return Ok(());
    }
    say(&format!("adding the Rust target {TARGET} (rustup target add {TARGET})"));
    let status = rustup().args(["add", TARGET]).status().context("failed to run rustup")?;
    if !status.success() {
        bail!("rustup could not add the target {TARGET}; add it manually and try again");
    }
    Ok(())
}

/// Puts the module into a task directory: writes a temporary file, then renames it, so that no reader sees half a module.
fn install(wasm: &Path, tasks: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(tasks).with_context(|| format!("failed to create {}", tasks.display()))?;
    let name = wasm.file_name().context("a module has a name")?.to_string_lossy().replace('_', "-");
    let target = tasks.join(&name);
    let partial = tasks.join(format!(".{name}.part"));
    let copied = std::fs::copy(wasm, &partial).and_then(|_| std::fs::rename(&partial, &target));
    copied.with_context(|| format!("failed to write {}", target.display()))?;
    Ok(target)
}
