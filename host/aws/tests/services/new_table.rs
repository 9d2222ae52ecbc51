//! How a lease table is made and read where the local backend has no say: protection, backups, consistent reads.

use shardmill_aws::{Ensured, LeaseTable};
use shardmill_core::config::NewTable;

use crate::harness::{access, once};
use crate::server::{Answer, Request, Server};

const ACTIVE: &str =
    r#"{"Table": {"TableStatus": "ACTIVE", "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}]}}"#;

fn operation(request: &Request) -> &str {
    request.header("x-amz-target").and_then(|target| target.rsplit('.').next()).unwrap_or_default()
}

/// A DynamoDB that has no table at first, and no backups of a new one at once.
async fn dynamodb() -> Server {
    Server::start(|number, request| match operation(request) {
        "DescribeTable" if number == 0 => refusal("ResourceNotFoundException"),
        "UpdateContinuousBackups" if number < 4 => refusal("ContinuousBackupsUnavailableException"),
        "DescribeTable" => Answer::ok(ACTIVE),
        "Scan" => Answer::ok(r#"{"Items": []}"#),
        _ => Answer::ok("{}"),
    })
    .await
}

fn refusal(code: &str) -> Answer {
    Answer { status: "400 Bad Request", ..Answer::ok(&format!(r#"{{"__type": "{code}"}}"#)) }
}

#[tokio::test]
async fn a_new_table_is_protected_and_backed_up_if_that_is_asked_for() {
    let server = dynamodb().await;
    let table = LeaseTable::new(&access(server.endpoint()), &once(), "leases").await.unwrap();
    let new = NewTable { deletion_protection: true, point_in_time_recovery: true, ..NewTable::default() };
    assert_eq!(table.ensure(new).await.unwrap(), Ensured::Created);
    let requests = server.requests();
    let operations: Vec<_> = requests.iter().map(operation).collect();
    let backups = "UpdateContinuousBackups";
    assert_eq!(operations, ["DescribeTable", "CreateTable", "DescribeTable", backups, backups]);
    assert!(requests[1].body.contains(r#""DeletionProtectionEnabled":true"#), "{}", requests[1].body);
    assert!(requests[4].body.contains(r#""PointInTimeRecoveryEnabled":true"#), "{}", requests[4].body);
    // One that exists is left as it is.
    assert_eq!(table.ensure(new).await.unwrap(), Ensured::Existed);
    assert_eq!(server.requests().len(), requests.len() + 1);
}

#[tokio::test]
async fn a_new_table_has_neither_otherwise() {
    let server = dynamodb().await;
    let table = LeaseTable::new(&access(server.endpoint()), &once(), "leases").await.unwrap();
    table.ensure(NewTable::default()).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(!requests[1].body.contains("DeletionProtection"), "{}", requests[1].body);
}

#[tokio::test]
async fn the_table_is_read_consistently_if_that_is_asked_for() {
    for consistent in [true, false] {
        let server = dynamodb().await;
        let table = LeaseTable::new(&access(server.endpoint()), &once(), "leases").await.unwrap();
        table.with_consistent_reads(consistent).scan().await.unwrap();
        let body = &server.requests()[0].body;
        assert_eq!(body.contains(r#""ConsistentRead":true"#), consistent, "{body}");
    }
}
