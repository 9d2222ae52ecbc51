//! One record as it is kept: the bytes of its AWS CBOR 1.1 form, ready to be sent.
//!
//! A reader in CBOR gets these bytes as they are; any other form is made from [`StoredRecord`], which borrows from
//! them. The layout is fixed, so a field is found without a general decoder.

use super::{Millis, sequence};

const SEQUENCE_KEY: &[u8] = b"\x6eSequenceNumber\x78\x38";
const ARRIVAL_KEY: &[u8] = b"\x78\x1bApproximateArrivalTimestamp\xc1\x1b";
const DATA_KEY: &[u8] = b"\x64Data";
const KEY_KEY: &[u8] = b"\x6cPartitionKey";
const MAP_OF_THREE: u8 = 0xa3;
const MAP_OF_FOUR: u8 = 0xa4;
const BYTES: u8 = 0x40;
const TEXT: u8 = 0x60;
/// Bytes of a record around its data and key, at most.
const OVERHEAD: usize = 160;

/// A record, borrowed from the shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRecord<'a> {
    /// 56 decimal digits.
    pub sequence_number: &'a str,
    /// When the shard took it.
    pub arrival: Millis,
    /// The body.
    pub data: &'a [u8],
    /// Absent if the producer gave none (streams that distribute records themselves).
    pub partition_key: Option<&'a str>,
}

/// Appends the stored form.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    digits: &[u8; sequence::DIGITS],
    arrival: Millis,
    data: &[u8],
    key: Option<&str>,
) {
    out.reserve(OVERHEAD + data.len() + key.map_or(0, str::len));
    out.push(if key.is_some() { MAP_OF_FOUR } else { MAP_OF_THREE });
    out.extend_from_slice(SEQUENCE_KEY);
    out.extend_from_slice(digits);
    out.extend_from_slice(ARRIVAL_KEY);
    out.extend_from_slice(&arrival.to_be_bytes());
    out.extend_from_slice(DATA_KEY);
    string(out, BYTES, data);
    if let Some(key) = key {
        out.extend_from_slice(KEY_KEY);
        string(out, TEXT, key.as_bytes());
    }
}

/// Upper bound of the stored size.
pub(crate) fn stored_size(data: usize, key: usize) -> usize {
    OVERHEAD + data + key
}

fn string(out: &mut Vec<u8>, major: u8, bytes: &[u8]) {
    match bytes.len() {
        n @ 0..=23 => out.push(major | n as u8),
        n @ 24..=0xff => out.extend_from_slice(&[major | 24, n as u8]),
        n @ 0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(major | 26);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

/// The records of a run of stored bytes, in order.
pub(crate) fn decode(bytes: &[u8]) -> impl Iterator<Item = StoredRecord<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (record, after) = decode_one(rest)?;
        rest = after;
        Some(record)
    })
}

fn decode_one(bytes: &[u8]) -> Option<(StoredRecord<'_>, &[u8])> {
    let (&map, rest) = bytes.split_first()?;
    let rest = rest.strip_prefix(SEQUENCE_KEY)?;
    let (digits, rest) = rest.split_at_checked(sequence::DIGITS)?;
    let rest = rest.strip_prefix(ARRIVAL_KEY)?;
    let (arrival, rest) = rest.split_first_chunk()?;
    let (data, mut rest) = take(rest.strip_prefix(DATA_KEY)?)?;
    let mut partition_key = None;
    if map == MAP_OF_FOUR {
        let (key, after) = take(rest.strip_prefix(KEY_KEY)?)?;
        partition_key = Some(std::str::from_utf8(key).ok()?);
        rest = after;
    }
    let record = StoredRecord {
        sequence_number: std::str::from_utf8(digits).ok()?,
        arrival: Millis::from_be_bytes(*arrival),
        data,
        partition_key,
    };
    Some((record, rest))
}

fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&head, rest) = bytes.split_first()?;
    let (length, rest) = match head & 0x1f {
        n @ 0..=23 => (usize::from(n), rest),
        24 => (usize::from(*rest.first()?), &rest[1..]),
        25 => {
            let (n, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*n)), rest)
        }
        _ => {
            let (n, rest) = rest.split_first_chunk()?;
            (u32::from_be_bytes(*n) as usize, rest)
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_went_in() {
        let digits = [b'4'; sequence::DIGITS];
        for size in [0, 5, 23, 24, 255, 256, 65_535, 65_536] {
            let (data, key) = (vec![7u8; size], "k".repeat(size.min(256)));
            let mut out = Vec::new();
            encode(&mut out, &digits, 123, &data, Some(&key));
            assert!(out.len() <= stored_size(data.len(), key.len()));
            encode(&mut out, &digits, 124, &data, None);
            let records: Vec<_> = decode(&out).collect();
            assert_eq!(records.len(), 2);
            assert_eq!(records[0].data, data);
            assert_eq!(records[0].partition_key, Some(key.as_str()));
            assert_eq!((records[1].arrival, records[1].partition_key), (124, None));
        }
    }
}
