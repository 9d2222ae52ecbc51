//! A call that waits in the host ends when its time is up or somebody ends it, whatever it waits for.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use shardmill_core::config::{Directory, Grants};
use shardmill_runtime::{CallError, Engine, Instance, Interrupter, Limit, Outputs, TaskSpec, TrapReason};
use shardmill_tests::instances::{load, process, spec, texts};

/// Longer than any test takes.
const FOR_EVER: Duration = Duration::from_mins(10);

fn limited(call_timeout: Duration) -> TaskSpec {
    let mut spec = spec(&Arc::default(), &[]);
    spec.limits.call_timeout = call_timeout;
    spec
}

fn instance(spec: &TaskSpec) -> Instance {
    Instance::new(&load(&Engine::new().unwrap(), "hostile"), spec).unwrap()
}

/// What is granted at `/in`, read-write.
fn given(directory: &Path) -> Grants {
    let directory =
        Directory { host: directory.to_owned(), operators: directory.to_owned(), guest: "/in".into(), writable: true };
    Grants { directories: vec![directory], ..Grants::default() }
}

fn reason(error: &CallError) -> TrapReason {
    let CallError::Trap { reason, .. } = error else { panic!("{error}") };
    *reason
}

#[test]
fn every_wait_in_the_host_ends_with_the_call_and_is_counted() {
    for what in ["sleep", "wait-for clocks", "wait-for moments", "wait-for clock"] {
        let spec = limited(Duration::from_millis(300));
        let began = Instant::now();
        let failed = process(&mut instance(&spec), [what], &mut Outputs::default()).unwrap_err();
        assert_eq!(reason(&failed.error), TrapReason::Timeout, "{what}");
        assert!(began.elapsed() >= Duration::from_millis(300), "{what} had its time");
        assert_eq!(spec.hits.hit().collect::<Vec<_>>(), [(Limit::CallTime, 1)], "{what}");
    }
}

#[test]
fn computing_before_a_wait_counts_against_the_same_time_limit() {
    // The wait alone would be over in time, and begins when half of the time is gone.
    let spec = limited(Duration::from_millis(400));
    let failed = process(&mut instance(&spec), ["spin-then-sleep 200 300"], &mut Outputs::default()).unwrap_err();
    assert_eq!(reason(&failed.error), TrapReason::Timeout);
    // Both are over in time, where there is much of it.
    let done = process(&mut instance(&limited(FOR_EVER)), ["spin-then-sleep 1 50"], &mut Outputs::default()).unwrap();
    assert_eq!(done.processed, 1);
}

#[test]
fn a_wait_in_init_ends_with_the_time_of_init() {
    let mut spec = limited(FOR_EVER);
    spec.limits.init_timeout = Duration::from_millis(300);
    spec.config = [("init".to_owned(), "wait-for clock".to_owned())].into();
    let error = instance(&spec).init().unwrap_err();
    assert_eq!((reason(&error), spec.hits.of(Limit::InitTime)), (TrapReason::Timeout, 1));
}

#[test]
fn an_interrupt_ends_a_wait_at_once() {
    for what in ["sleep", "wait-for clocks", "wait-for clock", "spin"] {
        let spec = limited(FOR_EVER);
        let mut instance = instance(&spec);
        let interrupter = Interrupter::default();
        instance.set_interrupter(interrupter.clone());
        let (begun, wait) = mpsc::channel();
        let calling = std::thread::spawn(move || {
            begun.send(()).unwrap();
            process(&mut instance, [what], &mut Outputs::default()).unwrap_err()
        });
        wait.recv().unwrap();
        // Whoever asks before the call has begun asks for nothing.
        while !calling.is_finished() {
            interrupter.interrupt();
            std::thread::sleep(Duration::from_millis(5));
        }
        let failed = calling.join().unwrap();
        assert_eq!(reason(&failed.error), TrapReason::Interrupted, "{what}");
        assert!(spec.hits.hit().next().is_none(), "{what}: its time was not up");
    }
}

#[test]
fn an_interruption_is_about_the_call_that_goes_on_and_no_other() {
    let mut instance = instance(&limited(FOR_EVER));
    let interrupter = Interrupter::default();
    instance.set_interrupter(interrupter.clone());
    interrupter.interrupt();
    let done = process(&mut instance, ["spin-then-sleep 1 20"], &mut Outputs::default()).unwrap();
    assert_eq!(done.processed, 1);
}

/// Makes a pipe that nobody else opens, and so one that is waited for when it is opened.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn only_files_and_directories_are_opened_and_no_pipe_socket_or_device_under_any_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    pipe(&path.join("pipe"));
    symlink("pipe", path.join("link")).unwrap();
    symlink("link", path.join("link-to-link")).unwrap();
    std::fs::hard_link(path.join("pipe"), path.join("hard-link")).unwrap();
    std::fs::create_dir(path.join("below")).unwrap();
    symlink("../pipe", path.join("below/up")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    std::fs::write(path.join("file"), "fine").unwrap();
    symlink("file", path.join("link-to-file")).unwrap();

    let spec = TaskSpec { grants: given(path), ..limited(Duration::from_secs(10)) };
    let mut outputs = Outputs::default();
    let special = ["pipe", "link", "link-to-link", "hard-link", "below/up", "socket"];
    let orders = special.iter().flat_map(|name| [format!("read /in/{name}"), format!("write /in/{name}")]);
    process(&mut instance(&spec), orders.clone(), &mut outputs).unwrap();
    for (order, answer) in orders.zip(texts(&outputs)) {
        assert_eq!(answer, "Err(PermissionDenied)", "{order}");
    }
    outputs.clear();
    let orders = ["read /in/link-to-file", "write /in/file", "write /in/new", "read /in/none", "raw link pipe mine"];
    process(&mut instance(&spec), orders, &mut outputs).unwrap();
    assert_eq!(texts(&outputs), [r#"Ok("fine")"#, "Ok(())", "Ok(())", "Err(NotFound)", "not-permitted"]);
}

#[test]
fn a_call_writes_so_many_bytes_to_files_and_the_next_call_as_many_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut spec = TaskSpec { grants: given(directory.path()), ..limited(Duration::from_secs(30)) };
    spec.limits.files_max_bytes = 10_500;
    let mut outputs = Outputs::default();
    let orders = ["fill /in/a", "fill /in/b"];
    process(&mut instance(&spec), orders, &mut outputs).unwrap();
    // What C libraries make of a stream that failed.
    assert_eq!(texts(&outputs), ["10000 I/O error (os error 29)"; 2]);
    let bytes = |name: &str| std::fs::read(directory.path().join(name)).unwrap().len();
    assert_eq!((bytes("a"), bytes("b")), (10_000, 10_000));
    assert_eq!(spec.hits.hit().collect::<Vec<_>>(), [(Limit::FileBytes, 2)]);
}
