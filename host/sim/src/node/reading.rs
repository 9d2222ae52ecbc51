//! As the host's shells around the two reading machines: one call at a time, batches to the task as soon as there is
//! room, word of what the task is through with.

use std::collections::VecDeque;

use shardmill_core::envelope::Batch;
use shardmill_core::kinesis::shard::{ChildShard, HashRange, ShardId};
use shardmill_core::kinesis::{fan_out, polling};
use shardmill_core::position::{Checkpoint, Latest, StartingPosition};
use shardmill_core::run_loop::{self, Generation, SourceId};
use shardmill_core::service::{ErrorKind, ServiceError};
use shardmill_core::time::Millis;
use shardmill_local::model::Subscription;

use super::{Node, Settings};
use crate::audit::Rate;
use crate::kinesis::{SUBSCRIPTION_LIFE, next_event};
use crate::network::{Answer, Call};
use crate::outside::Outside;
use crate::queue::Part;
use crate::world::Flaw;

/// The service sends an event at least so often.
const HEARTBEAT: Millis = 5_000;
/// How often a subscription is looked at.
const LOOK: Millis = 450;

pub(super) enum Machine {
    Polling(polling::Reader),
    FanOut(fan_out::Reader),
}

enum Event {
    Tick,
    Processed { bytes: usize, records: usize },
    Answer(Answer),
}

/// What either machine wants.
enum Act {
    Call(Call),
    TakeEvent,
    Deliver(Batch),
    End(Vec<ChildShard>),
    Fail(ServiceError),
}

pub(super) struct ShardReader {
    machine: Machine,
    shard: ShardId,
    source: SourceId,
    generation: Generation,
    todo: VecDeque<Act>,
    /// The call under way.
    call: Option<u64>,
    /// It asked for what comes next.
    asked_latest: bool,
    /// Since when an event is awaited.
    taking: Option<Millis>,
    subscription: Option<(Subscription, Millis)>,
    answer: Option<Answer>,
    progress: Option<(usize, usize)>,
    pub(super) due: Millis,
}

impl Settings {
    /// The machine of a new reading.
    pub(super) fn reader(
        &self,
        latest: Latest,
        seed: u64,
        from: &Checkpoint,
        hash_range: Option<HashRange>,
    ) -> Machine {
        let polling = polling::Settings { latest, seed, ..self.reader };
        let polling::Settings { initial_position, max_unprocessed_bytes, max_unprocessed_records, .. } = polling;
        let fan_out =
            fan_out::Settings { initial_position, latest, max_unprocessed_bytes, max_unprocessed_records, seed };
        match self.is_fan_out {
            true => Machine::FanOut(fan_out::Reader::new(fan_out, from, hash_range)),
            false => Machine::Polling(polling::Reader::new(polling, from, hash_range)),
        }
    }
}

impl ShardReader {
    pub(super) fn new(machine: Machine, shard: ShardId, source: SourceId, generation: Generation) -> Self {
        Self {
            machine,
            shard,
            source,
            generation,
            todo: VecDeque::new(),
            call: None,
            asked_latest: false,
            taking: None,
            subscription: None,
            answer: None,
            progress: None,
            due: Millis::MAX,
        }
    }

    fn wake_at(&self) -> Millis {
        match &self.machine {
            Machine::Polling(reader) => reader.wake_at(),
            Machine::FanOut(reader) => reader.wake_at(),
        }
    }

    fn is_calling(&self) -> bool {
        self.call.is_some() || self.taking.is_some()
    }

    /// The next event at the node's time `local`, if there is one.
    fn next_event(&mut self, local: Millis) -> Option<Event> {
        if let Some(answer) = self.answer.take() {
            return Some(Event::Answer(answer));
        }
        let is_due = local >= self.wake_at();
        if self.is_calling() {
            // The polling shell waits for its call whatever comes; the other gives it up when the machine says so.
            let given_up = is_due && matches!(self.machine, Machine::FanOut(_));
            return given_up.then(|| {
                (self.call, self.taking, self.subscription) = (None, None, None);
                Event::Tick
            });
        }
        let progress = self.progress.take().map(|(bytes, records)| Event::Processed { bytes, records });
        progress.or_else(|| is_due.then_some(Event::Tick))
    }

