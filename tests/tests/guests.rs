//! Each sample task does what it says, run by the real runtime.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test panics and talks")]

use std::sync::Arc;

use shardmill_runtime::{
    ArtifactStore, CallError, Engine, Instance, Module, Outputs, Shape, TaskError, TaskSpec, module_id,
};
use shardmill_tests::guests;
use shardmill_tests::instances::{Lines, load, process, spec};

fn started(module: &Module, spec: &TaskSpec) -> Instance {
    let mut instance = Instance::new(module, spec).unwrap();
    instance.init().unwrap();
    instance
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

fn row(stream: &str, key: &str, text: &str) -> (String, Option<String>, String) {
    (stream.to_owned(), Some(key.to_owned()), text.to_owned())
}

#[test]
fn word_count_sends_each_distinct_word_with_its_count() {
    let engine = Engine::new().unwrap();
    let module = load(&engine, "word-count");
    assert_eq!(module.shape(), Shape::Task);
    assert!(module.has_lifecycle() && !module.has_windowing());
    let spec = spec(&Arc::default(), &[]);
    let mut outputs = Outputs::default();
    let done = process(&mut started(&module, &spec), ["to be or not to be", "  ", "\"a\\"], &mut outputs).unwrap();
    assert_eq!(done.processed, 3);
    let count = |word: &str, json: &str| row("console.word-counts", word, json);
    assert_eq!(
        sent(&outputs, &spec),
        [
            count("be", r#"{"word":"be","count":2}"#),
            count("not", r#"{"word":"not","count":1}"#),
            count("or", r#"{"word":"or","count":1}"#),
            count("to", r#"{"word":"to","count":2}"#),
            count("\"a\\", r#"{"word":"\"a\\","count":1}"#),
        ]
    );
}

#[test]
fn word_count_rejects_what_is_not_text() {
    let engine = Engine::new().unwrap();
    let spec = spec(&Arc::default(), &[("output", "out.counts")]);
    let mut instance = started(&load(&engine, "word-count"), &spec);
    let mut outputs = Outputs::default();
    let failed = process(&mut instance, [&b"one"[..], b"\xff", b"two"], &mut outputs).unwrap_err();
    assert_eq!((failed.processed, failed.culprit), (1, Some(1)));
    let CallError::Task(TaskError::Reject(reason)) = &failed.error else { panic!("{:?}", failed.error) };
    assert!(reason.contains("not UTF-8"), "{reason}");
    let first_only = [row("out.counts", "one", r#"{"word":"one","count":1}"#)];
    assert_eq!(sent(&outputs, &spec), first_only);
}

#[test]
fn word_count_does_not_start_without_its_output() {
    let engine = Engine::new().unwrap();
    let spec = spec(&Arc::default(), &[("output", "kafka.counts")]);
    let mut instance = Instance::new(&load(&engine, "word-count"), &spec).unwrap();
    let error = instance.init().unwrap_err();
    assert!(error.to_string().contains("no output `kafka.counts`"), "{error}");
}

#[test]
fn count_sends_what_it_counted_at_the_end_of_a_window_and_when_it_stops() {
    let engine = Engine::new().unwrap();
    let module = load(&engine, "count");
    assert!(module.has_lifecycle() && module.has_windowing());
    let spec = spec(&Arc::default(), &[]);
    let mut instance = started(&module, &spec);
    let mut outputs = Outputs::default();
    process(&mut instance, ["one", "three"], &mut outputs).unwrap();
    instance.window(0, 1000, &mut outputs).unwrap();
    instance.window(1000, 2000, &mut outputs).unwrap();
    process(&mut instance, ["x"], &mut outputs).unwrap();
    instance.before_stop(&mut outputs).unwrap();
    let counts = |json: &str| ("console.counts".to_owned(), None, json.to_owned());
    assert_eq!(
        sent(&outputs, &spec),
        [
            counts(r#"{"envelopes":2,"bytes":8}"#),
            counts(r#"{"envelopes":0,"bytes":0}"#),
            counts(r#"{"envelopes":1,"bytes":1}"#)
        ]
    );
}

#[test]
fn count_batch_takes_everything_and_sends_nothing() {
    let engine = Engine::new().unwrap();
    let mut instance = started(&load(&engine, "count-batch"), &spec(&Arc::default(), &[]));
    let mut outputs = Outputs::default();
    assert_eq!(process(&mut instance, ["a", "b"], &mut outputs).unwrap().processed, 2);
    assert!(outputs.is_empty());
}

/// What every filter must make of the same messages; every second envelope has no key.
fn check_filter(module: &Module) {
    assert_eq!(module.shape(), Shape::BatchTask);
    let spec = spec(&Arc::<Lines>::default(), &[]);
    let messages = [&b"an error here"[..], b"fine", b"eerror", b"no error: \xc3\xa4", b"erro", b"\xff error"];
    let mut outputs = Outputs::default();
    let done = process(&mut started(module, &spec), messages, &mut outputs).unwrap();
    assert_eq!(done.processed, 6);
    let sent: Vec<_> = outputs.iter().map(|out| (out.key, out.message)).collect();
    assert_eq!(
        sent,
        [
            (Some("key"), &b"AN ERROR HERE"[..]),
            (Some("key"), b"EERROR"),
            (None, b"NO ERROR: \xc3\xa4"),
            (None, b"\xff ERROR"),
        ]
    );
    assert_eq!(spec.outputs.get(0).unwrap().stream, "filtered");

    let spec = self::spec(&Arc::default(), &[("pattern", "ä"), ("output", "out.hits")]);
    outputs.clear();
    process(&mut started(module, &spec), ["ä error", "error"], &mut outputs).unwrap();
    assert_eq!(self::sent(&outputs, &spec), [row("out.hits", "key", "ä ERROR")]);

    let spec = self::spec(&Arc::default(), &[("output", "nowhere.hits")]);
    let failed = process(&mut started(module, &spec), ["error"], &mut outputs).unwrap_err();
    assert!(matches!(failed.error, CallError::Task(TaskError::Fatal(_) | TaskError::Other(_))), "{}", failed.error);
    let told = failed.error.to_string().to_lowercase().replace(['-', '_'], "");
    assert!(told.contains("unknownoutput"), "{told}");
}

#[test]
fn the_filter_in_rust_passes_matches_on_in_upper_case() {
    check_filter(&load(&Engine::new().unwrap(), "filter-batch"));
}

#[test]
fn the_filter_in_javascript_does_the_same() {
    check_scripted_filter("javascript");
}

#[test]
fn the_filter_in_python_does_the_same() {
    check_scripted_filter("python");
}

fn check_scripted_filter(language: &str) {
    match guests::scripted_guest(language) {
        Ok(component) => check_filter(&compiled_once(language, &std::fs::read(component).unwrap())),
        Err(reason) => eprintln!("SKIPPED: the {language} sample was not tested, its tools are not at hand: {reason}"),
    }
}

/// As the host does it: what takes ten seconds to compile is kept, for the next run of these tests, too.
fn compiled_once(name: &str, wasm: &[u8]) -> Module {
    let engine = Engine::new().unwrap();
    let store = ArtifactStore::open(concat!(env!("CARGO_TARGET_TMPDIR"), "/modules").as_ref()).unwrap();
    let id = module_id(wasm).of_job(name);
    if let Some(module) = store.get(&engine, &id).unwrap() {
        return module;
    }
    let compiled = engine.precompile(name, wasm).unwrap_or_else(|error| panic!("{error}"));
    store.put(&engine, &id, &compiled).unwrap();
    store.get(&engine, &id).unwrap().expect("it has been put")
}
