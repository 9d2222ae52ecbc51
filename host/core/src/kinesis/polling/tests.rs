//! The reader against scripted answers, and against a model of a shard that fails at random.

mod calls;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::envelope::{BatchBuilder, Envelope};
use crate::kinesis::shard_progress::BACKOFF;
use crate::kpl::{self, UserRecord};
use crate::position::{LATEST_MARGIN, Position};

const SETTINGS: Settings = Settings {
    initial_position: InitialPosition::TrimHorizon,
    latest: Latest::Next,
    max_records: 100,
    idle: 1_000,
    max_unprocessed_bytes: 1 << 20,
    max_unprocessed_records: 1_000,
    seed: 1,
};

fn error(kind: ErrorKind) -> ServiceError {
    ServiceError { kind, operation: "GetRecords", message: kind.to_string() }
}

fn batch(sequences: impl IntoIterator<Item = u64>) -> Batch {
    let mut builder = BatchBuilder::default();
    for sequence in sequences {
        let sequence = sequence.to_string();
        builder.push(Envelope { sequence: &sequence, sub_sequence: 0, key: None, message: b"x", arrival_ms: 0 });
    }
    builder.finish()
}

fn fetched(sequences: impl IntoIterator<Item = u64>, millis_behind_latest: u64) -> Event {
    let next_iterator = Some("next".to_owned());
    Event::Fetched(Ok(Fetched { batch: batch(sequences), next_iterator, millis_behind_latest, children: vec![] }))
}

/// What the service names at the end of a shard.
fn children() -> Vec<ChildShard> {
    let hash_range = HashRange { start: 0, end: u128::MAX };
    vec![ChildShard { id: "child".to_owned(), parents: vec!["parent".to_owned()], hash_range }]
}

fn at(sequence: u64) -> Checkpoint {
    Checkpoint::from_row(&sequence.to_string(), 0).unwrap()
}

/// A reader whose first GetRecords call is on its way, at time 0.
fn reading(settings: Settings, checkpoint: &Checkpoint) -> Reader {
    let mut reader = Reader::new(settings, checkpoint, None);
    assert!(matches!(reader.on(0, Event::Tick)[..], [Action::GetIterator(_)]));
    let actions = reader.on(0, Event::Iterator(Ok("first".to_owned())));
    assert!(matches!(&actions[..], [Action::GetRecords { iterator, limit: 100 }] if iterator == "first"));
    reader
}

fn delivered(actions: &[Action]) -> Vec<u64> {
    let batches = actions.iter().filter_map(|action| match action {
        Action::Deliver(batch) => Some(batch),
        _ => None,
    });
    batches.flat_map(|batch| batch.envelopes(0..batch.len()).map(|e| e.sequence.parse().unwrap())).collect()
}

fn asked(actions: &[Action]) -> &StartingPosition {
    match actions {
        [Action::GetIterator(position)] => position,
        other => panic!("expected one GetIterator, got {other:?}"),
    }
}

#[test]
fn the_first_iterator_is_at_the_checkpoint_and_what_was_committed_is_not_delivered_again() {
    let mut reader = Reader::new(SETTINGS, &at(10), None);
    let position = StartingPosition::AtSequenceNumber("10".parse().unwrap());
    assert_eq!(*asked(&reader.on(0, Event::Tick)), position);
    reader.on(0, Event::Iterator(Ok("i".to_owned())));
    assert_eq!(delivered(&reader.on(0, fetched([10, 11], 0))), [11]);
}

#[test]
fn a_response_of_committed_records_only_still_moves_the_reader() {
    let mut reader = reading(SETTINGS, &at(12));
    assert_eq!(delivered(&reader.on(0, fetched([11, 12], 5))), [0_u64; 0]);
    assert!(matches!(reader.on(200, Event::Tick)[..], [Action::GetRecords { .. }]));
    let actions = reader.on(200, Event::Fetched(Err(error(ErrorKind::ExpiredIterator))));
    assert_eq!(*asked(&actions), StartingPosition::AfterSequenceNumber("12".parse().unwrap()));
}

