//! `shardmill config check` and `config show`.

use std::process::Stdio;

use serde_json::Value;

use crate::shell::{command, directory, shardmill_in};

const GOOD: &[u8] = b"\
job.name=orders
task.class=word-count
task.inputs=kinesis.orders
systems.kinesis.samza.factory=org.apache.samza.system.kinesis.KinesisSystemFactory
systems.kinesis.aws.region=eu-central-1
systems.kinesis.streams.orders.aws.accessKey=AKIAEXAMPLE
sensitive.systems.kinesis.streams.orders.aws.secretKey=wJalrXUtnFEMI
";

const BAD: &[u8] = b"\
job.name=orders
task.clas=word-count
task.inputs=kinesis.orders
systems.kinesis.samza.factory=kinesis
systems.kinesis.aws.kcl.FailoverTimeMillis=soon
";

#[test]
fn a_good_configuration_passes() {
    let dir = directory(&[("orders.properties", GOOD)]);
    let file = "orders.properties";
    insta::assert_snapshot!("check_good", shardmill_in(&dir, &["config", "check", file]).text(dir.path()));
    let said = shardmill_in(&dir, &["config", "check", file, "--json"]);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, &json["ok"], &json["problems"]), (Some(0), &Value::Bool(true), &Value::Array(vec![])));
}

/// As `shardmill config show ... | head -1` has it.
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let dir = directory(&[("orders.properties", GOOD)]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut show = command(&["config", "show", "orders.properties"]);
    let output = show.current_dir(&dir).stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output();
    let output = output.unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
}

#[test]
fn a_bad_configuration_is_refused_with_everything_that_is_wrong() {
    let dir = directory(&[("bad.properties", BAD)]);
    let file = "bad.properties";
    let said = shardmill_in(&dir, &["config", "check", file]);
    assert_eq!(said.code, Some(64));
    insta::assert_snapshot!("check_bad", said.text(dir.path()));

    let said = shardmill_in(&dir, &["config", "check", file, "--json"]);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, &json["ok"]), (Some(64), &Value::Bool(false)));
    let codes = json["problems"].as_array().unwrap().iter().map(|problem| problem["code"].as_str().unwrap());
    insta::assert_snapshot!("check_bad_codes", codes.collect::<Vec<_>>().join("\n"));

    // The same for `show` and `run`, which need a configuration that can be used.
    for args in [&["config", "show", file] as &[&str], &["run", "--config-path", file]] {
        let refused = shardmill_in(&dir, args);
        assert_eq!(refused.code, Some(64), "{args:?}");
        assert!(refused.stderr.contains("task.clas"), "{args:?}: {}", refused.stderr);
    }
}

#[test]
fn lenient_lets_unknown_keys_pass_and_nothing_else() {
    let dir = directory(&[("orders.properties", GOOD)]);
    let file = "orders.properties";
    let unknown = ["config", "check", file, "--config", "task.colour=green"];
    assert_eq!(shardmill_in(&dir, &unknown).code, Some(64));
    assert_eq!(shardmill_in(&dir, &[&unknown[..], &["--lenient"]].concat()).code, Some(0));
    let wrong = ["config", "check", file, "--config", "task.commit.ms=green", "--lenient"];
    assert_eq!(shardmill_in(&dir, &wrong).code, Some(64));
}

#[test]
fn a_file_that_is_not_there_is_bad_input() {
    let dir = directory(&[]);
    let said = shardmill_in(&dir, &["config", "check", "none.properties"]);
    insta::assert_snapshot!("check_missing", said.text(dir.path()));
}

#[test]
fn show_tells_every_setting_with_its_origin_and_no_secret() {
    let dir = directory(&[("base.properties", GOOD), ("more.properties", b"task.commit.ms=5000\n")]);
    let args = ["config", "show", "base.properties", "more.properties", "--config", "task.shutdown.ms=9000"];
    let said = shardmill_in(&dir, &args);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    // The defaults are the business of the reference page; one of them shows how they are shown.
    let shown = |line: &&str| !line.starts_with("default") || line.contains("job.id=");
    insta::assert_snapshot!("show", said.stdout.lines().filter(shown).collect::<Vec<_>>().join("\n"));

    let json = shardmill_in(&dir, &[&args[..], &["--json"]].concat());
    let rows: Value = serde_json::from_str(&json.stdout).unwrap();
    let commit = rows.as_array().unwrap().iter().find(|row| row["key"] == "task.commit.ms").unwrap();
    assert_eq!(commit["value"], "5000");
    assert!(commit["origin"].as_str().unwrap().ends_with("more.properties:1"), "{commit}");
    for said in [said, json] {
        assert!(!format!("{said:?}").contains("wJalrXUtnFEMI"), "the secret key is shown");
    }
}

