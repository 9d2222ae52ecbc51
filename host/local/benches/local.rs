//! What the local backend costs: the model alone, and over loopback with four raw connections.
//!
//! The client sends prepared bytes and does not decode, so the figures are the backend's (and share the machine with
//! the client). Records have 100 bytes; a `PutRecords` has 500 of them, a `GetRecords` reply 10,000.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shardmill_local::model::{Position, PutEntry, StreamRef};
use shardmill_local::{Kinesis, LocalBackend, Options};

const STREAM: &str = "bench";
const CONNECTIONS: u32 = 4;
const RECORD: usize = 100;
const PUT_BATCH: u64 = 500;
const GET_BATCH: u64 = 10_000;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = in_process, loopback_put, loopback_get
}
criterion_main!(benches);

fn in_process(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("in process");
    let backend = start();
    let (data, keys) = (vec![7u8; RECORD], keys());
    let entries: Vec<_> =
        keys.iter().map(|key| PutEntry { data: &data, partition_key: Some(key), explicit_hash_key: None }).collect();
    let (kinesis, stream) = (backend.kinesis(), StreamRef::from(STREAM));
    group.throughput(Throughput::Elements(PUT_BATCH));
    group.bench_function("put", |bencher| {
        bencher.iter(|| kinesis.model().put_records(kinesis.now(), &stream, &entries));
    });
    fill(kinesis);
    let iterator = iterators(kinesis).remove(0);
    group.throughput(Throughput::Elements(GET_BATCH));
    group.bench_function("get", |bencher| {
        bencher.iter(|| kinesis.model().get_records(kinesis.now(), &iterator, None));
    });
}

fn loopback_put(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("loopback put");
    group.throughput(Throughput::Elements(PUT_BATCH));
    for wire in ["json", "cbor"] {
        let backend = start();
        let body = if wire == "json" { json_put() } else { cbor_put() };
        let requests = vec![request(wire, "PutRecords", &body); CONNECTIONS as usize];
        group.bench_function(BenchmarkId::from_parameter(wire), |bencher| {
            bencher.iter_custom(|requested| drive(backend.kinesis_addr(), &requests, requested));
        });
    }
}

fn loopback_get(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("loopback get");
    group.throughput(Throughput::Elements(GET_BATCH));
    let backend = start();
    fill(backend.kinesis());
    for wire in ["json", "cbor"] {
        let requests: Vec<_> = iterators(backend.kinesis())
            .iter()
            .map(|iterator| request(wire, "GetRecords", &get_body(wire, iterator)))
            .collect();
        group.bench_function(BenchmarkId::from_parameter(wire), |bencher| {
            bencher.iter_custom(|requested| drive(backend.kinesis_addr(), &requests, requested));
        });
    }
}

fn start() -> LocalBackend {
    let options = Options { limits: false, ..Options::default() };
    let backend = LocalBackend::start(options).expect("free ports");
    backend.kinesis().create_stream(STREAM, CONNECTIONS).expect("a new stream");
    backend
}

/// At least [`GET_BATCH`] records in every shard.
fn fill(kinesis: &Kinesis) {
    let (data, keys) = (vec![7u8; RECORD], keys());
    let records: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), data.as_slice())).collect();
    for _ in 0..GET_BATCH * 6 / PUT_BATCH {
        kinesis.put_records(STREAM, &records).expect("no limits");
    }
}

fn keys() -> Vec<String> {
    (0..PUT_BATCH).map(|i| (1_000_000 + i * 7919).to_string()).collect()
}

fn iterators(kinesis: &Kinesis) -> Vec<String> {
    let ids = kinesis.shard_ids(STREAM).expect("the stream");
    let iterator = |id: &String| {
        kinesis
            .model()
            .shard_iterator(kinesis.now(), &StreamRef::from(STREAM), id, Position::TrimHorizon)
            .expect("the shard")
    };
    ids.iter().map(iterator).collect()
}

/// Sends `requested` requests over one connection per prepared request; each waits for its reply.
fn drive(address: SocketAddr, requests: &[Vec<u8>], requested: u64) -> Duration {
    let each = requested.div_ceil(requests.len() as u64);
    let mut connections: Vec<_> = requests.iter().map(|_| connect(address)).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (connection, request) in connections.iter_mut().zip(requests) {
            scope.spawn(move || {
                let mut sink = vec![0; 1 << 20];
                for _ in 0..each {
                    exchange(connection, request, &mut sink);
                }
            });
        }
    });
    start.elapsed().mul_f64(requested as f64 / (each * requests.len() as u64) as f64)
}

fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).expect("the backend listens");
    stream.set_nodelay(true).expect("a TCP socket");
    BufReader::with_capacity(1 << 16, stream)
}

fn exchange(connection: &mut BufReader<TcpStream>, request: &[u8], sink: &mut [u8]) {
    connection.get_mut().write_all(request).expect("an open connection");
    let mut line = String::new();
    connection.read_line(&mut line).expect("a reply");
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    let mut left = 0;
    while line.trim_end() != "" {
        line.clear();
        connection.read_line(&mut line).expect("a header");
        if let Some(length) = line.strip_prefix("content-length: ") {
            left = length.trim_end().parse().expect("a number");
        }
    }
    while left > 0 {
        let bound = left.min(sink.len());
        let read = connection.read(&mut sink[..bound]).expect("a body");
        assert!(read > 0, "the reply was cut");
        left -= read;
    }
}

fn request(wire: &str, operation: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-amz-{wire}-1.1\r\nx-amz-target: Kinesis_20131202.{operation}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn json_put() -> Vec<u8> {
    let data = STANDARD.encode([7u8; RECORD]);
    let record = |key: String| serde_json::json!({"Data": data, "PartitionKey": key});
    let records: Vec<_> = keys().into_iter().map(record).collect();
    serde_json::json!({"StreamName": STREAM, "Records": records}).to_string().into_bytes()
}

fn cbor_put() -> Vec<u8> {
    use ciborium::Value;
    let text = |text: &str| Value::Text(text.to_owned());
    let record = |key: String| {
        Value::Map(vec![(text("Data"), Value::Bytes(vec![7; RECORD])), (text("PartitionKey"), Value::Text(key))])
    };
    let records = keys().into_iter().map(record).collect();
    cbor(&Value::Map(vec![(text("StreamName"), text(STREAM)), (text("Records"), Value::Array(records))]))
}

fn get_body(wire: &str, iterator: &str) -> Vec<u8> {
    use ciborium::Value;
    if wire == "json" {
        return serde_json::json!({"ShardIterator": iterator}).to_string().into_bytes();
    }
    let field = (Value::Text("ShardIterator".to_owned()), Value::Text(iterator.to_owned()));
    cbor(&Value::Map(vec![field]))
}

fn cbor(value: &ciborium::Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).expect("a vector grows");
    out
}
