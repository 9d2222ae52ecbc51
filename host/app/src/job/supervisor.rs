//! The supervisor of a running job: passes messages between its lease workers, shard readers, task thread and versions.
//! It holds no rules.

pub(super) mod cut;
mod failure;
mod readings;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use shardmill_aws::Kinesis;
use shardmill_core::config::Input;
use shardmill_core::kinesis::shard::{ChildShard, HashRange, ShardId};
use shardmill_core::leases::{self, Epoch};
use shardmill_core::position::{Checkpoint, Latest};
use shardmill_core::run_loop::{Action, Event, Generation, SourceId};
use shardmill_core::service::ServiceError;
use shardmill_runtime::Source;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::info;

use super::versions::Versions;
use super::{Command, TaskFailed};
use crate::clock::{Clock, millis};
use crate::kinesis::fan_out::FanOut;
use crate::kinesis::lease_worker::Telling;
use crate::kinesis::polling::Progress;
use crate::status::{self, Status};
use crate::task_thread::Control;
use crate::tasks::{Panicked, Tasks};
use cut::Stop;

/// What a job is made of, beside its supervisor.
#[derive(Clone, Debug)]
pub(super) enum Part {
    TaskThread,
    LeaseWorker {
        input: usize,
        name: String,
    },
    /// Of the consumer of an input, by its name.
    Registration(String),
    Reader {
        source: SourceId,
        name: String,
    },
}

/// The parts that run. Each ends with the job, and the supervisor hears of the end of each.
pub(super) type Parts = Tasks<Part, Result<(), ServiceError>>;

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TaskThread => f.write_str("the task thread"),
            Self::LeaseWorker { name, .. } => write!(f, "the lease worker of input {name}"),
            Self::Registration(name) => write!(f, "the registration of the consumer of input {name}"),
            Self::Reader { name, .. } => write!(f, "the reader of {name}"),
        }
    }
}

/// One input stream and its lease worker.
pub(super) struct InputState {
    pub(super) config: Input,
    pub(super) kinesis: Kinesis,
    /// Absent when the shards are polled.
    pub(super) fan_out: Option<Arc<FanOut>>,
    pub(super) commands: mpsc::UnboundedSender<leases::Event>,
    pub(super) stopped: bool,
}

/// A shard that the guest knows by its index.
struct SourceState {
    input: usize,
    shard: ShardId,
    hash_range: Option<HashRange>,
    latest: Latest,
    /// Of the lease that it was last read under.
    epoch: Epoch,
    reading: Option<Reading>,
}

struct Reading {
    generation: Generation,
    task: AbortHandle,
    progress: Arc<Progress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// The run loop finishes, and commits what it can.
    Finishing,
    /// The leases are being released.
    Releasing,
    /// They are not waited for any longer.
    Over,
}

pub(super) struct Supervisor {
    inputs: Vec<InputState>,
    sources: Vec<SourceState>,
    by_shard: HashMap<(usize, ShardId), SourceId>,
    parts: Parts,
    control: mpsc::UnboundedSender<Control>,
    data: mpsc::Sender<Event>,
    versions: Versions,
    status: Arc<Status>,
    clock: Clock,
    phase: Phase,
    /// The end of the patience with a stop.
    give_up_at: u64,
    failure: Option<anyhow::Error>,
}

/// Where the supervisor hears from the job's parts.
pub(super) struct Messages {
    pub(super) tellings: mpsc::UnboundedReceiver<(usize, Telling)>,
    pub(super) requests: mpsc::UnboundedReceiver<Action>,
    /// Of the job's HTTP connections.
    pub(super) panics: mpsc::UnboundedReceiver<Panicked>,
    /// From whoever runs the job.
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) stop: watch::Receiver<Stop>,
}

impl Supervisor {
    pub(super) fn new(
        inputs: Vec<InputState>,
        parts: Parts,
        control: mpsc::UnboundedSender<Control>,
        data: mpsc::Sender<Event>,
        versions: Versions,
        status: Arc<Status>,
        clock: Clock,
    ) -> Self {
        Self {
            inputs,
            sources: Vec::new(),
            by_shard: HashMap::new(),
            parts,
            control,
            data,
            versions,
            status,
            clock,
            phase: Phase::Running,
            give_up_at: u64::MAX,
            failure: None,
        }
    }

