//! The fan-out reader against scripted answers, and against a model of a service that fails at random. The numbers in
//! the names are those of the interoperability rules for readers of the Kinesis Client Library.

use proptest::prelude::*;

use super::*;
use crate::envelope::{BatchBuilder, Envelope};
use crate::kinesis::shard_progress::{BACKOFF, ENDS_WITHOUT_CHILDREN_MAX};
use crate::position::LATEST_MARGIN;

const SETTINGS: Settings = Settings {
    initial_position: InitialPosition::TrimHorizon,
    latest: Latest::Next,
    max_unprocessed_bytes: 1 << 20,
    max_unprocessed_records: 1_000,
    seed: 1,
};

fn error(kind: ErrorKind) -> ServiceError {
    ServiceError { kind, operation: "SubscribeToShard", message: kind.to_string() }
}

fn batch(sequences: impl IntoIterator<Item = u64>) -> Batch {
    let mut builder = BatchBuilder::default();
    for sequence in sequences {
        let sequence = sequence.to_string();
        builder.push(Envelope { sequence: &sequence, sub_sequence: 0, key: None, message: b"x", arrival_ms: 0 });
    }
    builder.finish()
}

fn sequence(number: u64) -> SequenceNumber {
    number.to_string().parse().unwrap()
}

fn at(number: u64) -> Checkpoint {
    Checkpoint::from_row(&number.to_string(), 0).unwrap()
}

/// An event with these records, after which the shard goes on after `continuation`.
fn event(sequences: impl IntoIterator<Item = u64>, continuation: u64) -> Event {
    let continuation = Some(sequence(continuation));
    Event::Delivered(Ok(Some(Delivery { batch: batch(sequences), continuation, ..Delivery::default() })))
}

fn broken(kind: ErrorKind) -> Event {
    Event::Delivered(Err(error(kind)))
}

fn refused(kind: ErrorKind) -> Event {
    Event::Subscribed(Err(error(kind)))
}

fn fresh(settings: Settings, checkpoint: &Checkpoint) -> Reader {
    Reader::new(settings, checkpoint, None)
}

/// A reader that waits for its first event, subscribed at time 0.
fn subscribed(settings: Settings, checkpoint: &Checkpoint) -> Reader {
    let mut reader = fresh(settings, checkpoint);
    asked(&reader.on(0, Event::Tick));
    assert!(matches!(reader.on(0, Event::Subscribed(Ok(())))[..], [Action::TakeEvent]));
    reader
}

/// Subscribes again, as is due now.
fn resubscribe(reader: &mut Reader, now: Millis) {
    asked(&reader.on(now, Event::Tick));
    assert!(matches!(reader.on(now, Event::Subscribed(Ok(())))[..], [Action::TakeEvent]));
}

fn asked(actions: &[Action]) -> &StartingPosition {
    match actions {
        [Action::Subscribe(position)] => position,
        other => panic!("expected one Subscribe, got {other:?}"),
    }
}

fn after(number: u64) -> StartingPosition {
    StartingPosition::AfterSequenceNumber(sequence(number))
}

fn delivered(actions: &[Action]) -> Vec<u64> {
    let batches = actions.iter().filter_map(|action| match action {
        Action::Deliver(batch) => Some(batch),
        _ => None,
    });
    batches.flat_map(|batch| batch.envelopes(0..batch.len()).map(|e| e.sequence.parse().unwrap())).collect()
}

#[test]
fn the_first_subscription_is_at_the_checkpoint_and_what_was_committed_is_not_delivered_again() {
    let mut reader = fresh(SETTINGS, &at(10));
    assert_eq!(*asked(&reader.on(0, Event::Tick)), StartingPosition::AtSequenceNumber(sequence(10)));
    reader.on(0, Event::Subscribed(Ok(())));
    assert_eq!(delivered(&reader.on(0, event([10, 11], 11))), [11]);
    let mut reader = subscribed(SETTINGS, &at(10));
    assert_eq!(delivered(&reader.on(0, event([10], 10))), [0_u64; 0]);
    assert_eq!(delivered(&reader.on(0, event([11], 11))), [11]);
}

