//! Tries a module out before it may touch a stream: a start with the job's real configuration, and a replay of records
//! that the running version has had, beside that version. Owns what is compared and what counts as worse; nothing that a
//! module sends here leaves. It must not know where the records come from, or what becomes of a module that fails.
//!
//! Like an [`Instance`], for a thread that runs no async code.

mod shadow;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shardmill_core::config::Grants;
use shardmill_core::text;

use crate::error::CallError;
use crate::instance::Instance;
use crate::journal::{LogLine, LogSink};
use crate::module::Module;
use crate::state::TaskSpec;

pub use shadow::{Difference, Observed, Recent, ShadowReport, shadow};

/// Lines of a trial's log that are kept.
const MAX_LOG_LINES: usize = 100;

/// What a start took.
#[derive(Clone, Debug)]
pub struct TrialReport {
    pub instantiate: Duration,
    pub init: Duration,
    /// Linear memory after `init`.
    pub memory_bytes: usize,
    /// The first lines that it logged, as `LEVEL message`.
    pub log: Vec<String>,
}

/// The module does not start.
#[derive(Debug, thiserror::Error)]
#[error("it does not start: {error}{}", logged(log))]
pub struct TrialError {
    #[source]
    pub error: CallError,
    /// The first lines that it logged.
    pub log: Vec<String>,
}

/// Instantiates a module and calls its `init`, with the configuration, limits and grants of `spec`. What it logs is kept
/// for the report; what it names as outputs stays unknown to the job; it cannot send.
///
/// # Errors
/// When it does not start.
pub fn start(module: &Module, spec: &TaskSpec) -> Result<TrialReport, TrialError> {
    let log = Arc::new(Kept::default());
    let spec = apart(spec, Arc::<Kept>::clone(&log), spec.grants.clone());
    let began = Instant::now();
    let fail = |error| TrialError { error, log: log.lines() };
    let mut instance = Instance::new(module, &spec).map_err(fail)?;
    let instantiate = began.elapsed();
    let began = Instant::now();
    instance.init().map_err(fail)?;
    let init = began.elapsed();
    Ok(TrialReport { instantiate, init, memory_bytes: instance.memory_bytes(), log: log.lines() })
}

/// The same task, with a log and counters of its own and output streams that the job does not see.
fn apart(spec: &TaskSpec, log: Arc<dyn LogSink>, grants: Grants) -> TaskSpec {
    let outputs = Arc::new(spec.outputs.apart());
    TaskSpec { outputs, log, grants, hits: Arc::default(), ..spec.clone() }
}

fn logged(log: &[String]) -> String {
    text::cut(log.iter().fold(String::new(), |text, line| text + "\n  log: " + line))
}

/// A log for a report.
#[derive(Default)]
struct Kept(Mutex<Vec<String>>);

impl Kept {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl LogSink for Kept {
    fn write(&self, line: &LogLine<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < MAX_LOG_LINES {
            lines.push(format!("{} {}", line.level, line.message));
        }
    }
}
