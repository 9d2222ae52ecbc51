//! The shell around a job's coordinator: carries messages between the machine and the lease workers, readers, task thread
//! and rollout of the job, and shows what it decides. Decides nothing.

mod failure;
mod parts;
mod readers;

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Result;
use shardmill_aws::Kinesis;
use shardmill_core::config::{KinesisInput, Polling};
use shardmill_core::coordinator::{Action, Coordinator, Event, InputId, Notice, TaskId};
use shardmill_core::leases;
use shardmill_core::run_loop;
use shardmill_runtime::Source;
use tokio::sync::{mpsc, watch};
use tracing::info;

use super::rollout::RolloutShell;
use super::{Command, Stop};
use crate::clock::Clock;
use crate::kinesis::fan_out::FanOut;
use crate::kinesis::lease_worker::{Standing, Telling};
use crate::status::{self, Status};
use crate::task_thread::Control;
use crate::tasks::Panicked;
pub(super) use parts::{Part, Parts};
pub(super) use readers::Readers;

/// The one task of a job: all its shards.
const TASK: TaskId = TaskId(0);

/// One input stream and its lease worker.
pub(super) struct InputState {
    pub(super) config: KinesisInput,
    pub(super) kinesis: Kinesis,
    pub(super) read_by: ReadBy,
    pub(super) commands: mpsc::UnboundedSender<leases::Event>,
}

/// How an input's shards are read.
pub(super) enum ReadBy {
    Polling(Polling),
    FanOut(Arc<FanOut>),
}

/// What the shell carries messages between.
pub(super) struct CoordinatorShell {
    pub(super) coordinator: Coordinator,
    pub(super) inputs: Vec<InputState>,
    pub(super) parts: Parts,
    pub(super) control: mpsc::UnboundedSender<Control>,
    pub(super) data: mpsc::Sender<run_loop::Event>,
    pub(super) rollout: RolloutShell,
    pub(super) status: Arc<Status>,
    pub(super) clock: Clock,
    pub(super) readers: Readers,
    /// Answers to the machine that were at hand at once.
    pub(super) pending: VecDeque<Event>,
}

/// Where the job hears from its parts, and from who runs it.
pub(super) struct Messages {
    pub(super) leases: mpsc::UnboundedReceiver<(InputId, Telling)>,
    pub(super) task: mpsc::UnboundedReceiver<run_loop::Action>,
    /// Of the job's HTTP connections.
    pub(super) panics: mpsc::UnboundedReceiver<Panicked>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) stop: watch::Receiver<Stop>,
}

impl CoordinatorShell {
    pub(super) async fn run(mut self, mut messages: Messages) -> Result<()> {
        let mut event = Some(Event::Tick);
        loop {
            if let Some(event) = event.take()
                && let Some(end) = self.on(event)
            {
                return end;
            }
            event = self.next(&mut messages).await;
        }
    }

    /// What happened next, if it is for the machine.
    async fn next(&mut self, messages: &mut Messages) -> Option<Event> {
        if let Some(event) = self.pending.pop_front() {
            return Some(event);
        }
        let wake = self.clock.until(self.coordinator.wake_at());
        let is_running = self.coordinator.is_running();
        // Every arm is cancel-safe: receives, joins, watches and timers lose nothing when dropped.
        tokio::select! {
            Some((input, telling)) = messages.leases.recv() => match telling {
                Telling::Action(action) => Some(Event::Lease { input, action }),
                Telling::Standing(standing) => {
                    self.show_standing(input, standing);
                    None
                }
            },
            Some(action) = messages.task.recv() => Some(Event::Task { task: TASK, action }),
            Some((part, ended)) = self.parts.join_next() => part.event(ended),
            Some(panicked) = messages.panics.recv() => Some(parts::gone(&panicked)),
            Some((_, ended)) = self.rollout.work.join_next() => match ended {
                Ok(done) => self.rollout.done(done),
                Err(panicked) => Some(parts::gone(&panicked)),
            },
            Some(command) = messages.commands.recv(), if is_running => self.on_command(command),
            Ok(()) = messages.stop.changed() => match *messages.stop.borrow_and_update() {
                Stop::AtOnce => Some(Event::ForceStop),
                _ => Some(Event::Stop),
            },
            () = tokio::time::sleep(wake) => Some(Event::Tick),
        }
    }

