//! Fan-out: consumers registered once, subscriptions from every position to the end, and what errors become.

use std::collections::BTreeMap;
use std::time::Duration;

use shardmill_aws::{Kinesis, Subscription};
use shardmill_core::config::{ClientSettings, Consumer, Wire};
use shardmill_core::kinesis::fan_out::Delivery;
use shardmill_core::position::{SequenceNumber, StartingPosition};
use shardmill_core::service::ErrorKind;
use shardmill_local::model::{ErrorKind as Served, StreamRef};
use shardmill_local::{Fault, FaultAction, LocalBackend, Options};

use crate::harness::{access, backend, kinesis, once};

const STREAM: &str = "orders";
const SHARD: &str = "shardId-000000000000";

fn named(name: &str) -> Consumer {
    Consumer::Name(name.to_owned())
}

/// A stream of one shard with a consumer `app`, and its ARN.
async fn consumer(backend: &LocalBackend) -> (Kinesis, String) {
    backend.kinesis().create_stream(STREAM, 1).unwrap();
    let client = kinesis(backend, Wire::Cbor).await;
    let arn = client.ensure_consumer(STREAM, &named("app"), 1, |_| {}).await.unwrap();
    (client, arn)
}

fn consumers(backend: &LocalBackend) -> Vec<String> {
    let (kinesis, stream) = (backend.kinesis(), StreamRef::from(STREAM));
    kinesis.model().consumers(kinesis.now(), &stream).unwrap().into_iter().map(|it| it.name).collect()
}

/// The next event that has records or is the last one.
async fn next(subscription: &mut Subscription) -> Delivery {
    loop {
        let event = subscription.next_event().await.unwrap().expect("the subscription goes on");
        if !event.batch.is_empty() || event.continuation.is_none() {
            return event;
        }
    }
}

fn messages(event: &Delivery) -> Vec<String> {
    let envelopes = event.batch.envelopes(0..event.batch.len());
    envelopes.map(|envelope| String::from_utf8(envelope.message.to_vec()).unwrap()).collect()
}

fn put(backend: &LocalBackend, text: &str) {
    backend.kinesis().put_record(STREAM, "key", text.as_bytes()).unwrap();
}

#[tokio::test]
async fn a_consumer_is_registered_once_by_concurrent_workers() {
    let backend = LocalBackend::start(Options { state_delay: Duration::from_millis(300), ..Options::default() });
    let backend = backend.unwrap();
    backend.kinesis().create_stream(STREAM, 1).unwrap();
    let client = kinesis(&backend, Wire::Cbor).await;
    // At once, while the stream is still being created, and the consumer then.
    let (name, again) = (named("app"), named("app"));
    let asked = tokio::join!(
        client.ensure_consumer(STREAM, &name, 1, |_| {}),
        client.ensure_consumer(STREAM, &again, 1, |_| {})
    );
    let arn = asked.0.unwrap();
    assert_eq!(asked.1.unwrap(), arn);
    assert_eq!(client.ensure_consumer(STREAM, &Consumer::Arn(arn.clone()), 1, |_| {}).await.unwrap(), arn);
    assert_ne!(client.ensure_consumer(STREAM, &named("other"), 1, |_| {}).await.unwrap(), arn);
    assert_eq!(consumers(&backend), ["app", "other"]);
    assert!(client.consumer_exists(&arn).await.unwrap());
}

