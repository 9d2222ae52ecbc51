//! Access to a service: turns settings into an SDK configuration. Owns the search for the region (bounded, with a readable
//! error), time-outs and retries; knows neither service.

mod connections;
mod credentials;
mod headers;
mod proxy;

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::{ProvideRegion, RegionProviderChain};
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use shardmill_core::service::{ErrorKind, ServiceError};

use crate::error::Destination;
use credentials::LOOKUP_LIMIT;
use proxy::Purpose;

pub use connections::Connections;
pub use credentials::{Credentials, Role, StaticCredentials};
pub use headers::Headers;
pub use proxy::{Proxy, ProxyLogin};

/// The application name in the SDK's user agent.
const APP_NAME: &str = "shardmill";

/// The settings of one service's client. Plain data; nothing is looked up before a client is built from it.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The region. Default: `AWS_REGION`, the profile's, the instance's own, in this order.
    pub region: Option<String>,
    /// `http://` or `https://` and an authority, instead of the region's own endpoint.
    pub endpoint: Option<String>,
    pub credentials: Credentials,
    /// The role to assume. `None`: the credentials themselves sign.
    pub role: Option<Role>,
    /// The encoding of GetRecords; other calls always use JSON.
    pub wire: Wire,
    /// Until a connection is established.
    pub connect_timeout: Duration,
    /// From the request's last byte to the response's first.
    pub read_timeout: Duration,
    /// One attempt, body included.
    pub attempt_timeout: Duration,
    /// One call with all its attempts and the pauses between them. `None`: limited only by those.
    pub call_timeout: Option<Duration>,
    /// Attempts of one call, the first included; the SDK backs off between them.
    pub max_attempts: u32,
    pub retry_mode: RetryMode,
    pub retry_budget: RetryBudget,
    /// `None`: all calls are direct.
    pub proxy: Option<Proxy>,
    pub connections: Connections,
    pub headers: Headers,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            region: None,
            endpoint: None,
            credentials: Credentials::default(),
            role: None,
            wire: Wire::default(),
            connect_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(10),
            // The Kinesis Client Library's time-out for GetRecords.
            attempt_timeout: Duration::from_secs(30),
            call_timeout: None,
            max_attempts: 3,
            retry_mode: RetryMode::default(),
            retry_budget: RetryBudget::default(),
            proxy: None,
            connections: Connections::default(),
            headers: Headers::default(),
        }
    }
}

/// How the SDK waits between the attempts of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryMode {
    /// Exponential backoff with jitter.
    #[default]
    Standard,
    /// The same, and throttling also reduces the rate of first attempts.
    Adaptive,
}

/// How many retries a client may make in a row before its calls fail at the first attempt; successes replenish the
/// budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryBudget {
    /// The SDK's own, shared by all clients of a service and region.
    #[default]
    Shared,
    /// This number of retries.
    Retries(u32),
    Unlimited,
}

/// The encoding of GetRecords, the one call whose size matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// AWS CBOR 1.1, which the Java SDKs use for Kinesis: payloads are neither copied nor base64.
    #[default]
    Cbor,
    /// AWS JSON 1.1, for endpoints that do not support CBOR.
    Json,
}

impl ClientSettings {
    /// Looks up unset values, and reports early and clearly what cannot be found.
    pub(crate) async fn resolve(&self) -> Result<(SdkConfig, Destination), ServiceError> {
        let scheme = self.endpoint.as_deref().map(scheme).transpose()?;
        let region = match &self.region {
            Some(region) => Region::new(region.clone()),
            None => find_region(self.default_regions(), LOOKUP_LIMIT).await?,
        };
        let to_credentials = self.http_client(Scheme::Https, Purpose::Credentials)?;
        let credentials = self.credentials.provider(self.role.as_ref(), &region, to_credentials).await?;
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
            Some(proxy) => proxy.client(scheme, purpose, self.connections),
            None => self.connections.client(scheme, None),
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
            .retry_config(self.retry_config())
            // The attempt's time-out also covers the body, without a timer per chunk.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .app_name(AppName::new(APP_NAME).expect("letters only"));
        match &self.endpoint {
            Some(endpoint) => loader.endpoint_url(endpoint).load().await,
            None => loader.load().await,
        }
    }

    fn retry_config(&self) -> RetryConfig {
        let mode = match self.retry_mode {
            RetryMode::Standard => RetryConfig::standard(),
            RetryMode::Adaptive => RetryConfig::adaptive(),
        };
        mode.with_max_attempts(self.max_attempts)
    }

    /// `None`: the SDK's own.
    pub(crate) fn retry_partition(&self) -> Option<RetryPartition> {
        let bucket = match self.retry_budget {
            RetryBudget::Shared => return None,
            RetryBudget::Retries(retries) => budget_of(retries),
            RetryBudget::Unlimited => TokenBucket::unlimited(),
        };
        Some(RetryPartition::custom(APP_NAME).token_bucket(bucket).build())
    }

    /// Only the instance's own region is looked up over the network, and never through a proxy.
    fn default_regions(&self) -> impl ProvideRegion {
        let network = ProviderConfig::without_region();
        let network = match Connections::default().client(Scheme::Https, None) {
            Ok(direct) => network.with_http_client(direct),
            Err(_) => network,
        };
        let profile = ProfileFileRegionProvider::builder().configure(&network);
        let environment = EnvironmentVariableRegionProvider::new();
        let near = match &self.credentials {
            // A named profile also provides the region.
            Credentials::Profile(name) => {
                RegionProviderChain::first_try(profile.profile_name(name).build()).or_else(environment)
            }
            _ => RegionProviderChain::first_try(environment).or_else(profile.build()),
        };
        near.or_else(ImdsRegionProvider::builder().configure(&network).build())
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

fn budget_of(retries: u32) -> TokenBucket {
    // Each kind of failure costs the same, as in the Java SDK.
    const COST: u32 = 5;
    let capacity = usize::try_from(retries).unwrap_or(usize::MAX).saturating_mul(COST as usize);
    TokenBucket::builder()
        .capacity(capacity)
        .retry_cost(COST)
        .throttling_retry_cost(COST)
        .timeout_retry_cost(COST)
        .build()
}

async fn find_region(regions: impl ProvideRegion, limit: Duration) -> Result<Region, ServiceError> {
    let found = tokio::time::timeout(limit, regions.region()).await.unwrap_or(None);
    found.ok_or_else(|| ServiceError {
        kind: ErrorKind::Invalid,
        operation: "region",
        message: "no AWS region found: set systems.NAME.aws.region, AWS_REGION or the AWS profile's".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use aws_config::meta::region::future;
    use aws_credential_types::provider::ProvideCredentials;

    use super::*;

    /// Too short for a provider that never answers, long enough for one that answers at once.
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

    fn local() -> ClientSettings {
        let credentials = StaticCredentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI".to_owned(),
            session_token: Some("FwoGZXIvYXdzE".to_owned()),
        };
        ClientSettings {
            region: Some("eu-west-1".to_owned()),
            endpoint: Some("http://127.0.0.1:4567".to_owned()),
            credentials: credentials.into(),
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
    async fn a_configured_region_is_not_looked_up() {
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
            let expected = "region: no AWS region found: set systems.NAME.aws.region, AWS_REGION or the AWS profile's";
            assert_eq!(error.to_string(), expected);
        }
    }
}
