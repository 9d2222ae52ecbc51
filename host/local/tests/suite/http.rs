//! The operations over HTTP, in JSON and in CBOR.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::client::{BOTH, Client, START, Wire, backend, no_limits, str_of, texts};
use serde_json::{Value, json};
use shardmill_local::{LocalBackend, Options};

#[test]
fn a_record_goes_in_and_comes_out() {
    for wire in BOTH {
        let (backend, _) = backend(Options::default());
        let mut client = Client::new(backend.kinesis_addr(), wire);
        client.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 2}));
        let summary = client.ok("DescribeStreamSummary", json!({"StreamName": "s"}));
        let summary = &summary["StreamDescriptionSummary"];
        assert_eq!(summary["StreamStatus"], "ACTIVE");
        assert_eq!(summary["OpenShardCount"], 2);
        assert_eq!(summary["StreamCreationTimestamp"].as_f64(), Some(START as f64 / 1000.0));

        let shards = client.ok("ListShards", json!({"StreamARN": summary["StreamARN"]}));
        let shard = str_of(&shards["Shards"][0]["ShardId"]);
        assert_eq!(shard, "shardId-000000000000");

        let put = client.ok(
            "PutRecord",
            json!({"StreamName": "s", "Data": {"$blob": "hello"}, "PartitionKey": "k\"\\é", "ExplicitHashKey": "0"}),
        );
        assert_eq!(put["ShardId"], shard);
        let puts = client.ok(
            "PutRecords",
            json!({"StreamName": "s", "Records": [{"Data": {"$blob": ""}, "PartitionKey": "b", "ExplicitHashKey": "1"}]}),
        );
        assert_eq!(puts["FailedRecordCount"], 0);

        let iterator = client
            .ok("GetShardIterator", json!({"StreamName": "s", "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}));
        let read = client.ok("GetRecords", json!({"ShardIterator": iterator["ShardIterator"]}));
        assert_eq!(texts(&read), ["hello", ""]);
        let record = &read["Records"][0];
        assert_eq!(record["SequenceNumber"], put["SequenceNumber"]);
        assert_eq!(record["PartitionKey"], "k\"\\é");
        assert_eq!(record["ApproximateArrivalTimestamp"].as_f64(), Some(START as f64 / 1000.0));
        assert_eq!(read["MillisBehindLatest"], 0);
        assert!(read["NextShardIterator"].is_string());
    }
}

#[test]
fn a_split_ends_the_parent_and_names_its_children() {
    for wire in BOTH {
        let (backend, _) = backend(no_limits());
        let mut client = Client::new(backend.kinesis_addr(), wire);
        client.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1}));
        let middle = (1u128 << 127).to_string();
        client.ok(
            "SplitShard",
            json!({"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": middle}),
        );
        let iterator = client.ok(
            "GetShardIterator",
            json!({"StreamName": "s", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}),
        );
        let end = client.ok("GetRecords", json!({"ShardIterator": iterator["ShardIterator"]}));
        assert!(end.get("NextShardIterator").is_none());
        assert_eq!(end["ChildShards"][1]["ShardId"], "shardId-000000000002");
        assert_eq!(end["ChildShards"][1]["ParentShards"], json!(["shardId-000000000000"]));
        assert_eq!(end["ChildShards"][1]["HashKeyRange"]["StartingHashKey"], middle);

        client.ok(
            "MergeShards",
            json!({"StreamName": "s", "ShardToMerge": "shardId-000000000002", "AdjacentShardToMerge": "shardId-000000000001"}),
        );
        let shards = client.ok("ListShards", json!({"StreamName": "s", "ShardFilter": {"Type": "AT_LATEST"}}));
        assert_eq!(shards["Shards"].as_array().unwrap().len(), 1);
        assert_eq!(shards["Shards"][0]["ParentShardId"], "shardId-000000000002");
        assert_eq!(shards["Shards"][0]["AdjacentParentShardId"], "shardId-000000000001");
    }
}

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/s";

/// A backend without limits with a stream `s` of two shards, and a client.
fn stream(wire: Wire) -> (LocalBackend, Client) {
    let (backend, _) = backend(no_limits());
    backend.kinesis().create_stream("s", 2).unwrap();
    let client = Client::new(backend.kinesis_addr(), wire);
    (backend, client)
}

