//! Lets a component in, or says everything that is wrong with it. Owns the checks that need no running of guest code;
//! knows nothing of files or directories.
//!
//! It goes in steps, because the dear one is not for every process: [`compile`] makes machine code of bytes that nobody
//! has looked at yet, [`admit`] checks the compiled component against the contract.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::bindings::exports::shardmill::task::{batch_processor, lifecycle, processor, windowing};
use crate::contract::{self, Export};
use crate::interrupt::Ticker;
use crate::module::{Inner, Module, ModuleId, Processor};
use crate::signature;
use crate::state::State;

/// The largest component that is compiled. Python's are 18 MiB; compiling takes many times the size in memory.
const MAX_MODULE_BYTES: usize = 128 << 20;

/// Problems of one component that are told; there may be a hundred thousand.
const MAX_PROBLEMS: usize = 20;

const WASM_MAGIC: &[u8] = b"\0asm";
const ELF_MAGIC: &[u8] = b"\x7fELF";
const CORE_MODULE_HEADER: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT_HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// Why a component is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{name} is larger than a task may be: {size} bytes, at most {max}")]
    TooLarge { name: String, size: usize, max: usize },
    #[error("{name} is not a WebAssembly component: {found}")]
    NotAComponent { name: String, found: &'static str },
    /// Damaged, cut short, or using something that is not supported.
    #[error("{name} is not a valid WebAssembly component: {reason}")]
    Invalid { name: String, reason: String },
    /// A valid component that is not a task. Every reason is listed.
    #[error("{name} does not fit the contract shardmill:task@0.1.0:{}", list(problems))]
    Contract { name: String, problems: Vec<String> },
}

/// Validates a component and compiles it to machine code. Costs as much time and memory as the component makes it.
pub(crate) fn compile(engine: &wasmtime::Engine, name: &str, wasm: &[u8]) -> Result<Vec<u8>, Error> {
    check_header(name, wasm)?;
    engine.precompile_component(wasm).map_err(|error| invalid(name, &error))
}

/// Compiles and checks a component.
pub(crate) fn load(
    engine: &wasmtime::Engine,
    linker: &Linker<State>,
    ticker: &Ticker,
    name: &str,
    wasm: &[u8],
) -> Result<Module, Error> {
    check_header(name, wasm)?;
    let component = Component::from_binary(engine, wasm).map_err(|error| invalid(name, &error))?;
    admit(linker, ticker, ModuleId::of(name, wasm), &component)
}

/// Checks a compiled component against the contract.
pub(crate) fn admit(
    linker: &Linker<State>,
    ticker: &Ticker,
    id: ModuleId,
    component: &Component,
) -> Result<Module, Error> {
    let engine = component.engine();
    let mut problems = problems(engine, component);
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    if more > 0 {
        problems.truncate(MAX_PROBLEMS);
        problems.push(format!("and {more} more"));
    }
    if !problems.is_empty() {
        return Err(Error::Contract { name: id.name().to_owned(), problems });
    }
    let contract =
        |error: wasmtime::Error| Error::Contract { name: id.name().to_owned(), problems: vec![format!("{error:#}")] };
    let instance = linker.instantiate_pre(component).map_err(contract)?;
    Ok(Module::new(Inner {
        processor: processor(&instance).map_err(contract)?,
        lifecycle: lifecycle::GuestIndices::new(&instance).ok(),
        windowing: windowing::GuestIndices::new(&instance).ok(),
        imports: component.component_type().imports(engine).map(|(import, _)| import.to_owned()).collect(),
        exports: component.component_type().exports(engine).map(|(export, _)| export.to_owned()).collect(),
        ticker: ticker.clone(),
        instance,
        id,
    }))
}

fn invalid(name: &str, error: &wasmtime::Error) -> Error {
    Error::Invalid { name: name.to_owned(), reason: format!("{error:#}") }
}

/// What can be told from the first bytes and the size alone.
///
/// # Errors
/// When the file is no component, or larger than a task may be.
pub(crate) fn check_header(name: &str, wasm: &[u8]) -> Result<(), Error> {
    let not = |found| Err(Error::NotAComponent { name: name.to_owned(), found });
    if wasm.len() > MAX_MODULE_BYTES {
        return Err(Error::TooLarge { name: name.to_owned(), size: wasm.len(), max: MAX_MODULE_BYTES });
    }
    if wasm.starts_with(COMPONENT_HEADER) {
        return Ok(());
    }
    if wasm.starts_with(CORE_MODULE_HEADER) {
        return not("it is a core module; build for the target wasm32-wasip2, or make a component of it with \
                    `wasm-tools component new`");
    }
    if wasm.is_empty() {
        return not("the file is empty");
    }
    if COMPONENT_HEADER.starts_with(wasm) || CORE_MODULE_HEADER.starts_with(wasm) {
        return not("the file ends in the middle of its header");
    }
    if wasmtime::Engine::detect_precompiled(wasm).is_some() {
        return not("it is compiled machine code, which is never loaded; give the .wasm it was made from");
    }
    if wasm.starts_with(WASM_MAGIC) {
        return not("it has the header of an unknown version of WebAssembly");
    }
    if wasm.starts_with(ELF_MAGIC) {
        return not("it is a native program or library; build for the target wasm32-wasip2");
    }
    not("it does not start as a WebAssembly file does")
}

