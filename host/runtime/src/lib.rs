//! Runs tasks that are WebAssembly components: loads and checks them, keeps one sandboxed instance per task instance,
//! and passes envelopes in and messages out, within limits. It owns everything that touches wasmtime. It must not know
//! where envelopes come from, where messages go, or when anything is committed.
//!
//! Everything is synchronous: the owner of an [`Instance`] calls it from a dedicated thread, never from an async one.

mod admission;
mod artifacts;
mod bindings;
mod capabilities;
mod contract;
mod description;
mod engine;
mod error;
mod footprint;
mod host_memory;
mod http;
mod instance;
mod interrupt;
mod journal;
mod limits;
mod module;
mod outputs;
pub mod own_files;
mod signature;
mod state;
pub mod trial;

/// The version of Wasmtime that compiles and runs tasks, for bug reports.
pub const WASMTIME_VERSION: &str = "48.0.8";

pub use admission::Error as AdmissionError;
pub use artifacts::{ArtifactStore, Error as ArtifactError, Partial};
pub use capabilities::FileUsage;
pub use engine::{Engine, EngineError};
pub use error::{CallError, TaskError, TrapReason};
pub use footprint::Footprint;
pub use host_memory::{CompilerShare, HostMemory};
pub use http::{HttpBody, HttpClient, HttpError, HttpSending, HttpTimes};
pub use instance::{Done, Failed, Instance};
pub use interrupt::Interrupter;
pub use journal::{LogLine, LogPosition, LogSink, LogStream, TracingLog};
pub use limits::{Limit, LimitHits};
pub use module::{Module, Shape, module_id, sha256};
pub use outputs::{Outgoing, OutputStream, OutputStreams, Outputs};
pub use state::{Source, TaskSpec};
