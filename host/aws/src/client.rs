//! How a service is reached: settings in, a ready SDK configuration out. Owns the search for region and credentials
//! (bounded, with an answer for people when it fails) and the HTTP client; knows neither service.

mod proxy;

use std::fmt;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::{ProvideRegion, RegionProviderChain};
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use shardmill_core::service::{ErrorKind, ServiceError};

use crate::error::{Destination, chain};
use proxy::Purpose;

pub use proxy::{Proxy, ProxyLogin};

/// How long region and credentials may be looked for. Environment and profiles answer at once; what takes longer is an
/// instance metadata service that is not there.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// What the SDK's user agent says about us.
const APP_NAME: &str = "shardmill";

/// How to reach one service. Plain data; nothing is looked up before a client is built from it.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The region; absent: `AWS_REGION`, the profile, the instance's own, in this order.
    pub region: Option<String>,
    /// `http://` or `https://` and an authority, instead of the region's own endpoint.
    pub endpoint: Option<String>,
    /// Absent: the SDK's default chain (environment, profile, web identity, container, instance).
    pub credentials: Option<StaticCredentials>,
    /// How GetRecords is encoded; other calls are JSON always.
    pub wire: Wire,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// From the request's last byte to the answer's first.
    pub read_timeout: Duration,
    /// One attempt, body included.
    pub attempt_timeout: Duration,
    /// One call with all its attempts and the pauses between them; absent: bounded by those alone.
    pub call_timeout: Option<Duration>,
    /// Attempts of one call, the first included; the SDK backs off between them.
    pub max_attempts: u32,
    /// Absent: everything is called directly.
    pub proxy: Option<Proxy>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            region: None,
            endpoint: None,
            credentials: None,
            wire: Wire::default(),
            connect_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(10),
            // As long as the Kinesis Client Library waits for GetRecords.
            attempt_timeout: Duration::from_secs(30),
            call_timeout: None,
            max_attempts: 3,
            proxy: None,
        }
    }
}

/// Long-lived or session credentials, as configuration gives them.
#[derive(Clone)]
pub struct StaticCredentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
}

impl fmt::Debug for StaticCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticCredentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// The encoding of GetRecords, the one call whose size matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// AWS CBOR 1.1, what the Java SDKs speak to Kinesis: payloads are not copied and not base64.
    #[default]
    Cbor,
    /// AWS JSON 1.1, for endpoints that do not know CBOR.
    Json,
}

impl ClientSettings {
    /// Finds what is not set, and says early and clearly what cannot be found.
    pub(crate) async fn resolve(&self) -> Result<(SdkConfig, Destination), ServiceError> {
        let scheme = self.endpoint.as_deref().map(scheme).transpose()?;
        let region = match &self.region {
            Some(region) => Region::new(region.clone()),
            None => find_region(default_regions(), LOOKUP_LIMIT).await?,
        };
        let credentials = match &self.credentials {
            Some(given) => given.provider(),
            None => {
                let http_client = self.http_client(Scheme::Https, Purpose::Credentials)?;
                let chain = ProviderConfig::without_region().with_http_client(http_client);
                let chain = DefaultCredentialsChain::builder().region(region.clone()).configure(chain).build().await;
                let chain = SharedCredentialsProvider::new(chain);
                probe_credentials(&chain, LOOKUP_LIMIT).await?;
                chain
            }
        };
        let destination = self.destination(&region);
        let http_client = self.http_client(scheme.unwrap_or(Scheme::Https), Purpose::Service)?;
        Ok((self.sdk_config(region, credentials, http_client).await, destination))
    }

    fn destination(&self, region: &Region) -> Destination {
        let place = self.endpoint.clone().unwrap_or_else(|| format!("region {region}"));
        let is_used = |proxy: &&Proxy| self.endpoint.as_ref().is_none_or(|endpoint| proxy.is_for(endpoint));
        match self.proxy.as_ref().filter(is_used) {
            Some(proxy) => Destination::new(&format!("{place} through the proxy {}", proxy.address())),
            None => Destination::new(&place),
        }
    }

    fn http_client(&self, scheme: Scheme, purpose: Purpose) -> Result<SharedHttpClient, ServiceError> {
        match &self.proxy {
            Some(proxy) => proxy.client(scheme, purpose),
            None => Ok(direct(scheme)),
        }
    }

    async fn sdk_config(
        &self,
        region: Region,
        credentials: SharedCredentialsProvider,
        http_client: SharedHttpClient,
    ) -> SdkConfig {
        let mut timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.read_timeout)
            .operation_attempt_timeout(self.attempt_timeout);
        timeouts.set_operation_timeout(self.call_timeout);
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(region)
            .credentials_provider(credentials)
            .http_client(http_client)
            .timeout_config(timeouts.build())
            .retry_config(RetryConfig::standard().with_max_attempts(self.max_attempts))
            // The attempt's time-out covers the body too, without a timer per chunk.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .app_name(AppName::new(APP_NAME).expect("letters only"));
        match &self.endpoint {
            Some(endpoint) => loader.endpoint_url(endpoint).load().await,
            None => loader.load().await,
        }
    }
}

impl StaticCredentials {
    fn provider(&self) -> SharedCredentialsProvider {
        let Self { access_key_id, secret_access_key, session_token } = self;
        let credentials =
            Credentials::new(access_key_id, secret_access_key, session_token.clone(), None, "configuration");
        SharedCredentialsProvider::new(credentials)
    }
}

#[derive(Clone, Copy)]
enum Scheme {
    Http,
    Https,
}

