//! When the reader calls, with what, and what it counts.

use super::*;
use crate::kinesis::shard_progress::{BACKOFF, ENDS_WITHOUT_CHILDREN_MAX};

fn get_records(actions: &[Action]) -> &str {
    match actions {
        [Action::GetRecords { iterator, .. }] => iterator,
        other => panic!("expected one GetRecords, got {other:?}"),
    }
}

/// Where reading starts, by what the row says and what the worker is configured to start with.
#[test]
fn the_first_iterator_is_where_the_row_and_the_configuration_say() {
    use StartingPosition as At;
    let cases = [
        (Checkpoint::TrimHorizon, InitialPosition::Latest, At::TrimHorizon),
        (Checkpoint::Latest, InitialPosition::TrimHorizon, At::Latest),
        (Checkpoint::AtTimestamp, InitialPosition::AtTimestamp(77), At::AtTimestamp(77)),
        // The timestamp is in no row: whoever does not know it may lose nothing.
        (Checkpoint::AtTimestamp, InitialPosition::Latest, At::TrimHorizon),
        (at(8), InitialPosition::Latest, At::AtSequenceNumber("8".parse().unwrap())),
    ];
    for (checkpoint, initial_position, expected) in cases {
        let mut reader = Reader::new(Settings { initial_position, ..SETTINGS }, &checkpoint, None);
        assert_eq!(*asked(&reader.on(0, Event::Tick)), expected, "{checkpoint}, {initial_position:?}");
    }
}

/// (54) A response without an iterator that names no children, or children without parents, may not be the end: what is
/// behind its records is asked for again, with a growing wait.
#[test]
fn an_end_that_names_no_children_is_asked_for_again() {
    let orphan = ChildShard { parents: Vec::new(), ..children().remove(0) };
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    let (mut now, mut waits) = (0, Vec::new());
    for (sequences, children) in [(vec![1, 2], vec![]), (vec![], vec![]), (vec![], vec![orphan])] {
        let odd = Fetched { batch: batch(sequences), children, ..Fetched::default() };
        let actions = reader.on(now, Event::Fetched(Ok(odd)));
        assert!(!actions.iter().any(|action| matches!(action, Action::End { .. })), "{actions:?}");
        waits.push(reader.wake_at() - now);
        now = reader.wake_at();
        assert_eq!(*asked(&reader.on(now, Event::Tick)), StartingPosition::AfterSequenceNumber("2".parse().unwrap()));
        now += 1_000;
        get_records(&reader.on(now, Event::Iterator(Ok("again".to_owned()))));
    }
    assert!(BACKOFF.draws(&waits), "{waits:?}");
    // There was more, and then the end as it should be.
    let more = Fetched { batch: batch([3]), children: children(), ..Fetched::default() };
    let actions = reader.on(now, Event::Fetched(Ok(more)));
    assert!(matches!(&actions[..], [Action::Deliver(_), Action::End { children: told }] if *told == children()));
}

/// (54) A service that never names children says so again and again. Then the stream's list of shards decides.
#[test]
fn an_end_that_is_told_without_children_often_enough_is_one() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    let mut now = 0;
    for told in 1..=ENDS_WITHOUT_CHILDREN_MAX {
        let actions = reader.on(now, Event::Fetched(Ok(Fetched::default())));
        let ended = matches!(&actions[..], [Action::End { children }] if children.is_empty());
        assert_eq!(ended, told == ENDS_WITHOUT_CHILDREN_MAX, "{told}");
        if !ended {
            now = reader.wake_at();
            assert_eq!(*asked(&reader.on(now, Event::Tick)), StartingPosition::TrimHorizon);
            now += 1_000;
            reader.on(now, Event::Iterator(Ok("again".to_owned())));
        }
    }
    assert_eq!(reader.wake_at(), Millis::MAX);
}

