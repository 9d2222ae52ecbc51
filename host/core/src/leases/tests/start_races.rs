//! Workers that fill a table from listings of different moments, because one of them was cut off half-way while the
//! stream was resharded and trimmed: it has parents' rows by the hand of one and children's by that of the other.

use super::model::{Services, Stream};
use super::settings;
use super::solo::{Solo, is_scan};
use crate::kinesis::shard::ShardFilter;
use crate::leases::{Action, Settings};
use crate::position::InitialPosition;

/// Between the listings the stream forgot the oldest shards: who knows of their children only creates those, and does
/// not read them before their parents, which came into the table meanwhile.
#[test]
fn a_shard_created_on_an_old_look_waits_for_parents_that_got_rows_meanwhile() {
    let mut stream = Stream::of(2);
    stream.merge("s00", "s01");
    let mut services = Services::new(stream);
    let mut late = Solo::new(settings("late"), 0);
    late.answer(&mut services);
    let mut other = Solo::running(settings("other"), 0, &mut services);
    assert_eq!(other.start_keys(), ["s00", "s01"]);
    let children = services.stream.children_of("s00");
    services.stream.expire("s02");
    late.settle(&mut services);
    assert_eq!((services.table.keys(), late.held()), (vec!["s00", "s01", "s02"], vec![]));
    assert_eq!(late.start_keys().len(), 0, "its parents are being read");
    other.end("s00", children.clone());
    other.end("s01", children);
    other.settle(&mut services);
    assert_eq!(other.start_keys(), ["s02"]);
}

/// A creation was on its way for long, and another worker took the half-filled table for one that lacks the parent.
#[test]
fn a_shard_whose_creation_took_long_waits_for_a_parent_that_got_a_row_meanwhile() {
    let named = |name| Settings { initial_position: InitialPosition::AtTimestamp(9), ..settings(name) };
    let mut stream = Stream::of(1);
    stream.split("s00");
    let mut services = Services::new(stream);
    let mut late = Solo::new(named("late"), 0);
    late.answer(&mut services);
    late.call(|call| matches!(call, Action::List(_)));
    late.event(services.serve(&Action::List(ShardFilter::AtLatest)));
    late.answer(&mut services);
    let mut other = Solo::running(named("other"), 0, &mut services);
    assert_eq!((services.table.keys(), other.start_keys()), (vec!["s00", "s01"], vec!["s00".to_owned()]));
    late.settle(&mut services);
    assert_eq!(services.table.keys(), ["s00", "s01", "s02"]);
    assert_eq!(late.held(), [""; 0]);
    assert_eq!(late.start_keys().len(), 0, "s00 is being read");
}

/// The usual cold start on a stream with a past waits for answers only: one scan tells that the parents have no rows.
#[test]
fn a_cold_start_on_a_resharded_stream_waits_for_nothing_but_answers() {
    let mut stream = Stream::of(2);
    stream.split("s00");
    stream.merge("s03", "s01");
    let mut services = Services::new(stream);
    let mut solo =
        Solo::running(Settings { initial_position: InitialPosition::Latest, ..settings("me") }, 7, &mut services);
    assert_eq!((solo.start_keys(), solo.now), (vec!["s02".to_owned(), "s04".to_owned()], 7));
}

/// What a scan misses of a table that was filled a moment ago would look like a hole, and lead to rows of ancestors that
/// nobody needs any more.
#[test]
fn a_newcomer_to_a_table_that_was_just_filled_adds_nothing() {
    let named = |name| Settings { initial_position: InitialPosition::AtTimestamp(9), ..settings(name) };
    let mut stream = Stream::of(2);
    stream.split("s01");
    let mut services = Services::new(stream);
    let mut first = Solo::new(named("first"), 0);
    first.answer(&mut services);
    first.call(|call| matches!(call, Action::List(_)));
    first.event(services.serve(&Action::List(ShardFilter::AtLatest)));
    first.answer(&mut services);
    let older = services.serve(&Action::Scan);
    first.settle(&mut services);
    let mut newcomer = Solo::new(named("newcomer"), 0);
    let look = newcomer.call(is_scan);
    newcomer.event(if look == Action::Scan { older } else { services.serve(&look) });
    newcomer.settle(&mut services);
    assert_eq!(services.table.keys(), ["s00", "s02", "s03"]);
}
