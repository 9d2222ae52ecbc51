//! An answer to GetRecords, written in any way that CBOR allows, is read back as it was.

#![no_main]

#[allow(dead_code, reason = "the unit tests use all of it")]
#[path = "../../../host/aws/src/kinesis/decode/tests/answer.rs"]
mod answer;

use answer::{Style, TestAnswer, TestRecord, read_back, without_leading_zeros, write};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use shardmill_aws::kinesis::decode_response;
use shardmill_core::kinesis::shard::{ChildShard, HashRange};

/// Times that a stream may have; a float of seconds holds them to the millisecond.
const TIMES: std::ops::Range<u64> = 1_400_000_000_000..4_000_000_000_000;

#[derive(Arbitrary, Debug)]
struct Input {
    records: Vec<Record>,
    next: Option<String>,
    children: Vec<Child>,
    behind: u32,
    choices: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
struct Record {
    first_digit: u8,
    digits: Vec<u8>,
    key: Option<String>,
    data: Vec<u8>,
    time: u64,
}

#[derive(Arbitrary, Debug)]
struct Child {
    id: String,
    parents: Vec<String>,
    hash_range: (u128, u128),
}

impl From<Record> for TestRecord {
    fn from(record: Record) -> Self {
        let digits = std::iter::once(record.first_digit).chain(record.digits);
        Self {
            sequence: digits.map(|byte| char::from(b'0' + byte % 10)).collect(),
            key: record.key,
            data: record.data,
            arrival_ms: TIMES.start + record.time % (TIMES.end - TIMES.start),
        }
    }
}

impl From<Child> for ChildShard {
    fn from(child: Child) -> Self {
        let (start, end) = child.hash_range;
        Self { id: child.id, parents: child.parents, hash_range: HashRange { start, end } }
    }
}

fuzz_target!(|input: Input| {
    let choices = if input.choices.is_empty() { vec![0] } else { input.choices };
    let answer = TestAnswer {
        records: input.records.into_iter().map(TestRecord::from).collect(),
        next: input.next,
        children: input.children.into_iter().map(ChildShard::from).collect(),
        behind: input.behind.into(),
    };
    let body = write(&answer, &mut Style::new(choices));
    let decoded = decode_response(&body).expect("what the encoder writes is an answer");
    let expected: Vec<_> = answer.records.iter().map(without_leading_zeros).collect();
    assert_eq!(read_back(&decoded.batch), expected);
    assert_eq!(decoded.next_iterator, answer.next);
    assert_eq!(decoded.children, answer.children);
    assert_eq!(decoded.millis_behind_latest, answer.behind);
});
