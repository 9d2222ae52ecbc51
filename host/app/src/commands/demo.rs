//! `shardmill demo`: the whole path on this machine, from a text to counted words, without any setup.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;
use shardmill::admit::{Admission, Admitted};
use shardmill::clock::Clock;
use shardmill::job::RunningJob;
use shardmill_aws::{Kinesis, LeaseTable};
use shardmill_core::config::{ClientSettings, Job, Source};
use shardmill_core::leases::Lease;
use shardmill_local::{LocalBackend, Options};

use super::loader::{Put, local_access, put_all, scratch_directory};
use super::modules::{admission, name_of, read};
use super::{BadInput, build, load, print, print_json, runtime, say};
use crate::cli::ModuleArgs;
use crate::cli::local::Demo;

const STREAM: &str = "lines";
const SHARDS: u32 = 4;
const BUNDLED_TEXT: &str = include_str!("../../demo/text.txt");
/// The size limit of a record, unless a stream is configured otherwise.
const LINE_MAX: usize = 1 << 20;
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// The demo fails if the job has not caught up within this time.
const PATIENCE: Duration = Duration::from_secs(600);
const TOP_WORDS: usize = 10;

pub(crate) fn demo(args: &Demo) -> Result<()> {
    let lines = read_lines(args.input.as_deref())?;
    say("1/4 building the sample task (sample-tasks/word-count)");
    let repository =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the repository has been moved")?;
    let source = repository.join("sample-tasks/word-count");
    let wasm = build::compile(&source)?;
    let runtime = runtime()?;
    let admission = admission(&ModuleArgs::default(), None)?;
    let module = runtime.block_on(load_module(&admission, &wasm))?.module;

    say("2/4 starting Kinesis and DynamoDB on this machine");
    let backend = LocalBackend::start(Options { limits: false, ..Options::default() })?;
    let directory = scratch_directory("demo")?;
    let output = directory.join("word-counts.jsonl");
    let properties = properties(&backend, &output);
    let sources = [Source::File { name: "demo.properties".to_owned(), text: properties }];
    let job = load(&sources, &BTreeMap::new(), false)?.job;

    let result = runtime.block_on(run(&job, module, &backend, lines))?;
    let counts = read_counts(&output)?;
    std::fs::remove_dir_all(&directory).with_context(|| format!("failed to remove {}", directory.display()))?;
    show(args, &result, &counts);
    backend.shutdown();
    Ok(())
}

/// Reads a module from a file and has it admitted.
async fn load_module(admission: &Admission, path: &Path) -> Result<Admitted> {
    match admission.admit(&name_of(path), read(path)?).await {
        Ok(admitted) => Ok(admitted),
        Err(rejected) if rejected.is_final() => Err(BadInput(format!("{}: {rejected}", path.display())).into()),
        Err(failed) => Err(failed.into()),
    }
}

/// The result of the run, besides the output file.
struct Outcome {
    lines: u64,
    took: Duration,
    leases: Vec<Lease>,
}

async fn run(job: &Job, module: shardmill_runtime::Module, backend: &LocalBackend, lines: Vec<Put>) -> Result<Outcome> {
    say(&format!("3/4 putting {} lines into the stream `{STREAM}` of {SHARDS} shards", lines.len()));
    let kinesis = Kinesis::new(&local_access(backend.kinesis_endpoint()), &ClientSettings::default()).await?;
    kinesis.create_stream(STREAM, SHARDS).await?;
    kinesis.wait_active(STREAM, PATIENCE).await?;
    let lines = put_all(&kinesis, STREAM, lines, |_| {}).await?;

    say(&format!("4/4 running the job: {}", module.version()));
    let started = Instant::now();
    let mut running = RunningJob::start(job, module, Clock::start()).await?;
    while running.status().snapshot().processed < lines && started.elapsed() < PATIENCE {
        // Cancel-safe: a join by reference and a timer lose nothing when dropped.
        tokio::select! {
            ended = running.wait() => ended?,
            () = tokio::time::sleep(PROGRESS_EVERY) => show_progress(running.status().snapshot().processed, lines),
        }
    }
    running.stop();
    running.wait().await?;
    let took = started.elapsed();
    let table = LeaseTable::new(
        &local_access(backend.dynamodb_endpoint()),
        &ClientSettings::default(),
        job.inputs[0].progress_table(),
    )
    .await?;
    let mut leases = table.scan().await?.leases;
    leases.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Outcome { lines, took, leases })
}

fn show_progress(processed: u64, lines: u64) {
    if std::io::stderr().is_terminal() {
        say(&format!("    {processed} of {lines} lines processed"));
    }
}