#[test]
fn an_expired_iterator_continues_after_what_was_fetched() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    reader.on(0, fetched([1, 2], 0));
    reader.on(1_000, Event::Tick);
    let actions = reader.on(1_000, Event::Fetched(Err(error(ErrorKind::ExpiredIterator))));
    assert_eq!(*asked(&actions), StartingPosition::AfterSequenceNumber("2".parse().unwrap()));
}

#[test]
fn an_iterator_that_expires_before_the_first_record_starts_over_where_the_shard_started() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    let actions = reader.on(0, Event::Fetched(Err(error(ErrorKind::ExpiredIterator))));
    assert_eq!(*asked(&actions), StartingPosition::TrimHorizon);
}

#[test]
fn a_latest_reader_never_asks_for_latest_twice() {
    let mut reader = Reader::new(SETTINGS, &Checkpoint::Latest, None);
    assert_eq!(*asked(&reader.on(60_000, Event::Tick)), StartingPosition::Latest);
    reader.on(60_010, Event::Iterator(Ok("i".to_owned())));
    let actions = reader.on(400_000, Event::Fetched(Err(error(ErrorKind::ExpiredIterator))));
    assert_eq!(*asked(&actions), StartingPosition::AtTimestamp(60_000 - LATEST_MARGIN));
}

#[test]
fn a_reader_that_is_behind_calls_five_times_a_second_and_an_idle_one_waits() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    reader.on(30, fetched([1], 0));
    assert_eq!(reader.wake_at(), CATCH_UP_INTERVAL);
    reader.on(200, Event::Tick);
    reader.on(230, fetched([], 7_000));
    assert_eq!(reader.wake_at(), 200 + CATCH_UP_INTERVAL, "behind, though the answer was empty");
    reader.on(400, Event::Tick);
    reader.on(430, fetched([], 0));
    assert_eq!(reader.wake_at(), 1_400);
    assert_eq!(reader.millis_behind_latest(), Some(0), "an empty answer reports the lag too");
}

#[test]
fn throttling_backs_off_further_each_time_and_keeps_the_iterator() {
    let waits: Vec<Vec<Millis>> = (0..20).map(waits_while_throttled).collect();
    assert!(waits.iter().all(|waits| BACKOFF.draws(waits)), "{waits:?}");
    for round in 0..7 {
        let drawn: BTreeSet<Millis> = waits.iter().map(|waits| waits[round]).collect();
        assert!(drawn.len() > 10, "20 shards come back together: {drawn:?}");
    }
}

/// What a reader waits for between calls that are all refused.
fn waits_while_throttled(seed: u64) -> Vec<Millis> {
    let mut reader = reading(Settings { seed, ..SETTINGS }, &Checkpoint::TrimHorizon);
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..7 {
        assert!(reader.on(now, Event::Fetched(Err(error(ErrorKind::Throttled)))).is_empty());
        waits.push(reader.wake_at() - now);
        now = reader.wake_at();
        assert!(
            matches!(&reader.on(now, Event::Tick)[..], [Action::GetRecords { iterator, .. }] if iterator == "first")
        );
    }
    waits
}

#[test]
fn fetching_pauses_while_the_task_is_behind_and_resumes() {
    let mut reader = reading(Settings { max_unprocessed_records: 2, ..SETTINGS }, &Checkpoint::TrimHorizon);
    reader.on(0, fetched([1, 2], 9));
    assert_eq!(reader.wake_at(), Millis::MAX);
    assert!(reader.on(5_000, Event::Tick).is_empty());
    let actions = reader.on(5_000, Event::Processed { bytes: 0, records: 1 });
    assert!(matches!(actions[..], [Action::GetRecords { .. }]));
}

