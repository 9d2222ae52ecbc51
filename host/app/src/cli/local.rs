//! The commands that need the local backend: `demo`, `local` and `bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DYNAMODB_PORT, KINESIS_PORT};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    shardmill demo\n  \
    shardmill demo --input mybook.txt\n  \
    cat *.log | shardmill demo --input -")]
pub(crate) struct Demo {
    /// The text whose words to count, one record per line; `-` reads standard input. Default: a bundled text
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    shardmill local --stream orders:4\n  \
    shardmill local --kinesis-port 0 --dynamodb-port 0 --stream orders:4 --json")]
pub(crate) struct Local {
    /// Port of Kinesis; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = KINESIS_PORT)]
    pub(crate) kinesis_port: u16,
    /// Port of DynamoDB; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = DYNAMODB_PORT)]
    pub(crate) dynamodb_port: u16,
    /// A stream to create, with its number of shards; repeatable
    #[arg(long = "stream", value_name = "NAME:SHARDS")]
    pub(crate) streams: Vec<String>,
    /// Keep streams and tables in this directory between starts
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Do not enforce AWS' limits on reads and writes
    #[arg(long)]
    pub(crate) no_limits: bool,
    /// Print the endpoints as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Load a local stream, drain it with a task, and print rates and the consumer's CPU time and memory
    #[command(after_help = "Examples:\n  \
        shardmill bench drain --records 1000000 --size 100 --shards 4 --task tasks/filter-batch.wasm\n  \
        shardmill bench drain --task tasks/word-count.wasm --json")]
    Drain(Drain),
    /// Swap a task's module repeatedly under full load, print how long its shards waited, and check that each record was
    /// output once and in order
    #[command(after_help = "Example:\n  \
        shardmill build sample-tasks/echo --tasks tasks && shardmill bench swap --task tasks/echo.wasm")]
    Swap(Swap),
    /// Run a well-behaved job alone, then beside a misbehaving one, and print what each kind of misbehaviour costs it
    #[command(after_help = "Example:\n  \
        shardmill build sample-tasks/filter-batch --tasks tasks && shardmill build sample-tasks/hostile --tasks tasks\n  \
        shardmill bench neighbours --task tasks/filter-batch.wasm --hostile tasks/hostile.wasm\n\n\
        A neighbour may use a core, as any job may. On a machine with fewer free cores than busy jobs, records/s reflect\n\
        that; CPU time per record shows what a neighbour costs a job beyond taking its share.")]
    Neighbours(Neighbours),
}

#[derive(Debug, Args)]
pub(crate) struct Neighbours {
    /// The module of the well-behaved job
    #[arg(long, value_name = "FILE")]
    pub(crate) task: PathBuf,
    /// The module of the misbehaving job: the sample task `hostile`, which does what the first word of a record says
    #[arg(long, value_name = "FILE")]
    pub(crate) hostile: PathBuf,
    /// Records that the well-behaved job processes each time
    #[arg(long, default_value_t = 500_000)]
    pub(crate) records: u64,
    /// Measurements of each pair (alone, beside); the median is reported
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Run only the kinds of misbehaviour with this text in their names
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// Print JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Records to load before the consumer starts
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) records: u64,
    /// Bytes per record
    #[arg(long, default_value_t = 100)]
    pub(crate) size: usize,
    /// Shards of the stream
    #[arg(long, default_value_t = 4)]
    pub(crate) shards: u32,
    /// The module that drains it
    #[arg(long, value_name = "FILE")]
    pub(crate) task: PathBuf,
    /// Decode with JSON instead of CBOR
    #[arg(long)]
    pub(crate) wire_json: bool,
    /// Print JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Swap {
    /// The module, which must send `shard sequence message` for each message; its versions are copies of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) task: PathBuf,
    /// Number of swaps
    #[arg(long, default_value_t = 1_000)]
    pub(crate) swaps: u64,
    /// Shards of the stream
    #[arg(long, default_value_t = 4)]
    pub(crate) shards: u32,
    /// Print JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}
