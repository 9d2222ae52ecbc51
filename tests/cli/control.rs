//! What people type and see besides the commands' own work: names, tips, colours, and foreign text that is kept from
//! steering a terminal.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::Value;
use shardmill_tests::guests::rust_guest;

use crate::hosts::{HOST, Host, module, version};
use crate::shell::{Said, command, directory, finished, shardmill, shardmill_in};

/// What is seen on a terminal and is no character that this program writes.
fn assert_steers_nothing(text: &str) {
    let is_hidden =
        |it: char| it.is_control() && it != '\n' || matches!(it, '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}');
    assert!(!text.chars().any(is_hidden), "{text:?}");
}

const FORGED: &str = "x\u{1b}]0;title\u{7}\u{202e}\u{2028}\nhost 1  orders  running";

#[test]
fn names_of_files_reach_neither_terminal_nor_log_as_they_are() {
    let mut host = Host::start(&[("good.wasm", &version(1))]);
    host.until_running("good", &version(1));
    for name in [format!("{FORGED}.wasm"), format!("{}.properties", FORGED.replace('x', "y"))] {
        fs::write(host.task(&name), b"no module").unwrap();
    }
    std::os::unix::fs::symlink("nowhere", host.task(&FORGED.replace('x', "z"))).unwrap();
    host.wait("it is seen", || host.said(&["ls"]).stdout.contains(r"x\u{1b}]0;title\u{7}\u{202e}\u{2028}"));
    for args in [&["ls"] as &[&str], &["ls", "--json"], &["status", "good"]] {
        let said = host.said(args);
        assert_steers_nothing(&said.stdout);
        assert_steers_nothing(&said.stderr);
        let forged = said.stdout.lines().any(|line| line.starts_with("host 1 "));
        assert!(!forged, "{}", said.stdout);
    }
    // They are no names of jobs, and are said to be none.
    let report: Value = serde_json::from_str(&host.said(&["ls", "--json"]).stdout).unwrap();
    let problems = report["hosts"][0]["problems"].as_array().unwrap();
    assert!(
        problems.iter().any(|it| it.as_str().unwrap().contains(".wasm: its name contains invisible characters")),
        "{report}"
    );
    assert_eq!(report["hosts"][0]["jobs"].as_array().unwrap().len(), 1, "{report}");
    host.stop();
    let log = host.process.log();
    assert_steers_nothing(&log);
    assert!(!log.lines().any(|line| line.starts_with("host 1 ")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_tasks_and_records_cannot_control_a_terminal() {
    let properties = format!("job.name=orders\ntask.class=hostile\n{HOST}").replace(
        "systems.out.samza.factory=file\nsystems.out.file.path=out.jsonl\n",
        "systems.out.samza.factory=console\n",
    );
    let local = crate::local::Local::start(&["--stream", "lines:1"]);
    let dir = directory(&[("job.properties", properties.as_bytes())]);
    fs::create_dir(dir.path().join("tasks")).unwrap();
    fs::copy(rust_guest("hostile"), dir.path().join("tasks/hostile.wasm")).unwrap();
    let run = || {
        let mut run = command(&["run", "--config-path", "job.properties", "--until-caught-up"]);
        let said = finished(local.environment(&mut run).current_dir(&dir).env("XDG_RUNTIME_DIR", dir.path()));
        assert_steers_nothing(&said.stdout);
        assert_steers_nothing(&said.stderr);
        assert!(!said.stderr.lines().any(|line| line.starts_with("host 1 ")), "{}", said.stderr);
        said
    };
    let shown = r"x\u{1b}]0;title\u{7}\u{202e}\u{2028}";
    for order in ["log", "eprint", "send"] {
        local.put("lines", &format!("{order} {FORGED}")).await;
    }
    let said = run();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.matches(shown).count() >= 2, "its log and its standard error: {}", said.stderr);
    // As data, it is what it was.
    let sent: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(sent.iter().any(|line| line["message"] == FORGED), "{}", said.stdout);

    local.put("lines", &format!("reject {FORGED}")).await;
    let said = run();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains(shown), "the reason: {}", said.stderr);
}

#[test]
fn a_job_is_named_by_its_module_or_by_its_job_name() {
    let allowed = format!("{HOST}host.allow.keys=job.name,job.id\n");
    let mut host = Host::start_with(
        &allowed,
        &[
            ("big.wasm", &version(1)),
            ("big.properties", b"job.name=orders\n"),
            ("small.wasm", &version(2)),
            ("small.properties", b"job.name=orders\njob.id=2\n"),
            ("third.wasm", &version(3)),
            ("third.properties", b"job.name=payments\n"),
        ],
    );
    for (name, number) in [("big", 1), ("small", 2), ("third", 3)] {
        host.until_running(name, &version(number));
    }
    for args in [&["status", "payments"] as &[&str], &["pause", "payments"], &["resume", "payments"]] {
        let said = host.said(args);
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    }
    // Of what is kept, too, which needs no host.
    let (named, kept) = (host.said(&["versions", "payments", "--json"]), host.said(&["versions", "third", "--json"]));
    assert_eq!((named.code, &named.stdout), (Some(0), &kept.stdout), "{named:?}");
    assert_eq!(serde_json::from_str::<Value>(&kept.stdout).unwrap()["versions"].as_array().unwrap().len(), 1);
    let said = host.said(&["ls"]);
    assert!(said.stdout.contains("third (payments)") && said.stdout.contains("big (orders)"), "{}", said.stdout);
    assert_eq!(host.job("third").unwrap()["job_name"], "payments");
    for args in
        [&["status", "orders"] as &[&str], &["rollback", "orders"], &["drain", "orders"], &["versions", "orders"]]
    {
        let said = host.said(args);
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        let both = "error: orders is the job.name of several jobs; name one of their modules: big, small\n";
        assert_eq!(said.stderr, both, "{args:?}");
    }
    host.stop();
}

#[test]
fn a_probe_is_answered_while_other_clients_say_nothing() {
    let mut host = Host::start(&[("good.wasm", &version(1))]);
    host.until_running("good", &version(1));
    let socket = host.sockets().remove(0);
    host.wait("it is ready", || {
        // Far more than the eight that once were all.
        let silent: Vec<UnixStream> = (0..50).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        let said = host.said(&["status", "good"]);
        drop(silent);
        said.code == Some(0)
    });
    host.stop();
    assert_eq!(host.sockets().len(), 0, "nothing is left behind");
}

#[test]
fn a_task_directory_that_became_a_link_is_found_and_none_is_said_to_be_none() {
    let mut host = Host::start(&[("good.wasm", &version(1))]);
    host.until_running("good", &version(1));
    let root = host.directory.path();
    fs::rename(root.join("tasks"), root.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", root.join("tasks")).unwrap();
    for tasks in ["tasks", "elsewhere"] {
        let said = host.said(&["ls", "--tasks", tasks]);
        assert!(said.code == Some(0) && said.stdout.contains(&module("good", &version(1))), "{tasks}: {said:?}");
    }
    let said = host.said(&["ls", "--tasks", "nowhere"]);
    let none = "error: there is no task directory nowhere; name the host's directory with `--tasks DIR`\n";
    assert_eq!((said.code, said.stderr.as_str()), (Some(1), none));
    host.stop();
}

#[test]
fn a_mistyped_command_line_gets_a_tip_that_helps() {
    let tip = |args: &[&str]| {
        let Said { code, stderr, .. } = shardmill(args);
        assert_eq!(code, Some(2), "{args:?}");
        stderr
    };
    let said = tip(&["stauts", "orders"]);
    assert!(said.contains("'status'") && !said.contains("'pause'"), "{said}");
    let said = tip(&["completions", "bash"]);
    assert!(!said.contains("compile-module") && !said.contains("tip: a similar"), "{said}");
    let said = tip(&["compile"]);
    assert!(!said.contains("compile-module"), "{said}");
    let said = tip(&["run", "orders.properties"]);
    assert!(said.contains("'--config-path orders.properties'"), "{said}");
    let said = shardmill(&["help", "compile-module"]);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn each_error_begins_as_an_error_once() {
    let dir = directory(&[("bad.properties", b"no.such.key=1\n")]);
    let cases: [&[&str]; 5] = [
        &["deploy", "none.wasm"],
        &["run", "--tasks", "none"],
        &["run", "--config-path", "none.properties"],
        &["config", "check", "bad.properties"],
        &["ls"],
    ];
    for args in cases {
        let Said { stderr, .. } = shardmill_in(&dir, args);
        assert!(stderr.starts_with("error: ") || stderr.starts_with("error["), "{args:?}: {stderr}");
        assert!(!stderr.contains("error: error"), "{args:?}: {stderr}");
    }
}

#[test]
fn a_version_says_what_a_report_of_a_bug_needs() {
    let short = shardmill(&["-V"]);
    assert_eq!((short.code, short.stdout.as_str()), (Some(0), concat!("shardmill ", env!("CARGO_PKG_VERSION"), "\n")));
    for args in [&["--version"] as &[&str], &["run", "--version"]] {
        let said = shardmill(args);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.contains("wasmtime  48.") && said.stdout.contains(std::env::consts::ARCH), "{said:?}");
    }
}

/// Runs a command with a terminal of its own.
fn on_a_terminal(args: &str, env: &[(&str, &str)]) -> String {
    let binary = env!("CARGO_BIN_EXE_shardmill");
    let mut script = Command::new("script");
    script.args(["-qec", &format!("{binary} {args}"), "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm");
    String::from_utf8(script.envs(env.iter().copied()).output().unwrap().stdout).unwrap()
}

#[test]
fn colours_are_for_terminals_whose_user_wants_them() {
    let dir = directory(&[("job.properties", b"job.name=a\ntask.class=b\n")]);
    let tasks = dir.path().join("none").display().to_string();
    let plain = |args: &[&str]| finished(command(args).env("RUST_LOG", "debug").env("TERM", "xterm"));
    for args in [&["run", "--help"] as &[&str], &["rum"], &["run", "--tasks", &tasks]] {
        let Said { stdout, stderr, .. } = plain(args);
        assert!(!stdout.contains('\u{1b}') && !stderr.contains('\u{1b}'), "{args:?}: {stdout}{stderr}");
    }
    let always = plain(&["--color", "always", "run", "--help"]);
    assert!(always.stdout.contains('\u{1b}'), "{always:?}");
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("left out: there is no `script` to make a terminal");
        return;
    }
    assert!(on_a_terminal("rum", &[]).contains('\u{1b}'));
    for (args, env) in [("rum", ("NO_COLOR", "1")), ("rum", ("TERM", "dumb")), ("--color never rum", ("A", "b"))] {
        // A continuous integration sets it, and some libraries colour what a dumb terminal shows for it.
        let said = on_a_terminal(args, &[env, ("CI", "true")]);
        assert!(said.contains("error") && !said.contains('\u{1b}'), "{args} {env:?}: {said:?}");
    }
}
