//! Enhanced fan-out: consumers in the model, subscriptions over HTTP in both encodings.

use std::time::Duration;

use serde_json::{Value, json};
use shardmill_local::model::{ConsumerRef, ErrorKind, ModelConfig, Position, Status};
use shardmill_local::{Fault, FaultAction, LocalBackend, Options};

use crate::client::{BOTH, Client, EventReader, START, Wire, backend, eventually, no_limits, str_of, texts};
use crate::world::{MIDDLE, World, id, refused};

#[test]
fn a_consumer_is_registered_found_listed_and_removed() {
    let world = World::new(1);
    let (model, stream) = (&world.model, world.stream());
    let consumer = model.register_consumer(START, &stream, "app").unwrap();
    assert_eq!(consumer.arn, "arn:aws:kinesis:us-east-1:000000000000:stream/orders/consumer/app:1764000000");
    assert_eq!((consumer.status, consumer.created), (Status::Active, START));
    let twice = model.register_consumer(START, &stream, "app");
    assert_eq!(refused(twice, "already exists"), ErrorKind::ResourceInUse);

    let by_arn = model.describe_consumer(START, ConsumerRef::Arn(&consumer.arn)).unwrap();
    let by_name = model.describe_consumer(START, ConsumerRef::Named(&consumer.stream_arn, "app")).unwrap();
    assert_eq!((&by_arn, &by_name), (&consumer, &consumer));
    assert_eq!(model.consumers(START, &stream).unwrap(), std::slice::from_ref(&consumer));
    assert_eq!(model.describe(START, &stream).unwrap().consumers, 1);

    let delete = model.delete_stream(START, &stream, false);
    assert_eq!(refused(delete, "EnforceConsumerDeletion"), ErrorKind::ResourceInUse);
    model.deregister_consumer(START, ConsumerRef::Arn(&consumer.arn)).unwrap();
    let gone = model.describe_consumer(START, ConsumerRef::Arn(&consumer.arn));
    assert_eq!(refused(gone, "not found"), ErrorKind::ResourceNotFound);
}

#[test]
fn a_stream_has_twenty_consumers_while_limits_hold() {
    let world = World::with(1, ModelConfig::default());
    let register = |i: usize| world.model.register_consumer(START, &world.stream(), &format!("c{i}"));
    for i in 0..20 {
        register(i).unwrap();
    }
    assert_eq!(refused(register(20), "20"), ErrorKind::LimitExceeded);
}

#[test]
fn a_consumer_can_subscribe_when_it_is_active() {
    let mut world = World::with(1, ModelConfig { state_delay: 100, ..ModelConfig::default() });
    world.now += 100;
    let arn = world.model.register_consumer(world.now, &world.stream(), "app").unwrap().arn;
    let subscribe = |now| world.model.subscribe(now, &arn, &id(0), Position::Latest).map(drop);
    assert_eq!(refused(subscribe(world.now), "not ACTIVE"), ErrorKind::ResourceInUse);
    subscribe(world.now + 100).unwrap();
    let nobody =
        world.model.subscribe(world.now, "arn:aws:kinesis:::stream/orders/consumer/x:1", &id(0), Position::Latest);
    assert_eq!(refused(nobody.map(drop), "not found"), ErrorKind::ResourceNotFound);
}

/// A stream of one shard with a consumer, over HTTP.
struct Fanout {
    backend: LocalBackend,
    wire: Wire,
    consumer: String,
}

impl Fanout {
    fn start(wire: Wire, options: Options) -> Self {
        let (backend, _) = backend(options);
        Self::on(wire, backend)
    }

    fn on(wire: Wire, backend: LocalBackend) -> Self {
        backend.kinesis().create_stream("s", 1).unwrap();
        let mut client = Client::new(backend.kinesis_addr(), wire);
        let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
        let consumer = client.ok("RegisterStreamConsumer", json!({"StreamARN": arn, "ConsumerName": "app"}));
        let consumer = str_of(&consumer["Consumer"]["ConsumerARN"]);
        Self { backend, wire, consumer }
    }

    fn client(&self) -> Client {
        Client::new(self.backend.kinesis_addr(), self.wire)
    }

