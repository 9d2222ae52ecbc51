//! A server that answers as told, keeps its connections open, and remembers what came on which of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shardmill_aws::Kinesis;
use shardmill_core::config::ClientSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{access, once};

/// How long a condition may take to come true.
const DEADLINE: Duration = Duration::from_secs(20);

/// What a request is answered with.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) body: String,
    /// Before the answer.
    pub(crate) pause: Duration,
}

impl Answer {
    pub(crate) fn ok(body: &str) -> Self {
        Self { status: "200 OK", body: body.to_owned(), pause: Duration::ZERO }
    }

    /// None: the connection ends.
    pub(crate) fn cut() -> Self {
        Self { status: "", ..Self::ok("") }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The names of its headers are in small letters.
    pub(crate) head: String,
    pub(crate) body: String,
    /// The client's end of the connection that it came on.
    pub(crate) from: SocketAddr,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    open: usize,
    most_open: usize,
}

/// Listens as long as the test runs.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

type Answers = dyn Fn(usize, &Request) -> Answer + Send + Sync;

impl Server {
    /// Answers by the number of the request, from 0, and what it says.
    pub(crate) async fn start(answers: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (shared, answers): (_, Arc<Answers>) = (Arc::clone(&seen), Arc::new(answers));
        tokio::spawn(async move {
            while let Ok((connection, from)) = listener.accept().await {
                let (seen, answers) = (Arc::clone(&shared), Arc::clone(&answers));
                tokio::spawn(async move {
                    change(&seen, 1);
                    serve(connection, from, &seen, answers.as_ref()).await;
                    change(&seen, -1);
                });
            }
        });
        Self { address, seen }
    }

    /// Answers every request with no records.
    pub(crate) async fn of_no_records() -> Self {
        Self::start(|_, _| Answer::ok(r#"{"Records": []}"#)).await
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of this server; `change` makes its settings.
    pub(crate) async fn client(&self, change: impl FnOnce(&mut ClientSettings)) -> Kinesis {
        let mut settings = once();
        change(&mut settings);
        Kinesis::new(&access(self.endpoint()), &settings).await.unwrap()
    }

    /// In the order in which they came.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().requests.clone()
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.seen.lock().unwrap().open
    }

    /// The most that were open at once.
    pub(crate) fn most_open(&self) -> usize {
        self.seen.lock().unwrap().most_open
    }
}

fn change(seen: &Mutex<Seen>, by: isize) {
    let mut seen = seen.lock().unwrap();
    seen.open = seen.open.checked_add_signed(by).unwrap();
    seen.most_open = seen.most_open.max(seen.open);
}

async fn serve(mut connection: TcpStream, from: SocketAddr, seen: &Mutex<Seen>, answers: &Answers) {
    while let Some(request) = read(&mut connection, from).await {
        let number = {
            let requests = &mut seen.lock().unwrap().requests;
            requests.push(request.clone());
            requests.len() - 1
        };
        let Answer { status, body, pause } = answers(number, &request);
        tokio::time::sleep(pause).await;
        if status.is_empty() {
            return;
        }
        let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if connection.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// `None` at the end of the connection.
async fn read(connection: &mut TcpStream, from: SocketAddr) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut body = bytes.split_off(end + 4);
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    while body.len() < length.unwrap_or(0) {
        if connection.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request { head: lower_names(&head), body: String::from_utf8_lossy(&body).into_owned(), from })
}

/// The head with the names of its headers in small letters.
fn lower_names(head: &str) -> String {
    let lower = |line: &str| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}\n", name.to_lowercase()),
        None => format!("{line}\n"),
    };
    head.lines().map(lower).collect()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "not so within {DEADLINE:?}: {what}");
}
