//! The settings of the AWS clients: those that work arrive, those that cannot are refused, the others are told.

use std::time::Duration;

use insta::assert_snapshot;
use shardmill_core::config::{
    ClientSettings, Connections, Input, KinesisInput, RetryBudget, RetryMode, render_check, render_show,
};

use super::{input, job_with, told};

const CLIENT: &str = "systems.kinesis.aws.clientConfig";

/// Lines of settings of the client.
fn lines(settings: &[(&str, &str)]) -> String {
    settings.iter().map(|(name, value)| format!("{CLIENT}.{name}={value}\n")).collect()
}

fn client(settings: &[(&str, &str)]) -> ClientSettings {
    input(&lines(settings)).client
}

#[test]
fn connections_and_their_defaults() {
    let least = client(&[]);
    let by_default = Connections { max_idle: Some(Duration::from_secs(60)), ..Connections::default() };
    assert_eq!(least.connections, by_default);
    let given = client(&[
        ("MaxConnections", "20"),
        ("ConnectionTTL", "300000"),
        ("ConnectionMaxIdleMillis", "5000"),
        ("UseTcpKeepAlive", "true"),
    ]);
    let (max_idle, max_age) = (Some(Duration::from_secs(5)), Some(Duration::from_secs(300)));
    assert_eq!(given.connections, Connections { max: Some(20), max_idle, max_age, keep_alive: true });
    assert_eq!(client(&[("ConnectionTTL", "-1")]).connections.max_age, None);
}

/// The table of keys says what holds when nothing is set, and the clients have defaults of their own: they are the same.
#[test]
fn the_defaults_that_are_shown_are_the_clients() {
    let shown = client(&[]);
    let connections = Connections::default();
    assert_eq!(ClientSettings { connections, ..shown }, ClientSettings::default());
}

#[test]
fn time_outs_and_retries_arrive_each_at_its_own_place() {
    let given = client(&[
        ("ConnectionTimeout", "41"),
        ("SocketTimeout", "42"),
        ("RequestTimeout", "43"),
        ("ClientExecutionTimeout", "44"),
        ("MaxErrorRetry", "45"),
    ]);
    let ms = Duration::from_millis;
    assert_eq!((given.connect_timeout, given.read_timeout), (ms(41), ms(42)));
    assert_eq!((given.attempt_timeout, given.call_timeout), (ms(43), Some(ms(44))));
    assert_eq!(given.max_attempts, 46, "the first one is no retry");
    let zero = client(&[("RequestTimeout", "0"), ("ClientExecutionTimeout", "0")]);
    assert_eq!((zero.attempt_timeout, zero.call_timeout), (ClientSettings::default().attempt_timeout, None));
}

#[test]
fn retries_are_those_of_the_java_sdk() {
    let least = client(&[]);
    assert_eq!((least.retry_mode, least.retry_budget), (RetryMode::Standard, RetryBudget::Shared));
    let given = client(&[("RetryMode", "adaptive"), ("MaxConsecutiveRetriesBeforeThrottling", "100")]);
    assert_eq!((given.retry_mode, given.retry_budget), (RetryMode::Adaptive, RetryBudget::Retries(100)));
    assert_eq!(client(&[("UseThrottleRetries", "false")]).retry_budget, RetryBudget::Unlimited);
}

#[test]
fn the_user_agent_has_its_names_of_old_and_of_the_kcl() {
    let prefix =
        |settings: &[(&str, &str)], more: &str| input(&(lines(settings) + more)).client.headers.user_agent_prefix;
    assert_eq!(prefix(&[], ""), None);
    assert_eq!(prefix(&[("UserAgent", "old")], "").as_deref(), Some("old"));
    assert_eq!(prefix(&[("UserAgent", "old"), ("UserAgentPrefix", "new")], "").as_deref(), Some("new"));
    let kcl = "systems.kinesis.streams.input0.aws.kcl.UserAgent=mine\n";
    assert_eq!(prefix(&[("UserAgentPrefix", "new")], kcl).as_deref(), Some("mine"));
}

