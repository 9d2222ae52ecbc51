//! A task directory and its host, as people use them: files come, change, go and are bad; `deploy`, `ls`, `status`,
//! `drain` and `resume` say and do what they should.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use shardmill_tests::guests::{self, rust_guest};
use shardmill_tests::process::{Process, Signal};
use shardmill_tests::wait::until_blocking;
use tempfile::TempDir;

use crate::local::Local;
use crate::shell::{Said, command, directory, finished};

pub(crate) const HOST: &str = "\
task.inputs=kinesis.lines
task.commit.ms=100
task.config.output=out.echo
systems.kinesis.samza.factory=kinesis
systems.kinesis.aws.region=us-east-1
systems.kinesis.aws.kcl.InitialPositionInStream=TRIM_HORIZON
systems.out.samza.factory=file
systems.out.file.path=out.jsonl
";

/// A host in a directory of its own, and the backend that it reads from.
pub(crate) struct Host {
    pub(crate) process: Process,
    pub(crate) local: Local,
    pub(crate) directory: TempDir,
}

impl Host {
    pub(crate) fn start(files: &[(&str, &[u8])]) -> Self {
        Self::start_with(HOST, files)
    }

    pub(crate) fn start_with(properties: &str, files: &[(&str, &[u8])]) -> Self {
        let local = Local::start(&["--stream", "lines:2"]);
        let directory = directory(&[("host.properties", properties.as_bytes())]);
        fs::create_dir(directory.path().join("tasks")).unwrap();
        for (name, content) in files {
            fs::write(directory.path().join("tasks").join(name), content).unwrap();
        }
        let process = run(&local, &directory, "log");
        Self { process, local, directory }
    }

    /// Starts it again after its end.
    pub(crate) fn restart(&mut self) {
        self.restart_with(&[]);
    }

    pub(crate) fn restart_with(&mut self, args: &[&str]) {
        self.process = run_with(&self.local, &self.directory, "log-of-restart", args);
    }

    /// Puts a version of the echo task into the directory, and waits until it runs or is rejected.
    pub(crate) fn deploy(&self, job: &str, wasm: &[u8]) -> Said {
        let file = self.directory.path().join("deployed.wasm");
        fs::write(&file, wasm).unwrap();
        // A Python task takes long to compile where much else is done.
        self.said(&["deploy", "deployed.wasm", "--name", job, "--wait", "--timeout", "240"])
    }

    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.directory.path().join("out.jsonl")).unwrap_or_default()
    }

    pub(crate) fn task(&self, file: &str) -> PathBuf {
        self.directory.path().join("tasks").join(file)
    }

    /// The control sockets that are in view.
    pub(crate) fn sockets(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path().join("shardmill")).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|it| it == "sock")).collect()
    }

    pub(crate) fn said(&self, args: &[&str]) -> Said {
        finished(in_directory(&self.directory, args).env("RUST_LOG", "off"))
    }

    /// What `ls` says of a job.
    pub(crate) fn job(&self, name: &str) -> Option<Value> {
        let said = self.said(&["ls", "--json"]);
        let report: Value = serde_json::from_str(&said.stdout).ok()?;
        let jobs = report["hosts"][0]["jobs"].as_array()?.clone();
        jobs.into_iter().find(|job| job["name"] == name)
    }

    /// Waits until what `ls` says of a job is as it should be.
    pub(crate) fn until(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) {
        self.wait(&format!("{name}: {what}"), || self.job(name).is_some_and(|job| is(&job)));
    }

    pub(crate) fn wait(&self, what: &str, is: impl Fn() -> bool) {
        until_blocking(what, || {
            // Each look is a process, and what is told at the end only is not asked for before.
            if is() { Ok(()) } else { Err(Seen(self)) }
        });
    }

    pub(crate) fn until_logged(&self, text: &str) {
        self.wait(text, || self.process.log().contains(text));
    }

    pub(crate) fn until_reachable(&self) {
        self.wait("it answers", || self.said(&["ls"]).code == Some(0));
    }

    pub(crate) fn until_running(&self, name: &str, wasm: &[u8]) {
        let module = Value::from(module(name, wasm));
        self.until(name, "it runs", |job| job["state"] == "running" && job["module"] == module);
    }

    pub(crate) fn stop(&mut self) {
        self.process.signal(Signal::Terminate);
        let status = self.process.wait();
        assert_eq!(status.code(), Some(0), "{}", self.process.log());
    }

    pub(crate) async fn put(&self, records: u64) {
        let kinesis = self.local.client().await;
        let keys: Vec<String> = (0..records).map(|number| number.to_string()).collect();
        let records: Vec<_> = keys.iter().map(|key| (Some(key.as_str()), key.as_bytes())).collect();
        assert_eq!(kinesis.put_records("lines", &records).await.unwrap(), []);
    }
}

