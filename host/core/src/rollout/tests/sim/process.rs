//! A process of the simulation: rollout and run loop, and the shell between them with everything that is under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use super::{Fault, World, fault};
use crate::envelope::{BatchBuilder, Envelope};
use crate::leases::Epoch;
use crate::module::ModuleId;
use crate::position::Checkpoint;
use crate::rollout::{self, Deployment, FIRST_INSTANCE, Health, Rollout, WriteError};
use crate::run_loop::{
    Action, CallFailure, Event, FailureClass, Generation, InstanceId, Retry, Returned, RunLoop, Settings, SourceId,
};
use crate::time::Millis;

const SETTINGS: Settings = Settings {
    call_max_records: 8,
    call_max_bytes: 10_000,
    commit_interval: Some(200),
    retry: Retry { max_attempts: 3, backoff: 10, backoff_max: 100 },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Well,
    Failed,
}

#[derive(Debug)]
enum Busy {
    Call { instance: InstanceId, source: SourceId, epoch: Epoch, first: u64, len: usize },
    Rebuild,
    BeforeStop(InstanceId),
    Flush,
}

pub(super) struct Process {
    run_loop: RunLoop,
    rollout: Rollout,
    pub(super) ended: Option<Ended>,
    busy: Option<Busy>,
    builds: Vec<(InstanceId, ModuleId)>,
    /// And whether it is in the store already.
    writing: Option<(Deployment, bool)>,
    checkpoints: Vec<(SourceId, Epoch, u64)>,
    modules: BTreeMap<InstanceId, ModuleId>,
    /// Built, and not in the run loop.
    spares: BTreeSet<InstanceId>,
    health: BTreeMap<InstanceId, Health>,
    held: BTreeSet<SourceId>,
    readings: BTreeMap<SourceId, (Generation, u64)>,
    /// The last record that was processed, by the living instance or before a flush.
    processed: BTreeMap<SourceId, u64>,
    outputs: Vec<(SourceId, u64)>,
    paused: bool,
    /// A request was answered with no.
    pub(super) refused: bool,
    /// On its way from the run loop to the rollout.
    told: VecDeque<rollout::Event>,
}

impl Process {
    /// Where the last one left off.
    pub(super) fn start(world: &mut World) -> Self {
        let stored = world.stored.clone();
        let mut process = Self {
            run_loop: RunLoop::new(world.now, SETTINGS),
            modules: BTreeMap::from([(FIRST_INSTANCE, stored.current)]),
            rollout: Rollout::new(world.now, world.settings.clone(), stored),
            ended: None,
            busy: None,
            builds: Vec::new(),
            writing: None,
            checkpoints: Vec::new(),
            spares: BTreeSet::new(),
            health: BTreeMap::new(),
            held: BTreeSet::new(),
            readings: BTreeMap::new(),
            processed: BTreeMap::new(),
            outputs: Vec::new(),
            paused: false,
            refused: false,
            told: VecDeque::new(),
        };
        process.tell(world, Event::Added { instance: FIRST_INSTANCE });
        process.ask(world, rollout::Event::Tick);
        for source in 0..world.shards.len() {
            process.hold(world, source);
        }
        process
    }

    /// What is under way in the store and in the table may have got there.
    pub(super) fn die(&mut self, world: &mut World) {
        if let Some((deployment, false)) = self.writing.take()
            && world.dice.chance(50)
        {
            store(world, deployment);
        }
        for (source, epoch, position) in std::mem::take(&mut self.checkpoints) {
            let shard = &mut world.shards[source as usize];
            if shard.epoch == epoch && world.dice.chance(50) {
                shard.checkpoint(position);
            }
        }
    }

    fn hold(&mut self, world: &mut World, shard: usize) {
        let source = SourceId::try_from(shard).unwrap();
        world.shards[shard].epoch += 1;
        self.held.insert(source);
        let name = world.shards[shard].name.clone();
        self.ask(world, rollout::Event::Assigned { source, shard: name });
    }

    /// The lease of a shard is lost, and got back.
    pub(super) fn lose(&mut self, world: &mut World, shard: usize) {
        let source = SourceId::try_from(shard).unwrap();
        world.may_repeat = true;
        self.held.remove(&source);
        self.readings.remove(&source);
        let epoch = world.shards[shard].epoch;
        self.checkpoints.retain(|(of, ..)| *of != source);
        self.tell(world, Event::Revoked { source, epoch });
        self.ask(world, rollout::Event::Released { source });
        self.hold(world, shard);
    }

    pub(super) fn pause(&mut self, world: &mut World) {
        self.paused = !self.paused;
        self.tell(world, if self.paused { Event::Pause } else { Event::Resume });
    }

    pub(super) fn resume(&mut self, world: &mut World) {
        if self.paused {
            self.pause(world);
        }
    }

    pub(super) fn wake_at(&self) -> Millis {
        self.run_loop.wake_at().min(self.rollout.wake_at())
    }

