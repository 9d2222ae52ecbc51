//! The settings of the AWS clients of a system: time-outs, retries, connections, headers, the proxy.

use std::collections::BTreeMap;

use super::access::is_local;
use super::{Place, Settings, candidates};
use crate::config::Secret;
use crate::config::client::{
    Access, ClientSettings, Connections, Headers, Proxy, ProxyLogin, RetryBudget, RetryMode, Wire,
};
use crate::config::keys::{self, Key};
use crate::config::problem::{Code, Problem};
use crate::config::value;

/// Headers that may be added to the requests of one system.
const HEADERS_MAX: usize = 100;

/// Headers that the client writes itself, or that say what a request is.
const OWN_HEADERS: [&str; 7] =
    ["authorization", "host", "user-agent", "content-length", "content-type", "transfer-encoding", "connection"];

pub(super) fn read(settings: &mut Settings<'_>, at: Place<'_>, access: &[Access; 2]) -> ClientSettings {
    let defaults = ClientSettings::default();
    let mut timeout = |key, default| settings.maybe_millis_in(key, at).unwrap_or(default);
    ClientSettings {
        connect_timeout: timeout(&keys::client::CONNECTION_TIMEOUT, defaults.connect_timeout),
        read_timeout: timeout(&keys::client::SOCKET_TIMEOUT, defaults.read_timeout),
        attempt_timeout: timeout(&keys::client::REQUEST_TIMEOUT, defaults.attempt_timeout),
        call_timeout: settings.maybe_millis_in(&keys::client::CLIENT_EXECUTION_TIMEOUT, at),
        max_attempts: settings
            .int_in(&keys::client::MAX_ERROR_RETRY, at)
            .and_then(|retries| u32::try_from(retries).ok())
            .map_or(defaults.max_attempts, |retries| retries + 1),
        retry_mode: retry_mode(settings, at),
        retry_budget: retry_budget(settings, at),
        proxy: proxy(settings, at, access),
        connections: connections(settings, at),
        headers: Headers {
            user_agent_prefix: user_agent_prefix(settings, at),
            user_agent_suffix: settings.text_in(&keys::client::USER_AGENT_SUFFIX, at),
            more: headers(settings, at),
        },
        wire: wire(settings, at),
    }
}

fn wire(settings: &mut Settings<'_>, at: Place<'_>) -> Wire {
    match settings.text_in(&keys::shardmill::WIRE_PROTOCOL, at) {
        Some(wire) if wire.eq_ignore_ascii_case("json") => Wire::Json,
        _ => Wire::Cbor,
    }
}

fn connections(settings: &mut Settings<'_>, at: Place<'_>) -> Connections {
    let max = settings.int_in(&keys::client::MAX_CONNECTIONS, at);
    Connections {
        max: max.and_then(|connections| usize::try_from(connections).ok()),
        max_idle: settings.maybe_millis_in(&keys::client::CONNECTION_MAX_IDLE_MILLIS, at),
        max_age: settings.maybe_millis_in(&keys::client::CONNECTION_TTL, at),
        keep_alive: settings.is_set_in(&keys::client::USE_TCP_KEEP_ALIVE, at),
    }
}

fn retry_mode(settings: &mut Settings<'_>, at: Place<'_>) -> RetryMode {
    let mode = settings.text_in(&keys::client::RETRY_MODE, at).unwrap_or_default();
    if mode.eq_ignore_ascii_case("LEGACY")
        && let Some(key) = settings.find(&keys::client::RETRY_MODE, at)
    {
        let message = format!("`{key}` is read as STANDARD: the AWS SDK used here has no legacy mode");
        settings.remark(Code::NoEffect, message, &key);
    }
    if mode.eq_ignore_ascii_case("ADAPTIVE") { RetryMode::Adaptive } else { RetryMode::Standard }
}

fn retry_budget(settings: &mut Settings<'_>, at: Place<'_>) -> RetryBudget {
    let retries = settings
        .int_in(&keys::client::MAX_CONSECUTIVE_RETRIES_BEFORE_THROTTLING, at)
        .and_then(|retries| u32::try_from(retries).ok());
    if settings.is_set_in(&keys::client::USE_THROTTLE_RETRIES, at) {
        return retries.map_or(RetryBudget::Shared, RetryBudget::Retries);
    }
    if let Some(key) = settings.find(&keys::client::MAX_CONSECUTIVE_RETRIES_BEFORE_THROTTLING, at) {
        settings.remark(Code::NoEffect, format!("`{key}` has no effect with UseThrottleRetries=false"), &key);
    }
    RetryBudget::Unlimited
}

/// The KCL's for the stream, else the client's; `UserAgent` is the client's old name of it.
fn user_agent_prefix(settings: &mut Settings<'_>, at: Place<'_>) -> Option<String> {
    let [of_kcl, prefix, old] = [&keys::kcl::USER_AGENT, &keys::client::USER_AGENT_PREFIX, &keys::client::USER_AGENT]
        .map(|key| settings.text_in(key, at));
    if prefix.is_some()
        && let Some(key) = settings.find(&keys::client::USER_AGENT, at)
    {
        settings.remark(Code::NoEffect, format!("`{key}` has no effect: UserAgentPrefix is set, its new name"), &key);
    }
    of_kcl.or(prefix).or(old)
}