#[test]
fn the_end_is_reported_after_the_last_records_and_once() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    let last = Fetched { batch: batch([1]), children: children(), ..Fetched::default() };
    assert!(matches!(reader.on(0, Event::Fetched(Ok(last)))[..], [Action::Deliver(_), Action::End { .. }]));
    assert!(reader.on(9_000, Event::Tick).is_empty());
    assert_eq!(reader.wake_at(), Millis::MAX);
}

#[test]
fn a_shard_that_left_retention_ends_without_children() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    let actions = reader.on(0, Event::Fetched(Err(error(ErrorKind::NotFound))));
    assert!(matches!(&actions[..], [Action::End { children }] if children.is_empty()));
}

#[test]
fn what_no_retry_mends_is_told_at_once() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    let actions = reader.on(0, Event::Fetched(Err(error(ErrorKind::Denied))));
    assert!(matches!(actions[..], [Action::Fail(_)]));
}

#[test]
fn a_service_that_never_accepts_an_iterator_is_told_after_a_bound() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    let mut now = 0;
    for _ in 1..ITERATORS_IN_VAIN_MAX {
        asked(&reader.on(now, Event::Fetched(Err(error(ErrorKind::Invalid)))));
        reader.on(now, Event::Iterator(Ok("again".to_owned())));
        now = reader.wake_at();
        assert!(matches!(reader.on(now, Event::Tick)[..], [Action::GetRecords { .. }]));
    }
    assert!(matches!(reader.on(now, Event::Fetched(Err(error(ErrorKind::Invalid))))[..], [Action::Fail(_)]));
}

/// An answer whose records have these sequence numbers and bodies.
fn fetched_bodies(bodies: &[(u64, Vec<u8>)]) -> Event {
    let mut builder = BatchBuilder::default();
    for (sequence, message) in bodies {
        let sequence = sequence.to_string();
        builder.push(Envelope { sequence: &sequence, sub_sequence: 0, key: Some("k"), message, arrival_ms: 0 });
    }
    let next_iterator = Some("next".to_owned());
    Event::Fetched(Ok(Fetched { batch: builder.finish(), next_iterator, ..Fetched::default() }))
}

fn aggregate_of(records: usize) -> Vec<u8> {
    kpl::aggregate(&vec![UserRecord::new("user", b"data"); records])
}

fn empty_aggregate() -> Vec<u8> {
    kpl::frame(&kpl::field(1, b"unused"))
}

fn delivered_positions(actions: &[Action]) -> Vec<Position> {
    let batches = actions.iter().filter_map(|action| match action {
        Action::Deliver(batch) => Some(batch),
        _ => None,
    });
    batches.flat_map(|batch| (0..batch.len()).map(|index| batch.position(index))).collect()
}

fn position(sequence: u64, sub_sequence: u64) -> Position {
    Position { sequence: sequence.to_string().parse().unwrap(), sub_sequence }
}

#[test]
fn item_70_a_restart_inside_an_aggregate_goes_on_with_its_next_user_record() {
    let checkpoint = Checkpoint::At(position(10, 1));
    let mut reader = Reader::new(SETTINGS, &checkpoint, None);
    let at_the_aggregate = StartingPosition::AtSequenceNumber("10".parse().unwrap());
    assert_eq!(*asked(&reader.on(0, Event::Tick)), at_the_aggregate);
    reader.on(0, Event::Iterator(Ok("i".to_owned())));
    let actions = reader.on(0, fetched_bodies(&[(10, aggregate_of(4)), (11, aggregate_of(2))]));
    let expected = [position(10, 2), position(10, 3), position(11, 0), position(11, 1)];
    assert_eq!(delivered_positions(&actions), expected);
    let actions = reader.on(1_000, Event::Tick);
    assert!(matches!(actions[..], [Action::GetRecords { .. }]));
    let actions = reader.on(1_000, Event::Fetched(Err(error(ErrorKind::ExpiredIterator))));
    let after_the_record = StartingPosition::AfterSequenceNumber("11".parse().unwrap());
    assert_eq!(*asked(&actions), after_the_record, "an iterator knows records, not what is in them");
}

