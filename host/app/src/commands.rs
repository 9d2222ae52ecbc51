//! What the commands share: the log, the configuration, modules, exit codes. One file per command below.

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
    self as configuration, Credentials, Errors, Host, Loaded, Notice, Secret, Source, StaticCredentials,
    render_problems,
};
use shardmill_core::text;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use crate::cli::{ConfigArgs, DYNAMODB_PORT, KINESIS_PORT};

/// Bad configuration or module (`EX_USAGE`).
const EXIT_BAD_INPUT: u8 = 64;

/// The user gave something that cannot be used. Told as it is, without the chain of causes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadInput(pub String);

/// Told already: only the exit code is left to say.
#[derive(Debug, thiserror::Error)]
#[error("not ready")]
pub(crate) struct NotReady;

/// Turns a command's result into the exit code, and tells the error.
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

/// Tells people what went wrong. Problems of a configuration begin by themselves as errors, each with its code.
fn say_error(text: &str) {
    match text.starts_with("error") {
        true => say(text),
        false => say(&format!("error: {text}")),
    }
}

/// Tells people something; programs read standard output.
pub(crate) fn say(text: &str) {
    // There is nobody left to tell that they cannot be told.
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
        // Whoever reads has seen enough, as `head` has.
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

/// What asks a command to stop: SIGINT (Ctrl-C), SIGTERM, and SIGHUP, which a terminal sends that is closed.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` where it is ignored, as `nohup` has it.
    hang_up: Option<Signal>,
}

impl Signals {
    /// From here on the signals do not end the process by themselves.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind, name| signal(kind).with_context(|| format!("failed to listen for {name}"));
        Ok(Self {
            terminate: listen(SignalKind::terminate(), "SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "SIGINT")?,
            hang_up: (!is_ignored(SignalKind::hangup())).then(|| listen(SignalKind::hangup(), "SIGHUP")).transpose()?,
        })
    }

    /// Waits for the next one; which it is. Cancel-safe.
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

/// Whether this process was started with the signal ignored. Only Linux tells.
fn is_ignored(signal: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal.as_raw_value() - 1) & 1 == 1
}

/// Where it is kept which versions of the jobs of a task directory run.
pub(crate) fn state_directory(named: Option<&Path>, tasks: &Path) -> PathBuf {
    named.map_or_else(|| tasks.join(".shardmill"), Path::to_owned)
}

/// Reads the files named.
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

/// The process's environment, as far as configuration looks at it.
pub(crate) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// What the command line says of the configuration of jobs that are about to run.
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

    /// Whether it says which module to run.
    pub(crate) fn names_a_task(&self) -> bool {
        configuration::names_a_task(&self.sources(&[]))
    }

    /// What the command line says of the host, whatever jobs it has; for a single job too.
    pub(crate) fn host(&self) -> Result<Host> {
        let sources = self.sources(&[]);
        if self.names_a_task() {
            return Ok(load(&sources, &self.env, self.lenient)?.host);
        }
        let loaded = configuration::load_host(&sources, &self.env, self.lenient);
        Ok(loaded.map_err(|errors| BadInput(render_problems(&errors)))?.host)
    }

    /// Loads a job's configuration, with what the task directory says of it.
    pub(crate) fn load(&self, directory: &[Source]) -> Result<Loaded> {
        self.try_load(directory).map_err(|errors| BadInput(render_problems(&errors)).into())
    }

    /// The same; what is wrong is left to be told.
    pub(crate) fn try_load(&self, directory: &[Source]) -> Result<Loaded, Errors> {
        let mut loaded = shardmill_core::config::load(&self.sources(directory), &self.env, self.lenient)?;
        if self.local {
            loaded.job.inputs.iter_mut().for_each(use_local_account);
        }
        Ok(loaded)
    }

    /// The command line's settings win over all files.
    fn sources(&self, directory: &[Source]) -> Vec<Source> {
        self.files.iter().chain(directory).chain(&self.settings).cloned().collect()
    }
}

/// Tells what there is to know about a configuration.
pub(crate) fn tell_notices(notices: &[Notice]) {
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

/// The local backend takes any region and any credentials, of which the SDK wants some; no proxy leads to it, and it has
/// no roles and no profiles.
fn use_local_account(input: &mut shardmill_core::config::Input) {
    input.client.proxy = None;
    for access in [&mut input.kinesis, &mut input.dynamodb] {
        access.region.get_or_insert_with(|| "us-east-1".to_owned());
        access.role = None;
        if !matches!(access.credentials, Credentials::Static(_)) {
            let (access_key, secret_key) = ("local".to_owned(), Secret::new("local"));
            access.credentials = Credentials::Static(StaticCredentials { access_key, secret_key, session_token: None });
        }
    }
}