#[test]
fn headers_are_read_and_never_shown() {
    let settings = lines(&[("Headers.X-Team", "orders"), ("UserAgentSuffix", "(orders)")]);
    let settings = settings + &format!("sensitive.{CLIENT}.Headers.X-Api-Key=SECRET\n");
    let loaded = job_with(&settings);
    let Input::Kinesis(KinesisInput { client, .. }) = &loaded.job.inputs[0];
    let headers: Vec<_> = client.headers.more.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(headers, [("x-api-key", "SECRET"), ("x-team", "orders")]);
    assert_eq!(client.headers.user_agent_suffix.as_deref(), Some("(orders)"));
    let shown = format!("{loaded:?}{}", render_show(&loaded));
    assert!(!shown.contains("SECRET"), "{shown}");
    assert!(render_show(&loaded).contains(&format!("{CLIENT}.Headers.X-Team=********")));
}

#[test]
fn headers_that_cannot_be_added() {
    let settings = lines(&[
        ("Headers", "X-Team: orders"),
        ("Headers.Authorization", "SECRET"),
        ("Headers.X-Amz-Date", "today"),
        ("Headers.X Team", "orders"),
        ("Headers.X-Team", "\\u00e9quipe"),
    ]);
    assert_snapshot!(told(&settings.replace("X Team", "X\\ Team")), @r"
    error[not-supported]: `systems.kinesis.aws.clientConfig.Headers` is not supported
      at:       more.properties:1
      hint:     write each header on a line of its own, as `aws.clientConfig.Headers.X-Team=orders`

    error[bad-value]: `authorization` cannot be added to the requests
      at:       more.properties:2
      value:    ********
      expected: a header that the client does not write itself
      hint:     remove the line

    error[bad-value]: `x-amz-date` cannot be added to the requests
      at:       more.properties:3
      value:    ********
      expected: a header that the client does not write itself
      hint:     remove the line

    error[unknown-key]: `systems.kinesis.aws.clientConfig.Headers.********` is not a known key
      at:       more.properties:4
      hint:     a key ends at `=`, `:` or a blank; what stands behind it here may be a secret and is not shown

    error[bad-value]: `systems.kinesis.aws.clientConfig.Headers.X-Team` cannot have this value
      at:       more.properties:5
      value:    ********
      expected: letters, digits, blanks and signs of ASCII

    5 problems found
    ");
}

#[test]
fn unsupported_settings_of_the_http_client() {
    let settings = lines(&[
        ("LocalAddress", "10.0.0.7"),
        ("Protocol", "http"),
        ("ProxyProtocol", "https"),
        ("ProxyAuthenticationMethods", "NTLM, Basic"),
        ("SignerOverride", "QueryStringSignerType"),
    ]);
    assert_snapshot!(told(&settings), @r"
    error[not-supported]: `systems.kinesis.aws.clientConfig.LocalAddress` is not supported
      at:       more.properties:1
      hint:     the HTTP client cannot be bound to an address; the system's routes decide, so set them there

    error[not-supported]: `systems.kinesis.aws.clientConfig.Protocol` is not supported with this value
      at:       more.properties:2
      value:    http
      expected: `https`
      hint:     the scheme is part of the endpoint: set `aws.kcl.KinesisEndpoint` and `aws.kcl.DynamoDBEndpoint` to http:// addresses instead

    error[not-supported]: `systems.kinesis.aws.clientConfig.ProxyProtocol` is not supported with this value
      at:       more.properties:3
      value:    https
      expected: `http`
      hint:     only a proxy that is spoken to by http is supported; tunnels for https go through it all the same

    error[not-supported]: `systems.kinesis.aws.clientConfig.ProxyAuthenticationMethods` is not supported with this value
      at:       more.properties:4
      value:    NTLM, Basic
      expected: `Basic`
      hint:     only Basic authentication at a proxy is supported, and none with a Windows domain (NTLM)

    error[not-supported]: `systems.kinesis.aws.clientConfig.SignerOverride` is not supported with this value
      at:       more.properties:5
      value:    QueryStringSignerType
      expected: `AWS4SignerType`
      hint:     requests are always signed with Signature Version 4

    5 problems found
    ");
}

#[test]
fn values_of_the_wrong_type() {
    let settings = lines(&[
        ("MaxConnections", "0"),
        ("ConnectionMaxIdleMillis", "60s"),
        ("ConnectionTTL", "never"),
        ("UseTcpKeepAlive", "yes"),
        ("RetryMode", "exponential"),
        ("MaxConsecutiveRetriesBeforeThrottling", "-1"),
        ("UserAgentPrefix", ""),
    ]);
    assert_snapshot!(told(&settings), @r"
    error[bad-value]: `systems.kinesis.aws.clientConfig.MaxConnections` cannot have this value
      at:       more.properties:1
      value:    0
      expected: a whole number from 1 to 2147483647

    error[bad-value]: `systems.kinesis.aws.clientConfig.ConnectionMaxIdleMillis` cannot have this value
      at:       more.properties:2
      value:    60s
      expected: a whole number of milliseconds from 1 to 31622400000
      hint:     write 60000

    error[bad-value]: `systems.kinesis.aws.clientConfig.ConnectionTTL` cannot have this value
      at:       more.properties:3
      value:    never
      expected: a whole number of milliseconds up to 31622400000; 0 or less means never

    error[bad-value]: `systems.kinesis.aws.clientConfig.UseTcpKeepAlive` cannot have this value
      at:       more.properties:4
      value:    yes
      expected: `true` or `false`

    error[bad-value]: `systems.kinesis.aws.clientConfig.RetryMode` cannot have this value
      at:       more.properties:5
      value:    exponential
      expected: one of LEGACY, STANDARD, ADAPTIVE

    error[bad-value]: `systems.kinesis.aws.clientConfig.MaxConsecutiveRetriesBeforeThrottling` cannot have this value
      at:       more.properties:6
      value:    -1
      expected: a whole number from 1 to 2147483647

    error[bad-value]: `systems.kinesis.aws.clientConfig.UserAgentPrefix` cannot have this value
      at:       more.properties:7
      value:    (empty)
      expected: letters, digits, blanks and signs of ASCII

    7 problems found
    ");
}

/// The Java SDK's `with...` methods have other names than its setters, which Samza calls.
#[test]
fn names_of_the_other_methods() {
    let settings = lines(&[
        ("TcpKeepAlive", "true"),
        ("Gzip", "true"),
        ("Reaper", "true"),
        ("ThrottledRetries", "true"),
        ("maxConnections", "10"),
        ("Header.X-Team", "orders"),
    ]);
    assert_snapshot!(told(&settings), @r"
    error[unknown-key]: `systems.kinesis.aws.clientConfig.TcpKeepAlive` is not a known key
      at:       more.properties:1
      nearest:  systems.kinesis.aws.clientConfig.UseTcpKeepAlive
      hint:     write systems.kinesis.aws.clientConfig.UseTcpKeepAlive, or remove the line; --lenient ignores unknown keys

    error[unknown-key]: `systems.kinesis.aws.clientConfig.Gzip` is not a known key
      at:       more.properties:2
      nearest:  systems.kinesis.aws.clientConfig.UseGzip
      hint:     write systems.kinesis.aws.clientConfig.UseGzip, or remove the line; --lenient ignores unknown keys

    error[unknown-key]: `systems.kinesis.aws.clientConfig.Reaper` is not a known key
      at:       more.properties:3
      nearest:  systems.kinesis.aws.clientConfig.UseReaper
      hint:     write systems.kinesis.aws.clientConfig.UseReaper, or remove the line; --lenient ignores unknown keys

    error[unknown-key]: `systems.kinesis.aws.clientConfig.ThrottledRetries` is not a known key
      at:       more.properties:4
      nearest:  systems.kinesis.aws.clientConfig.UseThrottleRetries
      hint:     write systems.kinesis.aws.clientConfig.UseThrottleRetries, or remove the line; --lenient ignores unknown keys

    error[unknown-key]: `systems.kinesis.aws.clientConfig.maxConnections` is not a known key
      at:       more.properties:5
      nearest:  systems.kinesis.aws.clientConfig.MaxConnections
      hint:     write systems.kinesis.aws.clientConfig.MaxConnections, or remove the line; --lenient ignores unknown keys

    error[unknown-key]: `systems.kinesis.aws.clientConfig.Header.X-Team` is not a known key
      at:       more.properties:6
      nearest:  systems.kinesis.aws.clientConfig.Headers.X-Team
      hint:     write systems.kinesis.aws.clientConfig.Headers.X-Team, or remove the line; --lenient ignores unknown keys

    6 problems found
    ");
}

#[test]
fn each_key_without_a_meaning_here_is_reported_once() {
    let settings = lines(&[
        ("ValidateAfterInactivityMillis", "5000"),
        ("UseReaper", "false"),
        ("SocketBufferSizeHints", "65536,65536"),
        ("DnsResolver", "com.example.Resolver"),
        ("SecureRandom", "com.example.Random"),
        ("TlsKeyManagersProvider", "com.example.Keys"),
        ("RetryPolicy", "com.example.Policy"),
        ("UseGzip", "true"),
        ("UseExpectContinue", "true"),
        ("DisableHostPrefixInjection", "true"),
        ("CacheResponseMetadata", "false"),
        ("ResponseMetadataCacheSize", "10"),
        ("DisableSocketProxy", "true"),
        ("PreemptiveBasicProxyAuth", "true"),
        ("ProxyAuthenticationMethods", "basic"),
        ("ProxyProtocol", "HTTP"),
        ("SignerOverride", "AWS4SignerType"),
        ("RetryMode", "legacy"),
        ("UseThrottleRetries", "false"),
        ("MaxConsecutiveRetriesBeforeThrottling", "10"),
        ("UserAgent", "old"),
        ("UserAgentPrefix", "new"),
    ]);
    assert_snapshot!(render_check(&job_with(&settings)), @r"
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.ValidateAfterInactivityMillis` has no meaning here: a connection that its other end has closed is noticed at once, and not used (more.properties:1)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.UseReaper` has no meaning here: idle connections are closed in time, which needs no thread (more.properties:2)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.SocketBufferSizeHints` has no meaning here: the system sizes the buffers of a connection; Samza cannot set a pair either (more.properties:3)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.DnsResolver` has no meaning here: Java objects cannot be written in a properties file; Samza ignores the key too (more.properties:4)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.SecureRandom` has no meaning here: Java objects cannot be written in a properties file; Samza ignores the key too (more.properties:5)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.TlsKeyManagersProvider` has no meaning here: Java objects cannot be written in a properties file; Samza ignores the key too (more.properties:6)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.RetryPolicy` has no meaning here: Java objects cannot be written in a properties file; set MaxErrorRetry and RetryMode (more.properties:7)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.UseGzip` has no meaning here: neither Kinesis nor DynamoDB is asked to compress its answers (more.properties:8)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.UseExpectContinue` has no meaning here: Java sends it with PUT requests only, and all calls here are POST (more.properties:9)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.DisableHostPrefixInjection` has no meaning here: no call of Kinesis or DynamoDB has such a prefix (more.properties:10)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.CacheResponseMetadata` has no meaning here: nothing here asks for the ids of past requests (more.properties:11)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.ResponseMetadataCacheSize` has no meaning here: nothing here asks for the ids of past requests (more.properties:12)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.DisableSocketProxy` has no meaning here: there is no JVM whose proxy settings could apply (more.properties:13)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.PreemptiveBasicProxyAuth` has no meaning here: the proxy is always given user and password at once (more.properties:14)
    notice[no-effect]: `systems.kinesis.aws.clientConfig.RetryMode` is read as STANDARD: the AWS SDK used here has no legacy mode (more.properties:18)
    notice[no-effect]: `systems.kinesis.aws.clientConfig.MaxConsecutiveRetriesBeforeThrottling` has no effect with UseThrottleRetries=false (more.properties:20)
    notice[no-effect]: `systems.kinesis.aws.clientConfig.UserAgent` has no effect: UserAgentPrefix is set, its new name (more.properties:21)
    ok: job orders-1 runs word-count on kinesis.input0, without outputs
    keys: 26 set, 17 without an effect: see the notices
    ");
}

#[test]
fn the_lease_table_is_created_and_read_as_it_is_set() {
    let of_table = |lines: &str| {
        let table = input(lines).table;
        (table.new.deletion_protection, table.new.point_in_time_recovery, table.consistent_reads)
    };
    assert_eq!(of_table(""), (false, false, false));
    let lines = "systems.kinesis.aws.kcl.LeaseTableDeletionProtectionEnabled=true\n\
                 systems.kinesis.aws.kcl.LeaseTablePitrEnabled=true\n\
                 systems.kinesis.aws.kcl.ConsistentReads=true\n";
    assert_eq!(of_table(lines), (true, true, true));
}
