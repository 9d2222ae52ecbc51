//! `shardmill bench neighbours`: measures what a job costs its neighbour in the same host. A well-behaved job drains a
//! stream alone, then beside a misbehaving job, alternating, so that a noisy machine affects both alike. Each run has its
//! own host process, which is polled over its control socket and whose CPU time per thread is read from Linux.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use shardmill::host::JobReport;
use shardmill_aws::Kinesis;
use shardmill_core::config::ClientSettings;

use super::super::jobs::reports;
use super::super::loader::{Put, local_access, put_all, scratch_directory};
use super::super::{BadInput, print, print_json, runtime, say};
use super::threads::{THREAD_NAME_MAX, thread_seconds};
use super::{Backend, CREATE_TIMEOUT, Endpoints, STREAM, hostile_modules, load, this_program};
use crate::cli::local::Neighbours;

/// A kind of misbehaviour: its name, and what causes it.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    means: Means,
}

#[derive(Clone, Copy)]
enum Means {
    /// The record that makes the sample task `hostile` misbehave.
    Order(&'static str),
    /// A module that attacks the host during validation; each rejected one is followed by another.
    Module(fn(u32) -> Vec<u8>),
}

const ORDERS: [(&str, &str); 7] = [
    ("endless loop", "spin"),
    ("memory bomb", "memory-bomb"),
    ("output flood", "count-flood"),
    ("log flood", "log-flood"),
    ("sleeper", "sleep"),
    ("trap in a loop", "trap"),
    ("recursion", "recurse"),
];
const SHARDS: u32 = 4;
const RECORD_BYTES: usize = 100;
/// More records than a job can process during a measurement.
const HOSTILE_RECORDS: u64 = 2_000;
const GOOD: &str = "good";
const HOSTILE: &str = "hostile";
const POLL: Duration = Duration::from_millis(10);
/// The longest time without progress.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn neighbours(args: &Neighbours) -> Result<()> {
    for module in [&args.task, &args.hostile] {
        if !module.is_file() {
            return Err(BadInput(format!("no module {}: `shardmill build` makes one", module.display())).into());
        }
    }
    let is_wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only));
    let orders = ORDERS.map(|(name, order)| Way { name, means: Means::Order(order) });
    let modules = hostile_modules::WAYS.map(|(name, module)| Way { name, means: Means::Module(module) });
    let ways: Vec<Way> = orders.into_iter().chain(modules).filter(|way| is_wanted(way.name)).collect();
    let streams = ways.iter().filter_map(Way::order).map(|order| format!("{}:1", hostile_stream(order)));
    let backend = Backend::start(&streams.chain([format!("{STREAM}:{SHARDS}")]).collect::<Vec<_>>())?;
    runtime()?.block_on(async {
        load(args.records, RECORD_BYTES, &backend.endpoints.kinesis).await?;
        load_hostile(&ways, &backend.endpoints.kinesis).await
    })?;
    let mut bench = Bench { args, endpoints: &backend.endpoints, directory: scratch_directory("bench")?, hosts: 0 };
    let mut compared: Vec<Compared> = Vec::new();
    for way in ways {
        let (name, mut pairs) = (way.name, Vec::new());
        for round in 1..=args.rounds {
            let pair = Pair { alone: bench.measure(None)?, beside: bench.measure(Some(way))? };
            say(&format!("{name}, round {round}: {:.2} of the records/s", pair.ratio().records_per_second));
            pairs.push(pair);
        }
        compared.push(Compared::of(name, &pairs));
    }
    fs::remove_dir_all(&bench.directory).with_context(|| format!("failed to remove {}", bench.directory.display()))?;
    show(args, &compared);
    Ok(())
}

fn hostile_stream(order: &str) -> String {
    format!("hostile-{order}")
}

impl Way {
    fn order(&self) -> Option<&'static str> {
        match self.means {
            Means::Order(order) => Some(order),
            Means::Module(_) => None,
        }
    }
}

async fn load_hostile(ways: &[Way], endpoint: &str) -> Result<()> {
    let kinesis = Kinesis::new(&local_access(endpoint.to_owned()), &ClientSettings::default()).await?;
    for order in ways.iter().filter_map(Way::order) {
        let stream = hostile_stream(order);
        kinesis.wait_active(&stream, CREATE_TIMEOUT).await?;
        let records = (0..HOSTILE_RECORDS).map(|key| Put { key: key.to_string(), data: order.as_bytes().to_vec() });
        put_all(&kinesis, &stream, records, |_| {}).await?;
    }
    Ok(())
}

/// The rate of the well-behaved job, and its cost per record.
#[derive(Clone, Copy, Default)]
struct Figures {
    records_per_second: f64,
    /// CPU time of its task's thread, per record.
    task_us: f64,
    /// CPU time, per record, of all threads of the host but the other task's: readers, leases, and the work that the other
    /// job causes them.
    host_us: f64,
    /// Time per record between two polls of the job: the 99th percentile.
    p99_us: f64,
}

struct Pair {
    alone: Figures,
    beside: Figures,
}

