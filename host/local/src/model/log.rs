//! The records of one shard, in order, and what a reader or writer does to them in one step.
//!
//! A position is the count of records ever appended before it, so positions survive trimming. Records live in
//! chunks; a full chunk is frozen and handed out without a copy.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;

use super::limits::Window;
use super::sequence::{SequenceNumber, SequenceSpace};
use super::{Millis, record};

/// Bytes after which a chunk is frozen.
const CHUNK_BYTES: usize = 256 * 1024;

pub(crate) const WRITE_BYTES_PER_SECOND: u64 = 1024 * 1024;
pub(crate) const WRITE_RECORDS_PER_SECOND: u64 = 1000;
pub(crate) const READ_BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;
pub(crate) const READ_CALLS_PER_SECOND: u64 = 5;

/// Rate limits of one shard.
#[derive(Debug)]
pub(crate) struct ShardLimits {
    pub(crate) write_bytes: Window,
    pub(crate) write_records: Window,
    pub(crate) read_bytes: Window,
    pub(crate) read_calls: Window,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// End of the record in its chunk's bytes.
    end: u32,
    /// Data and partition key, the size that limits count.
    size: u32,
    arrival: Millis,
}

#[derive(Debug, Default)]
struct Chunk<B> {
    first: u64,
    bytes: B,
    entries: Vec<Entry>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Log {
    space: SequenceSpace,
    frozen: VecDeque<Chunk<Bytes>>,
    tail: Chunk<Vec<u8>>,
    next: u64,
    horizon: u64,
    last_arrival: Millis,
    waiters: Vec<Waker>,
    pub(crate) limits: ShardLimits,
}

/// A run of records read from a log.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) slices: Vec<Bytes>,
    pub(crate) records: usize,
    pub(crate) size: u64,
    pub(crate) next: u64,
}

impl Log {
    pub(crate) fn new(space: SequenceSpace) -> Self {
        Self {
            space,
            frozen: VecDeque::new(),
            tail: Chunk::default(),
            next: 0,
            horizon: 0,
            last_arrival: 0,
            waiters: Vec::new(),
            limits: ShardLimits {
                write_bytes: Window::new(WRITE_BYTES_PER_SECOND),
                write_records: Window::new(WRITE_RECORDS_PER_SECOND),
                read_bytes: Window::new(READ_BYTES_PER_SECOND),
                read_calls: Window::new(READ_CALLS_PER_SECOND),
            },
        }
    }

    /// Gives the record its sequence number and appends it: one step, so a reader never sees a gap.
    pub(crate) fn append(&mut self, now: Millis, data: &[u8], key: Option<&str>) -> [u8; 56] {
        // Arrival times never go back, else reading by time could not search.
        let arrival = now.max(self.last_arrival);
        self.last_arrival = arrival;
        let key_size = key.map_or(0, str::len);
        if self.tail.bytes.len() + record::stored_size(data.len(), key_size) > CHUNK_BYTES {
            self.freeze_tail();
        }
        let digits = self.space.number(self.next + 1, arrival).digits();
        record::encode(&mut self.tail.bytes, &digits, arrival, data, key);
        self.tail.entries.push(Entry {
            end: self.tail.bytes.len() as u32,
            size: (data.len() + key_size) as u32,
            arrival,
        });
        self.next += 1;
        digits
    }

    /// As if so many records had been appended, the last one at `arrival`, and none of them were kept any more; unless
    /// there were as many.
    pub(crate) fn advance(&mut self, count: u64, arrival: Millis) {
        self.last_arrival = self.last_arrival.max(arrival);
        if count > self.next {
            self.frozen.clear();
            self.tail = Chunk { first: count, ..Chunk::default() };
            (self.next, self.horizon) = (count, count);
        }
    }

    /// When the last record arrived, 0 if there was none.
    pub(crate) fn last_arrival(&self) -> Millis {
        self.last_arrival
    }

    fn freeze_tail(&mut self) {
        if self.tail.entries.is_empty() {
            return;
        }
        let tail = std::mem::take(&mut self.tail);
        self.tail.first = self.next;
        self.frozen.push_back(Chunk { first: tail.first, bytes: Bytes::from(tail.bytes), entries: tail.entries });
    }

