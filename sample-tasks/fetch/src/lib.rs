//! Asks a web server for every message, which is a request: `METHOD URL [OPTION...]`. Sends on what came of it, with the
//! message's key: the status and the body, or the error by its name in `wasi:http`.
//!
//! Options: `body=TEXT` is sent; `connect-ms=N`, `first-byte-ms=N` and `between-ms=N` are how long it waits; `header=NAME:VALUE`
//! goes with it. Three more are for tests: `authority=TEXT` instead of the one in the URL, `times=N` asks one after the
//! other and tells how many were answered and what came of the last, `at-once=N` asks so often before it looks.
//!
//! Configuration: `output`, where answers go, `console.fetch` unless set; `init`, a request that `init` makes and logs.

use exports::shardmill::task::{lifecycle, processor};
use processor::{Envelope, TaskError};
use shardmill::task::{collector, config, log};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme,
};
use wasip2::io::streams::StreamError;

wit_bindgen::generate!({
    path: "../../wit/shardmill-task-0.1.0",
    inline: "
        package samples:fetch;
        world fetch {
            include shardmill:task/task@0.1.0;
            export shardmill:task/lifecycle@0.1.0;
        }
    ",
    world: "samples:fetch/fetch",
    generate_all,
});

struct Fetch;

export!(Fetch);

/// Bytes of a body that are taken at a time.
const CHUNK_BYTES: u64 = 64 << 10;
const NS_PER_MS: u64 = 1_000_000;

impl lifecycle::Guest for Fetch {
    fn init() -> Result<(), String> {
        if let Some(order) = config::get("init") {
            log::log(log::Level::Info, &obey(&order));
        }
        Ok(())
    }

    fn before_stop() -> Result<(), String> {
        Ok(())
    }
}

impl processor::Guest for Fetch {
    fn process(envelope: Envelope) -> Result<(), TaskError> {
        let order = str::from_utf8(&envelope.message).map_err(|error| TaskError::Reject(error.to_string()))?;
        let answer = obey(order.trim());
        let name = config::get("output").unwrap_or_else(|| "console.fetch".to_owned());
        let output = collector::output(&name).map_err(|error| TaskError::Fatal(format!("no output: {error:?}")))?;
        collector::send(output, envelope.key.as_deref(), answer.as_bytes())
            .map_err(|error| TaskError::Other(format!("cannot send: {error:?}")))
    }
}

/// A request as an order has it.
struct Asked<'a> {
    method: &'a str,
    url: &'a str,
    options: Vec<(&'a str, &'a str)>,
}

impl<'a> Asked<'a> {
    fn option(&self, name: &str) -> Option<&'a str> {
        self.options.iter().find(|(option, _)| *option == name).map(|(_, value)| *value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.option(name)?.parse().ok()
    }
}

fn obey(order: &str) -> String {
    let mut words = order.split(' ');
    let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let asked = Asked { method, url, options: words.filter_map(|word| word.split_once('=')).collect() };
    if let Some(times) = asked.number("at-once") {
        let sent: Vec<_> = (0..times).map(|_| send(&asked)).collect();
        let answers = sent.into_iter().map(|sent| told(sent.and_then(receive)));
        return answers.collect::<Vec<_>>().join("\n");
    }
    let mut answered = 0;
    let mut last = String::new();
    let times = asked.number("times").unwrap_or(1);
    for _ in 0..times {
        let answer = send(&asked).and_then(receive);
        answered += usize::from(answer.is_ok());
        last = told(answer);
    }
    if times == 1 { last } else { format!("{answered} {last}") }
}

fn told(answer: Result<(u16, Vec<u8>), ErrorCode>) -> String {
    match answer {
        Ok((status, body)) => format!("{status} {}", String::from_utf8_lossy(&body)),
        Err(error) => format!("{error:?}"),
    }
}

fn send(asked: &Asked<'_>) -> Result<FutureIncomingResponse, ErrorCode> {
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;
    let (scheme, rest) = asked.url.split_once("://").ok_or(()).map_err(invalid)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let headers = Fields::new();
    if let Some((name, value)) = asked.option("header").and_then(|header| header.split_once(':')) {
        headers
            .set(name, &[value.as_bytes().to_vec()])
            .map_err(|error| ErrorCode::InternalError(Some(format!("{error:?}"))))?;
    }
    let request = OutgoingRequest::new(headers);
    let method = match asked.method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    request.set_scheme(Some(&scheme)).map_err(invalid)?;
    request.set_authority(Some(asked.option("authority").unwrap_or(authority))).map_err(invalid)?;
    request.set_path_with_query(Some(if path.is_empty() { "/" } else { path })).map_err(invalid)?;
    let times = RequestOptions::new();
    let ns = |name| asked.number(name).map(|ms| ms * NS_PER_MS);
    let set = times.set_connect_timeout(ns("connect-ms"));
    let set = set.and_then(|()| times.set_first_byte_timeout(ns("first-byte-ms")));
    set.and_then(|()| times.set_between_bytes_timeout(ns("between-ms"))).map_err(|()| ErrorCode::ConfigurationError)?;
    let body = request.body().map_err(|()| ErrorCode::InternalError(None))?;
    let answer = outgoing_handler::handle(request, Some(times))?;
    let stream = body.write().map_err(|()| ErrorCode::InternalError(None))?;
    // Who does not want the rest says so in the answer.
    drop(stream.blocking_write_and_flush(asked.option("body").unwrap_or_default().as_bytes()));
    drop(stream);
    OutgoingBody::finish(body, None)?;
    Ok(answer)
}

fn receive(answer: FutureIncomingResponse) -> Result<(u16, Vec<u8>), ErrorCode> {
    answer.subscribe().block();
    let answer = answer.get().and_then(Result::ok).ok_or(ErrorCode::InternalError(None))??;
    let body = answer.consume().map_err(|()| ErrorCode::InternalError(None))?;
    let read = read(&body);
    drop(IncomingBody::finish(body));
    Ok((answer.status(), read?))
}

fn read(body: &IncomingBody) -> Result<Vec<u8>, ErrorCode> {
    let stream = body.stream().map_err(|()| ErrorCode::InternalError(None))?;
    let mut read = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_BYTES) {
            Ok(bytes) => read.extend(bytes),
            Err(StreamError::Closed) => return Ok(read),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return Err(code.unwrap_or(ErrorCode::InternalError(Some(error.to_debug_string()))));
            }
        }
    }
}