    fn on(&mut self, local: Millis, event: Event) {
        let acts: VecDeque<Act> = match &mut self.machine {
            Machine::Polling(reader) => {
                let event = match event {
                    Event::Answer(Answer::Poll(event)) => event,
                    Event::Processed { bytes, records } => polling::Event::Processed { bytes, records },
                    _ => polling::Event::Tick,
                };
                reader.on(local, event).into_iter().map(|action| polling(&self.shard, action)).collect()
            }
            Machine::FanOut(reader) => {
                let event = match event {
                    Event::Answer(Answer::FanOut(event)) => event,
                    Event::Answer(Answer::Subscribed(_)) => fan_out::Event::Subscribed(Ok(())),
                    Event::Processed { bytes, records } => fan_out::Event::Processed { bytes, records },
                    _ => fan_out::Event::Tick,
                };
                reader.on(local, event).into_iter().map(|action| fan_out(&self.shard, action)).collect()
            }
        };
        self.todo = acts;
    }
}

fn polling(shard: &ShardId, action: polling::Action) -> Act {
    match action {
        polling::Action::GetIterator(from) => Act::Call(Call::Iterator(shard.clone(), from)),
        polling::Action::GetRecords { iterator, limit } => Act::Call(Call::Records { iterator, limit }),
        polling::Action::Deliver(batch) => Act::Deliver(batch),
        polling::Action::End { children } => Act::End(children),
        polling::Action::Fail(error) => Act::Fail(error),
    }
}

fn fan_out(shard: &ShardId, action: fan_out::Action) -> Act {
    match action {
        fan_out::Action::Subscribe(from) => Act::Call(Call::Subscribe(shard.clone(), from)),
        fan_out::Action::FindConsumer => Act::Call(Call::FindConsumer),
        fan_out::Action::TakeEvent => Act::TakeEvent,
        fan_out::Action::Deliver(batch) => Act::Deliver(batch),
        fan_out::Action::End { children } => Act::End(children),
        fan_out::Action::Fail(error) => Act::Fail(error),
    }
}

