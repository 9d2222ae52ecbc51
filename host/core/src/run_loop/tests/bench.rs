//! A run loop driven by hand. Actions are shown as short text, so that a test reads as a protocol.

use std::collections::BTreeMap;

use crate::envelope::{Batch, BatchBuilder, Envelope};
use crate::kinesis::shard::{ChildShard, HashRange};
use crate::position::Checkpoint;
use crate::run_loop::{
    Action, CallFailure, Event, Failure, FailureClass, Generation, InstanceId, RebuildFailure, Returned, RunLoop,
    Settings, SourceId,
};
use crate::time::Millis;

pub(super) struct Bench {
    pub(super) run_loop: RunLoop,
    pub(super) now: Millis,
    /// Of the last reading of each source.
    pub(super) generations: BTreeMap<SourceId, Generation>,
    /// Envelopes in the call under way.
    called: usize,
    /// Whether another instance would take over from one that gives up; if not, the job stops at once.
    pub(super) has_fallback: bool,
}

/// The instance that is there from the start.
pub(super) const FIRST: InstanceId = 0;

/// Records with these sequence numbers and messages of 100 bytes.
pub(super) fn batch(sequences: impl IntoIterator<Item = u64>) -> Batch {
    let mut builder = BatchBuilder::default();
    for sequence in sequences {
        let sequence = sequence.to_string();
        let envelope =
            Envelope { sequence: &sequence, sub_sequence: 0, key: None, message: &[b'x'; 100], arrival_ms: 0 };
        builder.push(envelope);
    }
    builder.finish()
}

pub(super) fn sequence(checkpoint: &Checkpoint) -> u64 {
    match checkpoint {
        Checkpoint::At(position) => position.sequence.as_str().parse().unwrap(),
        _ => 0,
    }
}

pub(super) fn failure(class: FailureClass) -> CallFailure {
    CallFailure { class, message: format!("{class:?}") }
}

fn sequences(batch: &Batch, range: std::ops::Range<usize>) -> String {
    let all: Vec<&str> = batch.envelopes(range).map(|envelope| envelope.sequence).collect();
    match &all[..] {
        [one] => (*one).to_owned(),
        [first, .., last] => format!("{first}-{last}"),
        [] => "nothing".to_owned(),
    }
}

/// Of an instance other than the first.
fn on_instance(instance: InstanceId) -> String {
    if instance == FIRST { String::new() } else { format!(" on {instance}") }
}

/// What an action is, in a few words.
pub(super) fn show(action: &Action) -> String {
    match action {
        Action::Read { source, from, .. } => format!("read {source} from {from}"),
        Action::Processed { source, records, .. } => format!("through {source} {records}"),
        Action::Call { instance, source, batch, range, attempt } => {
            let again = if *attempt > 1 { format!(" attempt {attempt}") } else { String::new() };
            format!("call {source} {}{again}{}", sequences(batch, range.clone()), on_instance(*instance))
        }
        Action::Rebuild { instance } => format!("rebuild{}", on_instance(*instance)),
        Action::Waits { instance, reason: Some(reason) } => format!("waits{}: {reason}", on_instance(*instance)),
        Action::Waits { instance, reason: None } => format!("waits no more{}", on_instance(*instance)),
        Action::BeforeStop { instance } => format!("before-stop{}", on_instance(*instance)),
        Action::Drop { instance } => format!("drop {instance}"),
        Action::Routed => "routed".to_owned(),
        Action::GaveUp { instance, failure } => format!("gave up{}: {}", on_instance(*instance), tell(failure)),
        Action::Flush => "flush".to_owned(),
        Action::Checkpoint { source, checkpoint, .. } => format!("checkpoint {source} {checkpoint}"),
        Action::EndShard { source, children, .. } => format!("end {source} children {}", children.len()),
        Action::Shutdown(reason) => format!("shutdown: {reason}"),
        Action::Finished(Ok(())) => "finished".to_owned(),
        Action::Finished(Err(failure)) => tell(failure),
    }
}

fn tell(failure: &Failure) -> String {
    match failure {
        Failure::Envelopes { source, first, last, attempts, cause } => {
            format!("failed at {source} {first}-{last} after {attempts}: {}", cause.message)
        }
        other => format!("failed: {other:?}"),
    }
}

