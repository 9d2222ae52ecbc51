//! How AWS is called for an input: each service's place, by whom, and what its client does. Passive data, as the AWS
//! clients take it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Secret;

/// How one service is reached, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `None`: from the AWS default chain.
    pub region: Option<String>,
    /// `http://` or `https://` and an authority; `None`: the region's own.
    pub endpoint: Option<String>,
    pub credentials: Credentials,
    /// Assumed with the credentials; `None`: they sign the calls themselves.
    pub role: Option<Role>,
}

/// Where credentials come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// The AWS default chain: environment, profile, web identity, container, instance.
    #[default]
    Chain,
    Static(StaticCredentials),
    /// A profile of the AWS files, with all that one can say: keys, a role, SSO, a process.
    Profile(String),
}

/// Long-lived or session credentials, written in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticCredentials {
    pub access_key: String,
    pub secret_key: Secret,
    pub session_token: Option<Secret>,
}

impl From<StaticCredentials> for Credentials {
    fn from(given: StaticCredentials) -> Self {
        Self::Static(given)
    }
}

/// A role of IAM to assume: the calls are signed with its own, temporary credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub arn: String,
    /// What the role's trust policy asks of a foreign account.
    pub external_id: Option<String>,
    /// Shown in the logs of the role's account.
    pub session_name: String,
    /// `None`: the region's own.
    pub sts_endpoint: Option<String>,
}

/// Settings of the AWS clients of one system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    pub wire: Wire,
    /// Until a connection is open.
    pub connect_timeout: Duration,
    /// From the request's last byte to the answer's first.
    pub read_timeout: Duration,
    /// One attempt of a call, body included.
    pub attempt_timeout: Duration,
    /// A call with all its attempts and the pauses between them; `None`: bounded by those alone.
    pub call_timeout: Option<Duration>,
    /// Attempts of one call, the first included.
    pub max_attempts: u32,
    pub retry_mode: RetryMode,
    pub retry_budget: RetryBudget,
    /// `None`: everything is called directly.
    pub proxy: Option<Proxy>,
    pub connections: Connections,
    pub headers: Headers,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            wire: Wire::default(),
            connect_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(10),
            // As long as the Kinesis Client Library waits for GetRecords.
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

/// Encoding of GetRecords, the one call whose size matters; other calls are JSON always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wire {
    /// AWS CBOR 1.1, what the Java SDKs speak to Kinesis: payloads are not copied and not base64.
    #[default]
    Cbor,
    /// AWS JSON 1.1, for endpoints that do not know CBOR.
    Json,
}

/// How a client waits between the attempts of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RetryMode {
    /// A growing pause with jitter.
    #[default]
    Standard,
    /// Throttled calls slow first attempts down too.
    Adaptive,
}

/// How many retries in a row a client may make before its calls fail at their first failure; successes earn them back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RetryBudget {
    /// The SDK's own, shared by all clients of a service and region.
    #[default]
    Shared,
    Retries(u32),
    Unlimited,
}

/// How connections are made and kept. The default is the HTTP client's own: as many as calls need at once, closed after
/// 90 idle seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// Most of them to one host; a call that finds none free waits, as part of its own time-outs.
    pub max: Option<usize>,
    /// An idle one is closed after this.
    pub max_idle: Option<Duration>,
    /// An older one gets no new request.
    pub max_age: Option<Duration>,
    /// Whether the system asks after a silent one's other end.
    pub keep_alive: bool,
}

/// What every request says besides the call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// Before the SDK's user agent.
    pub user_agent_prefix: Option<String>,
    /// Behind it.
    pub user_agent_suffix: Option<String>,
    /// By name; signed.
    pub more: BTreeMap<String, Secret>,
}

/// The HTTP proxy through which AWS is called: gets requests for `http://` in absolute form, and for `https://` a
/// CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A name or an IP address, without a port.
    pub host: String,
    pub port: u16,
    /// Sent unasked; `None`: the proxy asks for none.
    pub login: Option<ProxyLogin>,
    /// Hosts that are called directly, in the syntax of Java's `http.nonProxyHosts`: `*` stands for any characters, the
    /// case of letters does not matter.
    pub non_proxy_hosts: Vec<String>,
}

/// Basic authentication at a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLogin {
    pub username: String,
    pub password: Secret,
}
