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
