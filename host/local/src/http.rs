//! The HTTP front: connections, requests, replies.
//!
//! Speaks HTTP/1.1 and, detected by its preface, HTTP/2 without TLS (which the Java SDK's asynchronous client requires
//! for Kinesis). Accepts any signature without verifying it. The operations are in [`crate::ops`].

pub(crate) mod accept;
mod body;
mod subscription;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::sync::watch;

use crate::faults::{Cut, Faults, PAGE, PAGE_TYPE, Served, serve};
use crate::journal::{Call, Journal};
use crate::kinesis::Kinesis;
use crate::model::{Error, ErrorKind};
use crate::ops::{self, Reply};
use crate::protocol::{Protocol, event_stream, records};
use accept::{REQUEST_MAX, accept, header, operation, signer};
use body::ReplyBody;
use subscription::Events;

const THREADS_MAX: usize = 4;
const REQUEST_ID: &str = "x-amzn-requestid";

/// The state that all connections share.
#[derive(Debug)]
pub(crate) struct Front {
    kinesis: Kinesis,
    faults: Faults,
    journal: Journal,
    requests: AtomicU64,
}

/// Serves on dedicated threads until `stopped` resolves.
#[expect(clippy::disallowed_methods, reason = "the backend owns the thread, and joins it")]
pub(crate) fn spawn(
    listener: TcpListener,
    front: Front,
    mut stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, crate::Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(THREADS_MAX))
        .thread_name("local-kinesis")
        .enable_all()
        .build()?;
    let listener = {
        let _context = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let front = Arc::new(front);
    let serve = async move {
        tokio::select! {
            never = accept(listener, service_fn(move |request| handle(Arc::clone(&front), request))) => match never {},
            // An error means that the backend has been dropped, which also stops the server.
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    };
    let thread = std::thread::Builder::new().name("local-kinesis".to_owned()).spawn(move || {
        runtime.block_on(serve);
        runtime.shutdown_background();
    })?;
    Ok(thread)
}

async fn handle(front: Arc<Front>, request: Request<Incoming>) -> Result<Response<ReplyBody>, Cut> {
    let (head, incoming) = request.into_parts();
    let content_type = header(&head.headers, CONTENT_TYPE.as_str());
    let protocol = Protocol::of(content_type);
    if head.method != Method::POST {
        return Ok(front.respond(StatusCode::NOT_FOUND, protocol.content_type(), ReplyBody::empty()));
    }
    let body = match Limited::new(incoming, REQUEST_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let error = Error::new(ErrorKind::Serialization, format!("the request cannot be read: {error}"));
            return Ok(front.refuse(protocol, &error));
        }
    };
    let operation = operation(&head.headers);
    if front.faults.is_empty() && !front.journal.wants(operation) {
        let reply = front.run(protocol, operation, &body);
        return Ok(front.answer(protocol, reply, None));
    }
    let call = front.describe(protocol, operation, signer(&head.headers), body);
    front.serve(protocol, call).await
}

impl Front {
    pub(crate) fn new(kinesis: Kinesis, faults: Faults, journal: Journal) -> Self {
        Self { kinesis, faults, journal, requests: AtomicU64::new(0) }
    }

    fn run(&self, protocol: Protocol, operation: &str, body: &Bytes) -> Result<Reply, Error> {
        let now = self.kinesis.now();
        protocol.decode(body).and_then(|params| ops::run(self.kinesis.model(), now, operation, &params))
    }

    fn describe(&self, protocol: Protocol, operation: &str, signer: (&str, &str), body: Bytes) -> Call {
        let (resource, shard) = protocol.decode(&body).map(|params| ops::target(&params)).unwrap_or_default();
        let (caller, region) = (signer.0.to_owned(), signer.1.to_owned());
        Call { caller, region, operation: operation.to_owned(), resource, shard, body }
    }

    async fn serve(self: Arc<Self>, protocol: Protocol, call: Call) -> Result<Response<ReplyBody>, Cut> {
        let carry_out = {
            let (front, operation, body) = (Arc::clone(&self), call.operation.clone(), call.body.clone());
            async move { Ok(front.run(protocol, &operation, &body)) }
        };
        Ok(match serve(&self.faults, &self.journal, call, Result::is_ok, carry_out).await? {
            Served::Refused(kind) => self.refuse(protocol, &Error::new(kind, "injected fault")),
            Served::Page(status) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                self.respond(status, PAGE_TYPE, ReplyBody::whole(PAGE.as_bytes().to_vec()))
            }
            Served::Done { reply, drop_after } => self.answer(protocol, reply, drop_after),
        })
    }

    fn answer(&self, protocol: Protocol, reply: Result<Reply, Error>, drop_after: Option<u32>) -> Response<ReplyBody> {
        match reply {
            Ok(reply) => self.reply(protocol, reply, drop_after),
            Err(error) => self.refuse(protocol, &error),
        }
    }

    fn reply(&self, protocol: Protocol, reply: Reply, drop_after: Option<u32>) -> Response<ReplyBody> {
        let ok = StatusCode::OK;
        let plain = protocol.content_type();
        match reply {
            Reply::Empty => self.respond(ok, plain, ReplyBody::empty()),
            Reply::Value(value) => self.respond(ok, plain, ReplyBody::whole(protocol.encode(&value))),
            Reply::Records(batch) => self.respond(ok, plain, ReplyBody::pieces(records::get_records(protocol, batch))),
            Reply::Subscription(subscription) => {
                let events = Events::new(subscription, protocol, self.kinesis.clone(), drop_after);
                self.respond(ok, event_stream::CONTENT_TYPE, ReplyBody::events(events))
            }
        }
    }

    fn refuse(&self, protocol: Protocol, error: &Error) -> Response<ReplyBody> {
        let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ReplyBody::whole(protocol.encode_error(error));
        self.respond(status, protocol.content_type(), body)
    }

    fn respond(&self, status: StatusCode, content_type: &'static str, body: ReplyBody) -> Response<ReplyBody> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("00000000-0000-4000-8000-{number:012x}");
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        response
    }
}
