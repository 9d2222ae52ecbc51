//! A task reaches nothing that it was not given, and is told what it should know.

use std::sync::Arc;

use shardmill_core::config::{Directory, Grants, Secret};
use shardmill_core::envelope::{BatchBuilder, Envelope};
use shardmill_runtime::{Engine, Instance, Module, OutputStreams, Outputs, Source, TaskSpec};
use shardmill_tests::instances::{Lines, load, process, spec, texts};

fn module() -> Module {
    load(&Engine::new().unwrap(), "hostile")
}

fn answer(order: &str) -> String {
    let mut outputs = Outputs::default();
    process(&mut Instance::new(&module(), &spec(&Arc::default(), &[])).unwrap(), [order], &mut outputs).unwrap();
    texts(&outputs).concat()
}

#[test]
fn there_are_no_files_no_network_no_environment_and_no_input() {
    let files = answer("files /etc/passwd");
    assert!(files.starts_with("Some(") && !files.contains("None"), "{files}");
    let network = answer("network 127.0.0.1:80");
    assert!(network.starts_with("Some("), "{network}");
    assert_eq!(answer("environment"), "0 0");
    assert_eq!(answer("stdin"), r#"Ok("")"#);
}

/// What a task that is granted this much answers to each order.
fn granted(grants: Grants, orders: &[String]) -> Vec<String> {
    let mut outputs = Outputs::default();
    let spec = TaskSpec { grants, ..spec(&Arc::default(), &[]) };
    process(&mut Instance::new(&module(), &spec).unwrap(), orders, &mut outputs).unwrap();
    texts(&outputs)
}

#[test]
fn variables_are_given_by_name() {
    let env = [("GREETING".to_owned(), Secret::new("hello"))].into();
    let orders = ["variable GREETING", "variable PATH", "environment"].map(str::to_owned);
    assert_eq!(granted(Grants { env, ..Grants::default() }, &orders), [r#"Some("hello")"#, "None", "1 0"]);
}

#[test]
fn a_directory_is_given_with_what_is_below_it_and_nothing_else() {
    let given = tempfile::tempdir().unwrap();
    let given_path = given.path().join("given");
    std::fs::create_dir(&given_path).unwrap();
    std::fs::write(given_path.join("a"), "in it").unwrap();
    std::fs::write(given.path().join("secret"), "beside it").unwrap();
    std::os::unix::fs::symlink("../secret", given_path.join("link")).unwrap();
    let answers = |writable| {
        let directory =
            Directory { host: given_path.clone(), operators: given_path.clone(), guest: "/in".into(), writable };
        let orders =
            ["read /in/a", "write /in/b", "read /in/../secret", "read /in/link", "read /etc/passwd", "write /in/a"];
        granted(Grants { directories: vec![directory], ..Grants::default() }, &orders.map(str::to_owned))
    };
    let read_only = answers(false);
    assert_eq!(read_only[0], r#"Ok("in it")"#);
    assert!(read_only[1..].iter().all(|answer| answer.starts_with("Err(")), "{read_only:?}");
    let writable = answers(true);
    assert_eq!(
        (writable[0].as_str(), writable[1].as_str(), writable[5].as_str()),
        (r#"Ok("in it")"#, "Ok(())", "Ok(())")
    );
    assert!(writable[2..5].iter().all(|answer| answer.starts_with("Err(")), "{writable:?}");
    assert_eq!(std::fs::read_to_string(given.path().join("secret")).unwrap(), "beside it");
}

#[test]
fn a_directory_that_is_not_there_keeps_the_task_from_starting() {
    let directory =
        Directory { host: "/nowhere".into(), operators: "/nowhere".into(), guest: "/in".into(), writable: false };
    let grants = Grants { directories: vec![directory], ..Grants::default() };
    let Err(error) = Instance::new(&module(), &TaskSpec { grants, ..spec(&Arc::default(), &[]) }) else {
        panic!("it cannot start")
    };
    let said = error.to_string();
    assert!(said.starts_with("cannot open the directory /nowhere: ") && said.ends_with("(task.grant.dir)"), "{said}");
    assert!(!error.is_trap());
}

#[test]
fn values_of_variables_are_not_shown() {
    let grants = Grants { env: [("TOKEN".to_owned(), Secret::new("hunter2"))].into(), ..Grants::default() };
    let shown = format!("{grants:?}");
    assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn only_streams_of_the_systems_of_the_job_can_be_sent_to() {
    assert_eq!(answer("output out.any.stream"), "Ok(0)");
    assert_eq!(answer("output kafka.any"), "Err(SendError::UnknownOutput)");
    assert_eq!(answer("output out"), "Err(SendError::UnknownOutput)");
    assert_eq!(answer("send-to 1"), "Err(SendError::UnknownOutput)");
}

#[test]
fn an_index_of_another_instance_that_this_one_has_not_resolved_is_unknown() {
    let module = module();
    let spec = spec(&Arc::default(), &[]);
    let mut outputs = Outputs::default();
    let mut first = Instance::new(&module, &spec).unwrap();
    process(&mut first, ["output out.a", "output out.b"], &mut outputs).unwrap();
    let mut second = Instance::new(&module, &spec).unwrap();
    outputs.clear();
    process(&mut second, ["send-to 2"], &mut outputs).unwrap();
    assert_eq!(texts(&outputs), ["Err(SendError::UnknownOutput)"]);
}

#[test]
fn a_task_knows_its_envelope_its_source_and_itself() {
    let module = module();
    let mut instance = Instance::new(&module, &spec(&Arc::default(), &[])).unwrap();
    let child = Source { system: "kinesis".into(), stream: "lines".into(), partition: "shardId-000000000001".into() };
    assert_eq!(instance.add_source(child), 1);
    let sequence = "49590338271490256608559692538361571095921575989136588898";
    let mut builder = BatchBuilder::default();
    builder.push(Envelope {
        sequence,
        sub_sequence: 3,
        key: None,
        message: b"describe",
        arrival_ms: 1_700_000_000_123,
    });
    let mut outputs = Outputs::default();
    instance.process(1, &builder.finish(), 0..1, 2, &mut outputs).unwrap();
    assert_eq!(
        texts(&outputs),
        [
            format!("Some(\"kinesis.lines.shardId-000000000001\") {sequence} 3 None 1700000000123"),
            "job-1 Task-0 attempt 2 None".to_owned(),
            format!("{} true", module.version()),
        ]
    );
}

#[test]
fn instances_of_a_job_share_the_indexes_of_streams_and_no_memory() {
    let module = module();
    let mut spec = spec(&Arc::default(), &[]);
    let streams = Arc::new(OutputStreams::new(["out".into()]));
    spec.outputs = Arc::clone(&streams);
    for _ in 0..2 {
        let mut outputs = Outputs::default();
        process(&mut Instance::new(&module, &spec).unwrap(), ["calls", "calls"], &mut outputs).unwrap();
        assert_eq!(texts(&outputs), ["1", "2"]);
        assert!(outputs.iter().all(|out| out.output == 0));
    }
    assert_eq!(streams.get(0).unwrap().stream, "log");
    assert_eq!(streams.get(1), None);
}

#[test]
fn output_of_a_task_is_logged_with_task_and_position() {
    let log = Arc::new(Lines::default());
    let mut instance = Instance::new(&module(), &spec(&log, &[("init", "print from init")])).unwrap();
    instance.init().unwrap();
    assert_eq!(log.taken(), ["INFO Stdout Task-0 - from init"]);
    process(&mut instance, ["log bad\nthing \u{1b}[2J", "print hello", "eprint oh"], &mut Outputs::default()).unwrap();
    assert_eq!(
        log.taken(),
        [
            "ERROR Log Task-0 shardId-000000000000/1 bad\n  thing \\u{1b}[2J",
            "INFO Stdout Task-0 shardId-000000000000/2 hello",
            "WARN Stderr Task-0 shardId-000000000000/3 oh",
        ]
    );
}
