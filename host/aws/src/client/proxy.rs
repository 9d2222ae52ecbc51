//! An HTTP proxy between the clients and the services: an HTTP client that sends a request through the proxy or directly.
//! Owns the rule which hosts are called directly; knows no service.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::{RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_types::config_bag::ConfigBag;
use shardmill_core::config::{Connections, Proxy, ProxyLogin};
use shardmill_core::service::{ErrorKind, ServiceError};

use super::{Scheme, connections};

/// The purpose of a client, which decides which hosts bypass the proxy besides the configured ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Service,
    /// The search for credentials: its metadata services are local to this machine, and not reachable through a proxy.
    Credentials,
}

/// An HTTP client for one scheme.
pub(super) fn client(
    proxy: &Proxy,
    scheme: Scheme,
    purpose: Purpose,
    connections: Connections,
) -> Result<SharedHttpClient, ServiceError> {
    let proxied = connections::client(connections, scheme, Some(config(proxy)?))?;
    let direct = connections::client(connections, scheme, None)?;
    let around = Arc::new(Around { patterns: patterns(proxy), purpose });
    Ok(SharedHttpClient::new(Routed { proxied, direct, around }))
}

/// `HOST:PORT`.
pub(super) fn address(proxy: &Proxy) -> String {
    match proxy.host.parse::<Ipv6Addr>() {
        Ok(host) => format!("[{host}]:{}", proxy.port),
        Err(_) => format!("{}:{}", proxy.host, proxy.port),
    }
}

/// Whether calls to an endpoint go through the proxy.
pub(super) fn is_for(proxy: &Proxy, endpoint: &str) -> bool {
    !Around { patterns: patterns(proxy), purpose: Purpose::Service }.contains(endpoint)
}

fn config(proxy: &Proxy) -> Result<ProxyConfig, ServiceError> {
    let address = address(proxy);
    let config = ProxyConfig::all(format!("http://{address}")).map_err(|_| ServiceError {
        kind: ErrorKind::Invalid,
        operation: "proxy",
        message: format!("`{address}` is not a valid proxy address: expected HOST:PORT"),
    })?;
    Ok(match &proxy.login {
        // The HTTP client builds a URL from them.
        Some(ProxyLogin { username, password }) => {
            config.with_basic_auth(percent_encoded(username), percent_encoded(password.expose()))
        }
        None => config,
    })
}

fn patterns(proxy: &Proxy) -> Vec<String> {
    proxy.non_proxy_hosts.iter().map(|pattern| without_brackets(pattern).to_ascii_lowercase()).collect()
}

fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

/// The hosts that bypass the proxy.
#[derive(Debug)]
struct Around {
    /// In lower case.
    patterns: Vec<String>,
    purpose: Purpose,
}

impl Around {
    fn contains(&self, uri: &str) -> bool {
        let uri = uri.parse::<http::Uri>().ok();
        let Some(host) = uri.as_ref().and_then(http::Uri::host) else { return false };
        let host = without_brackets(host).to_ascii_lowercase();
        self.purpose == Purpose::Credentials && is_near(&host)
            || self.patterns.iter().any(|pattern| matches(pattern, &host))
    }
}

/// Whether a host is this machine or a metadata service of EC2, ECS or EKS.
fn is_near(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local(),
        // EC2's and EKS's are in fd00:ec2::/32.
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unicast_link_local() || ip.segments()[..2] == [0xfd00, 0x0ec2],
        Err(_) => host == "localhost",
    }
}

fn matches(pattern: &str, host: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == host };
    let Some(mut host) = host.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = host.find(part) else { return false };
        host = &host[at + part.len()..];
    }
    host.ends_with(end)
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Two clients, and the rule by which a request uses one of them.
#[derive(Debug)]
struct Routed<C = SharedHttpClient> {
    proxied: C,
    direct: C,
    around: Arc<Around>,
}

impl HttpClient for Routed {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Routed {
            proxied: self.proxied.http_connector(settings, components),
            direct: self.direct.http_connector(settings, components),
            around: Arc::clone(&self.around),
        })
    }

    fn validate_base_client_config(&self, of: &RuntimeComponentsBuilder, config: &ConfigBag) -> Result<(), BoxError> {
        HttpClient::validate_base_client_config(&self.proxied, of, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.proxied.connector_metadata()
    }
}

