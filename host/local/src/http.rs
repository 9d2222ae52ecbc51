//! The HTTP front: connections, requests, replies.
//!
//! Speaks HTTP/1.1 and, told by its preface, HTTP/2 without TLS (the Java SDK's asynchronous client speaks nothing
//! else to Kinesis). Any signature is accepted and not looked at. What a call means is in [`crate::ops`].

mod body;
mod subscription;

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::sync::watch;

use crate::faults::{FaultAction, Faults};
use crate::kinesis::Kinesis;
use crate::model::{Error, ErrorKind};
use crate::ops::{self, Reply};
use crate::protocol::{Protocol, event_stream, records};
use body::ReplyBody;
use subscription::Events;

/// Largest request: 10 MB of records in base64, and their names.
const REQUEST_MAX: usize = 32 * 1024 * 1024;
const THREADS_MAX: usize = 4;
const REQUEST_ID: &str = "x-amzn-requestid";
const TARGET: &str = "x-amz-target";

/// What every connection works with.
#[derive(Debug)]
struct Front {
    kinesis: Kinesis,
    faults: Faults,
    requests: AtomicU64,
}

/// The connection is to be cut without a reply.
#[derive(Debug, thiserror::Error)]
#[error("connection cut on request of an injected fault")]
struct Cut;

/// Serves on threads of its own until `stopped` says so.
pub(crate) fn spawn(
    listener: TcpListener,
    kinesis: Kinesis,
    faults: Faults,
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
    let front = Arc::new(Front { kinesis, faults, requests: AtomicU64::new(0) });
    let serve = async move {
        tokio::select! {
            never = accept(listener, front) => match never {},
            // An error means the backend is gone, which is the same.
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    };
    let thread = std::thread::Builder::new().name("local-kinesis".to_owned()).spawn(move || {
        runtime.block_on(serve);
        runtime.shutdown_background();
    })?;
    Ok(thread)
}

async fn accept(listener: tokio::net::TcpListener, front: Arc<Front>) -> Infallible {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: let some be given back.
                tracing::warn!(%error, "the local Kinesis cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let front = Arc::clone(&front);
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(Arc::clone(&front), request));
            let builder = auto::Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the local Kinesis ended");
            }
        });
    }
}

async fn handle(front: Arc<Front>, request: Request<Incoming>) -> Result<Response<ReplyBody>, Cut> {
    let (head, incoming) = request.into_parts();
    let content_type = header(&head.headers, CONTENT_TYPE.as_str());
    let protocol = Protocol::of(content_type);
    let target = header(&head.headers, TARGET);
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
    let operation = target.rsplit('.').next().unwrap_or_default();
    front.call(protocol, operation, &body).await
}

impl Front {
    async fn call(&self, protocol: Protocol, operation: &str, body: &Bytes) -> Result<Response<ReplyBody>, Cut> {
        let (mut lose_reply, mut drop_after) = (false, None);
        for action in self.strike(protocol, operation, body) {
            match action {
                FaultAction::Latency(latency) => tokio::time::sleep(latency).await,
                FaultAction::Error(kind) => {
                    return Ok(self.refuse(protocol, &Error::new(kind, "injected fault")));
                }
                FaultAction::LoseReply => lose_reply = true,
                FaultAction::DropSubscription { after_events } => drop_after = Some(after_events),
            }
        }
        let now = self.kinesis.now();
        let reply = protocol.decode(body).and_then(|params| ops::run(self.kinesis.model(), now, operation, &params));
        if lose_reply {
            return Err(Cut);
        }
        Ok(match reply {
            Ok(reply) => self.reply(protocol, reply, drop_after),
            Err(error) => self.refuse(protocol, &error),
        })
    }

    fn strike(&self, protocol: Protocol, operation: &str, body: &[u8]) -> Vec<FaultAction> {
        if self.faults.is_empty() {
            return Vec::new();
        }
        let target = protocol.decode(body).map(|params| ops::target(&params)).unwrap_or_default();
        self.faults.strike(operation, &target)
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

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
