//! Sends the HTTP requests of tasks: HTTP/1.1, over TLS with the certificates of this machine. Owns connections and what
//! an error of one is called for a task; which requests may be sent is decided before. No proxy, no redirects, no cookies,
//! and nothing of a request in a log: what it holds is the task's secret.

use std::error::Error;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioTimer;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use shardmill_runtime::{HttpBody, HttpClient, HttpError, HttpSending, HttpTimes};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::warn;

use crate::tasks::Executor;

/// Idle connections that are kept for each origin, and for how long.
const MAX_IDLE: usize = 8;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Where a task says nothing, which no task of this host's gets to: its call's time is over before.
const FOR_EVER: Duration = Duration::from_hours(24);

/// The client of a job, whose instances share its connections. They are tasks, which `executor` runs.
pub(crate) fn of_job(executor: Executor) -> Arc<dyn HttpClient> {
    Arc::new(Connections::new(executor))
}

struct Connections(Client<HttpsConnector<HttpConnector>, HttpBody>);

impl Connections {
    fn new(executor: Executor) -> Self {
        let builder = HttpsConnectorBuilder::new();
        let connector = match builder.with_provider_and_native_roots(ring::default_provider()) {
            Ok(builder) => builder.https_or_http().enable_http1().build(),
            Err(error) => {
                warn!(%error, "this machine has no certificates of authorities; tasks cannot reach https origins");
                HttpsConnectorBuilder::new().with_tls_config(trusting_nobody()).https_or_http().enable_http1().build()
            }
        };
        let mut client = Client::builder(executor);
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).pool_max_idle_per_host(MAX_IDLE);
        Self(client.build(connector))
    }
}

fn trusting_nobody() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions of TLS")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

impl HttpClient for Connections {
    fn send(&self, request: Request<HttpBody>, times: HttpTimes) -> HttpSending {
        let client = self.0.clone();
        Box::pin(async move {
            let answer = answer(&client, request, times).await?;
            let quiet_max = times.between_bytes_timeout.unwrap_or(FOR_EVER);
            Ok(answer.map(|body| {
                Arriving { body, quiet_max, quiet: Box::pin(sleep(quiet_max)), is_awaited: false }.boxed_unsync()
            }))
        })
    }
}

/// The head of the answer: first there must be a connection, a new one or a kept one, then the first byte.
async fn answer(
    client: &Client<HttpsConnector<HttpConnector>, HttpBody>,
    mut request: Request<HttpBody>,
    times: HttpTimes,
) -> Result<Response<Incoming>, HttpError> {
    let mut connection = capture_connection(&mut request);
    let mut answer = pin!(client.request(request));
    let connected = async {
        // Both arms are cancel-safe: the request goes on below, and the connection is only looked at.
        tokio::select! {
            answer = &mut answer => Some(answer),
            _ = connection.wait_for_connection_metadata() => None,
        }
    };
    let early = timeout(times.connect_timeout.unwrap_or(FOR_EVER), connected).await;
    let answered = match early.map_err(|_| HttpError::ConnectionTimeout)? {
        Some(answered) => answered,
        None => {
            let answered = timeout(times.first_byte_timeout.unwrap_or(FOR_EVER), answer).await;
            answered.map_err(|_| HttpError::ConnectionReadTimeout)?
        }
    };
    answered.map_err(|error| named(&error))
}

/// What a task is told of a failure: its kind, and nothing of what was sent.
fn named(error: &legacy::Error) -> HttpError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(known) = known(error) {
            return known;
        }
        cause = error.source();
    }
    if error.is_connect() { HttpError::DestinationUnavailable } else { HttpError::HttpProtocolError }
}

fn known(error: &(dyn Error + 'static)) -> Option<HttpError> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(match error {
            rustls::Error::InvalidCertificate(_) => HttpError::TlsCertificateError,
            _ => HttpError::TlsProtocolError,
        });
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>()
        && (error.is_incomplete_message() || error.is_closed())
    {
        return Some(HttpError::ConnectionTerminated);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // What wraps another error is not in its chain of sources.
        let inner = error.get_ref().and_then(|inner| known(inner));
        return inner.or(match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(HttpError::ConnectionRefused),
            io::ErrorKind::TimedOut => Some(HttpError::ConnectionTimeout),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Some(HttpError::DestinationIpUnroutable)
            }
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Some(HttpError::ConnectionTerminated),
            _ => None,
        });
    }
    // The connector has no type for it that could be named.
    error.to_string().starts_with("dns error").then_some(HttpError::DnsError { rcode: None, info_code: None })
}

/// The body of an answer, which must not be quiet for too long while somebody waits for it.
struct Arriving {
    body: Incoming,
    quiet_max: Duration,
    /// From when on somebody waits for more.
    quiet: Pin<Box<Sleep>>,
    is_awaited: bool,
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.is_awaited = false;
                Poll::Ready(frame.map(|frame| frame.map_err(|_| HttpError::HttpResponseIncomplete)))
            }
            Poll::Pending => {
                // A task may take its time between two reads; that is no silence of the server's.
                if !std::mem::replace(&mut self.is_awaited, true) {
                    let until = Instant::now() + self.quiet_max;
                    self.quiet.as_mut().reset(until);
                }
                self.quiet.as_mut().poll(context).map(|()| Some(Err(HttpError::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
