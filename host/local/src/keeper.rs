//! Persists streams for `--data-dir`: an append-only journal in segments. Each segment begins with a snapshot of all
//! streams, so that it does not depend on earlier ones. A segment is deleted when none of its records is within its
//! stream's retention any longer. Written data survives the process, but not a power failure.
//!
//! An entry is its length and its CRC-32, four bytes each in big-endian order, and as many bytes: `S` and a stream in
//! JSON, `G` and a deleted stream in JSON, or `R` and a record (see [`encode`]). The last entry of the last segment may
//! be incomplete: the process ended during the write, before it acknowledged the entry.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::clock::Clock;
use crate::model::image::{Keep, RecordImage, StreamImage};
use crate::model::{Millis, Model};

const DIRECTORY: &str = "kinesis";
const SUFFIX: &str = ".journal";
const LOCK: &str = "lock";
/// Bytes after which a new segment begins.
const SEGMENT_BYTES: u64 = 16 << 20;
/// The largest entry: a record of 10 MiB, or a stream of 20,000 shards and more.
const ENTRY_MAX: usize = 64 << 20;
const HEADER: usize = 8;
const HOUR: Millis = 3_600_000;

/// Persists a model in a directory.
#[derive(Debug)]
pub(crate) struct Keeper {
    clock: Clock,
    journal: Mutex<Journal>,
    /// Locks the directory against other processes.
    _lock: File,
}

#[derive(Debug)]
struct Journal {
    directory: PathBuf,
    file: File,
    /// Entries that are not written yet.
    pending: Vec<u8>,
    written: u64,
    segment_bytes: u64,
    /// The segments by number; the last one is being written.
    segments: BTreeMap<u64, Segment>,
    /// The snapshot that a new segment begins with.
    streams: BTreeMap<String, StreamImage>,
    gone: BTreeMap<String, u64>,
    /// Why nothing can be written any longer.
    failure: Option<String>,
}

/// The arrival of the newest record in a segment, by stream.
#[derive(Debug, Default)]
struct Segment(BTreeMap<String, Millis>);

#[derive(Debug, Serialize, Deserialize)]
struct Gone {
    name: String,
    newest: u64,
}

enum Entry<'a> {
    Stream(StreamImage),
    Gone(Gone),
    Record(RecordImage<'a>),
}

impl Keeper {
    /// Loads `data_dir` into an empty model, and persists the model from then on.
    ///
    /// # Errors
    /// When the directory cannot be used, another process uses it, or its content is damaged.
    pub(crate) fn open(data_dir: &Path, model: &Model, clock: Clock) -> Result<Self, Error> {
        Self::open_with(data_dir, model, clock, SEGMENT_BYTES)
    }

