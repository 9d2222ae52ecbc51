//! What runs is what the state says: a file that cannot run costs nothing of what runs, also not at the next start; what
//! was rejected stays so, with its reason; operators get their way whatever a job waits for; and the state directory may
//! go away and come back.

use std::fs;
use std::path::Path;

use serde_json::Value;
use shardmill_tests::wat::assemble;

use crate::hosts::{HOST, Host, digits, echo, in_directory, module, version};
use crate::local::Local;
use crate::shell::{Said, directory, finished};

/// A host that has one job, `orders`.
fn only(properties: &str) -> String {
    format!("{HOST}job.name=orders\ntask.class=orders\n{properties}")
}

/// Files that a host may find in place of a module, and what it says of them.
fn bad_files() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let echo = echo();
    let wrong = assemble("(component (core module $m) (core instance (instantiate $m)))");
    vec![
        ("no WebAssembly", b"# README".to_vec(), "does not start with the header of a WebAssembly file"),
        ("cut short", echo[..echo.len() / 2].to_vec(), "ends in the middle of a section"),
        ("empty", Vec::new(), "the file is empty"),
        ("a core module", b"\0asm\x01\0\0\0".to_vec(), "it is a core module"),
        ("another world", wrong, "does not fit the contract"),
        ("damaged", [&echo[..8], &[0xff; 64]].concat(), "orders"),
    ]
}

fn mkfifo(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
}

fn runs_and_says(host: &Host, what: &str, reason: &str) {
    let runs = Value::from(module("orders", &version(1)));
    host.until("orders", what, |job| {
        let said = job["rejected"]["reason"].as_str().unwrap_or_default();
        job["state"] == "running" && job["module"] == runs && said.contains(reason)
    });
}

/// In both ways of running.
#[test]
fn a_file_that_cannot_run_does_not_cost_the_running_version_at_the_next_start() {
    for properties in [HOST.to_owned(), only("")] {
        let mut host = Host::start_with(&properties, &[("orders.wasm", &version(1))]);
        host.until_running("orders", &version(1));
        host.stop();
        for (what, bytes, reason) in bad_files() {
            fs::write(host.task("orders.wasm"), bytes).unwrap();
            // What is old is not waited for.
            let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
            fs::File::options().write(true).open(host.task("orders.wasm")).unwrap().set_modified(long_ago).unwrap();
            host.restart();
            runs_and_says(&host, what, reason);
            host.stop();
        }
        fs::remove_file(host.task("orders.wasm")).unwrap();
        mkfifo(&host.task("orders.wasm"));
        host.restart();
        runs_and_says(&host, "a pipe", "it is a pipe, not a regular file");
        host.stop();
        fs::remove_file(host.task("orders.wasm")).unwrap();
        fs::File::create(host.task("orders.wasm")).unwrap().set_len((128 << 20) + 1).unwrap();
        host.restart();
        runs_and_says(&host, "too large", "it is larger than 134217728 bytes");
        host.stop();
        // The next good one comes in.
        fs::write(host.task("orders.wasm"), version(2)).unwrap();
        host.restart();
        host.until_running("orders", &version(2));
        host.stop();
    }
}

/// Its checksum is another one's, and is put right later; the bytes are the same.
#[test]
fn a_wrong_checksum_is_not_held_against_the_bytes() {
    let mut host = Host::start(&[("orders.wasm", &version(1))]);
    host.until_running("orders", &version(1));
    host.stop();
    let sum = |wasm: &[u8]| format!("{}  orders.wasm\n", sha256(wasm));
    fs::write(host.task("orders.wasm.sha256"), sum(b"other bytes")).unwrap();
    fs::write(host.task("orders.wasm"), version(2)).unwrap();
    host.restart();
    runs_and_says(&host, "the checksum differs", "its SHA-256 is");
    fs::write(host.task("orders.wasm.sha256"), sum(&version(2))).unwrap();
    host.until_running("orders", &version(2));
    host.stop();
}

