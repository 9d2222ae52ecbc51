//! Positions in a shard: sequence numbers, checkpoints and where a reader starts. Owns their order; knows nothing of
//! leases or records.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::text;

/// A Kinesis sequence number: decimal digits without leading zeros.
///
/// It stays text, because it does not fit 128 bits (56 digits today, AWS documents up to 129) and because without
/// leading zeros numbers compare as (length, bytes), so nothing has to be parsed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SequenceNumber(Box<str>);

/// Bytes of a text that is no sequence number that are repeated.
const SHOWN_MAX_BYTES: usize = 100;

/// The text, of which the error repeats the beginning, is not a sequence number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a sequence number: expected decimal digits")]
pub struct NotASequenceNumber(String);

impl SequenceNumber {
    /// Takes decimal text; leading zeros are dropped.
    pub fn parse(text: &str) -> Result<Self, NotASequenceNumber> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotASequenceNumber(text::line(text, SHOWN_MAX_BYTES)));
        }
        let digits = text.trim_start_matches('0');
        Ok(Self(if digits.is_empty() { "0" } else { digits }.into()))
    }

    /// The decimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Compares two canonical sequence numbers (digits, no leading zeros) as numbers.
#[must_use]
pub fn compare_sequence(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_sequence(&self.0, &other.0)
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One user record's place in its shard: the record's sequence number, then the index inside an aggregated record
/// (0 for a plain one). Ordered as numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub sequence: SequenceNumber,
    pub sub_sequence: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sub_sequence {
            0 => write!(f, "{}", self.sequence),
            sub => write!(f, "{}+{sub}", self.sequence),
        }
    }
}

/// What a lease row says was processed: a sentinel or the last committed position.
///
/// The order is the Kinesis Client Library's: `AT_TIMESTAMP < TRIM_HORIZON < LATEST <` every position `< SHARD_END`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checkpoint {
    /// Nothing processed: start at the timestamp of the worker's own configuration.
    AtTimestamp,
    /// Nothing processed: start with the oldest record.
    TrimHorizon,
    /// Nothing processed: start with what arrives next.
    Latest,
    /// Everything up to and including this position is committed.
    At(Position),
    /// The shard is closed and all of it is committed.
    ShardEnd,
}

impl Checkpoint {
    /// The text of the row's `checkpoint` attribute.
    #[must_use]
    pub fn sequence_text(&self) -> &str {
        match self {
            Self::AtTimestamp => "AT_TIMESTAMP",
            Self::TrimHorizon => "TRIM_HORIZON",
            Self::Latest => "LATEST",
            Self::At(position) => position.sequence.as_str(),
            Self::ShardEnd => "SHARD_END",
        }
    }

    /// The number of the row's `checkpointSubSequenceNumber` attribute.
    #[must_use]
    pub fn sub_sequence(&self) -> u64 {
        self.position().map_or(0, |position| position.sub_sequence)
    }

    /// The last position that is committed, if there is one.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        match self {
            Self::At(position) => Some(position),
            _ => None,
        }
    }

    /// Reads the two attributes of a row back.
    pub fn from_row(sequence: &str, sub_sequence: u64) -> Result<Self, NotASequenceNumber> {
        Ok(match sequence {
            "AT_TIMESTAMP" => Self::AtTimestamp,
            "TRIM_HORIZON" => Self::TrimHorizon,
            "LATEST" => Self::Latest,
            "SHARD_END" => Self::ShardEnd,
            digits => Self::At(Position { sequence: SequenceNumber::parse(digits)?, sub_sequence }),
        })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(position) => position.fmt(f),
            sentinel => f.write_str(sentinel.sequence_text()),
        }
    }
}

impl FromStr for SequenceNumber {
    type Err = NotASequenceNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Where a new application starts in shards that nobody has read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialPosition {
    Latest,
    TrimHorizon,
    /// Milliseconds since 1970-01-01 UTC.
    AtTimestamp(u64),
}

impl InitialPosition {
    /// The sentinel that a new lease row gets.
    #[must_use]
    pub fn checkpoint(self) -> Checkpoint {
        match self {
            Self::Latest => Checkpoint::Latest,
            Self::TrimHorizon => Checkpoint::TrimHorizon,
            Self::AtTimestamp(_) => Checkpoint::AtTimestamp,
        }
    }
}

/// How far before the first contact a shard that starts at LATEST is read again: more than the clocks of the workers
/// and of the service usually differ, and a repeat is better than a gap.
pub const LATEST_MARGIN: u64 = 5_000;

/// What LATEST stands for in a shard that nobody has checkpointed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latest {
    /// What arrives next: this is the first contact with the shard.
    #[default]
    Next,
    /// What has arrived since the first contact, in milliseconds since 1970-01-01 UTC by a worker's clock.
    Since(u64),
}