#[test]
fn sentinels_start_where_they_say() {
    let moment = Settings { initial_position: InitialPosition::AtTimestamp(5), ..SETTINGS };
    for (settings, checkpoint, position) in [
        (SETTINGS, Checkpoint::TrimHorizon, StartingPosition::TrimHorizon),
        (SETTINGS, Checkpoint::Latest, StartingPosition::Latest),
        (SETTINGS, Checkpoint::AtTimestamp, StartingPosition::TrimHorizon),
        (moment, Checkpoint::AtTimestamp, StartingPosition::AtTimestamp(5)),
    ] {
        assert_eq!(*asked(&fresh(settings, &checkpoint).on(0, Event::Tick)), position);
    }
}

#[test]
fn a_latest_reader_never_asks_for_latest_twice() {
    let mut reader = fresh(SETTINGS, &Checkpoint::Latest);
    assert_eq!(*asked(&reader.on(60_000, Event::Tick)), StartingPosition::Latest);
    // A call that failed found no place in the shard.
    reader.on(60_010, refused(ErrorKind::Unavailable));
    assert_eq!(*asked(&reader.on(61_000, Event::Tick)), StartingPosition::Latest);
    reader.on(61_010, Event::Subscribed(Ok(())));
    reader.on(61_020, broken(ErrorKind::Unavailable));
    let position = StartingPosition::AtTimestamp(61_000 - LATEST_MARGIN);
    assert_eq!(*asked(&reader.on(70_000, Event::Tick)), position);
}

#[test]
fn latest_is_the_first_contact_ever_after() {
    let settings = Settings { latest: Latest::Since(60_000), ..SETTINGS };
    let mut reader = fresh(settings, &Checkpoint::Latest);
    let position = StartingPosition::AtTimestamp(60_000 - LATEST_MARGIN);
    assert_eq!(*asked(&reader.on(900_000, Event::Tick)), position);
    reader.on(900_010, Event::Subscribed(Ok(())));
    reader.on(900_020, broken(ErrorKind::Unavailable));
    assert_eq!(*asked(&reader.on(950_000, Event::Tick)), position);
}

#[test]
fn a_first_contact_in_the_services_future_is_what_arrives_next() {
    let settings = Settings { latest: Latest::Since(60_000), ..SETTINGS };
    let mut reader = fresh(settings, &Checkpoint::Latest);
    asked(&reader.on(10_000, Event::Tick));
    assert_eq!(*asked(&reader.on(10_010, refused(ErrorKind::Invalid))), StartingPosition::Latest);
    assert!(matches!(reader.on(10_020, refused(ErrorKind::Invalid))[..], [Action::Fail(_)]));
}

#[test]
fn item_63_a_subscription_that_the_service_ends_is_made_again_at_once_after_its_continuation() {
    let mut reader = subscribed(SETTINGS, &Checkpoint::TrimHorizon);
    reader.on(10, event([1, 2], 2));
    // Nothing new, but the service has looked further.
    reader.on(290_000, event([], 7));
    let actions = reader.on(300_000, Event::Delivered(Ok(None)));
    assert_eq!(*asked(&actions), after(7));
}

#[test]
fn a_subscription_that_ends_without_any_event_is_not_made_again_at_once() {
    let mut reader = subscribed(SETTINGS, &Checkpoint::TrimHorizon);
    let (mut now, mut waits) = (0, Vec::new());
    for _ in 0..4 {
        assert!(reader.on(now, Event::Delivered(Ok(None))).is_empty());
        waits.push(reader.wake_at() - now);
        now = reader.wake_at();
        resubscribe(&mut reader, now);
    }
    assert!(BACKOFF.draws(&waits), "{waits:?}");
}