const HOST: &[u8] = b"\
systems.kinesis.samza.factory=kinesis
systems.kinesis.aws.region=eu-central-1
systems.console.samza.factory=console
task.memory.max.mb=128
host.memory.max.mb=2048
host.allow.task.grant.dir=/data/in:ro
";

/// A file without `job.name` and `task.class` is a host's, as it is to `run`.
#[test]
fn a_hosts_configuration_is_checked_as_one() {
    let dir = directory(&[("host.properties", HOST), ("bad.properties", b"host.memory.max.mb=x\ntask.comit.ms=1\n")]);
    for args in [&["config", "check", "host.properties"] as &[&str], &["config", "check", "--host", "host.properties"]]
    {
        let said = shardmill_in(&dir, args);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(said.stdout.starts_with("ok: a host; each NAME.wasm"), "{said:?}");
        assert!(said.stdout.ends_with("\nkeys: 6 set, all with an effect\n"), "{said:?}");
    }
    let bad = shardmill_in(&dir, &["config", "check", "bad.properties"]);
    assert_eq!(bad.code, Some(64));
    assert!(bad.stderr.contains("2 problems found"), "{bad:?}");
    let shown = shardmill_in(&dir, &["config", "show", "--host", "host.properties"]);
    for line in ["host.properties:5      host.memory.max.mb=2048\n", "the name of NAME.wasm  job.name=NAME\n"] {
        assert!(shown.stdout.contains(line), "{shown:?}");
    }
    // What `run` would not start with is told by it, too.
    std::fs::create_dir(dir.path().join("tasks")).unwrap();
    let run = shardmill_in(&dir, &["run", "--config-path", "bad.properties"]);
    assert_eq!((run.code, run.stderr.contains("2 problems found")), (Some(64), true), "{run:?}");
}

/// What a deploy would be refused for is known before it.
#[test]
fn a_jobs_properties_are_checked_against_what_the_host_allows() {
    let dir = directory(&[
        ("host.properties", HOST),
        ("good.properties", b"task.inputs=kinesis.lines\ntask.grant.dir=/data/in\ntask.memory.max.mb=64\n"),
        (
            "greedy.properties",
            b"task.inputs=kinesis.lines\ntask.grant.dir=/etc\ntask.memory.max.mb=256\njob.name=other\n",
        ),
        ("single.properties", GOOD),
    ]);
    let checked =
        |files: &[&str]| shardmill_in(&dir, &[&["config", "check", "--host", "host.properties"], files].concat());
    let good = checked(&["good.properties"]);
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.stdout.starts_with("ok: job good-1 runs good on kinesis.lines, output to console\n"), "{good:?}");

    let both = checked(&["good.properties", "greedy.properties"]);
    assert_eq!(both.code, Some(64));
    insta::assert_snapshot!("check_against_host", both.text(dir.path()));
    let json = checked(&["greedy.properties", "--json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let codes: Vec<_> = json["problems"].as_array().unwrap().iter().map(|problem| &problem["code"]).collect();
    assert_eq!(codes, ["not-allowed", "not-allowed", "not-allowed"]);

    // The operator's `--config` wins.
    let pinned = checked(&[
        "greedy.properties",
        "--config",
        "task.grant.dir=",
        "--config",
        "task.memory.max.mb=64",
        "--config",
        "job.name=x",
    ]);
    assert_eq!(pinned.code, Some(0), "{pinned:?}");
    let show = ["config", "show", "--host", "host.properties", "good.properties"];
    let shown = shardmill_in(&dir, &show);
    let has = |words: &[&str]| shown.stdout.lines().any(|line| line.split_whitespace().eq(words.iter().copied()));
    assert!(has(&["good.properties:2", "task.grant.dir=/data/in"]), "{shown:?}");

    let single = shardmill_in(&dir, &["config", "check", "--host", "single.properties", "good.properties"]);
    assert_eq!((single.code, single.stderr.contains("remove task.class")), (Some(64), true), "{single:?}");
}
