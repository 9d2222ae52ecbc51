//! DynamoDB answers, keeps its tables in a data directory, and has faults injected on the way to it.

use std::io::{Error, ErrorKind as Io, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use shardmill_local::model::ErrorKind;
use shardmill_local::{Fault, FaultAction, LocalBackend, Options};

use crate::client::eventually;

const TABLE: &str = r#"{"TableName":"leases","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"leaseKey","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"leaseKey","AttributeType":"S"}]}"#;

fn send(address: SocketAddr, caller: &str, operation: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: AWS4-HMAC-SHA256 Credential={caller}/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, Signature=0\r\nx-amz-date: 20260101T000000Z\r\ncontent-type: application/x-amz-json-1.0\r\nx-amz-target: DynamoDB_20120810.{operation}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

/// The whole reply, or the cut of the connection.
fn receive(mut stream: TcpStream) -> Result<String, Error> {
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    if reply.is_empty() { Err(Io::UnexpectedEof.into()) } else { Ok(reply) }
}

fn call(address: SocketAddr, operation: &str, body: &str) -> String {
    receive(send(address, "a", operation, body)).unwrap()
}

/// A backend with the table `leases`.
fn with_table() -> LocalBackend {
    let backend = LocalBackend::start(Options::default()).unwrap();
    let created = call(backend.dynamodb_addr(), "CreateTable", TABLE);
    assert!(created.starts_with("HTTP/1.1 200"), "{created}");
    backend
}

fn put(backend: &LocalBackend, caller: &str, key: &str) -> TcpStream {
    send(backend.dynamodb_addr(), caller, "PutItem", &item(key))
}

fn item(key: &str) -> String {
    format!(r#"{{"TableName":"leases","Item":{{"leaseKey":{{"S":"{key}"}}}}}}"#)
}

fn rows(backend: &LocalBackend) -> usize {
    let reply = call(backend.dynamodb_addr(), "Scan", r#"{"TableName":"leases"}"#);
    reply.matches("leaseKey").count()
}

#[test]
fn a_table_survives_in_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { data_dir: Some(dir.path().join("new")), ..Options::default() };
    let first = LocalBackend::start(options.clone()).unwrap();
    let created = call(first.dynamodb_addr(), "CreateTable", TABLE);
    assert!(created.starts_with("HTTP/1.1 200"), "{created}");
    first.shutdown();

    let second = LocalBackend::start(options).unwrap();
    let tables = call(second.dynamodb_addr(), "ListTables", "{}");
    assert!(tables.contains("leases"), "{tables}");

    let empty = LocalBackend::start(Options::default()).unwrap();
    let tables = call(empty.dynamodb_addr(), "ListTables", "{}");
    assert!(tables.contains("\"TableNames\":[]"), "{tables}");
}

#[test]
fn a_taken_port_is_said() {
    let first = LocalBackend::start(Options::default()).unwrap();
    let options = Options { dynamodb_port: first.dynamodb_addr().port(), ..Options::default() };
    let error = LocalBackend::start(options).unwrap_err().to_string();
    assert!(error.starts_with("DynamoDB cannot listen on 127.0.0.1:"), "{error}");
}

#[test]
fn throttles_and_failures_strike_the_calls_they_name() {
    let backend = with_table();
    for (kind, status, code) in [
        (ErrorKind::ProvisionedThroughputExceeded, "400", "#ProvisionedThroughputExceededException"),
        (ErrorKind::InternalFailure, "500", "#InternalServerError"),
        (ErrorKind::ServiceUnavailable, "503", "#ServiceUnavailable"),
    ] {
        let fault = Fault::new(FaultAction::Error(kind)).operation("PutItem").table("leases").containing(r#""bad""#);
        let handle = backend.dynamodb_faults().inject(fault.skip(1).times(1));
        let struck = ["good", "bad", "bad", "bad"].map(|key| {
            let reply = receive(put(&backend, "a", key)).unwrap();
            reply.starts_with(&format!("HTTP/1.1 {status}")) && reply.contains(code)
        });
        assert_eq!(struck, [false, false, true, false]);
        assert_eq!(handle.hits(), 1);
    }
}

#[test]
fn a_lost_request_is_not_executed_and_one_with_a_lost_response_is() {
    let backend = with_table();
    for (action, rows_after) in [(FaultAction::LoseRequest, 0), (FaultAction::LoseReply, 1)] {
        backend.dynamodb_faults().inject(Fault::new(action).operation("PutItem").times(1));
        assert!(receive(put(&backend, "a", "row")).is_err());
        assert_eq!(rows(&backend), rows_after);
    }
    let delay = Duration::from_millis(60);
    backend.dynamodb_faults().inject(Fault::new(FaultAction::Latency(delay)).operation("Scan"));
    let start = Instant::now();
    rows(&backend);
    assert!(start.elapsed() >= delay);
}

#[test]
fn a_released_call_is_executed_even_if_its_client_is_dead() {
    let backend = with_table();
    for (action, rows_meanwhile) in [(FaultAction::HoldRequest, 0), (FaultAction::HoldReply, 1)] {
        let before = rows(&backend);
        let hold = backend.dynamodb_faults().inject(Fault::new(action).operation("PutItem").caller("victim"));
        let (key, other) = (format!("{rows_meanwhile} a"), format!("{rows_meanwhile} b"));
        receive(put(&backend, "other", &other)).unwrap();
        let victim = put(&backend, "victim", &key);
        eventually("it is held", || !hold.held().is_empty());
        assert_eq!(hold.held()[0].caller, "victim");
        assert_eq!(rows(&backend) - before, 1 + rows_meanwhile);
        drop(victim);
        hold.remove();
        eventually("it is done", || rows(&backend) - before == 2);
    }
}

#[test]
fn a_held_call_that_is_cut_is_never_done() {
    let backend = with_table();
    let hold = backend.dynamodb_faults().inject(Fault::new(FaultAction::HoldRequest).operation("PutItem"));
    let held = put(&backend, "a", "row");
    eventually("it is held", || !hold.held().is_empty());
    hold.cut();
    assert!(receive(held).is_err());
    assert_eq!(rows(&backend), 0);
    receive(put(&backend, "a", "row")).unwrap();
    assert_eq!(rows(&backend), 1);
}

#[test]
fn the_journal_has_what_succeeded_in_order() {
    let backend = with_table();
    receive(put(&backend, "a", "before")).unwrap();
    let journal = backend.journal(&["PutItem"]);
    receive(put(&backend, "a", "first")).unwrap();
    backend.dynamodb_faults().inject(Fault::new(FaultAction::LoseReply).times(1));
    assert!(receive(put(&backend, "b", "second")).is_err());
    let refused = item("first").replacen('{', r#"{"ConditionExpression":"attribute_not_exists(leaseKey)","#, 1);
    assert!(call(backend.dynamodb_addr(), "PutItem", &refused).starts_with("HTTP/1.1 400"));
    rows(&backend);
    let calls: Vec<_> = journal.calls().into_iter().map(|call| (call.caller, call.body)).collect();
    assert_eq!(calls, [("a".to_owned(), item("first").into()), ("b".to_owned(), item("second").into())]);
    assert_eq!(journal.calls()[0].resource.as_deref(), Some("leases"));
}
