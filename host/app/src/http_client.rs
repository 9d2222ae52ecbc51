//! Sends the HTTP requests of a job's tasks: HTTP/1.1, over TLS with the certificates of this machine. Owns the
//! connections, which no two jobs share, and maps their errors to those of WASI. Which requests may be sent is decided
//! before; which addresses they may go to is decided when a connection is made. No proxy, no redirects, no cookies; a
//! log line names nothing of a request but the host, for the rest is the task's secret.

mod connector;

use std::error::Error;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioTimer;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use shardmill_core::network::Network;
use shardmill_runtime::{HttpBody, HttpClient, HttpError, HttpSending, HttpTimes};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::warn;

use crate::tasks::Executor;
use connector::{Guarded, Prohibited};

/// The number of idle connections kept for each origin, and how long each is kept.
const MAX_IDLE: usize = 8;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The default for a task that sets no timeout. No task reaches it: the time limit of its call is shorter.
const FOR_EVER: Duration = Duration::from_hours(24);

/// TLS sessions kept for resumption.
const TLS_SESSIONS: usize = 256;

/// The client of one job, whose instances share its connections. `executor` runs the connections' tasks. Names may
/// resolve to `networks` although those are not part of the public Internet.
pub(crate) fn of_job(networks: &[Network], executor: Executor) -> Arc<dyn HttpClient> {
    Arc::new(Connections::new(networks, executor))
}

type Connector = HttpsConnector<Guarded>;

struct Connections(Client<Connector, HttpBody>);

impl Connections {
    fn new(networks: &[Network], executor: Executor) -> Self {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls()).https_or_http().enable_http1();
        let connector = connector.wrap_connector(Guarded::new(networks));
        let mut client = Client::builder(executor);
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).pool_max_idle_per_host(MAX_IDLE);
        Self(client.build(connector))
    }
}

/// Reads the certificates once per process; each client has its own sessions.
fn tls() -> ClientConfig {
    static SHARED: OnceLock<ClientConfig> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("ring has the default versions of TLS");
        match builder.clone().with_native_roots() {
            Ok(builder) => builder.with_no_client_auth(),
            Err(error) => {
                warn!(%error, "this machine has no certificates of authorities; tasks cannot reach https origins");
                builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
            }
        }
    });
    let mut own = shared.clone();
    own.resumption = Resumption::in_memory_sessions(TLS_SESSIONS);
    own
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

/// Waits for the head of the response: first for a connection, new or kept, then for the first byte.
async fn answer(
    client: &Client<Connector, HttpBody>,
    mut request: Request<HttpBody>,
    times: HttpTimes,
) -> Result<Response<Incoming>, HttpError> {
    let mut connection = capture_connection(&mut request);
    let mut answer = pin!(client.request(request));
    let connected = async {
        // Both arms are cancel-safe: the request continues below, and the connection is only observed.
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

/// The error that a task receives: the kind of the failure, and nothing of what was sent.
fn named(error: &legacy::Error) -> HttpError {
    let first: &(dyn Error + 'static) = error;
    let causes = || std::iter::successors(Some(first), |&error| error.source());
    // This one arrives as an error of name resolution, which it is not.
    if causes().any(is_prohibited) {
        return HttpError::DestinationIpProhibited;
    }
    if let Some(known) = causes().find_map(known) {
        return known;
    }
    if error.is_connect() { HttpError::DestinationUnavailable } else { HttpError::HttpProtocolError }
}

fn is_prohibited(error: &(dyn Error + 'static)) -> bool {
    // A wrapped error is not in the chain of sources of its wrapper.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<Prohibited>() || inner.is_some_and(|inner| is_prohibited(inner))
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
        // A wrapped error is not in the chain of sources of its wrapper.
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
    // The connector has no public type for this error.
    error.to_string().starts_with("dns error").then_some(HttpError::DnsError { rcode: None, info_code: None })
}

/// The body of a response, which must not stay silent for too long while the task waits for it.
struct Arriving {
    body: Incoming,
    quiet_max: Duration,
    /// When the task began to wait for more.
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
                // A task may pause between two reads; that is not the server's silence.
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
