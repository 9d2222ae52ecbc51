//! Counts envelopes and their bytes, and sends nothing: the least that a batch task can do, for the benchmarks.

use std::cell::Cell;

use exports::shardmill::task::batch_processor::{BatchError, Envelope, Guest};

wit_bindgen::generate!({
    path: "../../wit/shardmill-task-0.1.0",
    world: "batch-task",
    generate_all,
});

struct CountBatch;

export!(CountBatch);

thread_local! {
    static ENVELOPES: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

impl Guest for CountBatch {
    fn process_batch(envelopes: Vec<Envelope>) -> Result<(), BatchError> {
        let bytes: usize = envelopes.iter().map(|envelope| envelope.message.len()).sum();
        ENVELOPES.set(ENVELOPES.get() + envelopes.len() as u64);
        BYTES.set(BYTES.get() + bytes as u64);
        Ok(())
    }
}