    fn try_subscribe(&self, position: Value) -> Result<EventReader, crate::client::Refused> {
        self.client().subscribe(json!({"ConsumerARN": self.consumer, "ShardId": id(0), "StartingPosition": position}))
    }

    /// Subscribes and takes the initial response.
    fn subscribe(&self, position: Value) -> EventReader {
        let mut events = self.try_subscribe(position).unwrap();
        let first = events.next().unwrap().unwrap();
        assert_eq!((first.message_type.as_str(), first.name.as_str()), ("event", "initial-response"));
        events
    }

    fn put(&self, data: &str) -> String {
        self.backend.kinesis().put_record("s", "k", data.as_bytes()).unwrap().sequence_number
    }
}

/// Events until `count` records have come; the records' texts and the last payload.
fn take(events: &mut EventReader, count: usize) -> (Vec<String>, Value) {
    let mut seen = Vec::new();
    loop {
        let event = events.next().unwrap().expect("the subscription goes on");
        assert_eq!((event.message_type.as_str(), event.name.as_str()), ("event", "SubscribeToShardEvent"));
        seen.extend(texts(&event.payload));
        if seen.len() >= count {
            return (seen, event.payload);
        }
    }
}

#[test]
fn a_subscription_sends_what_is_there_and_what_comes() {
    for wire in BOTH {
        let fanout = Fanout::start(wire, no_limits());
        let first = fanout.put("a");
        let last = fanout.put("b");
        let mut events = fanout.subscribe(json!({"Type": "TRIM_HORIZON"}));
        let (seen, payload) = take(&mut events, 2);
        assert_eq!(seen, ["a", "b"]);
        assert_eq!(str_of(&payload["ContinuationSequenceNumber"]), last);
        assert_eq!(str_of(&payload["Records"][0]["SequenceNumber"]), first);
        assert_eq!(payload["MillisBehindLatest"], 0);
        assert_eq!(payload["Records"][0]["ApproximateArrivalTimestamp"].as_f64(), Some(START as f64 / 1000.0));
        fanout.put("c");
        assert_eq!(take(&mut events, 1).0, ["c"]);
    }
}

#[test]
fn a_subscription_starts_at_any_position() {
    for (position, expected) in [
        (json!({"Type": "AT_SEQUENCE_NUMBER"}), vec!["b", "c"]),
        (json!({"Type": "AFTER_SEQUENCE_NUMBER"}), vec!["c"]),
        (json!({"Type": "AT_TIMESTAMP", "Timestamp": {"$ms": START}}), vec!["a", "b", "c"]),
        (json!({"Type": "LATEST"}), vec!["new"]),
    ] {
        let fanout = Fanout::start(Wire::Cbor, no_limits());
        fanout.put("a");
        let number = fanout.put("b");
        fanout.put("c");
        let mut position = position;
        if position["Type"].as_str().unwrap().ends_with("NUMBER") {
            position["SequenceNumber"] = number.into();
        }
        let latest = position["Type"] == "LATEST";
        let mut events = fanout.subscribe(position);
        if latest {
            fanout.put("new");
        }
        assert_eq!(take(&mut events, expected.len()).0, expected);
    }
}

#[test]
fn the_end_of_the_shard_names_its_children_and_ends_the_subscription() {
    for wire in BOTH {
        let fanout = Fanout::start(wire, no_limits());
        fanout.put("a");
        let mut events = fanout.subscribe(json!({"Type": "TRIM_HORIZON"}));
        let (_, payload) = take(&mut events, 1);
        assert!(payload.get("ChildShards").is_none());
        fanout.backend.kinesis().split_shard("s", &id(0), &MIDDLE.to_string()).unwrap();
        let end = events.next().unwrap().unwrap().payload;
        assert!(end.get("ContinuationSequenceNumber").is_none());
        assert_eq!(end["ChildShards"].as_array().unwrap().len(), 2);
        assert_eq!(end["ChildShards"][0]["ParentShards"], json!([id(0)]));
        assert!(events.next().unwrap().is_none());
    }
}

