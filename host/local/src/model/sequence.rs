//! Sequence numbers: 56 decimal digits that only grow within a shard, and from a parent to its child.
//!
//! Laid out as Kinesis lays them out (186 bits, most significant first): the marker `0b10`, the second in which
//! the shard was created (36), the low nibble of the shard's index (4), the record's counter (64), a zero byte,
//! the second in which the record arrived (36), the shard's index (32) and the version (4). A child's creation
//! second is always greater than its parents', so its numbers start after theirs end.

use std::fmt;

use super::Millis;

const MARKER_SHIFT: u32 = 56;
const CREATED_SHIFT: u32 = 20;
const NIBBLE_SHIFT: u32 = 16;
const COUNTER_SHIFT: u32 = 80;
const COUNTER_LOW_BITS: u32 = 48;
const SECOND_SHIFT: u32 = 36;
const SHARD_SHIFT: u32 = 4;
const VERSION: u128 = 2;
const SECOND_MASK: u64 = (1 << 36) - 1;

/// Digits of every sequence number.
pub(crate) const DIGITS: usize = 56;
/// The largest power of ten in 64 bits: three such groups hold a number.
const GROUP: u64 = 10_000_000_000_000_000_000;
const GROUP_DIGITS: usize = 19;

/// A sequence number; orders as the number does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber {
    high: u64,
    low: u128,
}

/// What all sequence numbers of one shard have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SequenceSpace {
    /// Second of the shard's creation, as encoded: at least one more than its parents'.
    pub(crate) created: u64,
    /// The shard's index in its stream.
    pub(crate) shard: u32,
}

impl SequenceSpace {
    /// Number `counter` of this shard: 0 is where the shard starts, n is its n-th record.
    pub(crate) fn number(self, counter: u64, arrival: Millis) -> SequenceNumber {
        let high = 2 << MARKER_SHIFT
            | (self.created & SECOND_MASK) << CREATED_SHIFT
            | u64::from(self.shard & 0xf) << NIBBLE_SHIFT
            | counter >> COUNTER_LOW_BITS;
        let low = u128::from(counter & ((1 << COUNTER_LOW_BITS) - 1)) << COUNTER_SHIFT
            | u128::from((arrival / 1000) & SECOND_MASK) << SECOND_SHIFT
            | u128::from(self.shard) << SHARD_SHIFT
            | VERSION;
        SequenceNumber { high, low }
    }

    /// The counter of a number of this shard, none if the number belongs to another shard.
    pub(crate) fn counter(self, number: SequenceNumber) -> Option<u64> {
        let same_space = number.high >> NIBBLE_SHIFT == self.number(0, 0).high >> NIBBLE_SHIFT;
        (same_space && number.shard() == self.shard)
            .then_some((number.high & 0xffff) << COUNTER_LOW_BITS | (number.low >> COUNTER_SHIFT) as u64)
    }
}

impl SequenceNumber {
    /// The number a decimal text stands for, none if it is not one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != DIGITS || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut limbs = [0u64; 3];
        for digit in text.bytes() {
            let mut carry = u128::from(digit - b'0');
            for limb in &mut limbs {
                let value = u128::from(*limb) * 10 + carry;
                *limb = value as u64;
                carry = value >> 64;
            }
        }
        let number = Self { high: limbs[2], low: u128::from(limbs[1]) << 64 | u128::from(limbs[0]) };
        let marked = number.high >> MARKER_SHIFT == 2 && number.low & 0xf == VERSION;
        marked.then_some(number)
    }

    /// The index of the shard it belongs to.
    pub fn shard(self) -> u32 {
        (self.low >> SHARD_SHIFT) as u32
    }

    /// The decimal digits.
    pub fn digits(self) -> [u8; DIGITS] {
        let mut limbs = [self.high, (self.low >> 64) as u64, self.low as u64];
        let mut digits = [b'0'; DIGITS];
        let mut end = DIGITS;
        for _ in 0..2 {
            let mut group = divide(&mut limbs);
            for slot in digits[end - GROUP_DIGITS..end].iter_mut().rev() {
                *slot = b'0' + (group % 10) as u8;
                group /= 10;
            }
            end -= GROUP_DIGITS;
        }
        let mut rest = limbs[2];
        for slot in digits[..end].iter_mut().rev() {
            *slot = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        digits
    }
}

/// Divides in place by [`GROUP`] and returns the remainder.
fn divide(limbs: &mut [u64; 3]) -> u64 {
    let mut remainder = 0u64;
    for limb in limbs {
        let value = u128::from(remainder) << 64 | u128::from(*limb);
        *limb = (value / u128::from(GROUP)) as u64;
        remainder = (value % u128::from(GROUP)) as u64;
    }
    remainder
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digits().iter().try_for_each(|digit| write!(f, "{}", *digit as char))
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: SequenceSpace = SequenceSpace { created: 1_764_000_000, shard: 19 };

    #[test]
    fn text_and_number_agree() {
        for counter in [0, 1, 77, 1 << 47, (1 << 48) + 3, u64::MAX] {
            let number = SPACE.number(counter, 1_764_000_123_456);
            let text = number.to_string();
            assert_eq!(text.len(), DIGITS);
            assert!(text.starts_with("49"), "{text}");
            assert_eq!(SequenceNumber::parse(&text), Some(number));
            assert_eq!(SPACE.counter(number), Some(counter));
        }
    }

    #[test]
    fn numbers_order_by_counter_then_by_creation() {
        let later_arrival_counts_less = SPACE.number(4, 9_999_000) < SPACE.number(5, 1_000);
        assert!(later_arrival_counts_less);
        let child = SequenceSpace { created: SPACE.created + 1, shard: 20 };
        assert!(SPACE.number(u64::MAX, 0) < child.number(0, 0));
    }

    #[test]
    fn a_foreign_text_is_no_number() {
        for text in ["", "0", "12", "9".repeat(56).as_str(), "x".repeat(56).as_str()] {
            assert_eq!(SequenceNumber::parse(text), None, "{text}");
        }
        let other = SequenceSpace { shard: 35, ..SPACE };
        assert_eq!(SPACE.counter(other.number(1, 0)), None);
    }
}