    fn open_with(data_dir: &Path, model: &Model, clock: Clock, segment_bytes: u64) -> Result<Self, Error> {
        let directory = data_dir.join(DIRECTORY);
        let unusable = |error: io::Error| unusable(&directory, &error);
        fs::create_dir_all(&directory).map_err(unusable)?;
        let lock = File::create(directory.join(LOCK)).map_err(unusable)?;
        lock.try_lock().map_err(|error| unusable(io::Error::other(format!("another process uses it ({error})"))))?;
        let mut kept = Kept::default();
        let numbers = numbers(&directory).map_err(unusable)?;
        for number in &numbers {
            let is_last = numbers.last() == Some(number);
            kept.read(*number, &directory.join(name(*number)), model, is_last)?;
        }
        let number = numbers.last().map_or(1, |last| last + 1);
        let file = create(&directory, number).map_err(unusable)?;
        kept.segments.insert(number, Segment::default());
        let Kept { segments, streams, gone } = kept;
        let mut journal = Journal {
            directory: directory.clone(),
            file,
            pending: Vec::new(),
            written: 0,
            segment_bytes,
            segments,
            streams,
            gone,
            failure: None,
        };
        journal.begin_segment(clock.now());
        journal.write().map_err(unusable)?;
        Ok(Self { clock, journal: Mutex::new(journal), _lock: lock })
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keep for Keeper {
    fn stream(&self, stream: StreamImage) {
        self.journal().stream(stream);
    }

    fn gone(&self, name: &str, newest: u64) {
        let mut journal = self.journal();
        journal.streams.remove(name);
        journal.gone.insert(name.to_owned(), newest);
        journal.push_json(b'G', &Gone { name: name.to_owned(), newest });
    }

    fn record(&self, record: RecordImage<'_>) {
        let mut journal = self.journal();
        let journal = &mut *journal;
        push(&mut journal.pending, |out| encode(out, record));
        note(&mut journal.segments, record.stream, record.arrival);
        let shards = journal.streams.get_mut(record.stream).map(|stream| &mut stream.shards);
        if let Some(shard) = shards.and_then(|shards| shards.get_mut(record.shard as usize)) {
            (shard.count, shard.last_arrival) = (record.counter, record.arrival);
        }
    }

    fn flush(&self) -> Result<(), String> {
        let mut journal = self.journal();
        let written = journal.write().and_then(|()| journal.next_segment_if_full(self.clock.now()));
        if let Err(error) = written {
            // The file may end with a partial entry: entries written after it would be lost.
            journal.failure.get_or_insert(error.to_string());
        }
        journal.failure.clone().map_or(Ok(()), Err)
    }
}

impl Journal {
    fn stream(&mut self, stream: StreamImage) {
        self.push_json(b'S', &stream);
        self.streams.insert(stream.name.clone(), stream);
    }

    fn push_json(&mut self, kind: u8, value: &impl Serialize) {
        push(&mut self.pending, |out| {
            out.push(kind);
            serde_json::to_writer(out, value).expect("plain data has a JSON form");
        });
    }

    /// Writes the pending entries.
    fn write(&mut self) -> io::Result<()> {
        if self.failure.is_none() && !self.pending.is_empty() {
            self.file.write_all(&self.pending)?;
            self.written += self.pending.len() as u64;
        }
        self.pending.clear();
        Ok(())
    }

    fn next_segment_if_full(&mut self, now: Millis) -> io::Result<()> {
        if self.written < self.segment_bytes {
            return Ok(());
        }
        let number = self.segments.last_key_value().map_or(1, |(last, _)| last + 1);
        self.file = create(&self.directory, number)?;
        self.segments.insert(number, Segment::default());
        self.written = 0;
        self.begin_segment(now);
        self.write()
    }

    /// Writes the snapshot at the beginning of a segment, and removes obsolete segments.
    fn begin_segment(&mut self, now: Millis) {
        for (name, newest) in std::mem::take(&mut self.gone) {
            self.push_json(b'G', &Gone { name: name.clone(), newest });
            self.gone.insert(name, newest);
        }
        for stream in std::mem::take(&mut self.streams).into_values() {
            self.stream(stream);
        }
        let last = self.segments.last_key_value().map(|(last, _)| *last);
        let is_needed = |Segment(newest): &Segment| {
            newest.iter().any(|(stream, arrival)| {
                let retention = self.streams.get(stream).map(|it| Millis::from(it.retention_hours) * HOUR);
                retention.is_some_and(|retention| arrival.saturating_add(retention) > now)
            })
        };
        let outlived =
            self.segments.iter().take_while(|(number, segment)| last != Some(**number) && !is_needed(segment));
        let outlived: Vec<u64> = outlived.map(|(number, _)| *number).collect();
        for number in outlived {
            self.segments.remove(&number);
            if let Err(error) = fs::remove_file(self.directory.join(name(number))) {
                tracing::warn!(%error, number, "cannot remove an obsolete journal segment");
            }
        }
    }
}

/// The data read from the segments so far.
#[derive(Default)]
struct Kept {
    segments: BTreeMap<u64, Segment>,
    streams: BTreeMap<String, StreamImage>,
    gone: BTreeMap<String, u64>,
}

impl Kept {
    fn read(&mut self, number: u64, path: &Path, model: &Model, is_last: bool) -> Result<(), Error> {
        let bytes = fs::read(path).map_err(|error| unusable(path, &error))?;
        self.segments.insert(number, Segment::default());
        let mut at = 0;
        while let Some(entry) = next(&bytes[at..]) {
            let payload = match entry {
                Ok(payload) => payload,
                // The process ended while writing this. The next segment will be the last one.
                Err(Flaw::Incomplete) if is_last => {
                    let file = OpenOptions::new().write(true).open(path);
                    file.and_then(|file| file.set_len(at as u64)).map_err(|error| unusable(path, &error))?;
                    break;
                }
                Err(flaw) => return Err(damaged(path, at, flaw.text())),
            };
            let restored = decode(payload).and_then(|entry| self.restore(entry, model));
            restored.map_err(|reason| damaged(path, at, &reason))?;
            at += HEADER + payload.len();
        }
        Ok(())
    }

    fn restore(&mut self, entry: Entry<'_>, model: &Model) -> Result<(), String> {
        match entry {
            Entry::Stream(stream) => {
                model.restore_stream(&stream)?;
                self.streams.insert(stream.name.clone(), stream);
            }
            Entry::Gone(Gone { name, newest }) => {
                model.restore_gone(&name, newest);
                self.streams.remove(&name);
                self.gone.insert(name, newest);
            }
            Entry::Record(record) => {
                model.restore_record(record)?;
                note(&mut self.segments, record.stream, record.arrival);
                let stream = self.streams.get_mut(record.stream);
                if let Some(shard) = stream.and_then(|it| it.shards.get_mut(record.shard as usize)) {
                    (shard.count, shard.last_arrival) = (record.counter, record.arrival);
                }
            }
        }
        Ok(())
    }
}

/// Records the arrival of a record in the last segment.
fn note(segments: &mut BTreeMap<u64, Segment>, stream: &str, arrival: Millis) {
    let Some(mut last) = segments.last_entry() else { return };
    let Segment(newest) = last.get_mut();
    match newest.get_mut(stream) {
        Some(known) => *known = arrival.max(*known),
        None => drop(newest.insert(stream.to_owned(), arrival)),
    }
}

fn push(pending: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = pending.len();
    pending.extend_from_slice(&[0; HEADER]);
    payload(pending);
    let payload = &pending[start + HEADER..];
    let (length, sum) = (payload.len() as u32, crc32fast::hash(payload));
    pending[start..start + 4].copy_from_slice(&length.to_be_bytes());
    pending[start + 4..start + HEADER].copy_from_slice(&sum.to_be_bytes());
}

/// `R`, the length of the stream's name and the name, shard (4 bytes), counter and arrival (8 each), whether there is a
/// key, the key's length (2) and the key, the data.
fn encode(out: &mut Vec<u8>, record: RecordImage<'_>) {
    let key = record.key.unwrap_or_default();
    out.reserve(64 + record.stream.len() + key.len() + record.data.len());
    out.push(b'R');
    // Names have at most 128 bytes, and keys at most 256 characters.
    out.push(record.stream.len() as u8);
    out.extend_from_slice(record.stream.as_bytes());
    out.extend_from_slice(&record.shard.to_be_bytes());
    out.extend_from_slice(&record.counter.to_be_bytes());
    out.extend_from_slice(&record.arrival.to_be_bytes());
    out.push(u8::from(record.key.is_some()));
    out.extend_from_slice(&(key.len() as u16).to_be_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(record.data);
}

#[derive(Clone, Copy)]
enum Flaw {
    /// The entry extends beyond the end of the file.
    Incomplete,
    Sum,
}

impl Flaw {
    fn text(self) -> &'static str {
        match self {
            Self::Incomplete => "an entry is incomplete",
            Self::Sum => "the checksum is wrong",
        }
    }
}

/// The next entry's payload; `None` at the end.
fn next(bytes: &[u8]) -> Option<Result<&[u8], Flaw>> {
    if bytes.is_empty() {
        return None;
    }
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Some(Err(Flaw::Incomplete)) };
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = word(0) as usize;
    if length > ENTRY_MAX {
        return Some(Err(Flaw::Sum));
    }
    let Some(payload) = rest.get(..length) else { return Some(Err(Flaw::Incomplete)) };
    let is_right = crc32fast::hash(payload) == word(4);
    Some(match is_right {
        true => Ok(payload),
        false if length == rest.len() => Err(Flaw::Incomplete),
        false => Err(Flaw::Sum),
    })
}

fn decode(payload: &[u8]) -> Result<Entry<'_>, String> {
    match payload.split_first() {
        Some((b'S', json)) => serde_json::from_slice(json).map(Entry::Stream).map_err(|error| error.to_string()),
        Some((b'G', json)) => serde_json::from_slice(json).map(Entry::Gone).map_err(|error| error.to_string()),
        Some((b'R', rest)) => record(rest).map(Entry::Record).ok_or_else(|| "a record is not one".to_owned()),
        _ => Err("an entry is of no known kind".to_owned()),
    }
}

