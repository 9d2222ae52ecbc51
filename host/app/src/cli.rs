//! The command line, and nothing else: what can be typed and what `--help` says. Commands are in `commands`.

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
    /// Colour the log and the help; `auto`: on a terminal, unless NO_COLOR or TERM=dumb
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// More log: -v debug, -vv trace. RUST_LOG overrides it
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run jobs until they are stopped (Ctrl-C or SIGTERM: finish, commit, release the leases)
    Run(Run),
    /// Put a module into a task directory in one step
    Deploy(Deploy),
    /// List the jobs of the hosts that run a task directory on this machine
    #[command(after_help = "Example:\n  shardmill ls --tasks tasks --json")]
    Ls(Ls),
    /// Show a job and its shards; exit code 1 unless it runs, or is paused or drained: for a readiness probe
    #[command(after_help = "Example:\n  shardmill status orders --tasks tasks")]
    Status(JobArgs),
    /// Let a job finish, commit, release its leases and stay down; the host and its other jobs go on
    #[command(after_help = "Example:\n  shardmill drain orders --tasks tasks")]
    Drain(JobArgs),
    /// Let the candidate of a rollout take over now
    #[command(after_help = "Example:\n  shardmill promote orders --tasks tasks")]
    Promote(JobArgs),
    /// Take the candidate of a rollout back, or the current version; what is taken back is not tried again by itself
    Rollback(Rollback),
    /// List the versions of a job that are kept
    #[command(after_help = "Example:\n  shardmill versions orders --tasks tasks")]
    Versions(Versions),
    /// Call the task of a job no more until it is resumed; its leases are kept
    #[command(after_help = "Example:\n  shardmill pause orders --tasks tasks")]
    Pause(JobArgs),
    /// Let a job run again that was paused, drained or has failed
    #[command(after_help = "Example:\n  shardmill resume orders --tasks tasks")]
    Resume(JobArgs),
    /// See it work: a local stream, the word-count task, a result. Needs nothing but a Rust toolchain
    #[cfg(feature = "local")]
    Demo(local::Demo),
    /// Start the local backend: Kinesis and DynamoDB on this machine
    #[cfg(feature = "local")]
    Local(local::Local),
    /// Compile a Rust task to WebAssembly and check it
    Build(Build),
    /// Check a module: what it is, what it asks for, and all that keeps it from running
    Check(Check),
    /// Check or show a configuration
    #[command(subcommand)]
    Config(Config),
    /// Measure
    #[cfg(feature = "local")]
    #[command(subcommand)]
    Bench(local::Bench),
}

/// When to colour what is written for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// Whether to colour what goes to a terminal, or to something else.
    pub(crate) fn is_for(self, is_terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => is_terminal && Self::is_wanted_by_environment(),
        }
    }

    /// For the help and the errors of arguments, which `clap` writes. It knows which of its outputs is a terminal, but
    /// colours a dumb one where `CI` is set: the environment is asked here, by the same rule as for the log.
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

/// What a report of a bug has to say.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let (version, wasmtime) = (env!("CARGO_PKG_VERSION"), shardmill_runtime::WASMTIME_VERSION);
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{version}\nwasmtime  {wasmtime}\ntarget    {arch}-{os}\nbuild     {build}")
});

/// Where a configuration comes from.
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
    /// Use the local backend at its default ports (as `shardmill local` starts it), with credentials that it takes
    #[arg(long)]
    pub(crate) local: bool,
}

