//! Builds the sample tasks for tests. Owns the calls of their build tools; knows nothing of what tests do with them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What a sample's `build.sh` exits with when its language's tools cannot be had (`EX_UNAVAILABLE`).
const TOOLS_UNAVAILABLE: i32 = 69;
/// Longest time for getting the tools of a language and building with them.
const BUILD_TIMEOUT: Duration = Duration::from_secs(240);

/// The directory of the sample tasks.
///
/// # Panics
/// When the crate that this is compiled into is not in the repository.
#[must_use]
pub fn samples() -> PathBuf {
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|directory| directory.join("sample-tasks"));
    above.find(|directory| directory.is_dir()).expect("the samples are in the root of the repository")
}

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

/// Another version of a component: it does the same, and has an identity of its own.
#[must_use]
pub fn version(component: &[u8], name: &str) -> Vec<u8> {
    let mut custom = Vec::new();
    for part in ["version", name] {
        custom.push(u8::try_from(part.len()).expect("a short name"));
        custom.extend_from_slice(part.as_bytes());
    }
    // A custom section, which means nothing: its id is 0, and its size is below 128.
    let size = u8::try_from(custom.len()).expect("a short name");
    [component, &[0, size], &custom].concat()
}

/// The component of a sample in another language: `javascript` or `python`. The reason, if its tools are not at hand.
///
/// # Panics
/// When the tools are there and the sample does not build, with what they said.
pub fn scripted_guest(language: &str) -> Result<PathBuf, String> {
    let directory = samples().join(format!("{language}-filter"));
    let target = samples().join("target").join(language);
    let mut build = Command::new("sh");
    build.arg(directory.join("build.sh")).arg(&target);
    let (status, said) = run(&mut build, BUILD_TIMEOUT)?;
    if status.code() == Some(TOOLS_UNAVAILABLE) {
        return Err(said);
    }
    assert!(status.success(), "the {language} sample does not build:\n{said}");
    Ok(target.join(format!("{language}_filter.wasm")))
}

fn build_rust_guests() -> PathBuf {
    // Does nothing where the target is there. A machine without rustup has its own ways; cargo tells what it lacks.
    drop(Command::new("rustup").args(["target", "add", "wasm32-wasip2"]).current_dir(samples()).output());
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

/// Runs a command to its end, with what it wrote to standard output and error.
#[allow(clippy::disallowed_methods, reason = "the thread is joined below")]
fn run(command: &mut Command, timeout: Duration) -> Result<(ExitStatus, String), String> {
    let (mut reader, writer) = std::io::pipe().map_err(|error| error.to_string())?;
    let both = writer.try_clone().map_err(|error| error.to_string())?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(both)
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    // The command's ends of the pipe go with it.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let output = std::thread::spawn(move || {
        let mut said = Vec::new();
        reader.read_to_end(&mut said).map(|_| String::from_utf8_lossy(&said).into_owned())
    });
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            let said = output.join().map_err(|_| "the reader panicked".to_owned())?;
            return Ok((status, said.map_err(|error| error.to_string())?));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().map_err(|error| error.to_string())?;
    child.wait().map_err(|error| error.to_string())?;
    Err(format!("{command:?} took longer than {timeout:?}"))
}