fn record(bytes: &[u8]) -> Option<RecordImage<'_>> {
    let (&length, rest) = bytes.split_first()?;
    let (stream, rest) = rest.split_at_checked(usize::from(length))?;
    let (shard, rest) = rest.split_first_chunk()?;
    let (counter, rest) = rest.split_first_chunk()?;
    let (arrival, rest) = rest.split_first_chunk()?;
    let (&has_key, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (key, data) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some(RecordImage {
        stream: std::str::from_utf8(stream).ok()?,
        shard: u32::from_be_bytes(*shard),
        counter: u64::from_be_bytes(*counter),
        arrival: u64::from_be_bytes(*arrival),
        key: (has_key != 0).then_some(std::str::from_utf8(key).ok()?),
        data,
    })
}

fn name(number: u64) -> String {
    format!("{number:08}{SUFFIX}")
}

/// The existing segments, in order.
fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let file = entry?.file_name();
        numbers.extend(file.to_str().and_then(|file| file.strip_suffix(SUFFIX)?.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn create(directory: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).open(directory.join(name(number)))
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Streams { path: path.to_owned(), reason: error.to_string() }
}

fn damaged(path: &Path, at: usize, reason: &str) -> Error {
    unusable(
        path,
        &format!("it is damaged at byte {at}: {reason}; remove it, with the records in it, or its directory"),
    )
}

#[cfg(test)]
mod tests;
