//! Who looks after the whole table: one of the lease owners, found by every worker from the rows alone, as the Kinesis
//! Client Library 2.x finds it (`DeterministicShuffleShardSyncLeaderDecider`).

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::random::Random;

/// The seed of the Kinesis Client Library: with another one a fleet would have two leaders, or none.
const SEED: u64 = 1947;

/// Whether `me` is the leader among `owners`, which may come in any order and more than once. Without owners everyone
/// is: what a leader does is safe to do twice.
pub(super) fn is_leader<'a>(me: &str, owners: impl Iterator<Item = &'a str>) -> bool {
    // Once each, before they are sorted: a table has many more rows than owners.
    let owners: BTreeSet<&str> = owners.collect();
    let mut owners: Vec<&str> = owners.into_iter().collect();
    owners.sort_unstable_by(|a, b| java_order(a, b));
    Random::new(SEED).shuffle(&mut owners);
    owners.first().is_none_or(|leader| *leader == me)
}

/// Java compares strings by UTF-16 code units.
fn java_order(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (39) The order that JDK 17 shuffles `w0`, `w1`, ... into with this seed.
    #[test]
    fn owners_are_shuffled_as_java_shuffles_them() {
        let orders: [&[usize]; 6] =
            [&[0, 1], &[2, 0, 1], &[3, 0, 1, 2], &[4, 0, 2, 1, 3], &[2, 3, 5, 4, 0, 1], &[2, 4, 3, 5, 0, 6, 1]];
        for order in orders {
            let mut shuffled: Vec<usize> = (0..order.len()).collect();
            Random::new(SEED).shuffle(&mut shuffled);
            assert_eq!(shuffled, order);
        }
    }

    /// (39) One of them leads, whatever the order in which the rows name them.
    #[test]
    fn the_first_of_the_shuffled_owners_leads() {
        let owners = ["w3", "w1", "w5", "w0", "w2", "w4", "w1", "w3"];
        for me in owners {
            assert_eq!(is_leader(me, owners.into_iter()), me == "w2", "{me}");
            assert_eq!(is_leader(me, owners.into_iter().rev()), me == "w2", "{me}");
        }
    }

    /// (40) A table that nobody owns anything of has no leader yet: everyone may fill it.
    #[test]
    fn without_owners_everyone_leads() {
        assert!(is_leader("me", std::iter::empty()));
        assert!(!is_leader("me", ["other"].into_iter()));
        assert!(is_leader("me", ["me"].into_iter()));
    }

    /// Beyond the basic plane UTF-16 and UTF-8 sort differently; a leader must be the same for a Java peer.
    #[test]
    fn owners_are_sorted_as_java_sorts_them() {
        assert_eq!(java_order("\u{1F600}", "\u{FF5E}"), Ordering::Less);
        assert_eq!("\u{1F600}".cmp("\u{FF5E}"), Ordering::Greater);
    }
}