impl HttpConnector for Routed<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        match self.around.contains(request.uri()) {
            true => self.direct.call(request),
            false => self.proxied.call(request),
        }
    }
}

#[cfg(test)]
mod tests {
    use shardmill_core::config::Secret;

    use super::*;

    fn proxy(non_proxy_hosts: &[&str]) -> Proxy {
        let login = ProxyLogin { username: "me".to_owned(), password: Secret::new("hunter2") };
        Proxy {
            host: "proxy.example.com".to_owned(),
            port: 3128,
            login: Some(login),
            non_proxy_hosts: non_proxy_hosts.iter().map(|&host| host.to_owned()).collect(),
        }
    }

    #[test]
    fn hosts_bypass_the_proxy_as_in_java() {
        let cases = [
            ("localhost", "http://localhost:4567", true),
            ("localhost", "http://LocalHost/", true),
            ("LOCALHOST", "http://localhost/", true),
            ("localhost", "http://sub.localhost/", false),
            ("*.internal", "https://kinesis.eu.internal", true),
            ("*.internal", "https://internal", false),
            ("127.*", "http://127.0.0.1:80", true),
            ("127.*", "http://10.127.0.1", false),
            ("kinesis.*.amazonaws.com", "https://kinesis.eu-central-1.amazonaws.com/", true),
            ("kinesis.*.amazonaws.com", "https://dynamodb.eu-central-1.amazonaws.com/", false),
            ("*kinesis*", "https://1234.data-kinesis.eu-central-1.amazonaws.com/", true),
            ("a*b*b", "http://ab", false),
            ("a*b*b", "http://abb", true),
            ("a*a", "http://a", false),
            ("*", "https://anything", true),
            ("[::1]", "http://[::1]:4567/", true),
            ("::1", "http://[::1]:4567/", true),
            ("host:80", "http://host:80/", false),
        ];
        for (pattern, endpoint, around) in cases {
            assert_eq!(!is_for(&proxy(&["other", pattern]), endpoint), around, "{pattern} and {endpoint}");
        }
        assert!(is_for(&proxy(&[]), "http://localhost"));
    }

    #[test]
    fn metadata_services_bypass_the_proxy_and_aws_does_not() {
        let around = |purpose, uri: &str| Around { patterns: Vec::new(), purpose }.contains(uri);
        for near in ["169.254.169.254", "[fd00:ec2::254]", "169.254.170.2", "[fd00:ec2::23]", "127.0.0.1", "localhost"]
        {
            let uri = format!("http://{near}/latest/api/token");
            assert!(around(Purpose::Credentials, &uri), "{near}");
            assert!(!around(Purpose::Service, &uri), "{near}");
        }
        for far in ["sts.eu-central-1.amazonaws.com", "10.0.0.1", "[fd00:ec3::1]", "169.253.0.1"] {
            assert!(!around(Purpose::Credentials, &format!("https://{far}/")), "{far}");
        }
    }

    #[test]
    fn an_ipv6_address_is_put_in_brackets() {
        let proxy = Proxy { host: "fd00::1".to_owned(), ..proxy(&[]) };
        assert_eq!(address(&proxy), "[fd00::1]:3128");
        assert!(config(&proxy).is_ok());
    }

    #[test]
    fn an_invalid_host_is_rejected() {
        let proxy = Proxy { host: "a host".to_owned(), ..proxy(&[]) };
        let error = client(&proxy, Scheme::Http, Purpose::Service, Connections::default()).unwrap_err();
        assert_eq!(error.to_string(), "proxy: `a host:3128` is not a valid proxy address: expected HOST:PORT");
    }

    #[test]
    fn the_password_is_not_in_debug_output() {
        let proxy = proxy(&[]);
        let client = client(&proxy, Scheme::Http, Purpose::Service, Connections::default()).unwrap();
        let shown = format!("{proxy:?} {client:?}");
        assert!(shown.contains("\"me\"") && !shown.contains("hunter2"), "{shown}");
    }
}
