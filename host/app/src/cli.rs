//! The command line: its arguments and the text of `--help`. The commands themselves are in `commands`.

#[cfg(feature = "local")]
pub(crate) mod local;

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};

/// Consume Kinesis like an Apache Samza job and run each envelope through a sandboxed WebAssembly task.
#[derive(Debug, Parser)]
#[command(name = "shardmill", version, long_version = LONG_VERSION.as_str(), propagate_version = true)]
#[command(max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Colour the log and the help; `auto`: on a terminal, unless NO_COLOR or TERM=dumb is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Increase log verbosity (-v debug, -vv trace). RUST_LOG overrides it
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run jobs until stopped (Ctrl-C or SIGTERM: finish, commit, release the leases)
    Run(Run),
    /// Deploy a module to a task directory (atomic)
    Deploy(Deploy),
    /// List the jobs of the hosts on this machine that run a task directory
    #[command(after_help = "Example:\n  shardmill ls --tasks tasks --json")]
    Ls(Ls),
    /// Show a job and its shards (exits 1 if not ready)
    #[command(after_help = "Example:\n  shardmill status orders --tasks tasks")]
    Status(JobArgs),
    /// Stop a job gracefully and keep it stopped
    #[command(after_help = "Example:\n  shardmill drain orders --tasks tasks")]
    Drain(JobArgs),
    /// Promote the canary to all shards
    #[command(after_help = "Example:\n  shardmill promote orders --tasks tasks")]
    Promote(JobArgs),
    /// Roll back the canary, or the current version (quarantines it)
    Rollback(Rollback),
    /// List the versions of a job that are available for a rollback
    #[command(after_help = "Example:\n  shardmill versions orders --tasks tasks")]
    Versions(Versions),
    /// Pause processing; leases are kept
    #[command(after_help = "Example:\n  shardmill pause orders --tasks tasks")]
    Pause(JobArgs),
    /// Resume a paused, drained or failed job
    #[command(after_help = "Example:\n  shardmill resume orders --tasks tasks")]
    Resume(JobArgs),
    /// Run an end-to-end demo on a local stream (needs only a Rust toolchain)
    #[cfg(feature = "local")]
    Demo(local::Demo),
    /// Start the local backend: Kinesis and DynamoDB on this machine
    #[cfg(feature = "local")]
    Local(local::Local),
    /// Compile a Rust task to WebAssembly and check it
    Build(Build),
    /// Validate a module: imports, exports, grants, trial start
    Check(Check),
    /// Check or show a configuration
    #[command(subcommand)]
    Config(Config),
    /// Run benchmarks
    #[cfg(feature = "local")]
    #[command(subcommand)]
    Bench(local::Bench),
}

/// When to colour output for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// Whether to colour an output, which is a terminal or not.
    pub(crate) fn is_for(self, is_terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => is_terminal && Self::is_wanted_by_environment(),
        }
    }

    /// For the help and the usage errors, which `clap` writes. `clap` detects a terminal, but colours a dumb one if `CI`
    /// is set; so the environment is read here, by the same rule as for the log.
    pub(crate) fn for_help(self) -> ColorChoice {
        match self {
            Self::Auto if Self::is_wanted_by_environment() => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Auto | Self::Never => ColorChoice::Never,
        }
    }

    /// <https://no-color.org>
    fn is_wanted_by_environment() -> bool {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        variable("NO_COLOR").is_none() && variable("TERM").is_some_and(|term| term != "dumb")
    }
}

/// What a bug report must include.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let (version, wasmtime) = (env!("CARGO_PKG_VERSION"), shardmill_runtime::WASMTIME_VERSION);
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{version}\nwasmtime  {wasmtime}\ntarget    {arch}-{os}\nbuild     {build}")
});

/// The sources of a configuration.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ConfigArgs {
    /// A Samza properties file; repeatable, later files win
    #[arg(long = "config-path", value_name = "FILE")]
    pub(crate) paths: Vec<PathBuf>,
    /// One setting; wins over all files
    #[arg(long = "config", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Make unknown keys warnings instead of errors
    #[arg(long)]
    pub(crate) lenient: bool,
    /// Use the local backend on its default ports, as `shardmill local` starts it, with credentials that it accepts
    #[arg(long)]
    pub(crate) local: bool,
}

/// How modules are admitted.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ModuleArgs {
    /// Directory for compiled modules (private to this user). Default: $SHARDMILL_MODULE_CACHE, or shardmill/modules in
    /// $XDG_CACHE_HOME or ~/.cache
    #[arg(long, value_name = "DIR")]
    pub(crate) module_cache: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    shardmill run --config-path orders.properties --tasks tasks\n  \
    shardmill run --config-path host.properties --tasks tasks   (every module in tasks is a job)\n  \
    shardmill run --config-path orders.properties --config task.commit.ms=5000 --local\n  \
    shardmill run --config-path orders.properties --until-caught-up --json\n\n\
    Exit codes: 0 stopped on request, 1 a job failed, 2 wrong usage, 64 bad configuration or module.")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Task directory. With `task.class=NAME` the host runs its NAME.wasm. Without task.class every NAME.wasm in it
    /// becomes a job NAME, also one that is added later; an optional NAME.properties configures it
    #[arg(long, value_name = "DIR", default_value = "tasks")]
    pub(crate) tasks: PathBuf,
    #[command(flatten)]
    pub(crate) modules: ModuleArgs,
    /// Directory for shared deployment state: hosts that share it run the same versions. Default: .shardmill in the
    /// task directory
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Exit once all records present at start are processed
    #[arg(long)]
    pub(crate) until_caught_up: bool,
    /// Print a summary as JSON on standard output before exiting
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    shardmill deploy target/wasm32-wasip2/release/orders.wasm --tasks tasks\n  \
    shardmill deploy new.wasm --name orders --tasks tasks --wait\n  \
    shardmill deploy new.wasm --name orders --canary --wait\n\n\
    Without --canary and --all, task.rollout decides, as for a module that is copied into the directory.\n\n\
    Exit codes: 0 deployed; with --wait, the module has taken over. 1 with --wait: the module was rejected, rolled back \
    or did not run (the reason is printed), or the wait timed out. 64 the module cannot run, or a file or directory is \
    missing.")]
