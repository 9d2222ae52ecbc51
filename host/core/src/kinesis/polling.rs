//! The polling reader of one shard, as a pure machine: which call comes next, when, and what an answer means. It
//! pages, paces itself within the service's five calls a second, renews expired iterators without a gap or a repeat,
//! backs off when throttled, stops fetching when the task is behind, and reports the end once. Times are milliseconds
//! since 1970-01-01 UTC on a clock that does not jump.

use crate::envelope::Batch;
use crate::kinesis::aggregate;
use crate::kinesis::shard::{ChildShard, HashRange};
use crate::kinesis::shard_progress::{self, End, ShardProgress};
use crate::position::{Checkpoint, InitialPosition, Latest, StartingPosition};
use crate::service::{ErrorKind, ServiceError};
use crate::time::Millis;

pub use crate::kinesis::shard_progress::CATCH_UP_INTERVAL;

/// New iterators in a row that brought no answer before the job is told that something is wrong.
const ITERATORS_IN_VAIN_MAX: u32 = 10;

/// What a reader is told once.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub initial_position: InitialPosition,
    /// Where a shard without any checkpoint starts if its row says LATEST.
    pub latest: Latest,
    /// Records a call may return (1 to 10,000).
    pub max_records: u32,
    /// Wait between two calls when there is nothing more to read.
    pub idle: Millis,
    /// Fetching pauses while this much is delivered and not yet processed.
    pub max_unprocessed_bytes: usize,
    pub max_unprocessed_records: usize,
    /// Of the waits after failed calls: readers with different seeds do not come back together.
    pub seed: u64,
}

/// One answered GetRecords call.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// In sequence order; possibly empty although more follows.
    pub batch: Batch,
    /// Absent at the end of a closed shard.
    pub next_iterator: Option<String>,
    /// The shards that follow, named at the end of a closed shard.
    pub children: Vec<ChildShard>,
    /// How far the answer is behind the tip of the shard.
    pub millis_behind_latest: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Time passed; see [`Reader::wake_at`].
    Tick,
    Iterator(Result<String, ServiceError>),
    Fetched(Result<Fetched, ServiceError>),
    /// The task is through with (or dropped) this much of what was delivered.
    Processed {
        bytes: usize,
        records: usize,
    },
}

/// What the shell must do.
#[derive(Debug)]
pub enum Action {
    GetIterator(StartingPosition),
    GetRecords {
        iterator: String,
        limit: u32,
    },
    Deliver(Batch),
    /// Everything up to the shard's end has been delivered.
    End {
        children: Vec<ChildShard>,
    },
    /// No retry can mend it.
    Fail(ServiceError),
}

enum State {
    NeedIterator,
    AwaitIterator,
    Ready { iterator: String },
    AwaitRecords { iterator: String },
    Ended,
}

/// The machine; see the module documentation.
pub struct Reader {
    max_records: u32,
    idle: Millis,
    progress: ShardProgress,
    state: State,
    not_before: Millis,
    called_at: Millis,
    /// No GetRecords call before this time, whatever became of the last one: the service counts them all.
    records_not_before: Millis,
    iterators_in_vain: u32,
}

impl Reader {
    /// A reader that delivers what follows `checkpoint`. The shard's hash range, if known, only tells foreign records
    /// apart; see [`aggregate`].
    #[must_use]
    pub fn new(settings: Settings, checkpoint: &Checkpoint, hash_range: Option<HashRange>) -> Self {
        let Settings {
            initial_position,
            latest,
            max_records,
            idle,
            max_unprocessed_bytes,
            max_unprocessed_records,
            seed,
        } = settings;
        let progress =
            shard_progress::Settings { initial_position, latest, max_unprocessed_bytes, max_unprocessed_records, seed };
        Self {
            progress: ShardProgress::new(progress, checkpoint, hash_range),
            max_records,
            idle,
            state: State::NeedIterator,
            not_before: 0,
            called_at: 0,
            records_not_before: 0,
            iterators_in_vain: 0,
        }
    }

