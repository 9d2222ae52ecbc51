//! What the commands share: configuration, output, signals, exit codes. Each command has a file below.

#[cfg(feature = "local")]
pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod compile_module;
pub(crate) mod config;
#[cfg(feature = "local")]
pub(crate) mod demo;
pub(crate) mod deploy;
pub(crate) mod jobs;
#[cfg(feature = "local")]
mod loader;
#[cfg(feature = "local")]
pub(crate) mod local;
pub(crate) mod log;
mod modules;
pub(crate) mod run;
mod usage;
pub(crate) mod versions;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use shardmill_core::config::{
    self as configuration, Credentials, Errors, Host, Input, Loaded, Notice, Secret, Source, StaticCredentials,
    render_problems,
};
use shardmill_core::text;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use crate::cli::{ConfigArgs, DYNAMODB_PORT, KINESIS_PORT};

/// Bad configuration or module (`EX_USAGE`).
const EXIT_BAD_INPUT: u8 = 64;

/// Bad user input. Printed as it is, without a chain of causes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadInput(pub String);

/// Already reported; only sets the exit status.
#[derive(Debug, thiserror::Error)]
#[error("not ready")]
pub(crate) struct NotReady;

/// Turns a command's result into the exit code, and prints the error.
pub(crate) fn report(result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if let Some(bad) = error.downcast_ref::<BadInput>() {
        say_error(&bad.0);
        return ExitCode::from(EXIT_BAD_INPUT);
    }
    if !error.is::<NotReady>() {
        say_error(&format!("{error:#}"));
    }
    ExitCode::FAILURE
}

/// Prints an error for people. Problems of a configuration already begin with `error`, each with its code.
fn say_error(text: &str) {
    match text.starts_with("error") {
        true => say(text),
        false => say(&format!("error: {text}")),
    }
}

/// Prints a message for people to standard error; programs read standard output.
pub(crate) fn say(text: &str) {
    // If this fails, there is no other place to report it.
    drop(writeln!(std::io::stderr(), "{}", text::guarded(text.trim_end())));
}

/// Prints a command's result for people. For programs: [`print_json`].
pub(crate) fn print(text: &str) {
    write_out(&text::guarded(text.trim_end()));
}

/// Prints a command's result for programs: JSON, which it must be already.
pub(crate) fn print_json(json: &str) {
    write_out(&text::json(json));
}

fn write_out(text: &str) {
    match writeln!(std::io::stdout(), "{text}") {
        // A broken pipe: the reader has seen enough, as `head` has.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            say_error(&format!("failed to write to standard output: {error}"));
        }
        _ => {}
    }
}

/// A multi-threaded runtime for everything but guest code.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start the async runtime")
}

/// The signals that stop a command: SIGINT (Ctrl-C), SIGTERM, and SIGHUP, which a closing terminal sends.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` when the signal is ignored, as under `nohup`.
    hang_up: Option<Signal>,
}

impl Signals {
    /// From here on the signals no longer terminate the process by themselves.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind, name| signal(kind).with_context(|| format!("failed to listen for {name}"));
        Ok(Self {
            terminate: listen(SignalKind::terminate(), "SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "SIGINT")?,
            hang_up: (!is_ignored(SignalKind::hangup())).then(|| listen(SignalKind::hangup(), "SIGHUP")).transpose()?,
        })
    }

    /// Waits for the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> SignalKind {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = hang_up => SignalKind::hangup(),
        }
    }
}

/// Whether this process was started with the signal ignored. Only Linux reports it.
fn is_ignored(signal: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal.as_raw_value() - 1) & 1 == 1
}

/// The directory for the deployment state of a task directory's jobs.
pub(crate) fn state_directory(named: Option<&Path>, tasks: &Path) -> PathBuf {
    named.map_or_else(|| tasks.join(".shardmill"), Path::to_owned)
}

/// Reads configuration files.
pub(crate) fn read_sources(paths: &[impl AsRef<Path>]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|error| BadInput(format!("cannot read configuration {}: {error}", path.display())))?;
        sources.push(Source::File { name: path.display().to_string(), text });
    }
    Ok(sources)
}

