//! What is not let in, and what is said about it.

use std::sync::Arc;

use shardmill_runtime::{Engine, Instance, Outputs, Shape};
use shardmill_tests::instances::{load, process, spec};

use shardmill_tests::wat;

fn refused(wasm: &[u8]) -> String {
    Engine::new().unwrap().load("x", wasm).unwrap_err().to_string()
}

#[test]
fn a_task_in_text_form_is_let_in_and_runs() {
    let engine = Engine::new().unwrap();
    let module = engine.load("x", &wat::task("(i32.const 0)", "")).unwrap();
    assert_eq!(module.shape(), Shape::Task);
    assert!(!module.has_lifecycle() && !module.has_windowing());
    assert_eq!(module.exports(), ["shardmill:task/processor@0.1.0"]);
    let mut instance = Instance::new(&module, &spec(&Arc::default(), &[])).unwrap();
    instance.init().unwrap();
    let done = process(&mut instance, ["a", "b"], &mut Outputs::default()).unwrap();
    assert_eq!(done.processed, 2);
}

#[test]
fn a_core_module_is_told_how_to_become_a_component() {
    let error = refused(&wat::assemble("(module)"));
    assert!(error.contains("core module") && error.contains("wasm-tools component new"), "{error}");
}

#[test]
fn a_component_that_is_no_task_is_shown_what_it_lacks() {
    assert_eq!(
        refused(&wat::assemble("(component)")),
        "x does not fit the contract shardmill:task@0.1.0:\
         \n  - it exports neither `shardmill:task/processor@0.1.0` nor `shardmill:task/batch-processor@0.1.0`; expected \
         `process: func(envelope: record { source: u32, sequence: string, sub-sequence: u32, key: option<string>, \
         message: list<u8>, arrival-ms: u64 }) -> result<_, variant { retry(option<u32>), reject(string), \
         fatal(string), other(string) }>`"
    );
}

#[test]
fn every_import_that_is_not_offered_is_named() {
    let error = refused(&wat::assemble(
        r#"(component
            (import "wasi:http/outgoing-handler@0.3.0" (instance))
            (import "wasi:http/incoming-handler@0.2.0" (instance))
            (import "wasi:cli/environment@0.3.0" (instance))
            (import "shardmill:task/state@0.1.0" (instance (export "get" (func))))
            (import "shardmill:task/log@0.2.0" (instance))
            (import "shardmill:task/coordinator@0.1.0" (instance (export "commit" (func)) (export "pause" (func))))
            (import "something" (func)))"#,
    ));
    let problems: Vec<_> = error.lines().skip(1).collect();
    assert_eq!(
        problems[..7],
        [
            "  - it imports `wasi:http/outgoing-handler@0.3.0`, and this host offers 0.2 of it",
            "  - it imports `wasi:http/incoming-handler@0.2.0`, which this host does not offer",
            "  - it imports `wasi:cli/environment@0.3.0`, and this host offers 0.2 of it",
            "  - it imports `shardmill:task/state@0.1.0`, which this host does not offer",
            "  - it imports `shardmill:task/log@0.2.0`, and this host offers 0.1 of it",
            "  - it imports `pause` of `shardmill:task/coordinator@0.1.0`, which this host does not offer",
            "  - it imports `something`, which this host does not offer",
        ]
    );
    assert!(problems[7].contains("exports neither"), "the missing export is told, too: {error}");
}

#[test]
fn a_hundred_thousand_imports_are_refused_in_a_few_lines() {
    let error = refused(&wat::importing_functions(100_000));
    assert_eq!(error.lines().nth(1), Some("  - it imports `i0`, which this host does not offer"), "{error}");
    // A hundred thousand and one: it exports nothing, too.
    assert_eq!((error.lines().count(), error.lines().last()), (22, Some("  - and 99981 more")), "{error}");
}

#[test]
fn an_import_of_another_type_is_named() {
    let import = r#"(import "shardmill:task/config@0.1.0" (instance (export "get" (func (param "key" u32)))))"#;
    let error = refused(&wat::task_importing(import, "(i32.const 0)", ""));
    assert!(error.contains("shardmill:task/config@0.1.0") && error.contains("`get` has the wrong type"), "{error}");
}

#[test]
fn exports_of_another_type_are_shown_beside_what_is_expected() {
    let error = refused(&wat::assemble(
        r#"(component
            (core module $code (func (export "f") (param i32)) (func (export "g")))
            (core instance $code (instantiate $code))
            (func $process (param "envelope" u32) (canon lift (core func $code "f")))
            (func $init (canon lift (core func $code "g")))
            (instance $processor (export "process" (func $process)))
            (instance $lifecycle (export "init" (func $init)))
            (export "shardmill:task/processor@0.1.0" (instance $processor))
            (export "shardmill:task/lifecycle@0.1.0" (instance $lifecycle)))"#,
    ));
    let problems: Vec<_> = error.lines().skip(1).collect();
    assert_eq!(problems.len(), 3, "{error}");
    assert!(
        problems[0].starts_with(
            "  - `process` of `shardmill:task/processor@0.1.0` is `func(envelope: u32)`; expected `func(envelope: record"
        ),
        "{error}"
    );
    assert_eq!(
        problems[1..],
        [
            "  - `init` of `shardmill:task/lifecycle@0.1.0` is `func()`; expected `func() -> result<_, string>`",
            "  - `shardmill:task/lifecycle@0.1.0` lacks `before-stop: func() -> result<_, string>`",
        ]
    );
}

#[test]
fn another_version_of_the_contract_is_pointed_out() {
    let error = refused(&wat::assemble(
        r#"(component
            (instance $processor)
            (export "shardmill:task/processor@2.0.0" (instance $processor)))"#,
    ));
    assert!(error.contains("(but `shardmill:task/processor@2.0.0`)"), "{error}");
}

#[test]
fn exports_that_the_contract_does_not_know_are_ignored() {
    let engine = Engine::new().unwrap();
    let module = load(&engine, "hostile");
    assert!(module.has_lifecycle() && module.has_windowing());
    assert!(module.imports().iter().any(|import| import == "shardmill:task/collector@0.1.0"), "{:?}", module.imports());
    assert!(module.imports().iter().any(|import| import.starts_with("wasi:sockets/tcp@0.2.")), "linked, and closed");
    assert_eq!(module.id().to_string().len(), "hostile@".len() + 12);
}
