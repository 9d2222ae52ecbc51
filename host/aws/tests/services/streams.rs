//! Kinesis: shards, iterators and records over both encodings, and what errors become.

use std::collections::BTreeSet;
use std::time::Duration;

use shardmill_aws::Kinesis;
use shardmill_core::config::{ClientSettings, Wire};
use shardmill_core::kinesis::polling::Fetched;
use shardmill_core::kinesis::shard::{Shard, ShardFilter};
use shardmill_core::position::{SequenceNumber, StartingPosition};
use shardmill_core::service::ErrorKind;
use shardmill_local::model::{CreateStream, Distribution, ErrorKind as Served, Mode};
use shardmill_local::{Fault, FaultAction, LocalBackend, Options};

use crate::harness::{access, backend, kinesis, once};

const STREAM: &str = "orders";
const BOTH: [Wire; 2] = [Wire::Cbor, Wire::Json];

/// A record as a test sees it: sequence, key, message, arrival.
type Seen = (String, Option<String>, Vec<u8>, u64);

fn seen(records: &Fetched) -> Vec<Seen> {
    let batch = &records.batch;
    batch
        .envelopes(0..batch.len())
        .map(|e| (e.sequence.to_owned(), e.key.map(str::to_owned), e.message.to_vec(), e.arrival_ms))
        .collect()
}

fn messages(records: &Fetched) -> Vec<String> {
    seen(records).into_iter().map(|(_, _, message, _)| String::from_utf8(message).unwrap()).collect()
}

async fn read(client: &Kinesis, shard: &str, from: &StartingPosition) -> Fetched {
    let iterator = client.shard_iterator(STREAM, shard, from).await.unwrap();
    client.get_records(&iterator, 10_000).await.unwrap()
}

async fn put(client: &Kinesis, records: &[(&str, &str)]) {
    let records: Vec<_> = records.iter().map(|(key, data)| (Some(*key), data.as_bytes())).collect();
    assert_eq!(client.put_records(STREAM, &records).await.unwrap(), []);
}

#[tokio::test]
async fn a_stream_is_created_filled_and_read() {
    let backend = backend();
    for wire in BOTH {
        let client = kinesis(&backend, wire).await;
        let stream = format!("orders-{wire:?}");
        client.create_stream(&stream, 2).await.unwrap();
        client.wait_active(&stream, Duration::from_secs(10)).await.unwrap();
        let shards = client.list_shards(&stream, ShardFilter::All).await.unwrap();
        assert_eq!(shards.len(), 2);
        assert!(shards.iter().all(|shard| shard.open && shard.parents.is_empty()));
        assert_eq!((shards[0].hash_range.start, shards[1].hash_range.end), (0, u128::MAX));

        let failures = client.put_records(&stream, &[(Some("a"), b"1"), (Some("a"), b""), (Some("ü"), b"3")]).await;
        assert_eq!(failures.unwrap(), []);
        let mut found = BTreeSet::new();
        for Shard { id, .. } in &shards {
            let iterator = client.shard_iterator(&stream, id, &StartingPosition::TrimHorizon).await.unwrap();
            let records = client.get_records(&iterator, 100).await.unwrap();
            assert!(records.next_iterator.is_some());
            found.extend(seen(&records).into_iter().map(|(_, key, message, _)| (key.unwrap(), message)));
        }
        let expected = [("a", &b"1"[..]), ("a", b""), ("ü", b"3")];
        assert_eq!(found, expected.map(|(key, message)| (key.to_owned(), message.to_vec())).into());
    }
}

#[tokio::test]
async fn both_encodings_return_the_same_records() {
    let backend = backend();
    let create = CreateStream {
        name: STREAM.to_owned(),
        mode: Mode::OnDemand,
        distribution: Distribution::Auto,
        ..CreateStream::default()
    };
    backend.kinesis().model().create_stream(backend.kinesis().now(), create).unwrap();
    let [cbor, json] = [kinesis(&backend, Wire::Cbor).await, kinesis(&backend, Wire::Json).await];
    cbor.wait_active(STREAM, Duration::from_secs(10)).await.unwrap();

    // Every length of head that CBOR has, every byte that JSON escapes, keys and none.
    let payloads: Vec<Vec<u8>> = [0, 1, 23, 24, 255, 256, 65_535, 65_536, 300_000]
        .into_iter()
        .map(|len: u32| (0..len).map(|i| (i.wrapping_mul(167) >> 3) as u8).collect())
        .collect();
    let keys = [None, Some("k"), Some("\"\\\u{1f980}\n"), Some("0123456789012345678901234567890123456789")];
    let records: Vec<_> = payloads.iter().zip(keys.iter().cycle()).map(|(data, key)| (*key, &data[..])).collect();
    for _ in 0..20 {
        assert_eq!(json.put_records(STREAM, &records).await.unwrap(), []);
    }

    let mut total = 0;
    for shard in cbor.list_shards(STREAM, ShardFilter::All).await.unwrap() {
        let [a, b] = [
            read(&cbor, &shard.id, &StartingPosition::TrimHorizon).await,
            read(&json, &shard.id, &StartingPosition::TrimHorizon).await,
        ];
        // Not assert_eq: megabytes of bytes would be no message.
        assert!(seen(&a) == seen(&b), "{} records over CBOR, {} over JSON differ", a.batch.len(), b.batch.len());
        assert_eq!(a.children, b.children);
        assert_eq!(a.next_iterator.is_some(), b.next_iterator.is_some());
        total += a.batch.len();
    }
    assert_eq!(total, 20 * records.len());
}

