//! The start of a job's parts: what connects, registers and starts before the coordinator takes over. Decides nothing.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use shardmill_aws::{Kinesis, LeaseTable};
use shardmill_core::config::{Input, Job, KinesisInput, RetrievalMode};
use shardmill_core::rollout::FIRST_INSTANCE;
use shardmill_core::run_loop::{Action, Event, RunLoop};
use shardmill_runtime::{CallError, Instance, Interrupter, Module, TaskSpec};
use tokio::sync::mpsc;
use tracing::{Instrument, Span, info};
use uuid::Uuid;

use super::TaskFailed;
use super::coordinator::{InputState, Part, Parts, ReadBy};
use crate::clock::Clock;
use crate::kinesis::fan_out::FanOut;
use crate::kinesis::lease_worker::{LeaseWorker, Told};
use crate::outputs::{OutputSystems, Records};
use crate::own_files::check_grants;
use crate::settings;
use crate::status::Status;
use crate::task_thread::{Control, Inbox, Ready, TaskThread, instantiate};
use crate::tasks::blocking;

/// Batches of all shards together that may wait for the task thread; each shard has its own bound in bytes and
/// records besides.
const BATCHES_WAITING_MAX: usize = 64;

/// An input whose clients are there; no call was made yet.
pub(super) struct Connected {
    config: KinesisInput,
    kinesis: Kinesis,
    table: LeaseTable,
}

/// Makes an input's clients.
pub(super) async fn connect(input: &Input) -> Result<Connected> {
    let Input::Kinesis(input) = input;
    let name = || format!("failed to connect input {}", name(input));
    let kinesis = Kinesis::new(&input.kinesis, &input.client).await.with_context(name)?;
    let table = LeaseTable::new(&input.dynamodb, &input.client, &input.table.name).await.with_context(name)?;
    let table =
        table.with_consistent_reads(input.table.consistent_reads).of_stream(input.table.stream_identifier.clone());
    Ok(Connected { config: input.clone(), kinesis, table })
}

impl Connected {
    /// Starts the input's lease worker, which speaks to `told`. `run` is another one at each start.
    pub(super) fn start(
        self,
        index: usize,
        run: Uuid,
        clock: Clock,
        status: &Arc<Status>,
        told: &Told,
        parts: &mut Parts,
    ) -> InputState {
        let Self { config, kinesis, table } = self;
        let read_by = read_by(&config, clock, status, parts);
        let settings = settings::leases(&config, run);
        info!(stream = config.stream, table = config.table.name, worker = settings.worker, "starting the lease worker");
        let worker = LeaseWorker {
            settings,
            table,
            new_table: config.table.new,
            kinesis: kinesis.clone(),
            stream: config.stream_id().to_owned(),
            clock,
            status: Arc::clone(status),
            input: index,
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by protocol: a shard has one checkpoint and one end unanswered at a time, an input one stop"
        )]
        let (commands, received) = mpsc::unbounded_channel();
        let part = Part::LeaseWorker { input: index, name: name(&config) };
        let run = worker.run(received, told.clone());
        let run = async {
            run.await;
            Ok(())
        };
        parts.spawn(part, run.in_current_span());
        InputState { config, kinesis, read_by, commands }
    }
}

/// An input, for people.
fn name(input: &KinesisInput) -> String {
    format!("{}.{}", input.system, input.stream)
}

/// How the input's shards are read. Begins to register its consumer, if it has one; its readers wait for that.
fn read_by(input: &KinesisInput, clock: Clock, status: &Arc<Status>, parts: &mut Parts) -> ReadBy {
    let consumer = match &input.retrieval.mode {
        RetrievalMode::Polling(polling) => return ReadBy::Polling(*polling),
        RetrievalMode::FanOut(consumer) => consumer,
    };
    let fan_out = Arc::new(FanOut::new(
        (input.kinesis.clone(), input.client.clone()),
        input.stream_id().to_owned(),
        consumer.clone(),
        settings::seed(),
        Arc::clone(status),
        clock,
    ));
    let registering = Arc::clone(&fan_out);
    let register = async move {
        // A failure is told by the readers.
        drop(registering.arn().await);
        Ok(())
    };
    parts.spawn(Part::Registration(name(input)), register.in_current_span());
    ReadBy::FanOut(fan_out)
}

/// A task thread as the coordinator sees it.
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
    parts: &mut Parts,
) -> Result<Task> {
    grants(job.clone()).await?;
    let instance = first_instance(module.clone(), spec.clone()).await?;
    let interrupter = Interrupter::default();
    let ready = Box::new(Ready { module, instance, interrupter: interrupter.clone() });
    #[expect(
        clippy::disallowed_methods,
        reason = "bounded by protocol: one answer per event, one credit per batch taken, and one checkpoint or end unanswered per shard"
    )]
    let (requests, requested) = mpsc::unbounded_channel();
    let run_loop = RunLoop::new(clock.now(), settings::run_loop(job));
    let systems = outputs(job.clone(), records).await?;
    let task = TaskThread::new(run_loop, spec.clone(), systems, clock, Arc::clone(status), requests);
    #[expect(
        clippy::disallowed_methods,
        reason = "bounded by protocol: a constant number of messages per shard held, per version and per answer to the task"
    )]
    let (control, controlled) = mpsc::unbounded_channel();
    // Its receiver is right here.
    drop(control.send(Control::AddInstance(FIRST_INSTANCE, ready)));
    let (data, batches) = mpsc::channel(BATCHES_WAITING_MAX);
    let runtime = tokio::runtime::Handle::current();
    let span = Span::current();
    let run = move || {
        span.in_scope(|| task.run(&runtime, Inbox { control: controlled, data: batches }));
        Ok(())
    };
    let started = parts.spawn_thread(format!("task-{}", job.name), Part::TaskThread, run);
    started.context("failed to start the task thread")?;
    Ok(Task { control, data, requests: requested, interrupter })
}

/// Before the task's own `init` can put anything there.
async fn grants(job: Job) -> Result<()> {
    let checked = blocking("the check of the grants", move || check_grants(&job)).await;
    Ok(checked?.map_err(TaskFailed)?)
}

/// A file system may take its time, and another writer of a file too.
async fn outputs(job: Job, records: Records) -> Result<OutputSystems> {
    blocking("the opening of the outputs", move || OutputSystems::open(&job, &records)).await?
}

/// `init` may take long, and a guest that reads a file blocks its thread, which an async one must not be.
async fn first_instance(module: Module, spec: TaskSpec) -> Result<Instance> {
    let span = Span::current();
    let part = format!("the start of an instance of {}", module.version());
    let built = blocking(&part, move || {
        let failed = |error: CallError| {
            let text = format!("task {} did not start: {error}", module.version());
            // What the host cannot do now it may do later: the job is restarted.
            if error.is_hosts() { anyhow!("{text}") } else { TaskFailed(text).into() }
        };
        span.in_scope(|| instantiate(&module, &spec)).map_err(failed)
    });
    built.await?
}