    pub(super) fn tick(&mut self, world: &mut World) {
        for (instance, health) in self.health.clone() {
            self.ask(world, rollout::Event::Health { instance, health });
        }
        self.ask(world, rollout::Event::Tick);
        self.tell(world, Event::Tick);
    }

    /// One thing of those that are under way happens; false when there is none.
    pub(super) fn progress(&mut self, world: &mut World) -> bool {
        let start = world.dice.below(6);
        (0..6).any(|turn| match (start + turn) % 6 {
            5 => self.pass_on(world),
            0 => self.answer_busy(world),
            1 => self.answer_build(world),
            2 => self.answer_write(world),
            3 => self.answer_checkpoint(world),
            _ => self.deliver(world),
        })
    }

    fn pass_on(&mut self, world: &mut World) -> bool {
        let Some(event) = self.told.pop_front() else { return false };
        self.ask(world, event);
        true
    }

    fn answer_build(&mut self, world: &mut World) -> bool {
        let Some((instance, module)) = self.builds.pop() else { return false };
        let fails = fault(module) == Fault::DoesNotStart && world.dice.chance(70);
        let result = if fails { Err("init".to_owned()) } else { Ok(()) };
        if !fails {
            self.modules.insert(instance, module);
            self.spares.insert(instance);
        }
        self.ask(world, rollout::Event::Built { instance, result });
        true
    }

    fn answer_write(&mut self, world: &mut World) -> bool {
        let Some((deployment, stored)) = self.writing.take() else { return false };
        if stored {
            self.ask(world, rollout::Event::Written(Ok(())));
        } else if world.dice.chance(10) {
            self.ask(world, rollout::Event::Written(Err(WriteError::Failed("no space".to_owned()))));
        } else {
            store(world, deployment.clone());
            self.writing = Some((deployment, true));
        }
        true
    }

    fn answer_checkpoint(&mut self, world: &mut World) -> bool {
        let Some((source, epoch, position)) = self.checkpoints.pop() else { return false };
        world.shards[source as usize].checkpoint(position);
        self.tell(world, Event::Checkpointed { source, epoch });
        true
    }

    fn deliver(&mut self, world: &mut World) -> bool {
        let wants = |(source, (_, next)): &(&SourceId, &(Generation, u64))| {
            *next < world.shards[**source as usize].records && *next < self.processed[source] + 40
        };
        let Some((&source, _)) = self.readings.iter().find(wants) else { return false };
        let records = world.shards[source as usize].records;
        let (generation, next) = self.readings.get_mut(&source).unwrap();
        let last = records.min(*next + 1 + world.dice.below(15));
        let mut builder = BatchBuilder::default();
        for sequence in *next + 1..=last {
            let sequence = sequence.to_string();
            builder.push(Envelope { sequence: &sequence, sub_sequence: 0, key: None, message: b"x", arrival_ms: 0 });
        }
        *next = last;
        let event = Event::Batch { source, generation: *generation, batch: builder.finish() };
        self.tell(world, event);
        true
    }

    fn answer_busy(&mut self, world: &mut World) -> bool {
        let Some(busy) = self.busy.take() else { return false };
        let event = match busy {
            Busy::Rebuild => Event::Rebuilt(Ok(())),
            Busy::BeforeStop(instance) => {
                let trapped = fault(self.modules[&instance]) == Fault::Traps && world.dice.chance(50);
                world.may_repeat |= trapped;
                Event::BeforeStopReturned { trapped }
            }
            Busy::Flush => {
                for (source, record) in self.outputs.drain(..) {
                    world.shards[source as usize].flushed(record);
                }
                Event::Flushed(Ok(()))
            }
            Busy::Call { instance, source, epoch, first, len } => {
                let counts = world.shards[source as usize].epoch == epoch;
                self.called(world, instance, source, first..first + len as u64, counts)
            }
        };
        self.tell(world, event);
        true
    }

    fn called(
        &mut self,
        world: &mut World,
        instance: InstanceId,
        source: SourceId,
        records: Range<u64>,
        counts: bool,
    ) -> Event {
        let class = match fault(self.modules[&instance]) {
            Fault::Rejects if world.dice.chance(30) => Some(FailureClass::Reject),
            Fault::Traps if world.dice.chance(30) => Some(FailureClass::Trap),
            _ => None,
        };
        let health = self.health.entry(instance).or_default();
        health.calls += 1;
        let Some(class) = class else {
            // What a lost shard's call put out is out all the same.
            self.outputs.extend(records.clone().map(|record| (source, record)));
            if counts {
                self.processed.insert(source, records.end - 1);
            }
            let processed = usize::try_from(records.end - records.start).unwrap();
            return Event::Returned(Returned { processed, ..Returned::default() });
        };
        health.failed_calls += 1;
        if class == FailureClass::Trap {
            health.traps += 1;
            world.may_repeat = true;
        }
        let error = Some(CallFailure { class, message: "broken".to_owned() });
        Event::Returned(Returned { error, ..Returned::default() })
    }

