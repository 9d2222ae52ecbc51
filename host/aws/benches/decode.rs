//! What decoding one GetRecords answer costs, for each record: CBOR borrowed from the body, against the SDK's JSON.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::hint::black_box;

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_smithy_json::codec::{JsonCodec, JsonCodecSettings};
use aws_smithy_schema::codec::Codec;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shardmill_aws::kinesis::decode_response;

/// Records in an answer and bytes in each, up to what one answer holds.
const SHAPES: [(usize, usize); 3] = [(10_000, 100), (7_380, 1_024), (776, 10_240)];

const ARRIVAL_MS: u64 = 1_700_000_000_123;

fn sequence(index: usize) -> String {
    format!("49590338271490256608559692538361571095{index:018}")
}

fn payload(index: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at + index).wrapping_mul(0x9e37_79b9) >> 7) as u8).collect()
}

/// As AWS writes it: shortest heads, definite lengths, times of milliseconds under tag 1.
fn cbor(records: usize, len: usize) -> Bytes {
    let mut body = b"\xa1\x67Records\x99".to_vec();
    body.extend(u16::try_from(records).unwrap().to_be_bytes());
    for index in 0..records {
        body.extend(b"\xa4\x6eSequenceNumber\x78\x38");
        body.extend(sequence(index).bytes());
        body.extend(b"\x78\x1bApproximateArrivalTimestamp\xc1\x1b");
        body.extend(ARRIVAL_MS.to_be_bytes());
        body.extend(b"\x64Data\x59");
        body.extend(u16::try_from(len).unwrap().to_be_bytes());
        body.extend(payload(index, len));
        body.extend(b"\x6cPartitionKey\x66");
        body.extend(format!("{index:06}").bytes());
    }
    body.into()
}

fn json(records: usize, len: usize) -> Vec<u8> {
    let record = |index| {
        format!(
            r#"{{"SequenceNumber":"{}","ApproximateArrivalTimestamp":1.700000000123E9,"Data":"{}","PartitionKey":"{index:06}"}}"#,
            sequence(index),
            STANDARD.encode(payload(index, len)),
        )
    };
    format!(r#"{{"Records":[{}]}}"#, (0..records).map(record).collect::<Vec<_>>().join(",")).into_bytes()
}

fn decode(criterion: &mut Criterion) {
    let codec = JsonCodec::new(JsonCodecSettings::builder().use_json_name(false).build());
    for (records, len) in SHAPES {
        let mut group = criterion.benchmark_group(format!("{records} x {len} B"));
        group.throughput(Throughput::Elements(records as u64));
        let body = cbor(records, len);
        assert_eq!(decode_response(&body).unwrap().batch.len(), records);
        group.bench_function("CBOR, borrowed", |bencher| bencher.iter(|| decode_response(black_box(&body)).unwrap()));
        let body = json(records, len);
        let sdk = |body| GetRecordsOutput::deserialize(&mut codec.create_deserializer(body)).unwrap();
        assert_eq!(sdk(&body).records.len(), records);
        group.bench_function("JSON, the SDK's", |bencher| bencher.iter(|| sdk(black_box(&body))));
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
