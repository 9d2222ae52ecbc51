//! A raw test client: plain sockets, JSON and CBOR, no AWS SDK.
//!
//! A request is written once as JSON, with `{"$blob": "text"}` for a blob and `{"$ms": 123}` for a timestamp, and
//! goes out in either encoding. A reply comes back as JSON, blobs in base64 and timestamps in seconds.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ciborium::Value as Cbor;
use serde_json::{Value, json};
use shardmill_local::{Clock, LocalBackend, Options};

/// The encoding of a request and its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Json,
    Cbor,
}

pub(crate) const BOTH: [Wire; 2] = [Wire::Json, Wire::Cbor];

/// One connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    wire: Wire,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, wire: Wire) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream: BufReader::new(stream), wire }
    }

    /// Calls an operation that must succeed.
    pub(crate) fn ok(&mut self, operation: &str, request: Value) -> Value {
        self.call(operation, request).unwrap_or_else(|refused| panic!("{operation}: {refused:?}"))
    }

    /// Calls an operation that must be refused.
    pub(crate) fn refused(&mut self, operation: &str, request: Value) -> Refused {
        match self.call(operation, request) {
            Ok(reply) => panic!("{operation} was not refused: {reply}"),
            Err(refused) => refused,
        }
    }

    pub(crate) fn call(&mut self, operation: &str, request: Value) -> Result<Value, Refused> {
        let body = encode(self.wire, &request);
        let (status, body) = self.exchange(operation, &body).unwrap();
        let reply = if body.is_empty() { json!({}) } else { decode(self.wire, &body) };
        if status == 200 {
            return Ok(reply);
        }
        Err(Refused {
            status,
            code: reply["__type"].as_str().unwrap_or_default().to_owned(),
            message: reply["message"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// Sends bytes as they are; the reply's status and body, or the cut of the connection.
    pub(crate) fn exchange(&mut self, operation: &str, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
        self.send(operation, body)?;
        let (status, headers) = self.head()?;
        let length = header(&headers, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0usize);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }

    fn send(&mut self, operation: &str, body: &[u8]) -> std::io::Result<()> {
        let content_type = match self.wire {
            Wire::Json => "application/x-amz-json-1.1",
            Wire::Cbor => "application/x-amz-cbor-1.1",
        };
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\nx-amz-target: Kinesis_20131202.{operation}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    }

    fn head(&mut self) -> std::io::Result<(u16, Vec<String>)> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let status = lines[0].split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Ok((status, lines))
    }

    /// Subscribes; the events are read from what comes back.
    pub(crate) fn subscribe(mut self, request: Value) -> Result<EventReader, Refused> {
        let body = encode(self.wire, &request);
        self.send("SubscribeToShard", &body).unwrap();
        let (status, headers) = self.head().unwrap();
        if status != 200 {
            let length = header(&headers, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0usize);
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).unwrap();
            let reply = decode(self.wire, &body);
            return Err(Refused {
                status,
                code: reply["__type"].as_str().unwrap_or_default().to_owned(),
                message: reply["message"].as_str().unwrap_or_default().to_owned(),
            });
        }
        assert_eq!(header(&headers, "content-type"), Some("application/vnd.amazon.eventstream"));
        assert_eq!(header(&headers, "transfer-encoding"), Some("chunked"));
        Ok(EventReader { stream: self.stream, wire: self.wire, buffer: Vec::new() })
    }
}

/// The events of a subscription.
pub(crate) struct EventReader {
    stream: BufReader<TcpStream>,
    wire: Wire,
    buffer: Vec<u8>,
}

/// A frame: its type headers and its payload.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) message_type: String,
    pub(crate) name: String,
    pub(crate) payload: Value,
}

impl EventReader {
    /// The next frame; none at the orderly end, an error if the connection was cut.
    pub(crate) fn next(&mut self) -> std::io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.take_frame() {
                return Ok(Some(event));
            }
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk)?;
            if size == 0 {
                return Ok(None);
            }
            self.buffer.extend_from_slice(&chunk[..size]);
        }
    }

    fn take_frame(&mut self) -> Option<Event> {
        let total = u32::from_be_bytes(self.buffer.get(..4)?.try_into().unwrap()) as usize;
        if self.buffer.len() < total {
            return None;
        }
        let frame: Vec<u8> = self.buffer.drain(..total).collect();
        let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
        assert_eq!(number(8), crc32(&frame[..8]), "prelude checksum");
        assert_eq!(number(total - 4), crc32(&frame[..total - 4]), "frame checksum");
        let headers_end = 12 + number(4) as usize;
        let (mut message_type, mut name) = (String::new(), String::new());
        let mut at = 12;
        while at < headers_end {
            let key_end = at + 1 + usize::from(frame[at]);
            let key = std::str::from_utf8(&frame[at + 1..key_end]).unwrap();
            assert_eq!(frame[key_end], 7, "only string headers are sent");
            let length = usize::from(u16::from_be_bytes([frame[key_end + 1], frame[key_end + 2]]));
            let value = std::str::from_utf8(&frame[key_end + 3..key_end + 3 + length]).unwrap();
            match key {
                ":message-type" => message_type = value.to_owned(),
                ":event-type" | ":exception-type" => name = value.to_owned(),
                _ => {}
            }
            at = key_end + 3 + length;
        }
        Some(Event { message_type, name, payload: decode(self.wire, &frame[headers_end..total - 4]) })
    }
}

