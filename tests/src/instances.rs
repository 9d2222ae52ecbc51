//! Runs a task the way the host does, for tests that need no streams. Owns the plain settings; what is tested is the
//! business of the test.

use std::sync::{Arc, Mutex, PoisonError};

use shardmill_core::config::{Grants, Limits};
use shardmill_core::envelope::{Batch, BatchBuilder, Envelope};
use shardmill_runtime::{
    Done, Engine, Failed, FileUsage, Instance, LogLine, LogSink, Module, OutputStreams, Outputs, Source, TaskSpec,
};

use crate::guests;

/// A sample in Rust, compiled.
///
/// # Panics
/// When it does not build or is not let in.
#[must_use]
pub fn load(engine: &Engine, name: &str) -> Module {
    let wasm = std::fs::read(guests::rust_guest(name)).expect("it has been built");
    engine.load(name, &wasm).unwrap_or_else(|error| panic!("{error}"))
}

/// A task instance `Task-0` of job `job` with one source, the output systems `console` and `out`, and this log.
#[must_use]
pub fn spec(log: &Arc<Lines>, config: &[(&str, &str)]) -> TaskSpec {
    let source = Source { system: "kinesis".into(), stream: "lines".into(), partition: "shardId-000000000000".into() };
    TaskSpec {
        job_name: "job".into(),
        job_id: "1".into(),
        task_name: "Task-0".into(),
        sources: vec![source],
        outputs: Arc::new(OutputStreams::new(["console".into(), "out".into()])),
        config: config.iter().map(|&(key, value)| (key.into(), value.into())).collect(),
        limits: Limits::default(),
        grants: Grants::default(),
        file_usage: FileUsage::default(),
        http_client: None,
        log: Arc::<Lines>::clone(log),
        hits: Arc::default(),
    }
}

/// Envelopes with the sequence numbers 1, 2, …; every second one has no key.
pub fn batch<M: AsRef<[u8]>>(messages: impl IntoIterator<Item = M>) -> Batch {
    let mut builder = BatchBuilder::default();
    for (index, message) in messages.into_iter().enumerate() {
        let sequence = (index + 1).to_string();
        let key = (index % 2 == 0).then_some("key");
        builder.push(Envelope { sequence: &sequence, sub_sequence: 0, key, message: message.as_ref(), arrival_ms: 1 });
    }
    builder.finish()
}

/// Passes all messages to the task at once, as a first attempt.
pub fn process<M: AsRef<[u8]>>(
    instance: &mut Instance,
    messages: impl IntoIterator<Item = M>,
    outputs: &mut Outputs,
) -> Result<Done, Failed> {
    let batch = batch(messages);
    instance.process(0, &batch, 0..batch.len(), 1, outputs)
}

/// What was sent, as text.
#[must_use]
pub fn texts(outputs: &Outputs) -> Vec<String> {
    outputs.iter().map(|out| String::from_utf8_lossy(out.message).into_owned()).collect()
}

/// A log that keeps its lines: `LEVEL Stream sequence message`.
#[derive(Default)]
pub struct Lines(Mutex<Vec<String>>);

impl Lines {
    #[must_use]
    pub fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LogSink for Lines {
    fn write(&self, line: &LogLine<'_>) {
        let at = line.position.map_or_else(|| "-".to_owned(), |at| format!("{}/{}", at.source.partition, at.sequence));
        let text = format!("{} {:?} {} {at} {}", line.level, line.stream, line.task, line.message);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}