impl Pair {
    fn ratio(&self) -> Figures {
        Figures {
            records_per_second: self.beside.records_per_second / self.alone.records_per_second,
            task_us: self.beside.task_us / self.alone.task_us,
            host_us: self.beside.host_us / self.alone.host_us,
            p99_us: self.beside.p99_us / self.alone.p99_us,
        }
    }
}

struct Bench<'a> {
    args: &'a Neighbours,
    endpoints: &'a Endpoints,
    directory: PathBuf,
    /// Hosts started so far.
    hosts: u32,
}

impl Bench<'_> {
    /// Drains the stream with the well-behaved job, beside a misbehaving one if given.
    fn measure(&mut self, way: Option<Way>) -> Result<Figures> {
        self.hosts += 1;
        let host = Host::start(&self.directory.join(self.hosts.to_string()), &self.directory.join("modules"))?;
        // Wait before the hostile modules: the measurement is about a running job.
        if let Some(order) = way.and_then(|way| way.order()) {
            self.add(&host, HOSTILE, &hostile_stream(order), &read(&self.args.hostile)?)?;
            host.wait(HOSTILE, |job| job.shards.iter().any(|shard| shard.waiting > 0) || job.processed > 0)?;
        }
        self.add(&host, GOOD, STREAM, &read(&self.args.task)?)?;
        let first = host.wait(GOOD, |job| job.processed > 0)?;
        let (began, cpu) = (Instant::now(), host.cpu()?);
        let (last, p99_us) = self.drain(&host, way, (began, first.processed))?;
        let (seconds, used) = (began.elapsed().as_secs_f64(), host.cpu()?);
        let records = last.processed.saturating_sub(first.processed).max(1) as f64;
        let per_record = |before: f64, after: f64| (after - before) * 1e6 / records;
        Ok(Figures {
            records_per_second: records / seconds,
            task_us: per_record(cpu.task, used.task),
            host_us: per_record(cpu.host, used.host),
            p99_us,
        })
    }

    /// Waits until the well-behaved job has finished, while hostile modules arrive one after the other. Also returns the
    /// 99th percentile of the time per record between two polls.
    fn drain(&self, host: &Host, way: Option<Way>, mut before: (Instant, u64)) -> Result<(JobReport, f64)> {
        let (mut times, mut sent) = (Vec::new(), 0);
        loop {
            if let Some(Means::Module(module)) = way.map(|way| way.means)
                && host.look(HOSTILE).is_none_or(|job| sent == 0 || job.checking.is_none())
            {
                sent += 1;
                self.add(host, HOSTILE, STREAM, &module(sent))?;
            }
            let (then, seen) = before;
            let job = host.wait(GOOD, |job| job.processed > seen || job.processed >= self.args.records)?;
            let now = Instant::now();
            times.push((now - then).as_secs_f64() * 1e6 / job.processed.saturating_sub(seen).max(1) as f64);
            if job.processed >= self.args.records {
                times.sort_by(f64::total_cmp);
                return Ok((job, times.get(times.len() * 99 / 100).copied().unwrap_or_default()));
            }
            before = (now, job.processed);
        }
    }

    /// Puts a job into the host's task directory.
    fn add(&self, host: &Host, job: &str, stream: &str, wasm: &[u8]) -> Result<()> {
        let properties = job_configuration(self.endpoints, self.hosts, job, stream, &host.directory);
        let put = |file: String, bytes: &[u8]| {
            let part = host.tasks.join(format!(".{file}"));
            fs::write(&part, bytes)?;
            fs::rename(part, host.tasks.join(file))
        };
        put(format!("{job}.properties"), properties.as_bytes())
            .and_then(|()| put(format!("{job}.wasm"), wasm))
            .with_context(|| format!("failed to put {job} into {}", host.tasks.display()))
    }
}

fn read(module: &Path) -> Result<Vec<u8>> {
    fs::read(module).with_context(|| format!("failed to read {}", module.display()))
}

/// Without pacing, as in `bench drain`. Each run has its own lease table, so that it reads the stream from the beginning.
fn job_configuration(endpoints: &Endpoints, host: u32, job: &str, stream: &str, directory: &Path) -> String {
    let Endpoints { kinesis, dynamodb } = endpoints;
    let input = format!("systems.kinesis-system.streams.{stream}.aws");
    let output = directory.join(format!("{job}.jsonl"));
    format!(
        "task.inputs=kinesis-system.{stream}\n\
         task.config.output=out.messages\n\
         systems.kinesis-system.samza.factory=org.apache.samza.system.kinesis.KinesisSystemFactory\n\
         {input}.region=us-east-1\n\
         {input}.accessKey=local\n\
         sensitive.{input}.secretKey=local\n\
         {input}.kcl.TableName={job}-{host}\n\
         {input}.kcl.InitialPositionInStream=TRIM_HORIZON\n\
         {input}.kcl.IdleTimeBetweenReadsInMillis=1\n\
         {input}.kcl.KinesisEndpoint={kinesis}\n\
         {input}.kcl.DynamoDBEndpoint={dynamodb}\n\
         systems.out.samza.factory=file\n\
         systems.out.file.path={}\n",
        output.display()
    )
}

