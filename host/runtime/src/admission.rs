//! Admits a component, or reports every problem with it. Owns the checks that run no guest code; knows nothing of files
//! or directories.
//!
//! Two steps, because compilation is expensive and may run in another process. [`compile`] inspects foreign code and
//! foreign types, which may take as much time and memory as the component's author likes, so it belongs into a process
//! with limits. Its artifact carries a [`Description`], so that [`admit`], in the host, inspects no foreign type.

use serde::{Deserialize, Serialize};
use shardmill_core::module::VersionName;
use shardmill_core::text;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::bindings::exports::shardmill::task::{batch_processor, lifecycle, processor, windowing};
use crate::contract::{self, Export};
use crate::description::Description;
use crate::footprint::Footprint;
use crate::host_memory::HostMemory;
use crate::interrupt::Ticker;
use crate::module::{Inner, Module, Processor, module_id};
use crate::signature;
use crate::state::State;

/// The largest component that is compiled. Python's have 18 MiB; compiling needs many times that in memory.
const MAX_MODULE_BYTES: usize = 128 << 20;

/// Reported problems per component; there may be a hundred thousand.
const MAX_PROBLEMS: usize = 20;
/// Bytes of one problem: a function's type and the expected one.
const MAX_PROBLEM_BYTES: usize = 2 << 10;
/// Bytes of all problems together, and of any other reason.
const MAX_REASON_BYTES: usize = text::REASON_MAX_BYTES;
/// How many bytes of a component's name a message shows.
const MAX_NAME_BYTES: usize = 200;
/// Interfaces that a component may import. The host offers forty; a component may import several versions of one.
const MAX_IMPORTS: usize = 256;

/// How many names a message shows beside a missing export.
const MAX_NEAR_EXPORTS: usize = 4;

const WASM_MAGIC: &[u8] = b"\0asm";
const ELF_MAGIC: &[u8] = b"\x7fELF";
const CORE_MODULE_HEADER: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT_HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// Why a component was rejected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{name} is too large for a task: {size} bytes, the limit is {max}")]
    TooLarge { name: String, size: usize, max: usize },
    #[error("{name} is not a WebAssembly component: {found}")]
    NotAComponent { name: String, found: &'static str },
    /// Damaged, truncated, or using an unsupported feature.
    #[error("{name} is not a valid WebAssembly component: {reason}")]
    Invalid { name: String, reason: String },
    /// A valid component that is not a task. Every reason is listed.
    #[error("{name} does not fit the contract shardmill:task@0.1.0:{}", list(problems))]
    Contract { name: String, problems: Vec<String> },
}

/// The message from a compiler process to its parent.
#[derive(Serialize, Deserialize)]
enum Message {
    Invalid(String),
    Contract(Vec<String>),
}

impl Error {
    /// The only constructor of [`Error::Invalid`]; it bounds the reason, because the parser may quote names of any length.
    fn invalid(name: &str, reason: &str) -> Self {
        Self::Invalid { name: name.to_owned(), reason: text::line(reason, MAX_REASON_BYTES) }
    }

    /// The only constructor of [`Error::Contract`]; it bounds each problem and all of them together.
    fn contract(name: &str, problems: impl IntoIterator<Item = String>) -> Self {
        Self::bounded(name, problems, MAX_PROBLEMS)
    }

    fn bounded(name: &str, problems: impl IntoIterator<Item = String>, max: usize) -> Self {
        let (mut kept, mut bytes, mut more) = (Vec::new(), 0, 0);
        for problem in problems {
            let problem = text::line(&problem, MAX_PROBLEM_BYTES);
            if kept.len() < max && bytes + problem.len() <= MAX_REASON_BYTES {
                bytes += problem.len();
                kept.push(problem);
            } else {
                more += 1;
            }
        }
        if more > 0 {
            kept.push(format!("and {more} more"));
        }
        Self::Contract { name: name.to_owned(), problems: kept }
    }

    /// For [`Error::from_message`] in another process.
    #[must_use]
    pub fn to_message(&self) -> String {
        let message = match self {
            Self::Contract { problems, .. } => Message::Contract(problems.clone()),
            Self::Invalid { reason, .. } => Message::Invalid(reason.clone()),
            other => Message::Invalid(other.to_string()),
        };
        serde_json::to_string(&message).unwrap_or_default()
    }

    /// The error of a compiler process, which is not trusted, so the error is bounded again. `None` if the text is not an
    /// error.
    #[must_use]
    pub fn from_message(name: &str, message: &str) -> Option<Self> {
        match serde_json::from_str(message).ok()? {
            Message::Invalid(reason) => Some(Self::invalid(name, &reason)),
            // The last one may report how many more there are.
            Message::Contract(problems) => Some(Self::bounded(name, problems, MAX_PROBLEMS + 1)),
        }
    }
}