impl Node {
    pub(super) fn reader_progressed(&mut self, out: &mut Outside, id: u64, bytes: usize, records: usize) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let progress = reader.progress.get_or_insert_default();
        *progress = (progress.0 + bytes, progress.1 + records);
        if !reader.is_calling() {
            self.hop(out, Part::Reader(id));
        }
    }

    pub(super) fn reader_answered(&mut self, out: &mut Outside, id: u64, call: u64, answer: Answer) {
        let Some(reader) = self.readers.get_mut(&id).filter(|reader| reader.call == Some(call)) else { return };
        reader.call = None;
        let accepted = matches!(answer, Answer::Poll(polling::Event::Iterator(Ok(_))) | Answer::Subscribed(_));
        if accepted && reader.asked_latest {
            out.audit.truth.contacted(&reader.shard);
        }
        reader.answer = Some(match answer {
            Answer::Subscribed(subscription) => {
                reader.subscription = Some((*subscription, out.now));
                Answer::FanOut(fan_out::Event::Subscribed(Ok(())))
            }
            answer => answer,
        });
        self.hop(out, Part::Reader(id));
    }

    pub(super) fn step_reader(&mut self, out: &mut Outside, id: u64) {
        // Out of the map while it has its turn; it goes back unless it has ended.
        let Some(mut reader) = self.readers.remove(&id) else { return };
        if self.read_on(out, id, &mut reader) {
            self.readers.insert(id, reader);
            self.plan_reader(out, id);
        }
    }

    /// When the reader has its next turn.
    fn plan_reader(&mut self, out: &mut Outside, id: u64) {
        let Some(reader) = self.readers.get(&id) else { return };
        if !reader.todo.is_empty() {
            // It waits for room, and is called when there is some.
            return;
        }
        let polls = matches!(reader.machine, Machine::Polling(_));
        let (wake_at, taking) = (reader.wake_at(), reader.taking.is_some());
        if taking {
            self.wake(out, Part::Reader(id), out.now + LOOK);
        } else if !(polls && reader.is_calling()) {
            self.wake_at(out, Part::Reader(id), wake_at);
        }
    }

    /// Goes on until it waits for something; `false` when the reader has ended.
    fn read_on(&mut self, out: &mut Outside, id: u64, reader: &mut ShardReader) -> bool {
        loop {
            while let Some(act) = reader.todo.pop_front() {
                let (source, generation) = (reader.source, reader.generation);
                let blocked = match act {
                    Act::Deliver(batch) => {
                        let Some(batch) = self.flawed(out, reader, batch) else { continue };
                        let event = run_loop::Event::Batch { source, generation, batch };
                        self.deliver(out, (id, source), event).err()
                    }
                    Act::End(children) => {
                        let event = run_loop::Event::End { source, generation, children };
                        match self.deliver(out, (id, source), event) {
                            Ok(()) => return false,
                            Err(event) => Some(event),
                        }
                    }
                    Act::Fail(error) => {
                        self.reader_failed(out, source, generation, error);
                        return false;
                    }
                    Act::Call(call) => {
                        self.call_stream(out, id, reader, call);
                        None
                    }
                    Act::TakeEvent => {
                        reader.taking = Some(out.now);
                        self.wake(out, Part::Reader(id), out.now + LOOK);
                        None
                    }
                };
                match blocked {
                    Some(run_loop::Event::Batch { batch, .. }) => reader.todo.push_front(Act::Deliver(batch)),
                    Some(run_loop::Event::End { children, .. }) => reader.todo.push_front(Act::End(children)),
                    _ => continue,
                }
                return true;
            }
            look_at_subscription(out, reader);
            let local = self.clock.local(out.now);
            let Some(event) = reader.next_event(local) else { return true };
            reader.on(local, event);
        }
    }

    fn call_stream(&mut self, out: &mut Outside, id: u64, reader: &mut ShardReader, call: Call) {
        match &call {
            Call::Records { .. } => out.audit.count(self.id, Rate::Reads(id), self.clock.local(out.now)),
            Call::Subscribe(..) => reader.subscription = None,
            _ => {}
        }
        reader.asked_latest = is_latest(&call).is_some();
        reader.call = Some(self.call(out, Part::Reader(id), call));
    }

    /// What a reader that is broken on purpose makes of a batch.
    fn flawed(&self, out: &mut Outside, reader: &ShardReader, mut batch: Batch) -> Option<Batch> {
        match self.settings.flaw {
            Some(Flaw::SkipsRecords) if batch.len() > 1 && out.dice.chance(10) => {
                batch.skip_through(&batch.position(0));
                Some(batch)
            }
            Some(Flaw::EndsEarly) if matches!(reader.todo.front(), Some(Act::End(_))) => None,
            _ => Some(batch),
        }
    }
}

/// Takes an event that has come in, if one is awaited.
fn look_at_subscription(out: &mut Outside, reader: &mut ShardReader) {
    let (Some(since), Some((subscription, made))) = (reader.taking, &mut reader.subscription) else {
        return;
    };
    let broken =
        || ServiceError { kind: ErrorKind::Unavailable, operation: "SubscribeToShard", message: String::new() };
    let event = match out.dice.below(if out.network.fault_percent > 0 { 100 } else { 1 }) {
        99 => Err(broken()),
        // Nothing comes any more, and nobody says so.
        98 => return *made = Millis::MAX,
        _ if *made == Millis::MAX => return,
        _ if out.now >= *made + SUBSCRIPTION_LIFE => Ok(None),
        _ => next_event(out.now, subscription),
    };
    let is_empty = matches!(&event, Ok(Some(delivery)) if delivery.batch.is_empty() && delivery.continuation.is_some());
    if is_empty && out.now < since + HEARTBEAT {
        return;
    }
    reader.taking = None;
    reader.answer = Some(Answer::FanOut(fan_out::Event::Delivered(event)));
}

/// The shard of which a call asks for what comes next.
pub(crate) fn is_latest(call: &Call) -> Option<&ShardId> {
    match call {
        Call::Iterator(shard, StartingPosition::Latest) | Call::Subscribe(shard, StartingPosition::Latest) => {
            Some(shard)
        }
        _ => None,
    }
}
