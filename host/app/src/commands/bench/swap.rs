//! `shardmill bench swap`: measures how long a shard's records wait during a swap under full load, and checks that each
//! record was output exactly once and in order.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use shardmill::clock::Clock;
use shardmill::job::RunningJob;
use shardmill::tasks::Tasks;
use shardmill_aws::Kinesis;
use shardmill_core::config::{self, ClientSettings, Job, Source};
use shardmill_core::position::compare_sequence;
use shardmill_runtime::{Engine, Module};

use super::super::loader::{Put, local_access, put_all, scratch_directory};
use super::super::{BadInput, print, print_json, runtime, say};
use super::{Backend, CREATE_TIMEOUT, Endpoints, STREAM, consumer_configuration};
use crate::cli::local::Swap;

/// The number of versions that alternate.
const VERSIONS: usize = 3;
const KEYS: u64 = 64;
/// The producer's maximum lead over the task, in records: the task always has work.
const AHEAD_MAX: u64 = 20_000;
const PUT_RECORDS: u64 = 1_000;
/// Records between two swaps.
const RECORDS_PER_SWAP: u64 = 500;
/// Swaps in a row, followed by as many records without any, so that a noisy machine affects both alike.
const SWAPS_PER_BLOCK: u64 = 50;
const POLL: Duration = Duration::from_millis(1);
/// The longest time without progress.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn swap(args: &Swap) -> Result<()> {
    let wasm = std::fs::read(&args.task)
        .map_err(|error| BadInput(format!("cannot read module {}: {error}", args.task.display())))?;
    let backend = Backend::start(&[format!("{STREAM}:{}", args.shards)])?;
    let directory = scratch_directory("bench")?;
    let output = directory.join("out.jsonl");
    say(&format!("{} swaps among {VERSIONS} versions of {}", args.swaps, args.task.display()));
    let job = configuration(&backend.endpoints, &output)?;
    let versions = versions(&wasm)?;
    let figures = runtime()?.block_on(run(args, &job, &versions, &backend.endpoints))?;
    audit(&output, figures.records)?;
    std::fs::remove_dir_all(&directory).with_context(|| format!("failed to remove {}", directory.display()))?;
    show(args, &figures);
    Ok(())
}

struct Figures {
    records: u64,
    /// Records and seconds with swaps.
    with: Rate,
    without: Rate,
    /// Sorted.
    pauses: Vec<Duration>,
}

#[derive(Default)]
struct Rate {
    records: u64,
    seconds: f64,
}

impl Rate {
    fn add(&mut self, records: u64, since: Instant) {
        self.records += records;
        self.seconds += since.elapsed().as_secs_f64();
    }

    fn per_second(&self) -> f64 {
        self.records as f64 / self.seconds
    }
}

fn configuration(endpoints: &Endpoints, output: &Path) -> Result<Job> {
    let text = consumer_configuration(endpoints, "echo", "cbor", output) + "task.commit.ms=1000\n";
    let loaded = config::load(&[Source::File { name: "bench".to_owned(), text }], &BTreeMap::new(), false);
    Ok(loaded.map_err(|errors| BadInput(config::render_problems(&errors)))?.job)
}

/// The same component with different identities: a custom section without meaning distinguishes them.
fn versions(wasm: &[u8]) -> Result<Vec<Module>> {
    let engine = Engine::new()?;
    let version = |number: usize| {
        let section = [0, 3, 1, b'v', b'0' + u8::try_from(number).unwrap_or_default()];
        engine.load(&format!("v{number}"), &[wasm, &section].concat())
    };
    Ok((0..VERSIONS).map(version).collect::<Result<_, _>>().map_err(|error| BadInput(error.to_string()))?)
}

async fn run(args: &Swap, job: &Job, versions: &[Module], endpoints: &Endpoints) -> Result<Figures> {
    let kinesis = Kinesis::new(&local_access(endpoints.kinesis.clone()), &ClientSettings::default()).await?;
    kinesis.wait_active(STREAM, CREATE_TIMEOUT).await?;
    let mut running = RunningJob::start(job, versions[0].clone(), Clock::start()).await?;
    let load = Arc::new(Load::default());
    let mut producer = Tasks::default();
    producer.spawn("the producer", produce(kinesis, Arc::clone(&load)));
    let (mut with, mut without) = (Rate::default(), Rate::default());
    for block in (0..args.swaps).step_by(usize::try_from(SWAPS_PER_BLOCK)?) {
        let (begun, since) = (running.status().processed(), Instant::now());
        for swap in block + 1..=args.swaps.min(block + SWAPS_PER_BLOCK) {
            load.processed(&running, RECORDS_PER_SWAP).await?;
            running.deploy(versions[usize::try_from(swap)? % VERSIONS].clone()).await?;
            carried_out(&running, swap).await?;
        }
        let (now, records) = (Instant::now(), running.status().processed() - begun);
        with.add(records, since);
        load.processed(&running, records).await?;
        without.add(running.status().processed() - begun - records, now);
    }
    load.stop.store(true, Ordering::Relaxed);
    if let Some((_, produced)) = producer.join_next().await {
        produced??;
    }
    let records = load.produced.load(Ordering::Relaxed);
    load.processed(&running, u64::MAX).await?;
    let mut pauses: Vec<Duration> = running.status().snapshot().swaps.pauses.into();
    running.stop();
    running.wait().await?;
    ensure!(!pauses.is_empty(), "no swap was carried out");
    pauses.sort();
    Ok(Figures { records, with, without, pauses })
}

