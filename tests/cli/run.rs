//! `shardmill run`: what it refuses, and the way of the README: `local` in one terminal, `run` in another.

use std::process::{Command, Stdio};

use serde_json::Value;
use shardmill_tests::guests::{rust_guest, version};
use shardmill_tests::process::{Process, Signal};
use shardmill_tests::wait::until_blocking;

use crate::local::Local;
use crate::shell::{below, command, directory, finished, shardmill_in};

const JOB: &[u8] = b"\
job.name=lines
task.class=word-count
task.inputs=kinesis.lines
systems.kinesis.samza.factory=kinesis
systems.kinesis.aws.region=us-east-1
systems.kinesis.aws.kcl.InitialPositionInStream=TRIM_HORIZON
systems.console.samza.factory=console
";

#[test]
fn a_module_that_is_not_a_task_is_rejected_with_a_reason() {
    let not_tasks: [(&str, Option<&[u8]>); 5] = [
        ("missing", None),
        ("empty_file", Some(b"")),
        ("text", Some(b"fn main() {}")),
        ("core_module", Some(b"\0asm\x01\0\0\0")),
        // A component without imports and exports.
        ("empty_component", Some(b"\0asm\x0d\0\x01\0")),
    ];
    for (name, module) in not_tasks {
        let dir = directory(&[("job.properties", JOB)]);
        let tasks = dir.path().join("tasks");
        std::fs::create_dir(&tasks).unwrap();
        if let Some(bytes) = module {
            std::fs::write(tasks.join("word-count.wasm"), bytes).unwrap();
        }
        let said = shardmill_in(&dir, &["run", "--config-path", "job.properties", "--tasks", "tasks"]);
        assert_eq!(said.code, Some(64), "{name}: {said:?}");
        insta::assert_snapshot!(format!("run_{name}"), said.text(dir.path()));
    }
}

#[test]
fn a_job_that_cannot_reach_its_stream_fails_with_the_place_and_the_reason() {
    let local = Local::start(&[]);
    let dir = directory(&[("job.properties", JOB)]);
    let tasks = tasks_directory(&dir);
    let said = finished(local.environment(&mut command(&[
        "run",
        "--config-path",
        &below(&dir, "job.properties"),
        "--tasks",
        &tasks,
    ])));
    assert_eq!(said.code, Some(1), "{said:?}");
    let last = said.stderr.lines().last().unwrap();
    assert!(last.starts_with("error: input kinesis.lines: ListShards: "), "{last}");
    assert!(last.contains("lines"), "{last}");
}

