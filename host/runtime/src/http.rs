//! HTTP requests of a task: which it may send, how many, and for how long. Owns the decision and the limits; must not
//! know how a request is sent, which is the job of the [`HttpClient`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use shardmill_core::http_origin::HttpOrigin;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::WasiHttpHooks;

use crate::interrupt::CallTime;
use crate::journal::Journal;
use crate::limits::{Hits, Limit};
use crate::state::TaskSpec;

pub use wasmtime_wasi_http::{Error as HttpError, RequestOptions as HttpTimes, WasiBody as HttpBody};

/// Concurrent requests of one instance, counting responses that it still holds. Each occupies a connection and a buffer.
const MAX_IN_FLIGHT: usize = 32;
/// By how much a request may outlive its call's time limit: a call that waits for it always times out first, and a request
/// that no call waits for does not stay for long.
const GRACE: Duration = Duration::from_secs(1);
/// How many bytes of a host name a log line shows; a name has at most 255.
const MAX_SHOWN_HOST: usize = 255;

/// Sends requests for tasks.
pub trait HttpClient: Send + Sync {
    /// Sends a permitted request, within the time-outs that the task sets. Follows no redirects. Dropping the result cancels
    /// the request as far as possible.
    fn send(&self, request: Request<HttpBody>, times: HttpTimes) -> HttpSending;
}

/// A request in progress; the body of its response may still be arriving.
pub type HttpSending = Pin<Box<dyn Future<Output = Result<Response<HttpBody>, HttpError>> + Send>>;

/// The requests of an instance.
pub(crate) struct Requests {
    origins: Vec<HttpOrigin>,
    client: Option<Arc<dyn HttpClient>>,
    journal: Journal,
    hits: Hits,
    /// The number of requests that a call may send.
    max: usize,
    /// The number that the current call has sent.
    sent: usize,
    slots: Arc<Semaphore>,
    /// The time limit of the current call.
    time: CallTime,
}

impl Requests {
    pub(crate) fn new(spec: &TaskSpec, journal: Journal) -> Self {
        Self {
            origins: spec.grants.http.clone(),
            client: spec.http_client.clone(),
            journal,
            hits: Arc::clone(&spec.hits),
            max: spec.limits.http_max_requests,
            sent: 0,
            slots: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            time: CallTime::default(),
        }
    }

    /// A call begins.
    pub(crate) fn begin(&mut self) {
        self.sent = 0;
    }

    /// The call that sends a request.
    pub(crate) fn set_time(&mut self, time: &CallTime) {
        self.time.clone_from(time);
    }

    /// The client for this request and a slot among the concurrent ones, or the reason why it must not be sent.
    fn admit<B>(&mut self, request: &Request<B>) -> Result<(Arc<dyn HttpClient>, OwnedSemaphorePermit), HttpError> {
        let uri = request.uri();
        let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
        let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let covers = |origin: &HttpOrigin| origin.covers(scheme, host, uri.port_u16());
        let client = self.client.as_ref().filter(|_| is_plain && self.origins.iter().any(covers));
        // A tunnel would lead to any place that the other end chooses.
        let Some(client) = client.filter(|_| request.method() != Method::CONNECT) else {
            let shown = &host[..host.floor_char_boundary(MAX_SHOWN_HOST)];
            let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
            let asked =
                format!("a request to {scheme}://{shown}{port} was denied: task.grant.http does not include it");
            self.journal.note(&asked);
            return Err(HttpError::HttpRequestDenied);
        };
        if self.sent >= self.max {
            self.hits.count(Limit::HttpRequests);
            let note = format!("one call may send {} requests (task.http.max.requests)", self.max);
            return Err(HttpError::InternalError(Some(note)));
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.hits.count(Limit::HttpRequests);
            return Err(HttpError::ConnectionLimitReached);
        };
        self.sent += 1;
        Ok((Arc::clone(client), slot))
    }
}

/// A response without a background task for its body.
type Answered = (Response<HttpBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>);

impl WasiHttpHooks for Requests {
    fn send_request(
        &mut self,
        request: Request<HttpBody>,
        times: Option<HttpTimes>,
        _body_failed: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answered, HttpError>> + Send> {
        let admitted = self.admit(&request);
        let left = self.time.left() + GRACE;
        Box::new(async move {
            let (client, slot) = admitted?;
            let sending = client.send(request, within(times.unwrap_or_default(), left));
            // Also for a task that sends a request and does not wait for it.
            let answer = tokio::time::timeout(left, sending).await.map_err(|_| HttpError::HttpResponseTimeout)??;
            let answer = answer.map(|body| Held { body, _slot: slot }.boxed_unsync());
            Ok((answer, Box::new(async { Ok(()) }) as Box<_>))
        })
    }
}

/// The task's time-outs, capped by the time limit of its call.
fn within(times: HttpTimes, left: Duration) -> HttpTimes {
    let at_most = |time: Option<Duration>| Some(time.unwrap_or(left).min(left));
    HttpTimes {
        connect_timeout: at_most(times.connect_timeout),
        first_byte_timeout: at_most(times.first_byte_timeout),
        between_bytes_timeout: at_most(times.between_bytes_timeout),
    }
}

/// The body of a response: it occupies its slot among the requests until it is read or dropped.
struct Held {
    body: HttpBody,
    _slot: OwnedSemaphorePermit,
}

impl Body for Held {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