/// CRC-32 bit by bit: not the code under test.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (0u32.wrapping_sub(crc & 1))))
    })
}

fn header<'h>(lines: &'h [String], name: &str) -> Option<&'h str> {
    lines.iter().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

pub(crate) fn encode(wire: Wire, request: &Value) -> Vec<u8> {
    match wire {
        Wire::Json => serde_json::to_vec(&to_json(request)).unwrap(),
        Wire::Cbor => {
            let mut out = Vec::new();
            ciborium::into_writer(&to_cbor(request), &mut out).unwrap();
            out
        }
    }
}

pub(crate) fn decode(wire: Wire, body: &[u8]) -> Value {
    match wire {
        Wire::Json => serde_json::from_slice(body).unwrap(),
        Wire::Cbor => from_cbor(ciborium::from_reader(body).unwrap()),
    }
}

fn to_json(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            if let Some(blob) = map.get("$blob").and_then(Value::as_str) {
                return STANDARD.encode(blob).into();
            }
            if let Some(ms) = map.get("$ms").and_then(Value::as_f64) {
                return json!(ms / 1000.0);
            }
            map.iter().map(|(k, v)| (k.clone(), to_json(v))).collect()
        }
        Value::Array(items) => items.iter().map(to_json).collect(),
        other => other.clone(),
    }
}

fn to_cbor(value: &Value) -> Cbor {
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(b) => Cbor::Bool(*b),
        Value::Number(n) => n.as_i64().map_or_else(|| Cbor::Float(n.as_f64().unwrap()), Cbor::from),
        Value::String(s) => Cbor::Text(s.clone()),
        Value::Array(items) => Cbor::Array(items.iter().map(to_cbor).collect()),
        Value::Object(map) => {
            if let Some(blob) = map.get("$blob").and_then(Value::as_str) {
                return Cbor::Bytes(blob.as_bytes().to_vec());
            }
            if let Some(ms) = map.get("$ms").and_then(Value::as_i64) {
                return Cbor::Tag(1, Box::new(Cbor::from(ms)));
            }
            Cbor::Map(map.iter().map(|(k, v)| (Cbor::Text(k.clone()), to_cbor(v))).collect())
        }
    }
}

fn from_cbor(value: Cbor) -> Value {
    match value {
        Cbor::Null => Value::Null,
        Cbor::Bool(b) => b.into(),
        Cbor::Integer(n) => i64::try_from(n).unwrap().into(),
        Cbor::Float(f) => f.into(),
        Cbor::Text(s) => s.into(),
        Cbor::Bytes(b) => STANDARD.encode(b).into(),
        Cbor::Array(items) => items.into_iter().map(from_cbor).collect(),
        Cbor::Map(fields) => fields.into_iter().map(|(k, v)| (k.into_text().unwrap(), from_cbor(v))).collect(),
        Cbor::Tag(1, ms) => json!(ms.as_integer().map(i64::try_from).unwrap().unwrap() as f64 / 1000.0),
        other => panic!("unexpected {other:?}"),
    }
}

/// The time at which manual clocks start.
pub(crate) const START: u64 = 1_764_000_000_000;

/// A backend whose time stands still until it is moved.
pub(crate) fn backend(options: Options) -> (LocalBackend, Clock) {
    let clock = Clock::manual(START);
    let options = Options { clock: clock.clone(), ..options };
    (LocalBackend::start(options).unwrap(), clock)
}

pub(crate) fn no_limits() -> Options {
    Options { limits: false, ..Options::default() }
}

/// Data of the records of a reply, as text.
pub(crate) fn texts(reply: &Value) -> Vec<String> {
    let text = |record: &Value| {
        let bytes = STANDARD.decode(record["Data"].as_str().unwrap()).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    reply["Records"].as_array().unwrap().iter().map(text).collect()
}

pub(crate) fn str_of(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}")).to_owned()
}

/// Waits for a condition, with a deadline.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