/// The job's configuration, as a user would write it.
fn properties(backend: &LocalBackend, output: &Path) -> String {
    format!(
        "job.name=demo\n\
         task.class=word-count\n\
         task.inputs=kinesis-system.{STREAM}\n\
         task.config.output=counts.words\n\
         systems.kinesis-system.samza.factory=org.apache.samza.system.kinesis.KinesisSystemFactory\n\
         systems.kinesis-system.streams.{STREAM}.aws.region=us-east-1\n\
         systems.kinesis-system.streams.{STREAM}.aws.accessKey=local\n\
         sensitive.systems.kinesis-system.streams.{STREAM}.aws.secretKey=local\n\
         systems.kinesis-system.streams.{STREAM}.aws.kcl.InitialPositionInStream=TRIM_HORIZON\n\
         systems.kinesis-system.streams.{STREAM}.aws.kcl.KinesisEndpoint={}\n\
         systems.kinesis-system.streams.{STREAM}.aws.kcl.DynamoDBEndpoint={}\n\
         systems.counts.samza.factory=file\n\
         systems.counts.file.path={}\n",
        backend.kinesis_endpoint(),
        backend.dynamodb_endpoint(),
        output.display().to_string().replace('\\', "\\\\"),
    )
}

/// The non-empty lines of the input, each with its number as key.
fn read_lines(input: Option<&Path>) -> Result<Vec<Put>> {
    let text = match input {
        None => BUNDLED_TEXT.as_bytes().to_vec(),
        Some(path) if path == Path::new("-") => {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).context("failed to read standard input")?;
            text
        }
        Some(path) => std::fs::read(path)
            .map_err(|error| BadInput(format!("cannot read the input {}: {error}", path.display())))?,
    };
    let mut lines = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        let number = index + 1;
        if line.len() > LINE_MAX {
            return Err(BadInput(format!("line {number} of the input is longer than a Kinesis record (1 MiB)")).into());
        }
        if std::str::from_utf8(line).is_err() {
            return Err(
                BadInput(format!("line {number} of the input is not UTF-8, and word-count requires text")).into()
            );
        }
        if !line.is_empty() {
            lines.push(Put { key: number.to_string(), data: line.to_vec() });
        }
    }
    if lines.is_empty() {
        return Err(BadInput("the input has no words".to_owned()).into());
    }
    Ok(lines)
}

/// A line of the output file, with its message.
#[derive(Deserialize)]
struct Line {
    message: String,
}

#[derive(Deserialize)]
struct Count {
    word: String,
    count: u64,
}

fn read_counts(path: &Path) -> Result<Vec<(String, u64)>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let mut totals = BTreeMap::<String, u64>::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).context("failed to read a line of the output")?;
        let Count { word, count } = serde_json::from_str(&line.message).context("failed to read a count")?;
        *totals.entry(word).or_default() += count;
    }
    let mut totals: Vec<(String, u64)> = totals.into_iter().collect();
    totals.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(totals)
}

fn show(args: &Demo, result: &Outcome, counts: &[(String, u64)]) {
    if args.json {
        let leases = result.leases.iter().map(|lease| (lease.key.clone(), json!(lease.checkpoint.to_string())));
        let top = counts.iter().take(TOP_WORDS).map(|(word, count)| json!({ "word": word, "count": count }));
        return print_json(
            &json!({
                "lines": result.lines,
                "words": counts.iter().map(|(_, count)| count).sum::<u64>(),
                "distinct_words": counts.len(),
                "top": top.collect::<Vec<_>>(),
                "checkpoints": leases.collect::<serde_json::Map<_, _>>(),
                "job_ms": result.took.as_millis() as u64,
            })
            .to_string(),
        );
    }
    print(&table(result, counts));
    say(NEXT);
}

fn table(result: &Outcome, counts: &[(String, u64)]) -> String {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let took = result.took.as_secs_f64();
    let mut text = format!("\n{} lines, {total} words, {} different, in {took:.2} s\n\n", result.lines, counts.len());
    text += "  count  word\n";
    for (word, count) in counts.iter().take(TOP_WORDS) {
        text += &format!("{count:>7}  {word}\n");
    }
    text += "\nCommitted checkpoints in the lease table (a restart resumes after these):\n\n";
    text += "  shard                 checkpoint\n";
    for lease in &result.leases {
        text += &format!("  {:<20}  {}\n", lease.key, lease.checkpoint);
    }
    text
}

const NEXT: &str = "
Next steps:
  shardmill demo --input FILE          count the words of your own text (`-` reads standard input)
  shardmill local --stream orders:4    run Kinesis and DynamoDB locally for development
  shardmill build PATH --tasks tasks   compile and check a task of your own
  shardmill run --config-path FILE     run it; --local uses the local backend
The README shows how to write your own task in ten minutes.";