/// Validates a component, compiles it to machine code and checks it against the contract. The component determines how
/// much time and memory that takes.
pub(crate) fn compile(
    engine: &wasmtime::Engine,
    linker: &Linker<State>,
    name: &str,
    wasm: &[u8],
) -> Result<Vec<u8>, Error> {
    let (component, description) = examine(engine, linker, name, wasm)?;
    let mut artifact = component.serialize().map_err(|error| Error::invalid(name, &format!("{error:#}")))?;
    description.append_to(&mut artifact);
    Ok(artifact)
}

/// Compiles and checks a component.
pub(crate) fn load(
    engine: &wasmtime::Engine,
    linker: &Linker<State>,
    ticker: &Ticker,
    memory: &HostMemory,
    name: &str,
    wasm: &[u8],
) -> Result<Module, Error> {
    let (component, description) = examine(engine, linker, name, wasm)?;
    admit(linker, ticker, memory, module_id(wasm).of_job(name), &component, description)
}

fn examine(
    engine: &wasmtime::Engine,
    linker: &Linker<State>,
    name: &str,
    wasm: &[u8],
) -> Result<(Component, Description), Error> {
    check_header(name, wasm)?;
    let component =
        Component::from_binary(engine, wasm).map_err(|error| Error::invalid(name, &format!("{error:#}")))?;
    let mut problems = Problems::default();
    find_problems(engine, &component, &mut problems);
    if problems.count > 0 {
        return Err(problems.into_error(name));
    }
    // Link it here as the host will do later, so that the linker compares the types of imports.
    let linked = linker.instantiate_pre(&component).and_then(|instance| processor(&instance).map(drop));
    linked.map_err(|error| Error::contract(name, [format!("{error:#}")]))?;
    let footprint = Footprint::of(wasm).map_err(|reason| Error::invalid(name, &reason))?;
    let description = Description::of(engine, &component, footprint);
    Ok((component, description))
}

/// Makes a module from a compiled component that satisfies the contract.
pub(crate) fn admit(
    linker: &Linker<State>,
    ticker: &Ticker,
    memory: &HostMemory,
    version: VersionName,
    component: &Component,
    description: Description,
) -> Result<Module, Error> {
    let contract = |error: wasmtime::Error| Error::contract(version.name(), [format!("{error:#}")]);
    let instance = linker.instantiate_pre(component).map_err(contract)?;
    Ok(Module::new(Inner {
        processor: processor(&instance).map_err(contract)?,
        lifecycle: lifecycle::GuestIndices::new(&instance).ok(),
        windowing: windowing::GuestIndices::new(&instance).ok(),
        description,
        ticker: ticker.clone(),
        memory: memory.clone(),
        instance,
        version,
    }))
}

/// The problems of a component: the first ones, and their number.
#[derive(Default)]
struct Problems {
    first: Vec<String>,
    count: usize,
}

impl Problems {
    fn push(&mut self, problem: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < MAX_PROBLEMS {
            self.first.push(problem());
        }
    }

    fn into_error(mut self, name: &str) -> Error {
        let more = self.count - self.first.len();
        let mut error = Error::contract(name, std::mem::take(&mut self.first));
        if let Error::Contract { problems, .. } = &mut error
            && more > 0
        {
            problems.push(format!("and {more} more"));
        }
        error
    }
}

/// A name from the component, as problems show it.
fn shown(name: &str) -> String {
    text::line(name, MAX_NAME_BYTES)
}

/// Checks what the first bytes and the size alone show.
///
/// # Errors
/// When the file is not a component, or too large for a task.
pub(crate) fn check_header(name: &str, wasm: &[u8]) -> Result<(), Error> {
    let not = |found| Err(Error::NotAComponent { name: name.to_owned(), found });
    if wasm.len() > MAX_MODULE_BYTES {
        return Err(Error::TooLarge { name: name.to_owned(), size: wasm.len(), max: MAX_MODULE_BYTES });
    }
    if wasm.starts_with(COMPONENT_HEADER) {
        return Ok(());
    }
    if wasm.starts_with(CORE_MODULE_HEADER) {
        return not("it is a core module; build for the target wasm32-wasip2, or convert it to a component with \
                    `wasm-tools component new`");
    }
    if wasm.is_empty() {
        return not("the file is empty");
    }
    if COMPONENT_HEADER.starts_with(wasm) || CORE_MODULE_HEADER.starts_with(wasm) {
        return not("the file ends in the middle of its header");
    }
    if wasmtime::Engine::detect_precompiled(wasm).is_some() {
        return not("it is compiled machine code, which is never loaded; use the .wasm that it was compiled from");
    }
    if wasm.starts_with(WASM_MAGIC) {
        return not("it has the header of an unknown version of WebAssembly");
    }
    if wasm.starts_with(ELF_MAGIC) {
        return not("it is a native program or library; build for the target wasm32-wasip2");
    }
    not("it does not start with the header of a WebAssembly file")
}

