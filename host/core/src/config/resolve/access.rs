//! How AWS is reached for a stream: region, credentials, addresses, and the settings of the clients.

use super::{Place, Settings, candidates};
use crate::config::Secret;
use crate::config::job::{ClientSettings, Proxy, ProxyLogin, StaticCredentials};
use crate::config::keys;
use crate::config::problem::{Code, Origin, Problem};
use crate::config::value::{self, Kind};

const KINESIS: &str = "aws.kcl.KinesisEndpoint";
const REGION: &str = "aws.region";
const PROXY_HOST: &str = "aws.clientConfig.ProxyHost";
const PROXY_PORT: &str = "aws.clientConfig.ProxyPort";
const PROXY_USERNAME: &str = "aws.clientConfig.ProxyUsername";
const PROXY_PASSWORD: &str = "aws.clientConfig.ProxyPassword";
const NON_PROXY_HOSTS: &str = "aws.clientConfig.NonProxyHosts";

/// The stream's region or its system's, else the KCL's setting; `None`: the AWS default chain decides.
pub(super) fn region(settings: &mut Settings<'_>, at: Place<'_>, has_endpoint: bool) -> Option<String> {
    let own = settings.text_in(REGION, at);
    let kcl = settings.text_in("aws.kcl.RegionName", at);
    if let (Some(own), Some(kcl)) = (&own, &kcl)
        && own != kcl
        && let Some(key) = settings.find(REGION, at)
    {
        let message = format!("the region of `{}.{}` is {own}, and its RegionName {kcl}", at.system, at.streams[0]);
        settings.conflict(message, &key, "remove RegionName");
    }
    let placeholder = |region: &String| region.starts_with("YOUR-");
    if let Some(own) = own.as_ref().filter(|own| !has_endpoint && !is_region(own) && !placeholder(own))
        && let Some(key) = settings.find(REGION, at)
    {
        let message = format!("`{own}` does not look like an AWS region such as eu-central-1");
        settings.remark(Code::Suspicious, message, &key);
    }
    own.or(kcl)
}

/// The shape of all regions' names; there is no list of them, new ones come every year.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    match parts.as_slice() {
        [words @ .., number] => words.len() >= 2 && words.iter().all(word) && number.parse::<u8>().is_ok(),
        [] => false,
    }
}

pub(super) fn credentials(settings: &mut Settings<'_>, at: Place<'_>) -> Option<StaticCredentials> {
    let access_key = settings.text_in("aws.accessKey", at);
    let secret_key = settings.text_in("aws.secretKey", at);
    let session_token = settings.text_in("aws.sessionToken", at);
    if let (Some(access_key), Some(secret_key)) = (&access_key, secret_key.as_ref()) {
        let session_token = session_token.map(Secret::new);
        return Some(StaticCredentials {
            access_key: access_key.clone(),
            secret_key: Secret::new(secret_key),
            session_token,
        });
    }
    let stem = format!("systems.{}.streams.{}", at.system, at.streams[0]);
    let (access, secret) = (format!("{stem}.aws.accessKey"), format!("sensitive.{stem}.aws.secretKey"));
    let (there, missing) = match (access_key.is_some(), secret_key.is_some(), session_token.is_some()) {
        (true, false, _) => (access, secret),
        (false, true, _) => (secret, access),
        (false, false, true) => (format!("sensitive.{stem}.aws.sessionToken"), access),
        _ => return None,
    };
    // A secret key without its prefix has been reported, with the key to write.
    if settings.entries.contains_key(missing.trim_start_matches("sensitive.")) {
        return None;
    }
    let problem = Problem::new(Code::IncompleteCredentials, format!("`{there}` is set and `{missing}` is not"));
    let problem = problem.expected("access key and secret key, or neither: then the AWS default chain is asked");
    settings.blame(problem.nearest(None).hint(format!("add a line {missing}=..., or remove {there}")), &there);
    None
}

/// The addresses of Kinesis and DynamoDB, where they are not the region's own.
pub(super) fn endpoints(settings: &mut Settings<'_>, at: Place<'_>) -> (Option<String>, Option<String>) {
    let kinesis = endpoint(settings, at, KINESIS, "AWS_ENDPOINT_URL_KINESIS");
    let dynamodb = endpoint(settings, at, "aws.kcl.DynamoDBEndpoint", "AWS_ENDPOINT_URL_DYNAMODB");
    if kinesis.as_deref().is_some_and(is_local)
        && dynamodb.is_none()
        && let Some(key) = settings.find(KINESIS, at)
    {
        let message = format!("`{key}` is on this machine, and the lease table is at AWS: DynamoDBEndpoint is not set");
        settings.remark(Code::Suspicious, message, &key);
    }
    (kinesis, dynamodb)
}

