//! A small HTTP server for what stands beside AWS's services: metadata, STS. Answers one request for each connection, as
//! told. Knows nothing of what is asked, but that a token lives as long as it is asked for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// By which instance metadata asks, and is told, how many seconds a token lives.
const TOKEN_LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// A request, as far as a test looks at it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Such as `GET /latest/meta-data`.
    pub line: String,
    /// Name in small letters, and value.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    /// A header's value, by its name in small letters.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// Listens on this machine until the test's process ends.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers with the body that `answer` gives, and 404 where it gives none.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(answer: impl Fn(&Request) -> Option<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // Whoever goes away meanwhile is not answered.
                let Some(request) = read(&connection) else { continue };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
                drop(reply(connection, &request, answer(&request)));
            }
        });
        Self { address, requests }
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(connection: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(connection);
    let mut request = Request { line: line(&mut reader)?, ..Request::default() };
    loop {
        let line = line(&mut reader)?;
        let Some((name, value)) = line.split_once(": ") else { break };
        request.headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length: u64 = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_string(&mut request.body).ok()?;
    Some(request)
}

/// The next line without its end; `None` at the end of the connection.
fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    Some(line.trim_end().to_owned())
}

fn reply(mut connection: TcpStream, request: &Request, body: Option<String>) -> std::io::Result<()> {
    let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
    let body = body.unwrap_or_default();
    let life = request.header(TOKEN_LIFE).map_or(String::new(), |life| format!("{TOKEN_LIFE}: {life}\r\n"));
    let length = body.len();
    write!(connection, "HTTP/1.1 {status}\r\n{life}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
}
