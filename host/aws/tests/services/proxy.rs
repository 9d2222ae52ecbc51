//! The adapters behind an HTTP proxy: what it is asked for, and what goes around it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shardmill_aws::{Ensured, Kinesis, LeaseTable};
use shardmill_core::config::{ClientSettings, Connections, NewTable, Proxy, ProxyLogin, Secret, Wire};
use shardmill_core::kinesis::shard::ShardFilter;
use shardmill_core::position::StartingPosition;
use shardmill_core::service::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{access, backend, once};

/// With everything that has a meaning in a URL.
const PASSWORD: &str = "p@ss/w:rd?#%41 ü";

fn login() -> ProxyLogin {
    ProxyLogin { username: "user@corp".to_owned(), password: Secret::new(PASSWORD) }
}

/// A proxy that wants [`login`]; one request for each connection.
struct TestProxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&seen)));
            }
        });
        Self { address, heads }
    }

    fn proxy(&self, non_proxy_hosts: &[&str]) -> Option<Proxy> {
        Some(Proxy {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            login: Some(login()),
            non_proxy_hosts: non_proxy_hosts.iter().map(|&host| host.to_owned()).collect(),
        })
    }

    /// The heads of all requests so far, in the order in which they came.
    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(mut client: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    let end = loop {
        if client.read_buf(&mut request).await.unwrap() == 0 {
            return;
        }
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8(request[..end].to_vec()).unwrap();
    seen.lock().unwrap().push(head.clone());
    if !is_allowed(&head) {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return client.write_all(refusal.as_bytes()).await.unwrap();
    }
    let (line, headers) = head.split_once("\r\n").unwrap();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    if method == "CONNECT" {
        return answer_hello(client).await;
    }
    let authority = target.strip_prefix("http://").expect("a request in absolute form").trim_end_matches('/');
    let mut server = TcpStream::connect(authority).await.unwrap();
    let forwarded = format!("{method} / HTTP/1.1\r\nconnection: close\r\n{headers}\r\n\r\n");
    server.write_all(forwarded.as_bytes()).await.unwrap();
    server.write_all(&request[end + 4..]).await.unwrap();
    // Whoever goes first ends it.
    drop(copy_bidirectional(&mut client, &mut server).await);
}

fn is_allowed(head: &str) -> bool {
    let expected = STANDARD.encode(format!("user@corp:{PASSWORD}"));
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value == format!("Basic {expected}"))
    };
    head.lines().find_map(header).unwrap_or(false)
}

/// Opens a tunnel that ends after the first message of TLS, and says in clear text whether that is what came.
async fn answer_hello(mut client: TcpStream) {
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let mut hello = Vec::new();
    while !hello.windows(HOST.len()).any(|name| name == HOST.as_bytes()) {
        if client.read_buf(&mut hello).await.unwrap() == 0 {
            return;
        }
    }
    // A handshake record, and an alert in answer: unrecognized_name.
    assert_eq!(hello[..2], [22, 3]);
    client.write_all(&[21, 3, 3, 0, 2, 2, 112]).await.unwrap();
}

/// Connections of both pools that the SDK has.
fn both_pools() -> [Connections; 2] {
    [Connections::default(), Connections { max: Some(4), ..Connections::default() }]
}

/// A name that only a proxy could know.
const HOST: &str = "kinesis.shardmill.invalid";

