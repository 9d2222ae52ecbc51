//! Builds the sample tasks for tests. Owns the call of cargo; knows nothing of what the tests do with them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The component of a Rust sample, such as `word-count`. The first call in a process builds them all.
///
/// # Panics
/// When the samples do not build, with what cargo said, or there is no such sample.
#[must_use]
pub fn rust_guest(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let components = BUILT.get_or_init(build_rust_guests);
    let component = components.join(name.replace('-', "_")).with_extension("wasm");
    assert!(component.exists(), "there is no Rust sample {name}: {} is missing", component.display());
    component
}

/// The directory of the sample tasks.
#[must_use]
pub fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sample-tasks")
}

fn build_rust_guests() -> PathBuf {
    let target = samples().join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--locked", "--target", "wasm32-wasip2", "--target-dir"])
        .arg(&target)
        .current_dir(samples())
        // Flags and settings that are meant for the host's build.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "the sample tasks do not build (rustup target add wasm32-wasip2?):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("wasm32-wasip2/release")
}