/// What there is to see of a host whose test waits in vain.
struct Seen<'a>(&'a Host);

impl std::fmt::Display for Seen<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}", self.0.said(&["ls"]).stdout, self.0.process.log())
    }
}

fn run(local: &Local, directory: &TempDir, log: &str) -> Process {
    run_with(local, directory, log, &[])
}

fn run_with(local: &Local, directory: &TempDir, log: &str, args: &[&str]) -> Process {
    let mut run = in_directory(directory, &[&["run", "--config-path", "host.properties"], args].concat());
    Process::start(local.environment(&mut run), &directory.path().join(log))
}

pub(crate) fn in_directory(directory: &TempDir, args: &[&str]) -> std::process::Command {
    let mut command = command(args);
    // A socket's path is short, and so must be what it is in.
    command.current_dir(directory).env("XDG_RUNTIME_DIR", directory.path());
    command
}

pub(crate) fn echo() -> Vec<u8> {
    fs::read(rust_guest("echo")).unwrap()
}

/// The same task by other bytes.
pub(crate) fn version(number: u8) -> Vec<u8> {
    guests::version(&echo(), &number.to_string())
}

pub(crate) fn module(name: &str, wasm: &[u8]) -> String {
    format!("{name}@{}", digits(wasm))
}

pub(crate) fn digits(wasm: &[u8]) -> String {
    Sha256::digest(wasm)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_module_of_the_directory_is_a_job_of_its_own() {
    let outputs = tempfile::tempdir().unwrap();
    let second = outputs.path().join("second.jsonl");
    let properties = format!("{HOST}host.allow.file.path={}\n", outputs.path().display());
    let of_second = format!("systems.out.file.path={}\n", second.display());
    let files: [(&str, &[u8]); 3] =
        [("first.wasm", &version(1)), ("second.wasm", &version(2)), ("second.properties", of_second.as_bytes())];
    let mut host = Host::start_with(&properties, &files);
    host.put(20).await;
    for name in ["first", "second"] {
        host.until(name, "all is processed", |job| job["processed"] == 20);
    }
    host.stop();
    for output in [host.directory.path().join("out.jsonl"), second] {
        let lines = fs::read_to_string(&output).unwrap();
        assert_eq!(lines.lines().count(), 20, "{}", output.display());
    }
}

#[test]
fn a_module_that_comes_later_starts_and_a_bad_one_stops_nobody() {
    let mut host = Host::start(&[("good.wasm", &version(1))]);
    host.until_running("good", &version(1));

    fs::write(host.directory.path().join("new.wasm"), version(2)).unwrap();
    let said = host.said(&["deploy", "new.wasm", "--wait"]);
    assert_eq!((said.code, said.stdout), (Some(0), format!("{} runs\n", module("new", &version(2)))));

    let said = host.said(&["deploy", "new.wasm", "--name", "good", "--wait"]);
    assert_eq!((said.code, said.stdout), (Some(0), format!("{} runs\n", module("good", &version(2)))));

    for name in ["other", "good"] {
        fs::write(host.task(&format!("{name}.wasm")), b"hello").unwrap();
        host.until(name, "it is rejected", |job| {
            job["rejected"]["reason"].as_str().is_some_and(|why| why.contains("not a WebAssembly component"))
        });
    }
    let good = host.job("good").unwrap();
    assert_eq!((&good["state"], &good["module"]), (&"running".into(), &module("good", &version(2)).into()));
    assert!(good["rejected"]["reason"].is_string(), "{good}");
    host.stop();
}

/// The properties beside a module are its author's word, and the operator's stands above it.
#[test]
fn what_is_the_operators_is_not_set_by_a_jobs_properties() {
    let mut host = Host::start(&[
        ("orders.wasm", &version(1)),
        ("mine.properties", b"task.grant.dir=/\n"),
        ("mine.wasm", &version(2)),
    ]);
    host.until_running("orders", &version(1));
    host.until("mine", "it is refused", |job| {
        let problem = job["problems"][0].as_str().unwrap_or_default();
        job["state"] == "waiting"
            && problem.contains("mine.properties:1")
            && problem.contains("host.jobs.mine.allow.task.grant.dir=/:ro")
    });
    // What runs goes on as it was configured.
    fs::write(host.task("orders.properties"), "task.memory.max.mb=4096\n").unwrap();
    host.until("orders", "it is refused", |job| {
        let problem = job["problems"][0].as_str().unwrap_or_default();
        job["state"] == "running" && job["starts"] == 1 && problem.contains("orders.properties:1")
    });
    fs::remove_file(host.task("mine.properties")).unwrap();
    host.until_running("mine", &version(2));
    host.stop();
}

#[test]
fn new_properties_restart_the_job_and_bad_ones_do_not() {
    let mut host = Host::start(&[("orders.wasm", &echo())]);
    host.until_running("orders", &echo());

    fs::write(host.task("orders.properties"), "task.comit.ms=1\n").unwrap();
    host.until("orders", "the typo is told", |job| {
        let problem = job["problems"][0].as_str().unwrap_or_default();
        job["state"] == "running" && problem.contains("orders.properties:1") && problem.contains("task.commit.ms")
    });
    assert!(!host.process.log().contains("stopped"), "it ran on: {}", host.process.log());

    fs::write(host.task("orders.properties"), "task.commit.ms=200\n").unwrap();
    host.until("orders", "it was restarted", |job| {
        job["state"] == "running"
            && job["problems"] == Value::Array(Vec::new())
            && host.process.log().contains("stopped")
    });
    host.stop();
}

#[test]
fn a_removed_module_keeps_its_job_unless_the_configuration_says_stop() {
    let files: [(&str, &[u8]); 4] = [
        ("kept.wasm", &version(1)),
        ("kept.properties", b"job.name=staying\n"),
        ("gone.wasm", &version(2)),
        ("gone.properties", b"job.name=leaving\ntask.on.delete=stop\n"),
    ];
    let mut host = Host::start_with(&format!("{HOST}host.allow.keys=job.name\n"), &files);
    host.until_running("kept", &version(1));
    host.until_running("gone", &version(2));
    for job in ["kept", "gone"] {
        // The log says which job.
        host.until_logged(&format!("job{{name=\"{job}\"}}: shardmill::job::coordinator: reading shard"));
    }
    // Their properties go with them, and that must not make other jobs of them.
    for file in ["kept.properties", "gone.properties", "kept.wasm", "gone.wasm"] {
        fs::remove_file(host.task(file)).unwrap();
    }
    host.wait("it stops and is forgotten", || host.job("gone").is_none());
    let kept = host.job("kept").unwrap();
    assert_eq!((&kept["state"], &kept["starts"]), (&Value::from("running"), &Value::from(1)));
    for table in ["kept-1-lines", "gone-1-lines"] {
        assert!(!host.process.log().contains(table), "the lease table of another job:\n{}", host.process.log());
    }
    fs::write(host.task("gone.wasm"), version(2)).unwrap();
    host.until_running("gone", &version(2));
    host.stop();
}

#[test]
fn a_copy_in_progress_never_runs_however_it_is_made() {
    let mut host = Host::start(&[]);
    let wasm = echo();
    let half = wasm.len() / 2;

    // cp that stalls in the middle.
    fs::write(host.task("copied.wasm"), &wasm[..half]).unwrap();
    host.until_logged("file=\"copied.wasm\"");
    append(&host.task("copied.wasm"), &wasm[half..]);
    host.until_running("copied", &wasm);

    // rsync: a dotted name, then a rename.
    fs::write(host.task(".synced.wasm.aX12"), &wasm[..half]).unwrap();
    append(&host.task(".synced.wasm.aX12"), &wasm[half..]);
    fs::rename(host.task(".synced.wasm.aX12"), host.task("synced.wasm")).unwrap();
    host.until_running("synced", &wasm);

    // A Kubernetes volume: the name is a link through a link that flips.
    for (data, bytes) in [("..1", &wasm), ("..2", &version(7))] {
        fs::create_dir(host.task(data)).unwrap();
        fs::write(host.task(data).join("linked.wasm"), bytes).unwrap();
    }
    std::os::unix::fs::symlink("..1", host.task("..data")).unwrap();
    std::os::unix::fs::symlink("..data/linked.wasm", host.task("linked.wasm")).unwrap();
    host.until_running("linked", &wasm);

    // Its checksum comes first and the module later, with damage that only the checksum shows.
    let sum: String = Sha256::digest(version(1)).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(host.task("summed.wasm.sha256"), format!("{sum}  summed.wasm\n")).unwrap();
    fs::write(host.task("summed.wasm"), version(2)).unwrap();
    host.until_logged("its SHA-256 is");
    assert_eq!(host.job("summed"), None, "it may still become whole");
    fs::write(host.task("summed.wasm"), version(1)).unwrap();
    host.until_running("summed", &version(1));

    assert!(!host.process.log().contains("rejected"), "{}", host.process.log());
    host.stop();
}

fn append(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn two_jobs_with_one_lease_table_are_not_run() {
    let properties = format!("{HOST}host.jobs.second.allow.keys=job.name\n");
    let mut host = Host::start_with(&properties, &[("first.wasm", &version(1))]);
    host.until_running("first", &version(1));
    fs::write(host.task("second.properties"), "job.name=first\n").unwrap();
    fs::write(host.task("second.wasm"), version(2)).unwrap();
    host.until("second", "it waits", |job| {
        let problem = job["problems"][0].as_str().unwrap_or_default();
        job["state"] == "waiting" && problem.contains("first-1-lines") && problem.contains("job.name")
    });
    fs::remove_file(host.task("second.properties")).unwrap();
    host.until_running("second", &version(2));
    host.stop();
}

#[test]
fn a_drained_job_stays_down_until_it_is_resumed() {
    let mut host = Host::start(&[("orders.wasm", &echo())]);
    host.until_running("orders", &echo());
    host.until("orders", "it reads its shards", |job| {
        let shards: Vec<_> = job["shards"].as_array().into_iter().flatten().map(|shard| &shard["shard"]).collect();
        shards == ["shardId-000000000000", "shardId-000000000001"]
    });
    assert_eq!(host.said(&["drain", "orders"]).code, Some(0));
    host.until("orders", "it is drained, and has no shards", |job| {
        job["state"] == "drained" && job["shards"] == Value::Array(Vec::new())
    });
    assert_eq!(host.said(&["status", "orders"]).code, Some(0), "it is as it should be");
    assert_eq!(host.said(&["resume", "orders"]).code, Some(0));
    host.until_running("orders", &echo());
    host.stop();
}

#[test]
fn a_job_that_cannot_start_is_not_ready() {
    let host = Host::start(&[("orders.wasm", &echo()), ("orders.properties", b"task.config.output=no.such\n")]);
    host.until("orders", "it says why", |job| job["problems"][0].as_str().is_some_and(|why| why.contains("no.such")));
    let said = host.said(&["status", "orders"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("no.such"), "{said:?}");
}

#[test]
fn who_asks_for_what_is_not_there_is_told() {
    let nothing = directory(&[("tasks/readme.txt", b"")]);
    for args in [&["ls"][..], &["status", "orders"], &["drain", "orders"]] {
        let said = finished(in_directory(&nothing, args).env("RUST_LOG", "off"));
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        assert!(said.stderr.contains("no host of this user runs the task directory tasks"), "{args:?}: {said:?}");
    }
    let said = finished(&mut in_directory(&nothing, &["deploy", "missing.wasm"]));
    assert_eq!(said.code, Some(64), "{said:?}");

    let host = Host::start(&[]);
    host.until_reachable();
    let said = host.said(&["drain", "orders"]);
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("there is no job orders"), "{said:?}");
}

#[test]
fn nobody_else_can_reach_the_socket() {
    use std::os::unix::fs::MetadataExt;
    let host = Host::start(&[]);
    host.until_reachable();
    let sockets = host.directory.path().join("shardmill");
    assert_eq!(fs::metadata(&sockets).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(&sockets).unwrap().count(), 2, "the socket and its lock file");
    drop(host.process);
    let said = finished(in_directory(&host.directory, &["ls"]).env("RUST_LOG", "off"));
    assert_eq!(said.code, Some(1), "a killed host leaves a socket that nobody answers");
    assert_eq!(fs::read_dir(&sockets).unwrap().count(), 0, "and that is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_replaces_another_and_goes_back_by_hand() {
    let mut host = Host::start(&[("orders.wasm", &version(1))]);
    host.until_running("orders", &version(1));
    host.put(50).await;
    let said = host.deploy("orders", &version(2));
    assert_eq!(said.code, Some(0), "{said:?}");
    host.put(50).await;
    host.until("orders", "all is processed", |job| job["processed"] == 100);
    let said = host.said(&["versions", "orders"]);
    assert!(said.stdout.contains("current") && said.stdout.contains("previous"), "{said:?}");

    let said = host.said(&["rollback", "orders"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    host.until_running("orders", &version(1));
    let job = host.job("orders").unwrap();
    assert_eq!(job["rejected"]["rolled_back"], true, "{job}");
    let problem = job["problems"][0].as_str().unwrap();
    let bad = module("orders", &version(2));
    let what_to_do = format!("`shardmill rollback orders --to {}` tries it again", digits(&version(2)));
    assert_eq!(problem, format!("{bad} was rolled back: somebody asked for it; {what_to_do}"));
    host.stop();

    host.restart();
    host.until_running("orders", &version(1));
    let said = host.said(&["rollback", "orders", "--to", &digits(&version(2))]);
    assert_eq!(said.code, Some(0), "{said:?}");
    host.until_running("orders", &version(2));
    let said = host.said(&["rollback", "orders", "--to", "0123456789ab"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("is not kept here"), "{said:?}");
    host.stop();
    assert_eq!(host.output().lines().count(), 100, "nothing was lost and nothing done twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_on_what_the_running_one_had_is_rejected_before_it_gets_any() {
    let bad = version(2);
    let properties = format!("{HOST}task.config.{}.process=trap\n", digits(&bad));
    let mut host = Host::start_with(&properties, &[("orders.wasm", &version(1))]);
    host.put(20).await;
    host.until("orders", "all is processed", |job| job["processed"] == 20);
    let said = host.deploy("orders", &bad);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("was rejected") && said.stderr.contains("trap"), "{said:?}");
    let listed = host.said(&["ls"]).stdout;
    assert!(said.stderr.contains("backtrace:") && !listed.contains("backtrace:"), "{listed}");
    assert!(listed.contains("`shardmill status orders` says all"), "{listed}");
    host.put(20).await;
    host.until("orders", "the old version goes on", |job| job["processed"] == 40 && job["failed_calls"] == 0);
    assert_eq!(host.job("orders").unwrap()["module"], module("orders", &version(1)));

    let said = host.deploy("orders", &version(3));
    assert_eq!(said.code, Some(0), "{said:?}");
    host.stop();
    assert_eq!(host.output().lines().count(), 40);
}

#[test]
fn a_canary_gets_a_part_until_it_is_promoted() {
    let properties = format!("{HOST}task.rollout=canary\ntask.rollout.waves=50%\ntask.rollout.bake.ms=3600000\n");
    let mut host = Host::start_with(&properties, &[("orders.wasm", &version(1))]);
    host.until("orders", "it reads", |job| job["shards"].as_array().is_some_and(|shards| shards.len() == 2));
    fs::write(host.task("orders.wasm"), version(2)).unwrap();
    let (old, new) = (module("orders", &version(1)), module("orders", &version(2)));
    host.until("orders", "each version has a shard", |job| {
        let mut on: Vec<_> =
            job["shards"].as_array().unwrap().iter().map(|shard| shard["module"].to_string()).collect();
        on.sort();
        let mut both = [format!("\"{old}\""), format!("\"{new}\"")];
        both.sort();
        job["module"] == old && job["rollout"]["candidate"]["module"] == new && on == both
    });
    host.stop();

    host.restart();
    host.until("orders", "the restart goes on with both", |job| {
        job["state"] == "running" && job["module"] == old && job["rollout"]["candidate"]["module"] == new
    });
    let said = host.said(&["promote", "orders"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    host.until_running("orders", &version(2));
    assert_eq!(host.said(&["promote", "orders"]).code, Some(1), "there is nothing to promote");
    host.stop();
}

/// One that hangs hides no other.
#[test]
fn a_host_that_does_not_answer_is_told() {
    let mut host = Host::start(&[("orders.wasm", &version(1))]);
    host.until_running("orders", &version(1));
    let mut other = run(&host.local, &host.directory, "log-of-the-other");
    host.wait("both answer", || host.said(&["ls"]).stdout.matches("running").count() == 2);
    other.signal(Signal::Stop);
    let said = host.said(&["ls"]);
    assert_eq!((said.code, said.stdout.matches("running").count()), (Some(0), 1), "{said:?}");
    assert!(said.stderr.contains("does not answer"), "{said:?}");
    other.signal(Signal::Continue);
    host.wait("both answer", || host.said(&["ls"]).stdout.matches("running").count() == 2);
    host.stop();
}

#[test]
fn two_hosts_of_one_directory_agree() {
    let host = Host::start(&[("orders.wasm", &version(1))]);
    let _other = run(&host.local, &host.directory, "log-of-the-other");
    let both_run = |wasm: &[u8]| {
        let wanted = Value::from(module("orders", wasm));
        host.wait("both hosts run it", || {
            let said = host.said(&["ls", "--json"]);
            let Ok(report) = serde_json::from_str::<Value>(&said.stdout) else { return false };
            let hosts = report["hosts"].as_array().unwrap();
            hosts.len() == 2 && hosts.iter().all(|host| host["jobs"][0]["module"] == wanted)
        });
    };
    both_run(&version(1));
    fs::write(host.task("orders.wasm"), version(2)).unwrap();
    both_run(&version(2));
    assert_eq!(host.said(&["rollback", "orders", "--to", &digits(&version(1))]).code, Some(0));
    both_run(&version(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_job_keeps_its_leases_and_calls_nothing() {
    let mut host = Host::start(&[("orders.wasm", &echo())]);
    host.until_running("orders", &echo());
    assert_eq!(host.said(&["pause", "orders"]).code, Some(0));
    host.until("orders", "it is paused", |job| job["state"] == "paused");
    host.put(10).await;
    host.until("orders", "records wait", |job| {
        job["shards"].as_array().is_some_and(|shards| shards.iter().any(|shard| shard["waiting"] != 0))
    });
    assert_eq!(host.job("orders").unwrap()["processed"], 0);
    assert_eq!(host.said(&["resume", "orders"]).code, Some(0));
    host.until("orders", "all is processed", |job| job["state"] == "running" && job["processed"] == 10);
    host.stop();
}

#[test]
fn a_module_that_was_replaced_while_nothing_ran_takes_over_at_the_start() {
    let mut host = Host::start(&[("orders.wasm", &version(1))]);
    host.until_running("orders", &version(1));
    host.stop();
    fs::write(host.task("orders.wasm"), version(2)).unwrap();
    host.restart();
    host.until_running("orders", &version(2));
    host.stop();
    assert!(!host.process.log().contains(&module("orders", &version(1))), "the old one did not run again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_may_change_its_language() {
    let properties =
        HOST.replace("task.config.output=out.echo", "task.config.output=out.filtered\ntask.config.pattern=1");
    let rust = fs::read(rust_guest("filter-batch")).unwrap();
    let mut host = Host::start_with(&properties, &[("filter.wasm", &rust)]);
    host.until_running("filter", &rust);
    let mut put = 20;
    host.put(20).await;
    host.until("filter", "the records are processed", |job| job["processed"] == put);
    for language in ["javascript", "python"] {
        let guest = match guests::scripted_guest(language) {
            Ok(guest) => fs::read(guest).unwrap(),
            Err(missing) => {
                eprintln!("not shown for {language}: {missing}");
                continue;
            }
        };
        let said = host.deploy("filter", &guest);
        assert_eq!(said.code, Some(0), "{language}: {said:?}");
        host.put(20).await;
        put += 20;
        host.until("filter", language, |job| job["processed"] == put && job["failed_calls"] == 0);
    }
    host.stop();
    // Of the numbers below 20, eleven have a 1.
    assert_eq!(host.output().lines().count() as u64, put / 20 * 11, "each language did the same");
}