#[tokio::test]
async fn both_services_are_called_through_the_proxy() {
    let (backend, test_proxy) = (backend(), TestProxy::start().await);
    for (wire, connections) in [Wire::Cbor, Wire::Json].into_iter().zip(both_pools()) {
        let proxy = test_proxy.proxy(&["*.internal"]);
        let behind = ClientSettings { wire, connections, proxy, ..once() };
        let kinesis = Kinesis::new(&access(backend.kinesis_endpoint()), &behind).await.unwrap();
        let stream = format!("orders-{wire:?}");
        kinesis.create_stream(&stream, 1).await.unwrap();
        kinesis.wait_active(&stream, Duration::from_secs(10)).await.unwrap();
        assert_eq!(kinesis.put_records(&stream, &[(Some("k"), b"hello")]).await.unwrap(), []);
        let shards = kinesis.list_shards(&stream, ShardFilter::All).await.unwrap();
        let iterator = kinesis.shard_iterator(&stream, &shards[0].id, &StartingPosition::TrimHorizon).await.unwrap();
        let records = kinesis.get_records(&iterator, 10).await.unwrap();
        assert_eq!(records.batch.envelope(0).message, b"hello");

        let access = access(backend.dynamodb_endpoint());
        let table = LeaseTable::new(&access, &behind, format!("leases-{wire:?}")).await.unwrap();
        assert_eq!(table.ensure(NewTable::default()).await.unwrap(), Ensured::Created);
    }
    let heads = test_proxy.heads();
    for endpoint in [backend.kinesis_endpoint(), backend.dynamodb_endpoint()] {
        let line = format!("POST {}/ HTTP/1.1\r\n", endpoint.trim_end_matches('/'));
        assert!(heads.iter().any(|head| head.starts_with(&line)), "no {line:?} in {heads:#?}");
    }
    assert!(heads.iter().all(|head| is_allowed(head)), "{heads:#?}");
}

#[tokio::test]
async fn hosts_that_are_named_are_called_around_the_proxy() {
    let (backend, test_proxy) = (backend(), TestProxy::start().await);
    let proxy = test_proxy.proxy(&["localhost", "127.*"]);
    let around = ClientSettings { proxy, ..once() };
    let kinesis = Kinesis::new(&access(backend.kinesis_endpoint()), &around).await.unwrap();
    kinesis.create_stream("orders", 1).await.unwrap();
    let table = LeaseTable::new(&access(backend.dynamodb_endpoint()), &around, "leases").await.unwrap();
    table.ensure(NewTable::default()).await.unwrap();
    assert_eq!(test_proxy.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn an_https_endpoint_is_called_through_a_tunnel() {
    for connections in both_pools() {
        let test_proxy = TestProxy::start().await;
        let proxy = test_proxy.proxy(&[]);
        let behind = ClientSettings { connections, proxy, ..once() };
        let kinesis = Kinesis::new(&access(format!("https://{HOST}")), &behind).await.unwrap();
        let error = kinesis.get_records("it", 10).await.unwrap_err();
        let heads = test_proxy.heads();
        assert!(heads[0].starts_with(&format!("CONNECT {HOST}:443 HTTP/1.1\r\n")), "{heads:#?}");
        assert!(is_allowed(&heads[0]), "{heads:#?}");
        // TLS was spoken through the tunnel, and its other end refused.
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains(&format!("https://{HOST} through the proxy {}", test_proxy.address)), "{error}");
        assert!(error.message.contains("UnrecognisedName"), "{error}");
    }
}

#[tokio::test]
async fn a_login_that_the_proxy_refuses_needs_a_person() {
    let (backend, test_proxy) = (backend(), TestProxy::start().await);
    let wrong = ProxyLogin { password: Secret::new("hunter2"), ..login() };
    for login in [None, Some(wrong)] {
        let proxy = test_proxy.proxy(&[]).map(|proxy| Proxy { login, ..proxy });
        let behind = ClientSettings { proxy, ..once() };
        let kinesis = Kinesis::new(&access(backend.kinesis_endpoint()), &behind).await.unwrap();
        let error = kinesis.get_records("it", 10).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
        assert!(error.message.contains("status 407"), "{error}");
        assert!(!format!("{error} {error:?} {behind:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let test_proxy = TestProxy { address: free.local_addr().unwrap(), heads: Arc::default() };
    drop(free);
    let behind = ClientSettings { proxy: test_proxy.proxy(&[]), ..once() };
    let error = Kinesis::new(&access(format!("http://{HOST}")), &behind)
        .await
        .unwrap()
        .get_records("it", 10)
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.message.contains(&format!("http://{HOST} through the proxy {}", test_proxy.address)), "{error}");
    assert!(error.message.to_lowercase().contains("refused"), "{error}");
}
