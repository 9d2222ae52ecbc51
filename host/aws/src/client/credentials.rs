//! The identity of the caller: configured credentials, a profile's, or those of the SDK's default chain, and a role that
//! is assumed with them. Owns the search (bounded, with a readable error) and the call to STS; knows no other service.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use shardmill_core::config::{Access, Credentials, Role, StaticCredentials};
use shardmill_core::service::{ErrorKind, ServiceError};

use crate::error::chain;

/// The time limit of the search. Environment, profiles and STS answer soon; what takes longer is a missing instance
/// metadata service.
pub(super) const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// The provider of the credentials, or of the role's; asked once, so that a worker without any says so before it starts
/// anything. Those that expire are fetched again before they do, by the SDK's own cache.
pub(super) async fn provider(
    access: &Access,
    region: &Region,
    http_client: SharedHttpClient,
) -> Result<SharedCredentialsProvider, ServiceError> {
    let config = ProviderConfig::without_region().with_http_client(http_client.clone());
    let config = config.with_region(Some(region.clone()));
    let base = match &access.credentials {
        Credentials::Static(given) => of_pair(given),
        Credentials::Chain => {
            let chain = DefaultCredentialsChain::builder().region(region.clone()).configure(config);
            SharedCredentialsProvider::new(chain.build().await)
        }
        Credentials::Profile(name) => {
            let profile = ProfileFileCredentialsProvider::builder().profile_name(name).configure(&config);
            SharedCredentialsProvider::new(profile.build())
        }
    };
    match (&access.credentials, &access.role) {
        (Credentials::Static(_), None) => {}
        (Credentials::Chain, None) => probe(&base, LOOKUP_LIMIT).await.map_err(|why| none_found(&why))?,
        (Credentials::Profile(name), None) => probe(&base, LOOKUP_LIMIT).await.map_err(|why| no_profile(name, &why))?,
        (_, Some(role)) => {
            let assumed = of_role(role, base, region, http_client).await;
            probe(&assumed, LOOKUP_LIMIT).await.map_err(|why| not_assumed(role, &why))?;
            return Ok(assumed);
        }
    }
    Ok(base)
}

fn of_pair(given: &StaticCredentials) -> SharedCredentialsProvider {
    let StaticCredentials { access_key, secret_key, session_token } = given;
    SharedCredentialsProvider::new(aws_credential_types::Credentials::new(
        access_key,
        secret_key.expose(),
        session_token.as_ref().map(|token| token.expose().to_owned()),
        None,
        "configuration",
    ))
}

async fn of_role(
    role: &Role,
    base: SharedCredentialsProvider,
    region: &Region,
    http_client: SharedHttpClient,
) -> SharedCredentialsProvider {
    let Role { arn, external_id, session_name, sts_endpoint } = role;
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(region.clone())
        .credentials_provider(base.clone())
        .http_client(http_client)
        .timeout_config(TimeoutConfig::builder().operation_timeout(LOOKUP_LIMIT).build());
    let config = match sts_endpoint {
        Some(endpoint) => loader.endpoint_url(endpoint).load().await,
        None => loader.load().await,
    };
    let mut role = AssumeRoleProvider::builder(arn).session_name(session_name).configure(&config);
    if let Some(id) = external_id {
        role = role.external_id(id);
    }
    SharedCredentialsProvider::new(role.build_from_provider(base).await)
}

async fn probe(credentials: &SharedCredentialsProvider, limit: Duration) -> Result<(), String> {
    match tokio::time::timeout(limit, credentials.provide_credentials()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("nothing answered within {} s", limit.as_secs())),
    }
}

fn none_found(why: &str) -> ServiceError {
    denied(format!(
        "no AWS credentials found ({why}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, an AWS profile, or them in \
         the configuration; a local backend takes any value"
    ))
}

fn no_profile(name: &str, why: &str) -> ServiceError {
    denied(format!(
        "the AWS profile `{name}` provides no credentials ({why}): check it in ~/.aws/config and ~/.aws/credentials, or \
         where AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE point"
    ))
}

fn not_assumed(role: &Role, why: &str) -> ServiceError {
    let id = role.external_id.as_ref().map_or("without an external id", |_| "with its external id");
    denied(format!(
        "the role {} cannot be assumed {id} ({why}): its trust policy must allow the credentials that assume it",
        role.arn
    ))
}

fn denied(message: String) -> ServiceError {
    ServiceError { kind: ErrorKind::Denied, operation: "credentials", message }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn missing_credentials_say_where_to_set_them() {
        for (source, reason) in [(Source::Empty, "the chain is empty"), (Source::Silent, "nothing answered within 0 s")]
        {
            let why = probe(&SharedCredentialsProvider::new(source), SOON).await.unwrap_err();
            let error = none_found(&why);
            assert_eq!(error.kind, ErrorKind::Denied);
            assert!(error.message.contains(reason), "{error}");
            assert!(error.message.contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"), "{error}");
        }
    }
}
