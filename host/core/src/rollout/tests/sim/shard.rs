//! A shard of the simulation: its records, its row in the lease table, and what came out.

use std::collections::BTreeMap;

use crate::leases::Epoch;
use crate::position::Checkpoint;

/// Records are numbered from 1.
pub(super) struct Shard {
    pub(super) name: String,
    pub(super) records: u64,
    /// What the lease table says.
    pub(super) table: u64,
    pub(super) epoch: Epoch,
    /// How often each record's output is durable.
    out: BTreeMap<u64, u32>,
}

impl Shard {
    pub(super) fn new(index: u64, records: u64) -> Self {
        Self { name: format!("shard-{index}"), records, table: 0, epoch: 0, out: BTreeMap::new() }
    }

    pub(super) fn flushed(&mut self, record: u64) {
        *self.out.entry(record).or_default() += 1;
    }

    pub(super) fn position(&self) -> Checkpoint {
        match self.table {
            0 => Checkpoint::TrimHorizon,
            sequence => Checkpoint::from_row(&sequence.to_string(), 0).unwrap(),
        }
    }

    /// A checkpoint is written: everything before it must be out.
    pub(super) fn checkpoint(&mut self, position: u64) {
        assert!(position >= self.table, "a checkpoint that goes back");
        for record in 1..=position {
            assert!(
                self.out.contains_key(&record),
                "record {record} of {} is lost: {position} is committed",
                self.name
            );
        }
        self.table = position;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.table == self.records
    }

    pub(super) fn assert_complete(&self, may_repeat: bool) {
        assert_eq!(self.out.len() as u64, self.records, "{}", self.name);
        let twice = self.out.iter().find(|(_, times)| **times > 1);
        assert!(may_repeat || twice.is_none(), "{twice:?} of {} came out twice", self.name);
    }
}
