//! HTTP requests of a task: which it may send, how many, and for how long. Owns the decision and the bounds; must not
//! know how a request is sent, which is the business of the [`HttpClient`] that it is given.

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

/// Requests of one instance that are on their way, or whose answers it holds. Each holds a connection and a buffer.
const MAX_IN_FLIGHT: usize = 32;
/// By how much a request may outlast the time of its call, so that a call that waits for it is always the one that has
/// timed out, and one that does not wait leaves nothing behind for long.
const GRACE: Duration = Duration::from_secs(1);
/// Of the host in a line of the log; a name has 255 at most.
const MAX_SHOWN_HOST: usize = 255;

/// Sends requests for tasks.
pub trait HttpClient: Send + Sync {
    /// Sends a request that may be sent, within the times that the task wants. Follows no redirects. Dropping what it
    /// returns takes the request back as far as that goes.
    fn send(&self, request: Request<HttpBody>, times: HttpTimes) -> HttpSending;
}

/// A request on its way; of the answer the body may still be coming.
pub type HttpSending = Pin<Box<dyn Future<Output = Result<Response<HttpBody>, HttpError>> + Send>>;

/// The requests of an instance.
pub(crate) struct Requests {
    origins: Vec<HttpOrigin>,
    client: Option<Arc<dyn HttpClient>>,
    journal: Journal,
    hits: Hits,
    /// That a call may send.
    max: usize,
    /// By the call that is going on.
    sent: usize,
    slots: Arc<Semaphore>,
    /// Of the call that is going on.
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

    /// The call that a request is for.
    pub(crate) fn set_time(&mut self, time: &CallTime) {
        self.time.clone_from(time);
    }

    /// Who sends this request, and a place among those on their way; or why nobody does.
    fn admit<B>(&mut self, request: &Request<B>) -> Result<(Arc<dyn HttpClient>, OwnedSemaphorePermit), HttpError> {
        let uri = request.uri();
        let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
        let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let covers = |origin: &HttpOrigin| origin.covers(scheme, host, uri.port_u16());
        let client = self.client.as_ref().filter(|_| is_plain && self.origins.iter().any(covers));
        // A tunnel would lead wherever the other end likes.
        let Some(client) = client.filter(|_| request.method() != Method::CONNECT) else {
            let shown = &host[..host.floor_char_boundary(MAX_SHOWN_HOST)];
            let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
            let asked = format!("a request to {scheme}://{shown}{port} was denied: task.grant.http does not have it");
            self.journal.note(&asked);
            return Err(HttpError::HttpRequestDenied);
        };
        if self.sent >= self.max {
            self.hits.count(Limit::HttpRequests);
            let told = format!("one call may send {} requests (task.http.max.requests)", self.max);
            return Err(HttpError::InternalError(Some(told)));
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.hits.count(Limit::HttpRequests);
            return Err(HttpError::ConnectionLimitReached);
        };
        self.sent += 1;
        Ok((Arc::clone(client), slot))
    }
}

/// An answer, and what processes its body in the background: nothing.
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
            // Also for a task that sends and does not wait.
            let answer = tokio::time::timeout(left, sending).await.map_err(|_| HttpError::HttpResponseTimeout)??;
            let answer = answer.map(|body| Held { body, _slot: slot }.boxed_unsync());
            Ok((answer, Box::new(async { Ok(()) }) as Box<_>))
        })
    }
}

/// The task's times, none of which is longer than its call.
fn within(times: HttpTimes, left: Duration) -> HttpTimes {
    let at_most = |time: Option<Duration>| Some(time.unwrap_or(left).min(left));
    HttpTimes {
        connect_timeout: at_most(times.connect_timeout),
        first_byte_timeout: at_most(times.first_byte_timeout),
        between_bytes_timeout: at_most(times.between_bytes_timeout),
    }
}

/// The body of an answer: it holds its place among the requests until it is read or dropped.
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