#[tokio::test]
async fn every_starting_position_starts_where_it_says() {
    let backend = backend();
    let client = kinesis(&backend, Wire::Cbor).await;
    backend.kinesis().create_stream(STREAM, 1).unwrap();
    put(&client, &[("k", "1"), ("k", "2"), ("k", "3")]).await;
    let shard = "shardId-000000000000";
    let all = read(&client, shard, &StartingPosition::TrimHorizon).await;
    assert_eq!(messages(&all), ["1", "2", "3"]);
    let second = SequenceNumber::parse(all.batch.envelope(1).sequence).unwrap();
    let arrived = all.batch.envelope(0).arrival_ms;
    assert!(arrived.abs_diff(backend.kinesis().now()) < 60_000, "milliseconds since 1970: {arrived}");

    let at = StartingPosition::AtSequenceNumber(second.clone());
    assert_eq!(messages(&read(&client, shard, &at).await), ["2", "3"]);
    let after = StartingPosition::AfterSequenceNumber(second);
    assert_eq!(messages(&read(&client, shard, &after).await), ["3"]);
    let since = StartingPosition::AtTimestamp(arrived);
    assert_eq!(messages(&read(&client, shard, &since).await), ["1", "2", "3"]);
    // The service refuses times that are yet to come.
    let last = all.batch.envelope(2).arrival_ms;
    while backend.kinesis().now() <= last {
        tokio::task::yield_now().await;
    }
    let later = StartingPosition::AtTimestamp(last + 1);
    assert!(read(&client, shard, &later).await.batch.is_empty());

    let tip = client.shard_iterator(STREAM, shard, &StartingPosition::Latest).await.unwrap();
    put(&client, &[("k", "4")]).await;
    assert_eq!(messages(&client.get_records(&tip, 1).await.unwrap()), ["4"]);
}