#[test]
fn item_64_after_an_error_reading_goes_on_after_the_last_event() {
    let mut reader = subscribed(SETTINGS, &Checkpoint::TrimHorizon);
    reader.on(10, event([1, 2], 2));
    assert!(reader.on(20, broken(ErrorKind::Unavailable)).is_empty());
    assert!(BACKOFF.draws(&[reader.wake_at() - 20]));
    assert_eq!(*asked(&reader.on(reader.wake_at(), Event::Tick)), after(2));
}

#[test]
fn failures_in_a_row_back_off_further_until_an_event_comes() {
    let mut reader = fresh(SETTINGS, &Checkpoint::TrimHorizon);
    asked(&reader.on(0, Event::Tick));
    let (mut now, mut waits) = (0, Vec::new());
    for kind in [ErrorKind::Throttled, ErrorKind::Unavailable].into_iter().cycle().take(8) {
        assert!(reader.on(now, refused(kind)).is_empty());
        waits.push(reader.wake_at() - now);
        now = reader.wake_at();
        asked(&reader.on(now, Event::Tick));
    }
    assert!(BACKOFF.draws(&waits), "{waits:?}");
    reader.on(now, Event::Subscribed(Ok(())));
    reader.on(now, event([1], 1));
    reader.on(now, broken(ErrorKind::Unavailable));
    assert!(BACKOFF.draws(&[reader.wake_at() - now]));
}

#[test]
fn a_place_that_is_taken_is_asked_for_every_second_and_one_that_was_lost_after_five() {
    let mut reader = fresh(SETTINGS, &Checkpoint::TrimHorizon);
    asked(&reader.on(0, Event::Tick));
    for second in 1..8 {
        reader.on(second * 1_000 - 1_000, refused(ErrorKind::InUse));
        assert_eq!(reader.wake_at(), second * 1_000);
        asked(&reader.on(second * 1_000, Event::Tick));
    }
    reader.on(7_000, Event::Subscribed(Ok(())));
    reader.on(8_000, broken(ErrorKind::InUse));
    assert_eq!(reader.wake_at(), 13_000);
}

#[test]
fn item_65_the_next_event_is_taken_when_the_last_one_is_delivered_and_not_before() {
    let mut reader = subscribed(SETTINGS, &Checkpoint::TrimHorizon);
    assert!(reader.on(0, Event::Tick).is_empty());
    assert!(reader.on(0, Event::Processed { bytes: 9, records: 9 }).is_empty());
    let actions = reader.on(0, event([1], 1));
    assert!(matches!(actions[..], [Action::Deliver(_), Action::TakeEvent]));
}

#[test]
fn item_65_no_event_is_taken_while_the_task_is_behind() {
    let mut reader = subscribed(Settings { max_unprocessed_records: 2, ..SETTINGS }, &Checkpoint::TrimHorizon);
    assert!(matches!(reader.on(0, event([1, 2], 2))[..], [Action::Deliver(_)]));
    // For how long ever: nothing is expected, so nothing is missing.
    assert_eq!(reader.wake_at(), Millis::MAX);
    assert!(reader.on(10 * STALL, Event::Tick).is_empty());
    assert!(matches!(reader.on(10 * STALL, Event::Processed { bytes: 0, records: 1 })[..], [Action::TakeEvent]));
    assert_eq!(reader.wake_at(), 11 * STALL);

    let size = batch([1]).retained_bytes();
    let mut reader = subscribed(Settings { max_unprocessed_bytes: size, ..SETTINGS }, &Checkpoint::TrimHorizon);
    assert!(matches!(reader.on(0, event([1], 1))[..], [Action::Deliver(_)]));
}

#[test]
fn item_66_a_subscription_that_is_silent_for_a_minute_is_replaced() {
    let mut reader = subscribed(SETTINGS, &Checkpoint::TrimHorizon);
    reader.on(1_000, event([1], 1));
    assert_eq!(reader.wake_at(), 1_000 + STALL);
    assert!(reader.on(STALL, Event::Tick).is_empty());
    assert_eq!(*asked(&reader.on(1_000 + STALL, Event::Tick)), after(1));
    // What the old one has to say comes too late.
    assert!(reader.on(1_000 + STALL, event([2], 2)).is_empty());
}

