//! Random histories: sources come and go, deliver in pieces, calls fail in every way, answers are late, the job is
//! stopped somewhere; versions are deployed, some shards or all move to them and back, they trap in every place. A model
//! of each shard and of each instance knows what may happen next and checks every action.

mod instances;
mod shard;

use std::ops::Range;

use super::bench::{failure, sequence, show};
use crate::dice::{Dice, histories};
use crate::leases::Epoch;
use crate::run_loop::{
    Action, Event, Failure, FailureClass, Generation, InstanceId, RebuildFailure, Retry, Returned, RunLoop, Settings,
    SourceId,
};
use crate::time::Millis;
use instances::Instances;
use shard::{Poison, Shard};

const STEPS: u64 = 400;
/// Far more than any history needs to end.
const STEPS_MAX: u32 = 50_000;

#[test]
fn no_history_breaks_an_invariant_and_all_is_processed_in_the_end() {
    histories(0..4_000, |seed| History::new(seed).play());
}

/// What the loop waits for; it must never wait for two of them.
#[derive(Debug)]
enum Busy {
    Call {
        instance: InstanceId,
        source: SourceId,
        generation: Generation,
        first: u64,
        len: usize,
    },
    Rebuild(InstanceId),
    BeforeStop(InstanceId),
    /// What each shard had processed when the flush began.
    Flush(Vec<(SourceId, Epoch, u64)>),
}

impl Drop for History {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
    }
}

