//! The AWS client settings: `systems.S.aws.clientConfig.*`, the setters of the Java SDK's ClientConfiguration that Samza
//! can reach, first letter upper.

use super::{Family, Key, Masking};
use crate::config::value::Kind;

pub(super) const FAMILY: Family = Family {
    title: "AWS client settings",
    intro: "The setters of the Java SDK's [ClientConfiguration](https://docs.aws.amazon.com/AWSJavaSDK/latest/javadoc/com/amazonaws/ClientConfiguration.html), for the Kinesis and DynamoDB clients of a system.",
    keys: KEYS,
};

const NTLM: &str = "only Basic authentication at a proxy is supported, and none with a Windows domain (NTLM)";
const POOL: &str = "connections are opened as they are needed and kept by the HTTP client's own rules";
const RETRIES: &str = "the AWS SDK's standard retry mode has its own budget of retries";
const HTTP: &str = "there is no such step in the HTTP client used here";
const SIGNING: &str = "requests are always signed with Signature Version 4";

const OBJECT: &str = "Java objects cannot be written in a properties file; Samza ignores the key too";

const SIZE: Kind = Kind::Int(0, i32::MAX as i64);

static KEYS: &[Key] = &[
    Key::system("aws.clientConfig.ConnectionTimeout", Kind::Millis(1), "until a connection is open; otherwise the client's own limit"),
    Key::system("aws.clientConfig.SocketTimeout", Kind::Millis(1), "until the first byte of an answer; otherwise the client's own limit"),
    Key::system("aws.clientConfig.RequestTimeout", Kind::Millis(0), "for one attempt of a call; without it, or at 0, the client's own limit holds"),
    Key::system("aws.clientConfig.ClientExecutionTimeout", Kind::Millis(0), "for a call with all its retries; without it, or at 0, RequestTimeout and MaxErrorRetry bound it"),
    Key::system("aws.clientConfig.MaxErrorRetry", Kind::Int(0, 100), "retries of a call after its first attempt; otherwise the client's own number"),
    Key::system("aws.clientConfig.ProxyHost", Kind::Host, "HTTP proxy through which AWS is called, tunnels for https included; otherwise directly"),
    Key::system("aws.clientConfig.ProxyPort", Kind::Int(1, 65535), "port of the proxy; needed with ProxyHost"),
    Key::system("aws.clientConfig.ProxyUsername", Kind::Text, "user at the proxy (Basic authentication)"),
    Key::system("aws.clientConfig.ProxyPassword", Kind::Text, "password at the proxy; needed with ProxyUsername").masked(Masking::Optional),
    Key::system("aws.clientConfig.ProxyDomain", Kind::Text, "Windows domain at the proxy").rejected(NTLM),
    Key::system("aws.clientConfig.ProxyWorkstation", Kind::Text, "Windows workstation at the proxy").rejected(NTLM),
    Key::system("aws.clientConfig.NonProxyHosts", Kind::HostPatterns, "hosts called directly, as `localhost|127.*|*.internal`; `*` stands for any characters"),
    Key::system("aws.clientConfig.DisableSocketProxy", Kind::Bool, "no SOCKS proxy of the JVM").no_meaning("there is no JVM whose proxy settings could apply"),
    Key::system("aws.clientConfig.Protocol", Kind::OneOf(&["http", "https"]), "HTTP or HTTPS").only("https", "the scheme is part of the endpoint: set `aws.kcl.KinesisEndpoint` and `aws.kcl.DynamoDBEndpoint` to http:// addresses instead"),
    Key::system("aws.clientConfig.MaxConnections", Kind::Int(1, i32::MAX as i64), "connections of a client").no_meaning(POOL),
    Key::system("aws.clientConfig.ConnectionTTL", Kind::Int(-1, i64::MAX), "life of a connection").no_meaning(POOL),
    Key::system("aws.clientConfig.ConnectionMaxIdleMillis", Kind::Int(0, i64::MAX), "idle life of a connection").no_meaning(POOL),
    Key::system("aws.clientConfig.ValidateAfterInactivityMillis", SIZE, "check of idle connections").no_meaning(POOL),
    Key::system("aws.clientConfig.UseReaper", Kind::Bool, "thread that closes idle connections").no_meaning(POOL),
    Key::system("aws.clientConfig.UseTcpKeepAlive", Kind::Bool, "TCP keep-alive").no_meaning(POOL),
    Key::system("aws.clientConfig.SocketBufferSizeHints", Kind::Any, "a pair of numbers").no_meaning(OBJECT),
    Key::system("aws.clientConfig.UseThrottleRetries", Kind::Bool, "retry throttling").no_meaning(RETRIES),
    Key::system("aws.clientConfig.ThrottledRetries", Kind::Bool, "retry throttling").no_meaning(RETRIES),
    Key::system("aws.clientConfig.MaxConsecutiveRetriesBeforeThrottling", SIZE, "retry budget").no_meaning(RETRIES),
    Key::system("aws.clientConfig.RetryPolicy", Kind::Any, "a Java object").no_meaning(RETRIES),
    Key::system("aws.clientConfig.UseGzip", Kind::Bool, "compressed answers").no_meaning(HTTP),
    Key::system("aws.clientConfig.UseExpectContinue", Kind::Bool, "Expect: 100-continue").no_meaning(HTTP),
    Key::system("aws.clientConfig.CacheResponseMetadata", Kind::Bool, "request ids kept by the client").no_meaning(HTTP),
    Key::system("aws.clientConfig.ResponseMetadataCacheSize", SIZE, "request ids kept by the client").no_meaning(HTTP),
    Key::system("aws.clientConfig.SignerOverride", Kind::Text, "signature version").no_meaning(SIGNING),
    Key::system("aws.clientConfig.UserAgent", Kind::Text, "user agent").no_meaning(HTTP),
    Key::system("aws.clientConfig.UserAgentPrefix", Kind::Text, "user agent").no_meaning(HTTP),
    Key::system("aws.clientConfig.UserAgentSuffix", Kind::Text, "user agent").no_meaning(HTTP),
    Key::system("aws.clientConfig.Headers", Kind::Any, "a Java object").no_meaning(OBJECT),
    Key::system("aws.clientConfig.LocalAddress", Kind::Any, "a Java object").no_meaning(OBJECT),
    Key::system("aws.clientConfig.DnsResolver", Kind::Any, "a Java object").no_meaning(OBJECT),
    Key::system("aws.clientConfig.SecureRandom", Kind::Any, "a Java object").no_meaning(OBJECT),
    Key::system("aws.clientConfig.PreemptiveBasicProxyAuth", Kind::Bool, "send proxy credentials at once").no_meaning("the proxy is always given user and password at once"),
    Key::system("aws.clientConfig.ProxyAuthenticationMethods", Kind::Any, "a Java object").no_meaning(OBJECT),
];