#[test]
fn item_66_a_call_that_is_not_answered_for_a_minute_is_made_again() {
    let mut reader = fresh(SETTINGS, &at(3));
    asked(&reader.on(0, Event::Tick));
    assert_eq!(*asked(&reader.on(STALL, Event::Tick)), StartingPosition::AtSequenceNumber(sequence(3)));
    reader.on(STALL, refused(ErrorKind::NotFound));
    assert_eq!(*asked(&reader.on(2 * STALL, Event::Tick)), StartingPosition::AtSequenceNumber(sequence(3)));
}

#[test]
fn the_end_is_reported_after_the_last_records_and_once() {
    let mut reader = subscribed(SETTINGS, &Checkpoint::TrimHorizon);
    let hash_range = crate::kinesis::shard::HashRange { start: 0, end: 1 };
    let child = ChildShard { id: "child".to_owned(), parents: vec!["parent".to_owned()], hash_range };
    let last = Delivery { batch: batch([1]), children: vec![child.clone()], ..Delivery::default() };
    match &reader.on(0, Event::Delivered(Ok(Some(last))))[..] {
        [Action::Deliver(_), Action::End { children }] => assert_eq!(*children, [child]),
        other => panic!("{other:?}"),
    }
    assert!(reader.on(9 * STALL, Event::Tick).is_empty());
    assert_eq!(reader.wake_at(), Millis::MAX);
}

#[test]
fn item_54_an_end_that_names_no_children_is_asked_for_again_after_its_records() {
    let mut reader = subscribed(SETTINGS, &Checkpoint::TrimHorizon);
    reader.on(0, event([1], 7));
    let mut now = 0;
    for (records, place) in [(vec![8, 9], 9), (vec![], 9)] {
        let odd = Delivery { batch: batch(records), ..Delivery::default() };
        let actions = reader.on(now, Event::Delivered(Ok(Some(odd))));
        assert!(!actions.iter().any(|action| matches!(action, Action::End { .. })), "{actions:?}");
        assert!(reader.wake_at() > now);
        now = reader.wake_at();
        assert_eq!(*asked(&reader.on(now, Event::Tick)), after(place));
        reader.on(now, Event::Subscribed(Ok(())));
    }
    // One that names children and says where to go on is no end either.
    let hash_range = crate::kinesis::shard::HashRange { start: 0, end: 1 };
    let child = ChildShard { id: "child".to_owned(), parents: vec!["parent".to_owned()], hash_range };
    let children = vec![child.clone()];
    let odd = Delivery { continuation: Some(sequence(11)), children: children.clone(), ..Delivery::default() };
    assert!(matches!(reader.on(now, Event::Delivered(Ok(Some(odd))))[..], [Action::TakeEvent]));
    let last = Delivery { children, ..Delivery::default() };
    let actions = reader.on(now, Event::Delivered(Ok(Some(last))));
    assert!(matches!(&actions[..], [Action::End { children }] if *children == [child]));
}

#[test]
fn item_54_an_end_that_is_told_without_children_often_enough_is_one() {
    let mut reader = subscribed(SETTINGS, &Checkpoint::TrimHorizon);
    let mut now = 0;
    for told in 1..=ENDS_WITHOUT_CHILDREN_MAX {
        let actions = reader.on(now, Event::Delivered(Ok(Some(Delivery::default()))));
        let ended = matches!(&actions[..], [Action::End { children }] if children.is_empty());
        assert_eq!(ended, told == ENDS_WITHOUT_CHILDREN_MAX, "{told}");
        if !ended {
            now = reader.wake_at();
            asked(&reader.on(now, Event::Tick));
            reader.on(now, Event::Subscribed(Ok(())));
        }
    }
    assert_eq!(reader.wake_at(), Millis::MAX);
}

