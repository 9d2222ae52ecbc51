//! A batch of envelopes of one shard, as it flows from the reader to the task. Owns the layout (slices of one
//! reference-counted buffer); knows nothing of where the bytes came from.

use std::ops::Range;
use std::str::Utf8Error;

use bytes::Bytes;

use crate::position::{Position, SequenceNumber};

/// A piece of a batch's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

/// One user record, described by slices of its batch's buffer. It owns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Decimal digits without leading zeros.
    pub sequence: Span,
    /// Index inside an aggregated record; 0 for a plain one.
    pub sub_sequence: u32,
    /// The partition key; absent on streams with automatic record distribution.
    pub key: Option<Span>,
    pub message: Span,
    /// Approximate arrival, milliseconds since 1970-01-01 UTC.
    pub arrival_ms: u64,
}

/// User records of one shard in sequence order, cut from one response.
///
/// One allocation for the buffer (usually the response body itself) and one for the records, whatever their number.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    buffer: Bytes,
    records: Vec<Record>,
}

/// A record's slices do not fit its buffer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("record {index} points outside the buffer of {len} bytes")]
    OutOfBounds { index: usize, len: usize },
    #[error("the {what} of record {index} is not UTF-8")]
    NotUtf8 { index: usize, what: &'static str, source: Utf8Error },
}

impl Batch {
    /// Checks every slice once, so that the views need not.
    pub fn new(buffer: Bytes, records: Vec<Record>) -> Result<Self, Error> {
        let len = buffer.len();
        let slice = |index: usize, span: Span| buffer.get(span.range()).ok_or(Error::OutOfBounds { index, len });
        for (index, record) in records.iter().enumerate() {
            let text = |what, span| {
                let bytes = slice(index, span)?;
                std::str::from_utf8(bytes).map_err(|source| Error::NotUtf8 { index, what, source })
            };
            text("sequence number", record.sequence)?;
            record.key.map(|span| text("partition key", span)).transpose()?;
            slice(index, record.message)?;
        }
        Ok(Self { buffer, records })
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes that this batch keeps in memory; what back-pressure counts.
    #[must_use]
    pub fn retained_bytes(&self) -> usize {
        self.buffer.len() + self.records.len() * size_of::<Record>()
    }

    /// The envelope at `index`.
    ///
    /// # Panics
    /// When `index` is not below [`Batch::len`].
    #[must_use]
    pub fn envelope(&self, index: usize) -> Envelope<'_> {
        let record = &self.records[index];
        Envelope {
            sequence: self.text(record.sequence),
            sub_sequence: record.sub_sequence,
            key: record.key.map(|span| self.text(span)),
            message: &self.buffer[record.message.range()],
            arrival_ms: record.arrival_ms,
        }
    }

    /// The envelopes of a range of indexes, in order.
    pub fn envelopes(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = Envelope<'_>> {
        range.map(|index| self.envelope(index))
    }

    /// The position of the envelope at `index`; allocates, so once per batch and not per envelope.
    #[must_use]
    pub fn position(&self, index: usize) -> Position {
        let envelope = self.envelope(index);
        Position {
            sequence: SequenceNumber::parse(envelope.sequence).expect("a decoder only lets digits through"),
            sub_sequence: envelope.sub_sequence.into(),
        }
    }

    /// Message and key bytes of a range; what byte limits of a call count.
    #[must_use]
    pub fn payload_bytes(&self, index: usize) -> usize {
        let record = &self.records[index];
        record.message.len as usize + record.key.map_or(0, |key| key.len as usize)
    }

    /// Drops the envelopes at or before `position`: what a reader that starts AT a checkpoint gets once more.
    pub fn skip_through(&mut self, position: &Position) {
        let skip = (0..self.records.len()).take_while(|&index| self.position(index) <= *position).count();
        self.records.drain(..skip);
    }

    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The same buffer cut into other records. Their slices must lie in it, and keys must be UTF-8.
    pub(crate) fn recut(&self, records: Vec<Record>) -> Self {
        Self { buffer: self.buffer.clone(), records }
    }

    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(&self.buffer[span.range()]).expect("checked where the batch was cut")
    }
}