/// `shardmill run` of a task directory, as a child; killed when dropped, and its files removed.
struct Host {
    process: Child,
    directory: PathBuf,
    tasks: PathBuf,
}

/// Seconds.
struct Cpu {
    task: f64,
    host: f64,
}

impl Host {
    fn start(directory: &Path, cache: &Path) -> Result<Self> {
        let tasks = directory.join("tasks");
        let failed = || format!("failed to write to {}", directory.display());
        fs::create_dir_all(&tasks).with_context(failed)?;
        let log = File::create(directory.join("log")).with_context(failed)?;
        let process = this_program()?
            .arg("run")
            .arg("--tasks")
            .arg(&tasks)
            .arg("--module-cache")
            .arg(cache)
            // The jobs are the benchmark's own.
            .args(["--config", "host.allow.keys=*", "--config"])
            .arg(format!("host.allow.file.path={}", directory.display()))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("failed to start the host")?;
        Ok(Self { process, directory: directory.to_owned(), tasks })
    }

    /// Waits until the host's report of a job satisfies a condition.
    fn wait(&self, name: &str, is: impl Fn(&JobReport) -> bool) -> Result<JobReport> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(job) = self.look(name).filter(&is) {
                return Ok(job);
            }
            std::thread::sleep(POLL);
        }
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let end: Vec<&str> = log.lines().rev().take(20).collect();
        bail!("the job {name} made no progress within {} s:\n{}", PATIENCE.as_secs(), end.join("\n"))
    }

    /// The host's current report of a job; `None` until the host has started.
    fn look(&self, name: &str) -> Option<JobReport> {
        let hosts = reports(&self.tasks).unwrap_or_default();
        hosts.into_iter().flat_map(|host| host.jobs).find(|job| job.name == name)
    }

    fn cpu(&self) -> Result<Cpu> {
        let name = |job: &str| format!("task-{job}").chars().take(THREAD_NAME_MAX).collect::<String>();
        let (good, hostile) = (name(GOOD), name(HOSTILE));
        let threads =
            thread_seconds(self.process.id()).context("the CPU time of threads is not available from /proc")?;
        let sum = |is: &dyn Fn(&str) -> bool| threads.iter().filter(|(name, _)| is(name)).map(|(_, cpu)| cpu).sum();
        Ok(Cpu { task: sum(&|name| name == good), host: sum(&|name| name != hostile) })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The host has no state worth keeping, and its files may be large.
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// A kind of misbehaviour and its effect on the neighbour, as medians.
struct Compared {
    way: &'static str,
    alone: Figures,
    beside: Figures,
    /// The median of the ratios of each pair, whose two runs were measured one after the other.
    ratio: Figures,
}

impl Compared {
    fn of(way: &'static str, pairs: &[Pair]) -> Self {
        let of = |figures: fn(&Pair) -> Figures| median(&pairs.iter().map(figures).collect::<Vec<_>>());
        Self { way, alone: of(|pair| pair.alone), beside: of(|pair| pair.beside), ratio: of(Pair::ratio) }
    }
}

fn median(all: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| {
        let mut figures: Vec<f64> = all.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or_default()
    };
    Figures {
        records_per_second: of(|it| it.records_per_second),
        task_us: of(|it| it.task_us),
        host_us: of(|it| it.host_us),
        p99_us: of(|it| it.p99_us),
    }
}

fn show(args: &Neighbours, compared: &[Compared]) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if args.json {
        let figures = |it: &Figures| json!({ "records_per_second": it.records_per_second, "task_cpu_us": it.task_us, "host_cpu_us": it.host_us, "p99_us": it.p99_us });
        let ways: Vec<_> = compared
            .iter()
            .map(|it| {
                json!({ "way": it.way, "alone": figures(&it.alone), "beside": figures(&it.beside),
                "ratio": figures(&it.ratio) })
            })
            .collect();
        let (records, rounds) = (args.records, args.rounds);
        return print_json(&json!({ "records": records, "rounds": rounds, "cores": cores, "ways": ways }).to_string());
    }
    let mut text = format!(
        "{cores} cores, {} records, median of {} rounds\n\
         BESIDE           RECORDS/S   WAS ALONE   RATIO   TASK CPU µs/RECORD   RATIO   HOST CPU µs/RECORD   RATIO   P99 µs/RECORD   RATIO\n",
        args.records, args.rounds
    );
    for Compared { way, alone, beside, ratio } in compared {
        text += &format!(
            "{way:<15} {:>10.0}  {:>10.0}   {:>5.2} {:>20.3}   {:>5.2} {:>20.3}   {:>5.2} {:>15.3}   {:>5.2}\n",
            beside.records_per_second,
            alone.records_per_second,
            ratio.records_per_second,
            beside.task_us,
            ratio.task_us,
            beside.host_us,
            ratio.host_us,
            beside.p99_us,
            ratio.p99_us,
        );
    }
    print(text.trim_end());
}