    /// Something for the rollout.
    pub(super) fn ask(&mut self, world: &mut World, event: rollout::Event) {
        if self.ended.is_some() {
            return;
        }
        world.say(format!("{event:?}"));
        for action in self.rollout.on(world.now, event) {
            world.say(format!("    {action:?}"));
            self.act(world, action);
        }
    }

    fn act(&mut self, world: &mut World, action: rollout::Action) {
        use rollout::Action as Wanted;
        match action {
            Wanted::Build { instance, module } => self.builds.push((instance, module)),
            Wanted::Write(deployment) => {
                assert!(self.writing.is_none(), "two writes at a time");
                self.writing = Some((deployment, false));
            }
            Wanted::Assign { source, instance } => {
                self.hand_over(world, instance);
                let shard = &world.shards[source as usize];
                let (epoch, checkpoint) = (shard.epoch, shard.position());
                self.tell(world, Event::Assigned { source, epoch, checkpoint, instance });
            }
            Wanted::Route { moves, retire } => {
                moves.iter().for_each(|&(_, to)| self.hand_over(world, to));
                let retire = retire.into_iter().filter(|instance| !self.spares.remove(instance)).collect();
                self.tell(world, Event::Route { moves, retire });
            }
            Wanted::GiveUp { instance } => self.tell(world, Event::GiveUp { instance }),
            Wanted::Fail { .. } => self.ended = Some(Ended::Failed),
            Wanted::Answer { result, .. } => self.refused |= result.is_err(),
            Wanted::Tell(_) => {}
        }
    }

    fn hand_over(&mut self, world: &mut World, instance: InstanceId) {
        if self.spares.remove(&instance) {
            self.tell(world, Event::Added { instance });
        }
    }

    /// Something for the run loop.
    fn tell(&mut self, world: &mut World, event: Event) {
        if self.ended.is_some() {
            return;
        }
        for action in self.run_loop.on(world.now, event) {
            self.carry_out(world, action);
        }
    }

    fn carry_out(&mut self, world: &mut World, action: Action) {
        match action {
            Action::Read { source, generation, from } => {
                let from = sequence(&from);
                self.readings.insert(source, (generation, from));
                self.processed.insert(source, from);
            }
            Action::Call { instance, source, batch, range, .. } => {
                let first = batch.envelope(range.start).sequence.parse().unwrap();
                self.check_call(world, instance, source, first);
                let epoch = world.shards[source as usize].epoch;
                self.wait_for(Busy::Call { instance, source, epoch, first, len: range.len() });
            }
            Action::Rebuild { .. } => self.wait_for(Busy::Rebuild),
            Action::BeforeStop { instance } => self.wait_for(Busy::BeforeStop(instance)),
            Action::Flush => self.wait_for(Busy::Flush),
            Action::Checkpoint { source, epoch, checkpoint } => {
                self.checkpoints.push((source, epoch, sequence(&checkpoint)));
            }
            Action::GaveUp { instance, failure } => {
                self.told.push_back(rollout::Event::GaveUp { instance, reason: format!("{failure:?}") });
            }
            Action::Finished(result) => {
                world.say(format!("finished {result:?}"));
                self.ended = Some(if result.is_ok() { Ended::Well } else { Ended::Failed });
            }
            Action::Processed { .. }
            | Action::Waits { .. }
            | Action::EndShard { .. }
            | Action::Drop { .. }
            | Action::Routed
            | Action::Shutdown(_) => {}
        }
    }

    fn wait_for(&mut self, busy: Busy) {
        assert!(self.busy.is_none(), "{busy:?} while {:?}", self.busy);
        self.busy = Some(busy);
    }

    fn check_call(&self, world: &World, instance: InstanceId, source: SourceId, first: u64) {
        assert!(self.held.contains(&source));
        assert_eq!(first, self.processed[&source] + 1, "the next record of {source}");
        let shard = source as usize;
        let module = self.modules[&instance];
        let in_effect = self.rollout.deployment().module_of(&world.shards[shard].name);
        // Until its successor is built, a version that is being replaced goes on.
        let waits = self.rollout.ready_instance(in_effect).is_none();
        let allowed = world.written_for(shard);
        assert!(
            waits || module == in_effect || allowed.contains(&module),
            "{module:?} processes {source}, and {in_effect:?} is to"
        );
    }

    pub(super) fn assert_all_on(&self, module: &str, world: &World) {
        for source in 0..world.shards.len() {
            let instance = self.rollout.sources[&SourceId::try_from(source).unwrap()].instance;
            let on = instance.and_then(|instance| self.rollout.module(instance));
            assert_eq!(on.as_ref().map(ModuleId::label), Some(module));
        }
    }
}

fn store(world: &mut World, deployment: Deployment) {
    assert_eq!(deployment.revision, world.stored.revision + 1, "a change that did not see the last one");
    world.say(format!("stored {deployment:?}"));
    world.stored = deployment;
}

fn sequence(checkpoint: &Checkpoint) -> u64 {
    match checkpoint {
        Checkpoint::At(position) => position.sequence.as_str().parse().unwrap(),
        _ => 0,
    }
}