fn scheme(endpoint: &str) -> Result<Scheme, ServiceError> {
    let found = match endpoint.split_once("://") {
        Some(("http", authority)) if !authority.is_empty() => Some(Scheme::Http),
        Some(("https", authority)) if !authority.is_empty() => Some(Scheme::Https),
        _ => None,
    };
    found.ok_or_else(|| ServiceError {
        kind: ErrorKind::Invalid,
        operation: "endpoint",
        message: format!("`{endpoint}` is not an endpoint: expected http://HOST:PORT or https://HOST"),
    })
}

/// An HTTP client that knows no proxy. For `http://` it is without TLS, so that a local endpoint does not wait for the
/// system's certificates.
fn direct(scheme: Scheme) -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new();
    match scheme {
        Scheme::Http => builder.build_http(),
        Scheme::Https => builder.tls_provider(tls()).build_https(),
    }
}

fn tls() -> Provider {
    Provider::Rustls(CryptoMode::Ring)
}

/// The network is asked for the instance's own region only, which no proxy stands before.
fn default_regions() -> impl ProvideRegion {
    let network = ProviderConfig::without_region().with_http_client(direct(Scheme::Https));
    RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::builder().configure(&network).build())
        .or_else(ImdsRegionProvider::builder().configure(&network).build())
}

async fn find_region(regions: impl ProvideRegion, limit: Duration) -> Result<Region, ServiceError> {
    let found = tokio::time::timeout(limit, regions.region()).await.unwrap_or(None);
    found.ok_or_else(|| ServiceError {
        kind: ErrorKind::Invalid,
        operation: "region",
        message: "no AWS region found: set it in the configuration, in AWS_REGION or in the AWS profile".to_owned(),
    })
}

/// Asks for credentials once, so that a worker without any says so before it starts anything.
async fn probe_credentials(credentials: &SharedCredentialsProvider, limit: Duration) -> Result<(), ServiceError> {
    let why = match tokio::time::timeout(limit, credentials.provide_credentials()).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => chain(&error),
        Err(_) => format!("nothing answered within {} s", limit.as_secs()),
    };
    Err(ServiceError {
        kind: ErrorKind::Denied,
        operation: "credentials",
        message: format!(
            "no AWS credentials found ({why}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, an AWS profile, or \
             them in the configuration; a local backend takes any value"
        ),
    })
}

#[cfg(test)]
mod tests {
    use aws_config::meta::region::future;
    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::future::ProvideCredentials as Provided;

    use super::*;

    /// Too short for a provider that never answers, long enough for one that does at once.
    const SOON: Duration = Duration::from_millis(1);

    #[derive(Debug)]
    enum Source {
        Empty,
        Silent,
    }

    impl ProvideRegion for Source {
        fn region(&self) -> future::ProvideRegion<'_> {
            match self {
                Self::Empty => future::ProvideRegion::ready(None),
                Self::Silent => future::ProvideRegion::new(std::future::pending()),
            }
        }
    }

    impl ProvideCredentials for Source {
        fn provide_credentials<'a>(&'a self) -> Provided<'a>
        where
            Self: 'a,
        {
            match self {
                Self::Empty => Provided::ready(Err(CredentialsError::not_loaded("the chain is empty"))),
                Self::Silent => Provided::new(std::future::pending()),
            }
        }
    }

    fn local() -> ClientSettings {
        let credentials = StaticCredentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI".to_owned(),
            session_token: Some("FwoGZXIvYXdzE".to_owned()),
        };
        ClientSettings {
            region: Some("eu-west-1".to_owned()),
            endpoint: Some("http://127.0.0.1:4567".to_owned()),
            credentials: Some(credentials),
            ..ClientSettings::default()
        }
    }

    #[test]
    fn secrets_are_not_in_debug_output() {
        let shown = format!("{:?}", local());
        assert!(shown.contains("AKIDEXAMPLE"), "{shown}");
        assert!(!shown.contains("wJalrXUtnFEMI") && !shown.contains("FwoGZXIvYXdzE"), "{shown}");
    }

    #[tokio::test]
    async fn what_is_set_is_not_looked_for() {
        let settings = ClientSettings { call_timeout: Some(Duration::from_secs(60)), ..local() };
        let (config, _) = settings.resolve().await.unwrap();
        assert_eq!(config.region(), Some(&Region::new("eu-west-1")));
        assert_eq!(config.endpoint_url(), Some("http://127.0.0.1:4567"));
        let credentials = config.credentials_provider().unwrap().provide_credentials().await.unwrap();
        assert_eq!(credentials.session_token(), Some("FwoGZXIvYXdzE"));
        let timeouts = config.timeout_config().unwrap();
        assert_eq!(timeouts.operation_attempt_timeout(), Some(Duration::from_secs(30)));
        assert_eq!(timeouts.operation_timeout(), Some(Duration::from_secs(60)));
        assert_eq!(config.retry_config().unwrap().max_attempts(), 3);
    }

    #[tokio::test]
    async fn an_endpoint_that_is_no_url_is_refused() {
        for endpoint in ["localhost:4567", "tcp://localhost:4567", "http://", ""] {
            let settings = ClientSettings { endpoint: Some(endpoint.to_owned()), ..local() };
            let error = settings.resolve().await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid);
            let expected =
                format!("endpoint: `{endpoint}` is not an endpoint: expected http://HOST:PORT or https://HOST");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_missing_region_says_where_to_set_it() {
        for source in [Source::Empty, Source::Silent] {
            let error = find_region(source, SOON).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid);
            let expected =
                "region: no AWS region found: set it in the configuration, in AWS_REGION or in the AWS profile";
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn missing_credentials_say_where_to_set_them() {
        for (source, why) in [(Source::Empty, "the chain is empty"), (Source::Silent, "nothing answered within 0 s")] {
            let error = probe_credentials(&SharedCredentialsProvider::new(source), SOON).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Denied);
            assert!(error.message.contains(why), "{error}");
            assert!(error.message.contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"), "{error}");
        }
    }
}