/// One of the two; the batch if there are both.
fn processor(instance: &InstancePre<State>) -> wasmtime::Result<Processor> {
    match batch_processor::GuestIndices::new(instance) {
        Ok(indices) => Ok(Processor::BatchTask(indices)),
        Err(_) => processor::GuestIndices::new(instance).map(Processor::Task),
    }
}

fn problems(engine: &wasmtime::Engine, component: &Component) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, import) in component.component_type().imports(engine) {
        import_problems(engine, name, &import.ty, &mut problems);
    }
    let processors = [&contract::PROCESSOR, &contract::BATCH_PROCESSOR];
    let has = |export: &Export| component.get_export_index(None, export.interface).is_some();
    if !processors.iter().any(|export| has(export)) {
        let expected = processors.map(|export| format!("`{}`", export.interface)).join(" nor ");
        let found = near_exports(engine, component);
        problems.push(format!("it exports neither {expected}{found}; expected {}", written(processors[0])));
    }
    for export in contract::EXPORTS.iter().filter(|export| has(export)) {
        export_problems(component, export, &mut problems);
    }
    problems
}

fn import_problems(engine: &wasmtime::Engine, name: &str, ty: &ComponentItem, problems: &mut Vec<String>) {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    if let Some(path) = path.strip_prefix("wasi:")
        && contract::WASI_IMPORTS.contains(&path)
    {
        if !is_patch_of(version, contract::WASI_VERSION) {
            problems.push(format!("it imports `{name}`, and this host offers {} of it", contract::WASI_VERSION));
        }
        return;
    }
    let ours = path.strip_prefix("shardmill:task/");
    let ours = ours.and_then(|path| contract::IMPORTS.iter().find(|(interface, _)| *interface == path));
    let (Some((_, known)), ComponentItem::ComponentInstance(instance)) = (ours, ty) else {
        problems.push(format!("it imports `{name}`, which this host does not offer"));
        return;
    };
    if !is_patch_of(version, contract::VERSION) {
        problems.push(format!("it imports `{name}`, and this host offers {} of it", contract::VERSION));
        return;
    }
    for (item, _) in instance.exports(engine).filter(|(item, _)| !known.contains(item)) {
        problems.push(format!("it imports `{item}` of `{name}`, which this host does not offer"));
    }
}

fn export_problems(component: &Component, export: &Export, problems: &mut Vec<String>) {
    let instance = component.get_export_index(None, export.interface);
    for (name, expected) in export.functions {
        let found = match component.get_export(instance.as_ref(), *name) {
            Some((ComponentItem::ComponentFunc(function), _)) => signature::of_function(&function),
            Some(_) => "something that is not a function".to_owned(),
            None => {
                problems.push(format!("`{}` lacks `{name}: {expected}`", export.interface));
                continue;
            }
        };
        if found != *expected {
            problems.push(format!("`{name}` of `{}` is `{found}`; expected `{expected}`", export.interface));
        }
    }
}

/// What a component exports of ours that is not understood, such as another version.
fn near_exports(engine: &wasmtime::Engine, component: &Component) -> String {
    let ty = component.component_type();
    let ours = ty.exports(engine).map(|(name, _)| name).filter(|name| name.starts_with("shardmill:"));
    let ours: Vec<_> = ours.map(|name| format!("`{name}`")).collect();
    if ours.is_empty() { String::new() } else { format!(" (but {})", ours.join(", ")) }
}

fn written(export: &Export) -> String {
    let functions: Vec<_> = export.functions.iter().map(|(name, ty)| format!("`{name}: {ty}`")).collect();
    functions.join(", ")
}

fn is_patch_of(version: &str, of: &str) -> bool {
    version.strip_prefix(of).is_some_and(|rest| rest.starts_with('.'))
}

fn list(problems: &[String]) -> String {
    problems.iter().fold(String::new(), |text, problem| text + "\n  - " + problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(wasm: &[u8]) -> String {
        check_header("x", wasm).unwrap_err().to_string()
    }

    #[test]
    fn files_that_are_no_components_are_told_apart() {
        assert!(refused(b"\0asm\x01\0\0\0...").contains("wasm-tools component new"));
        assert!(refused(b"").contains("empty"));
        assert!(refused(b"\0asm\x0d").contains("in the middle of its header"));
        assert!(refused(b"\x7fELF\x02\x01\x01").contains("native program"));
        assert!(refused(b"#!/bin/sh").contains("does not start as a WebAssembly file"));
        assert!(refused(b"\0asm\x0e\0\x01\0").contains("unknown version"));
        assert!(check_header("x", b"\0asm\x0d\0\x01\0").is_ok());
    }

    #[test]
    fn versions_match_by_their_first_two_numbers() {
        assert!(is_patch_of("0.1.0", "0.1"));
        assert!(is_patch_of("0.1.12", "0.1"));
        assert!(!is_patch_of("0.12.0", "0.1"));
        assert!(!is_patch_of("0.2.0", "0.1"));
        assert!(!is_patch_of("", "0.1"));
    }
}
