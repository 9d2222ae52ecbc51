//! Bodies from the tests' own encoder: valid, damaged, and random bytes.

mod answer;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use answer::{Style, TestAnswer, TestRecord, read_back, without_leading_zeros, write};

fn records() -> impl Strategy<Value = TestRecord> {
    let key = proptest::option::of("\\PC{0,12}");
    // Times that a stream may have; a float of seconds holds them to the millisecond.
    (("[0-9]{1,56}", key, vec(any::<u8>(), 0..300)), 1_400_000_000_000u64..4_000_000_000_000)
        .prop_map(|((sequence, key, data), arrival_ms)| TestRecord { sequence, key, data, arrival_ms })
}

fn answers() -> impl Strategy<Value = TestAnswer> {
    let range = (any::<u128>(), any::<u128>()).prop_map(|(start, end)| HashRange { start, end });
    let child = ("[a-z0-9-]{1,20}", vec("[a-z0-9-]{1,20}".prop_map(String::from), 0..3), range)
        .prop_map(|(id, parents, hash_range)| ChildShard { id, parents, hash_range });
    let rest = (proptest::option::of("[A-Za-z0-9+/=]{1,40}"), vec(child, 0..3), 0..u64::from(u32::MAX));
    (vec(records(), 0..8), rest).prop_map(|(records, (next, children, behind))| TestAnswer {
        records,
        next,
        children,
        behind,
    })
}

proptest! {
    #[test]
    fn a_response_in_any_valid_encoding_is_decoded(answer in answers(), choices in vec(any::<u8>(), 1..40)) {
        let body = write(&answer, &mut Style::new(choices));
        prop_assert!(looks_like_cbor(&body));
        let decoded = decode_response(&body).unwrap();
        let expected: Vec<_> = answer.records.iter().map(without_leading_zeros).collect();
        prop_assert_eq!(read_back(&decoded.batch), expected);
        prop_assert_eq!(decoded.next_iterator, answer.next);
        prop_assert_eq!(decoded.children, answer.children);
        prop_assert_eq!(decoded.millis_behind_latest, answer.behind);
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in vec(any::<u8>(), 0..400)) {
        let body = Bytes::from(body);
        // Most are rejected; every accepted one must be readable.
        if let Ok(decoded) = decode_response(&body) {
            read_back(&decoded.batch);
        }
        drop(decode_error(&body));
    }

    #[test]
    fn damaged_answers_never_panic(
        answer in answers(),
        choices in vec(any::<u8>(), 1..40),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut body = write(&answer, &mut Style::new(choices)).to_vec();
        prop_assert!(decode_response(&Bytes::copy_from_slice(&body[..cut.index(body.len())])).is_err());
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Ok(decoded) = decode_response(&body.into()) {
            read_back(&decoded.batch);
        }
    }
}

fn one(record: TestRecord) -> TestAnswer {
    TestAnswer { records: vec![record], next: None, children: Vec::new(), behind: 0 }
}

fn plain_record() -> TestRecord {
    TestRecord { sequence: "17".into(), key: Some("k".into()), data: vec![7; 100], arrival_ms: 1_700_000_000_123 }
}

#[test]
fn records_of_a_definite_body_are_slices_of_it() {
    let body = write(&one(plain_record()), &mut Style::plain());
    let decoded = decode_response(&body).unwrap();
    let message = decoded.batch.envelope(0).message;
    assert!(body.as_ptr_range().contains(&message.as_ptr()));
}

#[test]
fn times_come_in_milliseconds_whatever_the_endpoint_sends() {
    let cases = [
        (Number::Integer(1_700_000_000_123), 1_700_000_000_123),
        (Number::Float(1_700_000_000_123.0), 1_700_000_000_123),
        (Number::Integer(1_700_000_000), 1_700_000_000_000),
        (Number::Float(1_700_000_000.123), 1_700_000_000_123),
        (Number::Float(1.7e9), 1_700_000_000_000),
        (Number::Integer(0), 0),
        (Number::Integer(-5), 0),
        (Number::Integer(i64::MIN), 0),
        (Number::Float(f64::NAN), 0),
        (Number::Float(f64::INFINITY), u64::MAX),
    ];
    for (sent, expected) in cases {
        assert_eq!(millis(sent), expected, "{sent:?}");
    }
}

