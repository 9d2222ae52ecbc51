//! A coordinator driven by hand. Actions are shown as short text, so that a test reads as a protocol.

mod ends;
mod sources;
mod versions;

use super::{Action, Coordinator, Event, Notice, RELEASE_TIMEOUT, Settings, TaskId};
use crate::grouper::Partition;
use crate::kinesis::shard::{ChildShard, HashRange};
use crate::leases;
use crate::module::ModuleId;
use crate::position::{Checkpoint, Latest};
use crate::rollout::{self, Deployment, Manner};
use crate::run_loop::{self, CallFailure, Failure, FailureClass};
use crate::time::Millis;

const SHUTDOWN: Millis = 30_000;
const DRAIN: Millis = 500;
const NONE: [&str; 0] = [];

struct Bench {
    coordinator: Coordinator,
    now: Millis,
}

/// Shards that begin with `a` are of task 0, the others of task 1.
fn task_of(partition: Partition<'_>) -> TaskId {
    TaskId(u32::from(!partition.shard.starts_with('a')))
}

fn show_task(event: &run_loop::Event) -> String {
    use run_loop::Event as Loop;
    match event {
        Loop::Assigned { source, epoch, checkpoint, instance } => {
            format!("assigned {source} under {epoch} at {checkpoint} to {instance}")
        }
        Loop::Route { moves, retire } => format!("route {moves:?} retire {retire:?}"),
        Loop::Revoked { source, epoch } => format!("revoked {source} under {epoch}"),
        Loop::Checkpointed { source, .. } => format!("checkpointed {source}"),
        Loop::Sealed { source, .. } => format!("sealed {source}"),
        Loop::GiveUp { instance } => format!("give up {instance}"),
        event => format!("{event:?}").to_lowercase(),
    }
}

/// In a few words; `None` for what is only for people.
fn show(action: &Action) -> Option<String> {
    Some(match action {
        Action::Lease { input, event: leases::Event::Checkpoint { key, epoch, checkpoint } } => {
            format!("lease {input}: checkpoint {key} under {epoch} at {checkpoint}")
        }
        Action::Lease { input, event: leases::Event::ShardEnded { key, .. } } => format!("lease {input}: ended {key}"),
        Action::Lease { input, event } => format!("lease {input}: {event:?}").to_lowercase(),
        Action::Task { task: TaskId(task), event } => format!("task {task}: {}", show_task(event)),
        Action::AddSource { task: TaskId(task), source, shard, .. } => format!("source {source} is {shard} of {task}"),
        Action::AddInstance { task: TaskId(task), instance } => format!("add {instance} to {task}"),
        Action::DropInstance { task: TaskId(task), instance } => format!("drop {instance} of {task}"),
        Action::Build { task: TaskId(task), instance, module } => {
            format!("build {instance} of {} for {task}", module.label())
        }
        Action::Interrupt { task: TaskId(task), instances } => format!("interrupt {instances:?} of {task}"),
        Action::StartReader { source, generation, from, .. } => format!("read {source} as {generation} from {from}"),
        Action::StopReader { source } => format!("stop reading {source}"),
        Action::Credit { source, bytes, records } => format!("credit {source}: {bytes} bytes, {records} records"),
        Action::ReportHealth => "report health".to_owned(),
        Action::Rollout(rollout::Action::Write(deployment)) => format!("write {}", deployment.revision),
        Action::Rollout(rollout::Action::Answer { request, result: Ok(()) }) => format!("done {request}"),
        Action::Rollout(rollout::Action::Answer { request, result: Err(why) }) => format!("refused {request}: {why}"),
        Action::Rollout(_) | Action::RolloutChanged | Action::Notice(_) => return None,
        Action::End(Ok(())) => "end".to_owned(),
        Action::End(Err(failure)) => format!("end: {failure}"),
    })
}

impl Bench {
    /// A job of two inputs and this many tasks, on the version `v1`.
    fn new(tasks: u32) -> Self {
        let input = |stream: &str| ("kinesis".to_owned(), stream.to_owned());
        let settings = Settings {
            inputs: vec![input("lines"), input("orders")],
            tasks,
            task_of: if tasks == 1 { |_| TaskId(0) } else { task_of },
            shutdown_timeout: SHUTDOWN,
            drain: DRAIN,
            rollout: rollout::Settings { is_canary: false, waves: Vec::new(), bake: 1_000, keep_warm: 60_000 },
        };
        let coordinator = Coordinator::new(0, settings, Deployment::first(ModuleId::labelled("v1")));
        Self { coordinator, now: 0 }
    }

    fn on(&mut self, event: Event) -> Vec<String> {
        let actions = self.coordinator.on(self.now, event);
        assert!(self.coordinator.wake_at() > self.now, "asks to be woken at once, for ever: {actions:?}");
        actions.iter().filter_map(show).collect()
    }

    fn notices(&mut self, event: Event) -> Vec<Notice> {
        let actions = self.coordinator.on(self.now, event).into_iter();
        actions.filter_map(|action| if let Action::Notice(notice) = action { Some(notice) } else { None }).collect()
    }

    /// Time passes until the machine wants to be woken.
    fn sleep(&mut self) -> Vec<String> {
        self.now = self.coordinator.wake_at();
        self.on(Event::Tick)
    }

    fn lease(&mut self, input: usize, action: leases::Action) -> Vec<String> {
        self.on(Event::Lease { input, action })
    }

    fn task(&mut self, task: u32, action: run_loop::Action) -> Vec<String> {
        self.on(Event::Task { task: TaskId(task), action })
    }

    /// The lease of a shard is taken.
    fn start(&mut self, input: usize, shard: &str, epoch: u64) -> Vec<String> {
        let (key, checkpoint) = (shard.to_owned(), Checkpoint::TrimHorizon);
        self.lease(input, leases::Action::Start { key, epoch, checkpoint, hash_range: None, latest: Latest::Next })
    }

    fn read(&mut self, task: u32, source: u32, generation: u64) -> Vec<String> {
        self.task(task, run_loop::Action::Read { source, generation, from: Checkpoint::TrimHorizon })
    }

    fn deploy(&mut self, request: u64, module: &str) -> Vec<String> {
        let (module, how) = (ModuleId::labelled(module), Manner::All);
        self.on(Event::Rollout(rollout::Event::Deploy { request, module, how }))
    }

    fn built(&mut self, task: u32, instance: u64) -> Vec<String> {
        self.on(Event::Built { task: TaskId(task), instance, result: Ok(()) })
    }

    fn written(&mut self) -> Vec<String> {
        self.on(Event::Rollout(rollout::Event::Written(Ok(()))))
    }
}

fn fatal(source: u32) -> Failure {
    let cause = CallFailure { class: FailureClass::Fatal, message: "no".to_owned() };
    let position = crate::position::Position { sequence: "7".parse().unwrap(), sub_sequence: 0 };
    Failure::Envelopes { source, first: position.clone(), last: position, attempts: 3, cause }
}

fn child(id: &str, parent: &str) -> ChildShard {
    ChildShard { id: id.to_owned(), parents: vec![parent.to_owned()], hash_range: HashRange { start: 0, end: 1 } }
}
