//! Passes on the messages that contain a pattern, in upper case (ASCII), with their keys.
//!
//! Configuration: `pattern`, bytes to look for, `error` unless set; `output`, where the messages go, `console.filtered`
//! unless set.

use std::sync::OnceLock;

use exports::shardmill::task::batch_processor::{BatchError, Envelope, Guest};
use memchr::memmem::Finder;
use shardmill::task::types::TaskError;
use shardmill::task::{collector, config};

wit_bindgen::generate!({
    path: "../../wit/shardmill-task-0.1.0",
    world: "batch-task",
    generate_all,
});

struct FilterBatch;

export!(FilterBatch);

static SETTINGS: OnceLock<Settings> = OnceLock::new();

struct Settings {
    pattern: Finder<'static>,
    output: u32,
}

impl Guest for FilterBatch {
    fn process_batch(envelopes: Vec<Envelope>) -> Result<(), BatchError> {
        for (index, envelope) in (0..).zip(envelopes) {
            filter(envelope).map_err(|error| BatchError { index, error })?;
        }
        Ok(())
    }
}

fn filter(envelope: Envelope) -> Result<(), TaskError> {
    let settings = settings()?;
    if settings.pattern.find(&envelope.message).is_none() {
        return Ok(());
    }
    let message = envelope.message.to_ascii_uppercase();
    collector::send(settings.output, envelope.key.as_deref(), &message)
        .map_err(|error| TaskError::Other(format!("cannot send the message: {error:?}")))
}

/// Read at the first call: a task without `lifecycle` has no other place for it.
fn settings() -> Result<&'static Settings, TaskError> {
    if let Some(settings) = SETTINGS.get() {
        return Ok(settings);
    }
    let name = config::get("output").unwrap_or_else(|| "console.filtered".to_owned());
    let output =
        collector::output(&name).map_err(|error| TaskError::Fatal(format!("no output `{name}`: {error:?}")))?;
    let pattern = config::get("pattern").unwrap_or_else(|| "error".to_owned());
    let pattern = Finder::new(&pattern).into_owned();
    Ok(SETTINGS.get_or_init(|| Settings { pattern, output }))
}
