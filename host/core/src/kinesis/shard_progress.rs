//! How far the reading of one shard has come, whichever way it is read: where a next call goes on, what was delivered and
//! is not yet processed, how often calls failed or the shard seemed to end. It knows no call and no state of a reader.

use crate::backoff::Backoff;
use crate::envelope::Batch;
use crate::kinesis::aggregate;
use crate::kinesis::backlog::Backlog;
use crate::kinesis::deaggregator::Deaggregator;
use crate::kinesis::shard::{ChildShard, HashRange};
use crate::kinesis::start_position::StartPosition;
use crate::position::{Checkpoint, InitialPosition, Latest, SequenceNumber, StartingPosition};
use crate::random::Random;
use crate::service::ErrorKind;
use crate::time::Millis;

/// Kinesis allows five GetRecords calls a second on a shard, so a reader that is behind does not call more often.
pub const CATCH_UP_INTERVAL: Millis = 200;
/// Waits between the calls of a shard's reader that failed; never less than between two that succeed.
pub(crate) const BACKOFF: Backoff = Backoff { first: 2 * CATCH_UP_INTERVAL, longest: 10_000 };
/// Answers in a row that end a shard without naming its children before that is believed: more than a glitch, and a
/// service that never names them (not AWS's) gets on. The Kinesis Client Library asks again for ever.
pub(crate) const ENDS_WITHOUT_CHILDREN_MAX: u32 = 5;

/// What a reader's progress begins with.
pub(crate) struct Settings {
    pub(crate) initial_position: InitialPosition,
    pub(crate) latest: Latest,
    pub(crate) max_unprocessed_bytes: usize,
    pub(crate) max_unprocessed_records: usize,
    pub(crate) seed: u64,
}

/// What an answer without a continuation means.
pub(crate) enum End {
    /// The shard has been read to its end.
    Reached { children: Vec<ChildShard> },
    /// It may be a glitch: what is behind it is asked for again after this wait.
    Doubtful { wait: Millis },
}

/// The progress of one reader; see the module documentation.
pub(crate) struct ShardProgress {
    start_position: StartPosition,
    /// What a next call goes on after; `None` before the first record.
    read_to: Option<SequenceNumber>,
    deaggregator: Deaggregator,
    backlog: Backlog,
    failures: u32,
    ends_without_children: u32,
    millis_behind_latest: Option<u64>,
    random: Random,
}

impl ShardProgress {
    pub(crate) fn new(settings: Settings, checkpoint: &Checkpoint, hash_range: Option<HashRange>) -> Self {
        let Settings { initial_position, latest, max_unprocessed_bytes, max_unprocessed_records, seed } = settings;
        Self {
            start_position: StartPosition::new(checkpoint, initial_position, latest),
            read_to: None,
            deaggregator: Deaggregator::new(checkpoint, hash_range),
            backlog: Backlog::new(max_unprocessed_bytes, max_unprocessed_records),
            failures: 0,
            ends_without_children: 0,
            millis_behind_latest: None,
            random: Random::new(seed),
        }
    }

    /// Where a next call goes on: after what was read, else where the shard starts.
    pub(crate) fn position(&self) -> StartingPosition {
        self.read_to.clone().map_or_else(|| self.start_position.position(), StartingPosition::AfterSequenceNumber)
    }

    /// The service took [`Self::position`] in a call that began at `called_at`.
    pub(crate) fn position_accepted(&mut self, called_at: Millis) {
        self.start_position.accepted(called_at);
    }

    /// The service refused [`Self::position`]; whether there is another one to try at once.
    pub(crate) fn position_refused(&mut self, kind: ErrorKind) -> bool {
        self.start_position.refused(kind)
    }

    /// A call brought an answer; what it holds for the task, if anything.
    pub(crate) fn on_answer(&mut self, batch: Batch, millis_behind_latest: u64) -> Option<Batch> {
        self.failures = 0;
        self.millis_behind_latest = Some(millis_behind_latest);
        let last = batch.len().checked_sub(1)?;
        self.ends_without_children = 0;
        // Of the record as Kinesis numbers it, before it is opened: one that holds nothing is read all the same.
        self.read_to = Some(batch.position(last).sequence);
        let batch = self.deaggregator.take(batch)?;
        self.backlog.delivered(&batch);
        Some(batch)
    }

    /// The service itself said what a next call goes on after.
    pub(crate) fn continue_after(&mut self, sequence: SequenceNumber) {
        self.read_to = Some(sequence);
    }

    /// Nothing follows. A closed shard has children, and each of them names its parents: an answer that does not say so
    /// may not be the end.
    pub(crate) fn on_end(&mut self, children: Vec<ChildShard>) -> End {
        if are_named(&children) {
            return End::Reached { children };
        }
        self.ends_without_children += 1;
        if self.ends_without_children < ENDS_WITHOUT_CHILDREN_MAX {
            return End::Doubtful { wait: BACKOFF.pause(self.ends_without_children, &mut self.random) };
        }
        End::Reached { children: Vec::new() }
    }

    /// A call failed, or brought nothing; how long to wait before the next one.
    pub(crate) fn on_failure(&mut self) -> Millis {
        self.failures += 1;
        BACKOFF.pause(self.failures, &mut self.random)
    }

    /// The task has processed (or dropped) this much of what was delivered.
    pub(crate) fn on_processed(&mut self, bytes: usize, records: usize) {
        self.backlog.processed(bytes, records);
    }

    /// Whether the task is so far behind that nothing more may be fetched.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog.is_full()
    }

    /// How far behind the tip the last answer was; `None` before the first one.
    pub(crate) fn millis_behind_latest(&self) -> Option<u64> {
        self.millis_behind_latest
    }

    /// What de-aggregation found so far.
    pub(crate) fn aggregation(&self) -> aggregate::Report {
        self.deaggregator.report()
    }
}

/// Whether an answer at a shard's end names its children as the service does.
fn are_named(children: &[ChildShard]) -> bool {
    !children.is_empty() && children.iter().all(|child| !child.parents.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> ShardProgress {
        let settings = Settings {
            initial_position: InitialPosition::TrimHorizon,
            latest: Latest::default(),
            max_unprocessed_bytes: 1_000,
            max_unprocessed_records: 10,
            seed: 1,
        };
        ShardProgress::new(settings, &Checkpoint::TrimHorizon, None)
    }

    #[test]
    fn a_doubtful_end_is_asked_for_again_with_growing_waits_and_believed_at_last() {
        let mut progress = progress();
        let mut last = 0;
        for _ in 1..ENDS_WITHOUT_CHILDREN_MAX {
            let End::Doubtful { wait } = progress.on_end(Vec::new()) else { panic!("believed too early") };
            assert!(wait >= CATCH_UP_INTERVAL && wait >= last / 2, "{wait} after {last}");
            last = wait;
        }
        assert!(matches!(progress.on_end(Vec::new()), End::Reached { children } if children.is_empty()));
    }

    #[test]
    fn what_the_service_continues_after_wins_over_where_the_shard_started() {
        let mut progress = progress();
        assert_eq!(progress.position(), StartingPosition::TrimHorizon);
        let sequence = SequenceNumber::parse("17").unwrap();
        progress.continue_after(sequence.clone());
        assert_eq!(progress.position(), StartingPosition::AfterSequenceNumber(sequence));
    }
}