#[tokio::test]
async fn a_missing_consumer_is_an_error() {
    let backend = backend();
    let (client, arn) = consumer(&backend).await;
    let gone = arn.replace("consumer/app", "consumer/other");
    assert!(!client.consumer_exists(&gone).await.unwrap());
    let error = client.ensure_consumer(STREAM, &Consumer::Arn(gone.clone()), 1, |_| {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(error.to_string(), format!("DescribeStreamConsumer: there is no consumer `{gone}`"));
    let error = client.ensure_consumer("missing", &named("app"), 1, |_| {}).await.unwrap_err();
    assert_eq!((error.kind, error.operation), (ErrorKind::NotFound, "DescribeStreamSummary"));
}

#[tokio::test]
async fn throttled_registrations_are_made_again_and_refused_ones_are_not() {
    let backend = backend();
    backend.kinesis().create_stream(STREAM, 1).unwrap();
    let client = kinesis(&backend, Wire::Cbor).await;
    let operations = ["DescribeStreamSummary", "DescribeStreamConsumer", "RegisterStreamConsumer"];
    let faults = operations.map(|operation| {
        let busy = FaultAction::Error(Served::LimitExceeded);
        backend.faults().inject(Fault::new(busy).operation(operation).times(1))
    });
    client.ensure_consumer(STREAM, &named("app"), 1, |_| {}).await.unwrap();
    assert!(faults.iter().all(|fault| fault.hits() == 1));

    let error = client.ensure_consumer(STREAM, &named("not a name"), 1, |_| {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn every_position_starts_where_it_says() {
    let backend = backend();
    backend.kinesis().create_stream(STREAM, 1).unwrap();
    let client = kinesis(&backend, Wire::Cbor).await;
    for text in ["1", "2", "3"] {
        put(&backend, text);
    }
    // A consumer each, or the service would make it wait.
    let mut subscribed = BTreeMap::new();
    for (name, position) in [("all", StartingPosition::TrimHorizon), ("tip", StartingPosition::Latest)] {
        let arn = client.ensure_consumer(STREAM, &named(name), 1, |_| {}).await.unwrap();
        subscribed.insert(name, client.subscribe(&arn, SHARD, &position).await.unwrap());
    }
    let all = next(subscribed.get_mut("all").unwrap()).await;
    assert_eq!(messages(&all), ["1", "2", "3"]);
    let first = all.batch.envelope(0);
    assert_eq!((first.key, first.sub_sequence), (Some("key"), 0));
    assert!(first.arrival_ms.abs_diff(backend.kinesis().now()) < 60_000, "milliseconds since 1970");
    assert_eq!((all.millis_behind_latest, &all.children), (0, &vec![]));

    let second = SequenceNumber::parse(all.batch.envelope(1).sequence).unwrap();
    for (name, position, expected) in [
        ("at", StartingPosition::AtSequenceNumber(second.clone()), &["2", "3"][..]),
        ("after", StartingPosition::AfterSequenceNumber(second), &["3"]),
        ("since", StartingPosition::AtTimestamp(first.arrival_ms), &["1", "2", "3"]),
    ] {
        let arn = client.ensure_consumer(STREAM, &named(name), 1, |_| {}).await.unwrap();
        let mut subscription = client.subscribe(&arn, SHARD, &position).await.unwrap();
        assert_eq!(messages(&next(&mut subscription).await), expected, "{name}");
    }

    // Where the last event ended, the next subscription goes on.
    let continuation = all.continuation.unwrap();
    let arn = client.ensure_consumer(STREAM, &named("more"), 1, |_| {}).await.unwrap();
    let mut more = client.subscribe(&arn, SHARD, &StartingPosition::AfterSequenceNumber(continuation)).await.unwrap();
    put(&backend, "4");
    assert_eq!(messages(&next(&mut more).await), ["4"]);
    assert_eq!(messages(&next(subscribed.get_mut("tip").unwrap()).await), ["4"]);
}

#[tokio::test]
async fn a_closed_shard_ends_with_its_children() {
    let backend = backend();
    let (client, arn) = consumer(&backend).await;
    let mut subscription = client.subscribe(&arn, SHARD, &StartingPosition::TrimHorizon).await.unwrap();
    put(&backend, "1");
    assert_eq!(messages(&next(&mut subscription).await), ["1"]);
    backend.kinesis().split_shard_evenly(STREAM, SHARD).unwrap();
    let end = next(&mut subscription).await;
    assert_eq!(end.continuation, None);
    let ids: Vec<_> = end.children.iter().map(|child| child.id.as_str()).collect();
    assert_eq!(ids, ["shardId-000000000001", "shardId-000000000002"]);
    assert!(end.children.iter().all(|child| child.parents == [SHARD]));
    assert_eq!((end.children[0].hash_range.start, end.children[1].hash_range.end), (0, u128::MAX));
    assert!(subscription.next_event().await.unwrap().is_none());
}

#[tokio::test]
async fn the_service_ends_a_subscription_without_an_error() {
    let options = Options { limits: false, subscription_life: Duration::from_millis(100), ..Options::default() };
    let backend = LocalBackend::start(options).unwrap();
    let (client, arn) = consumer(&backend).await;
    let mut subscription = client.subscribe(&arn, SHARD, &StartingPosition::Latest).await.unwrap();
    while let Some(event) = subscription.next_event().await.unwrap() {
        assert!(event.continuation.is_some() && event.batch.is_empty());
    }
}

#[tokio::test]
async fn the_time_outs_of_calls_do_not_cut_a_subscription() {
    const LIMIT: Duration = Duration::from_millis(500);
    let backend = backend();
    let (_, arn) = consumer(&backend).await;
    let hasty = ClientSettings { read_timeout: LIMIT, attempt_timeout: LIMIT, ..once() };
    let client = Kinesis::new(&access(backend.kinesis_endpoint()), &hasty).await.unwrap();
    let mut subscription = client.subscribe(&arn, SHARD, &StartingPosition::TrimHorizon).await.unwrap();
    assert!(subscription.next_event().await.unwrap().unwrap().batch.is_empty());
    // Longer than a call may take, and shorter than the pause between two events.
    tokio::time::sleep(2 * LIMIT).await;
    put(&backend, "1");
    assert_eq!(messages(&next(&mut subscription).await), ["1"]);
}

#[tokio::test]
async fn a_second_subscription_is_refused_and_later_takes_the_place_of_the_first() {
    let options = Options { limits: false, subscription_life: Duration::from_secs(1), ..Options::default() };
    let backend = LocalBackend::start(options).unwrap();
    let (client, arn) = consumer(&backend).await;
    let from = StartingPosition::TrimHorizon;
    let mut first = client.subscribe(&arn, SHARD, &from).await.unwrap();
    let error = client.subscribe(&arn, SHARD, &from).await.unwrap_err();
    assert_eq!((error.kind, error.operation), (ErrorKind::InUse, "SubscribeToShard"));

    // One connection cannot be in the way of another consumer.
    let other = client.ensure_consumer(STREAM, &named("other"), 1, |_| {}).await.unwrap();
    client.subscribe(&other, SHARD, &from).await.unwrap();
    while first.next_event().await.unwrap().is_some() {}
    client.subscribe(&arn, SHARD, &from).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_subscription_is_classified_by_what_to_do() {
    let backend = backend();
    let (client, arn) = consumer(&backend).await;
    let from = StartingPosition::TrimHorizon;
    for missing in [(arn.replace("consumer/app", "consumer/other"), SHARD), (arn.clone(), "shardId-000000000007")] {
        let error = client.subscribe(&missing.0, missing.1, &from).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    }
    for (served, expected) in [
        (Served::LimitExceeded, ErrorKind::Throttled),
        (Served::InternalFailure, ErrorKind::Unavailable),
        (Served::ResourceInUse, ErrorKind::InUse),
        (Served::InvalidArgument, ErrorKind::Invalid),
    ] {
        let fault = Fault::new(FaultAction::Error(served)).operation("SubscribeToShard").times(1);
        backend.faults().inject(fault);
        assert_eq!(client.subscribe(&arn, SHARD, &from).await.unwrap_err().kind, expected);
    }

    let cut = Fault::new(FaultAction::DropSubscription { after_events: 1 }).operation("SubscribeToShard").times(1);
    backend.faults().inject(cut);
    put(&backend, "1");
    let mut subscription = client.subscribe(&arn, SHARD, &from).await.unwrap();
    assert_eq!(messages(&next(&mut subscription).await), ["1"]);
    let error = subscription.next_event().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.message.contains(&backend.kinesis_endpoint()), "{error}");
}

#[tokio::test]
async fn a_consumer_that_is_removed_ends_its_subscriptions() {
    let backend = backend();
    let (client, arn) = consumer(&backend).await;
    let mut subscription = client.subscribe(&arn, SHARD, &StartingPosition::TrimHorizon).await.unwrap();
    assert!(subscription.next_event().await.unwrap().unwrap().batch.is_empty());
    let (kinesis, consumer) = (backend.kinesis(), shardmill_local::model::ConsumerRef::Arn(&arn));
    kinesis.model().deregister_consumer(kinesis.now(), consumer).unwrap();
    let error = subscription.next_event().await.unwrap_err();
    assert_eq!((error.kind, error.operation), (ErrorKind::NotFound, "SubscribeToShard"));
    assert!(!client.consumer_exists(&arn).await.unwrap());
}