/// How modules are let in.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ModuleArgs {
    /// Where compiled modules are kept, for this user only. Default: $SHARDMILL_MODULE_CACHE, or
    /// shardmill/modules in $XDG_CACHE_HOME or ~/.cache
    #[arg(long, value_name = "DIR")]
    pub(crate) module_cache: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    shardmill run --config-path orders.properties --tasks tasks\n  \
    shardmill run --config-path host.properties --tasks tasks   (every module in tasks is a job)\n  \
    shardmill run --config-path orders.properties --config task.commit.ms=5000 --local\n  \
    shardmill run --config-path orders.properties --until-caught-up --json\n\n\
    Exit codes: 0 stopped as asked, 1 the job had to stop, 2 wrong usage, 64 bad configuration or module.")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Where `task.class=NAME` finds NAME.wasm. Without task.class every NAME.wasm in it, with a NAME.properties if it
    /// needs one, is a job NAME, also those that come later
    #[arg(long, value_name = "DIR", default_value = "tasks")]
    pub(crate) tasks: PathBuf,
    #[command(flatten)]
    pub(crate) modules: ModuleArgs,
    /// Where it is kept which versions run. Hosts that share it agree on them. Default: .shardmill in the task directory
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Stop when everything that is in the streams now has been processed
    #[arg(long)]
    pub(crate) until_caught_up: bool,
    /// Print a summary as JSON on standard output at the end
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    shardmill deploy target/wasm32-wasip2/release/orders.wasm --tasks tasks\n  \
    shardmill deploy new.wasm --name orders --tasks tasks --wait\n  \
    shardmill deploy new.wasm --name orders --canary --wait\n\n\
    Neither --canary nor --all: task.rollout decides, as for a module that is copied there.\n\n\
    Exit codes: 0 done; with --wait, it has taken over. 1 with --wait: it was rejected or rolled back, or does not run \
    (the reason is told), or not in time. 64 the module cannot run, or there is no such file or directory.")]
pub(crate) struct Deploy {
    /// The module: a WebAssembly component
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The job. Default: the file's name without .wasm
    #[arg(long, value_name = "JOB")]
    pub(crate) name: Option<String>,
    /// The task directory
    #[arg(long, value_name = "DIR", default_value = "tasks")]
    pub(crate) tasks: PathBuf,
    /// Give it some shards first, then more, as task.rollout.waves says; also where task.rollout is not `canary`
    #[arg(long, conflicts_with = "all")]
    pub(crate) canary: bool,
    /// Give it all shards at once; also where task.rollout is `canary`
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) modules: ModuleArgs,
    /// Wait for the outcome: until it has taken over on the hosts of this machine, a canary wave by wave to its end, or
    /// until it is rejected or rolled back. Ctrl-C ends the wait, not the rollout
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait in all, in seconds. Default: until nothing has happened for 120 s; a canary's waves may take
    /// their time
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
    /// The version to go to, by the first digits of its hash as `shardmill versions` shows them. Default: the one before
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Versions {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// The directory that the hosts of the task directory share. Default: .shardmill in the task directory
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

/// A job of the hosts of a task directory.
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

/// Where `shardmill local` listens, and where `--local` looks.
pub(crate) const KINESIS_PORT: u16 = 4567;
pub(crate) const DYNAMODB_PORT: u16 = 8000;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    shardmill build sample-tasks/word-count\n  \
    shardmill build my-task --tasks tasks")]
pub(crate) struct Build {
    /// The directory of the task's Cargo.toml
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
#[command(after_help = "With a configuration the module is started, too: its `init` is called as the job would.\n\n\
    Examples:\n  \
    shardmill check tasks/word-count.wasm\n  \
    shardmill check tasks/orders.wasm --config-path orders.properties --json\n  \
    shardmill check tasks/orders.wasm --host host.properties\n\n\
    Exit codes: 0 it may run, 1 this machine could not tell, 2 wrong usage, 64 it may not run, or a bad configuration.")]
pub(crate) struct Check {
    /// The module
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Check it as a job of the host with this configuration; repeatable, later files win. --config-path then names the
    /// job's own NAME.properties. Default: the one beside the module
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
    /// Report everything that is wrong, with file and line; exit code 64 if something is
    #[command(after_help = "Examples:\n  \
        shardmill config check base.properties orders.properties      (a single job)\n  \
        shardmill config check host.properties                        (a host: neither job.name nor task.class)\n  \
        shardmill config check --host host.properties orders.properties\n\n\
        With --host each FILE is the NAME.properties of a job in the host's task directory: what its author sets beyond\n\
        what the operator allows is an error, with the line of the host's configuration that would allow it.")]
    Check(ConfigFiles),
    /// Print every setting as resolved (secrets hidden) and where it came from
    #[command(after_help = "Examples:\n  \
        shardmill config show orders.properties --config task.commit.ms=5000\n  \
        shardmill config show --host host.properties orders.properties")]
    Show(ConfigFiles),
}

#[derive(Debug, Args)]
pub(crate) struct ConfigFiles {
    /// Samza properties files; later files win. With --host: the NAME.properties of one job each
    #[arg(value_name = "FILE", required_unless_present = "host")]
    pub(crate) files: Vec<PathBuf>,
    /// A file of the configuration that a host is started with; repeatable, later files win
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
