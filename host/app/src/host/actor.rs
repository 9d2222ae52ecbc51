//! One job on a task of its own: begun with the versions that hold, told what people and the directory want, waited
//! for. Owns the way of a module from the directory to the job; which shards it gets then is the job's.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use shardmill_core::config::Job;
use shardmill_core::jobs::{End, Hash};
use shardmill_core::rollout::Deployment;
use shardmill_runtime::Module;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::Reply;
use super::versions::{NotDeployed, Versions};
use crate::clock::Clock;
use crate::job::{JobHandle, RunningJob, TaskFailed};
use crate::status::Status;
use crate::task_files::Contents;

/// How often it is looked whether another host of the job changed what is to run.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// Said to a running job.
#[derive(Debug)]
pub(super) enum Command {
    /// Stop gracefully.
    Stop,
    /// End without waiting for the task.
    StopAtOnce,
    /// The task directory holds this module now.
    Deploy(Proposal),
    Promote(Reply),
    /// To the version named, or to the one before.
    RollBack(Option<String>, Reply),
    Pause(Reply),
    Resume(Reply),
}

/// A module of the task directory that may run.
#[derive(Debug, Clone)]
pub(super) struct Proposal {
    pub(super) id: Hash,
    pub(super) module: Module,
    pub(super) file: Arc<Contents>,
}

/// A module was not deployed.
pub(super) struct Refusal {
    pub(super) job: String,
    pub(super) id: Hash,
    pub(super) reason: String,
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
}

/// The job's end of it.
pub(super) struct Mailbox {
    commands: mpsc::UnboundedReceiver<Command>,
    started: watch::Sender<Option<Started>>,
    pub(super) refusals: mpsc::UnboundedSender<Refusal>,
}

impl JobActor {
    pub(super) fn new(refusals: mpsc::UnboundedSender<Refusal>) -> (Self, Mailbox) {
        let (commands, received) = mpsc::unbounded_channel();
        let (sender, started) = watch::channel(None);
        (Self { commands, started }, Mailbox { commands: received, started: sender, refusals })
    }
}

/// Runs a job from its start to its end.
pub(super) async fn run(job: Job, versions: Versions, first: Proposal, clock: Clock, mailbox: Mailbox) -> End {
    match run_to_end(job, versions, first, clock, mailbox).await {
        Ok(()) => End::Stopped,
        Err(error) if error.is::<TaskFailed>() => End::TaskFailed(format!("{error:#}")),
        Err(error) => End::Failed(format!("{error:#}")),
    }
}

async fn run_to_end(job: Job, versions: Versions, first: Proposal, clock: Clock, mut mailbox: Mailbox) -> Result<()> {
    let begun = versions.begin(&first).await.context("failed to find out which version is to run")?;
    let refuse = |id, reason| drop(mailbox.refusals.send(Refusal { job: versions.name().to_owned(), id, reason }));
    if let Some(reason) = begun.refused {
        refuse(first.id, reason);
    }
    let mut running = RunningJob::start_with(&job, begun.deployed, clock).await?;
    let handle = running.handle();
    let started = Started { status: Arc::clone(running.status()), inputs: job.inputs.len() };
    mailbox.started.send_replace(Some(started));
    let mut work = JoinSet::new();
    if begun.is_to_deploy {
        work.spawn(deploy(versions.clone(), handle.clone(), first));
    }
    let mut looks = tokio::time::interval(FOLLOW_INTERVAL);
    loop {
        // Every arm is cancel-safe: receives, joins by reference, and timers lose nothing when dropped.
        tokio::select! {
            result = running.wait() => return result,
            Some(Ok(Some((id, reason)))) = work.join_next() => refuse(id, reason),
            _ = looks.tick() => follow(&versions, &handle).await,
            Some(command) = mailbox.commands.recv() => match command {
                Command::Stop => running.stop(),
                Command::StopAtOnce => running.stop_at_once(),
                Command::Deploy(proposal) => drop(work.spawn(deploy(versions.clone(), handle.clone(), proposal))),
                asked => drop(work.spawn(answer(versions.clone(), handle.clone(), asked))),
            },
        }
    }
}

/// Tries a module out and rolls it out. Says why not, if it does not.
async fn deploy(versions: Versions, job: JobHandle, proposal: Proposal) -> Option<(Hash, String)> {
    let id = proposal.id;
    match versions.deploy(&job, proposal).await {
        Ok(()) => None,
        // The next start takes it up.
        Err(NotDeployed::Stopping) => None,
        Err(NotDeployed::Refused(reason)) => Some((id, reason)),
    }
}

async fn answer(versions: Versions, job: JobHandle, command: Command) -> Option<(Hash, String)> {
    let (result, reply) = match command {
        Command::Promote(reply) => (job.promote().await.map_err(|refused| refused.to_string()), reply),
        Command::RollBack(None, reply) => (job.roll_back().await.map_err(|refused| refused.to_string()), reply),
        Command::RollBack(Some(to), reply) => (versions.switch_to(&job, &to).await, reply),
        Command::Pause(reply) => {
            job.pause().await;
            (Ok(()), reply)
        }
        Command::Resume(reply) => {
            job.resume().await;
            (Ok(()), reply)
        }
        Command::Stop | Command::StopAtOnce | Command::Deploy(_) => return None,
    };
    // Who asked may be gone.
    drop(reply.send(result));
    None
}

/// Passes on what another host wrote.
async fn follow(versions: &Versions, job: &JobHandle) {
    let known = job.status().snapshot().rollout.deployment.map_or(0, |deployment: Deployment| deployment.revision);
    match versions.written_after(known).await {
        Ok(None) => {}
        Ok(Some((deployment, modules))) => {
            info!(job = versions.name(), revision = deployment.revision, "another host changed what is to run");
            job.follow(deployment, modules).await;
        }
        Err(error) => warn!(job = versions.name(), error = format!("{error:#}"), "cannot see what other hosts run"),
    }
}