#[tokio::test]
async fn a_closed_shard_ends_with_its_children() {
    let backend = backend();
    backend.kinesis().create_stream(STREAM, 2).unwrap();
    let [first, second] = ["shardId-000000000000", "shardId-000000000001"];
    backend.kinesis().merge_shards(STREAM, first, second).unwrap();
    for wire in BOTH {
        let client = kinesis(&backend, wire).await;
        client.wait_active(STREAM, Duration::from_secs(10)).await.unwrap();
        let end = read(&client, first, &StartingPosition::TrimHorizon).await;
        assert_eq!(end.next_iterator, None);
        let [child] = &end.children[..] else { panic!("{:?}", end.children) };
        assert_eq!(child.id, "shardId-000000000002");
        assert_eq!(child.parents, [first, second]);
        assert_eq!((child.hash_range.start, child.hash_range.end), (0, u128::MAX));

        let all = client.list_shards(STREAM, ShardFilter::All).await.unwrap();
        assert_eq!(all.iter().map(|shard| shard.open).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(all[2].parents, [first, second]);
        assert!(all[2].starting_sequence.parse::<SequenceNumber>().is_ok());
        let latest = client.list_shards(STREAM, ShardFilter::AtLatest).await.unwrap();
        assert_eq!(latest, all[2..]);
    }
}

#[tokio::test]
async fn shards_are_listed_over_all_pages() {
    let backend = backend();
    backend.kinesis().create_stream(STREAM, 2_500).unwrap();
    let client = kinesis(&backend, Wire::Cbor).await;
    for filter in [ShardFilter::All, ShardFilter::AtLatest, ShardFilter::AtTrimHorizon] {
        let ids: BTreeSet<_> =
            client.list_shards(STREAM, filter).await.unwrap().into_iter().map(|shard| shard.id).collect();
        assert_eq!(ids.len(), 2_500, "{filter:?}");
    }
}

#[tokio::test]
async fn a_stream_can_be_named_by_its_arn() {
    let backend = backend();
    backend.kinesis().create_stream(STREAM, 1).unwrap();
    let client = kinesis(&backend, Wire::Cbor).await;
    let stream = shardmill_local::model::StreamRef::from(STREAM);
    let arn = backend.kinesis().model().describe(backend.kinesis().now(), &stream).unwrap().arn;
    client.wait_active(&arn, Duration::from_secs(10)).await.unwrap();
    assert_eq!(client.put_records(&arn, &[(Some("k"), b"1")]).await.unwrap(), []);
    let shards = client.list_shards(&arn, ShardFilter::All).await.unwrap();
    let iterator = client.shard_iterator(&arn, &shards[0].id, &StartingPosition::TrimHorizon).await.unwrap();
    assert_eq!(messages(&client.get_records(&iterator, 1).await.unwrap()), ["1"]);
}

#[tokio::test]
async fn faults_are_named_by_what_to_do_about_them() {
    let backend = backend();
    backend.kinesis().create_stream(STREAM, 1).unwrap();
    for wire in BOTH {
        let client = kinesis(&backend, wire).await;
        let cases = [
            (Served::ProvisionedThroughputExceeded, ErrorKind::Throttled),
            (Served::LimitExceeded, ErrorKind::Throttled),
            (Served::ExpiredIterator, ErrorKind::ExpiredIterator),
            (Served::InternalFailure, ErrorKind::Unavailable),
            (Served::ServiceUnavailable, ErrorKind::Unavailable),
            (Served::ResourceNotFound, ErrorKind::NotFound),
            (Served::ResourceInUse, ErrorKind::InUse),
            (Served::InvalidArgument, ErrorKind::ExpiredIterator),
            (Served::Validation, ErrorKind::Invalid),
        ];
        for (served, expected) in cases {
            let fault = backend.faults().inject(Fault::new(FaultAction::Error(served)).operation("GetRecords"));
            let error = client.get_records("any", 1).await.unwrap_err();
            assert_eq!(error.kind, expected, "{wire:?} {error}");
            assert!(error.message.starts_with(served.code()), "{wire:?} {error}");
            assert_eq!(fault.hits(), 1, "{error}");
            fault.remove();
        }
        // What the service itself says about an iterator that it never gave.
        assert_eq!(client.get_records("AAAA", 1).await.unwrap_err().kind, ErrorKind::ExpiredIterator);
        assert_eq!(client.get_records("AAAA", 0).await.unwrap_err().kind, ErrorKind::Invalid);
        let missing = client.list_shards("missing", ShardFilter::All).await.unwrap_err();
        assert_eq!((missing.kind, missing.operation), (ErrorKind::NotFound, "ListShards"));
        assert_eq!(client.create_stream(STREAM, 1).await.unwrap_err().kind, ErrorKind::InUse);
    }
}

#[tokio::test]
async fn a_lost_or_late_reply_is_unavailable_and_retried_when_allowed() {
    let backend = backend();
    backend.kinesis().create_stream(STREAM, 1).unwrap();
    let access = access(backend.kinesis_endpoint());
    let hasty = ClientSettings { attempt_timeout: Duration::from_secs(1), ..once() };
    let client = Kinesis::new(&access, &hasty).await.unwrap();
    put(&client, &[("k", "1")]).await;
    let shard = "shardId-000000000000";
    let iterator = client.shard_iterator(STREAM, shard, &StartingPosition::TrimHorizon).await.unwrap();

    for action in [FaultAction::LoseReply, FaultAction::Latency(Duration::from_secs(30))] {
        let fault = backend.faults().inject(Fault::new(action).operation("GetRecords").times(2));
        let error = client.get_records(&iterator, 10).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains(&backend.kinesis_endpoint()), "{error}");
        // The second attempt of one call meets the fault's second strike, the third an answer.
        let patient = Kinesis::new(&access, &ClientSettings { max_attempts: 3, ..hasty.clone() }).await.unwrap();
        assert_eq!(messages(&patient.get_records(&iterator, 10).await.unwrap()), ["1"]);
        assert_eq!(fault.hits(), 2);
        fault.remove();
    }
}

#[tokio::test]
async fn records_above_a_shards_rate_are_rejected_one_by_one() {
    let backend = LocalBackend::start(Options::default()).unwrap();
    backend.kinesis().create_stream(STREAM, 1).unwrap();
    let client = kinesis(&backend, Wire::Cbor).await;
    client.wait_active(STREAM, Duration::from_secs(10)).await.unwrap();
    // More in one call than a shard takes in a second.
    let data = vec![0; 600 * 1024];
    let failures = client.put_records(STREAM, &[(Some("k"), &data), (Some("k"), &data)]).await.unwrap();
    let [failure] = &failures[..] else { panic!("{failures:?}") };
    assert_eq!((failure.index, failure.code.as_str()), (1, "ProvisionedThroughputExceededException"));
}
