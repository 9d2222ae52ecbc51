//! Everything that is going to happen, ordered by time and, at one moment, by when it was planned.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use shardmill_core::coordinator::TaskId;
use shardmill_core::time::Millis;

use crate::chaos::Chaos;
use crate::network::{Answer, Call, Fate};

/// A part of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Leases,
    Coordinator,
    Task(TaskId),
    /// A reader of a shard, by the order in which they were started.
    Reader(u64),
}

/// Who made a call, and which of its calls it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) node: usize,
    pub(crate) part: Part,
    pub(crate) call: u64,
}

pub(crate) enum Item {
    /// A part has something to do.
    Step(usize, Part),
    /// A call reaches the service.
    Arrive(Caller, Call, Fate),
    Answer(Caller, Answer),
    Chaos(Chaos),
    /// Another deployment is written down.
    DeploymentChanged,
    /// A node sees what is written down.
    Follow(usize),
    /// Is everything done?
    Look,
}

struct Entry {
    when: Millis,
    order: u64,
    item: Item,
}

#[derive(Default)]
pub(crate) struct Queue {
    entries: BinaryHeap<Reverse<Entry>>,
    planned: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, when: Millis, item: Item) {
        if when == Millis::MAX {
            return;
        }
        self.planned += 1;
        self.entries.push(Reverse(Entry { when, order: self.planned, item }));
    }

    pub(crate) fn pop(&mut self) -> Option<(Millis, Item)> {
        self.entries.pop().map(|Reverse(entry)| (entry.when, entry.item))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.when, self.order).cmp(&(other.when, other.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