#[test]
fn every_operation_takes_a_stream_arn() {
    for wire in BOTH {
        let (_backend, mut client) = stream(wire);
        let record = json!({"Data": {"$blob": "x"}, "PartitionKey": "k"});
        for (operation, rest) in [
            ("DescribeStream", json!({})),
            ("DescribeStreamSummary", json!({})),
            ("ListShards", json!({})),
            ("PutRecord", record.clone()),
            ("PutRecords", json!({"Records": [record]})),
            ("GetShardIterator", json!({"ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST"})),
            ("SplitShard", json!({"ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "5"})),
            (
                "MergeShards",
                json!({"ShardToMerge": "shardId-000000000002", "AdjacentShardToMerge": "shardId-000000000003"}),
            ),
            ("UpdateShardCount", json!({"TargetShardCount": 3, "ScalingType": "UNIFORM_SCALING"})),
            ("RegisterStreamConsumer", json!({"ConsumerName": "c"})),
            ("ListStreamConsumers", json!({})),
            ("DescribeStreamConsumer", json!({"ConsumerName": "c"})),
            ("DeregisterStreamConsumer", json!({"ConsumerName": "c"})),
            ("IncreaseStreamRetentionPeriod", json!({"RetentionPeriodHours": 48})),
            ("DecreaseStreamRetentionPeriod", json!({"RetentionPeriodHours": 24})),
            ("UpdateMaxRecordSize", json!({"MaxRecordSizeInKiB": 2048})),
            ("UpdateStreamMode", json!({"StreamModeDetails": {"StreamMode": "ON_DEMAND"}})),
            ("UpdateStreamRecordDistributionStrategy", json!({"RecordDistributionStrategy": "AUTO"})),
            ("AddTagsToStream", json!({"Tags": {"a": "b"}})),
            ("ListTagsForStream", json!({})),
            ("RemoveTagsFromStream", json!({"TagKeys": ["a"]})),
            ("DeleteStream", json!({})),
        ] {
            let mut request = rest;
            request["StreamARN"] = ARN.into();
            client.ok(operation, request);
        }
    }
}

/// Calls that are refused: operation, request, exception, part of the message.
type Refusals<'a> = &'a [(&'a str, Value, &'a str, &'a str)];

fn assert_refused(refusals: Refusals<'_>) {
    for wire in BOTH {
        let (_backend, mut client) = stream(wire);
        for (operation, request, code, message) in refusals {
            let refusal = client.refused(operation, request.clone());
            assert_eq!((refusal.status, refusal.code.as_str()), (400, *code), "{operation}: {refusal:?}");
            assert!(refusal.message.contains(message), "{operation}: {message:?} is not in {refusal:?}");
        }
    }
}

#[test]
fn a_missing_resource_gets_the_error_message_of_aws() {
    let not_found = "ResourceNotFoundException";
    assert_refused(&[
        ("DescribeStream", json!({"StreamName": "x"}), not_found, "Stream x under account 000000000000 not found."),
        ("DescribeStream", json!({"StreamARN": "arn:aws:kinesis:eu-west-1:1:stream/x"}), not_found, "Stream x under"),
        ("StartStreamEncryption", json!({"StreamName": "s"}), "UnknownOperationException", "StartStreamEncryption"),
        ("DescribeStream", json!({}), "InvalidArgumentException", "Either StreamName or StreamARN must be specified."),
    ]);
}

#[test]
fn bad_parameters_are_refused_in_the_words_of_aws() {
    let (validation, invalid) = ("ValidationException", "InvalidArgumentException");
    let iterator =
        |kind: &str| json!({"StreamName": "s", "ShardId": "shardId-000000000000", "ShardIteratorType": kind});
    let types = "enum value set: [AT_SEQUENCE_NUMBER, AFTER_SEQUENCE_NUMBER, TRIM_HORIZON, LATEST, AT_TIMESTAMP]";
    let null = "Value null at 'shardIterator' failed to satisfy constraint: Member must not be null";
    let put = |rest: Value| {
        let mut request = json!({"StreamName": "s", "PartitionKey": "k", "Data": {"$blob": "x"}});
        request.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        request
    };
    let at_sequence = |number: &str| {
        let mut request = iterator("AT_SEQUENCE_NUMBER");
        request["StartingSequenceNumber"] = number.into();
        request
    };
    let strange_shard = json!({"StreamName": "s", "ShardId": "a b", "ShardIteratorType": "LATEST"});
    let hash_key = r"Member must satisfy regular expression pattern: 0|([1-9]\d{0,38})";
    let split = json!({"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "x"});
    let scale = json!({"StreamName": "s", "TargetShardCount": -1, "ScalingType": "UNIFORM_SCALING"});
    assert_refused(&[
        ("DescribeStream", json!({"StreamARN": "arn:aws:sqs:x"}), validation, "streamARN"),
        ("GetRecords", json!({}), validation, null),
        ("GetShardIterator", iterator("OLDEST"), validation, types),
        ("GetShardIterator", iterator("AT_TIMESTAMP"), invalid, "timestampInMillis"),
        ("GetShardIterator", iterator("AT_SEQUENCE_NUMBER"), invalid, "StartingSequenceNumber"),
        ("GetShardIterator", at_sequence("abc"), validation, "'startingSequenceNumber'"),
        ("GetShardIterator", at_sequence("1"), invalid, "StartingSequenceNumber 1 used in GetShardIterator"),
        ("GetShardIterator", strange_shard, validation, "'shardId'"),
        ("ListShards", json!({"StreamName": "s", "ShardFilter": {"Type": "AT_TIMESTAMP"}}), invalid, "Timestamp"),
        ("ListShards", json!({"StreamName": "s", "NextToken": "x"}), invalid, "NextToken and StreamName"),
        ("PutRecord", put(json!({"Data": null})), validation, "'data'"),
        ("PutRecord", put(json!({"PartitionKey": 5})), "SerializationException", "must be a string, found a number"),
        ("PutRecord", put(json!({"ExplicitHashKey": "abc"})), validation, "'explicitHashKey'"),
        ("PutRecord", put(json!({"ExplicitHashKey": "-1"})), validation, hash_key),
        ("PutRecord", put(json!({"ExplicitHashKey": "01"})), validation, hash_key),
        ("PutRecord", put(json!({"ExplicitHashKey": "9".repeat(39)})), invalid, "2^128-1"),
        ("PutRecord", put(json!({"SequenceNumberForOrdering": "abc"})), validation, "'sequenceNumberForOrdering'"),
        ("PutRecord", put(json!({"DryRun": true})), "DryRunOperationException", "DryRun"),
        ("SplitShard", split, validation, "'newStartingHashKey'"),
        ("UpdateShardCount", scale, validation, "targetShardCount"),
    ]);
}

#[test]
fn a_body_that_is_none_is_refused_and_the_connection_goes_on() {
    for wire in BOTH {
        let (_backend, mut client) = stream(wire);
        for body in [b"{\"a\":".as_slice(), b"\xff\xff", b"[]", b"\x80", &[0x9f; 100_000], b"{}{}"] {
            let (status, reply) = client.exchange("ListStreams", body).unwrap();
            assert_eq!(status, 400);
            let reply = crate::client::decode(wire, &reply);
            assert_eq!(reply["__type"], "SerializationException", "{reply}");
        }
        client.ok("ListStreams", json!({}));
    }
}

#[test]
fn streams_and_shards_are_described_in_pages() {
    for wire in BOTH {
        let (backend, mut client) = stream(wire);
        backend.kinesis().create_stream("t", 5).unwrap();
        let first = client.ok("ListStreams", json!({"Limit": 1}));
        assert_eq!((&first["StreamNames"], &first["HasMoreStreams"]), (&json!(["s"]), &json!(true)));
        assert_eq!(first["StreamSummaries"][0]["StreamARN"], ARN);
        let second = client.ok("ListStreams", json!({"NextToken": first["NextToken"]}));
        assert_eq!((&second["StreamNames"], &second["HasMoreStreams"]), (&json!(["t"]), &json!(false)));
        assert!(second.get("NextToken").is_none());

        let page = client.ok("DescribeStream", json!({"StreamName": "t", "Limit": 3}));
        let description = &page["StreamDescription"];
        assert_eq!((description["Shards"].as_array().unwrap().len(), &description["HasMoreShards"]), (3, &json!(true)));
        let rest = json!({"StreamName": "t", "ExclusiveStartShardId": description["Shards"][2]["ShardId"]});
        let page = client.ok("DescribeStream", rest);
        assert_eq!(page["StreamDescription"]["Shards"][1]["ShardId"], "shardId-000000000004");
        assert_eq!(page["StreamDescription"]["HasMoreShards"], false);
        assert_eq!(page["StreamDescription"]["Shards"][1]["HashKeyRange"]["EndingHashKey"], u128::MAX.to_string());

        let page = client.ok("ListShards", json!({"StreamName": "t", "MaxResults": 4}));
        let page = client.ok("ListShards", json!({"NextToken": page["NextToken"]}));
        assert_eq!(page["Shards"].as_array().unwrap().len(), 1);
        let limits = client.ok("DescribeLimits", json!({}));
        assert_eq!(limits["OpenShardCount"], 7);
    }
}

#[test]
fn times_travel_in_milliseconds() {
    for wire in BOTH {
        let (backend, clock) = backend(no_limits());
        backend.kinesis().create_stream("s", 1).unwrap();
        let mut client = Client::new(backend.kinesis_addr(), wire);
        backend.kinesis().put_record("s", "k", b"a").unwrap();
        clock.advance(std::time::Duration::from_millis(7));
        backend.kinesis().put_record("s", "k", b"b").unwrap();
        backend.kinesis().split_shard_evenly("s", "0").unwrap();
        let mut read = |time: Value| {
            let request =
                json!({"StreamName": "s", "ShardId": "0", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": time});
            let iterator = client.ok("GetShardIterator", request);
            texts(&client.ok("GetRecords", json!({"ShardIterator": iterator["ShardIterator"]})))
        };
        assert_eq!(read(json!({"$ms": START + 6})), ["b"]);
        assert_eq!(read(json!({"$ms": START})), ["a", "b"]);
        let untagged = if wire == Wire::Json { json!(START / 1000) } else { json!(START + 6) };
        let expected: &[&str] = if wire == Wire::Json { &["a", "b"] } else { &["b"] };
        assert_eq!(read(untagged), expected, "a bare number is seconds in JSON and milliseconds in CBOR");
        let mut list = |time: u64| {
            let filter = json!({"Type": "AT_TIMESTAMP", "Timestamp": {"$ms": time}});
            let page = client.ok("ListShards", json!({"StreamName": "s", "ShardFilter": filter}));
            page["Shards"].as_array().unwrap().len()
        };
        assert_eq!((list(START + 6), list(START + 7)), (1, 2));
    }
}

#[test]
fn a_stream_that_distributes_takes_and_gives_records_without_a_key() {
    for wire in BOTH {
        let (_backend, mut client) = stream(wire);
        let create = json!({
            "StreamName": "auto",
            "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
            "RecordDistributionStrategy": "AUTO",
            "MaxRecordSizeInKiB": 2048,
            "Tags": {"team": "a"},
        });
        client.ok("CreateStream", create);
        let summary = client.ok("DescribeStreamSummary", json!({"StreamName": "auto"}));
        let summary = &summary["StreamDescriptionSummary"];
        assert_eq!((&summary["OpenShardCount"], &summary["MaxRecordSizeInKiB"]), (&json!(4), &json!(2048)));
        assert_eq!(summary["RecordDistributionStrategy"], "AUTO");
        let put = client.ok("PutRecord", json!({"StreamName": "auto", "Data": {"$blob": "x"}}));
        let request = json!({"StreamName": "auto", "ShardId": put["ShardId"], "ShardIteratorType": "TRIM_HORIZON"});
        let iterator = client.ok("GetShardIterator", request);
        let read = client.ok("GetRecords", json!({"ShardIterator": iterator["ShardIterator"]}));
        assert!(read["Records"][0].get("PartitionKey").is_none());
        assert_eq!(texts(&read), ["x"]);
    }
}

#[test]
fn a_partly_failed_request_says_which_records_failed_and_why() {
    for wire in BOTH {
        let (backend, _) = backend(Options::default());
        backend.kinesis().create_stream("s", 1).unwrap();
        let mut client = Client::new(backend.kinesis_addr(), wire);
        let record = json!({"Data": {"$blob": "x".repeat(300_000)}, "PartitionKey": "k"});
        let reply = client.ok("PutRecords", json!({"StreamName": "s", "Records": vec![record; 4]}));
        assert_eq!(reply["FailedRecordCount"], 1);
        assert!(reply["Records"][2]["SequenceNumber"].is_string());
        assert!(reply["Records"][2].get("ErrorCode").is_none());
        let failed = &reply["Records"][3];
        assert_eq!(failed["ErrorCode"], "ProvisionedThroughputExceededException");
        assert!(str_of(&failed["ErrorMessage"]).contains("Rate exceeded for shard shardId-000000000000"));
        assert!(failed.get("SequenceNumber").is_none());
    }
}

#[test]
fn tags_travel_both_ways() {
    for wire in BOTH {
        let (_backend, mut client) = stream(wire);
        client.ok("AddTagsToStream", json!({"StreamName": "s", "Tags": {"a": "1", "b": "2"}}));
        client.ok("TagResource", json!({"ResourceARN": ARN, "Tags": {"c": "3"}}));
        let page = client.ok("ListTagsForStream", json!({"StreamName": "s", "Limit": 2}));
        assert_eq!((page["Tags"].as_array().unwrap().len(), &page["HasMoreTags"]), (2, &json!(true)));
        let page = client.ok("ListTagsForStream", json!({"StreamName": "s", "ExclusiveStartTagKey": "b"}));
        assert_eq!(page["Tags"], json!([{"Key": "c", "Value": "3"}]));
        client.ok("UntagResource", json!({"ResourceARN": ARN, "TagKeys": ["a", "b"]}));
        assert_eq!(client.ok("ListTagsForResource", json!({"ResourceARN": ARN}))["Tags"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn consumers_are_listed_in_pages() {
    for wire in BOTH {
        let (_backend, mut client) = stream(wire);
        for name in ["a", "b", "c"] {
            client.ok("RegisterStreamConsumer", json!({"StreamARN": ARN, "ConsumerName": name}));
        }
        let page = client.ok("ListStreamConsumers", json!({"StreamARN": ARN, "MaxResults": 2}));
        assert_eq!(page["Consumers"][1]["ConsumerName"], "b");
        let page = client.ok("ListStreamConsumers", json!({"StreamARN": ARN, "NextToken": page["NextToken"]}));
        assert_eq!(page["Consumers"][0]["ConsumerStatus"], "ACTIVE");
        assert!(page.get("NextToken").is_none());
        let consumer = json!({"ConsumerARN": page["Consumers"][0]["ConsumerARN"]});
        let described = client.ok("DescribeStreamConsumer", consumer);
        assert_eq!(described["ConsumerDescription"]["StreamARN"], ARN);
    }
}

#[test]
fn a_request_of_ten_megabytes_passes() {
    for wire in BOTH {
        let (backend, mut client) = stream(wire);
        let record = json!({"Data": {"$blob": "x".repeat(1_000_000)}, "PartitionKey": "k"});
        let reply = client.ok("PutRecords", json!({"StreamName": "s", "Records": vec![record; 10]}));
        assert_eq!(reply["FailedRecordCount"], 0);
        let shard = str_of(&reply["Records"][0]["ShardId"]);
        let request = json!({"StreamName": "s", "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
        let iterator = client.ok("GetShardIterator", request);
        let read = client.ok("GetRecords", json!({"ShardIterator": iterator["ShardIterator"]}));
        assert_eq!(texts(&read).len(), 10);
        assert_eq!(backend.kinesis().read_all("s").unwrap().len(), 10);
    }
}

#[test]
fn http_2_without_tls_is_spoken_to_who_begins_with_it() {
    let (backend, _) = backend(Options::default());
    let mut stream = TcpStream::connect(backend.kinesis_addr()).unwrap();
    let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&empty_settings).unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "the server's SETTINGS come first");
}

#[test]
fn a_request_outside_the_protocol_is_not_found() {
    let (backend, _) = backend(Options::default());
    let mut stream = TcpStream::connect(backend.kinesis_addr()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 404"), "{reply}");
    assert!(reply.contains("x-amzn-requestid: "), "{reply}");
}

#[test]
fn it_starts_and_stops_inside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = runtime.block_on(async {
        let backend = LocalBackend::start(Options::default()).unwrap();
        let address = backend.kinesis_addr();
        tokio::net::TcpStream::connect(address).await.unwrap();
        backend.shutdown();
        address
    });
    assert!(TcpStream::connect(address).is_err(), "nothing listens any more");
}
