//! Configurations that work: what they come to, and what is said about them.

use std::path::PathBuf;
use std::time::Duration;

use insta::assert_snapshot;
use shardmill_core::config::{
    self, Access, BillingMode, Consumer, Credentials, Input, LeaseCleanup, Limits, Output, Polling, Proxy, ProxyLogin,
    RetrievalMode, Secret, Source, Wire, render_check, render_show,
};
use shardmill_core::position::InitialPosition;

use super::{JOB, environment, file, input, job_with, kinesis, load};

/// The first block of Samza's page on its Kinesis connector, as printed, prose and all.
const PAGE: &str = "\
# define a kinesis system factory with your identifier. eg: kinesis-system
systems.kinesis-system.samza.factory=org.apache.samza.system.eventhub.KinesisSystemFactory

# kinesis system consumer works with only AllSspToSingleTaskGrouperFactory
job.systemstreampartition.grouper.factory=org.apache.samza.container.grouper.stream.AllSspToSingleTaskGrouperFactory

# define your streams
task.inputs=kinesis-system.input0

# define required properties for your streams
systems.kinesis-system.streams.input0.aws.region=YOUR-STREAM-REGION
systems.kinesis-system.streams.input0.aws.accessKey=YOUR-ACCESS_KEY
sensitive.systems.kinesis-system.streams.input0.aws.secretKey=YOUR-SECRET-KEY

The tuple required to access the Kinesis data stream must be provided, namely the fields `YOUR-STREAM-REGION`, `YOUR-ACCESS-KEY`, `YOUR-SECRET-KEY`.
";

fn page() -> config::Loaded {
    let named = ["job.name=orders", "task.class=word-count"].map(|argument| Source::Override(argument.to_owned()));
    let [name, class] = named;
    load(&[file("page.properties", PAGE), name, class]).expect("the page works as printed")
}

