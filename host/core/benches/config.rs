//! What reading a configuration costs for each of its keys: the same for few and many, whatever is wrong with them.

#![allow(missing_docs, reason = "a benchmark")]

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shardmill_core::config::{Source, load};

const JOB: &str = "\
job.name=orders
task.class=word-count
task.inputs=kinesis.orders
systems.kinesis.samza.factory=kinesis
";

/// Writes the line of that number.
type Line = fn(usize) -> String;

fn benches(criterion: &mut Criterion) {
    let kinds: [(&str, Line); 4] = [
        ("good keys", |n| format!("task.config.x{n}=1")),
        ("unknown keys", |n| format!("task.comit.ms{n}=1")),
        ("bad values", |n| format!("systems.kinesis.streams.s{n}.aws.kcl.MaxRecords=none")),
        ("unused keys", |n| format!("systems.kinesis.streams.s{n}.aws.kcl.MaxRecords=1")),
    ];
    let mut group = criterion.benchmark_group("a configuration of");
    for (name, line) in kinds {
        for keys in [100, 1_000, 10_000] {
            let lines: Vec<String> = (0..keys).map(line).collect();
            let text = format!("{JOB}{}\n", lines.join("\n"));
            let sources = [Source::File { name: "job.properties".to_owned(), text }];
            group.throughput(Throughput::Elements(keys as u64));
            group.bench_with_input(BenchmarkId::new(name, keys), &sources, |bencher, sources| {
                bencher.iter(|| black_box(load(sources, &BTreeMap::new(), false).is_ok()));
            });
        }
    }
    group.finish();
}

criterion_group!(config, benches);
criterion_main!(config);
