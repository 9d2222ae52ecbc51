//! Whether the leases cover the whole hash space: a record whose hash key is covered by none would never be read.

use super::row::Lease;
use crate::kinesis::shard::HashRange;
use crate::position::Checkpoint;
use crate::time::Millis;

/// What the rows say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    Complete,
    /// The first gap.
    Hole(HashRange),
    /// Some rows have no hash range: old versions of the Kinesis Client Library did not write it.
    Unknown,
}

/// What the leases that are not finished cover together.
pub(super) fn coverage(leases: &[Lease]) -> Coverage {
    let active = leases.iter().filter(|lease| lease.checkpoint != Checkpoint::ShardEnd);
    let ranges: Option<Vec<&HashRange>> = active.map(|lease| lease.hash_range.as_ref()).collect();
    match ranges.map(first_hole) {
        None => Coverage::Unknown,
        Some(Some(hole)) => Coverage::Hole(hole),
        Some(None) => Coverage::Complete,
    }
}

/// The first gap in the 128-bit hash space that the ranges leave open, if any; they may overlap.
pub(super) fn first_hole(ranges: Vec<&HashRange>) -> Option<HashRange> {
    first_hole_in(&HashRange { start: 0, end: u128::MAX }, ranges)
}

/// Likewise in a part of it, beyond which the ranges may reach.
pub(super) fn first_hole_in(part: &HashRange, mut ranges: Vec<&HashRange>) -> Option<HashRange> {
    ranges.sort_by_key(|range| range.start);
    let mut next = Some(part.start);
    for range in ranges {
        let expected = next.filter(|next| *next <= part.end)?;
        if range.start > expected {
            return Some(HashRange { start: expected, end: part.end.min(range.start - 1) });
        }
        next = range.end.max(expected.saturating_sub(1)).checked_add(1);
    }
    next.filter(|start| *start <= part.end).map(|start| HashRange { start, end: part.end })
}

/// Tells a hole from a reshard that is under way, whose rows come one after the other.
#[derive(Default)]
pub(super) struct Auditor {
    hole: Option<HashRange>,
    since: Millis,
    looks: u32,
}

impl Auditor {
    /// Takes in a look at the table. Since when the same hole is there, if it was at `confidence` looks in a row.
    pub(super) fn confirms(&mut self, now: Millis, coverage: Coverage, confidence: u32) -> Option<Millis> {
        let hole = match coverage {
            Coverage::Hole(hole) => Some(hole),
            Coverage::Complete | Coverage::Unknown => None,
        };
        (self.looks, self.since) =
            if hole == self.hole { (self.looks.saturating_add(1), self.since) } else { (1, now) };
        self.hole = hole;
        (self.hole.is_some() && self.looks >= confidence).then_some(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u128, end: u128) -> HashRange {
        HashRange { start, end }
    }

    fn lease(start: u128, end: u128, checkpoint: Checkpoint) -> Lease {
        Lease {
            key: format!("{start}-{end}"),
            owner: None,
            counter: 0,
            owner_switches: 0,
            checkpoint,
            parents: Vec::new(),
            children: Vec::new(),
            hash_range: Some(range(start, end)),
            checkpoint_owner: None,
            latest_since: None,
        }
    }

    #[test]
    fn holes_are_found_at_the_start_in_the_middle_and_at_the_end() {
        let hole = |ranges: &[(u128, u128)]| {
            let ranges: Vec<HashRange> = ranges.iter().map(|&(start, end)| range(start, end)).collect();
            first_hole(ranges.iter().collect()).map(|range| (range.start, range.end))
        };
        assert_eq!(hole(&[(0, u128::MAX)]), None);
        assert_eq!(hole(&[(10, u128::MAX), (0, 9)]), None);
        assert_eq!(hole(&[(5, u128::MAX)]), Some((0, 4)));
        assert_eq!(hole(&[(0, 9), (20, u128::MAX)]), Some((10, 19)));
        assert_eq!(hole(&[(0, 9), (0, 5)]), Some((10, u128::MAX)));
        assert_eq!(hole(&[]), Some((0, u128::MAX)));
    }

    #[test]
    fn holes_in_a_part_are_found_whatever_reaches_beyond_it() {
        let hole = |ranges: &[(u128, u128)]| {
            let ranges: Vec<HashRange> = ranges.iter().map(|&(start, end)| range(start, end)).collect();
            first_hole_in(&range(10, 25), ranges.iter().collect()).map(|range| (range.start, range.end))
        };
        for covering in [&[(10, 25)][..], &[(10, 15), (16, 25)], &[(3, 25)], &[(10, u128::MAX)], &[(0, 12), (5, 99)]] {
            assert_eq!(hole(covering), None, "{covering:?}");
        }
        assert_eq!(hole(&[]), Some((10, 25)));
        assert_eq!(hole(&[(12, 15), (16, 25)]), Some((10, 11)));
        assert_eq!(hole(&[(10, 15), (16, 23)]), Some((24, 25)));
        assert_eq!(hole(&[(0, 9), (30, 40)]), Some((10, 25)));
    }

    /// (47) Finished leases cover nothing; overlaps, as of a parent and its children, are fine.
    #[test]
    fn finished_leases_cover_nothing_and_overlaps_are_fine() {
        let parent = lease(0, u128::MAX, Checkpoint::TrimHorizon);
        let child = lease(10, u128::MAX, Checkpoint::Latest);
        let ended = Lease { checkpoint: Checkpoint::ShardEnd, ..parent.clone() };
        assert_eq!(coverage(&[child.clone(), parent]), Coverage::Complete);
        assert_eq!(coverage(&[child, ended]), Coverage::Hole(range(0, 9)));
    }

    #[test]
    fn rows_without_a_hash_range_say_nothing() {
        let old = Lease { hash_range: None, ..lease(0, 9, Checkpoint::Latest) };
        assert_eq!(coverage(std::slice::from_ref(&old)), Coverage::Unknown);
        let ended = Lease { checkpoint: Checkpoint::ShardEnd, ..old };
        assert_eq!(coverage(&[ended, lease(0, u128::MAX, Checkpoint::Latest)]), Coverage::Complete);
    }

    /// (47) The same hole three times in a row is one; a moving one, or one that closes, is a reshard under way.
    #[test]
    fn a_hole_must_be_seen_three_times_in_a_row() {
        let looks = |starts: &[Option<u128>]| -> Vec<bool> {
            let mut auditor = Auditor::default();
            let look = |start: &Option<u128>| match start {
                Some(start) => Coverage::Hole(range(*start, 99)),
                None => Coverage::Complete,
            };
            starts.iter().map(|start| auditor.confirms(0, look(start), 3).is_some()).collect()
        };
        assert_eq!(looks(&[Some(1), Some(1), Some(1), Some(1)]), [false, false, true, true]);
        assert_eq!(looks(&[Some(1), Some(2), Some(1), Some(2)]), [false; 4]);
        assert_eq!(looks(&[Some(1), Some(1), None, Some(1)]), [false; 4]);
        assert_eq!(looks(&[None, None, None, None]), [false; 4]);
    }
}
