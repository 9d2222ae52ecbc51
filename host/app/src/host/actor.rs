//! One job on a task of its own: started, told what people and the directory want, waited for.

use std::sync::Arc;

use anyhow::Result;
use shardmill_core::config::Job;
use shardmill_core::jobs::End;
use shardmill_runtime::Module;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::job::{RunningJob, TaskFailed};
use crate::status::Status;

/// Said to a running job.
#[derive(Debug)]
pub(super) enum Command {
    /// Stop gracefully.
    Stop,
    /// End without waiting for the task.
    StopAtOnce,
    /// Finish with what runs, and go on with this.
    Deploy(Module),
}

/// The host's end of a job.
pub(super) struct JobActor {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    /// There once the job has started.
    pub(super) started: watch::Receiver<Option<Started>>,
}

/// What is known of a job once it has started.
#[derive(Clone)]
pub(super) struct Started {
    pub(super) status: Arc<Status>,
    pub(super) inputs: usize,
    /// What runs.
    pub(super) module: String,
}

/// The job's end of it.
pub(super) struct Mailbox {
    commands: mpsc::UnboundedReceiver<Command>,
    started: watch::Sender<Option<Started>>,
}

impl JobActor {
    pub(super) fn new() -> (Self, Mailbox) {
        let (commands, received) = mpsc::unbounded_channel();
        let (sender, started) = watch::channel(None);
        (Self { commands, started }, Mailbox { commands: received, started: sender })
    }
}

/// Runs a job from its start to its end.
pub(super) async fn run(job: &Job, module: Module, clock: Clock, mailbox: Mailbox) -> End {
    match run_to_end(job, module, clock, mailbox).await {
        Ok(()) => End::Stopped,
        Err(error) if error.is::<TaskFailed>() => End::TaskFailed(format!("{error:#}")),
        Err(error) => End::Failed(format!("{error:#}")),
    }
}

async fn run_to_end(job: &Job, mut module: Module, clock: Clock, mut mailbox: Mailbox) -> Result<()> {
    loop {
        let mut running = RunningJob::start(job, module.clone(), clock).await?;
        let status = Arc::clone(running.status());
        let id = module.id().to_string();
        mailbox.started.send_replace(Some(Started { status, inputs: job.inputs.len(), module: id }));
        let mut next = None;
        loop {
            // Every arm is cancel-safe: receives, and joins by reference, lose nothing when dropped.
            tokio::select! {
                result = running.wait() => {
                    result?;
                    break;
                }
                Some(command) = mailbox.commands.recv() => {
                    next = match command {
                        Command::Stop => None,
                        Command::StopAtOnce => {
                            running.stop_at_once();
                            continue;
                        }
                        Command::Deploy(module) => Some(module),
                    };
                    running.stop();
                }
            }
        }
        let Some(deployed) = next else { return Ok(()) };
        module = deployed;
    }
}
