//! What is not let in, and what is said about it.

use std::sync::Arc;

use shardmill_core::config::Limits;
use shardmill_runtime::{
    CallError, Engine, HostMemory, Instance, Limit, Module, Outputs, Shape, TaskSpec, TrapReason, trial,
};
use shardmill_tests::instances::{load, process, spec};

use shardmill_tests::{bombs, wat};

fn refused(wasm: &[u8]) -> String {
    Engine::new().unwrap().load("x", wasm).unwrap_err().to_string()
}

#[test]
fn a_task_in_text_form_is_admitted_and_runs() {
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
fn the_error_of_a_core_module_explains_how_to_make_a_component() {
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
            "  - it imports `wasi:http/outgoing-handler@0.3.0`, but this host offers 0.2 of it",
            "  - it imports `wasi:http/incoming-handler@0.2.0`, which this host does not offer",
            "  - it imports `wasi:cli/environment@0.3.0`, but this host offers 0.2 of it",
            "  - it imports `shardmill:task/state@0.1.0`, which this host does not offer",
            "  - it imports `shardmill:task/log@0.2.0`, but this host offers 0.1 of it",
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
    assert_eq!(module.version().to_string().len(), "hostile@".len() + 12);
}

/// Longer than any reason may be, with what is around it.
const REASON_MAX: usize = 10 << 10;

/// Written out, the type would have from 3 to 12 GB.
#[test]
fn a_type_that_is_small_only_because_it_is_shared_is_never_written_out() {
    for doublings in [15, 17] {
        let bomb = bombs::types(90_000, doublings);
        assert!(bomb.len() < 100_000, "{}", bomb.len());
        let error = refused(&bomb);
        assert!(error.starts_with("x does not fit the contract"), "{error:.500}");
        assert!(
            error.contains("`process` of `shardmill:task/processor@0.1.0` is `func(envelope: tuple<tuple<"),
            "{error}"
        );
        assert!(error.len() < REASON_MAX, "{} bytes", error.len());
    }
}

#[test]
fn a_tree_of_imported_instances_is_walked_within_the_parsers_bound() {
    for doublings in [10, 17, 25, 60] {
        let error = refused(&bombs::imported_instances(doublings));
        assert!(error.len() < REASON_MAX, "{} bytes", error.len());
    }
}

#[test]
fn names_of_a_component_are_shown_by_their_beginning() {
    let error = refused(&bombs::names(90_000));
    assert!(error.contains("it imports `nnnn") && error.contains(" bytes more)"), "{error:.500}");
    assert!(error.len() < REASON_MAX, "{} bytes", error.len());

    // What the parser says of it, too.
    let twice = format!(r#"(component (import "{0}" (func)) (import "{0}" (func)))"#, "n".repeat(90_000));
    let error = refused(&wat::assemble(&twice));
    assert!(error.contains("not a valid WebAssembly component") && error.len() < REASON_MAX, "{} bytes", error.len());
}

#[test]
fn a_text_that_would_steer_a_terminal_is_spelt_out() {
    // A name of a core module's import may be any text.
    let text = r#"(component (core module (import "a\1b[2J" "b\0a2026 ERROR forged" (func)) (export "c" (func 9))))"#;
    let error = refused(&wat::assemble(text));
    assert!(!error.contains('\u{1b}') && error.lines().count() == 1, "{error:?}");
}

/// Sixteen frames of a backtrace with the longest names that there may be.
#[test]
fn a_module_that_does_not_start_is_rejected_in_a_short_text() {
    let name = "n".repeat(90_000);
    let parts = format!(
        "(func ${name} (param i32) (if (local.get 0) (then (call ${name} (i32.sub (local.get 0) (i32.const 1)))
        (return))) unreachable) (func $start (call ${name} (i32.const 30))) (start $start)"
    );
    let module = Engine::new().unwrap().load("x", &wat::task("(i32.const 0)", &parts)).unwrap();
    let error = trial::start(&module, &spec(&Arc::default(), &[])).unwrap_err().to_string();
    assert!(error.contains("unreachable") && error.contains("nnnn"), "{error:.500}");
    assert!(error.len() < REASON_MAX, "{} bytes", error.len());
}

