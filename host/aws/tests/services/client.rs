//! What the settings of a client do, as the other end sees it: connections, headers, retries, time-outs.

use std::collections::BTreeSet;
use std::time::Duration;

use shardmill_aws::Kinesis;
use shardmill_core::config::{ClientSettings, Connections, Headers, RetryBudget, Secret, Wire};
use shardmill_core::service::ErrorKind;
use tokio::net::TcpListener;

use crate::harness::{access, once};
use crate::server::{Answer, Server, until};

/// Calls made at the same time.
const MANY: usize = 8;

async fn call(client: &Kinesis) {
    client.get_records("it", 1).await.unwrap();
}

async fn call_at_once(client: &Kinesis) {
    let calls: Vec<_> = (0..MANY).map(|_| tokio::spawn(ask(client.clone()))).collect();
    for call in calls {
        call.await.unwrap();
    }
}

async fn ask(client: Kinesis) {
    call(&client).await;
}

#[tokio::test]
async fn there_are_no_more_connections_than_are_allowed() {
    let slow = |_: usize, _: &_| Answer { pause: Duration::from_millis(30), ..Answer::ok(r#"{"Records": []}"#) };
    let (bound, free) = (Server::start(slow).await, Server::start(slow).await);
    let client = bound.client(|it| it.connections.max = Some(2)).await;
    call_at_once(&client).await;
    assert_eq!((bound.requests().len(), bound.most_open()), (MANY, 2));
    call_at_once(&free.client(|_| {}).await).await;
    assert!(free.most_open() > 2, "{}", free.most_open());
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    for keep_alive in [false, true] {
        let server = Server::of_no_records().await;
        let connections =
            Connections { max_idle: Some(Duration::from_millis(50)), keep_alive, ..Connections::default() };
        let client = server.client(|it| it.connections = connections).await;
        call(&client).await;
        until("the connection is closed", || server.open() == 0).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_too_old_gets_no_new_request() {
    let server = Server::of_no_records().await;
    let connections = || server.requests().iter().map(|request| request.from).collect::<BTreeSet<_>>().len();
    let ageless = server.client(|_| {}).await;
    for _ in 0..3 {
        call(&ageless).await;
    }
    assert_eq!(connections(), 1);
    let client = server.client(|it| it.connections.max_age = Some(Duration::from_millis(1))).await;
    for made in 2..5 {
        call(&client).await;
        assert_eq!(connections(), made);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(ageless);
    until("the old ones are closed", || server.open() <= 1).await;
}

/// Whether the kernel has a keep-alive timer on the connection: field `tr` of /proc/net/tcp is 02.
#[cfg(target_os = "linux")]
fn has_keep_alive_timer(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let own = format!(":{port:04X}");
    let connection = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    connection.into_iter().any(|it| it.len() > 5 && it[1].ends_with(&own) && it[3] == "01" && it[5].starts_with("02"))
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn keep_alive_is_asked_of_the_system() {
    for keep_alive in [true, false] {
        let server = Server::of_no_records().await;
        let client = server.client(|it| it.connections.keep_alive = keep_alive).await;
        call(&client).await;
        let port = server.requests()[0].from.port();
        until("the timer is as it was asked for", || has_keep_alive_timer(port) == keep_alive).await;
    }
}

#[tokio::test]
async fn headers_are_sent_and_signed_and_the_user_agent_has_its_additions() {
    let server = Server::of_no_records().await;
    let headers = Headers {
        user_agent_prefix: Some("orders/7".to_owned()),
        user_agent_suffix: Some("(team data)".to_owned()),
        more: [("X-Team".to_owned(), Secret::new("hunter2"))].into(),
    };
    let plain = server.client(|_| {}).await;
    for wire in [Wire::Cbor, Wire::Json] {
        let client = server
            .client(|it| {
                it.wire = wire;
                it.headers = headers.clone();
            })
            .await;
        call(&client).await;
        let request = server.requests().pop().unwrap();
        let agent = request.header("user-agent").unwrap();
        assert!(agent.starts_with("orders/7 aws-sdk-rust/") && agent.ends_with(" (team data)"), "{agent}");
        assert!(agent.contains("app/shardmill"), "{agent}");
        assert_eq!(request.header("x-team"), Some("hunter2"));
        let signed = request.header("authorization").unwrap().split("SignedHeaders=").nth(1).unwrap();
        assert!(signed.contains("x-team;") || signed.contains(";x-team"), "{signed}");
    }
    assert!(!format!("{headers:?}").contains("hunter2"));
    call(&plain).await;
    let request = server.requests().pop().unwrap();
    assert!(request.header("user-agent").unwrap().starts_with("aws-sdk-rust/"), "{}", request.head);
    assert_eq!(request.header("x-team"), None);
}

#[tokio::test]
async fn retries_in_a_row_have_a_budget() {
    // A failure of the service and a throttled call, which the SDK's own budget would count differently.
    for (status, code) in [("500 Internal Server Error", "InternalFailure"), ("400 Bad Request", "ThrottlingException")]
    {
        for (budget, expected) in [(RetryBudget::Retries(1), [2, 1]), (RetryBudget::Unlimited, [2, 2])] {
            let body = format!(r#"{{"__type": "{code}"}}"#);
            let server = Server::start(move |_, _| Answer { status, ..Answer::ok(&body) }).await;
            let client = server
                .client(|it| {
                    it.max_attempts = 2;
                    it.retry_budget = budget;
                })
                .await;
            let mut seen = 0;
            for attempts in expected {
                client.get_records("it", 1).await.unwrap_err();
                assert_eq!(server.requests().len() - seen, attempts, "{status} {budget:?}");
                seen += attempts;
            }
        }
    }
}

#[tokio::test]
async fn each_time_out_is_its_own() {
    // Accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = silent.local_addr().unwrap();
    let soon = Duration::from_millis(50);
    let connect = ClientSettings { connect_timeout: soon, ..once() };
    let read = ClientSettings { read_timeout: soon, ..once() };
    let attempt = ClientSettings { attempt_timeout: soon, ..once() };
    let all = ClientSettings { call_timeout: Some(soon), ..once() };
    for (scheme, settings, named) in [
        ("https", connect, "HTTP connect timeout occurred after 50ms"),
        ("http", read, "HTTP read timeout occurred after 50ms"),
        ("http", attempt, "operation attempt timeout"),
        ("http", all, "operation timeout"),
    ] {
        let access = access(format!("{scheme}://{authority}"));
        let error = Kinesis::new(&access, &settings).await.unwrap().get_records("it", 1).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains(named), "{named}: {error}");
    }
}
