//! Aggregates in, user records out: conformance items 67 to 70 of the Kinesis Client Library's de-aggregation, what
//! differs from it on purpose, and noise.

use proptest::prelude::*;

use super::*;
use crate::envelope::{BatchBuilder, Envelope};
use crate::kpl::{self, UserRecord};

const SHARD_KEY: &str = "the key of the whole record";

/// A batch of records with the sequence numbers 1, 2, …
fn batch<M: AsRef<[u8]>>(messages: impl IntoIterator<Item = M>) -> Batch {
    let mut builder = BatchBuilder::default();
    for (index, message) in messages.into_iter().enumerate() {
        let sequence = (index + 1).to_string();
        let (key, message) = (Some(SHARD_KEY), message.as_ref());
        builder.push(Envelope { sequence: &sequence, sub_sequence: 0, key, message, arrival_ms: 7 });
    }
    builder.finish()
}

/// An envelope's sequence number, sub-sequence number, key and message.
type Shown = (String, u32, String, Vec<u8>);

fn shown(batch: &Batch) -> Vec<Shown> {
    let show = |envelope: Envelope<'_>| {
        assert_eq!(envelope.arrival_ms, 7);
        let key = envelope.key.unwrap().to_owned();
        (envelope.sequence.to_owned(), envelope.sub_sequence, key, envelope.message.to_vec())
    };
    batch.envelopes(0..batch.len()).map(show).collect()
}

fn user(key: &str, data: &str) -> UserRecord {
    UserRecord::new(key, data.as_bytes())
}

fn with_hash_key(hash_key: &str) -> UserRecord {
    UserRecord { explicit_hash_key: Some(hash_key.to_owned()), ..user("k", "d") }
}

/// What comes of one record alone.
fn open(body: &[u8], hash_range: Option<&HashRange>) -> (Vec<Shown>, Report) {
    let (batch, report) = deaggregate(batch([body]), hash_range);
    (shown(&batch), report)
}

fn assert_delivered_as_it_is(body: &[u8], why: &str) {
    let (records, report) = open(body, None);
    assert_eq!(records, [("1".to_owned(), 0, SHARD_KEY.to_owned(), body.to_vec())], "{why}");
    assert_eq!(report, Report { malformed: 1, ..Report::default() }, "{why}");
}

fn expected(sequence: &str, users: &[UserRecord]) -> Vec<Shown> {
    let show = |(sub, user): (u32, &UserRecord)| (sequence.to_owned(), sub, user.key.clone(), user.data.clone());
    (0..).zip(users).map(show).collect()
}

#[test]
fn item_67_an_aggregate_becomes_its_user_records_numbered_from_0() {
    let users = [user("a", "1"), user("b", ""), user("a", "3")];
    let (out, report) = deaggregate(batch([b"x", &kpl::aggregate(&users)[..], b"y"]), None);
    let plain = |sequence: &str, data: &[u8]| (sequence.to_owned(), 0, SHARD_KEY.to_owned(), data.to_vec());
    assert_eq!(shown(&out), [vec![plain("1", b"x")], expected("2", &users), vec![plain("3", b"y")]].concat());
    assert_eq!(report, Report { aggregates: 1, ..Report::default() });
}

#[test]
fn an_aggregate_of_another_library_is_read() {
    // By the PyPI package aws_kinesis_agg 1.2.3 with protobuf 7.36.2: `RecordAggregator()`, then `add_user_record` of
    // ("alice", b"first"), ("bob", b"", "170141183460469231731687303715884105728"), ("alice", "grüße".encode()), then
    // `clear_and_get().get_contents()[2].hex()`.
    const HEX: &str = "f3899ac20a05616c6963650a03626f62122731373031343131383334363034363932333137333136383733303337313538\
                       38343130353732381a0908001a0566697273741a06080110001a001a0b08001a076772c3bcc39f6516da746abc0cd97c51\
                       b46bd22d46670a";
    let body: Vec<u8> = (0..HEX.len()).step_by(2).map(|at| u8::from_str_radix(&HEX[at..at + 2], 16).unwrap()).collect();
    let bob = UserRecord { explicit_hash_key: Some((1_u128 << 127).to_string()), ..user("bob", "") };
    let users = [user("alice", "first"), bob, user("alice", "grüße")];
    assert_eq!(kpl::aggregate(&users), body, "what our tests write is what others write");
    assert_eq!(open(&body, None).0, expected("1", &users));
    // alice hashes to 0x6384…, which is in the lower half.
    let lower = HashRange { start: 0, end: (1 << 127) - 1 };
    assert_eq!(open(&body, Some(&lower)).1, Report { aggregates: 1, malformed: 0, foreign: 1 });
}