/// Whether an address is on this machine.
fn is_local(url: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|host| url.contains(host))
}

/// The key, else the service's own variable, else that of all services, as the AWS SDKs have it.
fn endpoint(settings: &mut Settings<'_>, at: Place<'_>, name: &'static str, variable: &str) -> Option<String> {
    if let Some(url) = settings.text_in(name, at) {
        return Some(url);
    }
    let set = |variable: &str| settings.env.get(variable).filter(|url| !url.trim().is_empty());
    let (variable, url) = [variable, "AWS_ENDPOINT_URL"].into_iter().find_map(|v| Some((v, set(v)?.trim())))?;
    let key = format!("systems.{}.streams.{}.{name}", at.system, at.streams[0]);
    let origin = Origin::Environment(variable.to_owned());
    if let Err(mismatch) = Kind::Url.check(url) {
        let message = format!("the environment variable {variable} is no address");
        let problem = Problem::new(Code::BadValue, message).place(&origin).value(variable, url);
        settings.report.problem(problem.expected(mismatch.expected).hint("correct or unset it"));
        return None;
    }
    settings.record(&key, url, origin);
    Some(url.to_owned())
}

pub(super) fn client(settings: &mut Settings<'_>, at: Place<'_>, endpoints: [&Option<String>; 2]) -> ClientSettings {
    ClientSettings {
        connection_timeout: settings.maybe_millis_in("aws.clientConfig.ConnectionTimeout", at),
        socket_timeout: settings.maybe_millis_in("aws.clientConfig.SocketTimeout", at),
        request_timeout: settings.maybe_millis_in("aws.clientConfig.RequestTimeout", at),
        execution_timeout: settings.maybe_millis_in("aws.clientConfig.ClientExecutionTimeout", at),
        max_error_retry: settings
            .int_in("aws.clientConfig.MaxErrorRetry", at)
            .and_then(|retries| u32::try_from(retries).ok()),
        proxy: proxy(settings, at, endpoints),
    }
}

fn proxy(settings: &mut Settings<'_>, at: Place<'_>, endpoints: [&Option<String>; 2]) -> Option<Proxy> {
    let host = settings.text_in(PROXY_HOST, at);
    let port = settings.int_in(PROXY_PORT, at).and_then(|port| u16::try_from(port).ok());
    let username = settings.text_in(PROXY_USERNAME, at);
    let password = settings.text_in(PROXY_PASSWORD, at);
    let non_proxy_hosts = settings.text_in(NON_PROXY_HOSTS, at);
    go_together(settings, at, [PROXY_HOST, PROXY_PORT], "without a proxy AWS is called directly");
    go_together(settings, at, [PROXY_USERNAME, PROXY_PASSWORD], "without a login the proxy is used as it is");
    if settings.find(PROXY_HOST, at).is_none() {
        for name in [PROXY_USERNAME, PROXY_PASSWORD, NON_PROXY_HOSTS] {
            if let Some(key) = settings.find(name, at) {
                settings.remark(Code::NoEffect, format!("`{key}` has no effect without ProxyHost"), &key);
            }
        }
    }
    let (host, port) = host.zip(port)?;
    if non_proxy_hosts.is_none()
        && let Some(endpoint) = endpoints.into_iter().flatten().find(|url| is_local(url))
        && let Some(key) = settings.find(PROXY_HOST, at)
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
fn go_together(settings: &mut Settings<'_>, at: Place<'_>, names: [&'static str; 2], neither: &str) {
    let (there, missing) = match names.map(|name| settings.find(name, at)) {
        [Some(there), None] => (there, names[1]),
        [None, Some(there)] => (there, names[0]),
        _ => return,
    };
    let missing = candidates(keys::row(missing), at).swap_remove(0);
    let problem = Problem::new(Code::MissingKey, format!("`{there}` is set and `{missing}` is not"));
    let problem = problem.expected(format!("both, or neither: {neither}"));
    settings.blame(problem.hint(format!("add a line {missing}=..., or remove {there}")), &there);
}
