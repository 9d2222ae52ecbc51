//! What goes into a [`Coordinator`](super::Coordinator) and what comes out of it.

use crate::grouper::{Group, TaskId};
use crate::kinesis::shard::{HashRange, ShardId};
use crate::leases;
use crate::module::ModuleId;
use crate::position::{Checkpoint, Latest};
use crate::rollout::{self, Health};
use crate::run_loop::{self, Generation, InstanceId, SourceId};
use crate::service::ServiceError;
use crate::time::Millis;

/// An input of the job, by its place in the configuration.
pub type InputId = usize;

/// What a coordinator needs to know of its job.
#[derive(Clone, Debug)]
pub struct Settings {
    /// System and stream of each input.
    pub inputs: Vec<(String, String)>,
    /// Tasks of the job, numbered from 0; one at least.
    pub tasks: u32,
    pub task_of: Group,
    /// How long a graceful stop may take.
    pub shutdown_timeout: Millis,
    /// How long a call may hold up the move of its shard to another version before it is interrupted.
    pub drain: Millis,
    pub rollout: rollout::Settings,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passed; see [`Coordinator::wake_at`](super::Coordinator::wake_at).
    Tick,
    /// The lease worker of an input wants something that concerns the rest of the job.
    Lease {
        input: InputId,
        action: leases::Action,
    },
    /// Nobody renews an input's leases, or writes its checkpoints, any more.
    LeaseWorkerGone {
        input: InputId,
        reason: String,
    },
    /// The run loop of a task wants something of the rest of the job.
    Task {
        task: TaskId,
        action: run_loop::Action,
    },
    /// A task ended without finishing.
    TaskGone {
        task: TaskId,
        reason: String,
    },
    /// A reader cannot go on.
    ReaderFailed {
        source: SourceId,
        generation: Generation,
        error: ServiceError,
    },
    /// Something else that the job is made of ended, with this as the reason.
    PartGone {
        reason: String,
    },
    /// An instance of a version is there for a task, its `init` done, or cannot be had; the answer to [`Action::Build`].
    Built {
        task: TaskId,
        instance: InstanceId,
        result: Result<(), String>,
    },
    /// What an instance of a task did so far; the answer to [`Action::ReportHealth`].
    Health {
        task: TaskId,
        instance: InstanceId,
        health: Health,
    },
    /// What people, other hosts and the deployment store say to the rollout.
    Rollout(rollout::Event),
    /// Call no task until it is resumed; leases are kept.
    Pause,
    Resume,
    /// Finish what is being processed, commit it, release the leases.
    Stop,
    /// End without waiting for the tasks.
    ForceStop,
}

/// What the shell must do, in this order.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "it is carried out at once; a box would only add an allocation")]
pub enum Action {
    /// Pass this on to the lease worker of an input.
    Lease {
        input: InputId,
        event: leases::Event,
    },
    /// Pass this on to the run loop of a task.
    Task {
        task: TaskId,
        event: run_loop::Event,
    },
    /// A shard that the tasks do not know yet is their next source; only `task` is going to process it.
    AddSource {
        task: TaskId,
        source: SourceId,
        input: InputId,
        shard: ShardId,
    },
    /// Give a task an instance that was built for it.
    AddInstance {
        task: TaskId,
        instance: InstanceId,
    },
    /// Nobody needs an instance that was built for a task and not given to it.
    DropInstance {
        task: TaskId,
        instance: InstanceId,
    },
    /// Build an instance of a version for a task and call its `init`; answered with [`Event::Built`].
    Build {
        task: TaskId,
        instance: InstanceId,
        module: ModuleId,
    },
    /// End the calls that these instances of a task are in: they hold up a rollout.
    Interrupt {
        task: TaskId,
        instances: Vec<InstanceId>,
    },
    /// Read a shard from here on, in place of an earlier reading of it.
    StartReader {
        source: SourceId,
        generation: Generation,
        from: Checkpoint,
        latest: Latest,
        hash_range: Option<HashRange>,
    },
    StopReader {
        source: SourceId,
    },
    /// A reader may deliver this much more.
    Credit {
        source: SourceId,
        bytes: usize,
        records: usize,
    },
    /// Answer with one [`Event::Health`] for each instance of each task.
    ReportHealth,
    /// What only the shell can do for the rollout: write, answer, say what became of a version.
    Rollout(rollout::Action),
    /// Where the rollout stands may have changed; comes before the answers to those who asked for it.
    RolloutChanged,
    /// Something happened that people should know of.
    Notice(Notice),
    /// The job is over.
    End(Result<(), Failure>),
}

/// What people should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This worker holds the lease of a shard; its reading begins at the checkpoint.
    Assigned {
        source: SourceId,
        input: InputId,
        shard: ShardId,
        checkpoint: Checkpoint,
    },
    /// The lease went to another worker, or ran out.
    Released {
        source: SourceId,
    },
    /// A shard is processed to its end.
    Completed {
        source: SourceId,
    },
    /// A position is in the lease table; `written` is false if it was there before.
    Checkpointed {
        source: SourceId,
        checkpoint: Checkpoint,
        written: bool,
    },
    /// A task asked for the job's end.
    ShutdownRequested {
        task: TaskId,
        reason: String,
    },
    /// The job stops because of a failure.
    Stopping,
    Paused,
    Resumed,
    /// An instance waits because the host cannot do its part; `None`: not any more.
    Waits {
        task: TaskId,
        instance: InstanceId,
        reason: Option<String>,
    },
    /// Another process uses the worker identifier of an input.
    DuplicateWorker {
        input: InputId,
        notice: leases::Notice,
    },
}

/// Why a job had to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A task cannot go on; it would fail in the same way again.
    Task(String),
    /// The outputs could not be made durable.
    Output(String),
    /// The lease worker of an input cannot go on.
    Input { input: InputId, reason: String },
    /// A shard cannot be read.
    Reading { source: SourceId, error: ServiceError },
    /// A part of the job ended by a panic.
    Part(String),
    /// The stop was forced by a second request.
    Forced,
    /// The stop took longer than this.
    ShutdownTimeout(Millis),
}