#[test]
fn a_shard_that_left_retention_ends_without_children_when_the_consumer_is_there() {
    let mut reader = fresh(SETTINGS, &Checkpoint::TrimHorizon);
    asked(&reader.on(0, Event::Tick));
    assert!(matches!(reader.on(0, refused(ErrorKind::NotFound))[..], [Action::FindConsumer]));
    let actions = reader.on(0, Event::Consumer(Ok(true)));
    assert!(matches!(&actions[..], [Action::End { children }] if children.is_empty()));
}

#[test]
fn a_consumer_that_somebody_removed_is_no_end() {
    for first in [refused(ErrorKind::NotFound), broken(ErrorKind::NotFound)] {
        let mut reader = fresh(SETTINGS, &Checkpoint::TrimHorizon);
        asked(&reader.on(0, Event::Tick));
        if matches!(first, Event::Delivered(_)) {
            reader.on(0, Event::Subscribed(Ok(())));
        }
        assert!(matches!(reader.on(0, first)[..], [Action::FindConsumer]));
        let actions = reader.on(0, Event::Consumer(Ok(false)));
        assert!(matches!(&actions[..], [Action::Fail(error)] if error.kind == ErrorKind::NotFound));
    }
}

#[test]
fn a_consumer_that_cannot_be_looked_for_decides_nothing() {
    let mut reader = fresh(SETTINGS, &Checkpoint::TrimHorizon);
    asked(&reader.on(0, Event::Tick));
    reader.on(0, refused(ErrorKind::NotFound));
    assert!(reader.on(0, Event::Consumer(Err(error(ErrorKind::Throttled)))).is_empty());
    let now = reader.wake_at();
    asked(&reader.on(now, Event::Tick));
    reader.on(now, refused(ErrorKind::NotFound));
    let actions = reader.on(now, Event::Consumer(Err(error(ErrorKind::Denied))));
    assert!(matches!(&actions[..], [Action::Fail(error)] if error.kind == ErrorKind::Denied));
}

#[test]
fn what_no_retry_mends_is_told_at_once() {
    for kind in [ErrorKind::Denied, ErrorKind::Invalid, ErrorKind::ExpiredIterator] {
        let mut reader = fresh(SETTINGS, &Checkpoint::TrimHorizon);
        asked(&reader.on(0, Event::Tick));
        assert!(matches!(reader.on(0, refused(kind))[..], [Action::Fail(_)]));
        assert_eq!(reader.wake_at(), Millis::MAX);
    }
}

/// What the model service does with the next call.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// An event without records.
    Heartbeat,
    /// The subscription is over.
    Ended,
    Throttled,
    Unavailable,
    InUse,
    /// No answer.
    Silent,
    /// Another shard's or consumer's trouble, by the look of it: asked about, the consumer is not known to be gone.
    NotFound,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        8 => Just(Fault::None),
        1 => Just(Fault::Heartbeat),
        1 => Just(Fault::Ended),
        1 => Just(Fault::Throttled),
        1 => Just(Fault::Unavailable),
        1 => Just(Fault::InUse),
        1 => Just(Fault::Silent),
        1 => Just(Fault::NotFound),
    ]
}

/// A closed shard of the records 1 to `last`, and the subscription in force, by the next record's number.
struct Model {
    last: u64,
    per_event: u64,
    subscription: Option<u64>,
}

