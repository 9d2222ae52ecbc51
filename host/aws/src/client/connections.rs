//! The connections of a client: their number, lifetime and keep-alive. Owns the HTTP client; knows no service and no
//! proxy's rules.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Connector, pool};
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use shardmill_core::config::Connections;
use shardmill_core::service::{ErrorKind, ServiceError};

use super::Scheme;

/// Idle time after which the system probes the other end of a connection.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// An HTTP client for one scheme, directly or through a proxy. For `http://` it is without TLS, so that a local endpoint
/// does not wait for the system's certificates.
pub(super) fn client(
    connections: Connections,
    scheme: Scheme,
    proxy: Option<ProxyConfig>,
) -> Result<SharedHttpClient, ServiceError> {
    let Some(max_age) = connections.max_age else { return open(connections, scheme, proxy) };
    let open = move || open(connections, scheme, proxy.clone());
    let current = Mutex::new((None, open()?));
    Ok(SharedHttpClient::new(Renewed { open: Box::new(open), max_age, current }))
}

fn open(
    connections: Connections,
    scheme: Scheme,
    proxy: Option<ProxyConfig>,
) -> Result<SharedHttpClient, ServiceError> {
    // Their age is kept by the caller.
    let Connections { max, max_idle, max_age: _, keep_alive } = connections;
    if max.is_none() && !keep_alive {
        return Ok(plain(scheme, proxy, max_idle));
    }
    // The SDK's newer pool, for what its older one cannot do.
    let mut builder = pool::ConnectionPool::builder();
    builder
        .set_max_connections_per_host(max)
        .set_idle_timeout(max_idle.map(Some))
        .set_tcp_keepalive(keep_alive.then_some(Some(KEEP_ALIVE)))
        .set_proxy_config(proxy);
    let pool = match scheme {
        Scheme::Http => builder.build_http(),
        Scheme::Https => builder.tls_provider(tls()).build_https(),
    };
    let pool = pool.map_err(|error| unusable(&error))?;
    Ok(SharedHttpClient::new(pool::Client::new(&pool).map_err(|error| unusable(&error))?))
}

fn plain(scheme: Scheme, proxy: Option<ProxyConfig>, max_idle: Option<Duration>) -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = Connector::builder();
        builder.set_proxy_config(proxy.clone()).set_pool_idle_timeout(max_idle.map(Some));
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        match scheme {
            Scheme::Http => builder.build_http(),
            Scheme::Https => builder.tls_provider(tls()).build(),
        }
    })
}

fn tls() -> Provider {
    Provider::Rustls(CryptoMode::Ring)
}

fn unusable(error: &dyn std::error::Error) -> ServiceError {
    ServiceError { kind: ErrorKind::Invalid, operation: "connections", message: error.to_string() }
}

/// A client that is replaced when its oldest connection may be too old; running calls keep their connections.
struct Renewed {
    open: Box<dyn Fn() -> Result<SharedHttpClient, ServiceError> + Send + Sync>,
    max_age: Duration,
    /// The client, and when it was first used.
    current: Mutex<(Option<SystemTime>, SharedHttpClient)>,
}

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed").field("max_age", &self.max_age).finish_non_exhaustive()
    }
}

impl Renewed {
    fn at(&self, now: SystemTime) -> SharedHttpClient {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *current.0.get_or_insert(now);
        // A clock that was set back counts as too old, because the age is unknown then.
        let is_old = now.duration_since(since).map_or(true, |age| age >= self.max_age);
        if is_old && let Ok(client) = (self.open)() {
            *current = (Some(now), client);
        }
        current.1.clone()
    }
}

impl HttpClient for Renewed {
    /// Called for each attempt of a call.
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let now = components.time_source().map_or_else(SystemTime::now, |clock| clock.now());
        self.at(now).http_connector(settings, components)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_client_is_replaced_at_its_age_and_when_the_clock_goes_back() {
        let opened = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&opened);
        let open = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(plain(Scheme::Http, None, None))
        };
        let current = Mutex::new((None, open().unwrap()));
        let renewed = Renewed { open: Box::new(open), max_age: Duration::from_secs(10), current };
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        for (now, count) in
            [(after(0), 1), (after(9), 1), (after(10), 2), (after(19), 2), (after(5), 3), (after(14), 3)]
        {
            renewed.at(now);
            assert_eq!(opened.load(Ordering::Relaxed), count, "{now:?}");
        }
    }
}