fn sha256(wasm: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// With one job the configuration names the module, so it may be missing; but what never ran is not made up.
#[test]
fn a_missing_file_does_not_cost_the_running_version_of_a_host_of_one_job() {
    let mut host = Host::start_with(&only(""), &[("orders.wasm", &version(1))]);
    host.until_running("orders", &version(1));
    host.stop();
    fs::remove_file(host.task("orders.wasm")).unwrap();
    host.restart();
    host.until_running("orders", &version(1));
    fs::write(host.task("orders.wasm"), version(2)).unwrap();
    host.until_running("orders", &version(2));
    host.stop();
    fs::remove_dir_all(host.task(".shardmill")).unwrap();
    fs::remove_file(host.task("orders.wasm")).unwrap();
    let said = host.said(&["run", "--config-path", "host.properties"]);
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.stderr.contains("no module for task.class=orders"), "{said:?}");
}

/// Without its files it is not known how it is to run, and by another configuration it might read everything again.
#[test]
fn a_job_of_a_task_directory_whose_file_is_missing_at_the_start_does_not_run_and_that_is_said() {
    let mut host = Host::start(&[("orders.wasm", &version(1)), ("other.wasm", &version(3))]);
    host.until_running("orders", &version(1));
    host.until_running("other", &version(3));
    host.stop();
    fs::remove_file(host.task("orders.wasm")).unwrap();
    host.restart();
    host.until_running("other", &version(3));
    let line = format!("orders: {} was deployed here, and orders.wasm is not in", module("orders", &version(1)));
    host.wait("it is said", || host.said(&["ls"]).stdout.contains(&line));
    let said = host.said(&["status", "orders"]);
    assert!(said.code == Some(1) && said.stderr.contains(&line), "{said:?}");
    fs::write(host.task("orders.wasm"), version(1)).unwrap();
    host.until_running("orders", &version(1));
    assert!(!host.said(&["ls"]).stdout.contains(&line));
    host.stop();
}

/// It starts with one configuration and not with another.
#[test]
fn a_module_that_does_not_start_does_not_cost_the_running_version_at_the_next_start() {
    let fatal = format!("task.config.{}.init=fatal\n", digits(&version(2)));
    for properties in [format!("{HOST}{fatal}"), only(&fatal)] {
        let mut host = Host::start_with(&properties, &[("orders.wasm", &version(1))]);
        host.until_running("orders", &version(1));
        host.stop();
        fs::write(host.task("orders.wasm"), version(2)).unwrap();
        for _ in 0..2 {
            host.restart();
            runs_and_says(&host, "it does not start", "as told");
            host.stop();
        }
        assert!(!host.process.log().contains("checking the module"), "it is known by now:\n{}", host.process.log());
        let good = properties.replace(&fatal, "");
        fs::write(host.directory.path().join("host.properties"), good).unwrap();
        host.restart();
        host.until_running("orders", &version(2));
        host.stop();
    }
}

/// Else a restart forgets why it does not run, and who deploys it again waits for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_outlives_a_restart_with_its_reason() {
    let bad = version(2);
    let properties = format!("{HOST}task.config.{}.process=trap\n", digits(&bad));
    let mut host = Host::start_with(&properties, &[("orders.wasm", &version(1))]);
    host.put(20).await;
    host.until("orders", "all is processed", |job| job["processed"] == 20);
    assert_eq!(host.deploy("orders", &bad).code, Some(1));
    let before = host.job("orders").unwrap();
    host.stop();
    host.restart();
    host.until_running("orders", &version(1));
    host.until("orders", "it says the same", |job| job["rejected"] == before["rejected"]);
    let again = host.deploy("orders", &bad);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("was rejected") && !again.stderr.contains("timed out waiting"), "{again:?}");
    host.stop();
}

