//! Services that are away, or behind something that answers in their place: no call may take that for an answer, and only
//! what a person must mend may look final.

use shardmill_aws::{Kinesis, LeaseTable};
use shardmill_core::config::{Access, Consumer, NewTable};
use shardmill_core::kinesis::shard::{HashRange, ShardFilter};
use shardmill_core::leases::{Lease, Write};
use shardmill_core::position::{Checkpoint, StartingPosition};
use shardmill_core::service::{ErrorKind, ServiceError};
use tokio::net::TcpListener;

use crate::harness::{access, once};
use crate::server::{Answer, Server};

const TABLE: &str = "orders-1";
const PAGE: &str = "<html><body>Please log in</body></html>";

/// Answers that are nobody's fault who configures a job.
const AWAY: [(&str, &str); 15] = [
    ("500 Internal Server Error", r#"{"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError"}"#),
    ("500 Internal Server Error", r#"{"__type": "InternalFailure", "message": "oops"}"#),
    ("503 Service Unavailable", ""),
    ("502 Bad Gateway", PAGE),
    ("504 Gateway Timeout", PAGE),
    ("200 OK", PAGE),
    ("302 Found", PAGE),
    ("302 Found", ""),
    ("404 Not Found", PAGE),
    ("404 Not Found", ""),
    ("400 Bad Request", PAGE),
    ("429 Too Many Requests", ""),
    ("400 Bad Request", r#"{"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}"#),
    ("400 Bad Request", r#"{"__type": "ThrottlingException"}"#),
    ("400 Bad Request", r#"{"__type": "RequestLimitExceeded"}"#),
];

/// And those that are.
const FINAL: [(&str, &str, ErrorKind); 6] = [
    ("400 Bad Request", r#"{"__type": "AccessDeniedException", "message": "no"}"#, ErrorKind::Denied),
    ("400 Bad Request", r#"{"__type": "UnrecognizedClientException"}"#, ErrorKind::Denied),
    ("403 Forbidden", r#"{"__type": "InvalidSignatureException"}"#, ErrorKind::Denied),
    ("403 Forbidden", PAGE, ErrorKind::Denied),
    ("407 Proxy Authentication Required", PAGE, ErrorKind::Denied),
    ("400 Bad Request", r#"{"__type": "ValidationException"}"#, ErrorKind::Invalid),
];

fn lease() -> Lease {
    Lease { key: "shardId-000000000000".to_owned(), ..crate::leases::lease(Checkpoint::TrimHorizon) }
}

fn writes() -> Vec<Write> {
    let key = || "shardId-000000000000".to_owned();
    vec![
        Write::Create(lease()),
        Write::Renew { key: key(), owner: "w".to_owned(), counter: 1 },
        Write::Take { seen: lease(), worker: "w".to_owned() },
        Write::Evict { key: key(), owner: "w".to_owned() },
        Write::Checkpoint { key: key(), owner: "w".to_owned(), counter: 1, checkpoint: Checkpoint::ShardEnd },
        Write::Children { key: key(), children: vec!["c".to_owned()] },
        Write::HashRange { key: key(), range: HashRange { start: 0, end: 1 } },
        Write::Delete { key: key(), counter: 1 },
    ]
}

/// How every call to a lease table fails, by its name.
async fn table_failures(access: &Access) -> Vec<(String, ServiceError)> {
    let table = LeaseTable::new(access, &once(), TABLE).await.unwrap();
    let mut failures = vec![
        ("find".to_owned(), table.find().await.unwrap_err()),
        ("ensure".to_owned(), table.ensure(NewTable::default()).await.unwrap_err()),
        ("scan".to_owned(), table.scan().await.unwrap_err()),
        ("get".to_owned(), table.get("shardId-000000000000").await.unwrap_err()),
    ];
    for write in writes() {
        failures.push((format!("{write:?}"), table.write(&write).await.unwrap_err()));
    }
    failures
}

/// How every call to a stream fails that does not wait by itself.
async fn stream_failures(access: &Access) -> Vec<(String, ServiceError)> {
    let kinesis = Kinesis::new(access, &once()).await.unwrap();
    let (shard, consumer) = ("shardId-000000000000", "arn:aws:kinesis:us-east-1:0:stream/s/consumer/c:1");
    vec![
        ("find_stream".to_owned(), kinesis.find_stream("s").await.unwrap_err()),
        ("list_shards".to_owned(), kinesis.list_shards("s", ShardFilter::All).await.unwrap_err()),
        (
            "shard_iterator".to_owned(),
            kinesis.shard_iterator("s", shard, &StartingPosition::TrimHorizon).await.unwrap_err(),
        ),
        ("get_records".to_owned(), kinesis.get_records("iterator", 10).await.unwrap_err()),
        ("consumer_exists".to_owned(), kinesis.consumer_exists(consumer).await.unwrap_err()),
        ("subscribe".to_owned(), subscribe(&kinesis, consumer, shard).await),
    ]
}

/// A subscription is an answer at first, if a page is one; then it is its first event that fails.
async fn subscribe(kinesis: &Kinesis, consumer: &str, shard: &str) -> ServiceError {
    match kinesis.subscribe(consumer, shard, &StartingPosition::TrimHorizon).await {
        Ok(mut subscription) => subscription.next_event().await.unwrap_err(),
        Err(error) => error,
    }
}

async fn failures(access: &Access) -> Vec<(String, ServiceError)> {
    let mut all = table_failures(access).await;
    assert!(all.iter().all(|(_, error)| error.message.contains("lease table `orders-1`")), "{all:#?}");
    all.extend(stream_failures(access).await);
    all
}

#[tokio::test]
async fn errors_of_unavailable_services_are_transient() {
    for (status, body) in AWAY {
        let server = Server::start(move |_, _| Answer { status, ..Answer::ok(body) }).await;
        for (call, error) in failures(&access(server.endpoint())).await {
            assert!(error.kind.is_transient(), "{call} answered by {status} {body}: {:?}: {error}", error.kind);
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_or_refused_may_be_made_again() {
    let server = Server::start(|_, _| Answer::cut()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for endpoint in [server.endpoint(), nobody] {
        for (call, error) in failures(&access(endpoint.clone())).await {
            assert_eq!(error.kind, ErrorKind::Unavailable, "{call} at {endpoint}: {error}");
        }
    }
}

#[tokio::test]
async fn errors_that_need_an_operator_are_final() {
    for (status, body, kind) in FINAL {
        let server = Server::start(move |_, _| Answer { status, ..Answer::ok(body) }).await;
        for (call, error) in failures(&access(server.endpoint())).await {
            assert_eq!(error.kind, kind, "{call} answered by {status} {body}: {error}");
        }
    }
}

fn is(request: &crate::server::Request, operation: &str) -> bool {
    request.header("x-amz-target").is_some_and(|target| target.ends_with(operation))
}

/// The service goes away between the making of a table and the switching on of its backups.
#[tokio::test]
async fn backups_that_could_not_be_switched_on_at_once_are_switched_on_later() {
    let server = Server::start(|number, request| match number {
        0 => Answer { status: "400 Bad Request", ..Answer::ok(r#"{"__type": "ResourceNotFoundException"}"#) },
        3 => Answer { status: "503 Service Unavailable", ..Answer::ok(PAGE) },
        _ if is(request, ".DescribeTable") => Answer::ok(
            r#"{"Table": {"TableStatus": "ACTIVE", "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}]}}"#,
        ),
        _ => Answer::ok("{}"),
    })
    .await;
    let table = LeaseTable::new(&access(server.endpoint()), &once(), TABLE).await.unwrap();
    let new = NewTable { point_in_time_recovery: true, ..NewTable::default() };
    let error = table.ensure(new).await.unwrap_err();
    assert!(error.kind.is_transient() && error.operation == "UpdateContinuousBackups", "{error}");
    let switched = || server.requests().iter().filter(|it| is(it, ".UpdateContinuousBackups")).count();
    assert_eq!(switched(), 1);
    table.ensure(new).await.unwrap();
    assert_eq!(switched(), 2, "the table is there, but not as it was asked for");
    table.ensure(new).await.unwrap();
    assert_eq!(switched(), 2);
}

/// An answer that is well formed but not the service's: an emulator's, or a gateway's that answers everything with `{}`.
#[tokio::test]
async fn an_answer_without_what_was_asked_for_is_no_empty_table_and_no_empty_stream() {
    let server = Server::start(|_, _| Answer::ok("{}")).await;
    let table = LeaseTable::new(&access(server.endpoint()), &once(), TABLE).await.unwrap();
    let kinesis = Kinesis::new(&access(server.endpoint()), &once()).await.unwrap();
    let failures = [
        table.find().await.unwrap_err(),
        table.scan().await.unwrap_err(),
        kinesis.list_shards("s", ShardFilter::All).await.unwrap_err(),
        kinesis.find_stream("s").await.unwrap_err(),
        kinesis.shard_iterator("s", "shardId-0", &StartingPosition::Latest).await.unwrap_err(),
    ];
    for error in failures {
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains("unreadable response"), "{error}");
    }
}

/// However long the service is away.
#[tokio::test]
async fn a_consumer_waits_for_the_service_and_says_so() {
    let arn = "arn:aws:kinesis:us-east-1:0:stream/s/consumer/c:1";
    let found = format!(
        r#"{{"ConsumerDescription": {{"ConsumerName": "c", "ConsumerARN": "{arn}", "ConsumerStatus": "ACTIVE",
            "ConsumerCreationTimestamp": 1, "StreamARN": "arn:aws:kinesis:us-east-1:0:stream/s"}}}}"#
    );
    // Some of them: the pauses between the calls grow.
    let away: Vec<_> = AWAY.iter().step_by(3).collect();
    let count = away.len();
    let server = Server::start(move |number, _| match away.get(number) {
        Some((status, body)) => Answer { status, ..Answer::ok(body) },
        None => Answer::ok(&found),
    })
    .await;
    let kinesis = Kinesis::new(&access(server.endpoint()), &once()).await.unwrap();
    let mut failed = 0;
    let consumer = Consumer::Arn(arn.to_owned());
    assert_eq!(kinesis.ensure_consumer("s", &consumer, 1, |_| failed += 1).await.unwrap(), arn);
    assert_eq!(failed, count);
}
