//! Injected faults, as a client over HTTP sees them.

use std::time::{Duration, Instant};

use serde_json::json;
use shardmill_local::model::ErrorKind;
use shardmill_local::{Fault, FaultAction, LocalBackend};

use crate::client::{BOTH, Client, Wire, backend, encode, eventually, no_limits};
use crate::world::id;

fn stream() -> LocalBackend {
    let (backend, _) = backend(no_limits());
    backend.kinesis().create_stream("s", 2).unwrap();
    backend
}

fn iterator(client: &mut Client, shard: u32) -> serde_json::Value {
    let request = json!({"StreamName": "s", "ShardId": id(shard), "ShardIteratorType": "TRIM_HORIZON"});
    let reply = client.ok("GetShardIterator", request);
    json!({"ShardIterator": reply["ShardIterator"]})
}

#[test]
fn an_error_strikes_one_operation_of_one_shard_as_often_as_said() {
    for wire in BOTH {
        for (kind, status, code) in [
            (ErrorKind::InternalFailure, 500, "InternalFailure"),
            (ErrorKind::ServiceUnavailable, 503, "ServiceUnavailable"),
            (ErrorKind::ProvisionedThroughputExceeded, 400, "ProvisionedThroughputExceededException"),
            (ErrorKind::ExpiredIterator, 400, "ExpiredIteratorException"),
        ] {
            let backend = stream();
            let mut client = Client::new(backend.kinesis_addr(), wire);
            let fault = Fault::new(FaultAction::Error(kind)).operation("GetRecords").shard(&id(1)).times(2);
            let handle = backend.faults().inject(fault);
            let (other, struck) = (iterator(&mut client, 0), iterator(&mut client, 1));
            client.ok("GetRecords", other);
            for _ in 0..2 {
                let refusal = client.refused("GetRecords", struck.clone());
                assert_eq!((refusal.status, refusal.code.as_str()), (status, code));
            }
            client.ok("GetRecords", struck);
            assert_eq!(handle.hits(), 2);
        }
    }
}

#[test]
fn a_lost_reply_is_done_and_not_answered() {
    for wire in BOTH {
        let backend = stream();
        let handle = backend.faults().inject(Fault::new(FaultAction::LoseReply).operation("PutRecord").times(1));
        let mut client = Client::new(backend.kinesis_addr(), wire);
        let request = json!({"StreamName": "s", "PartitionKey": "k", "Data": {"$blob": "x"}});
        assert!(client.exchange("PutRecord", &encode(wire, &request)).is_err());
        assert_eq!(handle.hits(), 1);
        assert_eq!(backend.kinesis().read_all("s").unwrap().len(), 1, "written all the same");
        let mut again = Client::new(backend.kinesis_addr(), wire);
        again.ok("PutRecord", request);
        assert_eq!(backend.kinesis().read_all("s").unwrap().len(), 2);
    }
}

#[test]
fn a_lost_request_is_not_done() {
    let backend = stream();
    backend.faults().inject(Fault::new(FaultAction::LoseRequest).operation("PutRecord").times(1));
    let mut client = Client::new(backend.kinesis_addr(), Wire::Cbor);
    let request = json!({"StreamName": "s", "PartitionKey": "k", "Data": {"$blob": "x"}});
    assert!(client.exchange("PutRecord", &encode(Wire::Cbor, &request)).is_err());
    assert_eq!(backend.kinesis().read_all("s").unwrap().len(), 0);
}

#[test]
fn a_held_call_waits_until_it_is_released() {
    let backend = stream();
    let journal = backend.journal(&["PutRecord"]);
    let hold = backend.faults().inject(Fault::new(FaultAction::HoldRequest).operation("PutRecord"));
    let address = backend.kinesis_addr();
    let writer = std::thread::spawn(move || {
        let request = json!({"StreamName": "s", "PartitionKey": "k", "Data": {"$blob": "x"}});
        Client::new(address, Wire::Json).ok("PutRecord", request);
    });
    eventually("it is held", || !hold.held().is_empty());
    assert_eq!(hold.held()[0].resource.as_deref(), Some("s"));
    assert_eq!((backend.kinesis().read_all("s").unwrap().len(), journal.calls().len()), (0, 0));
    hold.remove();
    writer.join().unwrap();
    assert_eq!((backend.kinesis().read_all("s").unwrap().len(), journal.calls().len()), (1, 1));
}

#[test]
fn latency_delays_and_adds_up_with_another_fault() {
    let backend = stream();
    let delay = Duration::from_millis(60);
    backend.faults().inject(Fault::new(FaultAction::Latency(delay)).operation("DescribeStreamSummary"));
    let error = FaultAction::Error(ErrorKind::InternalFailure);
    backend.faults().inject(Fault::new(error).operation("DescribeStreamSummary").skip(1));
    let mut client = Client::new(backend.kinesis_addr(), Wire::Json);
    let start = Instant::now();
    client.ok("DescribeStreamSummary", json!({"StreamName": "s"}));
    assert!(start.elapsed() >= delay);
    let start = Instant::now();
    assert_eq!(client.refused("DescribeStreamSummary", json!({"StreamName": "s"})).status, 500);
    assert!(start.elapsed() >= delay);
    backend.faults().clear();
    client.ok("DescribeStreamSummary", json!({"StreamName": "s"}));
}

#[test]
fn a_fault_finds_its_stream_by_name_arn_and_iterator() {
    let backend = stream();
    backend.kinesis().create_stream("t", 1).unwrap();
    let error = FaultAction::Error(ErrorKind::InternalFailure);
    let handle = backend.faults().inject(Fault::new(error).stream("t"));
    let mut client = Client::new(backend.kinesis_addr(), Wire::Json);
    client.ok("ListShards", json!({"StreamName": "s"}));
    client.refused("ListShards", json!({"StreamName": "t"}));
    client.refused("ListShards", json!({"StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/t"}));
    handle.remove();
    let request = json!({"StreamName": "t", "ShardId": id(0), "ShardIteratorType": "LATEST"});
    let iterator = client.ok("GetShardIterator", request)["ShardIterator"].clone();
    let error = FaultAction::Error(ErrorKind::InternalFailure);
    backend.faults().inject(Fault::new(error).stream("t"));
    client.refused("GetRecords", json!({"ShardIterator": iterator}));
}