#[test]
fn a_record_needs_a_sequence_number_of_digits() {
    for sequence in ["", "-1", "12a", "١"] {
        let body = write(&one(TestRecord { sequence: sequence.into(), ..plain_record() }), &mut Style::plain());
        let error = decode_response(&body).unwrap_err();
        assert_eq!(error.to_string(), "record 0 has no sequence number of decimal digits", "{sequence:?}");
    }
}

#[test]
fn a_huge_announced_length_reserves_no_huge_buffer() {
    // {"Records": [2^40 records, of which none follows
    let mut body = vec![0xa1, 0x67];
    body.extend(b"Records\x9b\x00\x00\x01\x00\x00\x00\x00\x00");
    let error = decode_response(&body.into()).unwrap_err();
    assert_eq!(error.to_string(), "malformed CBOR: it ends at byte 18, inside a value");
}

#[test]
fn unknown_values_may_nest_up_to_a_limit() {
    let nested = |depth: usize| {
        let mut body = vec![0xa1, 0x61, b'x'];
        body.extend(std::iter::repeat_n(0x81, depth));
        body.push(0xf6);
        decode_response(&body.into()).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(nested(32), Ok(()));
    assert_eq!(nested(33), Err("malformed CBOR: values nest deeper than 32 at byte 36".to_owned()));
    let tags = Bytes::from(vec![0xc1; 100_000]);
    assert!(decode_response(&tags).unwrap_err().to_string().contains("deeper"));
}

#[test]
fn an_error_names_the_unexpected_byte() {
    // {"Records": "x"}
    let body = Bytes::from_static(b"\xa1\x67Records\x61x");
    assert_eq!(
        decode_response(&body).unwrap_err().to_string(),
        "malformed CBOR: expected an array at byte 9, found 0x61"
    );
    let body = Bytes::from_static(b"\xa0\xa0");
    assert_eq!(
        decode_response(&body).unwrap_err().to_string(),
        "malformed CBOR: expected the end at byte 1, found 0xa0"
    );
}

#[test]
fn json_is_not_taken_for_cbor() {
    for body in [&b"{}"[..], b" {\"a\": 1}", b"\n{", b"", b"<html>"] {
        assert!(!looks_like_cbor(body));
    }
    // A map of two, a map of unknown length, and the tag that some encoders begin with.
    for body in [&b"\xa2"[..], b"\xbf", b"\xd9\xd9\xf7\xa0"] {
        assert!(looks_like_cbor(body));
    }
}

#[test]
fn the_request_is_a_map_of_iterator_and_limit() {
    let request = encode_request(&"i".repeat(300), 10_000);
    let mut cursor = Cursor::new(&request);
    let mut entries = cursor.map().unwrap();
    let mut keys = Vec::new();
    while cursor.next(&mut entries).unwrap() {
        keys.push(String::from_utf8(cursor.text().unwrap().into_owned()).unwrap());
        match keys.len() {
            1 => assert_eq!(cursor.text().unwrap().len(), 300),
            _ => assert_eq!(cursor.number().unwrap(), Number::Integer(10_000)),
        }
    }
    assert_eq!(keys, ["ShardIterator", "Limit"]);
    cursor.end().unwrap();
}

#[test]
fn an_error_body_yields_code_and_message() {
    let mut style = Style::plain();
    style.map(vec![
        ("message", Box::new(|style| style.text("Iterator expired"))),
        ("__type", Box::new(|style| style.text("ExpiredIteratorException"))),
    ]);
    assert_eq!(
        decode_error(&style.out),
        Ok((Some("ExpiredIteratorException".to_owned()), Some("Iterator expired".to_owned())))
    );
    assert_eq!(decode_error(b"\xa0"), Ok((None, None)));
}
