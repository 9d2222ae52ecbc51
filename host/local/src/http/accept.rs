//! Accepts connections, and parses the parts of a request's head that both services need.

use std::convert::Infallible;
use std::error::Error;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

/// Largest request: 10 MB of records in base64, and their names.
pub(crate) const REQUEST_MAX: usize = 32 * 1024 * 1024;
const TARGET: &str = "x-amz-target";

/// Serves every connection of a listener.
#[expect(clippy::disallowed_methods, reason = "a connection that panics is cut, which its client notices")]
pub(crate) async fn accept<S, B>(listener: tokio::net::TcpListener, service: S) -> Infallible
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most likely out of file descriptors: wait until some are released.
                tracing::warn!(%error, "the local backend cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let service = service.clone();
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(error, "connection to the local backend ended");
            }
        });
    }
}

/// The operation of a request; empty without one.
pub(crate) fn operation(headers: &HeaderMap) -> &str {
    header(headers, TARGET).rsplit('.').next().unwrap_or_default()
}

/// The access key and the region of a signature, which is not verified; empty without one.
pub(crate) fn signer(headers: &HeaderMap) -> (&str, &str) {
    let credential = header(headers, AUTHORIZATION.as_str()).split_once("Credential=").map(|(_, scope)| scope);
    // KEY/DATE/REGION/SERVICE/aws4_request
    let mut parts = credential.unwrap_or_default().split('/');
    (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default())
}

pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
