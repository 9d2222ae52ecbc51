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
use shardmill_core::config::{Access, ClientSettings, Connections, Credentials, Proxy, RetryBudget, RetryMode};
use shardmill_core::service::{ErrorKind, ServiceError};

use crate::error::Destination;
use credentials::LOOKUP_LIMIT;
use headers::WithHeaders;
use proxy::Purpose;

/// The application name in the SDK's user agent.
const APP_NAME: &str = "shardmill";

/// How to reach one service. Nothing is looked up before a client is made of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection<'a> {
    pub(crate) access: &'a Access,
    pub(crate) settings: &'a ClientSettings,
}

impl Connection<'_> {
    /// Looks up unset values, and reports early and clearly what cannot be found.
    pub(crate) async fn resolve(&self) -> Result<(SdkConfig, Destination), ServiceError> {
        let scheme = self.access.endpoint.as_deref().map(scheme).transpose()?;
        let region = match &self.access.region {
            Some(region) => Region::new(region.clone()),
            None => find_region(self.default_regions(), LOOKUP_LIMIT).await?,
        };
        let to_credentials = self.http_client(Scheme::Https, Purpose::Credentials)?;
        let credentials = credentials::provider(self.access, &region, to_credentials).await?;
        let destination = self.destination(&region);
        let http_client = self.http_client(scheme.unwrap_or(Scheme::Https), Purpose::Service)?;
        Ok((self.sdk_config(region, credentials, http_client).await, destination))
    }

    fn destination(&self, region: &Region) -> Destination {
        let place = self.access.endpoint.clone().unwrap_or_else(|| format!("region {region}"));
        let is_used =
            |proxy: &&Proxy| self.access.endpoint.as_ref().is_none_or(|endpoint| proxy::is_for(proxy, endpoint));
        match self.settings.proxy.as_ref().filter(is_used) {
            Some(proxy) => Destination::new(&format!("{place} through the proxy {}", proxy::address(proxy))),
            None => Destination::new(&place),
        }
    }

    fn http_client(&self, scheme: Scheme, purpose: Purpose) -> Result<SharedHttpClient, ServiceError> {
        match &self.settings.proxy {
            Some(proxy) => proxy::client(proxy, scheme, purpose, self.settings.connections),
            None => connections::client(self.settings.connections, scheme, None),
        }
    }

    async fn sdk_config(
        &self,
        region: Region,
        credentials: SharedCredentialsProvider,
        http_client: SharedHttpClient,
    ) -> SdkConfig {
        let mut timeouts = TimeoutConfig::builder()
            .connect_timeout(self.settings.connect_timeout)
            .read_timeout(self.settings.read_timeout)
            .operation_attempt_timeout(self.settings.attempt_timeout);
        timeouts.set_operation_timeout(self.settings.call_timeout);
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(region)
            .credentials_provider(credentials)
            .http_client(http_client)
            .timeout_config(timeouts.build())
            .retry_config(self.retry_config())
            // The attempt's time-out also covers the body, without a timer per chunk.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .app_name(AppName::new(APP_NAME).expect("letters only"));
        match &self.access.endpoint {
            Some(endpoint) => loader.endpoint_url(endpoint).load().await,
            None => loader.load().await,
        }
    }

    fn retry_config(&self) -> RetryConfig {
        let mode = match self.settings.retry_mode {
            RetryMode::Standard => RetryConfig::standard(),
            RetryMode::Adaptive => RetryConfig::adaptive(),
        };
        mode.with_max_attempts(self.settings.max_attempts)
    }

    pub(crate) fn headers(&self) -> WithHeaders {
        WithHeaders(self.settings.headers.clone())
    }

    /// `None`: the SDK's own.
    pub(crate) fn retry_partition(&self) -> Option<RetryPartition> {
        let bucket = match self.settings.retry_budget {
            RetryBudget::Shared => return None,
            RetryBudget::Retries(retries) => budget_of(retries),
            RetryBudget::Unlimited => TokenBucket::unlimited(),
        };
        Some(RetryPartition::custom(APP_NAME).token_bucket(bucket).build())
    }

    /// Only the instance's own region is looked up over the network, and never through a proxy.
    fn default_regions(&self) -> impl ProvideRegion {
        let network = ProviderConfig::without_region();
        let network = match connections::client(Connections::default(), Scheme::Https, None) {
            Ok(direct) => network.with_http_client(direct),
            Err(_) => network,
        };
        let profile = ProfileFileRegionProvider::builder().configure(&network);
        let environment = EnvironmentVariableRegionProvider::new();
        let near = match &self.access.credentials {
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
    use shardmill_core::config::{Secret, StaticCredentials};

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

    fn local() -> Access {
        let credentials = StaticCredentials {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: Secret::new("wJalrXUtnFEMI"),
            session_token: Some(Secret::new("FwoGZXIvYXdzE")),
        };
        Access {
            region: Some("eu-west-1".to_owned()),
            endpoint: Some("http://127.0.0.1:4567".to_owned()),
            credentials: credentials.into(),
            role: None,
        }
    }

    #[test]
    fn secrets_are_not_in_debug_output() {
        let shown = format!("{:?}", Connection { access: &local(), settings: &ClientSettings::default() });
        assert!(shown.contains("AKIDEXAMPLE"), "{shown}");
        assert!(!shown.contains("wJalrXUtnFEMI") && !shown.contains("FwoGZXIvYXdzE"), "{shown}");
    }

    #[tokio::test]
    async fn a_configured_region_is_not_looked_up() {
        let settings = ClientSettings { call_timeout: Some(Duration::from_secs(60)), ..ClientSettings::default() };
        let (config, _) = Connection { access: &local(), settings: &settings }.resolve().await.unwrap();
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
            let access = Access { endpoint: Some(endpoint.to_owned()), ..local() };
            let settings = ClientSettings::default();
            let error = Connection { access: &access, settings: &settings }.resolve().await.unwrap_err();
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