impl Model {
    /// The answer to a call; none when it never comes.
    fn answer(&mut self, action: &Action, fault: Fault) -> Option<Event> {
        let failure = match fault {
            Fault::Throttled => Some(ErrorKind::Throttled),
            Fault::Unavailable => Some(ErrorKind::Unavailable),
            Fault::InUse => Some(ErrorKind::InUse),
            Fault::NotFound => Some(ErrorKind::NotFound),
            Fault::Silent => return None,
            Fault::None | Fault::Heartbeat | Fault::Ended => None,
        };
        match action {
            Action::FindConsumer => Some(Event::Consumer(Err(error(ErrorKind::Unavailable)))),
            Action::Subscribe(position) => {
                self.subscription = None;
                if let Some(kind) = failure {
                    return Some(refused(kind));
                }
                self.subscription = Some(match position {
                    StartingPosition::AtSequenceNumber(s) => s.as_str().parse().unwrap(),
                    StartingPosition::AfterSequenceNumber(s) => s.as_str().parse::<u64>().unwrap() + 1,
                    _ => 1,
                });
                Some(Event::Subscribed(Ok(())))
            }
            Action::TakeEvent => {
                let next = self.subscription.expect("an event is taken of a subscription");
                if let Some(kind) = failure {
                    return Some(broken(kind));
                }
                if matches!(fault, Fault::Ended) {
                    return Some(Event::Delivered(Ok(None)));
                }
                let records = if matches!(fault, Fault::Heartbeat) { 0 } else { self.per_event };
                let end = (next + records).min(self.last + 1);
                self.subscription = Some(end);
                let continuation = (end <= self.last).then(|| sequence(end - 1));
                Some(Event::Delivered(Ok(Some(Delivery {
                    batch: batch(next..end),
                    continuation,
                    ..Delivery::default()
                }))))
            }
            Action::Deliver(_) | Action::End { .. } | Action::Fail(_) => panic!("{action:?} is no call"),
        }
    }
}

proptest! {
    /// Whatever fails in between, every record after the checkpoint is delivered once and in order, then the end; and
    /// no event is taken beyond the bound.
    #[test]
    fn every_record_is_delivered_once_in_order(
        last in 1_u64..60,
        per_event in 1_u64..20,
        committed in 0_u64..60,
        max_unprocessed_records in 1_usize..40,
        mut faults in prop::collection::vec(fault(), 0..200),
        mut slow in prop::collection::vec(any::<bool>(), 0..200),
    ) {
        let committed = committed.min(last);
        let checkpoint = if committed == 0 { Checkpoint::TrimHorizon } else { at(committed) };
        let mut model = Model { last, per_event, subscription: None };
        let mut reader = fresh(Settings { max_unprocessed_records, ..SETTINGS }, &checkpoint);
        let (mut now, mut got, mut waiting) = (0, Vec::new(), Vec::<Batch>::new());
        let (mut answer, mut ended) = (None, false);
        while !ended {
            // The task is through with a batch before the next answer, or is not.
            let processed = if slow.pop().unwrap_or(false) { None } else { waiting.pop() };
            let event = match (processed, answer.take()) {
                (Some(batch), kept) => {
                    answer = kept;
                    Event::Processed { bytes: batch.retained_bytes(), records: batch.len() }
                }
                (None, Some(event)) => event,
                (None, None) if reader.wake_at() < Millis::MAX => {
                    now = now.max(reader.wake_at());
                    Event::Tick
                }
                (None, None) => {
                    prop_assert!(!waiting.is_empty(), "stuck after {:?}", got);
                    Event::Tick
                }
            };
            for action in reader.on(now, event) {
                match action {
                    Action::Deliver(batch) => {
                        got.extend(batch.envelopes(0..batch.len()).map(|e| e.sequence.parse::<u64>().unwrap()));
                        waiting.push(batch);
                    }
                    Action::End { .. } => ended = true,
                    Action::Fail(error) => prop_assert!(false, "{error}"),
                    call => {
                        let records: usize = waiting.iter().map(Batch::len).sum();
                        prop_assert!(!matches!(call, Action::TakeEvent) || records < max_unprocessed_records);
                        prop_assert!(answer.is_none(), "a second call before the first one is answered");
                        answer = model.answer(&call, faults.pop().unwrap_or(Fault::None));
                    }
                }
            }
        }
        prop_assert_eq!(got, (committed + 1..=last).collect::<Vec<_>>());
    }
}