#[test]
fn an_aggregate_without_records_moves_the_reader_on() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    let actions = reader.on(0, fetched_bodies(&[(1, b"x".to_vec()), (2, empty_aggregate())]));
    assert_eq!(delivered_positions(&actions), [position(1, 0)]);
    reader.on(200, Event::Tick);
    let actions = reader.on(200, fetched_bodies(&[(3, empty_aggregate())]));
    assert!(actions.is_empty(), "nothing to deliver: {actions:?}");
    assert!(matches!(reader.on(400, Event::Tick)[..], [Action::GetRecords { .. }]));
    let actions = reader.on(400, Event::Fetched(Err(error(ErrorKind::ExpiredIterator))));
    assert_eq!(*asked(&actions), StartingPosition::AfterSequenceNumber("3".parse().unwrap()));
}

#[test]
fn fetching_pauses_by_user_records() {
    let mut reader = reading(Settings { max_unprocessed_records: 5, ..SETTINGS }, &Checkpoint::TrimHorizon);
    reader.on(0, fetched_bodies(&[(1, aggregate_of(5))]));
    assert_eq!(reader.wake_at(), Millis::MAX);
    let actions = reader.on(5_000, Event::Processed { bytes: 0, records: 1 });
    assert!(matches!(actions[..], [Action::GetRecords { .. }]));
}

#[test]
fn what_is_wrong_with_aggregates_is_counted() {
    let lower_half = HashRange { start: 0, end: u128::MAX / 2 };
    let mut reader = Reader::new(SETTINGS, &Checkpoint::TrimHorizon, Some(lower_half));
    reader.on(0, Event::Tick);
    reader.on(0, Event::Iterator(Ok("i".to_owned())));
    // MD5("user") begins with ee.
    reader.on(0, fetched_bodies(&[(1, aggregate_of(3)), (2, b"\xf3\x89\x9a\xc2".to_vec())]));
    reader.on(200, Event::Tick);
    reader.on(200, fetched_bodies(&[(3, empty_aggregate())]));
    assert_eq!(reader.aggregation(), aggregate::Report { aggregates: 2, malformed: 1, foreign: 3 });
}

/// What the model shard does with the next call.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Throttled,
    Unavailable,
    Expired,
    Empty,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::Throttled),
        1 => Just(Fault::Unavailable),
        1 => Just(Fault::Expired),
        1 => Just(Fault::Empty),
    ]
}

/// A closed shard of the records 1 to `last`; an iterator is the next record's number as text.
struct Model {
    last: u64,
    per_call: u64,
}

impl Model {
    fn iterator(&self, position: &StartingPosition) -> String {
        let next = match position {
            StartingPosition::AtSequenceNumber(s) => s.as_str().parse().unwrap(),
            StartingPosition::AfterSequenceNumber(s) => s.as_str().parse::<u64>().unwrap() + 1,
            _ => 1,
        };
        next.to_string()
    }

    fn get(&self, iterator: &str, fault: Fault) -> Result<Fetched, ServiceError> {
        let first: u64 = iterator.parse().unwrap();
        let end = match fault {
            Fault::None => (first + self.per_call).min(self.last + 1),
            Fault::Empty => first,
            Fault::Throttled => return Err(error(ErrorKind::Throttled)),
            Fault::Unavailable => return Err(error(ErrorKind::Unavailable)),
            Fault::Expired => return Err(error(ErrorKind::ExpiredIterator)),
        };
        let next_iterator = (end <= self.last).then(|| end.to_string());
        Ok(Fetched { batch: batch(first..end), next_iterator, ..Fetched::default() })
    }
}