/// Reads the properties file of a job's author.
pub(crate) fn read_job(path: &Path) -> Result<Source> {
    let mut sources = read_sources(&[path])?;
    match sources.pop() {
        Some(Source::File { name, text }) => Ok(Source::Job { name, text }),
        _ => anyhow::bail!("no text of {}", path.display()),
    }
}

/// The process's environment; variables that are not UTF-8 are omitted.
pub(crate) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// Loads the configuration of jobs, as the command line specifies it.
pub(crate) struct JobLoader {
    files: Vec<Source>,
    settings: Vec<Source>,
    env: BTreeMap<String, String>,
    lenient: bool,
    local: bool,
}

impl JobLoader {
    pub(crate) fn new(args: &ConfigArgs) -> Result<Self> {
        let mut env = environment();
        if args.local {
            let endpoint = |port| format!("http://127.0.0.1:{port}");
            env.entry("AWS_ENDPOINT_URL_KINESIS".to_owned()).or_insert_with(|| endpoint(KINESIS_PORT));
            env.entry("AWS_ENDPOINT_URL_DYNAMODB".to_owned()).or_insert_with(|| endpoint(DYNAMODB_PORT));
        }
        let files = read_sources(&args.paths)?;
        let settings = args.settings.iter().cloned().map(Source::Override).collect();
        Ok(Self { files, settings, env, lenient: args.lenient, local: args.local })
    }

    /// Whether the configuration names the module to run.
    pub(crate) fn names_a_task(&self) -> bool {
        configuration::names_a_task(&self.sources(&[]))
    }

    /// The configuration of the host itself, with one job or many.
    pub(crate) fn host(&self) -> Result<Host> {
        let sources = self.sources(&[]);
        if self.names_a_task() {
            return Ok(load(&sources, &self.env, self.lenient)?.host);
        }
        let loaded = configuration::load_host(&sources, &self.env, self.lenient);
        Ok(loaded.map_err(|errors| BadInput(render_problems(&errors)))?.host)
    }

    /// Loads a job's configuration, including its sources in the task directory.
    pub(crate) fn load(&self, directory: &[Source]) -> Result<Loaded> {
        self.try_load(directory).map_err(|errors| BadInput(render_problems(&errors)).into())
    }

    /// The same, but leaves reporting the errors to the caller.
    pub(crate) fn try_load(&self, directory: &[Source]) -> Result<Loaded, Errors> {
        let mut loaded = shardmill_core::config::load(&self.sources(directory), &self.env, self.lenient)?;
        if self.local {
            loaded.job.inputs.iter_mut().for_each(use_local_account);
        }
        Ok(loaded)
    }

    /// All sources in order: the settings of the command line override all files.
    fn sources(&self, directory: &[Source]) -> Vec<Source> {
        self.files.iter().chain(directory).chain(&self.settings).cloned().collect()
    }
}

/// Logs the notices of a configuration.
pub(crate) fn log_notices(notices: &[Notice]) {
    for Notice { message, origin, .. } in notices {
        match origin {
            Some(origin) => warn!("{origin}: {message}"),
            None => warn!("{message}"),
        }
    }
}

pub(crate) fn load(sources: &[Source], env: &BTreeMap<String, String>, lenient: bool) -> Result<Loaded> {
    shardmill_core::config::load(sources, env, lenient)
        .map_err(|errors: Errors| BadInput(render_problems(&errors)).into())
}

/// Sets what the SDK requires and the local backend ignores: some region and some credentials. The backend is not behind
/// a proxy and has no roles or profiles.
fn use_local_account(input: &mut Input) {
    let Input::Kinesis(input) = input;
    input.client.proxy = None;
    for access in [&mut input.kinesis, &mut input.dynamodb] {
        access.region.get_or_insert_with(|| "us-east-1".to_owned());
        access.role = None;
        if !matches!(access.credentials, Credentials::Static(_)) {
            access.credentials = local_credentials();
        }
    }
}

fn local_credentials() -> Credentials {
    let (access_key, secret_key) = ("local".to_owned(), Secret::new("local"));
    Credentials::Static(StaticCredentials { access_key, secret_key, session_token: None })
}
