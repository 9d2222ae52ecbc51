//! Clients of a local backend.

use shardmill_aws::{ClientSettings, Kinesis, LeaseTable, StaticCredentials, Wire};
use shardmill_local::{LocalBackend, Options};

/// Settings for an endpoint that takes any credentials, without the SDK's own retries.
pub(crate) fn settings(endpoint: String) -> ClientSettings {
    let credentials = StaticCredentials {
        access_key_id: "local".to_owned(),
        secret_access_key: "local".to_owned(),
        session_token: None,
    };
    ClientSettings {
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint),
        credentials: credentials.into(),
        max_attempts: 1,
        ..ClientSettings::default()
    }
}

/// A backend without rate limits: what is tested here is not how it throttles.
pub(crate) fn backend() -> LocalBackend {
    LocalBackend::start(Options { limits: false, ..Options::default() }).unwrap()
}

pub(crate) async fn kinesis(backend: &LocalBackend, wire: Wire) -> Kinesis {
    Kinesis::new(&ClientSettings { wire, ..settings(backend.kinesis_endpoint()) }).await.unwrap()
}

pub(crate) async fn lease_table(backend: &LocalBackend, name: &str) -> LeaseTable {
    LeaseTable::new(&settings(backend.dynamodb_endpoint()), name).await.unwrap()
}