/// (54) A response that names children and still has an iterator is not the end: records may follow.
#[test]
fn children_with_a_live_iterator_are_not_the_end() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    let children = children();
    let odd = Fetched {
        batch: batch([1]),
        next_iterator: Some("next".to_owned()),
        children: children.clone(),
        millis_behind_latest: 1,
    };
    assert!(matches!(reader.on(0, Event::Fetched(Ok(odd)))[..], [Action::Deliver(_)]));
    assert_eq!(get_records(&reader.on(CATCH_UP_INTERVAL, Event::Tick)), "next");
    let last = Fetched { batch: batch([2]), children: children.clone(), ..Fetched::default() };
    let actions = reader.on(CATCH_UP_INTERVAL, Event::Fetched(Ok(last)));
    assert!(matches!(&actions[..], [Action::Deliver(_), Action::End { children: told }] if *told == children));
}

/// What is delivered is what is counted, and what the run loop says is through takes exactly that off again.
#[test]
fn a_batch_weighs_the_same_when_it_is_delivered_and_when_it_is_through() {
    let one = batch([2]);
    let max_unprocessed_bytes = one.retained_bytes() + 1;
    let mut reader = reading(Settings { max_unprocessed_bytes, ..SETTINGS }, &at(1));
    // The first record is filtered out: it is not delivered and weighs nothing but its place in the buffer.
    let delivery = reader.on(0, fetched([1, 2], 9));
    let [Action::Deliver(batch)] = &delivery[..] else { panic!("{delivery:?}") };
    assert_eq!(batch.len(), 1);
    assert_eq!(reader.wake_at(), Millis::MAX, "full");
    let through = Event::Processed { bytes: batch.retained_bytes(), records: batch.len() };
    assert_eq!(get_records(&reader.on(500, through)), "next");
    let delivery = reader.on(500, fetched([3], 9));
    assert!(matches!(&delivery[..], [Action::Deliver(_)]));
    assert_eq!(reader.wake_at(), 700, "nothing of the first batch is counted any more");
}

/// A batch that alone is more than the bound is delivered; only then nothing more is fetched.
#[test]
fn a_bound_smaller_than_a_batch_still_lets_one_through() {
    let settings = Settings { max_unprocessed_bytes: 1, max_unprocessed_records: 1, ..SETTINGS };
    let mut reader = reading(settings, &Checkpoint::TrimHorizon);
    for first in [1, 4, 7] {
        let actions = reader.on(first * 1_000, fetched(first..first + 3, 9));
        let [Action::Deliver(batch)] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(reader.wake_at(), Millis::MAX);
        let (bytes, records) = (batch.retained_bytes(), batch.len());
        get_records(&reader.on((first + 1) * 1_000, Event::Processed { bytes, records }));
    }
}

/// (61) A new iterator after an expired one does not buy an additional call.
#[test]
fn calls_keep_their_distance_when_iterators_expire() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    asked(&reader.on(50, Event::Fetched(Err(error(ErrorKind::ExpiredIterator)))));
    assert!(reader.on(60, Event::Iterator(Ok("new".to_owned()))).is_empty());
    assert_eq!(reader.wake_at(), CATCH_UP_INTERVAL);
    assert_eq!(get_records(&reader.on(CATCH_UP_INTERVAL, Event::Tick)), "new");
}

/// An iterator that could not be had is asked for again, with a growing wait, from the same place.
#[test]
fn a_refused_iterator_is_asked_for_again() {
    let mut reader = Reader::new(SETTINGS, &at(3), None);
    let position = asked(&reader.on(0, Event::Tick)).clone();
    let (mut now, mut waits) = (0, Vec::new());
    for _ in 0..3 {
        assert!(reader.on(now, Event::Iterator(Err(error(ErrorKind::Throttled)))).is_empty());
        waits.push(reader.wake_at() - now);
        now = reader.wake_at();
        assert_eq!(*asked(&reader.on(now, Event::Tick)), position);
    }
    assert!(BACKOFF.draws(&waits), "{waits:?}");
    get_records(&reader.on(now, Event::Iterator(Ok("i".to_owned()))));
}

