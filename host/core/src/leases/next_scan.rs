//! When a worker scans the table next.

use std::collections::BTreeSet;

use super::context::Context;
use super::standing::Standing;
use super::waiting::waits_for_others;
use crate::kinesis::shard::ShardId;
use crate::time::Millis;

/// How often workers beside others scan: what one that stops gives back is in other hands within a second, and what a dead
/// one had within the failover time and two seconds. They do it in turns, by their names and the clock, so that somebody
/// has seen it sooner. A clock that is wrong makes the turns less even, nothing else.
const SCAN_INTERVAL: Millis = 800;
/// The first of so many parts of the time from one scan to the next is too early for the next one.
const SCAN_SLACK: Millis = 8;
/// A fleet's scans read no more capacity units than its renewals write. A renewal is one unit, every third of the
/// failover time; a scan reads a row of 400 bytes for a twentieth of one; so `n` workers may scan every
/// `n / 20 * failover / 3`.
const SCAN_SHARE: Millis = 60;
/// A large table takes long to read: no more than one part of so many of the time goes into it.
const SCAN_REST: Millis = 10;

/// After a scan that was asked for at `asked_at`. Often, while other workers hold what this one could take over; see
/// [`SCAN_INTERVAL`].
pub(super) fn after_scan(standing: &Standing, now: Millis, asked_at: Millis) -> Millis {
    let Context { settings, table, .. } = standing.context;
    let me = settings.worker.as_str();
    let others: BTreeSet<&str> = table.of_others(now, settings).map(|(owner, _)| owner).collect();
    if others.is_empty() || standing.is_at_limit() {
        return next_need(standing, now).min(now + settings.take_interval());
    }
    let count = |workers: usize| Millis::try_from(workers).unwrap_or(Millis::MAX);
    let (workers, turn) = (count(others.len() + 1), count(others.range(..me).count()));
    let affordable = settings.failover.saturating_mul(workers) / SCAN_SHARE;
    let rest = now.saturating_sub(asked_at).saturating_mul(SCAN_REST);
    let interval = SCAN_INTERVAL.max(affordable).max(rest).min(settings.take_interval());
    let in_turn = next_in_phase(now + interval / SCAN_SLACK, interval, interval.saturating_mul(turn) / workers);
    let in_turn = in_turn.min(next_need(standing, now));
    table.next_expiry(now, settings).map_or(in_turn, |expiry| in_turn.min(expiry))
}

/// After a write to a row that turned out to be `owner`'s. That may be the first sign of another worker, or the only one
/// of a worker that came and went.
pub(super) fn after_refusal(standing: &Standing, now: Millis, owner: Option<&str>) -> Millis {
    match owner {
        None => now + SCAN_INTERVAL,
        Some(_) => after_scan(standing, now, now),
    }
}

/// When something falls due that only a scan of the table brings.
fn next_need(standing: &Standing, now: Millis) -> Millis {
    let Standing { context: Context { settings, table, .. }, holdings, crosscheck, .. } = standing;
    let is_held = |key: &ShardId| holdings.contains(key);
    let waits = !standing.is_at_limit() && waits_for_others(table, now, settings, is_held);
    let poll = waits.then(|| now.saturating_add(settings.parent_poll));
    // What is due already is on its way.
    let due = [table.fill_at(settings), crosscheck.confirm_at()].into_iter().flatten().filter(|when| *when > now);
    let needs = [poll, standing.next_unread(now)].into_iter().flatten();
    needs.chain(due).min().unwrap_or(Millis::MAX)
}

/// The first moment from `earliest` on that is `phase` after a multiple of `interval`.
fn next_in_phase(earliest: Millis, interval: Millis, phase: Millis) -> Millis {
    earliest + (phase + interval - earliest % interval) % interval
}

#[cfg(test)]
mod tests {
    use super::next_in_phase;

    #[test]
    fn a_phase_comes_once_in_an_interval() {
        let next = |earliest| next_in_phase(earliest, 900, 450);
        assert_eq!([0, 450, 451, 1_349, 1_350].map(next), [450, 450, 1_350, 1_350, 1_350]);
        assert_eq!(next_in_phase(900, 900, 0), 900);
    }
}
