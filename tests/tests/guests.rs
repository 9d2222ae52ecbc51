//! Each sample task does what it says, run by the real runtime.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test panics and talks")]
use std::collections::BTreeMap;
use std::sync::Arc;

use shardmill_core::envelope::{Batch, BatchBuilder, Envelope};
use shardmill_runtime::{
    CallError, Engine, Instance, Limits, Module, OutputStreams, Outputs, Shape, Source, TaskError, TaskSpec, TracingLog,
};
use shardmill_tests::guests;

fn engine() -> Engine {
    Engine::new().unwrap()
}

fn load(engine: &Engine, name: &str) -> Module {
    engine.load(name, &std::fs::read(guests::rust_guest(name)).unwrap()).unwrap()
}

fn spec(config: &[(&str, &str)]) -> TaskSpec {
    TaskSpec {
        job_name: "samples".into(),
        job_id: "1".into(),
        task_name: "Task-0".into(),
        sources: vec![Source {
            system: "kinesis".into(),
            stream: "lines".into(),
            partition: "shardId-000000000000".into(),
        }],
        outputs: Arc::new(OutputStreams::new(["console".into(), "file".into()])),
        config: config.iter().map(|&(key, value)| (key.into(), value.into())).collect::<BTreeMap<_, _>>(),
        limits: Limits::default(),
        log: Arc::new(TracingLog),
    }
}

fn batch(messages: &[&[u8]]) -> Batch {
    let mut builder = BatchBuilder::default();
    for (index, message) in messages.iter().enumerate() {
        let sequence = (index + 1).to_string();
        let key = if index % 2 == 0 { Some("key") } else { None };
        builder.push(Envelope { sequence: &sequence, sub_sequence: 0, key, message, arrival_ms: 1 });
    }
    builder.finish()
}

/// Stream, key and text of what was sent.
fn sent(outputs: &Outputs, spec: &TaskSpec) -> Vec<(String, Option<String>, String)> {
    let row = |out: shardmill_runtime::Outgoing<'_>| {
        let stream = spec.outputs.get(out.output).unwrap();
        let text = String::from_utf8(out.message.to_vec()).unwrap();
        (format!("{}.{}", stream.system, stream.stream), out.key.map(str::to_owned), text)
    };
    outputs.iter().map(row).collect()
}

#[test]
fn word_count_sends_each_distinct_word_with_its_count() {
    let engine = engine();
    let module = load(&engine, "word-count");
    assert_eq!(module.shape(), Shape::Task);
    assert!(module.has_lifecycle() && !module.has_windowing());
    let spec = spec(&[]);
    let mut instance = Instance::new(&module, &spec).unwrap();
    instance.init().unwrap();
    let mut outputs = Outputs::default();
    let done = instance.process(0, &batch(&[b"to be or not to be", b"  ", b"\"a\\"]), 0..3, 1, &mut outputs).unwrap();
    assert_eq!(done.processed, 3);
    let row = |word: &str, text: &str| ("console.word-counts".to_owned(), Some(word.to_owned()), text.to_owned());
    assert_eq!(
        sent(&outputs, &spec),
        [
            row("be", r#"{"word":"be","count":2}"#),
            row("not", r#"{"word":"not","count":1}"#),
            row("or", r#"{"word":"or","count":1}"#),
            row("to", r#"{"word":"to","count":2}"#),
            row("\"a\\", r#"{"word":"\"a\\","count":1}"#),
        ]
    );
}

#[test]
fn word_count_rejects_what_is_not_text() {
    let engine = engine();
    let spec = spec(&[("output", "file.counts")]);
    let mut instance = Instance::new(&load(&engine, "word-count"), &spec).unwrap();
    instance.init().unwrap();
    let mut outputs = Outputs::default();
    let failed = instance.process(0, &batch(&[b"one", b"\xff", b"two"]), 0..3, 1, &mut outputs).unwrap_err();
    assert_eq!((failed.processed, failed.culprit), (1, Some(1)));
    assert!(
        matches!(&failed.error, CallError::Task(TaskError::Reject(reason)) if reason.contains("not UTF-8")),
        "{:?}",
        failed.error
    );
    assert_eq!(sent(&outputs, &spec).len(), 1, "the first envelope's count stays");
    assert_eq!(sent(&outputs, &spec)[0].0, "file.counts");
}

#[test]
fn word_count_does_not_start_without_its_output() {
    let engine = engine();
    let mut instance = Instance::new(&load(&engine, "word-count"), &spec(&[("output", "kafka.counts")])).unwrap();
    let error = instance.init().unwrap_err();
    assert!(error.to_string().contains("no output `kafka.counts`"), "{error}");
}

#[test]
fn filter_batch_passes_matches_on_in_upper_case() {
    let engine = engine();
    let module = load(&engine, "filter-batch");
    assert_eq!(module.shape(), Shape::BatchTask);
    let spec = spec(&[]);
    let mut instance = Instance::new(&module, &spec).unwrap();
    instance.init().unwrap();
    let mut outputs = Outputs::default();
    let batch = batch(&[b"an error here", b"fine", b"eerror", b"erro", b"error"]);
    let done = instance.process(0, &batch, 0..5, 1, &mut outputs).unwrap();
    assert_eq!(done.processed, 5);
    let row = |text: &str| ("console.filtered".to_owned(), Some("key".to_owned()), text.to_owned());
    assert_eq!(sent(&outputs, &spec), [row("AN ERROR HERE"), row("EERROR"), row("ERROR")]);
}
