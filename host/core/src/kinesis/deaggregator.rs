//! From the records that Kinesis returned for one shard to the envelopes that its task has not seen: opens aggregates
//! and drops what was committed before. What both kinds of readers deliver through; knows nothing of calls.

use crate::envelope::Batch;
use crate::kinesis::aggregate::{self, deaggregate};
use crate::kinesis::shard::HashRange;
use crate::position::{Checkpoint, Position};

pub(crate) struct Deaggregator {
    hash_range: Option<HashRange>,
    /// Envelopes up to here were committed before; the first response repeats them.
    committed: Option<Position>,
    report: aggregate::Report,
}

impl Deaggregator {
    pub(crate) fn new(checkpoint: &Checkpoint, hash_range: Option<HashRange>) -> Self {
        Self { hash_range, committed: checkpoint.position().cloned(), report: aggregate::Report::default() }
    }

    /// What of a response is to be delivered; `None` when nothing is.
    pub(crate) fn take(&mut self, batch: Batch) -> Option<Batch> {
        let (mut batch, report) = deaggregate(batch, self.hash_range.as_ref());
        self.report += report;
        if let Some(committed) = &self.committed {
            batch.skip_through(committed);
        }
        if batch.is_empty() {
            return None;
        }
        self.committed = None;
        Some(batch)
    }

    /// What was found in all aggregates so far.
    pub(crate) fn report(&self) -> aggregate::Report {
        self.report
    }
}
