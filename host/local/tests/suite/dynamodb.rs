//! DynamoDB answers, and keeps its tables in a data directory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use shardmill_local::{LocalBackend, Options};

fn call(address: SocketAddr, operation: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, Signature=0\r\nx-amz-date: 20260101T000000Z\r\ncontent-type: application/x-amz-json-1.0\r\nx-amz-target: DynamoDB_20120810.{operation}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn a_table_survives_in_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { data_dir: Some(dir.path().join("new")), ..Options::default() };
    let create = r#"{"TableName":"leases","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"leaseKey","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"leaseKey","AttributeType":"S"}]}"#;
    let first = LocalBackend::start(options.clone()).unwrap();
    let created = call(first.dynamodb_addr(), "CreateTable", create);
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