pub(crate) struct Deploy {
    /// The module, a WebAssembly component
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The job. Default: the file's name without .wasm
    #[arg(long, value_name = "JOB")]
    pub(crate) name: Option<String>,
    /// The task directory
    #[arg(long, value_name = "DIR", default_value = "tasks")]
    pub(crate) tasks: PathBuf,
    /// Roll out in waves (task.rollout.waves), even if task.rollout is not `canary`
    #[arg(long, conflicts_with = "all")]
    pub(crate) canary: bool,
    /// Roll out to all shards at once, even if task.rollout is `canary`
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) modules: ModuleArgs,
    /// Wait until the module has taken over on the hosts of this machine (a canary: all its waves), or was rejected or
    /// rolled back. Ctrl-C ends the wait, not the rollout
    #[arg(long)]
    pub(crate) wait: bool,
    /// Total time to wait, in seconds. Default: until nothing has happened for 120 s, not counting the time between a
    /// canary's waves
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    shardmill rollback orders --tasks tasks\n  \
    shardmill rollback orders --to 1a2b3c4d5e6f --tasks tasks")]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// The version to return to, by the first digits of its hash as `shardmill versions` shows them. Default: the
    /// previous version
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Versions {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Directory for shared deployment state (`shardmill run --state`). Default: .shardmill in the task directory
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The task directory
    #[arg(long, value_name = "DIR", default_value = "tasks")]
    pub(crate) tasks: PathBuf,
    /// Print JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Names a job that the hosts of a task directory run.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job: its module's name, or its job.name
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// The task directory
    #[arg(long, value_name = "DIR", default_value = "tasks")]
    pub(crate) tasks: PathBuf,
    /// Print JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// The ports that `shardmill local` listens on and `--local` connects to.
pub(crate) const KINESIS_PORT: u16 = 4567;
pub(crate) const DYNAMODB_PORT: u16 = 8000;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    shardmill build sample-tasks/word-count\n  \
    shardmill build my-task --tasks tasks")]
pub(crate) struct Build {
    /// The directory with the task's Cargo.toml
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) path: PathBuf,
    /// Copy the module into this task directory
    #[arg(long, value_name = "DIR")]
    pub(crate) tasks: Option<PathBuf>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "With a configuration, the check also starts the module and calls its `init`, as the job would.\n\n\
    Examples:\n  \
    shardmill check tasks/word-count.wasm\n  \
    shardmill check tasks/orders.wasm --config-path orders.properties --json\n  \
    shardmill check tasks/orders.wasm --host host.properties\n\n\
    Exit codes: 0 the module can run, 1 it could not be checked on this machine, 2 wrong usage, 64 the module cannot run, \
    or bad configuration."
)]
pub(crate) struct Check {
    /// The module
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Check the module as a job of the host with this configuration; repeatable, later files win. --config-path then
    /// names the job's own NAME.properties. Default: the one beside the module
    #[arg(long, value_name = "FILE")]
    pub(crate) host: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) modules: ModuleArgs,
    /// Print the findings as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Report every problem with file and line; exits 64 if there is one
    #[command(after_help = "Examples:\n  \
        shardmill config check base.properties orders.properties      (a single job)\n  \
        shardmill config check host.properties                        (a host: neither job.name nor task.class)\n  \
        shardmill config check --host host.properties orders.properties\n\n\
        With --host each FILE is the NAME.properties of a job in the host's task directory. A setting of its author that\n\
        the operator does not allow is an error, reported with the line of the host's configuration that would allow it.")]
    Check(ConfigFiles),
    /// Print every resolved setting (secrets hidden) and its origin
    #[command(after_help = "Examples:\n  \
        shardmill config show orders.properties --config task.commit.ms=5000\n  \
        shardmill config show --host host.properties orders.properties")]
    Show(ConfigFiles),
}

#[derive(Debug, Args)]
pub(crate) struct ConfigFiles {
    /// Samza properties files; later files win. With --host: each is the NAME.properties of one job
    #[arg(value_name = "FILE", required_unless_present = "host")]
    pub(crate) files: Vec<PathBuf>,
    /// A configuration file of the host; repeatable, later files win
    #[arg(long, value_name = "FILE")]
    pub(crate) host: Vec<PathBuf>,
    /// One setting; wins over all files
    #[arg(long = "config", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Make unknown keys warnings instead of errors
    #[arg(long)]
    pub(crate) lenient: bool,
    /// Print JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}
