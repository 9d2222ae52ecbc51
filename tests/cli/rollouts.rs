//! What becomes of a module that is deployed, as people see it: which way it takes, what `deploy --wait` says at the end,
//! and what happens when much happens at the same time or something is broken.

use std::fs;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::hosts::{HOST, Host, digits, echo, in_directory, module, version};
use crate::shell::Said;

/// A host whose job `orders` runs the first version, with more properties.
fn host(properties: &str) -> Host {
    let host = Host::start_with(&format!("{HOST}{properties}"), &[("orders.wasm", &version(1))]);
    host.until("orders", "it reads", |job| job["shards"].as_array().is_some_and(|shards| shards.len() == 2));
    host
}

/// Begins to deploy a version, and waits for it elsewhere.
fn begin(host: &Host, number: u8, args: &[&str]) -> Child {
    fs::write(host.directory.path().join("new.wasm"), version(number)).unwrap();
    let args = [&["deploy", "new.wasm", "--name", "orders", "--wait"], args].concat();
    let mut command = in_directory(&host.directory, &args);
    command.env("RUST_LOG", "off").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(deploy: Child) -> Said {
    let output = deploy.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn deploy(host: &Host, number: u8, args: &[&str]) -> Said {
    end(begin(host, number, args))
}

#[test]
fn a_canary_is_waited_for_wave_by_wave_until_it_has_taken_over() {
    let mut host = host("task.rollout.waves=1\ntask.rollout.bake.ms=1000\n");
    let said = deploy(&host, 2, &["--canary"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("in wave 1 of 1, on 1 of 2 shards"), "{said:?}");
    host.until_running("orders", &version(2));
    // What is copied, as any other, goes the configured way.
    fs::write(host.task("orders.wasm"), version(3)).unwrap();
    host.until_running("orders", &version(3));
    assert!(!host.process.log().contains(&format!("{} is in wave", module("orders", &version(3)))));
    host.stop();
}

#[test]
fn a_deploy_may_take_over_at_once_where_others_are_canaries() {
    let mut host = host("task.rollout=canary\ntask.rollout.bake.ms=3600000\n");
    let said = deploy(&host, 2, &["--all"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!said.stderr.contains("wave"), "{said:?}");
    // As it is told to, also when it was put there while nothing ran.
    host.stop();
    fs::write(host.directory.path().join("new.wasm"), version(3)).unwrap();
    assert_eq!(host.said(&["deploy", "new.wasm", "--name", "orders"]).code, Some(0));
    host.restart();
    host.until("orders", "it is a candidate", |job| {
        job["rollout"]["candidate"]["module"] == module("orders", &version(3)) && job["state"] == "running"
    });
    host.stop();
}

/// Nothing has been processed that it could have been tried out with.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_traps_is_rolled_back_and_its_deploy_says_why() {
    let bad = version(2);
    let mut host = host(&format!("task.rollout.bake.ms=3600000\ntask.config.{}.process=trap\n", digits(&bad)));
    let waiting = begin(&host, 2, &["--canary"]);
    host.until("orders", "it is a candidate", |job| job["rollout"]["candidate"]["shards"] == 1);
    host.put(40).await;
    let said = end(waiting);
    assert_eq!(said.code, Some(1), "{said:?}");
    let what = format!("{} was rolled back: ", module("orders", &bad));
    let then = format!("; `shardmill rollback orders --to {}` tries it again", digits(&bad));
    assert!(said.stderr.contains(&what) && said.stderr.contains(&then), "{said:?}");
    host.until("orders", "the old version has it all", |job| job["processed"] == 40 && job["rolled_back"] == 1);
    let job = host.job("orders").unwrap();
    assert!(job["traps"].as_u64().unwrap() >= 1 && job["rollout"]["last_pause_us"].is_u64(), "{job}");
    host.stop();
}

#[test]
fn a_wait_ends_when_it_would_be_in_vain() {
    let host = host("");
    for (name, problem) in [("../up", "invalid job name"), (".hidden", "invalid job name")] {
        let said = host.said(&["deploy", "host.properties", "--name", name, "--wait"]);
        assert_eq!(said.code, Some(64), "{said:?}");
        assert!(said.stderr.contains(problem), "{said:?}");
    }
    assert_eq!(host.said(&["drain", "orders"]).code, Some(0));
    host.until("orders", "it is drained", |job| job["state"] == "drained");
    let said = deploy(&host, 2, &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("the job is drained") && said.stderr.contains("shardmill resume orders"), "{said:?}");

    fs::write(host.task("other.properties"), "no.such.key=1\n").unwrap();
    fs::write(host.directory.path().join("other.wasm"), version(1)).unwrap();
    let said = host.said(&["deploy", "other.wasm", "--wait"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("no.such.key"), "{said:?}");
}

#[test]
fn a_wait_ends_with_the_host_and_with_another_module_in_its_place() {
    let slow = format!("task.config.{}.init=sleep 20000\n", digits(&version(2)));
    let mut host = host(&slow);
    let waiting = begin(&host, 2, &[]);
    host.until("orders", "it is tried out", |job| job["admitted"] == module("orders", &version(2)));
    // The last one wins, however long the first takes.
    let said = deploy(&host, 3, &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = end(waiting);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains(&format!("was replaced by {}", module("orders", &version(3)))), "{said:?}");

    let waiting = begin(&host, 2, &[]);
    host.until("orders", "it is tried out", |job| job["admitted"] == module("orders", &version(2)));
    host.process.crash();
    let said = end(waiting);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("no host runs"), "{said:?}");
}

/// The version that runs has done nothing wrong.
#[test]
fn a_rollback_while_a_module_is_tried_out_is_about_that_module() {
    let slow = format!("task.config.{}.init=sleep 20000\n", digits(&version(3)));
    let mut host = host(&slow);
    assert_eq!(deploy(&host, 2, &[]).code, Some(0));
    let waiting = begin(&host, 3, &[]);
    host.until("orders", "it is tried out", |job| job["admitted"] == module("orders", &version(3)));
    assert_eq!(host.said(&["rollback", "orders"]).code, Some(0));
    let said = end(waiting);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("an operator rolled it back"), "{said:?}");
    assert_eq!(host.job("orders").unwrap()["module"], module("orders", &version(2)));
    host.stop();
}

/// It starts with its own properties only, whichever of the two files comes first.
#[test]
fn a_module_and_its_properties_may_change_together() {
    for properties_first in [false, true] {
        let needed = format!("task.config.{}.init=fatal\n", digits(&version(2)));
        let mut host = Host::start(&[("orders.wasm", &version(1)), ("orders.properties", needed.as_bytes())]);
        host.until_running("orders", &version(1));
        if properties_first {
            fs::write(host.task("orders.properties"), "task.commit.ms=200\n").unwrap();
        }
        fs::write(host.task("orders.wasm"), version(2)).unwrap();
        if !properties_first {
            host.until("orders", "it does not start", |job| job["rejected"]["reason"].is_string());
            fs::write(host.task("orders.properties"), "task.commit.ms=200\n").unwrap();
        }
        host.until_running("orders", &version(2));
        host.stop();
    }
}

/// A stop in the middle of a trial: the next start takes it up.
#[test]
fn a_deploy_that_a_stop_cuts_short_is_taken_up_by_the_next_start() {
    let slow = format!("task.config.{}.init=sleep 3000\n", digits(&version(2)));
    let mut host = host(&slow);
    fs::write(host.task("orders.wasm"), version(2)).unwrap();
    host.until("orders", "it is tried out", |job| job["admitted"] == module("orders", &version(2)));
    host.stop();
    host.restart();
    host.until_running("orders", &version(2));
    host.stop();
}

/// What took over while nothing ran is on probation as any other version.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_module_that_was_put_there_while_nothing_ran_goes_back() {
    let bad = version(2);
    let mut host = host(&format!("task.config.{}.process=trap\n", digits(&bad)));
    host.stop();
    fs::write(host.task("orders.wasm"), &bad).unwrap();
    host.restart();
    host.until_running("orders", &bad);
    host.put(10).await;
    host.until("orders", "it went back", |job| {
        job["module"] == module("orders", &version(1))
            && job["processed"] == 10
            && job["rejected"]["rolled_back"] == true
    });
    host.stop();
}

/// A job that does not start leaves nothing behind that takes shards and reads none.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_did_not_start_does_not_keep_the_shards_from_the_next() {
    // Long enough to take every lease meanwhile.
    let fatal = format!("task.config.{}.init=spin\ntask.init.timeout.ms=2000\n", digits(&version(1)));
    let mut host = Host::start(&[("orders.wasm", &version(1)), ("orders.properties", fatal.as_bytes())]);
    for _ in 0..2 {
        host.until("orders", "it did not start", |job| job["state"] == "failed");
        assert_eq!(host.said(&["resume", "orders"]).code, Some(0));
    }
    host.until("orders", "it did not start", |job| job["state"] == "failed" && job["starts"] == 3);
    host.put(40).await;
    fs::write(host.task("orders.properties"), "task.commit.ms=200\n").unwrap();
    host.until("orders", "all is processed", |job| job["processed"] == 40);
    assert_eq!(host.job("orders").unwrap()["shards"].as_array().unwrap().len(), 2);
    host.stop();
}

