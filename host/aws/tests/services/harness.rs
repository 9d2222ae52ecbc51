//! Clients of a local backend.

use shardmill_aws::{Kinesis, LeaseTable};
use shardmill_core::config::{Access, ClientSettings, Secret, StaticCredentials, Wire};
use shardmill_local::{LocalBackend, Options};

/// Access to an endpoint that takes any credentials.
pub(crate) fn access(endpoint: String) -> Access {
    let credentials =
        StaticCredentials { access_key: "local".to_owned(), secret_key: Secret::new("local"), session_token: None };
    Access {
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint),
        credentials: credentials.into(),
        role: None,
    }
}

/// Clients without the SDK's own retries.
pub(crate) fn once() -> ClientSettings {
    ClientSettings { max_attempts: 1, ..ClientSettings::default() }
}

/// A backend without rate limits: what is tested here is not how it throttles.
pub(crate) fn backend() -> LocalBackend {
    LocalBackend::start(Options { limits: false, ..Options::default() }).unwrap()
}

pub(crate) async fn kinesis(backend: &LocalBackend, wire: Wire) -> Kinesis {
    Kinesis::new(&access(backend.kinesis_endpoint()), &ClientSettings { wire, ..once() }).await.unwrap()
}

pub(crate) async fn lease_table(backend: &LocalBackend, name: &str) -> LeaseTable {
    LeaseTable::new(&access(backend.dynamodb_endpoint()), &once(), name).await.unwrap()
}