/// One of the two; the batch if there are both.
fn processor(instance: &InstancePre<State>) -> wasmtime::Result<Processor> {
    match batch_processor::GuestIndices::new(instance) {
        Ok(indices) => Ok(Processor::BatchTask(indices)),
        Err(_) => processor::GuestIndices::new(instance).map(Processor::Task),
    }
}

fn find_problems(engine: &wasmtime::Engine, component: &Component, problems: &mut Problems) {
    let ty = component.component_type();
    let imports = ty.imports(engine);
    let count = imports.len();
    for (name, import) in imports {
        import_problems(engine, name, &import.ty, problems);
    }
    if count > MAX_IMPORTS && problems.count == 0 {
        problems.push(|| format!("it imports {count} interfaces, the limit is {MAX_IMPORTS}"));
    }
    let processors = [&contract::PROCESSOR, &contract::BATCH_PROCESSOR];
    let has = |export: &Export| component.get_export_index(None, export.interface).is_some();
    if !processors.iter().any(|export| has(export)) {
        let expected = processors.map(|export| format!("`{}`", export.interface)).join(" nor ");
        let found = near_exports(engine, component);
        problems.push(|| format!("it exports neither {expected}{found}; expected {}", written(processors[0])));
    }
    for export in contract::EXPORTS.iter().filter(|export| has(export)) {
        export_problems(component, export, problems);
    }
}

fn import_problems(engine: &wasmtime::Engine, name: &str, ty: &ComponentItem, problems: &mut Problems) {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    if let Some(path) = path.strip_prefix("wasi:")
        && contract::WASI_IMPORTS.contains(&path)
    {
        if !is_patch_of(version, contract::WASI_VERSION) {
            problems.push(|| {
                format!("it imports `{}`, but this host offers {} of it", shown(name), contract::WASI_VERSION)
            });
        }
        return;
    }
    let ours = path.strip_prefix("shardmill:task/");
    let ours = ours.and_then(|path| contract::IMPORTS.iter().find(|(interface, _)| *interface == path));
    let (Some((_, known)), ComponentItem::ComponentInstance(instance)) = (ours, ty) else {
        problems.push(|| format!("it imports `{}`, which this host does not offer", shown(name)));
        return;
    };
    if !is_patch_of(version, contract::VERSION) {
        problems.push(|| format!("it imports `{}`, but this host offers {} of it", shown(name), contract::VERSION));
        return;
    }
    for (item, _) in instance.exports(engine).filter(|(item, _)| !known.contains(item)) {
        problems.push(|| format!("it imports `{}` of `{}`, which this host does not offer", shown(item), shown(name)));
    }
}

fn export_problems(component: &Component, export: &Export, problems: &mut Problems) {
    let instance = component.get_export_index(None, export.interface);
    for (name, expected) in export.functions {
        let found = match component.get_export(instance.as_ref(), *name) {
            Some((ComponentItem::ComponentFunc(function), _)) if signature::matches(expected, &function) => continue,
            Some((ComponentItem::ComponentFunc(function), _)) => signature::shown(&function),
            Some(_) => "something that is not a function".to_owned(),
            None => {
                problems.push(|| format!("`{}` lacks `{name}: {expected}`", export.interface));
                continue;
            }
        };
        problems.push(|| format!("`{name}` of `{}` is `{found}`; expected `{expected}`", export.interface));
    }
}

/// The exported interfaces of this project that this host does not support, such as another version.
fn near_exports(engine: &wasmtime::Engine, component: &Component) -> String {
    let ty = component.component_type();
    let ours = ty.exports(engine).map(|(name, _)| name).filter(|name| name.starts_with("shardmill:"));
    let ours: Vec<_> = ours.take(MAX_NEAR_EXPORTS).map(|name| format!("`{}`", shown(name))).collect();
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
    fn files_that_are_not_components_get_distinct_reasons() {
        assert!(refused(b"\0asm\x01\0\0\0...").contains("wasm-tools component new"));
        assert!(refused(b"").contains("empty"));
        assert!(refused(b"\0asm\x0d").contains("in the middle of its header"));
        assert!(refused(b"\x7fELF\x02\x01\x01").contains("native program"));
        assert!(refused(b"#!/bin/sh").contains("does not start with the header of a WebAssembly file"));
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