#[test]
fn item_68_what_is_no_aggregate_is_delivered_as_it_is() {
    let good = kpl::aggregate(&[user("a", "1")]);
    assert_delivered_as_it_is(&good[..4], "magic alone");
    assert_delivered_as_it_is(&good[..good.len() - 1], "cut off");
    assert_delivered_as_it_is(&kpl::frame(b""), "an empty message");
    let mut other_digest = good.clone();
    *other_digest.last_mut().unwrap() ^= 1;
    assert_delivered_as_it_is(&other_digest, "another digest");
}

#[test]
fn item_68_a_message_that_breaks_the_format_is_delivered_as_it_is() {
    let key = kpl::field(1, b"k");
    let good = [kpl::varint_field(1, 0), kpl::field(3, b"data")].concat();
    let message = |record: &[u8]| [&key[..], &kpl::field(3, &good), &kpl::field(3, record)].concat();
    let broken: [(&str, Vec<u8>); 14] = [
        ("not protobuf", b"hello world".to_vec()),
        ("a length beyond the end", [&key[..], b"\x1a\x7f"].concat()),
        ("a varint without an end", [&key[..], &[0xff; 11]].concat()),
        ("a field number 0", [&key[..], b"\x02\x00"].concat()),
        ("a group", [&key[..], b"\x2b\x2c"].concat()),
        ("a key that is not UTF-8", [&kpl::field(1, b"\xff")[..], &kpl::field(3, &good)].concat()),
        ("a key that is a number", [&key[..], &kpl::varint_field(1, 0)].concat()),
        ("no key index", message(&kpl::field(3, b"data"))),
        ("no data", message(&kpl::varint_field(1, 0))),
        ("a key index outside the table", message(&[kpl::varint_field(1, 1), kpl::field(3, b"")].concat())),
        ("a huge key index", message(&[kpl::varint_field(1, u64::MAX), kpl::field(3, b"")].concat())),
        ("a hash key index outside the table", message(&[&good[..], &kpl::varint_field(2, 0)].concat())),
        ("data that is a number", message(&[&good[..], &kpl::varint_field(3, 0)].concat())),
        ("a record that ends early", message(&good[..good.len() - 1])),
    ];
    for (why, message) in broken {
        assert_delivered_as_it_is(&kpl::frame(&message), why);
    }
}

#[test]
fn unknown_fields_tags_and_any_order_of_fields_are_read() {
    let tag = kpl::field(4, &kpl::field(1, b"tag"));
    let fixed = b"\x39\x01\x02\x03\x04\x05\x06\x07\x08\x3d\x01\x02\x03\x04";
    let record = [&kpl::field(3, b"data")[..], &tag, fixed, &kpl::varint_field(1, 1)].concat();
    let keys = [kpl::field(1, b"a"), kpl::field(1, b"b")].concat();
    let message = [&kpl::field(3, &record)[..], &kpl::varint_field(9, u64::MAX), fixed, &keys].concat();
    assert_eq!(open(&kpl::frame(&message), None).0, expected("1", &[user("b", "data")]));
}

#[test]
fn item_69_ours_foreign_user_records_are_delivered_and_counted() {
    let range = HashRange { start: 100, end: 199 };
    let keys = ["100", "199", "99", "200", "150", "-1", "99", "340282366920938463463374607431768211456"];
    let users = keys.map(with_hash_key);
    let (records, report) = open(&kpl::aggregate(&users), Some(&range));
    assert_eq!(records, expected("1", &users), "nothing is dropped");
    assert_eq!(report, Report { aggregates: 1, malformed: 0, foreign: 5 });
}