/// Waits until so many swaps have been carried out: another deployment before that would merge with a pending one.
async fn carried_out(running: &RunningJob, swaps: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while running.status().snapshot().swaps.count < swaps {
        ensure!(Instant::now() < deadline, "swap {swaps} was not carried out in {} s", PATIENCE.as_secs());
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// The progress of the producer and the task.
#[derive(Default)]
struct Load {
    produced: AtomicU64,
    consumed: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    /// Waits until so many more records, or all of them, have been processed.
    async fn processed(&self, running: &RunningJob, more: u64) -> Result<()> {
        let goal = self.consumed.load(Ordering::Relaxed).saturating_add(more);
        let mut last = (0, Instant::now());
        loop {
            let now = running.status().processed();
            self.consumed.store(now, Ordering::Relaxed);
            let all = self.stop.load(Ordering::Relaxed) && now >= self.produced.load(Ordering::Relaxed);
            if now >= goal || all {
                return Ok(());
            }
            if now > last.0 {
                last = (now, Instant::now());
            }
            if last.1.elapsed() > PATIENCE {
                bail!("nothing was processed for {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Puts records with increasing numbers for each key, as fast as the task processes them.
async fn produce(kinesis: Kinesis, load: Arc<Load>) -> Result<()> {
    while !load.stop.load(Ordering::Relaxed) {
        let produced = load.produced.load(Ordering::Relaxed);
        if produced >= load.consumed.load(Ordering::Relaxed) + AHEAD_MAX {
            tokio::time::sleep(POLL).await;
            continue;
        }
        let record = |index: u64| {
            let key = format!("key-{}", index % KEYS);
            let data = format!("{key} {}", index / KEYS).into_bytes();
            Put { key, data }
        };
        put_all(&kinesis, STREAM, (produced..produced + PUT_RECORDS).map(record), |_| {}).await?;
        load.produced.fetch_add(PUT_RECORDS, Ordering::Relaxed);
    }
    Ok(())
}

#[derive(Deserialize)]
struct Line {
    message: String,
}

/// Reads the output: `shard sequence key number`.
fn audit(output: &Path, records: u64) -> Result<()> {
    let file = std::fs::File::open(output).with_context(|| format!("failed to read {}", output.display()))?;
    let (mut sequences, mut numbers) = (HashMap::<String, String>::new(), HashMap::<String, u64>::new());
    let mut seen = 0;
    for line in BufReader::new(file).lines() {
        let Line { message } = serde_json::from_str(&line?).context("a line of the output is not JSON")?;
        let words: Vec<&str> = message.split(' ').collect();
        let [shard, sequence, key, number] = words[..] else {
            bail!("the task must send `shard sequence message`, as sample-tasks/echo does, not `{message}`");
        };
        let before = sequences.insert(shard.to_owned(), sequence.to_owned());
        ensure!(before.is_none_or(|before| compare_sequence(&before, sequence).is_lt()), "{message}: out of order");
        let next = numbers.entry(key.to_owned()).or_default();
        ensure!(number.parse() == Ok(*next), "{message}: expected number {next}; a record is lost or repeated");
        *next += 1;
        seen += 1;
    }
    ensure!(seen == records, "{seen} messages of {records} records");
    Ok(())
}

fn show(args: &Swap, figures: &Figures) {
    let Figures { records, with, without, pauses } = figures;
    let millis = |pause: &Duration| pause.as_secs_f64() * 1000.0;
    let quantile = |percent: usize| millis(&pauses[(pauses.len() - 1) * percent / 100]);
    let (p50, p99, max) = (quantile(50), quantile(99), quantile(100));
    let (with, without) = (with.per_second(), without.per_second());
    let ratio = with / without;
    if args.json {
        return print_json(
            &json!({
                "swaps": pauses.len(), "shards": args.shards, "records": records,
                "records_per_second": { "with_swaps": with.round(), "without": without.round(), "ratio": ratio },
                "pause_ms": { "p50": p50, "p99": p99, "max": max }, "lost": 0, "repeated": 0,
            })
            .to_string(),
        );
    }
    print(&format!(
        "swaps                         {:>12}\n\
         pause p50, ms                 {p50:>12.2}\n\
         pause p99, ms                 {p99:>12.2}\n\
         pause max, ms                 {max:>12.2}\n\
         records, each once, in order  {records:>12}\n\
         records/s with swaps          {with:>12.0}\n\
         records/s without             {without:>12.0}\n\
         ratio                         {ratio:>12.2}",
        pauses.len()
    ));
}
