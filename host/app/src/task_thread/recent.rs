//! The envelopes that the task was called with last, for a comparison of another version with the one that runs. Keeps
//! whole calls, by reference: nothing is copied.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use shardmill_core::envelope::Batch;
use shardmill_core::run_loop::SourceId;
use shardmill_runtime::trial::Recent;

/// Envelopes of a shard beyond which the oldest call is forgotten.
const ENVELOPES_MAX: usize = 200;
/// Bytes that the batches of a shard's calls hold, beyond which the oldest is forgotten. The last one stays in any case:
/// it is one answer of the service, so it has a bound of its own.
const BYTES_MAX: usize = 1 << 20;

/// The last calls, by shard.
#[derive(Default)]
pub(super) struct RecentCalls(BTreeMap<SourceId, VecDeque<Recent>>);

impl RecentCalls {
    pub(super) fn add(&mut self, source: SourceId, batch: &Arc<Batch>, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let calls = self.0.entry(source).or_default();
        match calls.back_mut() {
            // Mostly the next piece of the same batch.
            Some(last) if Arc::ptr_eq(&last.batch, batch) && last.range.end == range.start => {
                last.range.end = range.end;
            }
            _ => calls.push_back(Recent { source, batch: Arc::clone(batch), range }),
        }
        while calls.len() > 1 && is_over(calls) {
            calls.pop_front();
        }
    }

    /// The shard is not processed here any more.
    pub(super) fn forget(&mut self, source: SourceId) {
        self.0.remove(&source);
    }

    /// The last envelopes of each shard, in order.
    pub(super) fn all(&self) -> Vec<Recent> {
        let last = |calls: &VecDeque<Recent>| {
            calls
                .iter()
                .map(|recent| {
                    let start = recent.range.start.max(recent.range.end.saturating_sub(ENVELOPES_MAX));
                    Recent { range: start..recent.range.end, ..recent.clone() }
                })
                .collect::<Vec<_>>()
        };
        self.0.values().flat_map(last).collect()
    }
}

fn is_over(calls: &VecDeque<Recent>) -> bool {
    let envelopes: usize = calls.iter().skip(1).map(|recent| recent.range.len()).sum();
    let bytes: usize = calls.iter().map(|recent| recent.batch.retained_bytes()).sum();
    envelopes >= ENVELOPES_MAX || bytes > BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use shardmill_core::envelope::{BatchBuilder, Envelope};

    fn batch(envelopes: usize, bytes: usize) -> Arc<Batch> {
        let mut builder = BatchBuilder::default();
        let message = vec![0; bytes];
        for sequence in 1..=envelopes {
            let sequence = sequence.to_string();
            builder.push(Envelope {
                sequence: &sequence,
                sub_sequence: 0,
                key: None,
                message: &message,
                arrival_ms: 0,
            });
        }
        Arc::new(builder.finish())
    }

    fn ranges(recent: &RecentCalls) -> Vec<(SourceId, Range<usize>)> {
        recent.all().into_iter().map(|recent| (recent.source, recent.range)).collect()
    }

    #[test]
    fn pieces_of_a_batch_are_one_and_only_the_last_envelopes_are_given() {
        let mut recent = RecentCalls::default();
        let batch = batch(500, 10);
        recent.add(0, &batch, 0..100);
        recent.add(0, &batch, 100..450);
        recent.add(1, &batch, 0..3);
        assert_eq!(ranges(&recent), [(0, 250..450), (1, 0..3)]);
        recent.forget(0);
        assert_eq!(ranges(&recent), [(1, 0..3)]);
    }

    #[test]
    fn old_calls_are_forgotten_by_number_and_by_bytes() {
        let mut recent = RecentCalls::default();
        for _ in 0..10 {
            recent.add(0, &batch(90, 10), 0..90);
        }
        assert_eq!(ranges(&recent).len(), 3, "more than 200 envelopes without the oldest");
        for _ in 0..3 {
            recent.add(0, &batch(1, 900 << 10), 0..1);
        }
        assert_eq!(ranges(&recent).len(), 1);
    }
}