/// What was left by name is in the directory still; who deploys it again is told at once.
#[test]
fn deploy_reports_a_version_that_was_rolled_back_by_name_at_once() {
    let mut host = Host::start(&[("orders.wasm", &version(1))]);
    host.until_running("orders", &version(1));
    assert_eq!(host.deploy("orders", &version(2)).code, Some(0));
    assert_eq!(host.said(&["rollback", "orders", "--to", &digits(&version(1))]).code, Some(0));
    host.until_running("orders", &version(1));
    for _ in 0..2 {
        let again = host.deploy("orders", &version(2));
        assert_eq!(again.code, Some(1), "{again:?}");
        let what_to_do = format!("`shardmill rollback orders --to {}`", digits(&version(2)));
        assert!(again.stderr.contains(&what_to_do) && !again.stderr.contains("timed out waiting"), "{again:?}");
        host.stop();
        host.restart();
        host.until_running("orders", &version(1));
    }
    host.stop();
}

#[test]
fn operators_get_their_way_whatever_a_job_waits_for() {
    let fatal = format!("task.config.{}.init=fatal\n", digits(&version(2)));
    let mut host = Host::start(&[("orders.wasm", &version(1))]);
    host.until_running("orders", &version(1));
    let roles = |host: &Host| {
        let said = host.said(&["versions", "orders", "--json"]);
        let said: Value = serde_json::from_str(&said.stdout).unwrap();
        let mut roles: Vec<String> =
            said["versions"].as_array().unwrap().iter().map(|it| it["role"].as_str().unwrap().to_owned()).collect();
        roles.sort();
        roles
    };
    // Failed: it does not start with its new configuration.
    assert_eq!(host.deploy("orders", &version(2)).code, Some(0));
    fs::write(host.task("orders.properties"), &fatal).unwrap();
    host.until("orders", "it failed", |job| job["state"] == "failed");
    assert_eq!(roles(&host), ["current", "previous"]);
    let said = host.said(&["rollback", "orders"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    host.until_running("orders", &version(1));
    assert_eq!(roles(&host), ["current", "rolled back"]);
    // Drained: it stays down, and goes on with what was asked for.
    fs::write(host.task("orders.properties"), "").unwrap();
    host.until_running("orders", &version(1));
    assert_eq!(host.said(&["drain", "orders"]).code, Some(0));
    host.until("orders", "it is drained", |job| job["state"] == "drained");
    let said = host.said(&["rollback", "orders", "--to", &digits(&version(2))]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(host.job("orders").unwrap()["state"], "drained");
    assert_eq!(host.said(&["resume", "orders"]).code, Some(0));
    host.until_running("orders", &version(2));
    // Rejected: what is in the directory cannot run.
    fs::write(host.task("orders.wasm"), "no module").unwrap();
    host.until("orders", "it is rejected", |job| job["rejected"]["reason"].is_string());
    let said = host.said(&["rollback", "orders", "--to", &digits(&version(1))]);
    assert_eq!(said.code, Some(0), "{said:?}");
    host.until_running("orders", &version(1));
    // Waiting: its configuration cannot be used.
    host.stop();
    fs::write(host.task("orders.properties"), "no.such.key=1\n").unwrap();
    host.restart();
    host.until("orders", "it waits", |job| job["state"] == "waiting" && job["problems"][0].is_string());
    let said = host.said(&["rollback", "orders", "--to", &digits(&version(2))]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = host.said(&["resume", "orders"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("no.such.key"), "it says what is in the way: {said:?}");
    let said = host.said(&["promote", "orders"]);
    assert!(said.stderr.contains("there is no candidate to promote"), "{said:?}");
    fs::write(host.task("orders.properties"), "").unwrap();
    host.until_running("orders", &version(2));
    host.stop();
}

#[test]
fn a_candidate_of_a_job_that_is_down_is_promoted() {
    let properties = format!("{HOST}task.rollout=canary\ntask.rollout.waves=50%\ntask.rollout.bake.ms=3600000\n");
    let mut host = Host::start_with(&properties, &[("orders.wasm", &version(1))]);
    host.until("orders", "it reads", |job| job["shards"].as_array().is_some_and(|shards| shards.len() == 2));
    fs::write(host.task("orders.wasm"), version(2)).unwrap();
    host.until("orders", "it is a candidate", |job| job["rollout"]["candidate"]["shards"] == 1);
    assert_eq!(host.said(&["drain", "orders"]).code, Some(0));
    host.until("orders", "it is drained", |job| job["state"] == "drained");
    assert_eq!(host.said(&["promote", "orders"]).code, Some(0));
    assert_eq!(host.said(&["resume", "orders"]).code, Some(0));
    host.until_running("orders", &version(2));
    host.stop();
}

/// A job that never ran, with a module that cannot run: it is looked at once more.
#[test]
fn a_job_with_nothing_to_run_checks_its_module_again_when_it_is_resumed() {
    let mut host = Host::start(&[("orders.wasm", b"no module")]);
    let is_rejected = |job: &Value| job["rejected"]["reason"].is_string();
    host.until("orders", "it is rejected", is_rejected);
    let checks = || host.process.log().matches("checking the module").count();
    let before = checks();
    assert_eq!(host.said(&["resume", "orders"]).code, Some(0));
    host.wait("it is checked again", || checks() > before);
    host.until("orders", "it is rejected again", is_rejected);
    host.stop();
}

/// `rsync --delete`, `git clean`: they know nothing of this directory.
#[test]
fn a_state_directory_that_goes_away_is_made_again_and_the_next_version_comes_in() {
    for state in [".shardmill", "../elsewhere"] {
        let mut host = Host::start(&[]);
        let state_of = |host: &Host| host.task(state);
        if state != ".shardmill" {
            host.until_reachable();
            host.stop();
            host.restart_with(&["--state", "elsewhere"]);
        }
        fs::write(host.task("orders.wasm"), version(1)).unwrap();
        host.until_running("orders", &version(1));
        fs::remove_dir_all(state_of(&host)).unwrap();
        let deployment = state_of(&host).join("orders/deployment.json");
        host.wait("it is written again", || deployment.exists());
        let bytes = state_of(&host).join(format!("orders/modules/{}.wasm", sha256(&version(1))));
        assert_eq!(fs::read(&bytes).unwrap(), version(1), "the way back, too");

        // With the next version at the same time.
        fs::remove_dir_all(state_of(&host)).unwrap();
        fs::write(host.task("orders.wasm"), version(2)).unwrap();
        host.until_running("orders", &version(2));
        let said = host.said(&["rollback", "orders", "--to", &digits(&version(1))]);
        assert_eq!(said.code, Some(0), "{said:?}");
        host.stop();
    }
}

/// A release directory is put in place by a link: the directory that the host was started on is another one by then.
#[test]
fn a_task_directory_that_is_replaced_by_a_link_is_followed() {
    let mut host = Host::start(&[("orders.wasm", &version(1))]);
    host.until_running("orders", &version(1));
    let path = |name: &str| host.directory.path().join(name);
    fs::create_dir(path("release2")).unwrap();
    fs::write(path("release2/orders.wasm"), version(2)).unwrap();
    fs::rename(path("tasks"), path("release1")).unwrap();
    std::os::unix::fs::symlink("release2", path("tasks")).unwrap();
    let took_over = format!("{} took over", module("orders", &version(2)));
    host.until_logged(&took_over);
    assert!(path("release2/.shardmill/orders/deployment.json").exists());
    host.process.signal(shardmill_tests::process::Signal::Terminate);
    assert_eq!(host.process.wait().code(), Some(0));
}

/// Whoever writes the task directory may put anything there.
#[test]
fn files_that_are_none_hold_up_neither_their_job_nor_another() {
    let mut host = Host::start(&[("orders.wasm", &version(1)), ("other.wasm", &version(3))]);
    host.until_running("orders", &version(1));
    host.until_running("other", &version(3));
    mkfifo(&host.task("orders.wasm.rollout"));
    fs::write(host.task("orders.wasm"), version(2)).unwrap();
    host.until_running("orders", &version(2));
    host.until("orders", "what is not used is told", |job| {
        job["problems"][0].as_str().is_some_and(|why| why.contains("orders.wasm.rollout is not used: it is a pipe"))
    });
    std::os::unix::fs::symlink("/dev/zero", host.task("orders.properties")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", host.task("other.wasm.sha256")).unwrap();
    host.until("orders", "its properties cannot be used", |job| {
        job["state"] == "running" && job["problems"].to_string().contains("it is a device")
    });
    fs::remove_file(host.task("other.wasm.sha256")).unwrap();
    fs::write(host.task("other.wasm"), version(4)).unwrap();
    host.until_running("other", &version(4));
    host.stop();
}

#[test]
fn ignored_files_in_the_task_directory_are_reported() {
    let mut host = Host::start(&[("CAPS.WASM", &version(1)), ("orders.wasm.bak", b"x"), ("orders.wasm", &version(2))]);
    host.until_running("orders", &version(2));
    fs::write(host.task("a\u{1b}[2J.wasm"), version(1)).unwrap();
    host.until_logged("ignored in the task directory: CAPS.WASM");
    let said = host.said(&["ls"]);
    for text in ["ignored: CAPS.WASM: its ending is not .wasm: rename it to CAPS.wasm", "ignored: orders.wasm.bak"] {
        assert!(said.stdout.contains(text), "{said:?}");
    }
    host.wait("its name is told", || {
        host.said(&["ls"]).stdout.contains("a\\u{1b}[2J.wasm: its name contains invisible characters: rename it")
    });
    let said = host.said(&["status", "CAPS"]);
    assert!(said.stderr.contains("ignored: CAPS.WASM"), "{said:?}");
    assert_eq!(host.process.log().matches("CAPS.WASM").count(), 1, "once");
    host.stop();
}

/// A configuration that takes long to read is no reason not to answer.
#[test]
fn a_configuration_that_takes_long_to_read_holds_up_nothing_else() {
    let mut host = Host::start(&[("orders.wasm", &version(1))]);
    host.until_running("orders", &version(1));
    let keys: String = (0..30_000).map(|number| format!("task.comit.{number}=1\n")).collect();
    fs::write(host.task("long.properties"), keys).unwrap();
    fs::write(host.task("long.wasm"), version(2)).unwrap();
    host.wait("the job is there", || host.job("long").is_some());
    assert_eq!(host.said(&["status", "orders"]).code, Some(0));
    assert_eq!(host.said(&["drain", "orders"]).code, Some(0));
    host.until("orders", "it is drained", |job| job["state"] == "drained");
    host.stop();
}

#[test]
fn a_module_that_no_host_would_admit_is_not_deployed() {
    let nobody = directory(&[("tasks/readme.txt", b""), ("good.wasm", &version(1))]);
    let said = |args: &[&str]| -> Said { finished(in_directory(&nobody, args).env("RUST_LOG", "off")) };
    let deployed = said(&["deploy", "good.wasm", "--name", "orders"]);
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    assert!(deployed.stdout.contains("no host runs tasks: the next host to start picks it up"), "{deployed:?}");
    for (what, bytes, reason) in bad_files() {
        fs::write(nobody.path().join("bad.wasm"), bytes).unwrap();
        let refused = said(&["deploy", "bad.wasm", "--name", "orders"]);
        assert_eq!(refused.code, Some(64), "{what}: {refused:?}");
        assert!(refused.stderr.contains("bad.wasm is not deployed: "), "{what}: {refused:?}");
        // A file that is cut short is damaged, whatever may still come.
        assert!(what == "cut short" || refused.stderr.contains(reason), "{what}: {refused:?}");
    }
    fs::remove_file(nobody.path().join("bad.wasm")).unwrap();
    mkfifo(&nobody.path().join("bad.wasm"));
    let refused = said(&["deploy", "bad.wasm", "--name", "orders"]);
    assert_eq!(refused.code, Some(64), "{refused:?}");
    assert_eq!(fs::read(nobody.path().join("tasks/orders.wasm")).unwrap(), version(1), "the good one stays");

    let mut host = Host::start(&[("orders.wasm", &version(1))]);
    host.until_running("orders", &version(1));
    fs::write(host.directory.path().join("next.wasm"), version(2)).unwrap();
    let deployed = host.said(&["deploy", "next.wasm", "--name", "orders", "--json"]);
    let result: Value = serde_json::from_str(&deployed.stdout).unwrap();
    assert_eq!((&result["has_host"], &result["runs"]), (&true.into(), &false.into()), "{deployed:?}");
    host.stop();
}

/// A directory with a job's file, and what a run to the end of its stream says.
struct Runs {
    local: Local,
    directory: tempfile::TempDir,
}

impl Runs {
    fn new(properties: &str) -> Self {
        let local = Local::start(&["--stream", "lines:2"]);
        let directory = directory(&[("job.properties", only(properties).as_bytes()), ("tasks/readme.txt", b"")]);
        Self { local, directory }
    }

    fn run(&self, wasm: &[u8], more: &[&str]) -> (Said, Value) {
        fs::write(self.directory.path().join("tasks/orders.wasm"), wasm).unwrap();
        let args = ["run", "--config-path", "job.properties", "--until-caught-up", "--json"];
        let mut command = in_directory(&self.directory, &[&args, more].concat());
        let said = finished(self.local.environment(&mut command).env("RUST_LOG", "off"));
        let last = said.stdout.lines().last().unwrap_or_default();
        let summary = serde_json::from_str(last).unwrap_or_else(|error| panic!("no summary: {error}: {said:?}"));
        (said, summary)
    }
}

/// A test of a new version must not pass by the work of the old one.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_to_the_end_fails_when_another_version_did_the_work() {
    let trap = format!("task.config.{}.process=trap\ntask.retry.backoff.ms=10\n", digits(&version(2)));
    let runs = Runs::new(&trap);
    crate::run::put_two(&runs.local).await;
    let (said, summary) = runs.run(&version(1), &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let of_first = Value::from(module("orders", &version(1)));
    assert_eq!((&summary["module"], &summary["became"]), (&of_first, &"running".into()), "{summary}");
    assert_eq!((&summary["envelopes"], &summary["error"]), (&2.into(), &Value::Null));

    crate::run::put_two(&runs.local).await;
    let (said, summary) = runs.run(&version(2), &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!((&summary["module"], &summary["became"]), (&of_first, &"rolled-back".into()), "{summary}");
    assert!(summary["error"].as_str().unwrap().contains("was rolled back"), "{summary}");

    for (what, bytes, reason) in bad_files() {
        let (said, summary) = runs.run(&bytes, &[]);
        assert_eq!(said.code, Some(1), "{what}: {said:?}");
        assert_eq!((&summary["module"], &summary["became"]), (&of_first, &"rejected".into()), "{what}: {summary}");
        assert!(summary["jobs"][0]["reason"].as_str().unwrap().contains(reason), "{what}: {summary}");
        assert!(summary["error"].is_string(), "{what}: {summary}");
    }
}

/// Two jobs of one module: neither goes back to what the other ran.
#[tokio::test(flavor = "multi_thread")]
async fn another_job_id_is_another_job() {
    let trap = format!("task.config.{}.process=trap\ntask.retry.backoff.ms=10\n", digits(&version(2)));
    let runs = Runs::new(&trap);
    crate::run::put_two(&runs.local).await;
    let (said, _) = runs.run(&version(1), &["--config", "job.id=ci1"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let (said, summary) = runs.run(&version(2), &["--config", "job.id=ci2"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(summary["envelopes"], 0, "nothing but the new version ran: {summary}");
    assert_eq!(summary["module"], module("orders", &version(2)), "{summary}");
    assert!(summary["error"].as_str().unwrap().contains("trap"), "{summary}");
    let said = finished(in_directory(&runs.directory, &["versions", "orders"]).env("RUST_LOG", "off"));
    assert!(said.stdout.contains("job.id=ci1") && said.stdout.contains("job.id=ci2"), "{said:?}");
}

#[test]
fn a_run_that_does_not_begin_has_a_summary_too() {
    let runs = Runs::new("");
    let (said, summary) = runs.run(b"no module", &[]);
    assert_eq!((said.code, &summary["became"]), (Some(64), &"rejected".into()), "{summary}");
    let (said, summary) = runs.run(&version(1), &["--config", "no.such.key=1"]);
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(summary["error"].as_str().unwrap().contains("no.such.key"), "{summary}");
}
