//! The start of a job's parts: what connects, registers and spawns before the supervisor takes over. Decides nothing.

use std::sync::Arc;

use anyhow::{Context, Result};
use shardmill_aws::{Kinesis, LeaseTable};
use shardmill_core::config::{Input, Job};
use shardmill_core::rollout::FIRST_INSTANCE;
use shardmill_core::run_loop::{Action, Event, RunLoop};
use shardmill_runtime::{Instance, Interrupter, Module, TaskSpec};
use tokio::sync::mpsc;
use tracing::{Instrument, Span, info};
use uuid::Uuid;

use super::TaskFailed;
use super::supervisor::InputState;
use crate::clock::Clock;
use crate::fanout_reader::FanOut;
use crate::lease_worker::{LeaseWorker, Told};
use crate::outputs::{OutputSystems, Records};
use crate::own_files::check_grants;
use crate::settings;
use crate::status::Status;
use crate::task_thread::{Control, Inbox, Ready, TaskThread, instantiate};

/// Batches of all shards together that may wait for the task thread; each shard has its own bound in bytes and
/// records besides.
const BATCHES_WAITING_MAX: usize = 64;

/// Connects an input, and starts its lease worker, which speaks to `told`. `run` is another one at each start.
pub(super) async fn input(index: usize, input: &Input, run: Uuid, clock: Clock, told: &Told) -> Result<InputState> {
    let name = || format!("failed to connect input {}.{}", input.system, input.stream);
    let kinesis = Kinesis::new(&settings::kinesis_client(input)).await.with_context(name)?;
    let table = LeaseTable::new(&settings::dynamodb_client(input), &input.table_name).await.with_context(name)?;
    let table = table.with_consistent_reads(input.consistent_reads).of_stream(input.stream_identifier.clone());
    let fan_out = fan_out(input);
    let settings = settings::leases(input, run);
    info!(stream = input.stream, table = input.table_name, worker = settings.worker, "starting the lease worker");
    let worker = LeaseWorker {
        settings,
        table,
        new_table: settings::new_table(input),
        kinesis: kinesis.clone(),
        stream: input.stream_id().to_owned(),
        clock,
        input: index,
    };
    let (commands, received) = mpsc::unbounded_channel();
    tokio::spawn(worker.run(received, told.clone()).in_current_span());
    Ok(InputState { config: input.clone(), kinesis, fan_out, commands, stopped: false })
}

/// Begins to register the input's consumer, if it has one; its readers wait for that.
fn fan_out(input: &Input) -> Option<Arc<FanOut>> {
    let consumer = settings::consumer(input)?;
    let fan_out = Arc::new(FanOut::new(
        settings::kinesis_client(input),
        input.stream_id().to_owned(),
        consumer,
        settings::seed(),
    ));
    let registering = Arc::clone(&fan_out);
    // A failure is told by the readers.
    tokio::spawn(async move { drop(registering.arn().await) }.in_current_span());
    Some(fan_out)
}

/// A task thread as the supervisor sees it.
pub(super) struct Task {
    pub(super) control: mpsc::UnboundedSender<Control>,
    pub(super) data: mpsc::Sender<Event>,
    pub(super) requests: mpsc::UnboundedReceiver<Action>,
    /// Of its first instance.
    pub(super) interrupter: Interrupter,
}

/// Builds the first task instance and starts the task thread.
pub(super) async fn task(
    job: &Job,
    module: Module,
    spec: &TaskSpec,
    clock: Clock,
    status: &Arc<Status>,
    records: Records,
) -> Result<Task> {
    grants(job.clone()).await?;
    let instance = first_instance(module.clone(), spec.clone()).await?;
    let interrupter = Interrupter::default();
    let ready = Box::new(Ready { module, instance, interrupter: interrupter.clone() });
    let (requests, requested) = mpsc::unbounded_channel();
    let run_loop = RunLoop::new(clock.now(), settings::run_loop(job));
    let systems = outputs(job.clone(), records).await?;
    let task = TaskThread::new(run_loop, spec.clone(), systems, clock, Arc::clone(status), requests);
    let (control, controlled) = mpsc::unbounded_channel();
    // Its receiver is right here.
    drop(control.send(Control::AddInstance(FIRST_INSTANCE, ready)));
    let (data, batches) = mpsc::channel(BATCHES_WAITING_MAX);
    let runtime = tokio::runtime::Handle::current();
    let span = Span::current();
    std::thread::Builder::new()
        .name(format!("task-{}", job.name))
        .spawn(move || span.in_scope(|| task.run(&runtime, Inbox { control: controlled, data: batches })))
        .context("failed to start the task thread")?;
    Ok(Task { control, data, requests: requested, interrupter })
}

/// Before the task's own `init` can put anything there.
async fn grants(job: Job) -> Result<()> {
    let checked = tokio::task::spawn_blocking(move || check_grants(&job)).await;
    Ok(checked.context("checking the grants panicked")?.map_err(TaskFailed)?)
}

/// A file system may take its time, and another writer of a file too.
async fn outputs(job: Job, records: Records) -> Result<OutputSystems> {
    let opened = tokio::task::spawn_blocking(move || OutputSystems::open(&job, &records)).await;
    opened.context("opening the outputs panicked")?
}

/// `init` may take long, and a guest that reads a file blocks its thread, which an async one must not be.
async fn first_instance(module: Module, spec: TaskSpec) -> Result<Instance> {
    let span = Span::current();
    let built = tokio::task::spawn_blocking(move || {
        let failed = |error| TaskFailed(format!("task {} did not start: {error}", module.id()));
        span.in_scope(|| instantiate(&module, &spec)).map_err(failed)
    });
    Ok(built.await.context("building the task's instance panicked")??)
}
