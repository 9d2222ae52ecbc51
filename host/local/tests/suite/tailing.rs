//! Nothing is lost, doubled or swapped for readers that follow the tip while many write.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use shardmill_local::model::{Position, StreamRef};
use shardmill_local::{Kinesis, LocalBackend};

use crate::client::{Client, Wire, no_limits, str_of, texts};
use crate::world::id;

const WRITERS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);

/// (sequence number, `writer-count`) in the order a reader saw them.
type Seen = Vec<(String, String)>;

/// Every record of every writer, once, in the writer's order, by growing numbers.
fn check(what: &str, seen: &Seen, each: usize) {
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "{what}: sequence numbers do not grow");
    assert_eq!(seen.len(), WRITERS * each, "{what}");
    let mut next = [0; WRITERS];
    for (_, text) in seen {
        let (writer, count) = text.split_once('-').unwrap();
        let expected = &mut next[writer.parse::<usize>().unwrap()];
        assert_eq!(count.parse::<usize>().unwrap(), *expected, "{what}: writer {writer}");
        *expected += 1;
    }
}

/// Runs the writers and these readers together; each reader reads until it has seen all.
fn round(each: usize, write: impl Fn(usize) + Sync, readers: &[(&str, &(dyn Fn() -> Seen + Sync))]) {
    let started = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (name, reader) in readers {
            scope.spawn(move || check(name, &reader(), each));
        }
        for writer in 0..WRITERS {
            let (write, started) = (&write, &started);
            scope.spawn(move || {
                started.fetch_add(1, Ordering::SeqCst);
                while started.load(Ordering::SeqCst) < WRITERS {
                    std::hint::spin_loop();
                }
                write(writer);
            });
        }
    });
}

/// Follows the shard from a position until `total` records were seen.
fn follow(kinesis: &Kinesis, mut iterator: String, total: usize) -> Seen {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while seen.len() < total && Instant::now() < deadline {
        let batch = kinesis.model().get_records(kinesis.now(), &iterator, Some(37)).unwrap();
        let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
        seen.extend(batch.records().map(|record| (record.sequence_number.to_owned(), text(record.data))));
        iterator = batch.next_iterator.unwrap();
    }
    seen
}

fn stream() -> (LocalBackend, String, String) {
    let backend = LocalBackend::start(no_limits()).unwrap();
    backend.kinesis().create_stream("s", 1).unwrap();
    let at = |position| {
        let kinesis = backend.kinesis();
        kinesis.model().shard_iterator(kinesis.now(), &StreamRef::from("s"), &id(0), position).unwrap()
    };
    let (oldest, latest) = (at(Position::TrimHorizon), at(Position::Latest));
    (backend, oldest, latest)
}

#[test]
fn sixteen_writers_of_single_records() {
    const EACH: usize = 500;
    for _ in 0..10 {
        let (backend, oldest, latest) = stream();
        let kinesis = backend.kinesis();
        let write = |writer: usize| {
            for count in 0..EACH {
                kinesis.put_record("s", "k", format!("{writer}-{count}").as_bytes()).unwrap();
            }
        };
        round(
            EACH,
            write,
            &[
                ("TRIM_HORIZON", &|| follow(kinesis, oldest.clone(), WRITERS * EACH)),
                ("LATEST", &|| follow(kinesis, latest.clone(), WRITERS * EACH)),
            ],
        );
    }
}

#[test]
fn sixteen_writers_of_batches() {
    const EACH: usize = 1000;
    for _ in 0..10 {
        let (backend, oldest, latest) = stream();
        let kinesis = backend.kinesis();
        let write = |writer: usize| {
            for start in (0..EACH).step_by(50) {
                let texts: Vec<String> = (start..start + 50).map(|count| format!("{writer}-{count}")).collect();
                let records: Vec<(&str, &[u8])> = texts.iter().map(|text| ("k", text.as_bytes())).collect();
                kinesis.put_records("s", &records).unwrap();
            }
        };
        round(
            EACH,
            write,
            &[
                ("TRIM_HORIZON", &|| follow(kinesis, oldest.clone(), WRITERS * EACH)),
                ("LATEST", &|| follow(kinesis, latest.clone(), WRITERS * EACH)),
            ],
        );
    }
}

#[test]
fn sixteen_connections_with_polling_and_subscribed_readers() {
    const EACH: usize = 100;
    for (wire, polling) in [(Wire::Json, Wire::Cbor), (Wire::Cbor, Wire::Json)] {
        let (backend, oldest, latest) = stream();
        let address = backend.kinesis_addr();
        let consumer = backend.kinesis().model().register_consumer(0, &StreamRef::from("s"), "app").unwrap().arn;
        let write = |writer: usize| {
            let mut client = Client::new(address, wire);
            for count in (0..EACH).step_by(2) {
                let blob = |count: usize| json!({"$blob": format!("{writer}-{count}")});
                client.ok("PutRecord", json!({"StreamName": "s", "PartitionKey": "k", "Data": blob(count)}));
                let record = json!({"PartitionKey": "k", "Data": blob(count + 1)});
                client.ok("PutRecords", json!({"StreamName": "s", "Records": [record]}));
            }
        };
        let numbered = |reply: &serde_json::Value| -> Seen {
            let numbers = reply["Records"].as_array().unwrap().iter().map(|r| str_of(&r["SequenceNumber"]));
            numbers.zip(texts(reply)).collect()
        };
        let poll = |iterator: &str| {
            let mut client = Client::new(address, polling);
            let (mut iterator, mut seen) = (iterator.to_owned(), Seen::new());
            let deadline = Instant::now() + PATIENCE;
            while seen.len() < WRITERS * EACH && Instant::now() < deadline {
                let reply = client.ok("GetRecords", json!({"ShardIterator": iterator}));
                seen.extend(numbered(&reply));
                iterator = str_of(&reply["NextShardIterator"]);
            }
            seen
        };
        let subscribe = || {
            let request =
                json!({"ConsumerARN": consumer, "ShardId": id(0), "StartingPosition": {"Type": "TRIM_HORIZON"}});
            let mut events = Client::new(address, wire).subscribe(request).unwrap();
            events.next().unwrap().unwrap();
            let mut seen = Seen::new();
            while seen.len() < WRITERS * EACH {
                let event = events.next().unwrap().unwrap();
                assert_eq!(event.name, "SubscribeToShardEvent");
                seen.extend(numbered(&event.payload));
            }
            seen
        };
        round(
            EACH,
            write,
            &[("TRIM_HORIZON", &|| poll(&oldest)), ("LATEST", &|| poll(&latest)), ("SubscribeToShard", &subscribe)],
        );
    }
}
