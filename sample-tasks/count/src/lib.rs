//! Counts envelopes and their bytes. At the end of each window, and when it stops, it sends what it counted since the
//! last time, such as `{"envelopes":12,"bytes":3400}`.
//!
//! What is counted is in the task's memory, so it is lost with the instance: a sample of windows, not of state.
//!
//! Configuration: `output`, where the counts go; `console.counts` unless set.

use std::cell::Cell;

use exports::shardmill::task::{lifecycle, processor, windowing};
use shardmill::task::types::TaskError;
use shardmill::task::{collector, config};

wit_bindgen::generate!({
    path: "../../wit/shardmill-task-0.1.0",
    inline: "
        package samples:count;
        world count {
            include shardmill:task/task@0.1.0;
            export shardmill:task/lifecycle@0.1.0;
            export shardmill:task/windowing@0.1.0;
        }
    ",
    world: "samples:count/count",
    generate_all,
});

struct Count;

export!(Count);

thread_local! {
    static OUTPUT: Cell<u32> = const { Cell::new(0) };
    static ENVELOPES: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

impl processor::Guest for Count {
    fn process(envelope: processor::Envelope) -> Result<(), TaskError> {
        ENVELOPES.set(ENVELOPES.get() + 1);
        BYTES.set(BYTES.get() + envelope.message.len() as u64);
        Ok(())
    }
}

impl windowing::Guest for Count {
    fn window(_start_ms: u64, _end_ms: u64) -> Result<(), TaskError> {
        report().map_err(|error| TaskError::Other(format!("cannot send the counts: {error:?}")))
    }
}

impl lifecycle::Guest for Count {
    fn init() -> Result<(), String> {
        let name = config::get("output").unwrap_or_else(|| "console.counts".to_owned());
        OUTPUT.set(collector::output(&name).map_err(|error| format!("no output `{name}`: {error:?}"))?);
        Ok(())
    }

    fn before_stop() -> Result<(), String> {
        report().map_err(|error| format!("cannot send the counts: {error:?}"))
    }
}

fn report() -> Result<(), collector::SendError> {
    let counts = format!(r#"{{"envelopes":{},"bytes":{}}}"#, ENVELOPES.get(), BYTES.get());
    collector::send(OUTPUT.get(), None, counts.as_bytes())?;
    // Only now: a call that fails must not have taken anything away.
    ENVELOPES.set(0);
    BYTES.set(0);
    Ok(())
}
