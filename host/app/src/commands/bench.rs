//! `shardmill bench drain`: measures the cost of draining a stream through a task. The backend and the consumer are
//! separate processes, so that the figures cover the consumer alone.

mod hostile_modules;
mod neighbours;
mod swap;
mod threads;

use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;
use shardmill_aws::Kinesis;
use shardmill_core::config::ClientSettings;

use super::loader::{Put, local_access, put_all, scratch_directory};
use super::run::Summary;
use super::{BadInput, print, print_json, runtime, say};
use crate::cli::local::Drain;

pub(crate) use neighbours::neighbours;
pub(crate) use swap::swap;

const STREAM: &str = "bench";
/// One record in ten contains the word that `filter-batch` looks for.
const MATCH_EVERY: u64 = 10;
const SHOW_EVERY: u64 = 100_000;
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn drain(args: &Drain) -> Result<()> {
    if !args.task.is_file() {
        return Err(BadInput(format!("no module {}: `shardmill build` makes one", args.task.display())).into());
    }
    let backend = Backend::start(&[format!("{STREAM}:{}", args.shards)])?;
    say(&format!("loading {} records of {} bytes into {} shards", args.records, args.size, args.shards));
    runtime()?.block_on(load(args.records, args.size, &backend.endpoints.kinesis))?;
    say(&format!("draining with {}", args.task.display()));
    let summary = consume(args, &backend.endpoints)?;
    if summary.envelopes < args.records {
        bail!("the consumer processed {} of {} records", summary.envelopes, args.records);
    }
    show(args, &summary);
    Ok(())
}

/// `shardmill local` as a child; killed when dropped.
struct Backend {
    process: Child,
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    kinesis: String,
    dynamodb: String,
}

impl Backend {
    /// Starts it with these streams, in the syntax of `shardmill local`.
    fn start(streams: &[String]) -> Result<Self> {
        let mut process = this_program()?
            .args(["local", "--kinesis-port", "0", "--dynamodb-port", "0", "--no-limits", "--json"])
            .args(streams.iter().flat_map(|stream| ["--stream", stream]))
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the local backend")?;
        let stdout = process.stdout.take().context("the backend has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("failed to read the backend's endpoints")?;
        let endpoints = serde_json::from_str(&line).context("the local backend did not start")?;
        Ok(Self { process, endpoints })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // The backend has no state worth keeping, and may have exited already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn this_program() -> Result<Command> {
    Ok(Command::new(std::env::current_exe().context("failed to find this program's file")?))
}

async fn load(records: u64, size: usize, endpoint: &str) -> Result<()> {
    let kinesis = Kinesis::new(&local_access(endpoint.to_owned()), &ClientSettings::default()).await?;
    kinesis.wait_active(STREAM, CREATE_TIMEOUT).await?;
    let records = (0..records).map(|number| Put { key: number.to_string(), data: record(number, size) });
    let on_terminal = std::io::stderr().is_terminal();
    let mut shown = 0;
    put_all(&kinesis, STREAM, records, |so_far| {
        if on_terminal && so_far >= shown + SHOW_EVERY {
            shown = so_far;
            say(&format!("    {so_far} loaded"));
        }
    })
    .await?;
    Ok(())
}

/// A log line, truncated or padded to `size` bytes.
fn record(number: u64, size: usize) -> Vec<u8> {
    let level = if number.is_multiple_of(MATCH_EVERY) { "error" } else { "info" };
    let mut line = format!("level={level} request={number} ").into_bytes();
    let filler = b"the quick brown fox jumps over the lazy dog ".iter().cycle();
    line.extend(filler.take(size.saturating_sub(line.len())));
    line.truncate(size);
    line
}

fn consume(args: &Drain, endpoints: &Endpoints) -> Result<Summary> {
    let directory = scratch_directory("bench")?;
    let tasks = args.task.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = args.task.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let properties = directory.join("bench.properties");
    let wire = if args.wire_json { "json" } else { "cbor" };
    std::fs::write(&properties, consumer_configuration(endpoints, &name, wire, &directory.join("out.jsonl")))
        .with_context(|| format!("failed to write {}", properties.display()))?;
    let output = this_program()?
        .args(["run", "--until-caught-up", "--json", "--config-path"])
        .arg(&properties)
        .arg("--tasks")
        .arg(tasks)
        // A fresh state directory: earlier deployments must not affect the measurement.
        .arg("--state")
        .arg(directory.join("state"))
        .env("RUST_LOG", "warn")
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start the consumer")?;
    std::fs::remove_dir_all(&directory).with_context(|| format!("failed to remove {}", directory.display()))?;
    if !output.status.success() {
        bail!("the consumer failed ({})", output.status);
    }
    serde_json::from_slice(&output.stdout).context("failed to read the consumer's summary")
}

/// Without pacing: the benchmark measures the cost per record, not the service's limit of five calls per second.
fn consumer_configuration(endpoints: &Endpoints, task: &str, wire: &str, output: &Path) -> String {
    let Endpoints { kinesis, dynamodb } = endpoints;
    let input = format!("systems.kinesis-system.streams.{STREAM}.aws");
    format!(
        "job.name=bench\n\
         task.class={task}\n\
         task.inputs=kinesis-system.{STREAM}\n\
         task.config.output=out.messages\n\
         systems.kinesis-system.samza.factory=org.apache.samza.system.kinesis.KinesisSystemFactory\n\
         systems.kinesis-system.aws.wire.protocol={wire}\n\
         {input}.region=us-east-1\n\
         {input}.accessKey=local\n\
         sensitive.{input}.secretKey=local\n\
         {input}.kcl.InitialPositionInStream=TRIM_HORIZON\n\
         {input}.kcl.IdleTimeBetweenReadsInMillis=1\n\
         {input}.kcl.KinesisEndpoint={kinesis}\n\
         {input}.kcl.DynamoDBEndpoint={dynamodb}\n\
         systems.out.samza.factory=file\n\
         systems.out.file.path={}\n",
        output.display()
    )
}

fn show(args: &Drain, summary: &Summary) {
    let seconds = summary.since_first_record_ms.unwrap_or(0).max(1) as f64 / 1000.0;
    let per_second = args.records as f64 / seconds;
    let mb_per_second = per_second * args.size as f64 / 1e6;
    let cpu_per_million = summary.cpu_seconds * 1e6 / args.records.max(1) as f64;
    let first = summary.first_record_ms.unwrap_or(0);
    if args.json {
        return print_json(
            &json!({
                "records": args.records, "size": args.size, "shards": args.shards,
                "records_per_second": per_second.round(), "mb_per_second": mb_per_second,
                "cpu_seconds_per_million": cpu_per_million, "peak_rss_mb": summary.peak_rss_mb,
                "first_record_ms": first, "messages_sent": summary.messages_sent,
            })
            .to_string(),
        );
    }
    print(&format!(
        "records/s                     {per_second:>12.0}\n\
         MB/s                          {mb_per_second:>12.1}\n\
         CPU-s per million records     {cpu_per_million:>12.2}\n\
         peak RSS, MB                  {:>12}\n\
         process start -> first record {first:>9} ms\n\
         messages sent                 {:>12}",
        summary.peak_rss_mb, summary.messages_sent
    ));
}