    /// The event of a request, if it is one for the machine.
    fn on_command(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Pause(true) => Some(Event::Pause),
            Command::Pause(false) => Some(Event::Resume),
            Command::Lately { answer } => {
                let current = self.coordinator.rollout().deployment().current;
                if let Some(module) = self.rollout.module(current) {
                    self.send_task(Control::Lately(module, answer));
                }
                None
            }
            asked => self.rollout.event(asked).map(Event::Rollout),
        }
    }

    /// Returns the end of the job, if this was it.
    fn on(&mut self, event: Event) -> Option<Result<()>> {
        let mut end = None;
        for action in self.coordinator.on(self.clock.now(), event) {
            match action {
                Action::End(result) => end = Some(result.map_err(|failure| self.describe(failure))),
                action => self.carry_out(action),
            }
        }
        end
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            // A lease worker that has stopped released everything; a checkpoint of it would be refused anyway.
            Action::Lease { input, event } => drop(self.inputs[input].commands.send(event)),
            Action::Task { event, .. } => self.send_task(Control::Loop(event)),
            Action::AddSource { input, shard, .. } => {
                let KinesisInput { system, stream, .. } = &self.inputs[input].config;
                let source = Source { system: system.clone(), stream: stream.clone(), partition: shard };
                self.send_task(Control::AddSource(source));
            }
            Action::AddInstance { task, instance } => {
                if let Some(ready) = self.rollout.take_spare(task, instance) {
                    self.send_task(Control::AddInstance(instance, ready));
                }
            }
            Action::DropInstance { task, instance } => drop(self.rollout.take_spare(task, instance)),
            Action::Build { task, instance, module } => {
                let is_wanted = self.control.downgrade();
                let is_wanted = move || is_wanted.upgrade().is_some_and(|control| !control.is_closed());
                self.rollout.build(task, instance, module, is_wanted);
            }
            Action::Interrupt { task, instances } => self.rollout.interrupt(task, &instances),
            Action::StartReader { source, generation, from, latest, hash_range } => {
                self.start_reader(source, generation, &from, latest, hash_range);
            }
            Action::StopReader { source } => self.readers.stop(source),
            Action::Credit { source, bytes, records } => self.readers.credit(source, bytes, records),
            Action::ReportHealth => {
                let health = self.status.snapshot().health.into_iter();
                self.pending.extend(health.map(|(instance, health)| Event::Health { task: TASK, instance, health }));
            }
            Action::Rollout(action) => self.rollout.carry_out(action),
            Action::RolloutChanged => self.rollout.show(&self.coordinator),
            Action::Notice(notice) => self.show(notice),
            Action::End(_) => {}
        }
    }

    fn send_task(&self, control: Control) {
        // The task thread outlives every message that matters to it.
        drop(self.control.send(control));
    }

    fn show_standing(&self, input: InputId, standing: Standing) {
        let KinesisInput { system, stream, .. } = &self.inputs[input].config;
        let standing = status::Input { name: format!("{system}.{stream}"), standing };
        self.status.update(|status| drop(status.inputs.insert(input, standing)));
    }

    /// For people: the log, and the status.
    fn show(&self, notice: Notice) {
        let shard = |source| {
            let (input, shard, _) = self.coordinator.source(source);
            (&self.inputs[input].config.stream, shard)
        };
        match notice {
            Notice::Assigned { source, input, shard, checkpoint } => {
                let stream = self.inputs[input].config.stream.clone();
                info!(stream, shard, %checkpoint, "reading shard");
                self.status.update(|status| {
                    status.shards.insert(source, status::Shard { stream, shard, ..Default::default() });
                });
            }
            Notice::Released { source } => self.status.update(|status| drop(status.shards.remove(&source))),
            Notice::Completed { source } => {
                let (stream, shard) = shard(source);
                info!(stream, shard, "shard is processed to its end");
                self.status.update_shard(source, |shard| shard.finished = true);
            }
            Notice::Checkpointed { source, checkpoint, written } => {
                let (stream, shard) = shard(source);
                info!(stream, shard, %checkpoint, written, "checkpoint");
            }
            Notice::ShutdownRequested { reason, .. } => info!(reason, "the task asked the job to stop"),
            Notice::Stopping => info!("stopping after a failure"),
            Notice::Paused => self.status.update(|status| status.rollout.paused = true),
            Notice::Resumed => self.status.update(|status| status.rollout.paused = false),
            Notice::Waits { instance, reason, .. } => self.status.waits(instance, reason),
            Notice::DuplicateWorker { input, notice } => {
                // It is in the log; this one lasts.
                let (now, stream) = (self.clock.now(), &self.inputs[input].config.stream);
                let text = format!("stream {stream}: {notice}");
                self.status.update(|status| {
                    status.duplicates.entry(input).or_insert((now, text));
                });
            }
        }
    }
}