/// 5 MB of module, 3 GiB of contexts: refused before anything is instantiated.
#[test]
fn an_instance_that_costs_more_than_its_limit_before_it_runs_is_not_made() {
    let engine = Engine::new().unwrap();
    let module = engine.load("x", &bombs::globals("(i32.const 0)", 100_000, 50)).unwrap();
    let cost = module.footprint().total();
    assert!((80_000_000..81_000_000).contains(&cost), "{cost}");
    let spec = spec(&Arc::default(), &[]);
    let tight = TaskSpec { limits: Limits { memory_max_bytes: 64 << 20, ..Limits::default() }, ..spec.clone() };
    let Err(error) = Instance::new(&module, &tight) else { panic!("it was made") };
    assert_eq!(
        error.to_string(),
        format!(
            "an instance needs {} MiB before it runs: {} MiB for the globals and functions of 51 core instances, 64 KiB of \
             linear memories, 0 KiB of tables; it may have 64 MiB (task.memory.max.mb)",
            cost.div_ceil(1 << 20),
            module.footprint().contexts.div_ceil(1 << 20),
        )
    );
    assert_eq!(tight.hits.of(Limit::Memory), 1);

    let mut instance = Instance::new(&module, &spec).unwrap();
    assert_eq!(instance.memory_bytes() as u64, cost, "what was computed is what is counted");
    process(&mut instance, ["a"], &mut Outputs::default()).unwrap();
}

/// 8 bytes for each element, of the same limit as memory.
#[test]
fn tables_count_as_memory() {
    let grow = "(drop (table.grow 0 (ref.null func) (i32.const 900000))) (i32.const 0)";
    let engine = Engine::new().unwrap();
    let module = engine.load("x", &wat::task(grow, "(table 1 funcref)")).unwrap();
    let limits = |memory_max_bytes| Limits { memory_max_bytes, ..Limits::default() };
    let spec = |max| TaskSpec { limits: limits(max), ..spec(&Arc::default(), &[]) };
    let mut instance = Instance::new(&module, &spec(8 << 20)).unwrap();
    process(&mut instance, ["a"], &mut Outputs::default()).unwrap();
    assert!(instance.memory_bytes() > 7_200_000, "{}", instance.memory_bytes());
    let tight = spec(4 << 20);
    let mut instance = Instance::new(&module, &tight).unwrap();
    let failed = process(&mut instance, ["a"], &mut Outputs::default()).unwrap_err();
    assert!(matches!(failed.error, CallError::Trap { reason: TrapReason::Memory, .. }), "{}", failed.error);
    assert!(!failed.error.is_hosts(), "its own limit");
}

/// What was asked for and not to be had is not counted.
#[test]
fn a_growth_that_fails_gives_back_what_it_was_granted() {
    let grow = "(drop (memory.grow (i32.const 10))) (i32.const 0)";
    let engine = Engine::new().unwrap();
    let text = wat::task_text(grow, "").replace(r#"(memory (export "memory") 1)"#, r#"(memory (export "memory") 1 2)"#);
    let module = engine.load("x", &wat::assemble(&text)).unwrap();
    let mut instance = Instance::new(&module, &spec(&Arc::default(), &[])).unwrap();
    let before = instance.memory_bytes();
    process(&mut instance, ["a", "b", "c"], &mut Outputs::default()).unwrap();
    assert_eq!(instance.memory_bytes(), before);
}

/// Each call takes another MiB, without end.
fn greedy(engine: &Engine) -> Module {
    engine.load("greedy", &wat::task("(drop (memory.grow (i32.const 16))) (i32.const 0)", "")).unwrap()
}

#[test]
fn when_the_hosts_memory_is_used_up_it_is_the_host_who_is_to_blame_and_others_go_on() {
    let memory = HostMemory::new(40 << 20);
    let engine = Engine::new().unwrap().with_memory(memory.clone());
    let module = greedy(&engine);
    let of = |name: &str| TaskSpec { job_name: name.to_owned(), ..spec(&Arc::default(), &[]) };
    let quiet = engine.load("x", &wat::task("(i32.const 0)", "")).unwrap();
    let mut good = Instance::new(&quiet, &of("good")).unwrap();
    let spec = of("greedy");
    let mut instance = Instance::new(&module, &spec).unwrap();
    let failed = loop {
        if let Err(failed) = process(&mut instance, ["a"], &mut Outputs::default()) {
            break failed;
        }
    };
    assert!(failed.error.is_hosts() && failed.error.is_trap(), "{}", failed.error);
    let text = failed.error.to_string();
    assert!(text.starts_with("the task trapped (host memory): the host's memory is used up: 1 MiB more"), "{text}");
    assert!(text.contains("all jobs together may have 40 MiB (host.memory.max.mb)"), "{text}");
    assert_eq!(spec.hits.hit().count(), 0, "none of its own limits");

    let big = engine.load("x", &wat::task("(i32.const 0)", "(memory 400)")).unwrap();
    let Err(error) = Instance::new(&big, &of("other")) else { panic!("there is no room") };
    assert!(error.is_hosts(), "{error}");
    process(&mut good, ["a", "b"], &mut Outputs::default()).unwrap();

    drop(instance);
    let instance = Instance::new(&big, &of("other")).unwrap();
    assert!(memory.used() > 25 << 20);
    drop((instance, good));
    assert_eq!(memory.used(), 0);
}
