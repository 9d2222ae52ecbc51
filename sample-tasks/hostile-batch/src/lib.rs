//! A batch task that misbehaves on demand, for the tests of the sandbox. It sends each message to `out.log`, until one
//! is an order: `reject`, `trap`, `commit`, or `blame N`, an error that blames envelope N.

use exports::shardmill::task::batch_processor::{BatchError, Envelope, Guest};
use shardmill::task::types::TaskError;
use shardmill::task::{collector, coordinator};

wit_bindgen::generate!({
    path: "../../wit/shardmill-task-0.1.0",
    world: "batch-task",
    generate_all,
});

struct HostileBatch;

export!(HostileBatch);

impl Guest for HostileBatch {
    fn process_batch(envelopes: Vec<Envelope>) -> Result<(), BatchError> {
        for (index, envelope) in (0..).zip(&envelopes) {
            act(index, &envelope.message)?;
        }
        Ok(())
    }
}

fn act(index: u32, message: &[u8]) -> Result<(), BatchError> {
    let other = |error| BatchError { index, error: TaskError::Other(format!("{error:?}")) };
    let output = collector::output("out.log").map_err(other)?;
    collector::send(output, None, message).map_err(other)?;
    match message {
        b"reject" => return Err(BatchError { index, error: TaskError::Reject("as told".into()) }),
        b"trap" => core::arch::wasm32::unreachable(),
        b"commit" => coordinator::commit(),
        _ => {}
    }
    let blamed = message.strip_prefix(b"blame ").and_then(|number| str::from_utf8(number).ok()?.parse().ok());
    match blamed {
        Some(index) => Err(BatchError { index, error: TaskError::Other("not me".into()) }),
        None => Ok(()),
    }
}