impl Latest {
    /// What it stands for when the shard is first read so long after its first `contact`: once that is longer ago than
    /// a later reading goes back, all of them begin there.
    #[must_use]
    pub fn at_start(self, now: u64, contact: Option<u64>) -> Self {
        match (self, contact) {
            (Self::Next, Some(contact)) if now.saturating_sub(contact) > LATEST_MARGIN => Self::Since(contact),
            (latest, _) => latest,
        }
    }

    /// What it stands for in a reading that begins `now`; in those after it, nothing that this one saw is skipped.
    #[must_use]
    pub fn for_reading(&mut self, now: u64) -> Self {
        let this = *self;
        if this == Self::Next {
            *self = Self::Since(now);
        }
        this
    }
}

/// What a shard iterator or a subscription is asked for (`ShardIteratorType`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartingPosition {
    TrimHorizon,
    Latest,
    /// Milliseconds since 1970-01-01 UTC.
    AtTimestamp(u64),
    AtSequenceNumber(SequenceNumber),
    AfterSequenceNumber(SequenceNumber),
}

impl StartingPosition {
    /// Where to start reading in order to go on after `checkpoint`. The record of a position comes again: it may hold
    /// more envelopes than are committed.
    #[must_use]
    pub fn from_checkpoint(checkpoint: &Checkpoint, initial: InitialPosition, latest: Latest) -> Self {
        match (checkpoint, initial) {
            (Checkpoint::At(position), _) => Self::AtSequenceNumber(position.sequence.clone()),
            (Checkpoint::Latest, _) => match latest {
                Latest::Next => Self::Latest,
                Latest::Since(contact) => Self::AtTimestamp(contact.saturating_sub(LATEST_MARGIN)),
            },
            (Checkpoint::AtTimestamp, InitialPosition::AtTimestamp(ms)) => Self::AtTimestamp(ms),
            // Also for a row written by a worker that starts at a timestamp when this one does not know which: the
            // oldest record is the only choice that loses nothing.
            (Checkpoint::AtTimestamp | Checkpoint::TrimHorizon | Checkpoint::ShardEnd, _) => Self::TrimHorizon,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: &str, sub_sequence: u64) -> Checkpoint {
        Checkpoint::from_row(sequence, sub_sequence).unwrap()
    }

    #[test]
    fn checkpoints_order_as_in_the_kinesis_client_library() {
        let ascending = [
            at("AT_TIMESTAMP", 0),
            at("TRIM_HORIZON", 0),
            at("LATEST", 0),
            at("0", 0),
            at("9", 0),
            at("10", 0),
            at("10", 1),
            at("340282366920938463463374607431768211456", 0),
            at("340282366920938463463374607431768211457", 0),
            at("SHARD_END", 0),
        ];
        for pair in ascending.windows(2) {
            assert!(pair[0] < pair[1], "{} < {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn what_is_neither_digits_nor_a_sentinel_is_rejected() {
        for text in ["", "-1", "1.5", "trim_horizon", "shardEnd", "12a", " 1"] {
            assert!(Checkpoint::from_row(text, 0).is_err(), "{text:?}");
        }
    }

    #[test]
    fn leading_zeros_do_not_change_the_number() {
        assert_eq!(SequenceNumber::parse("000").unwrap().as_str(), "0");
        assert_eq!(SequenceNumber::parse("0012").unwrap(), SequenceNumber::parse("12").unwrap());
    }

    #[test]
    fn a_checkpoint_survives_its_row() {
        for checkpoint in [at("LATEST", 0), at("SHARD_END", 0), at("495", 7)] {
            let back = Checkpoint::from_row(checkpoint.sequence_text(), checkpoint.sub_sequence()).unwrap();
            assert_eq!(back, checkpoint);
        }
    }
}