fn headers(settings: &mut Settings<'_>, at: Place<'_>) -> BTreeMap<String, Secret> {
    let mut headers = BTreeMap::new();
    let entries = settings.entries;
    let mut left = HEADERS_MAX;
    // Of the two ways to write one the masked comes first.
    for pattern in candidates(&keys::client::HEADERS_NAME, at) {
        let Some(stem) = pattern.strip_suffix("{name}") else { continue };
        for (key, entry) in entries.range(stem.to_owned()..).take_while(|(key, _)| key.starts_with(stem)) {
            let name = key[stem.len()..].to_ascii_lowercase();
            let Some(after) = left.checked_sub(1) else {
                let problem = Problem::new(
                    Code::TooLarge,
                    "there are too many headers, and this one is the first that is not sent",
                );
                settings.blame(problem.expected(format!("at most {HEADERS_MAX} headers")), key);
                return headers;
            };
            left = after;
            settings.used.insert(key.clone());
            settings.record(key, &entry.value, entry.origin.clone());
            if let Some(expected) = unfit_header(&name) {
                let problem = Problem::new(Code::BadValue, format!("`{name}` cannot be added to the requests"));
                settings.blame(problem.expected(expected).hint("remove the line"), key);
                continue;
            }
            headers.entry(name).or_insert_with(|| Secret::new(entry.value.trim()));
        }
    }
    headers
}

/// What is expected instead of a header's name that cannot be used.
fn unfit_header(name: &str) -> Option<&'static str> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.bytes().all(is_token) {
        return Some("the name of an HTTP header");
    }
    let is_own = OWN_HEADERS.contains(&name) || name.starts_with("x-amz") || name.starts_with("amz-sdk-");
    is_own.then_some("a header that the client does not write itself")
}

fn proxy(settings: &mut Settings<'_>, at: Place<'_>, access: &[Access; 2]) -> Option<Proxy> {
    let host = settings.text_in(&keys::client::PROXY_HOST, at);
    let port = settings.int_in(&keys::client::PROXY_PORT, at).and_then(|port| u16::try_from(port).ok());
    let username = settings.text_in(&keys::client::PROXY_USERNAME, at);
    let password = settings.text_in(&keys::client::PROXY_PASSWORD, at);
    let non_proxy_hosts = settings.text_in(&keys::client::NON_PROXY_HOSTS, at);
    go_together(
        settings,
        at,
        [&keys::client::PROXY_HOST, &keys::client::PROXY_PORT],
        "without a proxy AWS is called directly",
    );
    go_together(
        settings,
        at,
        [&keys::client::PROXY_USERNAME, &keys::client::PROXY_PASSWORD],
        "without a login the proxy is used as it is",
    );
    if settings.find(&keys::client::PROXY_HOST, at).is_none() {
        for hidden in [&keys::client::PROXY_USERNAME, &keys::client::PROXY_PASSWORD, &keys::client::NON_PROXY_HOSTS] {
            if let Some(key) = settings.find(hidden, at) {
                settings.remark(Code::NoEffect, format!("`{key}` has no effect without ProxyHost"), &key);
            }
        }
    }
    let (host, port) = host.zip(port)?;
    if non_proxy_hosts.is_none()
        && let Some(endpoint) = access.iter().filter_map(|it| it.endpoint.as_ref()).find(|url| is_local(url))
        && let Some(key) = settings.find(&keys::client::PROXY_HOST, at)
    {
        let message =
            format!("{endpoint} is called through `{key}` too: set NonProxyHosts=localhost|127.*|[::1] if not meant");
        settings.remark(Code::Suspicious, message, &key);
    }
    let login =
        username.zip(password).map(|(username, password)| ProxyLogin { username, password: Secret::new(password) });
    let non_proxy_hosts = non_proxy_hosts.unwrap_or_default();
    let non_proxy_hosts = value::host_patterns(&non_proxy_hosts).into_iter().map(str::to_owned).collect();
    Some(Proxy { host, port, login, non_proxy_hosts })
}

/// Reports that one of two keys is set without the other. The Java SDK would do as if neither were: a proxy that was
/// asked for must not be left out in silence.
fn go_together(settings: &mut Settings<'_>, at: Place<'_>, keys: [&'static Key; 2], neither: &str) {
    let (there, missing) = match keys.map(|key| settings.find(key, at)) {
        [Some(there), None] => (there, keys[1]),
        [None, Some(there)] => (there, keys[0]),
        _ => return,
    };
    let missing = candidates(missing, at).swap_remove(0);
    let problem = Problem::new(Code::MissingKey, format!("`{there}` is set and `{missing}` is not"));
    let problem = problem.expected(format!("both, or neither: {neither}"));
    settings.blame(problem.hint(format!("add a line {missing}=..., or remove {there}")), &there);
}