proptest! {
    /// Whatever fails in between, every record after the checkpoint is delivered once and in order, then the end.
    #[test]
    fn every_record_is_delivered_once_in_order(
        last in 1_u64..60,
        per_call in 1_u64..20,
        committed in 0_u64..60,
        mut faults in prop::collection::vec(fault(), 0..200),
    ) {
        let committed = committed.min(last);
        let checkpoint = if committed == 0 { Checkpoint::TrimHorizon } else { at(committed) };
        let model = Model { last, per_call };
        let mut reader = Reader::new(SETTINGS, &checkpoint, None);
        let (mut now, mut got, mut in_vain, mut ended) = (0, Vec::new(), 0, false);
        let mut called_at = Vec::new();
        let mut events = vec![Event::Tick];
        while !ended {
            let event = events.pop().unwrap_or(Event::Tick);
            if matches!(event, Event::Tick) {
                prop_assert!(reader.wake_at() < Millis::MAX, "stuck after {got:?}");
                now = now.max(reader.wake_at());
            }
            let actions = reader.on(now, event);
            got.extend(delivered(&actions));
            for action in actions {
                match action {
                    Action::GetIterator(position) => events.push(Event::Iterator(Ok(model.iterator(&position)))),
                    Action::GetRecords { iterator, .. } => {
                        called_at.push(now);
                        let mut fault = faults.pop().unwrap_or(Fault::None);
                        in_vain = if matches!(fault, Fault::Expired) { in_vain + 1 } else { 0 };
                        if in_vain >= ITERATORS_IN_VAIN_MAX - 1 {
                            (fault, in_vain) = (Fault::None, 0);
                        }
                        events.push(Event::Fetched(model.get(&iterator, fault)));
                    }
                    Action::Deliver(batch) => {
                        events.push(Event::Processed { bytes: batch.retained_bytes(), records: batch.len() });
                        // Answers come before what the task did with an earlier one.
                        events.rotate_right(1);
                    }
                    Action::End { .. } => ended = true,
                    Action::Fail(error) => prop_assert!(false, "{error}"),
                }
            }
        }
        prop_assert_eq!(got, (committed + 1..=last).collect::<Vec<_>>());
        prop_assert!(called_at.windows(6).all(|six| six[5] - six[0] >= 1_000), "(61) five calls a second at most");
    }

    /// Wherever a restart comes, inside aggregates or between them, what follows the commit is delivered once.
    #[test]
    fn a_restart_after_any_commit_loses_nothing_and_repeats_nothing(
        bodies in prop::collection::vec(
            prop_oneof![Just(b"plain".to_vec()), Just(empty_aggregate()), (1_usize..20).prop_map(aggregate_of)],
            1..12,
        ),
        committed in any::<prop::sample::Index>(),
    ) {
        let bodies: Vec<(u64, Vec<u8>)> = (1..).zip(bodies).collect();
        let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
        let all = delivered_positions(&reader.on(0, fetched_bodies(&bodies)));
        prop_assume!(!all.is_empty());
        let last = committed.index(all.len());
        let mut reader = Reader::new(SETTINGS, &Checkpoint::At(all[last].clone()), None);
        let actions = reader.on(0, Event::Tick);
        let StartingPosition::AtSequenceNumber(start) = asked(&actions) else { panic!("{actions:?}") };
        let first = bodies.iter().position(|(sequence, _)| sequence.to_string() == start.as_str()).unwrap();
        reader.on(0, Event::Iterator(Ok("i".to_owned())));
        let mut rest = Vec::new();
        // One record at a time, so that the filter has to last beyond a response.
        for (call, body) in (0..).zip(&bodies[first..]) {
            reader.on(call * 1_000, Event::Tick);
            rest.extend(delivered_positions(&reader.on(call * 1_000, fetched_bodies(std::slice::from_ref(body)))));
        }
        prop_assert_eq!(&rest[..], &all[last + 1..]);
    }
}