    pub(super) async fn run(mut self, mut messages: Messages, patience: Duration) -> Result<()> {
        loop {
            let is_running = self.phase == Phase::Running;
            let wake = self.clock.until(self.versions.wake_at());
            // Every arm is cancel-safe: receives, joins, watches and timers lose nothing when dropped.
            tokio::select! {
                Some((input, telling)) = messages.tellings.recv() => self.told(input, telling),
                Some(request) = messages.requests.recv(), if self.phase != Phase::Releasing => self.requested(request),
                Some((part, ended)) = self.parts.join_next() => self.ended(&part, ended),
                Some(panicked) = messages.panics.recv() => self.finish(Some(panicked.into())),
                Some((_, ended)) = self.versions.work.join_next() => match ended {
                    Ok(done) => self.versions.done(done),
                    Err(panicked) => self.finish(Some(panicked.into())),
                },
                Some(command) = messages.commands.recv(), if is_running => self.commanded(command),
                () = tokio::time::sleep(wake), if is_running => {
                    self.versions.tick();
                }
                Ok(()) = messages.stop.changed() => match *messages.stop.borrow_and_update() {
                    Stop::AtOnce => self.cut_short(cut::by_request()),
                    _ => self.finish(None),
                },
                () = tokio::time::sleep(self.clock.until(self.give_up_at)) => self.cut_short(cut::by_patience(patience)),
            }
            if let Some(reason) = self.versions.take_failure() {
                self.finish(Some(TaskFailed(reason).into()));
            }
            if self.phase != Phase::Running && self.give_up_at == u64::MAX {
                self.give_up_at = self.clock.now() + millis(patience);
            }
            if self.phase == Phase::Over || (self.phase == Phase::Releasing && self.inputs.iter().all(|it| it.stopped))
            {
                return self.failure.map_or(Ok(()), Err);
            }
        }
    }

    fn commanded(&mut self, command: Command) {
        match command {
            Command::Deploy { module, how, answer } => self.versions.deploy(module, how, answer),
            Command::Promote { answer } => self.versions.promote(answer),
            Command::RollBack { version, answer } => self.versions.roll_back(version, answer),
            Command::Changed { deployment } => self.versions.changed(deployment),
            Command::Lately { answer } => {
                if let Some(module) = self.versions.current() {
                    drop(self.control.send(Control::Lately(module, answer)));
                }
            }
            Command::Pause(paused) => {
                self.tell_task(if paused { Event::Pause } else { Event::Resume });
                self.status.update(|status| status.rollout.paused = paused);
            }
        }
    }

    fn tell_task(&self, event: Event) {
        // The task thread outlives every message that matters to it.
        drop(self.control.send(Control::Loop(event)));
    }

    fn told(&mut self, input: usize, telling: Telling) {
        use leases::Action as Told;
        let action = match telling {
            Telling::Action(action) => action,
            Telling::Standing(standing) => {
                let Input { system, stream, .. } = &self.inputs[input].config;
                let standing = status::Input { name: format!("{system}.{stream}"), standing };
                return self.status.update(|status| drop(status.inputs.insert(input, standing)));
            }
        };
        match action {
            Told::Start { key, epoch, checkpoint, hash_range, latest } => {
                let source = self.assign(input, key, epoch, checkpoint);
                let state = &mut self.sources[source as usize];
                (state.hash_range, state.latest, state.epoch) = (hash_range, latest, epoch);
            }
            Told::Revoke { key, epoch, .. } => {
                if let Some(source) = self.stop_reading(input, &key) {
                    self.revoked(source, epoch);
                }
            }
            Told::Checkpointed { key, epoch, checkpoint, written } => {
                info!(stream = self.inputs[input].config.stream, shard = key, %checkpoint, written, "checkpoint");
                if let Some(&source) = self.by_shard.get(&(input, key)) {
                    self.tell_task(Event::Checkpointed { source, epoch });
                }
            }
            Told::ShardSealed { key, epoch } => {
                info!(stream = self.inputs[input].config.stream, shard = key, "shard is processed to its end");
                if let Some(source) = self.stop_reading(input, &key) {
                    self.tell_task(Event::Sealed { source, epoch });
                    self.versions.released(source);
                    self.status.update_shard(source, |shard| shard.finished = true);
                }
            }
            Told::Fail(reason) => {
                let Input { system, stream, .. } = &self.inputs[input].config;
                let failure = anyhow!("input {system}.{stream}: {reason}");
                self.finish(Some(failure));
            }
            Told::Stopped => self.inputs[input].stopped = true,
            // It is in the log; this one lasts.
            Told::Notice(notice @ leases::Notice::DuplicateWorker { .. }) => {
                let (now, stream) = (self.clock.now(), self.inputs[input].config.stream.clone());
                self.status.update(|status| {
                    status.duplicates.entry(input).or_insert_with(|| (now, format!("stream {stream}: {notice}")));
                });
            }
            Told::Notice(_) | Told::Scan | Told::ScanConsistently | Told::List(_) | Told::Write(_) => {}
        }
    }