    /// Lets go of records that arrived at `expired` or before.
    pub(crate) fn trim(&mut self, expired: Millis) {
        while let Some(chunk) = self.frozen.front()
            && chunk.entries.last().is_some_and(|e| e.arrival <= expired)
        {
            self.frozen.pop_front();
        }
        if self.tail.entries.last().is_some_and(|e| e.arrival <= expired) && self.frozen.is_empty() {
            self.tail = Chunk { first: self.next, ..Chunk::default() };
        }
        let (first, entries) = match self.frozen.front() {
            Some(chunk) => (chunk.first, &chunk.entries),
            None => (self.tail.first, &self.tail.entries),
        };
        let kept = first + entries.partition_point(|e| e.arrival <= expired) as u64;
        self.horizon = self.horizon.max(kept);
    }

    /// Where the oldest readable record is.
    pub(crate) fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Where the next record will be.
    pub(crate) fn tip(&self) -> u64 {
        self.next
    }

    /// The first record that arrived at `time` or later, the tip if there is none.
    pub(crate) fn position_at(&self, time: Millis) -> u64 {
        let chunk = self.frozen.partition_point(|c| c.entries.last().is_some_and(|e| e.arrival < time));
        let (first, entries) = self.chunk(chunk);
        let position = first + entries.partition_point(|e| e.arrival < time) as u64;
        position.max(self.horizon)
    }

    /// The first record whose sequence number is `number` (or greater; with `after`, always greater). None if
    /// `number` is not one this shard has given out.
    pub(crate) fn position_of(&self, number: SequenceNumber, after: bool) -> Option<u64> {
        let counter = self.space.counter(number)?;
        let Some(index) = counter.checked_sub(1) else {
            return Some(self.horizon);
        };
        if index > self.next {
            return None;
        }
        if index < self.horizon {
            return Some(self.horizon);
        }
        let Some(arrival) = self.arrival(index) else {
            return Some(self.next);
        };
        let own = self.space.number(counter, arrival);
        let passed = if after { own <= number } else { own < number };
        Some(index + u64::from(passed))
    }

    /// The number of the record before `position`; where the shard starts if there was none.
    pub(crate) fn number_before(&self, position: u64) -> SequenceNumber {
        let arrival = position.checked_sub(1).and_then(|i| self.arrival(i));
        self.space.number(position, arrival.unwrap_or(0))
    }

    /// Arrival time of the record at `position`, if it is there.
    pub(crate) fn arrival(&self, position: u64) -> Option<Millis> {
        if position < self.horizon || position >= self.next {
            return None;
        }
        let (first, entries) = self.chunk(self.chunk_of(position));
        entries.get((position - first) as usize).map(|e| e.arrival)
    }

    /// Reads from `position` until a bound is met; one record always fits.
    pub(crate) fn read(&self, position: u64, max_records: usize, max_size: u64) -> Run {
        let mut run = Run { next: position.max(self.horizon), ..Run::default() };
        let mut index = self.chunk_of(run.next);
        while run.next < self.next && run.records < max_records {
            let (first, entries) = self.chunk(index);
            let from = (run.next - first) as usize;
            let mut to = from;
            for entry in entries[from..].iter().take(max_records - run.records) {
                let size = u64::from(entry.size);
                if run.size + size > max_size && run.records + (to - from) > 0 {
                    break;
                }
                run.size += size;
                to += 1;
            }
            if to == from {
                break;
            }
            let start = from.checked_sub(1).map_or(0, |i| entries[i].end as usize);
            let end = entries[to - 1].end as usize;
            run.slices.push(match self.frozen.get(index) {
                Some(chunk) => chunk.bytes.slice(start..end),
                None => Bytes::copy_from_slice(&self.tail.bytes[start..end]),
            });
            run.records += to - from;
            run.next += (to - from) as u64;
            if to < entries.len() {
                break;
            }
            index += 1;
        }
        run
    }

    /// Registers a reader that has caught up. Bounded by the subscriptions in force: each new one wakes all, which
    /// empties the list.
    pub(crate) fn wait(&mut self, waker: &Waker) {
        if self.waiters.iter().any(|w| w.will_wake(waker)) {
            return;
        }
        self.waiters.push(waker.clone());
    }

    /// Wakes the readers that wait: there is something new, or an end.
    pub(crate) fn wake(&mut self) {
        self.waiters.drain(..).for_each(Waker::wake);
    }

    fn chunk_of(&self, position: u64) -> usize {
        self.frozen.partition_point(|c| c.first + c.entries.len() as u64 <= position)
    }

    fn chunk(&self, index: usize) -> (u64, &[Entry]) {
        match self.frozen.get(index) {
            Some(chunk) => (chunk.first, &chunk.entries),
            None => (self.tail.first, &self.tail.entries),
        }
    }
}
