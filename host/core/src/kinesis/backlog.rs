//! How much of one shard is delivered and not yet processed, and when that is enough. What both kinds of readers hold
//! back by; knows nothing of calls.

use crate::envelope::Batch;

pub(crate) struct Backlog {
    max_bytes: usize,
    max_records: usize,
    bytes: usize,
    records: usize,
}

impl Backlog {
    pub(crate) fn new(max_bytes: usize, max_records: usize) -> Self {
        Self { max_bytes, max_records, bytes: 0, records: 0 }
    }

    pub(crate) fn delivered(&mut self, batch: &Batch) {
        self.bytes += batch.retained_bytes();
        self.records += batch.len();
    }

    /// The task is through with (or dropped) this much.
    pub(crate) fn processed(&mut self, bytes: usize, records: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.records = self.records.saturating_sub(records);
    }

    /// Whether nothing more should be fetched now.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= self.max_bytes || self.records >= self.max_records
    }
}
