//! A call's messages and requests take effect only if it returns ok.

use std::sync::Arc;

use shardmill_runtime::{CallError, Engine, Instance, Outputs, TaskError};
use shardmill_tests::instances::{batch, load, process, spec, texts};

fn hostile(name: &str, config: &[(&str, &str)]) -> Instance {
    let engine = Engine::new().unwrap();
    let mut instance = Instance::new(&load(&engine, name), &spec(&Arc::default(), config)).unwrap();
    instance.init().unwrap();
    instance
}

#[test]
fn nothing_of_a_failed_call_is_left_and_what_was_before_stays() {
    let mut instance = hostile("hostile", &[]);
    let mut outputs = Outputs::default();
    for failing in ["send-then reject no", "send-then other no", "send-then retry 7", "send-then panic no"] {
        outputs.clear();
        let failed = process(&mut instance, ["send first", "send second", failing], &mut outputs).unwrap_err();
        assert_eq!((failed.processed, failed.culprit), (2, Some(2)), "{failing}");
        assert_eq!(texts(&outputs), ["first", "second"], "{failing}");
    }
    let again = process(&mut instance, ["send more"], &mut outputs).unwrap_err();
    assert!(matches!(again.error, CallError::Ended(_)), "a trapped instance is not called again: {}", again.error);
    assert_eq!(texts(&outputs), ["first", "second"]);
}

#[test]
fn an_output_that_there_is_not_is_named_with_those_that_there_are() {
    let engine = Engine::new().unwrap();
    let config = [("output", "kafka.orders")];
    let mut instance = Instance::new(&load(&engine, "echo"), &spec(&Arc::default(), &config)).unwrap();
    let said = instance.init().unwrap_err().to_string();
    let named = "it requested the output `kafka.orders`, but the job has no system `kafka`, only these: console, out; \
                 systems.kafka.samza.factory makes one";
    assert!(said.contains(named), "{said}");
    let mut instance = hostile("hostile", &[]);
    let said = process(&mut instance, ["fatal no"], &mut Outputs::default()).unwrap_err().to_string();
    assert!(!said.contains("output"), "{said}");
}

#[test]
fn errors_keep_their_class() {
    let mut instance = hostile("hostile", &[]);
    let mut answer = |order: &str| match process(&mut instance, [order], &mut Outputs::default()).unwrap_err().error {
        CallError::Task(error) => error,
        other => panic!("{other}"),
    };
    assert_eq!(answer("retry 1500"), TaskError::Retry(Some(1500)));
    assert_eq!(answer("retry"), TaskError::Retry(None));
    assert_eq!(answer("reject bad record"), TaskError::Reject("bad record".into()));
    assert_eq!(answer("fatal no disk"), TaskError::Fatal("no disk".into()));
    assert_eq!(answer("other hm"), TaskError::Other("hm".into()));
}

#[test]
fn requests_stop_the_range_and_go_with_the_call() {
    let mut instance = hostile("hostile", &[]);
    let mut outputs = Outputs::default();
    let done = process(&mut instance, ["send a", "commit", "send b"], &mut outputs).unwrap();
    assert_eq!((done.processed, done.commit_requested, done.shutdown_requested), (2, true, None));

    let done = process(&mut instance, ["shutdown enough", "send b"], &mut outputs).unwrap();
    assert_eq!((done.processed, done.commit_requested), (1, false), "the request before is not repeated");
    assert_eq!(done.shutdown_requested.as_deref(), Some("enough"));

    let failed = process(&mut instance, ["send-then other no"], &mut outputs).unwrap_err();
    assert_eq!(failed.processed, 0);
    let done = process(&mut instance, ["send c"], &mut outputs).unwrap();
    assert!(!done.commit_requested && done.shutdown_requested.is_none(), "requests of a failed call are gone");
}

#[test]
fn a_batch_that_fails_leaves_nothing_and_names_the_culprit() {
    let mut instance = hostile("hostile-batch", &[]);
    let mut outputs = Outputs::default();
    let messages = batch(["a", "b", "reject", "c"]);
    let failed = instance.process(0, &messages, 0..4, 1, &mut outputs).unwrap_err();
    assert_eq!((failed.processed, failed.culprit, outputs.len()), (0, Some(2), 0));
    assert!(matches!(failed.error, CallError::Task(TaskError::Reject(_))));

    let done = instance.process(0, &messages, 0..2, 1, &mut outputs).unwrap();
    assert_eq!((done.processed, texts(&outputs)), (2, vec!["a".to_owned(), "b".to_owned()]));
    let failed = instance.process(0, &messages, 2..4, 2, &mut outputs).unwrap_err();
    assert_eq!(failed.culprit, Some(0), "counted from the start of the range");
    let done = instance.process(0, &messages, 3..4, 1, &mut outputs).unwrap();
    assert_eq!((done.processed, outputs.len()), (1, 3));
}

#[test]
fn a_batch_error_that_blames_no_envelope_of_the_call_is_invalid() {
    let mut instance = hostile("hostile-batch", &[]);
    let mut outputs = Outputs::default();
    let failed = process(&mut instance, ["a", "blame 2"], &mut outputs).unwrap_err();
    assert_eq!((failed.processed, failed.culprit, outputs.len()), (0, None, 0));
    let text = failed.error.to_string();
    assert!(text.contains("error index 2 for a batch of 2") && text.contains("not me"), "{text}");
    assert!(!failed.error.is_trap());
    process(&mut instance, ["a"], &mut outputs).unwrap();
}

#[test]
fn a_batch_that_traps_leaves_nothing_and_names_no_envelope() {
    let mut instance = hostile("hostile-batch", &[]);
    let mut outputs = Outputs::default();
    let failed = process(&mut instance, ["a", "trap"], &mut outputs).unwrap_err();
    assert_eq!((failed.processed, failed.culprit, outputs.len()), (0, None, 0));
    assert!(failed.error.is_trap());
}

#[test]
fn window_and_before_stop_send_too_and_are_atomic_too() {
    let mut outputs = Outputs::default();
    let mut instance = hostile("hostile", &[("window", "commit"), ("before-stop", "send bye")]);
    let done = instance.window(1000, 2000, &mut outputs).unwrap();
    assert!(done.commit_requested);
    instance.before_stop(&mut outputs).unwrap();
    assert_eq!(texts(&outputs), ["window 1000 2000", "bye"]);

    outputs.clear();
    let mut instance = hostile("hostile", &[("window", "reject no"), ("before-stop", "send-then other no")]);
    instance.window(0, 1, &mut outputs).unwrap_err();
    instance.before_stop(&mut outputs).unwrap_err();
    assert!(outputs.is_empty());
}

#[test]
fn init_cannot_send_and_its_error_keeps_the_instance_from_starting() {
    let engine = Engine::new().unwrap();
    let module = load(&engine, "hostile");
    let mut instance = Instance::new(&module, &spec(&Arc::default(), &[("init", "send hello")])).unwrap();
    let CallError::Task(TaskError::Fatal(reason)) = instance.init().unwrap_err() else { panic!("a task's error") };
    assert!(reason.contains("messages can be sent in process"), "{reason}");
}
