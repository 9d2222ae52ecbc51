//! The AWS client settings: `systems.S.aws.clientConfig.*`, the setters of the Java SDK's ClientConfiguration that Samza
//! can reach, first letter upper.

use super::Setter::{Job, Operator};
use super::{Family, Key, Masking};
use crate::config::value::Kind;

pub(super) const FAMILY: Family = Family {
    title: "AWS client settings",
    intro: "The setters of the Java SDK's [ClientConfiguration](https://docs.aws.amazon.com/AWSJavaSDK/latest/javadoc/com/amazonaws/ClientConfiguration.html), for the Kinesis and DynamoDB clients of a system, and for those that look for credentials.",
    keys: KEYS,
};

const NTLM: &str = "only Basic authentication at a proxy is supported, and none with a Windows domain (NTLM)";
const OBJECT: &str = "Java objects cannot be written in a properties file; Samza ignores the key too";
const METADATA: &str = "nothing here asks for the ids of past requests";

const SIZE: Kind = Kind::Int(0, i32::MAX as i64);
const COUNT: Kind = Kind::Int(1, i32::MAX as i64);

keys![
    // Time-outs and retries.
    CONNECTION_TIMEOUT = Key::system(Job, "aws.clientConfig.ConnectionTimeout", Kind::Millis(1), "until a connection is open, TLS included").default("3000"),
    SOCKET_TIMEOUT = Key::system(Job, "aws.clientConfig.SocketTimeout", Kind::Millis(1), "until the first byte of an answer").default("10000"),
    REQUEST_TIMEOUT = Key::system(Job, "aws.clientConfig.RequestTimeout", Kind::Millis(0), "for one attempt of a call, answer included; 0 is the default").default("30000"),
    CLIENT_EXECUTION_TIMEOUT = Key::system(Job, "aws.clientConfig.ClientExecutionTimeout", Kind::Millis(0), "for a call with all its retries; without it, or at 0, RequestTimeout and MaxErrorRetry bound it"),
    MAX_ERROR_RETRY = Key::system(Job, "aws.clientConfig.MaxErrorRetry", Kind::Int(0, 100), "retries of a call after its first attempt, with a pause between").default("2"),
    RETRY_MODE = Key::system(Job, "aws.clientConfig.RetryMode", Kind::OneOf(&["LEGACY", "STANDARD", "ADAPTIVE"]), "STANDARD: a growing pause with jitter between attempts; ADAPTIVE: throttled calls slow first attempts down too; LEGACY is read as STANDARD").default("STANDARD"),
    USE_THROTTLE_RETRIES = Key::system(Job, "aws.clientConfig.UseThrottleRetries", Kind::Bool, "whether retries have a budget, which failures use up and successes fill").default("true"),
    MAX_CONSECUTIVE_RETRIES_BEFORE_THROTTLING = Key::system(Job, "aws.clientConfig.MaxConsecutiveRetriesBeforeThrottling", COUNT, "that budget: retries in a row, in any calls of a client, after which a call fails at its first attempt; otherwise the AWS SDK's own, shared by the clients of a service"),
    _ = Key::system(Job, "aws.clientConfig.RetryPolicy", Kind::Any, "a Java object").no_meaning("Java objects cannot be written in a properties file; set MaxErrorRetry and RetryMode"),
    // Connections.
    MAX_CONNECTIONS = Key::system(Job, "aws.clientConfig.MaxConnections", COUNT, "connections that a client has open to one host at most; a call that finds none free waits, within its time-outs. Otherwise as many as calls need at once. An input has a client for Kinesis, one for DynamoDB, and one for each 8 fan-out subscriptions"),
    CONNECTION_MAX_IDLE_MILLIS = Key::system(Job, "aws.clientConfig.ConnectionMaxIdleMillis", Kind::Millis(1), "after which an idle connection is closed").default("60000"),
    CONNECTION_TTL = Key::system(Job, "aws.clientConfig.ConnectionTTL", Kind::MillisOrNever, "age after which a connection gets no new request").default("-1"),
    USE_TCP_KEEP_ALIVE = Key::system(Job, "aws.clientConfig.UseTcpKeepAlive", Kind::Bool, "whether the system asks after the other end of a connection that is silent for 60 s").default("false"),
    _ = Key::system(Job, "aws.clientConfig.ValidateAfterInactivityMillis", SIZE, "check of idle connections").no_meaning("a connection that its other end has closed is noticed at once, and not used"),
    _ = Key::system(Job, "aws.clientConfig.UseReaper", Kind::Bool, "thread that closes idle connections").no_meaning("idle connections are closed in time, which needs no thread"),
    _ = Key::system(Job, "aws.clientConfig.SocketBufferSizeHints", Kind::Any, "a pair of numbers").no_meaning("the system sizes the buffers of a connection; Samza cannot set a pair either"),
    _ = Key::system(Job, "aws.clientConfig.LocalAddress", Kind::Text, "address of this machine that connections leave from").rejected("the HTTP client cannot be bound to an address; the system's routes decide, so set them there"),
    _ = Key::system(Job, "aws.clientConfig.DnsResolver", Kind::Any, "a Java object").no_meaning(OBJECT),
    _ = Key::system(Job, "aws.clientConfig.Protocol", Kind::OneOf(&["http", "https"]), "HTTP or HTTPS").only("https", "the scheme is part of the endpoint: set `aws.kcl.KinesisEndpoint` and `aws.kcl.DynamoDBEndpoint` to http:// addresses instead"),
    _ = Key::system(Job, "aws.clientConfig.SecureRandom", Kind::Any, "a Java object").no_meaning(OBJECT),
    _ = Key::system(Job, "aws.clientConfig.TlsKeyManagersProvider", Kind::Any, "a Java object").no_meaning(OBJECT),
    // The proxy.
    PROXY_HOST = Key::system(Operator, "aws.clientConfig.ProxyHost", Kind::Host, "HTTP proxy through which AWS is called, tunnels for https included; otherwise directly"),
    PROXY_PORT = Key::system(Operator, "aws.clientConfig.ProxyPort", Kind::Int(1, 65535), "port of the proxy; needed with ProxyHost"),
    PROXY_USERNAME = Key::system(Operator, "aws.clientConfig.ProxyUsername", Kind::Text, "user at the proxy (Basic authentication)"),
    PROXY_PASSWORD = Key::system(Operator, "aws.clientConfig.ProxyPassword", Kind::Text, "password at the proxy; needed with ProxyUsername").masked(Masking::Optional),
    NON_PROXY_HOSTS = Key::system(Operator, "aws.clientConfig.NonProxyHosts", Kind::HostPatterns, "hosts called directly, as `localhost|127.*|*.internal`; `*` stands for any characters"),
    _ = Key::system(Job, "aws.clientConfig.ProxyProtocol", Kind::OneOf(&["http", "https"]), "how the proxy itself is spoken to").only("http", "only a proxy that is spoken to by http is supported; tunnels for https go through it all the same"),
    _ = Key::system(Job, "aws.clientConfig.ProxyDomain", Kind::Text, "Windows domain at the proxy").rejected(NTLM),
    _ = Key::system(Job, "aws.clientConfig.ProxyWorkstation", Kind::Text, "Windows workstation at the proxy").rejected(NTLM),
    _ = Key::system(Job, "aws.clientConfig.ProxyAuthenticationMethods", Kind::List, "ways to log in at the proxy").only("Basic", NTLM),
    _ = Key::system(Job, "aws.clientConfig.PreemptiveBasicProxyAuth", Kind::Bool, "send proxy credentials at once").no_meaning("the proxy is always given user and password at once"),
    _ = Key::system(Job, "aws.clientConfig.DisableSocketProxy", Kind::Bool, "no SOCKS proxy of the JVM").no_meaning("there is no JVM whose proxy settings could apply"),
    // Requests.
    USER_AGENT_PREFIX = Key::system(Operator, "aws.clientConfig.UserAgentPrefix", Kind::HeaderValue, "stands before the AWS SDK's user agent"),
    USER_AGENT_SUFFIX = Key::system(Operator, "aws.clientConfig.UserAgentSuffix", Kind::HeaderValue, "stands behind the AWS SDK's user agent"),
    USER_AGENT = Key::system(Operator, "aws.clientConfig.UserAgent", Kind::HeaderValue, "old name of UserAgentPrefix"),
    HEADERS_NAME = Key::system(Operator, "aws.clientConfig.Headers.{name}", Kind::HeaderValue, "a header NAME of every request, signed with it").masked(Masking::Optional),
    _ = Key::system(Job, "aws.clientConfig.Headers", Kind::Any, "a Java object").rejected("write each header on a line of its own, as `aws.clientConfig.Headers.X-Team=orders`"),
    _ = Key::system(Job, "aws.clientConfig.SignerOverride", Kind::Text, "signature version").only("AWS4SignerType", "requests are always signed with Signature Version 4"),
    _ = Key::system(Job, "aws.clientConfig.UseGzip", Kind::Bool, "compressed answers").no_meaning("neither Kinesis nor DynamoDB is asked to compress its answers"),
    _ = Key::system(Job, "aws.clientConfig.UseExpectContinue", Kind::Bool, "Expect: 100-continue").no_meaning("Java sends it with PUT requests only, and all calls here are POST"),
    _ = Key::system(Job, "aws.clientConfig.DisableHostPrefixInjection", Kind::Bool, "no prefix before the endpoint's host").no_meaning("no call of Kinesis or DynamoDB has such a prefix"),
    _ = Key::system(Job, "aws.clientConfig.CacheResponseMetadata", Kind::Bool, "request ids kept by the client").no_meaning(METADATA),
    _ = Key::system(Job, "aws.clientConfig.ResponseMetadataCacheSize", SIZE, "request ids kept by the client").no_meaning(METADATA),
];
