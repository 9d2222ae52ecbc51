//! What de-aggregation costs for each user record, beside its floor (the digest that has to be computed), and what it
//! costs for each record of a batch without aggregates.

#![allow(missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shardmill_core::envelope::{Batch, BatchBuilder, Envelope};
use shardmill_core::kinesis::aggregate::deaggregate;
use shardmill_core::kinesis::shard::HashRange;
use shardmill_testkit::kpl;

const USER_RECORDS: usize = 1_000;
const BYTES: usize = 100;
const UPPER_HALF: HashRange = HashRange { start: 1 << 127, end: u128::MAX };

fn batch<M: AsRef<[u8]>>(messages: impl IntoIterator<Item = M>) -> Batch {
    let mut builder = BatchBuilder::default();
    for (index, message) in messages.into_iter().enumerate() {
        let sequence = format!("49590338271490256608559692538361571095{index:018}");
        let (key, message) = (Some("key"), message.as_ref());
        builder.push(Envelope { sequence: &sequence, sub_sequence: 0, key, message, arrival_ms: 0 });
    }
    builder.finish()
}

/// One aggregate whose records take turns with so many keys.
fn aggregate(keys: usize) -> Vec<u8> {
    let user = |index| kpl::UserRecord::new(&format!("key-{:06}", index % keys), &[b'x'; BYTES]);
    kpl::aggregate(&(0..USER_RECORDS).map(user).collect::<Vec<_>>())
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("{USER_RECORDS} x {BYTES} B"));
    group.throughput(Throughput::Elements(USER_RECORDS as u64));
    for keys in [10, USER_RECORDS] {
        let body = aggregate(keys);
        let input = batch([&body]);
        assert_eq!(deaggregate(input.clone(), None).0.len(), USER_RECORDS);
        for (name, range) in [("", None), (", foreign ones counted", Some(&UPPER_HALF))] {
            group.bench_function(format!("one aggregate, {keys} keys{name}"), |bencher| {
                bencher.iter_batched(
                    || input.clone(),
                    |input| deaggregate(black_box(input), range),
                    BatchSize::SmallInput,
                );
            });
        }
        group.bench_function(format!("its digest, {keys} keys"), |bencher| {
            bencher.iter(|| md5::compute(black_box(&body[4..body.len() - 16])));
        });
    }
    let plain = batch((0..USER_RECORDS).map(|_| [b'x'; BYTES]));
    group.bench_function("no aggregate", |bencher| {
        bencher.iter_batched(
            || plain.clone(),
            |plain| deaggregate(black_box(plain), Some(&UPPER_HALF)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
