//! One commit at a time: positions are noted, outputs flushed, checkpoints written, answers awaited. Processing goes
//! on while the checkpoints are on their way.

use std::collections::{BTreeMap, BTreeSet};

use super::SourceId;
use super::source::Source;
use crate::leases::Epoch;
use crate::position::Checkpoint;
use crate::time::Millis;

/// A source that the flush under way covers; no checkpoint when only its shard's end is new.
pub(super) type Noted = (SourceId, Epoch, Option<Checkpoint>);

pub(super) struct Commit {
    interval: Option<Millis>,
    due_at: Millis,
    requested: bool,
    /// Noted before the flush, so that what is processed during it waits for the next commit.
    noted: Vec<Noted>,
    flushing: bool,
    awaiting: BTreeSet<(SourceId, Epoch)>,
}

impl Commit {
    pub(super) fn new(now: Millis, interval: Option<Millis>) -> Self {
        let due_at = interval.map_or(Millis::MAX, |interval| now + interval);
        Self { interval, due_at, requested: false, noted: Vec::new(), flushing: false, awaiting: BTreeSet::new() }
    }

    pub(super) fn request(&mut self) {
        self.requested = true;
    }

    pub(super) fn is_due(&self, now: Millis) -> bool {
        self.requested || now >= self.due_at
    }

    /// When the timer asks for a commit; never while one is under way.
    pub(super) fn due_at(&self) -> Millis {
        if self.is_idle() { self.due_at } else { Millis::MAX }
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.flushing && self.awaiting.is_empty()
    }

    /// Notes the positions to commit; `true` when the outputs must be flushed for them now.
    pub(super) fn start(&mut self, now: Millis, sources: &BTreeMap<SourceId, Source>) -> bool {
        if !self.is_idle() {
            return false;
        }
        self.note(now, sources);
        self.flushing = !self.noted.is_empty();
        self.flushing
    }

    /// As [`Commit::start`], for a flush that happens in any case; nothing may be under way.
    pub(super) fn start_anyway(&mut self, now: Millis, sources: &BTreeMap<SourceId, Source>) {
        self.note(now, sources);
        self.flushing = true;
    }

    fn note(&mut self, now: Millis, sources: &BTreeMap<SourceId, Source>) {
        self.requested = false;
        if let Some(interval) = self.interval {
            self.due_at = now + interval;
        }
        let noted = sources.iter().map(|(&id, source)| (source.wants_end(), (id, source.epoch, source.uncommitted())));
        self.noted = noted.filter(|(ends, noted)| *ends || noted.2.is_some()).map(|(_, noted)| noted).collect();
    }

    /// The outputs are durable: the checkpoints to write. Only they are waited for: to seal a shard may take as long as
    /// other shards need, which commit meanwhile.
    pub(super) fn flushed(&mut self, now: Millis) -> Vec<Noted> {
        self.flushing = false;
        if let Some(interval) = self.interval {
            self.due_at = now + interval;
        }
        let written = self.noted.iter().filter(|(_, _, checkpoint)| checkpoint.is_some());
        self.awaiting = written.map(|&(source, epoch, _)| (source, epoch)).collect();
        std::mem::take(&mut self.noted)
    }

    pub(super) fn answered(&mut self, source: SourceId, epoch: Epoch) {
        self.awaiting.remove(&(source, epoch));
    }
}
