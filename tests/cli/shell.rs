//! Runs the binary in an environment without surprises.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// All of it as a text for snapshots. Paths below `directory` begin with `DIR`.
    pub(crate) fn text(&self, directory: &Path) -> String {
        let Self { code, stdout, stderr } = self;
        let text = format!("exit code: {code:?}\n--- stdout\n{stdout}--- stderr\n{stderr}");
        text.replace(&directory.display().to_string(), "DIR")
    }
}

/// The binary with nothing of the test's environment but what finding and running cargo takes.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardmill"));
    command.env_clear().args(args);
    command.env("SHARDMILL_MODULE_CACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/modules"));
    for kept in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

/// Runs the binary to its end, without its log.
pub(crate) fn shardmill(args: &[&str]) -> Said {
    finished(command(args).env("RUST_LOG", "off"))
}

/// Runs the binary in a directory, so that its files have the same names on every machine.
pub(crate) fn shardmill_in(directory: &TempDir, args: &[&str]) -> Said {
    finished(command(args).env("RUST_LOG", "off").current_dir(directory))
}

pub(crate) fn finished(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// A directory with files in it.
pub(crate) fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    directory
}

/// A path below a directory as an argument.
pub(crate) fn below(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).display().to_string()
}
