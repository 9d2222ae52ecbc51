//! Whose word stands above whose: what the author of a job may set in the properties beside the module, what only the
//! operator may, and how the operator opens it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;
use shardmill_core::config::{self, Code, Errors, Host, Input, Loaded, Output, Source, render_problems};

use super::{environment, file};

/// A host whose jobs read `lines`, each with limits of its own.
const HOST: &str = "\
task.inputs=kinesis.lines
task.memory.max.mb=128
systems.kinesis.samza.factory=kinesis
systems.kinesis.aws.kcl.TableName=of-the-operator
systems.kinesis.aws.kcl.MaxCacheByteSize=1000
systems.kinesis.aws.kcl.IdleTimeBetweenReadsInMillis=500
";

/// Loads the job `orders` with these lines of its author, in a host with these more.
fn load_over(host: &str, author: &str, argument: Option<&str>) -> Result<Loaded, Errors> {
    let mut sources = vec![
        file("host.properties", &format!("{HOST}{host}")),
        Source::Module("orders".to_owned()),
        Source::Job { name: "orders.properties".to_owned(), text: author.to_owned() },
    ];
    sources.extend(argument.map(|argument| Source::Override(argument.to_owned())));
    config::load(&sources, &environment(&[("HOME", "/root"), ("TOKEN", "t")]), false)
}

fn loaded(host: &str, author: &str) -> Loaded {
    load_over(host, author, None).unwrap_or_else(|errors| panic!("{}", render_problems(&errors)))
}

fn refused(host: &str, author: &str) -> Errors {
    load_over(host, author, None).expect_err("it is not allowed")
}

/// What would be added to the host's configuration, by what is said.
fn lines_to_add(errors: &Errors) -> String {
    let lines = errors.problems().iter().map(|problem| {
        assert_eq!(problem.code, Code::NotAllowed, "{problem}");
        let hint = problem.hint.as_deref().unwrap_or_default();
        hint.split_once("configuration of the host: ").unwrap_or_else(|| panic!("{problem}")).1.to_owned() + "\n"
    });
    lines.collect()
}

