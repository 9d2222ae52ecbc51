//! That what is configured reaches the part that acts on it: every key has a value of its own here, so that none can
//! stand for another.

use std::collections::BTreeMap;
use std::time::Duration;

use shardmill_core::config::{Source, load, render_problems};
use shardmill_core::position::InitialPosition;

use super::*;

const JOB: &str = "\
job.name=orders
task.class=word-count
task.inputs=kinesis.lines
systems.kinesis.samza.factory=kinesis
";

/// The only input of the job with these lines, each after the system's prefix.
fn input(lines: &[&str]) -> Input {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| match line.strip_prefix("sensitive.") {
            Some(line) => format!("sensitive.systems.kinesis.aws.{line}"),
            None => format!("systems.kinesis.aws.{line}"),
        })
        .collect();
    let source = Source::File { name: "job.properties".to_owned(), text: format!("{JOB}{}", lines.join("\n")) };
    let loaded = load(&[source], &BTreeMap::new(), false);
    let mut job = loaded.unwrap_or_else(|errors| panic!("{}", render_problems(&errors))).job;
    job.inputs.remove(0)
}

#[test]
fn the_settings_of_the_kcl_reach_the_lease_machine() {
    let settings = leases(
        &input(&[
            "kcl.WorkerId=me",
            "kcl.FailoverTimeMillis=11",
            "kcl.TimestampAtInitialPositionInStream=1700000000",
            "kcl.MaxLeasesForWorker=12",
            "kcl.MaxLeasesToStealAtOneTime=13",
            "kcl.ParentShardPollIntervalMillis=14",
            "kcl.LeasesRecoveryAuditorExecutionFrequencyMillis=15",
            "kcl.LeasesRecoveryAuditorInconsistencyConfidenceThreshold=16",
            "kcl.ShardSyncStrategyType=PERIODIC",
            "kcl.ShardSyncIntervalMillis=17",
            "kcl.CompletedLeaseCleanupThresholdMillis=18",
            "kcl.GarbageLeaseCleanupThresholdMillis=19",
            "kcl.IgnoreUnexpectedChildShards=true",
        ]),
        Uuid::nil(),
    );
    let expected = leases::Settings {
        table: "orders-1-lines".to_owned(),
        worker: "me".to_owned(),
        failover: 11,
        initial_position: InitialPosition::AtTimestamp(1_700_000_000_000),
        max_leases: 12,
        max_leases_to_steal: 13,
        parent_poll: 14,
        audit_interval: 15,
        audit_confidence: 16,
        shard_sync_interval: Some(17),
        cleanup: Some(leases::Cleanup { completed: 18, garbage: 19 }),
        ignore_unexpected_children: true,
        seed: settings.seed,
    };
    assert_eq!(format!("{settings:?}"), format!("{expected:?}"));
    assert!(leases(&input(&["kcl.CleanupLeasesUponShardCompletion=false"]), Uuid::nil()).cleanup.is_none());
    let [first, second] = [1, 2].map(|run| leases(&input(&[]), Uuid::from_u128(run)).worker);
    assert!(first.starts_with("orders-1-lines-") && first != second, "{first} {second}");
}

#[test]
fn the_settings_of_the_kcl_reach_the_readers() {
    let input = input(&[
        "kcl.InitialPositionInStream=TRIM_HORIZON",
        "kcl.MaxRecords=21",
        "kcl.IdleTimeBetweenReadsInMillis=22",
        "kcl.MaxCacheByteSize=23",
        "kcl.MaxRecordsCount=24",
    ]);
    let reader = reader(&input, Latest::default());
    assert_eq!((reader.initial_position, reader.max_records, reader.idle), (InitialPosition::TrimHorizon, 21, 22));
    assert_eq!((reader.max_unprocessed_bytes, reader.max_unprocessed_records), (23, 24));
    let fan_out = fan_out(&input, Latest::default());
    assert_eq!(fan_out.initial_position, InitialPosition::TrimHorizon);
    assert_eq!((fan_out.max_unprocessed_bytes, fan_out.max_unprocessed_records), (23, 24));
}

