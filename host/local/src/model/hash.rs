//! The hash key space 0..2^128 and its division into ranges.

/// A range of hash keys, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashRange {
    /// First key of the range.
    pub start: u128,
    /// Last key of the range.
    pub end: u128,
}

impl HashRange {
    /// The whole space.
    pub const ALL: Self = Self { start: 0, end: u128::MAX };

    /// Whether the range has this key.
    pub fn contains(&self, key: u128) -> bool {
        self.start <= key && key <= self.end
    }
}

/// The hash key of a partition key: its MD5, as Kinesis defines it.
pub fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(md5::compute(partition_key).0)
}

/// Divides the space into `count` equal ranges; the last one includes the remainder.
pub(crate) fn uniform(count: u32) -> Vec<HashRange> {
    let count = u128::from(count.max(1));
    if count == 1 {
        return vec![HashRange::ALL];
    }
    let step = u128::MAX / count + u128::from(u128::MAX % count == count - 1);
    (0..count)
        .map(|i| HashRange { start: i * step, end: if i == count - 1 { u128::MAX } else { (i + 1) * step - 1 } })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_kinesis() {
        assert_eq!(uniform(1), [HashRange::ALL]);
        let three = uniform(3);
        assert_eq!(three[1].start, 113_427_455_640_312_821_154_458_202_477_256_070_485);
        assert_eq!(three[2].end, u128::MAX);
        assert_eq!(uniform(2)[1].start, 1 << 127);
        assert_eq!(uniform(4)[3].start, 3 << 126);
    }

    #[test]
    fn a_partition_key_hashes_with_md5() {
        assert_eq!(hash_key("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }
}