struct History {
    dice: Dice,
    settings: Settings,
    run_loop: RunLoop,
    now: Millis,
    shards: Vec<Shard>,
    generation: Generation,
    busy: Option<Busy>,
    /// Checkpoints that the lease machine has not answered.
    checkpoints: Vec<(SourceId, Epoch, u64)>,
    seals: Vec<(SourceId, Epoch)>,
    /// The loop was told to stop, or cannot go on.
    stopping: bool,
    instances: Instances,
    paused: bool,
    /// The outputs are gone.
    unflushed: bool,
    finished: bool,
    log: Vec<String>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let settings = Settings {
            call_max_records: 1 + dice.index(12),
            call_max_bytes: 1 + dice.index(2_000),
            commit_interval: dice.chance(60).then(|| 100 + dice.below(5_000)),
            retry: Retry { max_attempts: 1 + u32::try_from(dice.below(4)).unwrap(), backoff: 100, backoff_max: 800 },
        };
        let mut shards: Vec<Shard> = (0..=dice.below(4)).map(|_| Shard::default()).collect();
        for shard in &mut shards {
            shard.records = dice.below(150);
            shard.closed = dice.chance(40);
            for _ in 0..dice.below(4) {
                let poison = poison(&mut dice);
                shard.poison.insert(1 + dice.below(150), poison);
            }
        }
        let mut this = Self {
            dice,
            settings,
            run_loop: RunLoop::new(0, settings),
            now: 0,
            shards,
            generation: 0,
            busy: None,
            checkpoints: Vec::new(),
            seals: Vec::new(),
            stopping: false,
            instances: Instances::default(),
            paused: false,
            unflushed: false,
            finished: false,
            log: Vec::new(),
        };
        this.add_instance();
        this
    }

    fn play(mut self) {
        let steps = self.dice.below(STEPS);
        for _ in 0..steps {
            self.step();
        }
        self.wind_down();
        if !self.finished {
            for shard in &self.shards {
                assert!(!shard.is_hopeless(), "the job goes on after a record that can never succeed");
                assert_eq!(shard.processed, shard.records, "all is processed; {}", self.tail());
            }
            self.instances.assert_settled();
            self.stop();
            self.wind_down();
        }
        assert!(self.finished, "never ended: {}", self.tail());
    }

    fn tail(&self) -> String {
        format!("busy {:?}, last {:#?}", self.busy, &self.log[self.log.len().saturating_sub(40)..])
    }

    /// Something happens.
    fn step(&mut self) {
        let source = self.dice.index(self.shards.len());
        match self.dice.below(100) {
            0..20 => drop(self.shards[source].fetch(&mut self.dice)),
            20..45 => drop(self.deliver(source)),
            45..73 => drop(self.answer()),
            73..75 => drop(self.answer_give_up()),
            75..82 => drop(self.answer_checkpoint()),
            82..85 => drop(self.answer_seal()),
            85..88 => self.revoke(source),
            88..92 => self.assign(source),
            92..94 => self.put(source),
            94..96 => self.route(),
            96 => self.pause(),
            97..99 => {
                self.now += self.dice.below(400);
                self.on(Event::Tick);
            }
            _ if self.dice.chance(10) => self.stop(),
            _ => {}
        }
    }

    /// Everything that is under way comes to its end; no lease is lost any more.
    fn wind_down(&mut self) {
        if self.paused {
            self.pause();
        }
        (0..self.shards.len()).for_each(|source| self.assign(source));
        for _ in 0..STEPS_MAX {
            if self.finished {
                return;
            }
            let fetched = (0..self.shards.len()).any(|source| self.shards[source].fetch(&mut self.dice));
            let delivered = (0..self.shards.len()).any(|source| self.deliver(source));
            let happened = self.answer() || self.answer_give_up() || self.answer_checkpoint() || self.answer_seal();
            if fetched || delivered || happened {
                continue;
            }
            let idle = self.run_loop.wake_at() == Millis::MAX
                || self.shards.iter().all(|shard| {
                    let done = if shard.sealed { shard.records } else { shard.committed };
                    done == shard.records
                });
            if idle {
                return;
            }
            self.now = self.run_loop.wake_at();
            self.on(Event::Tick);
        }
        panic!("no end in sight: {}", self.tail());
    }

    fn deliver(&mut self, source: usize) -> bool {
        let event = self.shards[source].deliver(id(source));
        event.map(|event| self.on(event)).is_some()
    }

    fn assign(&mut self, source: usize) {
        if self.shards[source].is_free() && !self.stopping && !self.finished {
            let instance = self.instances.any(&mut self.dice);
            let checkpoint = self.shards[source].assign(instance);
            self.on(Event::Assigned { source: id(source), epoch: self.shards[source].epoch, checkpoint, instance });
        }
    }

    fn revoke(&mut self, source: usize) {
        let shard = &mut self.shards[source];
        if !shard.held {
            return;
        }
        shard.held = false;
        let epoch = shard.epoch;
        // A checkpoint on its way may have been written all the same.
        for (of, _, position) in self.checkpoints.extract_if(.., |(of, _, _)| *of == id(source)) {
            if self.dice.chance(50) {
                self.shards[of as usize].table = position;
            }
        }
        self.seals.retain(|(of, _)| *of != id(source));
        self.on(Event::Revoked { source: id(source), epoch });
    }

    fn put(&mut self, source: usize) {
        let shard = &mut self.shards[source];
        if !shard.closed {
            shard.records += self.dice.below(40);
            shard.closed = self.dice.chance(20);
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.on(Event::Stop);
    }

    fn answer_checkpoint(&mut self) -> bool {
        if self.checkpoints.is_empty() {
            return false;
        }
        let (source, epoch, position) = self.checkpoints.swap_remove(self.dice.index(self.checkpoints.len()));
        self.shards[source as usize].table = position;
        self.on(Event::Checkpointed { source, epoch });
        true
    }

    fn answer_seal(&mut self) -> bool {
        // The lease machine writes what is committed before it seals.
        let Some((source, epoch)) = self.seals.first().copied() else { return false };
        if self.checkpoints.iter().any(|(of, ..)| *of == source) {
            return false;
        }
        self.seals.remove(0);
        let shard = &mut self.shards[source as usize];
        (shard.sealed, shard.held) = (true, false);
        self.on(Event::Sealed { source, epoch });
        true
    }

    /// Answers what the loop waits for.
    fn answer(&mut self) -> bool {
        let Some(busy) = self.busy.take() else { return false };
        let event = match busy {
            Busy::Call { instance, source, generation, first, len } => {
                self.call(instance, source, generation, first, len)
            }
            Busy::Rebuild(_) if self.dice.chance(2) => {
                Event::Rebuilt(Err(RebuildFailure::Task("init failed".to_owned())))
            }
            Busy::Rebuild(_) if self.dice.chance(20) => {
                Event::Rebuilt(Err(RebuildFailure::Host("no memory".to_owned())))
            }
            Busy::Rebuild(instance) => {
                self.instances.rebuilt(instance);
                Event::Rebuilt(Ok(()))
            }
            Busy::BeforeStop(instance) => {
                let trapped = self.dice.chance(20);
                self.instances.said_goodbye(instance);
                if trapped {
                    self.died(instance);
                }
                Event::BeforeStopReturned { trapped }
            }
            Busy::Flush(_) if self.dice.below(400) == 0 => {
                (self.stopping, self.unflushed) = (true, true);
                Event::Flushed(Err("no space".to_owned()))
            }
            Busy::Flush(processed) => {
                for (source, epoch, position) in processed {
                    let shard = &mut self.shards[source as usize];
                    if shard.epoch == epoch {
                        shard.flushed = position;
                    }
                }
                Event::Flushed(Ok(()))
            }
        };
        self.on(event);
        true
    }

    /// What the guest makes of a call.
    fn call(
        &mut self,
        instance: InstanceId,
        source: SourceId,
        generation: Generation,
        first: u64,
        len: usize,
    ) -> Event {
        let shard = &mut self.shards[source as usize];
        let poisoned = shard.poison_in(instance, first, len);
        let class = if self.dice.chance(50) { FailureClass::Host } else { FailureClass::Retry(None) };
        let by_chance = self.dice.chance(6).then_some((self.dice.index(len), class));
        let returned = match poisoned.or(by_chance) {
            Some((index, class)) => failed(&mut self.dice, index, class),
            None => Returned { processed: len, commit: self.dice.chance(8), ..Returned::default() },
        };
        if shard.held && shard.generation == generation {
            shard.processed += returned.processed as u64;
        }
        if matches!(&returned.error, Some(error) if error.class.ends_instance()) {
            self.died(instance);
        }
        Event::Returned(returned)
    }

    fn on(&mut self, event: Event) {
        self.log.push(format!("{} {}", self.now, format!("{event:?}").chars().take(100).collect::<String>()));
        for action in self.run_loop.on(self.now, event) {
            self.log.push(format!("    {}", show(&action)));
            assert!(!self.finished, "acts after the end: {action:?}");
            self.check(action);
        }
        if self.busy.is_none() && !self.finished {
            assert!(self.run_loop.wake_at() > self.now, "asks to be woken at once, for ever: {}", self.tail());
        }
    }

    fn check(&mut self, action: Action) {
        match action {
            Action::Read { source, generation, from } => {
                assert!(generation > self.generation && !self.stopping, "{}", self.tail());
                self.generation = generation;
                self.instances.check_reading(self.shards[source as usize].runs_on());
                self.shards[source as usize].read(generation, &from);
            }
            Action::Processed { source, generation, records, .. } => {
                self.shards[source as usize].through(generation, records);
            }
            Action::Call { instance, source, batch, range, attempt } => {
                assert!(!self.stopping && !self.paused, "{}", self.tail());
                self.instances.check_call(instance);
                self.check_bounds(&batch, range.clone());
                let shard = &mut self.shards[source as usize];
                assert_eq!(instance, shard.runs_on(), "a call on another instance than the last route says");
                shard.arrive();
                shard.check_call(&batch, range.clone(), attempt, self.settings.retry.max_attempts);
                let (first, generation) = (shard.processed + 1, shard.generation);
                self.wait_for(Busy::Call { instance, source, generation, first, len: range.len() });
            }
            Action::Rebuild { instance } => {
                self.instances.check_rebuild(instance);
                self.wait_for(Busy::Rebuild(instance));
            }
            // Checked in single cases.
            Action::Waits { .. } => {}
            Action::BeforeStop { instance } => {
                self.check_goodbye(instance);
                self.wait_for(Busy::BeforeStop(instance));
            }
            Action::Drop { instance } => self.check_drop(instance),
            Action::Routed => self.check_routed(),
            Action::GaveUp { instance, failure } => self.check_gave_up(instance, &failure),
            Action::Flush => {
                let held = (0..).zip(&self.shards).filter(|(_, shard)| shard.held);
                let processed = held.map(|(source, shard)| (source, shard.epoch, shard.processed)).collect();
                self.wait_for(Busy::Flush(processed));
            }
            Action::Checkpoint { source, epoch, checkpoint } => {
                let position = sequence(&checkpoint);
                assert!(self.checkpoints.iter().all(|(of, ..)| *of != source), "two checkpoints of {source} at a time");
                self.shards[source as usize].check_checkpoint(epoch, position);
                self.shards[source as usize].committed = position;
                self.checkpoints.push((source, epoch, position));
            }
            Action::EndShard { source, epoch, .. } => {
                self.shards[source as usize].check_end(epoch);
                self.shards[source as usize].end_asked = true;
                self.seals.push((source, epoch));
            }
            Action::Shutdown(reason) => panic!("nobody asked: {reason}"),
            Action::Finished(result) => self.check_finished(result),
        }
    }

    fn wait_for(&mut self, busy: Busy) {
        assert!(self.busy.is_none(), "{busy:?} while {}", self.tail());
        self.busy = Some(busy);
    }

    fn check_bounds(&self, batch: &crate::envelope::Batch, range: Range<usize>) {
        let bytes: usize = range.clone().map(|index| batch.payload_bytes(index)).sum();
        let fits = range.len() <= self.settings.call_max_records && bytes <= self.settings.call_max_bytes;
        assert!(fits || range.len() == 1, "a call of {} envelopes and {bytes} bytes", range.len());
        assert!(!range.is_empty());
    }

    fn check_finished(&mut self, result: Result<(), Failure>) {
        self.finished = true;
        assert!(self.busy.is_none());
        assert!(self.stopping, "nobody asked for the end");
        if let Err(failure) = &result
            && !self.instances.told.contains(failure)
        {
            self.check_failure(failure);
        }
        if self.unflushed {
            return;
        }
        self.instances.assert_none_alive();
        assert!(self.checkpoints.is_empty(), "answers to {:?} are not awaited", self.checkpoints);
        for shard in self.shards.iter().filter(|shard| shard.held) {
            assert_eq!(shard.committed, shard.processed, "all that was processed is committed; {}", self.tail());
        }
        let most = 2 * self.settings.retry.max_attempts;
        let counts = self.shards.iter().flat_map(|shard| shard.poison.values());
        assert!(counts.clone().all(|poison| poison.failed <= most), "a record was tried more than {most} times");
    }

    fn check_failure(&self, failure: &Failure) {
        let Failure::Envelopes { source, first, last, attempts, cause } = failure else {
            return;
        };
        assert!(cause.class != FailureClass::Host, "the host's failure ended the job");
        let is_final = matches!(cause.class, FailureClass::Reject | FailureClass::Fatal);
        assert!(is_final || *attempts == self.settings.retry.max_attempts, "gave up after {attempts}");
        let number = |position: &crate::position::Position| position.sequence.as_str().parse::<u64>().unwrap();
        let blamed = self.shards[*source as usize].poison.range(number(first)..=number(last));
        let culprit = |(_, poison): (&u64, &Poison)| poison.failed > 0;
        let by_chance = matches!(cause.class, FailureClass::Retry(_));
        assert!(by_chance || blamed.clone().any(culprit), "{first}-{last} did nothing wrong");
    }
}

fn id(source: usize) -> SourceId {
    SourceId::try_from(source).unwrap()
}

fn poison(dice: &mut Dice) -> Poison {
    let class = match dice.below(10) {
        0..3 => FailureClass::Other,
        3..5 => FailureClass::Retry(Some(u32::try_from(dice.below(2_000)).unwrap())),
        5 => FailureClass::Retry(None),
        6..9 => FailureClass::Trap,
        _ if dice.chance(50) => FailureClass::Reject,
        _ => FailureClass::Fatal,
    };
    let never = matches!(class, FailureClass::Reject | FailureClass::Fatal) || dice.chance(10);
    let times = if never { u32::MAX } else { 1 };
    let only = dice.chance(40).then(|| dice.below(2));
    Poison { class, times, only, failed: 0 }
}

/// A call that fails at the envelope `index`: a task reports what came before as done, a batch task nothing; either
/// may name the envelope.
fn failed(dice: &mut Dice, index: usize, class: FailureClass) -> Returned {
    let processed = if dice.chance(50) { index } else { 0 };
    let failed_at = dice.chance(50).then_some(index);
    Returned { processed, failed_at, error: Some(failure(class)), ..Returned::default() }
}