#[test]
fn a_paused_job_stays_paused_when_it_is_restarted() {
    let mut host = host("");
    assert_eq!(host.said(&["pause", "orders"]).code, Some(0));
    fs::write(host.task("orders.properties"), "task.commit.ms=200\n").unwrap();
    host.until("orders", "it was restarted", |job| job["starts"] == 2 && job["state"] == "paused");
    let said = deploy(&host, 2, &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(host.job("orders").unwrap()["state"], "paused");
    assert_eq!(host.said(&["resume", "orders"]).code, Some(0));
    host.until_running("orders", &version(2));
    host.stop();
}

#[test]
fn problems_of_one_job_are_reported_and_the_others_keep_running() {
    let mut host = host("");
    // A deployment that is damaged.
    fs::create_dir_all(host.task(".shardmill/damaged/modules")).unwrap();
    fs::write(host.task(".shardmill/damaged/deployment.json"), "{").unwrap();
    fs::write(host.task("damaged.wasm"), version(2)).unwrap();
    // Properties that are no text: the last good ones hold.
    fs::write(host.task("latin.wasm"), version(3)).unwrap();
    host.until_running("latin", &version(3));
    fs::write(host.task("latin.properties"), b"task.config.x=caf\xe9\n").unwrap();
    // A module that is none, and one that cannot be a job.
    fs::write(host.task("text.wasm"), "hello").unwrap();
    fs::write(host.task("two words.wasm"), version(4)).unwrap();
    fs::create_dir(host.task("directory.wasm")).unwrap();
    std::os::unix::fs::symlink("nowhere", host.task("dangling.wasm")).unwrap();

    let told = |name: &str, state: &str, text: &str| {
        host.until(name, text, |job| {
            let problem = job["problems"][0].as_str().unwrap_or_default();
            job["state"] == state && problem.contains(text)
        });
    };
    told("damaged", "failed", "is damaged");
    told("latin", "running", "latin.properties: it is not UTF-8");
    told("text", "waiting", "not a WebAssembly component");
    told("two words", "waiting", "`two words` cannot be the name of a job: expected letters, digits");
    assert_eq!(host.job("orders").unwrap()["problems"], Value::Array(Vec::new()));
    told("directory", "waiting", "directory.wasm was rejected: it is a directory, not a regular file");
    told("dangling", "waiting", "dangling.wasm was rejected: it is a link to a missing file");

    // A bad module that is taken away again is no job any more, and nothing to wait for.
    fs::remove_file(host.task("text.wasm")).unwrap();
    host.wait("it is forgotten", || host.job("text").is_none());
    host.stop();
}

#[test]
fn a_job_goes_on_while_nothing_can_be_kept() {
    let mut host = host("");
    let modules = host.task(".shardmill/orders/modules");
    fs::remove_dir_all(&modules).unwrap();
    fs::write(&modules, "no directory").unwrap();
    let said = deploy(&host, 2, &["--timeout", "5"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("cannot be kept") && said.stderr.contains("will retry"), "{said:?}");
    assert_eq!(host.job("orders").unwrap()["module"], module("orders", &version(1)));
    // Nothing is held against the bytes: they run once the machine can keep them.
    fs::remove_file(&modules).unwrap();
    host.until_running("orders", &version(2));
    host.stop();
    fs::remove_dir_all(&modules).unwrap();
    fs::write(&modules, "no directory").unwrap();
    host.restart();
    host.until_running("orders", &version(2));
    host.stop();

    // No directory at all: it runs, and says what it lacks.
    fs::remove_dir_all(host.task(".shardmill")).unwrap();
    fs::write(host.task(".shardmill"), "no directory").unwrap();
    host.restart();
    host.until("orders", "it runs", |job| {
        let problem = job["problems"][0].as_str().unwrap_or_default();
        job["state"] == "running" && problem.contains("forgotten at the end") && problem.contains("--state")
    });
    host.stop();
}

/// Whoever was in its way goes another way.
#[test]
fn a_job_that_waits_for_a_lease_table_gets_it() {
    let mut host = host("host.allow.keys=job.name\n");
    fs::write(host.task("second.properties"), "job.name=orders\n").unwrap();
    fs::write(host.task("second.wasm"), echo()).unwrap();
    host.until("second", "it waits", |job| job["state"] == "waiting" && job["problems"][0].is_string());
    fs::write(host.task("orders.properties"), "job.name=first\n").unwrap();
    host.until_running("second", &echo());
    host.until_running("orders", &version(1));
    host.stop();
}
