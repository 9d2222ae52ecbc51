//! A component that has been compiled and satisfies the contract. Owns its identity and its shape.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use shardmill_core::module::{ModuleId, VersionName};
use wasmtime::component::InstancePre;

use crate::bindings::exports::shardmill::task::{batch_processor, lifecycle, processor, windowing};
use crate::description::Description;
use crate::footprint::Footprint;
use crate::host_memory::HostMemory;
use crate::interrupt::Ticker;
use crate::state::State;

/// Ready to be instantiated. Cheap to clone.
#[derive(Clone)]
pub struct Module(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) version: VersionName,
    pub(crate) instance: InstancePre<State>,
    pub(crate) processor: Processor,
    pub(crate) lifecycle: Option<lifecycle::GuestIndices>,
    pub(crate) windowing: Option<windowing::GuestIndices>,
    pub(crate) description: Description,
    /// The memory budget of the engine that it was compiled for.
    pub(crate) ticker: Ticker,
    /// The same.
    pub(crate) memory: HostMemory,
}

/// The export that receives the envelopes.
pub(crate) enum Processor {
    Task(processor::GuestIndices),
    BatchTask(batch_processor::GuestIndices),
}

/// How a component takes envelopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One envelope per call: it exports `processor`.
    Task,
    /// Many envelopes per call: it exports `batch-processor`.
    BatchTask,
}

impl Module {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    #[must_use]
    pub fn id(&self) -> ModuleId {
        self.0.version.module()
    }

    /// The same with its name, for people.
    #[must_use]
    pub fn version(&self) -> &VersionName {
        &self.0.version
    }

    #[must_use]
    pub fn shape(&self) -> Shape {
        match self.0.processor {
            Processor::Task(_) => Shape::Task,
            Processor::BatchTask(_) => Shape::BatchTask,
        }
    }

    /// Whether it has `init` and `before-stop`.
    #[must_use]
    pub fn has_lifecycle(&self) -> bool {
        self.0.lifecycle.is_some()
    }

    /// Whether it has `window`.
    #[must_use]
    pub fn has_windowing(&self) -> bool {
        self.0.windowing.is_some()
    }

    /// Whether it can send HTTP requests.
    #[must_use]
    pub fn sends_requests(&self) -> bool {
        self.imports().iter().any(|import| import.starts_with("wasi:http/outgoing-handler@"))
    }

    /// The interfaces that the component imports, as it names them.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.0.description.imports
    }

    /// The interfaces that the component exports, as it names them; only the first ones if there are very many.
    #[must_use]
    pub fn exports(&self) -> &[String] {
        &self.0.description.exports
    }

    /// The memory that an instance needs before any of its code runs.
    #[must_use]
    pub fn footprint(&self) -> &Footprint {
        &self.0.description.footprint
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({})", self.0.version)
    }
}

/// Identifies the component with these bytes.
#[must_use]
pub fn module_id(wasm: &[u8]) -> ModuleId {
    ModuleId::of_sha256(sha256(wasm))
}

/// SHA-256 of any bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_content() {
        let id = module_id(b"");
        assert_eq!(id.of_job("empty").to_string(), "empty@e3b0c44298fc");
        assert_eq!(id, module_id(b""));
        assert_ne!(id, module_id(b"x"));
    }
}
