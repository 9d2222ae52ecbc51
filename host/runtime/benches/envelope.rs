//! What an envelope costs through the sandbox, beside the same trivial work (counting) done natively: by a closure that
//! borrows the envelope, and by one that takes owned structs, as hosts do that pass records to plugins.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use shardmill_core::config::{Grants, Limits};
use shardmill_core::envelope::{Batch, BatchBuilder, Envelope};
use shardmill_runtime::{Engine, FileUsage, Instance, OutputStreams, Outputs, Source, TaskSpec, TracingLog};
use shardmill_testkit::guests;

const MESSAGE_BYTES: [usize; 2] = [100, 1024];
const BATCHES: [usize; 3] = [1, 100, 1000];
/// One message in so many holds what the filter looks for.
const HIT_EVERY: usize = 10;

/// What a native host would build for each record.
struct OwnedEnvelope {
    sequence: String,
    key: Option<String>,
    message: Vec<u8>,
    arrival_ms: u64,
}

fn benches(criterion: &mut Criterion) {
    for bytes in MESSAGE_BYTES {
        for count in BATCHES {
            let batch = batch(count, bytes);
            let mut group = criterion.benchmark_group(format!("{bytes} B x {count}"));
            group.throughput(Throughput::Elements(count as u64));
            native(&mut group, &batch);
            for guest in ["count", "count-batch", "filter-batch"] {
                sandboxed(&mut group, guest, &batch);
            }
            group.finish();
        }
    }
}

fn native(group: &mut BenchmarkGroup<'_, WallTime>, batch: &Batch) {
    let mut total = 0;
    let mut borrowing: Box<dyn FnMut(&Envelope<'_>)> = Box::new(|envelope| total += envelope.message.len());
    group.bench_function("native, borrowed", |bencher| {
        bencher.iter(|| batch.envelopes(0..batch.len()).for_each(|envelope| borrowing(black_box(&envelope))));
    });
    drop(borrowing);
    let mut owning: Box<dyn FnMut(OwnedEnvelope)> = Box::new(|envelope| {
        total += envelope.message.len() + envelope.sequence.len() + envelope.key.map_or(0, |key| key.len());
        total += usize::try_from(envelope.arrival_ms).unwrap_or(0);
    });
    group.bench_function("native, owned", |bencher| {
        bencher.iter(|| {
            for envelope in batch.envelopes(0..batch.len()) {
                owning(black_box(OwnedEnvelope {
                    sequence: envelope.sequence.to_owned(),
                    key: envelope.key.map(str::to_owned),
                    message: envelope.message.to_vec(),
                    arrival_ms: envelope.arrival_ms,
                }));
            }
        });
    });
}

fn sandboxed(group: &mut BenchmarkGroup<'_, WallTime>, guest: &str, batch: &Batch) {
    let wasm = std::fs::read(guests::rust_guest(guest)).unwrap();
    let module = Engine::new().unwrap().load(guest, &wasm).unwrap();
    let mut instance = Instance::new(&module, &spec()).unwrap();
    instance.init().unwrap();
    let mut outputs = Outputs::default();
    group.bench_function(guest, |bencher| {
        bencher.iter(|| {
            outputs.clear();
            let done = instance.process(0, batch, 0..batch.len(), 1, &mut outputs).unwrap();
            assert_eq!(done.processed, batch.len());
            black_box(outputs.len())
        });
    });
}

fn spec() -> TaskSpec {
    TaskSpec {
        job_name: "bench".into(),
        job_id: "1".into(),
        task_name: "Task-0".into(),
        sources: vec![Source { system: "kinesis".into(), stream: "in".into(), partition: "0".into() }],
        outputs: Arc::new(OutputStreams::new(["console".into()])),
        config: BTreeMap::new(),
        limits: Limits::default(),
        grants: Grants::default(),
        file_usage: FileUsage::default(),
        http_client: None,
        log: Arc::new(TracingLog),
        hits: Arc::default(),
    }
}

/// Envelopes as Kinesis has them: a sequence number of 56 digits, a short key.
fn batch(count: usize, bytes: usize) -> Batch {
    let mut builder = BatchBuilder::default();
    for index in 0..count {
        let sequence = format!("49590338271490256608559692538361571095921575989136{index:06}");
        let key = format!("key-{:04}", index % 1000);
        let mut message = vec![b'x'; bytes];
        if index % HIT_EVERY == 0 {
            message[bytes / 2..bytes / 2 + 5].copy_from_slice(b"error");
        }
        builder.push(Envelope {
            sequence: &sequence,
            sub_sequence: 0,
            key: Some(&key),
            message: &message,
            arrival_ms: 1_700_000_000_000,
        });
    }
    builder.finish()
}

criterion_group!(all, benches);
criterion_main!(all);
