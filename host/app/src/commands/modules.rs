//! How commands obtain modules: read the file, compile it in a separate process unless the result is cached, and validate
//! it. Owns the choice of the directory for compiled modules.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use shardmill::admit::Admission;
use shardmill::bounded_file::{self, MODULE_MAX_BYTES};
use shardmill::machine_memory::default_limit;
use shardmill_runtime::{ArtifactStore, Engine, HostMemory};
use tracing::warn;

use super::BadInput;
use crate::cli::ModuleArgs;

/// The environment variable that names another directory for compiled modules.
const CACHE_VARIABLE: &str = "SHARDMILL_MODULE_CACHE";

/// Admits modules, with this program as the compiler. All instances and compilers together may use `memory_max` bytes, or
/// by default a share of the machine's memory.
pub(crate) fn admission(args: &ModuleArgs, memory_max: Option<u64>) -> Result<Admission> {
    let program = std::env::current_exe().context("failed to find this program's file")?;
    let memory = HostMemory::new(memory_max.unwrap_or_else(default_limit));
    Ok(Admission::new(Engine::new()?.with_memory(memory), store(args)?, program))
}

/// Reads the bytes of a module.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let content = bounded_file::read(path, MODULE_MAX_BYTES);
    Ok(content.map_err(|error| BadInput(format!("cannot read module {}: {error}", path.display())))?.bytes)
}

/// A module's name: its file's name without `.wasm`. Cargo turns `-` into `_`; this reverts it.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().replace('_', "-")).unwrap_or_default()
}

/// The named directory, or the default one. Without a usable home directory, falls back to the machine's temporary
/// directory: a job that recompiles its module after a reboot is better than one that does not start.
fn store(args: &ModuleArgs) -> Result<ArtifactStore> {
    let named = args.module_cache.clone().or_else(|| variable(CACHE_VARIABLE));
    if let Some(named) = named {
        return Ok(ArtifactStore::open(&named).map_err(|error| BadInput(error.to_string()))?);
    }
    let home = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let reason = match home.map(|home| ArtifactStore::open(&home.join("shardmill/modules"))) {
        Some(Ok(store)) => return Ok(store),
        Some(Err(error)) => error.to_string(),
        None => "neither XDG_CACHE_HOME nor HOME is set".to_owned(),
    };
    let user = rustix::process::geteuid().as_raw();
    let directory = std::env::temp_dir().join(format!("shardmill-modules-{user}"));
    warn!(reason, directory = %directory.display(), "the default directory for compiled modules is not usable; set {CACHE_VARIABLE} to another one");
    ArtifactStore::open(&directory).with_context(|| format!("set {CACHE_VARIABLE} to another directory"))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
