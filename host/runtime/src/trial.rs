//! The trial of a module before it may process a stream: a start with the job's real configuration, and a shadow replay
//! of recent records by the new version and the running one. Owns what is compared and what counts as a regression;
//! messages sent during a trial are discarded. It must not know where the records come from, or what happens to a module
//! that fails.
//!
//! Like an [`Instance`], run it on a thread without async code.

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

/// How many lines of a trial's log are kept.
const MAX_LOG_LINES: usize = 100;

/// The figures of a start.
#[derive(Clone, Debug)]
pub struct TrialReport {
    pub instantiate: Duration,
    pub init: Duration,
    /// Linear memory after `init`.
    pub memory_bytes: usize,
    /// The first lines of its log, as `LEVEL message`.
    pub log: Vec<String>,
}

/// The module does not start.
#[derive(Debug, thiserror::Error)]
#[error("it does not start: {error}{}", logged(log))]
pub struct TrialError {
    #[source]
    pub error: CallError,
    /// The first lines of its log.
    pub log: Vec<String>,
}

/// Instantiates a module and calls its `init`, with the configuration, limits and grants of `spec`. Its log is kept for
/// the report; the outputs that it names are not added to the job's; it cannot send.
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

/// The same task with a separate log, counters and output streams.
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