#[test]
fn the_page_of_samza_works_as_printed() {
    assert_snapshot!(render_check(&page()), @r"
    notice[placeholder]: the value of `systems.kinesis-system.streams.input0.aws.region` still is the placeholder of the documentation (page.properties:11)
    notice[placeholder]: the value of `systems.kinesis-system.streams.input0.aws.accessKey` still is the placeholder of the documentation (page.properties:12)
    notice[placeholder]: the value of `sensitive.systems.kinesis-system.streams.input0.aws.secretKey` still is the placeholder of the documentation (page.properties:13)
    notice[prose-line]: a line without `=` or `:` is taken for prose and ignored; start it with `#` (page.properties:15)
    ok: job orders-1 runs word-count on kinesis-system.input0, without outputs
    keys: 8 set, all with an effect
    ");
}

#[test]
fn each_effective_setting_is_shown_with_its_origin() {
    assert_snapshot!(render_show(&page()), @r"
    --config                                 job.name=orders
    default                                  job.id=1
    --config                                 task.class=word-count
    page.properties:5                        job.systemstreampartition.grouper.factory=org.apache.samza.container.grouper.stream.AllSspToSingleTaskGrouperFactory
    page.properties:2                        systems.kinesis-system.samza.factory=org.apache.samza.system.eventhub.KinesisSystemFactory
    page.properties:8                        task.inputs=kinesis-system.input0
    page.properties:12                       systems.kinesis-system.streams.input0.aws.accessKey=YOUR-ACCESS_KEY
    page.properties:13                       sensitive.systems.kinesis-system.streams.input0.aws.secretKey=********
    page.properties:11                       systems.kinesis-system.streams.input0.aws.region=YOUR-STREAM-REGION
    default                                  systems.kinesis-system.aws.clientConfig.ConnectionTimeout=3000
    default                                  systems.kinesis-system.aws.clientConfig.SocketTimeout=10000
    default                                  systems.kinesis-system.aws.clientConfig.RequestTimeout=30000
    default                                  systems.kinesis-system.aws.clientConfig.MaxErrorRetry=2
    default                                  systems.kinesis-system.aws.clientConfig.RetryMode=STANDARD
    default                                  systems.kinesis-system.aws.clientConfig.UseThrottleRetries=true
    default                                  systems.kinesis-system.aws.clientConfig.ConnectionMaxIdleMillis=60000
    default                                  systems.kinesis-system.aws.clientConfig.ConnectionTTL=-1
    default                                  systems.kinesis-system.aws.clientConfig.UseTcpKeepAlive=false
    default                                  systems.kinesis-system.aws.wire.protocol=cbor
    made of job.name, job.id and the stream  systems.kinesis-system.streams.input0.aws.kcl.TableName=orders-1-input0
    default                                  systems.kinesis-system.streams.input0.aws.kcl.InitialLeaseTableReadCapacity=10
    default                                  systems.kinesis-system.streams.input0.aws.kcl.InitialLeaseTableWriteCapacity=10
    default                                  systems.kinesis-system.streams.input0.aws.kcl.BillingMode=PAY_PER_REQUEST
    default                                  systems.kinesis-system.streams.input0.aws.kcl.LeaseTableDeletionProtectionEnabled=false
    default                                  systems.kinesis-system.streams.input0.aws.kcl.LeaseTablePitrEnabled=false
    default                                  systems.kinesis-system.streams.input0.aws.kcl.ConsistentReads=false
    default                                  systems.kinesis-system.streams.input0.aws.kcl.InitialPositionInStream=LATEST
    default                                  systems.kinesis-system.streams.input0.aws.kcl.RetrievalMode=POLLING
    default                                  systems.kinesis-system.streams.input0.aws.kcl.FailoverTimeMillis=10000
    default                                  systems.kinesis-system.streams.input0.aws.kcl.MaxRecords=10000
    default                                  systems.kinesis-system.streams.input0.aws.kcl.IdleTimeBetweenReadsInMillis=1000
    default                                  systems.kinesis-system.streams.input0.aws.kcl.ParentShardPollIntervalMillis=10000
    default                                  systems.kinesis-system.streams.input0.aws.kcl.ShardSyncIntervalMillis=60000
    default                                  systems.kinesis-system.streams.input0.aws.kcl.ShardSyncStrategyType=SHARD_END
    default                                  systems.kinesis-system.streams.input0.aws.kcl.LeasesRecoveryAuditorExecutionFrequencyMillis=120000
    default                                  systems.kinesis-system.streams.input0.aws.kcl.LeasesRecoveryAuditorInconsistencyConfidenceThreshold=3
    default                                  systems.kinesis-system.streams.input0.aws.kcl.CompletedLeaseCleanupThresholdMillis=300000
    default                                  systems.kinesis-system.streams.input0.aws.kcl.GarbageLeaseCleanupThresholdMillis=1800000
    default                                  systems.kinesis-system.streams.input0.aws.kcl.CleanupLeasesUponShardCompletion=true
    default                                  systems.kinesis-system.streams.input0.aws.kcl.IgnoreUnexpectedChildShards=false
    default                                  systems.kinesis-system.streams.input0.aws.kcl.MaxLeasesForWorker=2147483647
    default                                  systems.kinesis-system.streams.input0.aws.kcl.MaxLeasesToStealAtOneTime=1
    default                                  systems.kinesis-system.streams.input0.aws.kcl.MaxCacheByteSize=8388608
    default                                  systems.kinesis-system.streams.input0.aws.kcl.MaxRecordsCount=30000
    default                                  task.commit.ms=60000
    default                                  task.window.ms=-1
    default                                  task.call.timeout.ms=10000
    default                                  task.init.timeout.ms=30000
    default                                  task.memory.max.mb=256
    default                                  task.output.max.bytes=33554432
    default                                  task.output.max.count=100000
    default                                  task.log.max.bytes=65536
    default                                  task.log.max.lines=1000
    default                                  task.files.max.bytes=268435456
    default                                  task.files.total.max.mb=1024
    default                                  task.files.max.count=10000
    default                                  task.http.max.requests=100
    default                                  task.batch.max.records=1000
    default                                  task.batch.max.bytes=1048576
    default                                  task.retry.max.attempts=3
    default                                  task.retry.backoff.ms=200
    default                                  task.retry.backoff.max.ms=10000
    default                                  task.rollout=all
    default                                  task.rollout.waves=1,10%,50%,100%
    default                                  task.rollout.bake.ms=300000
    default                                  task.rollout.drain.ms=5000
    default                                  task.shutdown.ms=30000
    default                                  task.on.delete=keep
    ");
}

#[test]
fn the_page_gives_region_and_credentials() {
    let input = kinesis(page().job);
    assert_eq!(input.kinesis.region.as_deref(), Some("YOUR-STREAM-REGION"));
    assert_eq!(input.dynamodb, input.kinesis);
    let Credentials::Static(credentials) = input.kinesis.credentials else { panic!("no pair of keys") };
    assert_eq!(credentials.access_key, "YOUR-ACCESS_KEY");
    assert_eq!(credentials.secret_key.expose(), "YOUR-SECRET-KEY");
}

#[test]
fn the_least_job_has_samzas_and_the_kcls_defaults() {
    let job = job_with("").job;
    assert_eq!((job.name.as_str(), job.id.as_str(), job.task_class.as_str()), ("orders", "1", "word-count"));
    assert_eq!((job.commit, job.window), (Some(Duration::from_secs(60)), None));
    assert_eq!(job.shutdown_timeout, Duration::from_secs(30));
    assert_eq!(job.limits.memory_max_bytes, 256 * 1024 * 1024);
    let input = kinesis(job);
    assert_eq!((input.system.as_str(), input.stream.as_str()), ("kinesis", "input0"));
    assert_eq!(
        (input.leases.application_name.as_str(), input.table.name.as_str()),
        ("orders-1-input0", "orders-1-input0")
    );
    assert_eq!(input.retrieval.initial_position, InitialPosition::Latest);
    let polling = Polling { max_records: 10_000, idle_between_reads: Duration::from_secs(1) };
    assert_eq!(
        (input.leases.failover, &input.retrieval.mode),
        (Duration::from_secs(10), &RetrievalMode::Polling(polling))
    );
    assert_eq!((input.client.wire, input.table.new.billing_mode), (Wire::Cbor, BillingMode::PayPerRequest));
    let access = Access { region: None, endpoint: None, credentials: Credentials::Chain, role: None };
    assert_eq!((&input.kinesis, &input.dynamodb, &input.leases.worker_id), (&access, &access, &None));
}

#[test]
fn the_lease_table_is_looked_after_as_the_kcl_does_it() {
    let secs = Duration::from_secs;
    let least = input("").leases;
    assert_eq!((least.max_for_worker, least.max_to_steal), (i32::MAX as usize, 1));
    assert_eq!((least.audit_interval, least.audit_confidence, least.shard_sync_interval), (secs(120), 3, None));
    assert_eq!(least.cleanup, Some(LeaseCleanup { completed: secs(300), garbage: secs(1800) }));
    assert!(!least.ignore_unexpected_child_shards);
    let kept = input("systems.kinesis.aws.kcl.CleanupLeasesUponShardCompletion=false\n");
    assert_eq!(kept.leases.cleanup, None);
    let periodic = "systems.kinesis.aws.kcl.ShardSyncStrategyType=periodic\n";
    assert_eq!(input(periodic).leases.shard_sync_interval, Some(secs(60)));
    let interval = "systems.kinesis.aws.kcl.ShardSyncIntervalMillis=5000\n";
    assert_eq!(input(&format!("{periodic}{interval}")).leases.shard_sync_interval, Some(secs(5)));
    assert!(render_check(&job_with(interval)).contains("with ShardSyncStrategyType=PERIODIC only"));
}

#[test]
fn the_later_source_wins() {
    let sources = [
        file("base.properties", JOB),
        file("job.properties", "job.name=billing\ntask.class=filter.wasm\ntask.commit.ms=0\n"),
        Source::Override("job.name=audit".to_owned()),
    ];
    let loaded = load(&sources).expect("a good configuration");
    assert_eq!((loaded.job.name.as_str(), loaded.job.task_class.as_str()), ("audit", "filter"));
    assert_eq!(loaded.job.commit, None);
    let origins = |key: &str| loaded.resolved.iter().find(|it| it.key == key).map(|it| it.origin.to_string());
    assert_eq!(origins("job.name").as_deref(), Some("--config"));
    assert_eq!(origins("task.class").as_deref(), Some("job.properties:2"));
    assert_eq!(origins("task.shutdown.ms").as_deref(), Some("default"));
}

#[test]
fn a_streams_setting_wins_over_its_systems() {
    let loaded = job_with(
        "task.inputs=kinesis.input0, kinesis.b.c\n\
         systems.kinesis.aws.region=eu-central-1\n\
         systems.kinesis.streams.b.c.aws.region=us-east-1\n\
         systems.kinesis.aws.kcl.MaxRecords=500\n\
         systems.kinesis.streams.input0.aws.kcl.MaxRecords=700\n",
    );
    let seen: Vec<_> = loaded
        .job
        .inputs
        .iter()
        .map(|Input::Kinesis(it)| (&*it.stream, it.kinesis.region.as_deref(), &it.retrieval.mode))
        .collect();
    let polled =
        |max_records| RetrievalMode::Polling(Polling { max_records, idle_between_reads: Duration::from_secs(1) });
    assert_eq!(seen, [("input0", Some("eu-central-1"), &polled(700)), ("b.c", Some("us-east-1"), &polled(500))]);
}

#[test]
fn inputs_may_be_ids_of_streams() {
    let input = input(
        "task.inputs=clicks\n\
         streams.clicks.samza.system=kinesis\n\
         streams.clicks.samza.physical.name=clicks-v2\n\
         systems.kinesis.streams.clicks.aws.region=eu-central-1\n\
         systems.kinesis.streams.clicks-v2.aws.kcl.TableName=clicks\n",
    );
    assert_eq!((input.stream.as_str(), input.leases.application_name.as_str()), ("clicks-v2", "orders-1-clicks-v2"));
    assert_eq!((input.kinesis.region.as_deref(), input.table.name.as_str()), (Some("eu-central-1"), "clicks"));
}

#[test]
fn ids_without_a_system_are_of_the_default_system() {
    let input = input("task.inputs=clicks\njob.default.system=kinesis\n");
    assert_eq!((input.system.as_str(), input.stream.as_str()), ("kinesis", "clicks"));
}

#[test]
fn the_application_keys_of_samza_win_over_the_job_keys() {
    let job = job_with("app.name=shop\napp.id=7\n").job;
    assert_eq!((job.name.as_str(), job.id.as_str()), ("shop", "7"));
    assert_eq!(job.inputs[0].progress_table(), "shop-7-input0");
}

#[test]
fn the_initial_position_is_read_as_the_kcl_means_it() {
    const STREAM: &str = "systems.kinesis.streams.input0.aws.kcl";
    const SYSTEM: &str = "systems.kinesis.aws.kcl";
    let at = InitialPosition::AtTimestamp(1_700_000_000_000);
    let (position, moment) = ("InitialPositionInStream", "TimestampAtInitialPositionInStream=1700000000");
    for (lines, meant) in [
        (format!("{STREAM}.{position}=trim_horizon"), InitialPosition::TrimHorizon),
        (format!("{SYSTEM}.{position}=TRIM_HORIZON\n{STREAM}.{position}=LATEST"), InitialPosition::Latest),
        (format!("{STREAM}.{position}=AT_TIMESTAMP\n{STREAM}.{moment}"), at),
        (format!("{STREAM}.{position}=At_Timestamp\n{SYSTEM}.{moment}"), at),
        (format!("{STREAM}.{moment}"), at),
        (format!("{SYSTEM}.{position}=LATEST\n{STREAM}.{moment}"), at),
        (format!("{SYSTEM}.{moment}\n{STREAM}.{position}=TRIM_HORIZON"), InitialPosition::TrimHorizon),
    ] {
        assert_eq!(input(&lines).retrieval.initial_position, meant, "{lines}");
    }
}

#[test]
fn endpoints_come_from_the_key_then_the_services_variable_then_the_common_one() {
    let env = environment(&[
        ("AWS_ENDPOINT_URL", "http://all:1"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb:2"),
        ("AWS_ENDPOINT_URL_S3", "no address"),
    ]);
    let loaded = config::load(&[file("job.properties", JOB)], &env, false).expect("good");
    let input = kinesis(loaded.job);
    assert_eq!(input.kinesis.endpoint.as_deref(), Some("http://all:1"));
    assert_eq!(input.dynamodb.endpoint.as_deref(), Some("http://dynamodb:2"));
    let over = "systems.kinesis.aws.kcl.KinesisEndpoint=http://own:3";
    let loaded = config::load(&[file("job.properties", JOB), file("more", over)], &env, false).expect("good");
    assert_eq!(kinesis(loaded.job).kinesis.endpoint.as_deref(), Some("http://own:3"));
}

#[test]
fn outputs_are_systems_with_the_factories_of_outputs() {
    let job = job_with(
        "systems.out.samza.factory=console\n\
         systems.log.samza.factory=file\n\
         systems.log.file.path=/var/log/orders.jsonl\n",
    )
    .job;
    let path = PathBuf::from("/var/log/orders.jsonl");
    let file = Output::File { operators: path.clone(), path };
    assert_eq!(
        job.outputs.into_iter().collect::<Vec<_>>(),
        [("log".to_owned(), file), ("out".to_owned(), Output::Console)]
    );
}

#[test]
fn the_task_sees_its_own_settings_as_they_stand() {
    let job = job_with("task.config.greeting=  good day \\u2600 \ntask.config.a.b=\n").job;
    let seen: Vec<_> = job.task_config.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(seen, [("a.b", ""), ("greeting", "good day \u{2600} ")]);
}

/// The table of keys says what a task may use when nothing is set, and so does the type.
#[test]
fn the_limits_that_are_shown_are_the_default_ones() {
    assert_eq!(job_with("").job.limits, Limits::default());
}

#[test]
fn settings_of_the_aws_clients_are_those_of_the_java_sdk() {
    let input = input(
        "systems.kinesis.aws.clientConfig.ConnectionTimeout=1500\n\
         systems.kinesis.aws.clientConfig.SocketTimeout=2500\n\
         systems.kinesis.aws.clientConfig.RequestTimeout=0\n\
         systems.kinesis.aws.clientConfig.ClientExecutionTimeout=9000\n\
         systems.kinesis.aws.clientConfig.MaxErrorRetry=5\n\
         systems.kinesis.aws.wire.protocol=JSON\n\
         systems.kinesis.aws.kcl.BillingMode=PROVISIONED\n\
         systems.kinesis.aws.kcl.InitialLeaseTableReadCapacity=4\n",
    );
    assert_eq!(input.client.connect_timeout, Duration::from_millis(1500));
    assert_eq!(input.client.read_timeout, Duration::from_millis(2500));
    assert_eq!((input.client.attempt_timeout, input.client.max_attempts), (Duration::from_secs(30), 6));
    assert_eq!((input.client.call_timeout, input.client.proxy), (Some(Duration::from_secs(9)), None));
    assert_eq!(
        (input.client.wire, input.table.new.billing_mode),
        (Wire::Json, BillingMode::Provisioned { read: 4, write: 10 })
    );
}

/// The lines of Samza's page, and what stands beside them in the Java SDK.
#[test]
fn a_proxy_is_that_of_the_java_sdk() {
    const PAGE: &str = "systems.kinesis.aws.clientConfig.ProxyHost=proxy.example.com\n\
                        systems.kinesis.aws.clientConfig.ProxyPort=3128\n";
    let proxy = Proxy { host: "proxy.example.com".to_owned(), port: 3128, login: None, non_proxy_hosts: Vec::new() };
    assert_eq!(input(PAGE).client.proxy, Some(proxy.clone()));
    let input = input(&format!(
        "{PAGE}\
         systems.kinesis.aws.clientConfig.ProxyUsername=me\n\
         sensitive.systems.kinesis.aws.clientConfig.ProxyPassword=hunter2\n\
         systems.kinesis.aws.clientConfig.NonProxyHosts=localhost | 127.* | *.internal\n"
    ));
    let login = ProxyLogin { username: "me".to_owned(), password: Secret::new("hunter2") };
    let non_proxy_hosts = ["localhost", "127.*", "*.internal"].map(str::to_owned).to_vec();
    assert_eq!(input.client.proxy, Some(Proxy { login: Some(login), non_proxy_hosts, ..proxy }));
}

#[test]
fn a_local_endpoint_behind_a_proxy_gets_a_notice() {
    let lines = "systems.kinesis.aws.clientConfig.ProxyHost=proxy.example.com\n\
                 systems.kinesis.aws.clientConfig.ProxyPort=3128\n\
                 systems.kinesis.aws.clientConfig.PreemptiveBasicProxyAuth=true\n\
                 systems.kinesis.aws.kcl.KinesisEndpoint=http://localhost:4567\n\
                 systems.kinesis.aws.kcl.DynamoDBEndpoint=http://localhost:8000\n";
    assert_snapshot!(render_check(&job_with(lines)), @r"
    notice[suspicious]: http://localhost:4567 is called through `systems.kinesis.aws.clientConfig.ProxyHost` too: set NonProxyHosts=localhost|127.*|[::1] if not meant (more.properties:1)
    notice[no-meaning]: `systems.kinesis.aws.clientConfig.PreemptiveBasicProxyAuth` has no meaning here: the proxy is always given user and password at once (more.properties:3)
    ok: job orders-1 runs word-count on kinesis.input0, without outputs
    keys: 9 set, 1 without an effect: see the notices
    ");
    let lines = format!("{lines}systems.kinesis.aws.clientConfig.NonProxyHosts=localhost\n");
    assert!(!render_check(&job_with(&lines)).contains("suspicious"));
}

/// A Samza job's file from a YARN cluster: the keys without a meaning are told once each.
#[test]
fn keys_of_a_cluster_are_ignored_with_a_notice() {
    let loaded = job_with(
        "job.factory.class=org.apache.samza.job.yarn.YarnJobFactory\n\
         yarn.package.path=hdfs://x/y.tar.gz\n\
         yarn.container.memory.mb=1024\n\
         systems.kinesis.aws.kcl.MetricsLevel=none\n\
         systems.kinesis.aws.kcl.ConsistentReads=true\n\
         systems.kinesis.streams.input0.samza.bootstrap=false\n\
         metrics.reporters=jmx\n",
    );
    assert_snapshot!(render_check(&loaded), @r"
    notice[no-meaning]: `job.factory.class` has no meaning here: processes are started by your platform, and share the shards through the lease table (more.properties:1)
    notice[no-meaning]: `yarn.package.path` and 1 more have no meaning here: processes are started by your platform, and share the shards through the lease table (more.properties:2)
    notice[no-meaning]: `systems.kinesis.aws.kcl.MetricsLevel` has no meaning here: no CloudWatch metrics are written (more.properties:4)
    notice[no-meaning]: `metrics.reporters` has no meaning here: there are no metrics reporters yet (more.properties:7)
    ok: job orders-1 runs word-count on kinesis.input0, without outputs
    keys: 11 set, 5 without an effect: see the notices
    ");
}

#[test]
fn probable_mistakes_get_a_notice() {
    let loaded = job_with(
        "systems.kinesis.streams.imput0.aws.region=eu-central-1\n\
         systems.kinesis.aws.region=Frankfurt\n\
         systems.kinesys.aws.region=eu-central-1\n\
         systems.kinesis.aws.kcl.InitialLeaseTableReadCapacity=5\n\
         task.commit.ms=1000\n\
         task.commit.ms=2000\n\
         a line of prose\n",
    );
    assert_snapshot!(render_check(&loaded), @r"
    notice[no-effect]: `systems.kinesis.streams.imput0.aws.region` has no effect: `kinesis.imput0` is not read by the job; did you mean `kinesis.input0`? (more.properties:1)
    notice[suspicious]: `Frankfurt` does not look like an AWS region such as eu-central-1 (more.properties:2)
    notice[no-effect]: `systems.kinesys.aws.region` has no effect: nothing the job does with the system `kinesys` asks for it; did you mean `kinesis`? (more.properties:3)
    notice[no-effect]: `systems.kinesis.aws.kcl.InitialLeaseTableReadCapacity` has an effect with BillingMode=PROVISIONED only (more.properties:4)
    notice[duplicate-key]: `task.commit.ms` stands on line 5 as well; the later line wins, as in Java (more.properties:6)
    notice[prose-line]: a line without `=` or `:` is taken for prose and ignored; start it with `#` (more.properties:7)
    ok: job orders-1 runs word-count on kinesis.input0, without outputs
    keys: 9 set, 3 without an effect: see the notices
    ");
}

#[test]
fn a_local_kinesis_with_its_leases_at_aws_gets_a_notice() {
    let loaded = job_with("systems.kinesis.aws.kcl.KinesisEndpoint=http://127.0.0.1:4567");
    assert_snapshot!(render_check(&loaded), @r"
    notice[suspicious]: `systems.kinesis.aws.kcl.KinesisEndpoint` is on this machine, and the lease table is at AWS: DynamoDBEndpoint is not set (more.properties:1)
    ok: job orders-1 runs word-count on kinesis.input0, without outputs
    keys: 5 set, all with an effect
    ");
}

#[test]
fn lenient_ignores_unknown_keys_with_a_notice() {
    let sources = [file("job.properties", JOB), file("more.properties", "task.comit.ms=5\nlog.level=debug\n")];
    let loaded = config::load(&sources, &environment(&[]), true).expect("lenient");
    assert_eq!(loaded.job.commit, Some(Duration::from_secs(60)));
    assert_snapshot!(render_check(&loaded), @r"
    notice[unknown-key]: `task.comit.ms` is not a known key and is ignored; the nearest known key is `task.commit.ms` (more.properties:1)
    notice[unknown-key]: `log.level` is not a known key and is ignored (more.properties:2)
    ok: job orders-1 runs word-count on kinesis.input0, without outputs
    keys: 6 set, 2 without an effect: see the notices
    ");
}

#[test]
fn the_consumer_of_fan_out_is_named_as_in_the_kcl() {
    let read = |lines: &str| input(&format!("systems.kinesis.aws.kcl.RetrievalMode=FANOUT\n{lines}")).retrieval.mode;
    let name = |name: &str| RetrievalMode::FanOut(Consumer::Name(name.to_owned()));
    assert_eq!(read(""), name("orders-1-input0"));
    assert_eq!(read("systems.kinesis.aws.kcl.ConsumerName=audit"), name("audit"));
    let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/input0/consumer/audit:17";
    let of_stream = format!("systems.kinesis.streams.input0.aws.kcl.ConsumerArn={arn}");
    assert_eq!(read(&of_stream), RetrievalMode::FanOut(Consumer::Arn(arn.to_owned())));
    for polled in ["systems.kinesis.aws.kcl.RetrievalMode=polling", ""] {
        assert!(matches!(input(polled).retrieval.mode, RetrievalMode::Polling(_)), "{polled}");
    }
}

#[test]
fn keys_of_the_other_retrieval_mode_get_a_notice() {
    let loaded = job_with(
        "systems.kinesis.aws.kcl.ConsumerName=audit\n\
         systems.kinesis.streams.input0.aws.kcl.RegisterStreamConsumerRetries=3\n",
    );
    assert_snapshot!(render_check(&loaded), @r"
    notice[no-effect]: `systems.kinesis.aws.kcl.ConsumerName` has an effect with RetrievalMode=FANOUT only (more.properties:1)
    notice[no-meaning]: `systems.kinesis.streams.input0.aws.kcl.RegisterStreamConsumerRetries` has no meaning here: every call has its own bounded back-off here (more.properties:2)
    ok: job orders-1 runs word-count on kinesis.input0, without outputs
    keys: 6 set, 2 without an effect: see the notices
    ");
    let loaded = job_with(
        "systems.kinesis.aws.kcl.RetrievalMode=FANOUT\n\
         systems.kinesis.aws.kcl.MaxRecords=100\n\
         systems.kinesis.aws.kcl.ConsumerName=audit\n\
         systems.kinesis.aws.kcl.ConsumerArn=arn:aws:kinesis:eu-west-1:1:stream/input0/consumer/audit:17\n",
    );
    assert_snapshot!(render_check(&loaded), @r"
    notice[no-effect]: `systems.kinesis.aws.kcl.MaxRecords` has an effect with RetrievalMode=POLLING only (more.properties:2)
    notice[no-effect]: `systems.kinesis.aws.kcl.ConsumerName` has no effect: ConsumerArn names the consumer (more.properties:3)
    ok: job orders-1 runs word-count on kinesis.input0, without outputs
    keys: 8 set, 2 without an effect: see the notices
    ");
}

/// Each key that does nothing is in a notice or counted in one.
#[test]
fn every_key_is_documented_as_supported_or_not() {
    let loaded = job_with(
        "yarn.queue=a\n\
         yarn.package.path=b\n\
         yarn.am.opts=c\n\
         yarn.container.count=d\n\
         yarn.kerberos.view.acls=e\n\
         metrics.reporters=x\n\
         task.checkpoint.system=kafka\n\
         task.checkpoint.factory=f\n\
         job.coordinator.system=kafka\n\
         job.coordinator.zk.connect=z:2181\n",
    );
    assert_snapshot!(render_check(&loaded), @r"
    notice[no-meaning]: `yarn.queue` and 4 more have no meaning here: processes are started by your platform, and share the shards through the lease table (more.properties:1)
    notice[no-meaning]: `metrics.reporters` has no meaning here: there are no metrics reporters yet (more.properties:6)
    notice[no-meaning]: `task.checkpoint.system` and 1 more have no meaning here: positions are kept in the lease table, as the KCL does (more.properties:7)
    notice[no-meaning]: `job.coordinator.system` and 1 more have no meaning here: processes are started by your platform, and share the shards through the lease table (more.properties:9)
    ok: job orders-1 runs word-count on kinesis.input0, without outputs
    keys: 14 set, 10 without an effect: see the notices
    ");
    assert_eq!((loaded.keys.set, loaded.keys.without_effect), (14, 10));
}