#[test]
fn all_forbidden_settings_are_reported_together_with_their_lines_and_the_operators() {
    let author = "\
        task.grant.env=HOME,TOKEN\n\
        task.grant.dir=/data/in,/::/host:rw\n\
        task.grant.http=http://169.254.169.254,https://api.example.com\n\
        task.memory.max.mb=4096\n\
        task.call.timeout.ms=86400000\n\
        job.name=payments\n\
        systems.kinesis.aws.kcl.KinesisEndpoint=http://theirs.example\n\
        systems.x.samza.factory=file\n\
        systems.x.file.path=/etc/cron.d/x\n\
        systems.kinesis.aws.kcl.IdleTimeBetweenReadsInMillis=1\n\
        host.memory.max.mb=1\n";
    let host = "host.allow.task.grant.dir=/data/in:ro\nhost.allow.task.grant.http=https://*.example.com\n";
    assert_snapshot!(render_problems(&refused(host, author)), @r"
    error[not-allowed]: `task.grant.env` grants what the operator does not allow the job `orders`: HOME, TOKEN
      at:       orders.properties:1
      value:    HOME,TOKEN
      expected: nothing: none is allowed
      hint:     remove the line, or have the operator add to the configuration of the host: host.jobs.orders.allow.task.grant.env=HOME,TOKEN

    error[not-allowed]: `task.grant.dir` grants what the operator does not allow the job `orders`: /:rw
      at:       orders.properties:2
      value:    /data/in,/::/host:rw
      expected: /data/in:ro
      hint:     remove the line, or have the operator add to the configuration of the host: host.jobs.orders.allow.task.grant.dir=/data/in:ro,/:rw

    error[not-allowed]: `task.grant.http` grants what the operator does not allow the job `orders`: http://169.254.169.254
      at:       orders.properties:3
      value:    http://169.254.169.254,https://api.example.com
      expected: https://*.example.com
      hint:     remove the line, or have the operator add to the configuration of the host: host.jobs.orders.allow.task.grant.http=https://*.example.com,http://169.254.169.254

    error[not-allowed]: `task.memory.max.mb` is higher than the operator allows the job `orders`
      at:       orders.properties:4
      value:    4096
      expected: at most 128
      hint:     remove the line, or have the operator add to the configuration of the host: host.jobs.orders.allow.task.memory.max.mb=4096

    error[not-allowed]: `task.call.timeout.ms` is higher than the operator allows the job `orders`
      at:       orders.properties:5
      value:    86400000
      expected: at most 10000
      hint:     remove the line, or have the operator add to the configuration of the host: host.jobs.orders.allow.task.call.timeout.ms=86400000

    error[not-allowed]: `job.name` is the operator's to set, and not opened to the job `orders`
      at:       orders.properties:6
      value:    payments
      hint:     remove the line, or have the operator add to the configuration of the host: host.jobs.orders.allow.keys=job.name,systems.kinesis.aws.kcl.IdleTimeBetweenReadsInMillis,systems.kinesis.aws.kcl.KinesisEndpoint

    error[not-allowed]: `systems.kinesis.aws.kcl.KinesisEndpoint` is the operator's to set, and not opened to the job `orders`
      at:       orders.properties:7
      value:    http://theirs.example
      hint:     remove the line, or have the operator add to the configuration of the host: host.jobs.orders.allow.keys=job.name,systems.kinesis.aws.kcl.IdleTimeBetweenReadsInMillis,systems.kinesis.aws.kcl.KinesisEndpoint

    error[not-allowed]: `systems.x.file.path` is not in a directory that the operator allows the job `orders` to write to
      at:       orders.properties:9
      value:    /etc/cron.d/x
      expected: nothing: none is allowed
      hint:     remove the line, or have the operator add to the configuration of the host: host.jobs.orders.allow.file.path=/etc/cron.d

    error[not-allowed]: `systems.kinesis.aws.kcl.IdleTimeBetweenReadsInMillis` is lower than the operator allows the job `orders`
      at:       orders.properties:10
      value:    1
      expected: at least 500
      hint:     remove the line, or have the operator add to the configuration of the host: host.jobs.orders.allow.keys=job.name,systems.kinesis.aws.kcl.IdleTimeBetweenReadsInMillis,systems.kinesis.aws.kcl.KinesisEndpoint

    error[not-allowed]: `host.memory.max.mb` belongs into the configuration of the host, not of the job `orders`
      at:       orders.properties:11
      value:    1
      hint:     remove the line; the operator writes `host.` keys into what `run --config-path` names

    10 problems found
    ");
}

/// The other side of it: with the lines that were printed, it is allowed.
#[test]
fn the_lines_that_are_printed_allow_it() {
    for author in [
        "task.grant.env=HOME,TOKEN\ntask.grant.dir=/data/in,/data/out:rw\ntask.grant.http=http://10.0.0.1:8080\n",
        "task.memory.max.mb=1024\ntask.shutdown.ms=60000\ntask.http.max.requests=1000\n",
        "job.name=payments\njob.id=7\nsystems.kinesis.aws.region=us-east-1\nsystems.kinesis.aws.kcl.MaxCacheByteSize=9\n",
        "systems.kinesis.aws.kcl.MaxCacheByteSize=9999\nsystems.kinesis.aws.kcl.FailoverTimeMillis=1\n",
        "systems.x.samza.factory=file\nsystems.x.file.path=/var/out/x.jsonl\n",
        "systems.x.samza.factory=file\nsystems.x.file.path=/x.jsonl\n",
        "systems.own.samza.factory=kinesis\ntask.inputs=own.s\nsystems.own.streams.s.aws.kcl.TableName=mine\n",
        "systems.kinesis.aws.accessKey=AK\nsensitive.systems.kinesis.aws.secretKey=SK\n",
    ] {
        for open in ["", "host.allow.task.grant.env=HOME\nhost.allow.keys=job.id\nhost.allow.file.path=/a\n"] {
            let lines = lines_to_add(&refused(open, author));
            loaded(&format!("{open}{lines}"), author);
        }
    }
}

#[test]
fn an_author_may_set_what_is_the_jobs_business() {
    let author = "\
        job.name=orders\n\
        task.class=orders.wasm\n\
        task.inputs=kinesis.other,kinesis.more\n\
        task.config.greeting=hello\n\
        task.commit.ms=100\n\
        task.batch.max.records=7\n\
        task.retry.max.attempts=9\n\
        task.rollout=canary\n\
        task.memory.max.mb=64\n\
        task.call.timeout.ms=10000\n\
        task.grant.env=\n\
        task.grant.dir=\n\
        task.grant.http=\n\
        systems.console.samza.factory=console\n\
        systems.kinesis.streams.other.aws.kcl.InitialPositionInStream=TRIM_HORIZON\n\
        systems.kinesis.streams.other.aws.kcl.MaxCacheByteSize=999\n\
        systems.kinesis.streams.more.aws.kcl.StreamIdentifier=123456789012:more:1\n\
        systems.kinesis.streams.other.aws.kcl.StreamIdentifier=123456789012:other:1\n\
        systems.kinesis.aws.kcl.IdleTimeBetweenReadsInMillis=600\n";
    let loaded = loaded("host.allow.keys=systems.*.StreamIdentifier\n", author);
    assert_eq!((loaded.job.limits.memory_max_bytes, loaded.job.inputs.len()), (64 << 20, 2));
    assert!(loaded.job.grants.env.is_empty() && loaded.job.grants.directories.is_empty());
    assert_eq!(super::kinesis(loaded.job).retrieval.max_cache_bytes, 999);
}

#[test]
fn a_limit_is_lowered_and_never_raised() {
    for (host, most) in
        [("", 128), ("host.allow.task.memory.max.mb=512\n", 512), ("host.allow.task.memory.max.mb=1\n", 128)]
    {
        let author = |mib: u32| format!("task.memory.max.mb={mib}\n");
        assert_eq!(loaded(host, &author(most)).job.limits.memory_max_bytes, (most as usize) << 20);
        assert_eq!(
            lines_to_add(&refused(host, &author(most + 1))),
            format!("host.jobs.orders.allow.task.memory.max.mb={}\n", most + 1)
        );
    }
    // Where the operator says nothing, the default counts; at a stream, what its system says.
    assert_eq!(refused("", "task.init.timeout.ms=30001\n").count(), 1);
    assert_eq!(refused("", "systems.kinesis.streams.lines.aws.kcl.MaxCacheByteSize=1001\n").count(), 1);
}

#[test]
fn a_setting_for_one_job_overrides_the_setting_for_all() {
    let author = "task.grant.env=TOKEN\n";
    assert_eq!(loaded("host.allow.task.grant.env=TOKEN\n", author).job.grants.env.len(), 1);
    assert_eq!(loaded("host.jobs.orders.allow.task.grant.env=TOKEN\n", author).job.grants.env.len(), 1);
    for host in [
        "host.jobs.other.allow.task.grant.env=TOKEN\n",
        "host.allow.task.grant.env=TOKEN\nhost.jobs.orders.allow.task.grant.env=\n",
    ] {
        assert_eq!(refused(host, author).count(), 1, "{host}");
    }
}

#[test]
fn settings_of_the_operator_are_not_limited_and_win_on_the_command_line() {
    let operators = "task.memory.max.mb=4096\ntask.grant.dir=/data:rw\njob.id=9\nsystems.out.samza.factory=file\nsystems.out.file.path=out.jsonl\n";
    let job = loaded(operators, "").job;
    assert_eq!((job.id.as_str(), job.name.as_str(), job.grants.directories.len()), ("9", "orders", 1));
    assert!(
        matches!(&job.outputs["out"], Output::File { path, operators } if path == operators && path == Path::new("out.jsonl"))
    );
    let job = load_over("", "task.grant.env=HOME\n", Some("task.grant.env=")).expect("the operator says none").job;
    assert!(job.grants.env.is_empty());
}

#[test]
fn a_single_job_is_the_operators() {
    let text = format!("{HOST}job.name=orders\ntask.class=orders\ntask.grant.env=HOME\nhost.memory.max.mb=1000\n");
    let loaded = config::load(&[file("job.properties", &text)], &environment(&[("HOME", "/root")]), false);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{}", render_problems(&errors)));
    assert_eq!((loaded.job.grants.env.len(), loaded.host.memory_max), (1, Some(1000 << 20)));
}

/// Below what the operator named, whoever may write there may have made links.
#[test]
fn a_granted_path_records_which_part_of_it_is_the_operators() {
    let host = "host.allow.task.grant.dir=/data:ro,/data/out:rw\nhost.allow.file.path=/var/out\n";
    let author = "task.grant.dir=/data/in/x::/in,/data/out/y:rw\nsystems.o.samza.factory=file\nsystems.o.file.path=/var/out/a/b.jsonl\n";
    let job = loaded(host, author).job;
    let operators: Vec<_> = job.grants.directories.iter().map(|it| it.operators.display().to_string()).collect();
    assert_eq!(operators, ["/data", "/data/out"]);
    assert!(matches!(&job.outputs["o"], Output::File { operators, .. } if operators == Path::new("/var/out")));
}

#[test]
fn no_path_leads_out_of_what_is_allowed() {
    let host = "host.allow.task.grant.dir=/data/in\nhost.allow.file.path=/var/out\n";
    for author in [
        "task.grant.dir=/data/in:rw\n",
        "task.grant.dir=/data\n",
        "task.grant.dir=/data/inner\n",
        "task.grant.dir=/data/in,/\n",
        "systems.o.samza.factory=file\nsystems.o.file.path=/var/out/../x\n",
        "systems.o.samza.factory=file\nsystems.o.file.path=/var/outer/x\n",
        "systems.o.samza.factory=file\nsystems.o.file.path=var/out/x\n",
    ] {
        let errors = refused(host, author);
        assert_eq!((errors.count(), errors.problems()[0].code), (1, Code::NotAllowed), "{errors}");
    }
}

/// A stream that the operator has settings for is not swapped for another under them.
#[test]
fn a_factory_named_by_an_id_of_the_operator_is_the_operators() {
    let host = "systems.kinesis.streams.audit.aws.roleArn=arn:aws:iam::123456789012:role/reader\n";
    let author = "task.inputs=audit\njob.default.system=kinesis\nstreams.audit.samza.physical.name=payments\n";
    assert_eq!(refused(host, author).problems()[0].code, Code::NotAllowed);
    assert_eq!(loaded("", author).job.inputs[0].stream(), "payments");
}

#[test]
fn networks_hold_for_all_grants() {
    let networks = |host: &str| loaded(host, "").job.grants.http_networks;
    assert!(networks("").is_empty());
    let all = networks("host.allow.http.networks=10.0.0.0/8, fd00::/8\n");
    let address: IpAddr = "10.1.2.3".parse().expect("an address");
    assert!(all.iter().any(|network| network.contains(address)) && all.len() == 2);
    assert!(networks("host.allow.http.networks=10.0.0.0/8\nhost.jobs.orders.allow.http.networks=\n").is_empty());
}

fn host_of(text: &str) -> Result<Host, String> {
    let loaded = config::load_host(&[file("host.properties", text)], &BTreeMap::new(), false);
    loaded.map(|loaded| loaded.host).map_err(|errors| render_problems(&errors))
}

#[test]
fn a_hosts_configuration_is_checked_without_a_job() {
    let host =
        host_of(&format!("{HOST}host.memory.max.mb=4096\nhost.jobs.a.b.allow.keys=job.name\n")).expect("a good one");
    assert_eq!((host.memory_max, host.jobs.contains_key("a.b")), (Some(4096 << 20), true));
    assert_eq!(host_of("# nothing\n"), Ok(Host::default()));
    let bad = "\
        host.memory.max.mb=lots\n\
        host.allow.http.networks=10.0.0.0/8,10.0.0.1/8\n\
        host.allow.keys=job.nmae,task.grant.dir,task.commit.ms,host.memory.max.mb,systems.*.TableName\n\
        host.allow.task.grant.dir=/data::/in\n\
        host.alow.keys=job.name\n\
        task.comit.ms=1\n";
    assert_snapshot!(host_of(bad).expect_err("a bad one"), @r"
    error[bad-value]: `host.memory.max.mb` cannot have this value
      at:       host.properties:1
      value:    lots
      expected: a whole number from 1 to 2147483647

    error[bad-value]: `host.allow.http.networks` cannot have this value
      at:       host.properties:2
      value:    10.0.0.0/8,10.0.0.1/8
      expected: networks in CIDR notation such as 10.0.0.0/8 or fd00::/8, several with commas between
      hint:     number 2 of the list: bits behind the prefix are set; write 10.0.0.0/8

    error[bad-value]: `job.nmae` in `host.allow.keys` opens nothing
      at:       host.properties:3
      value:    job.nmae,task.grant.dir,task.commit.ms,host.memory.max.mb,systems.*.TableName
      expected: keys that are the operator's, as host/CONFIGURATION.md has them
      hint:     correct the key; `*` stands for any characters

    error[bad-value]: `task.grant.dir` in `host.allow.keys` opens nothing
      at:       host.properties:3
      value:    job.nmae,task.grant.dir,task.commit.ms,host.memory.max.mb,systems.*.TableName
      expected: keys that are the operator's, as host/CONFIGURATION.md has them
      hint:     host.allow.task.grant.dir opens it, up to a value

    error[bad-value]: `task.commit.ms` in `host.allow.keys` opens nothing
      at:       host.properties:3
      value:    job.nmae,task.grant.dir,task.commit.ms,host.memory.max.mb,systems.*.TableName
      expected: keys that are the operator's, as host/CONFIGURATION.md has them
      hint:     remove it: jobs may set it anyway

    error[bad-value]: `host.memory.max.mb` in `host.allow.keys` opens nothing
      at:       host.properties:3
      value:    job.nmae,task.grant.dir,task.commit.ms,host.memory.max.mb,systems.*.TableName
      expected: keys that are the operator's, as host/CONFIGURATION.md has them
      hint:     remove it: a job never sets a key of the host

    error[bad-value]: `host.allow.task.grant.dir` cannot have this value
      at:       host.properties:4
      value:    /data::/in
      expected: /path[:ro|:rw], several with commas between

    error[unknown-key]: `host.alow.keys` is not a known key
      at:       host.properties:5
      nearest:  host.allow.keys
      hint:     write host.allow.keys, or remove the line; --lenient ignores unknown keys

    error[unknown-key]: `task.comit.ms` is not a known key
      at:       host.properties:6
      nearest:  task.commit.ms
      hint:     write task.commit.ms, or remove the line; --lenient ignores unknown keys

    9 problems found
    ");
}

#[test]
fn a_modules_name_that_is_no_jobs_is_blamed_on_the_file() {
    let sources = [file("host.properties", HOST), Source::Module("Big Orders".to_owned())];
    let errors = config::load(&sources, &BTreeMap::new(), false).expect_err("no name for a job");
    assert_snapshot!(render_problems(&errors), @r"
    error[bad-value]: `job.name` cannot have this value
      at:       the name of Big Orders.wasm
      value:    Big Orders
      expected: letters, digits, `.`, `-` and `_` only
      hint:     rename Big Orders.wasm: a job is called as its module

    1 problem found
    ");
}

/// Lines of keys and values that reach for what is not the job's, and some that do not.
fn author() -> impl Strategy<Value = String> {
    let line = (
        prop::sample::select(
            [
                "job.name",
                "job.id",
                "app.name",
                "app.id",
                "task.class",
                "task.inputs",
                "task.grant.env",
                "task.grant.dir",
                "task.grant.http",
                "task.memory.max.mb",
                "task.call.timeout.ms",
                "systems.kinesis.samza.factory",
                "systems.kinesis.aws.kcl.TableName",
                "systems.kinesis.aws.kcl.KinesisEndpoint",
                "systems.kinesis.aws.region",
                "systems.kinesis.streams.lines.aws.kcl.TableName",
                "systems.x.samza.factory",
                "systems.x.file.path",
                "systems.kinesis.aws.roleArn",
                "systems.kinesis.aws.clientConfig.ProxyHost",
                "host.allow.keys",
                "systems.kinesis.aws.kcl.MaxCacheByteSize",
                "streams.lines.samza.physical.name",
                "job.default.system",
            ]
            .as_slice(),
        ),
        prop::sample::select(
            [
                "orders",
                "1",
                "kinesis.lines",
                "kinesis",
                "file",
                "console",
                "/etc/x",
                "HOME",
                "/",
                "http://a.b",
                "4096",
                "1000000",
                "us-east-1",
                "arn:aws:iam::123456789012:role/r",
                "*",
                "lines",
                "x",
                "",
            ]
            .as_slice(),
        ),
    );
    prop::collection::vec(line, 0..8)
        .prop_map(|lines| lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect())
}

proptest! {
    /// Whatever an author writes, a job that may run is the one that the operator knows, with no more than it was given.
    #[test]
    fn no_author_gets_more_than_is_given(author in author()) {
        if let Ok(Loaded { job, host, .. }) = load_over("", &author, None) {
            prop_assert_eq!((job.name.as_str(), job.id.as_str(), job.task_class.as_str()), ("orders", "1", "orders"));
            prop_assert!(job.grants.env.is_empty() && job.grants.directories.is_empty() && job.grants.http.is_empty());
            prop_assert!(job.limits.memory_max_bytes <= 128 << 20 && job.limits.call_timeout.as_millis() <= 10_000);
            prop_assert!(job.outputs.values().all(|output| *output == Output::Console));
            prop_assert_eq!(host, Host::default());
            for Input::Kinesis(input) in job.inputs {
                prop_assert!(input.system == "kinesis" && input.table.name == "of-the-operator" && input.retrieval.max_cache_bytes <= 1000);
                prop_assert!(input.kinesis.endpoint.is_none() && input.kinesis.region.is_none() && input.kinesis.role.is_none());
                prop_assert!(input.client.proxy.is_none());
            }
        }
    }
}