#[test]
fn a_consumer_is_named_as_it_is_set() {
    let named = |lines: &[&str]| format!("{:?}", consumer(&input(lines)));
    assert_eq!(named(&[]), "None");
    assert_eq!(named(&["kcl.RetrievalMode=FANOUT"]), r#"Some(Name("orders-1-lines"))"#);
    assert_eq!(named(&["kcl.RetrievalMode=FANOUT", "kcl.ConsumerName=audit"]), r#"Some(Name("audit"))"#);
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/lines/consumer/audit:17";
    assert_eq!(named(&["kcl.RetrievalMode=FANOUT", &format!("kcl.ConsumerArn={arn}")]), format!("Some(Arn({arn:?}))"));
}

#[test]
fn a_lease_table_is_made_as_it_is_set() {
    let new = new_table(&input(&[
        "kcl.BillingMode=PROVISIONED",
        "kcl.InitialLeaseTableReadCapacity=31",
        "kcl.InitialLeaseTableWriteCapacity=32",
        "kcl.LeaseTableDeletionProtectionEnabled=true",
    ]));
    assert_eq!(new.billing, Billing::Provisioned { read: 31, write: 32 });
    assert_eq!((new.deletion_protection, new.point_in_time_recovery), (true, false));
    assert!(new_table(&input(&["kcl.LeaseTablePitrEnabled=true"])).point_in_time_recovery);
}

#[test]
fn the_client_settings_reach_both_clients() {
    let input = input(&[
        "clientConfig.ConnectionTimeout=41",
        "clientConfig.SocketTimeout=42",
        "clientConfig.RequestTimeout=43",
        "clientConfig.ClientExecutionTimeout=44",
        "clientConfig.MaxErrorRetry=45",
        "clientConfig.RetryMode=ADAPTIVE",
        "clientConfig.MaxConsecutiveRetriesBeforeThrottling=46",
        "clientConfig.MaxConnections=47",
        "clientConfig.ConnectionMaxIdleMillis=48",
        "clientConfig.ConnectionTTL=49",
        "clientConfig.UseTcpKeepAlive=true",
        "clientConfig.UserAgentPrefix=before",
        "clientConfig.UserAgentSuffix=behind",
        "clientConfig.Headers.X-Team=data",
        "clientConfig.ProxyHost=proxy",
        "clientConfig.ProxyPort=50",
        "clientConfig.ProxyUsername=me",
        "sensitive.clientConfig.ProxyPassword=SECRET",
        "clientConfig.NonProxyHosts=near|*.near",
        "wire.protocol=json",
    ]);
    for client in [kinesis_client(&input), dynamodb_client(&input)] {
        let ms = Duration::from_millis;
        assert_eq!((client.connect_timeout, client.read_timeout), (ms(41), ms(42)));
        assert_eq!((client.attempt_timeout, client.call_timeout), (ms(43), Some(ms(44))));
        assert_eq!((client.max_attempts, client.retry_mode), (46, RetryMode::Adaptive));
        assert_eq!(client.retry_budget, RetryBudget::Retries(46));
        let connections =
            Connections { max: Some(47), max_idle: Some(ms(48)), max_age: Some(ms(49)), keep_alive: true };
        assert_eq!((client.connections, client.wire), (connections, Wire::Json));
        let headers = client.headers;
        assert_eq!(headers.user_agent_prefix.as_deref(), Some("before"));
        assert_eq!(headers.user_agent_suffix.as_deref(), Some("behind"));
        assert_eq!(headers.more, [("x-team".to_owned(), "data".to_owned())]);
        let proxy = client.proxy.unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port, proxy.login.unwrap().password.as_str()), ("proxy", 50, "SECRET"));
        assert_eq!(proxy.non_proxy_hosts, ["near", "*.near"]);
    }
}

/// The table of keys says what holds when nothing is set, and the clients have defaults of their own: they are the same.
#[test]
fn the_defaults_that_are_shown_are_the_clients() {
    let (client, defaults) = (kinesis_client(&input(&[])), ClientSettings::default());
    assert_eq!((client.connect_timeout, client.read_timeout), (defaults.connect_timeout, defaults.read_timeout));
    assert_eq!((client.attempt_timeout, client.call_timeout), (defaults.attempt_timeout, defaults.call_timeout));
    assert_eq!((client.max_attempts, client.retry_mode), (defaults.max_attempts, defaults.retry_mode));
    assert_eq!(client.retry_budget, defaults.retry_budget);
}

#[test]
fn each_service_is_called_where_and_as_it_is_set() {
    let input = input(&[
        "region=eu-west-1",
        "profile=ops",
        "roleArn=arn:aws:iam::123456789012:role/reader",
        "externalId=tenant-7",
        "roleSessionName=audit",
        "stsEndpoint=http://sts:1",
        "kcl.KinesisEndpoint=http://kinesis:2",
        "kcl.DynamoDBEndpoint=http://dynamodb:3",
        "dynamodb.region=eu-central-1",
        "dynamodb.accessKey=AK",
        "sensitive.dynamodb.secretKey=SECRET",
        "sensitive.dynamodb.sessionToken=TOKEN",
    ]);
    let kinesis = kinesis_client(&input);
    assert_eq!((kinesis.region.as_deref(), kinesis.endpoint.as_deref()), (Some("eu-west-1"), Some("http://kinesis:2")));
    assert!(matches!(kinesis.credentials, Credentials::Profile(name) if name == "ops"));
    let role = kinesis.role.unwrap();
    assert_eq!(
        (role.arn.as_str(), role.external_id.as_deref()),
        ("arn:aws:iam::123456789012:role/reader", Some("tenant-7"))
    );
    assert_eq!((role.session_name.as_str(), role.endpoint.as_deref()), ("audit", Some("http://sts:1")));
    let dynamodb = dynamodb_client(&input);
    let place = (dynamodb.region.as_deref(), dynamodb.endpoint.as_deref());
    assert_eq!(place, (Some("eu-central-1"), Some("http://dynamodb:3")));
    let Credentials::Static(own) = dynamodb.credentials else { panic!("no pair of keys") };
    assert_eq!((own.access_key_id.as_str(), own.secret_access_key.as_str()), ("AK", "SECRET"));
    assert_eq!((own.session_token.as_deref(), dynamodb.role.is_some()), (Some("TOKEN"), false));
}
