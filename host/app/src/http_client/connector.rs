//! Connects to the addresses that a job's requests may go to, and to no others. A name is resolved once, so that the
//! checked address is the one connected to. [`shardmill_core::http_address`] decides which addresses are allowed.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::vec;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use shardmill_core::http_address::{Forbidden, NamedBy, check};
use shardmill_core::network::Network;
use tokio::net::TcpStream;
use tower_service::Service;
use tracing::warn;

/// How many hosts the log reports, once each; further ones are not logged.
const REPORTED_MAX: usize = 100;

type BoxError = Box<dyn Error + Send + Sync>;
type Doing<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Connecting to any address of the host is forbidden.
#[derive(Debug, thiserror::Error)]
#[error("{host} is at {address} ({forbidden})")]
pub(super) struct Prohibited {
    host: String,
    address: IpAddr,
    forbidden: Forbidden,
}

/// The rules that a job's connections are checked against.
struct Policy {
    networks: Vec<Network>,
    reported: Mutex<BTreeSet<String>>,
}

impl Policy {
    fn check(&self, host: &str, address: IpAddr, named_by: NamedBy) -> Result<(), Prohibited> {
        check(address, named_by, &self.networks).map_err(|forbidden| Prohibited {
            host: host.to_owned(),
            address,
            forbidden,
        })
    }

    /// Logs the refusal for the operator, who can allow the address.
    fn report(&self, prohibited: &Prohibited) {
        let Prohibited { host, address, forbidden } = prohibited;
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < REPORTED_MAX && reported.insert(host.clone()) {
            let cure = match forbidden {
                Forbidden::Metadata => {
                    "only a grant of the address itself, in a network of host.allow.http.networks, allows it"
                }
                Forbidden::SpecialPurpose { .. } => "add its network to host.allow.http.networks to allow it",
            };
            warn!(host, %address, "a task's request was not sent: its grant does not include {address} ({forbidden}); {cure}");
        }
    }
}

/// Connects by TCP.
#[derive(Clone)]
pub(super) struct Guarded {
    inner: HttpConnector<Resolver<GaiResolver>>,
    policy: Arc<Policy>,
}

impl Guarded {
    pub(super) fn new(networks: &[Network]) -> Self {
        let policy = Arc::new(Policy { networks: networks.to_vec(), reported: Mutex::default() });
        let resolver = Resolver { inner: GaiResolver::new(), policy: Arc::clone(&policy) };
        let mut inner = HttpConnector::new_with_resolver(resolver);
        // TLS is handled by the layer around this one.
        inner.enforce_http(false);
        Self { inner, policy }
    }
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Doing<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        // A literal address is not resolved. It was granted literally: a granted name does not cover addresses.
        if let Some(address) = literal(&to)
            && let Err(prohibited) = self.policy.check(&address.to_string(), address, NamedBy::Literal)
        {
            self.policy.report(&prohibited);
            return Box::pin(async { Err(prohibited.into()) });
        }
        let connecting = self.inner.call(to);
        Box::pin(async { Ok(connecting.await?) })
    }
}

fn literal(uri: &Uri) -> Option<IpAddr> {
    let host = uri.host()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.parse().ok()
}

/// Resolves a name to those of its addresses that may be connected to.
#[derive(Clone)]
pub(super) struct Resolver<R> {
    inner: R,
    policy: Arc<Policy>,
}

impl<R> Service<Name> for Resolver<R>
where
    R: Service<Name, Error = io::Error>,
    R::Response: Iterator<Item = SocketAddr>,
    R::Future: Send + 'static,
{
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Doing<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (policy, host) = (Arc::clone(&self.policy), name.as_str().to_owned());
        let resolving = self.inner.call(name);
        Box::pin(async move {
            let (mut open, mut first) = (Vec::new(), None);
            for address in resolving.await? {
                match policy.check(&host, address.ip(), NamedBy::Name) {
                    Ok(()) => open.push(address),
                    Err(prohibited) => first = first.or(Some(prohibited)),
                }
            }
            match first.filter(|_| open.is_empty()) {
                Some(prohibited) => {
                    policy.report(&prohibited);
                    Err(prohibited.into())
                }
                None => Ok(open.into_iter()),
            }
        })
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

#[cfg(test)]
mod tests;