    /// Takes in one event and returns what to do now, in order.
    pub fn on(&mut self, now: Millis, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick => {}
            Event::Iterator(result) => self.iterator(now, result, &mut actions),
            Event::Fetched(result) => self.fetched(now, result, &mut actions),
            Event::Processed { bytes, records } => self.progress.on_processed(bytes, records),
        }
        actions.extend(self.next_call(now));
        actions
    }

    /// When the next [`Event::Tick`] is due; `Millis::MAX` while another event must come first.
    #[must_use]
    pub fn wake_at(&self) -> Millis {
        match self.state {
            State::NeedIterator => self.not_before,
            State::Ready { .. } if !self.progress.is_full() => self.not_before,
            State::Ready { .. } | State::AwaitIterator | State::AwaitRecords { .. } | State::Ended => Millis::MAX,
        }
    }

    /// How far behind the tip the last answer was, in milliseconds; `None` before the first one.
    #[must_use]
    pub fn millis_behind_latest(&self) -> Option<u64> {
        self.progress.millis_behind_latest()
    }

    /// What de-aggregation found so far.
    #[must_use]
    pub fn aggregation(&self) -> aggregate::Report {
        self.progress.aggregation()
    }

    fn next_call(&mut self, now: Millis) -> Option<Action> {
        if now < self.wake_at() {
            return None;
        }
        self.called_at = now;
        match std::mem::replace(&mut self.state, State::AwaitIterator) {
            State::NeedIterator => Some(Action::GetIterator(self.progress.position())),
            State::Ready { iterator } => {
                self.records_not_before = now + CATCH_UP_INTERVAL.min(self.idle);
                self.state = State::AwaitRecords { iterator: iterator.clone() };
                Some(Action::GetRecords { iterator, limit: self.max_records })
            }
            waiting => {
                self.state = waiting;
                None
            }
        }
    }

    fn iterator(&mut self, now: Millis, result: Result<String, ServiceError>, actions: &mut Vec<Action>) {
        match result {
            Ok(iterator) => {
                self.state = State::Ready { iterator };
                self.not_before = self.records_not_before;
                self.progress.position_accepted(self.called_at);
            }
            Err(error) if self.progress.position_refused(error.kind) => self.state = State::NeedIterator,
            Err(error) => self.failed(now, error, State::NeedIterator, actions),
        }
    }

    fn fetched(&mut self, now: Millis, result: Result<Fetched, ServiceError>, actions: &mut Vec<Action>) {
        let fetched = match result {
            Ok(fetched) => fetched,
            Err(error) => return self.fetch_failed(now, error, actions),
        };
        let Fetched { batch, next_iterator, children, millis_behind_latest } = fetched;
        self.iterators_in_vain = 0;
        let behind = !batch.is_empty() || millis_behind_latest > 0;
        actions.extend(self.progress.on_answer(batch, millis_behind_latest).map(Action::Deliver));
        match next_iterator {
            Some(iterator) => {
                self.state = State::Ready { iterator };
                let next_poll = self.called_at + self.idle;
                self.not_before = if behind { self.records_not_before } else { next_poll };
            }
            None => self.ended(now, children, actions),
        }
    }

    /// No iterator follows.
    fn ended(&mut self, now: Millis, children: Vec<ChildShard>, actions: &mut Vec<Action>) {
        match self.progress.on_end(children) {
            End::Reached { children } => {
                self.state = State::Ended;
                actions.push(Action::End { children });
            }
            End::Doubtful { wait } => {
                self.not_before = now + wait;
                self.state = State::NeedIterator;
            }
        }
    }

    fn fetch_failed(&mut self, now: Millis, error: ServiceError, actions: &mut Vec<Action>) {
        let State::AwaitRecords { iterator } = &mut self.state else {
            return;
        };
        let iterator = std::mem::take(iterator);
        self.state = State::NeedIterator;
        match error.kind {
            // Also `Invalid`: a service that no longer understands an iterator says so in more than one way.
            ErrorKind::ExpiredIterator | ErrorKind::Invalid => {
                self.iterators_in_vain += 1;
                if self.iterators_in_vain >= ITERATORS_IN_VAIN_MAX {
                    self.state = State::Ended;
                    actions.push(Action::Fail(error));
                }
            }
            _ => self.failed(now, error, State::Ready { iterator }, actions),
        }
    }

    fn failed(&mut self, now: Millis, error: ServiceError, retry: State, actions: &mut Vec<Action>) {
        if error.kind == ErrorKind::NotFound {
            // The shard left retention with all its records: an end that names no children.
            self.state = State::Ended;
            return actions.push(Action::End { children: Vec::new() });
        }
        if !error.kind.is_transient() {
            self.state = State::Ended;
            return actions.push(Action::Fail(error));
        }
        self.not_before = now + self.progress.on_failure();
        self.state = retry;
    }
}

#[cfg(test)]
mod tests;
