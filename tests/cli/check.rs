//! `shardmill check`: what it says about good modules, and about every kind of bad one.

use serde_json::Value;
use shardmill_runtime::Engine;
use shardmill_tests::guests::rust_guest;
use shardmill_tests::http::Server;
use shardmill_tests::wat;

use crate::shell::{Said, directory, shardmill_in};

const JOB: &str = "\
job.name=lines
task.class=x
task.inputs=kinesis.lines
task.init.timeout.ms=200
task.memory.max.mb=1
systems.kinesis.samza.factory=kinesis
systems.console.samza.factory=console
";

/// Checks a module, as this job if there is one.
fn check(module: &[u8], job: Option<&str>, more: &[&str]) -> (tempfile::TempDir, Said) {
    let dir = directory(&[("x.wasm", module), ("x.properties", job.unwrap_or_default().as_bytes())]);
    let config = ["--config-path", "x.properties"];
    let config: &[&str] = if job.is_some() { &config } else { &[] };
    let said = shardmill_in(&dir, &[&["check", "x.wasm"], config, more].concat());
    (dir, said)
}

#[test]
fn a_good_module_is_described_and_started() {
    let wasm = std::fs::read(rust_guest("word-count")).unwrap();
    let job = JOB.replace("mb=1", "mb=16") + "task.grant.dir=/tmp::/in\n";
    let (_dir, said) = check(&wasm, Some(&job), &["--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&found["ok"], &found["problems"]), (&true.into(), &Value::Array(Vec::new())));
    assert_eq!((&found["shape"], &found["abilities"][0]), (&"task".into(), &"lifecycle".into()));
    assert_eq!(found["size_bytes"], wasm.len());
    let (id, sha256) = (found["id"].as_str().unwrap(), found["sha256"].as_str().unwrap());
    assert_eq!((id.strip_prefix("x@"), sha256.len()), (Some(&sha256[..12]), 64));
    assert!(found["trial"]["memory_bytes"].as_u64().unwrap() >= 1 << 20, "{found}");
    assert_eq!(found["grants"][0]["key"], "task.grant.env");

    let (_dir, said) = check(&wasm, None, &[]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    for line in ["  shape     task with lifecycle\n", "    shardmill:task/processor@0.1.0\n", "none (task.grant.env)\n"]
    {
        assert!(said.stdout.contains(line), "{line} is missing: {}", said.stdout);
    }
    assert!(!said.stdout.contains("starts"), "without a configuration it is not: {}", said.stdout);
}

#[test]
fn a_module_that_sends_requests_learns_whether_it_may_and_does_so_in_init() {
    let server = Server::start(|_| Some("prices".to_owned()));
    let url = server.url();
    let wasm = std::fs::read(rust_guest("fetch")).unwrap();
    let job = JOB.replace("mb=1", "mb=16").replace("timeout.ms=200", "timeout.ms=10000");
    let job = format!("{job}task.config.init=GET {url}/prices\n");
    let (_dir, said) = check(&wasm, Some(&job), &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for told in ["HTTP requests          none (task.grant.http)", "INFO ErrorCode::HttpRequestDenied"] {
        assert!(said.stdout.contains(told), "{told} is missing: {}", said.stdout);
    }
    assert!(server.requests().is_empty(), "it may not");
    let (_dir, said) = check(&wasm, Some(&format!("{job}task.grant.http={url}\n")), &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for told in [&*format!("HTTP requests          {url}"), "INFO 200 prices"] {
        assert!(said.stdout.contains(told), "{told} is missing: {}", said.stdout);
    }
    let asked = server.requests();
    assert_eq!((asked.len(), asked[0].line.as_str()), (1, "GET /prices HTTP/1.1"));
    assert_eq!(asked[0].header("host"), url.strip_prefix("http://"));
}

#[test]
fn the_second_look_does_not_compile_again() {
    let wasm = wat::task("(i32.const 0)", "(func $unlike_others)");
    drop(check(&wasm, None, &[]));
    let (_dir, said) = check(&wasm, None, &["--json"]);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert!(found["ok"].as_bool().unwrap() && found["compile_ms"].is_null(), "{found}");
}

#[test]
fn a_bad_configuration_and_a_bad_module_are_reported_together() {
    let (dir, said) = check(&wat::assemble("(component)"), Some("job.nam=x\n"), &[]);
    assert_eq!(said.code, Some(64));
    insta::assert_snapshot!("check_both", said.text(dir.path()));
}

/// A task that exports `init`, which does this.
fn with_init(body: &str) -> Vec<u8> {
    wat::assemble(&wat::task_text("(i32.const 0)", "").replace(
        "(export \"shardmill:task/processor@0.1.0\"",
        &format!(
            r#"(core module $life (memory (export "memory") 1)
                    (func (export "init") (result i32) {body}) (func (export "stop") (result i32) (i32.const 0)))
                (core instance $life (instantiate $life))
                (func $init (result (result (error string)))
                    (canon lift (core func $life "init") (memory $life "memory")))
                (func $stop (result (result (error string)))
                    (canon lift (core func $life "stop") (memory $life "memory")))
                (instance $lifecycle (export "init" (func $init)) (export "before-stop" (func $stop)))
                (export "shardmill:task/lifecycle@0.1.0" (instance $lifecycle))
                (export "shardmill:task/processor@0.1.0""#
        ),
    ))
}

/// Components that are no tasks, by what they import or export.
fn misfits() -> Vec<(&'static str, Vec<u8>)> {
    let component = |inside: &str| wat::assemble(&format!("(component {inside})"));
    let importing = |import: &str| wat::task_importing(import, "(i32.const 0)", "");
    vec![
        ("an empty component", component("")),
        (
            "another version of the contract",
            component(r#"(instance $p) (export "shardmill:task/processor@2.0.0" (instance $p))"#),
        ),
        (
            "functions of other types, and one that is missing",
            component(
                r#"(core module $code (func (export "f") (param i32)) (func (export "g")))
                (core instance $code (instantiate $code))
                (func $process (param "envelope" u32) (canon lift (core func $code "f")))
                (func $init (canon lift (core func $code "g")))
                (instance $processor (export "process" (func $process)))
                (instance $lifecycle (export "init" (func $init)))
                (export "shardmill:task/processor@0.1.0" (instance $processor))
                (export "shardmill:task/lifecycle@0.1.0" (instance $lifecycle))"#,
            ),
        ),
        ("an import of nobody's", importing(r#"(import "acme:cache/store@1.0.0" (instance))"#)),
        ("HTTP as a server", importing(r#"(import "wasi:http/incoming-handler@0.2.0" (instance))"#)),
        ("WASI 0.3", importing(r#"(import "wasi:cli/environment@0.3.0" (instance))"#)),
        ("an interface to come", importing(r#"(import "shardmill:task/state@0.1.0" (instance))"#)),
        ("a later version of an interface", importing(r#"(import "shardmill:task/log@0.2.0" (instance))"#)),
        (
            "a function that an interface lacks",
            importing(r#"(import "shardmill:task/coordinator@0.1.0" (instance (export "pause" (func))))"#),
        ),
        (
            "an import of another type",
            importing(r#"(import "shardmill:task/config@0.1.0" (instance (export "get" (func (param "key" u32)))))"#),
        ),
        ("a hundred thousand imports", wat::importing_functions(100_000)),
    ]
}

/// Files that are no components, or broken ones.
fn not_components() -> Vec<(&'static str, Vec<u8>)> {
    let task = wat::task("(i32.const 0)", "");
    let mut foreign = task.clone();
    foreign.extend([0xff; 40]);
    let engine = Engine::new().unwrap();
    vec![
        ("an empty file", Vec::new()),
        ("source code", b"fn main() {}".to_vec()),
        ("a native program", b"\x7fELF\x02\x01\x01\0\0\0\0\0".to_vec()),
        ("machine code of a module", engine.precompile("x", &task).unwrap()),
        ("a core module", wat::assemble("(module)")),
        ("another version of WebAssembly", b"\0asm\x0e\0\x01\0".to_vec()),
        ("half a header", b"\0asm\x0d".to_vec()),
        ("half a component", task[..task.len() / 2].to_vec()),
        ("a component that ends in something else", foreign),
        ("code of the wrong type", wat::assemble("(component (core module (func (result i32))))")),
        ("too large", vec![0; (128 << 20) + 1]),
    ]
}

/// Tasks that do not start.
fn not_starting() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a trap at the start", wat::task("(i32.const 0)", "(func $start unreachable) (start $start)")),
        ("an endless start", wat::task("(i32.const 0)", "(func $start (loop (br 0))) (start $start)")),
        ("more memory than is allowed", wat::task("(i32.const 0)", "(memory 100)")),
        ("a trap in init", with_init("unreachable")),
        (
            "an error of init",
            with_init(
                r#"(i32.store8 (i32.const 8) (i32.const 1)) (i32.store (i32.const 12) (i32.const 32))
                (i32.store (i32.const 16) (i32.const 9)) (i64.store (i32.const 32) (i64.const 0x6C62617420206F6E))
                (i32.store8 (i32.const 40) (i32.const 101)) (i32.const 8)"#,
            ),
        ),
    ]
}

#[test]
fn each_kind_of_bad_module_is_refused_with_its_reason() {
    let mut told = String::new();
    let without_job = not_components().into_iter().chain(misfits()).map(|(kind, wasm)| (kind, wasm, None));
    let with_job = not_starting().into_iter().map(|(kind, wasm)| (kind, wasm, Some(JOB)));
    for (kind, wasm, job) in without_job.chain(with_job) {
        let (_dir, said) = check(&wasm, job, &[]);
        assert_eq!(said.code, Some(64), "{kind}: {said:?}");
        told += &format!("== {kind}\n{}\n", said.stderr.trim_end());
    }
    let missing = JOB.to_owned() + "task.grant.dir=/nowhere\n";
    let (_dir, said) = check(&wat::task("(i32.const 0)", ""), Some(&missing), &[]);
    told += &format!("== a granted directory that is not there\n{}\n", said.stderr.trim_end());
    insta::assert_snapshot!("check_bad_modules", told);
}

/// As a job of a host a module is given what the operator allows, and no more.
#[test]
fn a_module_is_checked_as_a_job_of_a_host() {
    let wasm = std::fs::read(rust_guest("word-count")).unwrap();
    let host = "task.inputs=kinesis.lines\nsystems.kinesis.samza.factory=kinesis\n\
                systems.console.samza.factory=console\nhost.allow.task.grant.env=HOME\n";
    let dir = directory(&[
        ("orders.wasm", &wasm),
        ("host.properties", host.as_bytes()),
        ("orders.properties", b"task.grant.env=HOME\n"),
        ("greedy.properties", b"task.grant.env=HOME,PATH\n"),
    ]);
    let check =
        |more: &[&str]| shardmill_in(&dir, &[&["check", "orders.wasm", "--host", "host.properties"], more].concat());
    // The properties beside the module are the job's.
    let good = check(&["--json"]);
    assert_eq!(good.code, Some(0), "{good:?}");
    let found: Value = serde_json::from_str(&good.stdout).unwrap();
    assert_eq!(
        (&found["grants"][0]["key"], &found["grants"][0]["given"][0]),
        (&"task.grant.env".into(), &"HOME".into())
    );
    let greedy = check(&["--config-path", "greedy.properties"]);
    assert_eq!(greedy.code, Some(64), "{greedy:?}");
    assert!(greedy.stderr.contains("host.jobs.orders.allow.task.grant.env=HOME,PATH"), "{greedy:?}");
}