#[test]
fn a_second_subscription_waits_five_seconds_and_then_takes_over() {
    for wire in BOTH {
        let (backend, clock) = backend(no_limits());
        let fanout = Fanout::on(wire, backend);
        let mut first = fanout.subscribe(json!({"Type": "LATEST"}));
        clock.advance(Duration::from_millis(4_999));
        let refusal = fanout.try_subscribe(json!({"Type": "LATEST"})).err().unwrap();
        assert_eq!((refusal.status, refusal.code.as_str()), (400, "ResourceInUseException"));
        clock.advance(Duration::from_millis(1));
        let mut second = fanout.subscribe(json!({"Type": "LATEST"}));
        let last = std::iter::from_fn(|| first.next().unwrap()).last().unwrap();
        assert_eq!((last.message_type.as_str(), last.name.as_str()), ("exception", "ResourceInUseException"));
        fanout.put("x");
        assert_eq!(take(&mut second, 1).0, ["x"]);
    }
}

#[test]
fn a_subscription_ends_with_its_life_and_the_next_one_goes_on_without_a_gap() {
    let options = Options { subscription_life: Duration::from_millis(150), ..no_limits() };
    let fanout = Fanout::on(Wire::Json, LocalBackend::start(options).unwrap());
    let mut seen = Vec::new();
    let mut position = json!({"Type": "TRIM_HORIZON"});
    for round in 0..3 {
        fanout.put(&format!("{round}"));
        let mut events = None;
        eventually("the subscription before is over", || {
            events = fanout.try_subscribe(position.clone()).ok();
            events.is_some()
        });
        let mut events = events.unwrap();
        events.next().unwrap().unwrap();
        while let Some(event) = events.next().unwrap() {
            seen.extend(texts(&event.payload));
            let number = &event.payload["ContinuationSequenceNumber"];
            position = json!({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": number});
        }
    }
    assert_eq!(seen, ["0", "1", "2"]);
}

#[test]
fn a_removed_consumer_or_stream_ends_its_subscriptions() {
    let fanout = Fanout::start(Wire::Json, no_limits());
    let mut events = fanout.subscribe(json!({"Type": "LATEST"}));
    fanout.client().ok("DeregisterStreamConsumer", json!({"ConsumerARN": fanout.consumer}));
    let last = std::iter::from_fn(|| events.next().unwrap()).last().unwrap();
    assert_eq!((last.message_type.as_str(), last.name.as_str()), ("exception", "ResourceNotFoundException"));

    let fanout = Fanout::start(Wire::Json, no_limits());
    let mut events = fanout.subscribe(json!({"Type": "LATEST"}));
    fanout.client().ok("DeleteStream", json!({"StreamName": "s", "EnforceConsumerDeletion": true}));
    let last = std::iter::from_fn(|| events.next().unwrap()).last().unwrap();
    assert_eq!(last.name, "ResourceNotFoundException");
}

#[test]
fn large_records_pass_a_subscription_one_by_one() {
    let fanout = Fanout::start(Wire::Cbor, no_limits());
    let data: Vec<String> = (0..3u8).map(|i| char::from(b'a' + i).to_string().repeat(1_000_000)).collect();
    data.iter().for_each(|data| drop(fanout.put(data)));
    let mut events = fanout.subscribe(json!({"Type": "TRIM_HORIZON"}));
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let event = events.next().unwrap().unwrap();
        let records = texts(&event.payload);
        assert_eq!(records.len(), 1, "an event has at most 512 KiB, but always a record");
        let behind = event.payload["MillisBehindLatest"].as_u64().unwrap();
        seen.extend(records);
        assert_eq!(behind > 0, seen.len() < 3);
    }
    assert_eq!(seen, data);
}

#[test]
fn a_dropped_subscription_is_cut_after_its_events() {
    for wire in BOTH {
        let fanout = Fanout::start(wire, no_limits());
        let fault = Fault::new(FaultAction::DropSubscription { after_events: 1 }).stream("s").shard(&id(0)).times(1);
        let handle = fanout.backend.faults().inject(fault);
        fanout.put("a");
        let mut events = fanout.subscribe(json!({"Type": "TRIM_HORIZON"}));
        assert_eq!(take(&mut events, 1).0, ["a"]);
        assert!(events.next().is_err(), "cut, not ended");
        assert_eq!(handle.hits(), 1);
        let refusal = fanout.try_subscribe(json!({"Type": "LATEST"})).err().unwrap();
        assert_eq!(refusal.code, "ResourceInUseException", "too early, as on AWS");
    }
}