/// A view of one user record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Decimal digits without leading zeros.
    pub sequence: &'a str,
    /// Index inside an aggregated record; 0 for a plain one.
    pub sub_sequence: u32,
    /// The partition key; absent on streams with automatic record distribution.
    pub key: Option<&'a str>,
    pub message: &'a [u8],
    /// Approximate arrival, milliseconds since 1970-01-01 UTC.
    pub arrival_ms: u64,
}

/// Builds a [`Batch`] by copying records into one buffer: for decoders that do not borrow, and for tests.
#[derive(Default)]
pub struct BatchBuilder {
    buffer: Vec<u8>,
    records: Vec<Record>,
}

impl BatchBuilder {
    /// Appends one record; `sequence` must be decimal digits without leading zeros.
    pub fn push(&mut self, envelope: Envelope<'_>) {
        let sequence = self.copy(envelope.sequence.as_bytes());
        let key = envelope.key.map(|key| self.copy(key.as_bytes()));
        let message = self.copy(envelope.message);
        let Envelope { sub_sequence, arrival_ms, .. } = envelope;
        self.records.push(Record { sequence, sub_sequence, key, message, arrival_ms });
    }

    #[must_use]
    pub fn finish(self) -> Batch {
        Batch { buffer: self.buffer.into(), records: self.records }
    }

    fn copy(&mut self, bytes: &[u8]) -> Span {
        let bound = "a response is capped at 10 MB";
        let start = u32::try_from(self.buffer.len()).expect(bound);
        self.buffer.extend_from_slice(bytes);
        Span { start, len: u32::try_from(bytes.len()).expect(bound) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(sequence: &str, sub_sequence: u32) -> Envelope<'_> {
        Envelope { sequence, sub_sequence, key: Some("k"), message: b"m", arrival_ms: 1 }
    }

    fn batch(positions: &[(&'static str, u32)]) -> Batch {
        let mut builder = BatchBuilder::default();
        positions.iter().for_each(|&(sequence, sub)| builder.push(envelope(sequence, sub)));
        builder.finish()
    }

    fn positions(batch: &Batch) -> Vec<(String, u32)> {
        batch.envelopes(0..batch.len()).map(|e| (e.sequence.to_owned(), e.sub_sequence)).collect()
    }

    #[test]
    fn skipping_stops_after_the_checkpoint_and_compares_as_numbers() {
        let mut b = batch(&[("9", 0), ("10", 0), ("10", 1), ("10", 2), ("11", 0)]);
        b.skip_through(&Position { sequence: "10".parse().unwrap(), sub_sequence: 1 });
        assert_eq!(positions(&b), [("10".to_owned(), 2), ("11".to_owned(), 0)]);
    }

    #[test]
    fn slices_outside_the_buffer_are_refused() {
        let span = |start, len| Span { start, len };
        let record = Record { sequence: span(0, 1), sub_sequence: 0, key: None, message: span(1, 9), arrival_ms: 0 };
        let err = Batch::new(Bytes::from_static(b"12"), vec![record]).unwrap_err();
        assert_eq!(err.to_string(), "record 0 points outside the buffer of 2 bytes");
    }

    #[test]
    fn a_key_that_is_not_utf8_is_refused() {
        let span = |start, len| Span { start, len };
        let record =
            Record { sequence: span(0, 1), sub_sequence: 0, key: Some(span(1, 1)), message: span(0, 0), arrival_ms: 0 };
        let err = Batch::new(Bytes::from_static(b"1\xff"), vec![record]).unwrap_err();
        assert_eq!(err.to_string(), "the partition key of record 0 is not UTF-8");
    }
}