/// (55) The shard may be gone before its first iterator.
#[test]
fn a_shard_without_iterators_ends() {
    let mut reader = Reader::new(SETTINGS, &at(3), None);
    reader.on(0, Event::Tick);
    let actions = reader.on(0, Event::Iterator(Err(error(ErrorKind::NotFound))));
    assert!(matches!(actions[..], [Action::End { .. }]));
    assert_eq!(reader.wake_at(), Millis::MAX);
}

/// (62) However long a throttled shard is refused, it goes on where it was, and is never given up.
#[test]
fn throttling_never_ends_a_shard() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    reader.on(0, fetched([1], 9));
    let mut now = 200;
    reader.on(now, Event::Tick);
    for _ in 0..100 {
        assert!(reader.on(now, Event::Fetched(Err(error(ErrorKind::Throttled)))).is_empty());
        assert!(reader.wake_at() <= now + 10_000, "the wait is bounded");
        now = reader.wake_at();
        assert_eq!(get_records(&reader.on(now, Event::Tick)), "next");
    }
    assert_eq!(delivered(&reader.on(now, fetched([2], 0))), [2]);
}

/// An answer that nobody waits for changes nothing.
#[test]
fn an_answer_out_of_turn_is_ignored() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    reader.on(0, fetched([1], 9));
    assert!(reader.on(10, Event::Fetched(Err(error(ErrorKind::ExpiredIterator)))).is_empty());
    assert_eq!(get_records(&reader.on(200, Event::Tick)), "next");
}

#[test]
fn how_far_behind_the_reader_is_is_known_from_the_first_answer_on() {
    let mut reader = reading(SETTINGS, &Checkpoint::TrimHorizon);
    assert_eq!(reader.millis_behind_latest(), None);
    for behind in [5_000, 0] {
        reader.on(0, fetched([], behind));
        assert_eq!(reader.millis_behind_latest(), Some(behind));
        let next = reader.wake_at();
        reader.on(next, Event::Tick);
    }
}

/// A shard that was read before, by anybody, and never checkpointed, is read from that first contact on.
#[test]
fn latest_is_the_first_contact_ever_after() {
    let latest = Latest::Since(60_000);
    let mut reader = Reader::new(Settings { latest, ..SETTINGS }, &Checkpoint::Latest, None);
    let position = StartingPosition::AtTimestamp(60_000 - LATEST_MARGIN);
    assert_eq!(*asked(&reader.on(900_000, Event::Tick)), position);
    reader.on(900_010, Event::Iterator(Ok("i".to_owned())));
    let actions = reader.on(1_300_000, Event::Fetched(Err(error(ErrorKind::ExpiredIterator))));
    assert_eq!(*asked(&actions), position, "and again when that iterator expired");
    // Another sentinel has nothing to do with it.
    let mut reader = Reader::new(Settings { latest, ..SETTINGS }, &Checkpoint::TrimHorizon, None);
    assert_eq!(*asked(&reader.on(0, Event::Tick)), StartingPosition::TrimHorizon);
}

/// Kinesis calls a moment invalid that its clock has not reached. By a clock that is so far ahead nothing has arrived
/// since; the job does not stop for it.
#[test]
fn a_first_contact_in_the_services_future_is_what_arrives_next() {
    let mut reader = Reader::new(Settings { latest: Latest::Since(60_000), ..SETTINGS }, &Checkpoint::Latest, None);
    asked(&reader.on(10_000, Event::Tick));
    let actions = reader.on(10_010, Event::Iterator(Err(error(ErrorKind::Invalid))));
    assert_eq!(*asked(&actions), StartingPosition::Latest);
    let actions = reader.on(10_020, Event::Iterator(Err(error(ErrorKind::Invalid))));
    assert!(matches!(actions[..], [Action::Fail(_)]), "what it calls invalid now is something else");
    // A configured moment means itself.
    let moment = Settings { initial_position: InitialPosition::AtTimestamp(60_000), ..SETTINGS };
    let mut reader = Reader::new(moment, &Checkpoint::AtTimestamp, None);
    reader.on(0, Event::Tick);
    assert!(matches!(reader.on(0, Event::Iterator(Err(error(ErrorKind::Invalid))))[..], [Action::Fail(_)]));
}