/// A host of many jobs does not run out of files at the thousand that a shell allows.
#[cfg(target_os = "linux")]
#[test]
fn a_host_takes_all_the_files_that_it_may_open() {
    let dir = directory(&[("job.properties", JOB)]);
    let tasks = tasks_directory(&dir);
    let run = command(&["run", "--config-path", &below(&dir, "job.properties"), "--tasks", &tasks]);
    let mut shell = Command::new("sh");
    shell.env_clear().envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // It waits for a service that is not there.
    for (name, value) in [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")] {
        shell.env(name, value).env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    }
    shell.args(["-c", "ulimit -Sn 64; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    let mut process = shell.stderr(Stdio::null()).spawn().unwrap();
    let proc = |file| std::fs::read_to_string(format!("/proc/{}/{file}", process.id())).unwrap();
    let allowed = || {
        let limits = proc("limits");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap().to_owned();
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    // It begins as the shell.
    until_blocking("it has all files that it may have", || match allowed() {
        allowed if proc("comm").trim() == "shardmill" && allowed[0] == allowed[1] => Ok(()),
        allowed => Err(allowed.join(" of ")),
    });
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn a_start_that_waits_for_a_service_says_so_at_once() {
    let local = Local::start(&["--stream", "lines:1"]);
    let dir = directory(&[("job.properties", JOB)]);
    let tasks = tasks_directory(&dir);
    let mut run = command(&["run", "--config-path", &below(&dir, "job.properties"), "--tasks", &tasks]);
    // Nobody listens there.
    local.environment(&mut run).env("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.1:1");
    let mut process = Process::start(&mut run, &dir.path().join("log"));
    until_blocking("it says so", || {
        assert!(!process.has_ended(), "it has ended:\n{}", process.log());
        let log = process.log();
        if log.contains("cannot be listed; retrying") { Ok(()) } else { Err(log) }
    });
    assert!(process.log().contains("ListShards: "), "what, and why:\n{}", process.log());
    process.signal(Signal::Terminate);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_drained_to_standard_output_with_a_summary() {
    let local = Local::start(&["--stream", "lines:2"]);
    put_two(&local).await;
    let dir = directory(&[("job.properties", JOB)]);
    let tasks = tasks_directory(&dir);
    let file = below(&dir, "job.properties");
    let args = ["run", "--config-path", &file, "--tasks", &tasks, "--until-caught-up", "--json"];
    let said = finished(local.environment(&mut command(&args)));
    assert_eq!(said.code, Some(0), "{said:?}");
    let mut lines: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    assert_eq!((&summary["envelopes"], &summary["messages_sent"]), (&Value::from(2), &Value::from(6)));
    assert!(summary["first_record_ms"].is_u64(), "{summary}");
    let mut counts: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(
        counts,
        [
            r#"{"word":"be","count":2}"#,
            r#"{"word":"is","count":1}"#,
            r#"{"word":"not","count":1}"#,
            r#"{"word":"or","count":1}"#,
            r#"{"word":"that","count":1}"#,
            r#"{"word":"to","count":2}"#,
        ]
    );

    let again = finished(local.environment(&mut command(&args)));
    let summary: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!((again.code, &summary["envelopes"]), (Some(0), &Value::from(0)), "everything was committed");
}

/// The leases are kept, so the records that they are about must be.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_after_a_restart_of_a_local_backend_with_a_data_directory() {
    let dir = directory(&[("job.properties", JOB)]);
    let (tasks, file, data) = (tasks_directory(&dir), below(&dir, "job.properties"), below(&dir, "data"));
    let args = ["run", "--config-path", &file, "--tasks", &tasks, "--until-caught-up", "--json"];
    for (records, start) in [(2, "the first"), (0, "the second"), (2, "the third")] {
        let local = Local::start(&["--stream", "lines:2", "--data-dir", &data]);
        if records > 0 {
            put_two(&local).await;
        }
        let said = finished(local.environment(&mut command(&args)));
        assert_eq!(said.code, Some(0), "{start}: {said:?}");
        let summary: Value = serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap();
        assert_eq!(summary["envelopes"], records, "{start}: {said:?}");
    }
}

/// Also those that are still being compiled when others are done, and not without a word those that cannot run.
#[tokio::test(flavor = "multi_thread")]
async fn every_job_of_a_directory_is_waited_for() {
    let local = Local::start(&["--stream", "lines:2"]);
    put_two(&local).await;
    let host: String = std::str::from_utf8(JOB).unwrap().split_inclusive('\n').skip(2).collect();
    let dir = directory(&[("host.properties", host.as_bytes())]);
    let tasks = tasks_directory(&dir);
    let unseen = version(&std::fs::read(rust_guest("word-count")).unwrap(), &std::process::id().to_string());
    std::fs::write(dir.path().join("tasks/unseen.wasm"), unseen).unwrap();
    let file = below(&dir, "host.properties");
    let args = ["run", "--config-path", &file, "--tasks", &tasks, "--until-caught-up", "--json"];
    let said = finished(local.environment(&mut command(&args)));
    assert_eq!(said.code, Some(0), "{said:?}");
    let summary: Value = serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(summary["envelopes"], 4, "two jobs, two records: {said:?}");

    std::fs::write(dir.path().join("tasks/bad.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let said = finished(local.environment(&mut command(&args)));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.lines().any(|line| line.starts_with("error: bad: ")), "{said:?}");
}

pub(crate) async fn put_two(local: &Local) {
    let kinesis = local.client().await;
    let records: [(Option<&str>, &[u8]); 2] = [(Some("a"), b"to be or not to be"), (Some("b"), b"that is")];
    assert_eq!(kinesis.put_records("lines", &records).await.unwrap(), []);
}

fn tasks_directory(dir: &tempfile::TempDir) -> String {
    let tasks = dir.path().join("tasks");
    std::fs::create_dir(&tasks).unwrap();
    std::fs::copy(rust_guest("word-count"), tasks.join("word-count.wasm")).unwrap();
    tasks.display().to_string()
}