#[test]
fn item_69_without_an_explicit_hash_key_the_md5_of_the_key_decides() {
    // MD5("a") is 0cc175b9…, MD5("b") 92eb5ffe….
    let body = kpl::aggregate(&[user("a", "1"), user("b", "2"), user("b", "3")]);
    let foreign = |start, end| open(&body, Some(&HashRange { start, end })).1.foreign;
    assert_eq!(foreign(0, u128::MAX), 0);
    assert_eq!(foreign(0, (1 << 127) - 1), 2);
    assert_eq!(foreign(1 << 127, u128::MAX), 1);
    assert_eq!(foreign(0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661, 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661), 2);
}

#[test]
fn an_aggregate_without_records_becomes_nothing() {
    let (records, report) = open(&kpl::frame(&kpl::field(1, b"unused")), None);
    assert_eq!(records, []);
    assert_eq!(report, Report { aggregates: 1, ..Report::default() });
}

#[test]
fn an_aggregate_inside_an_aggregate_is_data() {
    let inner = kpl::aggregate(&[user("a", "1")]);
    let outer = [UserRecord::new("b", &inner)];
    assert_eq!(open(&kpl::aggregate(&outer), None).0, expected("1", &outer));
}

#[test]
fn nothing_is_allocated_or_copied_for_plain_records() {
    let plain = batch(["a", "b"]);
    let before = plain.records().as_ptr();
    let (after, report) = deaggregate(plain, None);
    assert_eq!(after.records().as_ptr(), before);
    assert_eq!(report, Report::default());
}

#[test]
fn user_records_lie_in_the_buffer_of_the_response() {
    let raw = batch([kpl::aggregate(&[user("a", "1"), user("b", "2")])]);
    let buffer = raw.buffer().as_ptr_range();
    let (out, _) = deaggregate(raw.clone(), None);
    for envelope in out.envelopes(0..out.len()) {
        assert!(buffer.contains(&envelope.message.as_ptr()));
        assert!(buffer.contains(&envelope.key.unwrap().as_ptr()));
    }
}

fn users() -> impl Strategy<Value = Vec<UserRecord>> {
    let user = ("[a-zä]{0,3}", prop::option::of("[0-9]{1,2}"), prop::collection::vec(any::<u8>(), 0..300));
    let user = user.prop_map(|(key, explicit_hash_key, data)| UserRecord { key, explicit_hash_key, data });
    prop::collection::vec(user, 1..40)
}

proptest! {
    #[test]
    fn what_was_aggregated_comes_out(aggregates in prop::collection::vec(users(), 1..5)) {
        let (out, report) = deaggregate(batch(aggregates.iter().map(|users| kpl::aggregate(users))), None);
        let each = aggregates.iter().enumerate().flat_map(|(index, users)| expected(&(index + 1).to_string(), users));
        prop_assert_eq!(shown(&out), each.collect::<Vec<_>>());
        prop_assert_eq!(report, Report { aggregates: aggregates.len() as u64, ..Report::default() });
    }

    #[test]
    fn item_68_one_changed_bit_makes_it_an_ordinary_record(users in users(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut body = kpl::aggregate(&users);
        let at = at.index(body.len());
        body[at] ^= 1_u8 << bit;
        let (records, report) = open(&body, None);
        prop_assert_eq!(records, [("1".to_owned(), 0, SHARD_KEY.to_owned(), body)]);
        prop_assert_eq!(report, Report { malformed: u64::from(at >= MAGIC.len()), ..Report::default() });
    }

    /// Whatever stands between magic and a matching digest: either it is delivered as it is, or it was an aggregate.
    #[test]
    fn any_message_is_taken(message in prop::collection::vec(any::<u8>(), 0..200)) {
        let (records, report) = open(&kpl::frame(&message), Some(&HashRange { start: 0, end: 1 << 127 }));
        prop_assert_eq!(report.aggregates + report.malformed, 1);
        prop_assert!(report.aggregates == 1 || records.len() == 1);
    }

    /// As above, with messages that are almost right.
    #[test]
    fn a_damaged_message_is_taken(users in users(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut message = kpl::message(&users);
        for (at, byte) in damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        let (records, report) = open(&kpl::frame(&message), Some(&HashRange { start: 0, end: 1 << 127 }));
        prop_assert_eq!(report.aggregates + report.malformed, 1);
        prop_assert!(report.aggregates == 1 || records.len() == 1);
    }
}
