//! The operations over HTTP, in JSON and in CBOR.

use crate::client::{BOTH, Client, START, backend, no_limits, str_of, texts};
use serde_json::json;
use shardmill_local::Options;

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
