//! Answers that the local backend does not give: those of other emulators, proxies and broken services.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;

use shardmill_aws::Kinesis;
use shardmill_core::config::{ClientSettings, Wire};
use shardmill_core::service::ErrorKind;

use crate::harness::{access, once};

const CBOR: &str = "application/x-amz-cbor-1.1";
const JSON: &str = "application/x-amz-json-1.1";

/// Answers one request as told; its head and body come through the channel.
fn answer(status: &str, content_type: &str, body: &[u8]) -> (SocketAddr, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut reply = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    reply.extend_from_slice(body);
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        let (head, length) = loop {
            let read = connection.read(&mut piece).unwrap();
            assert!(read > 0, "the request ends inside its head");
            request.extend_from_slice(&piece[..read]);
            let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(request[..end].to_vec()).unwrap().to_lowercase();
            let (_, length) = head.split_once("content-length: ").unwrap();
            let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
            request.drain(..end + 4);
            break (head, length);
        };
        while request.len() < length {
            let read = connection.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..read]);
        }
        connection.write_all(&reply).unwrap();
        send.send((head, request)).unwrap();
    });
    (address, receive)
}

async fn client(address: SocketAddr, wire: Wire) -> Kinesis {
    Kinesis::new(&access(format!("http://{address}")), &ClientSettings { wire, ..once() }).await.unwrap()
}

#[tokio::test]
async fn a_cbor_request_is_what_a_java_sdk_would_send() {
    let (address, request) = answer("200 OK", CBOR, b"\xa1\x67Records\x80");
    let records = client(address, Wire::Cbor).await.get_records("it", 7).await.unwrap();
    assert!(records.batch.is_empty());
    let (head, body) = request.recv().unwrap();
    assert!(head.starts_with("post / http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-amz-cbor-1.1\r\n"), "{head}");
    assert!(head.contains("x-amz-target: kinesis_20131202.getrecords\r\n"), "{head}");
    assert!(head.contains("authorization: aws4-hmac-sha256 "), "{head}");
    assert_eq!(body, b"\xa2\x6dShardIterator\x62it\x65Limit\x07");
}

#[tokio::test]
async fn other_calls_and_the_other_setting_send_json() {
    let (address, request) = answer("200 OK", JSON, br#"{"ShardIterator": "x"}"#);
    let client_of_cbor = client(address, Wire::Cbor).await;
    let from = shardmill_core::position::StartingPosition::Latest;
    assert_eq!(client_of_cbor.shard_iterator("s", "shardId-0", &from).await.unwrap(), "x");
    assert!(request.recv().unwrap().0.contains("content-type: application/x-amz-json-1.1\r\n"));

    let (address, request) = answer("200 OK", JSON, br#"{"Records": []}"#);
    client(address, Wire::Json).await.get_records("it", 7).await.unwrap();
    let (head, body) = request.recv().unwrap();
    assert!(head.contains("content-type: application/x-amz-json-1.1\r\n"), "{head}");
    assert_eq!(String::from_utf8(body).unwrap(), r#"{"ShardIterator":"it","Limit":7}"#);
}

#[tokio::test]
async fn json_in_answer_to_cbor_is_understood() {
    let body = br#"{"Records": [{"SequenceNumber": "0042", "Data": "aGk=", "PartitionKey": "k",
        "ApproximateArrivalTimestamp": 1700000000.123}], "MillisBehindLatest": 5, "NextShardIterator": "next"}"#;
    // Under its own name, and under that of CBOR.
    for content_type in [JSON, CBOR] {
        let (address, _request) = answer("200 OK", content_type, body);
        let records = client(address, Wire::Cbor).await.get_records("it", 7).await.unwrap();
        let envelope = records.batch.envelope(0);
        assert_eq!((envelope.sequence, envelope.key, envelope.message), ("42", Some("k"), &b"hi"[..]));
        assert_eq!(envelope.arrival_ms, 1_700_000_000_123);
        assert_eq!((records.next_iterator.as_deref(), records.millis_behind_latest), (Some("next"), 5));
    }
}

#[tokio::test]
async fn errors_are_understood_in_either_encoding() {
    let json = br#"{"__type": "com.amazonaws.kinesis#ExpiredIteratorException", "message": "old"}"#;
    let cbor = b"\xa2\x66__type\x78\x18ExpiredIteratorException\x67message\x63old";
    for body in [&json[..], cbor] {
        for wire in [Wire::Cbor, Wire::Json] {
            let (address, _request) = answer("400 Bad Request", JSON, body);
            let error = client(address, wire).await.get_records("it", 7).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::ExpiredIterator, "{error}");
            assert_eq!(error.to_string(), "GetRecords: ExpiredIteratorException: old");
        }
    }
}

#[tokio::test]
async fn unreadable_responses_are_transient() {
    let cases: [(&str, &[u8]); 6] = [
        ("503 Service Unavailable", b"<html>no</html>"),
        ("200 OK", b"<html>log in</html>"),
        ("200 OK", b"\xa1\x67Records\x81"),
        ("200 OK", b"\xa1\x67Records\x81\xa0"),
        ("200 OK", br#"{"Records": [{"SequenceNumber": "x", "Data": ""}]}"#),
        ("502 Bad Gateway", b"\xa1\xff"),
    ];
    for (status, body) in cases {
        let (address, _request) = answer(status, CBOR, body);
        let error = client(address, Wire::Cbor).await.get_records("it", 7).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{body:?}: {error}");
    }
}

#[tokio::test]
async fn an_unreachable_endpoint_is_reported_with_its_address() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let error = client(address, Wire::Cbor).await.get_records("it", 7).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains(&address.to_string()), "{error}");
    assert!(error.message.to_lowercase().contains("refused"), "{error}");
}
