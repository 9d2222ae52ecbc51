//! The encodings: against an independent CBOR library, and against noise.

use ciborium::Value as Cbor;
use proptest::prelude::*;

use super::{Protocol, Value, cbor, json};

fn values() -> impl Strategy<Value = Value<'static>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<i32>().prop_map(|n| Value::Float(f64::from(n) / 2.0)),
        (0u64..1 << 60).prop_map(Value::Timestamp),
        any::<String>().prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Bytes(bytes.into())),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            proptest::collection::vec((any::<String>().prop_map(Into::into), inner), 0..6).prop_map(Value::Map),
        ]
    })
}

/// The value as the other library has it.
fn to_ciborium(value: &Value<'_>) -> Cbor {
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(value) => Cbor::Bool(*value),
        Value::Int(value) => Cbor::from(*value),
        Value::Float(value) => Cbor::Float(*value),
        Value::Timestamp(millis) => Cbor::Tag(1, Box::new(Cbor::from(*millis))),
        Value::Str(text) => Cbor::Text(text.to_string()),
        Value::Bytes(bytes) => Cbor::Bytes(bytes.to_vec()),
        Value::List(items) => Cbor::Array(items.iter().map(to_ciborium).collect()),
        Value::Map(fields) => {
            Cbor::Map(fields.iter().map(|(key, value)| (Cbor::Text(key.to_string()), to_ciborium(value))).collect())
        }
    }
}

fn to_json(value: &Value<'_>) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Timestamp(millis) => serde_json::from_str(&format!("{}.{:03}", millis / 1000, millis % 1000)).unwrap(),
        Value::Str(text) => text.as_ref().into(),
        Value::Bytes(bytes) => base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes).into(),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(fields) => fields.iter().map(|(key, value)| (key.to_string(), to_json(value))).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn noise_is_refused_or_read_but_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for protocol in [Protocol::Json, Protocol::Cbor] {
            if let Ok(params) = protocol.decode(&bytes) {
                prop_assert!(crate::ops::target(&params).1.is_none());
            }
        }
    }

    #[test]
    fn a_damaged_request_is_refused_or_read_but_never_panics(
        value in values(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        for protocol in [Protocol::Json, Protocol::Cbor] {
            let mut bytes = protocol.encode(&Value::List(vec![value.clone()]));
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            let decoded = match protocol {
                Protocol::Json => json::decode(&bytes),
                Protocol::Cbor => cbor::decode(&bytes),
            };
            drop(decoded);
        }
    }

    #[test]
    fn cbor_is_what_another_library_reads_and_writes(value in values()) {
        let ours = Protocol::Cbor.encode(&value);
        let theirs: Cbor = ciborium::from_reader(ours.as_slice()).unwrap();
        prop_assert_eq!(&theirs, &to_ciborium(&value));
        let mut bytes = Vec::new();
        ciborium::into_writer(&theirs, &mut bytes).unwrap();
        prop_assert_eq!(cbor::decode(&bytes).unwrap(), value);
    }

    #[test]
    fn json_is_what_another_library_reads(value in values()) {
        let ours: serde_json::Value = serde_json::from_slice(&Protocol::Json.encode(&value)).unwrap();
        prop_assert_eq!(ours, to_json(&value));
    }
}

#[test]
fn indefinite_lengths_are_read() {
    let body = b"\xbf\x64Data\x5f\x42ab\x41c\xff\x7f\x61L\x62st\xff\x9f\x01\x20\xff\xff";
    let Ok(Value::Map(fields)) = cbor::decode(body) else {
        panic!("not read");
    };
    assert_eq!(fields[0], ("Data".into(), Value::Bytes(b"abc".as_slice().into())));
    assert_eq!(fields[1], ("Lst".into(), Value::List(vec![Value::Int(1), Value::Int(-1)])));
}

#[test]
fn a_tagged_time_is_an_integer_of_milliseconds_or_a_float_of_seconds() {
    assert_eq!(cbor::decode(b"\xc1\x19\x03\xe8"), Ok(Value::Timestamp(1000)));
    assert_eq!(cbor::decode(b"\xc1\xf9\x3e\x00"), Ok(Value::Timestamp(1500)));
    assert_eq!(cbor::decode(b"\xc1\xfa\x3f\xc0\x00\x00"), Ok(Value::Timestamp(1500)));
    assert_eq!(cbor::decode(b"\xd9\xd9\xf7\x05"), Ok(Value::Int(5)), "another tag says nothing");
}

#[test]
fn a_claimed_length_reserves_no_memory_and_nesting_is_bounded() {
    for body in [b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff".as_slice(), b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", b"\xbf"] {
        assert!(cbor::decode(body).is_err());
    }
    assert!(cbor::decode(&[0x81; 100_000]).is_err());
    assert!(cbor::decode(&[0xc1; 100_000]).is_err());
    assert!(json::decode(&[b'['; 100_000]).is_err());
}