impl Bench {
    pub(super) fn new(settings: Settings) -> Self {
        let run_loop = RunLoop::new(0, settings);
        let mut bench = Self { run_loop, now: 0, generations: BTreeMap::new(), called: 0, has_fallback: false };
        bench.on(Event::Added { instance: FIRST });
        bench
    }

    /// Sources that are read from the start, with the envelopes `1..=records` delivered to each.
    pub(super) fn delivered(settings: Settings, records: &[u64]) -> (Self, Vec<String>) {
        let mut bench = Self::new(settings);
        let mut actions = Vec::new();
        for (source, &records) in (0..).zip(records) {
            bench.assign(source, 1, Checkpoint::TrimHorizon);
            actions.extend(bench.deliver(source, 1..=records));
        }
        (bench, actions)
    }

    pub(super) fn on(&mut self, event: Event) -> Vec<String> {
        let mut actions = self.run_loop.on(self.now, event);
        let gave_up = actions.iter().position(|action| matches!(action, Action::GaveUp { .. }));
        if let Some(index) = gave_up.filter(|_| !self.has_fallback) {
            actions.remove(index);
            actions.extend(self.run_loop.on(self.now, Event::GiveUp { instance: FIRST }));
        }
        for action in &actions {
            match action {
                Action::Read { source, generation, .. } => drop(self.generations.insert(*source, *generation)),
                Action::Call { range, .. } => self.called = range.len(),
                _ => {}
            }
        }
        actions.iter().map(show).collect()
    }

    pub(super) fn assign(&mut self, source: SourceId, epoch: u64, checkpoint: Checkpoint) -> Vec<String> {
        self.on(Event::Assigned { source, epoch, checkpoint, instance: FIRST })
    }

    /// The last instance asked says goodbye.
    pub(super) fn goodbye(&mut self) -> Vec<String> {
        self.on(Event::BeforeStopReturned { trapped: false })
    }

    pub(super) fn deliver(&mut self, source: SourceId, sequences: impl IntoIterator<Item = u64>) -> Vec<String> {
        let generation = self.generations[&source];
        self.on(Event::Batch { source, generation, batch: batch(sequences) })
    }

    pub(super) fn end(&mut self, source: SourceId) -> Vec<String> {
        let generation = self.generations[&source];
        let hash_range = HashRange { start: 0, end: u128::MAX };
        let child = ChildShard { id: "child".to_owned(), parents: vec!["parent".to_owned()], hash_range };
        self.on(Event::End { source, generation, children: vec![child] })
    }

    /// The call succeeds.
    pub(super) fn ok(&mut self) -> Vec<String> {
        self.on(Event::Returned(Returned { processed: self.called, ..Returned::default() }))
    }

    /// The call fails after `processed` envelopes; the guest names the envelope at `failed_at` if it can.
    pub(super) fn fail(&mut self, processed: usize, failed_at: Option<usize>, class: FailureClass) -> Vec<String> {
        let error = Some(failure(class));
        self.on(Event::Returned(Returned { processed, failed_at, error, ..Returned::default() }))
    }

    pub(super) fn flushed(&mut self) -> Vec<String> {
        self.on(Event::Flushed(Ok(())))
    }

    pub(super) fn checkpointed(&mut self, source: SourceId) -> Vec<String> {
        self.on(Event::Checkpointed { source, epoch: 1 })
    }

    /// The call succeeds and asks for a commit.
    pub(super) fn ok_commit(&mut self) -> Vec<String> {
        self.on(Event::Returned(Returned { processed: self.called, commit: true, ..Returned::default() }))
    }

    pub(super) fn tick(&mut self, now: Millis) -> Vec<String> {
        self.now = now;
        self.on(Event::Tick)
    }

    /// The new instance could not be built, because of the task or of the host.
    pub(super) fn not_rebuilt(&mut self, by: fn(String) -> RebuildFailure) -> Vec<String> {
        self.on(Event::Rebuilt(Err(by("no memory".to_owned()))))
    }

    pub(super) fn rebuilt(&mut self) -> Vec<String> {
        self.on(Event::Rebuilt(Ok(())))
    }
}