    fn assign(&mut self, input: usize, shard: ShardId, epoch: Epoch, checkpoint: Checkpoint) -> SourceId {
        let Input { system, stream, .. } = &self.inputs[input].config;
        info!(stream, shard, %checkpoint, "reading shard");
        let next = u32::try_from(self.sources.len()).expect("a job has far fewer shards");
        let source = *self.by_shard.entry((input, shard.clone())).or_insert(next);
        if source == next {
            let (system, stream) = (system.clone(), stream.clone());
            let partition = shard.clone();
            drop(self.control.send(Control::AddSource(Source { system, stream, partition })));
            self.sources.push(SourceState {
                input,
                shard: shard.clone(),
                hash_range: None,
                latest: Latest::Next,
                epoch,
                reading: None,
            });
        }
        let stream = self.inputs[input].config.stream.clone();
        self.status.update(|status| {
            status.shards.insert(source, status::Shard { stream, shard, ..Default::default() });
        });
        self.versions.assign(source, self.name(source), epoch, checkpoint);
        source
    }

    fn requested(&mut self, request: Action) {
        match request {
            Action::Read { source, generation, from } => self.read(source, generation, &from),
            Action::Processed { source, generation, bytes, records } => {
                let reading = self.sources[source as usize].reading.as_ref();
                if let Some(reading) = reading.filter(|reading| reading.generation == generation) {
                    reading.progress.add(bytes, records);
                }
            }
            Action::Checkpoint { source, epoch, checkpoint } => {
                self.command(source, |key| leases::Event::Checkpoint { key, epoch, checkpoint });
            }
            Action::EndShard { source, epoch, children } => {
                self.versions.ended(self.lineage(source, &children));
                self.command(source, |key| leases::Event::ShardEnded { key, epoch, children });
            }
            Action::Shutdown(reason) => {
                info!(reason, "the task asked the job to stop");
                self.finish(None);
            }
            Action::Finished(result) => {
                if let Err(failure) = result {
                    self.failure.get_or_insert(self.describe(&failure));
                }
                self.release();
            }
            Action::Routed => self.versions.routed(),
            Action::GaveUp { instance, failure } => {
                self.versions.gave_up(instance, self.describe(&failure).to_string());
            }
            Action::Waits { instance, reason } => self.status.waits(instance, reason),
            // Carried out where they are asked for.
            Action::Call { .. }
            | Action::Rebuild { .. }
            | Action::BeforeStop { .. }
            | Action::Drop { .. }
            | Action::Flush => {}
        }
    }

    fn command(&self, source: SourceId, event: impl FnOnce(ShardId) -> leases::Event) {
        let state = &self.sources[source as usize];
        // A lease worker that has stopped released everything; a checkpoint of it would be refused anyway.
        drop(self.inputs[state.input].commands.send(event(state.shard.clone())));
    }

    /// Stops reading; the run loop finishes what it is at, commits and says so.
    fn finish(&mut self, failure: Option<anyhow::Error>) {
        if let Some(failure) = failure {
            info!("stopping after a failure");
            self.failure.get_or_insert(failure);
        }
        if self.phase == Phase::Running {
            self.phase = Phase::Finishing;
            self.stop_readers();
            self.tell_task(Event::Stop);
        }
    }

    /// All that can be committed is: give the leases back, so that a successor starts at once.
    fn release(&mut self) {
        if self.phase != Phase::Releasing {
            self.phase = Phase::Releasing;
            self.stop_readers();
            for input in &self.inputs {
                drop(input.commands.send(leases::Event::Stop));
            }
        }
    }

    /// A part of the job ended: a reader that failed, or one that panicked, which ends the job. Whoever is left commits
    /// what is done and gives the leases back; a lease worker that is gone cannot, so its leases run out.
    fn ended(&mut self, part: &Part, ended: Result<Result<(), ServiceError>, Panicked>) {
        match (part, ended) {
            (Part::Reader { source, .. }, Ok(Err(error))) => self.finish(Some(self.describe_reading(*source, &error))),
            (_, Ok(_)) => {}
            (Part::TaskThread, Err(panicked)) => {
                self.failure.get_or_insert(panicked.into());
                self.release();
            }
            (part, Err(panicked)) => {
                if let Part::LeaseWorker { input, .. } = part {
                    self.lease_worker_gone(*input);
                }
                self.finish(Some(panicked.into()));
            }
        }
    }

    /// The children of a shard, with all their parents, by their names.
    fn lineage(&self, source: SourceId, children: &[ChildShard]) -> Vec<(String, Vec<String>)> {
        let Input { system, stream, .. } = &self.inputs[self.sources[source as usize].input].config;
        let name = |shard: &String| shard_name(system, stream, shard);
        children.iter().map(|child| (name(&child.id), child.parents.iter().map(name).collect())).collect()
    }
}

/// What a shard is called, in messages and in deployments.
fn shard_name(system: &str, stream: &str, shard: &str) -> String {
    format!("shard {shard} of {system}.{stream}")
}
