//! Changing the set of shards: split, merge, update the count.
//!
//! Every change closes its parents and adds children that name them, so lineage is complete whatever is asked.

use std::sync::Arc;

use super::hash::{HashRange, uniform};
use super::stream::{Mode, Status, Stream, StreamState};
use super::{Error, Millis, Model, StreamRef, names, write};

/// Open shards a stream may have while limits hold.
pub(crate) const SHARDS_MAX: u32 = 20_000;

impl Model {
    /// Splits a shard in two; the second one starts at `starting_hash_key`.
    ///
    /// # Errors
    /// No such stream or shard; a closed shard; a hash key that is not inside the shard.
    pub fn split_shard(
        &self,
        now: Millis,
        stream: &StreamRef<'_>,
        shard_id: &str,
        starting_hash_key: &str,
    ) -> Result<(), Error> {
        self.change_shards(now, stream, |stream, state| {
            let shard = state.shard(now, &stream.name, shard_id)?;
            let (index, range) = (shard.index, shard.range);
            check_open(stream, state, index)?;
            let key = starting_hash_key
                .parse()
                .ok()
                .filter(|key| range.start < *key && *key < range.end);
            let Some(key) = key else {
                return Err(Error::invalid(format!(
                    "NewStartingHashKey {starting_hash_key} used in SplitShard() on shard {} in stream {} under account {} is not both greater than one plus the shard's StartingHashKey {} and less than the shard's EndingHashKey {}.",
                    names::shard_id(index),
                    stream.name,
                    names::ACCOUNT,
                    range.start,
                    range.end - 1
                )));
            };
            split(state, now, index, key);
            Ok(())
        })
    }

    /// Merges two shards whose hash ranges touch.
    ///
    /// # Errors
    /// No such stream or shard; a closed shard; ranges that do not touch.
    pub fn merge_shards(
        &self,
        now: Millis,
        stream: &StreamRef<'_>,
        shard_id: &str,
        adjacent_shard_id: &str,
    ) -> Result<(), Error> {
        self.change_shards(now, stream, |stream, state| {
            let first = state.shard(now, &stream.name, shard_id)?;
            let second = state.shard(now, &stream.name, adjacent_shard_id)?;
            let (a, b) = (first.index, second.index);
            let touching =
                follows(first.range, second.range) || follows(second.range, first.range);
            check_open(stream, state, a)?;
            check_open(stream, state, b)?;
            if !touching {
                return Err(Error::invalid(format!(
                    "Shards {} and {} in stream {} under account {} are not an adjacent pair of shards eligible for merging",
                    names::shard_id(a),
                    names::shard_id(b),
                    stream.name,
                    names::ACCOUNT
                )));
            }
            merge(state, now, a, b);
            Ok(())
        })
    }

    /// Splits and merges until the stream has `target` shards of equal hash ranges; returns the count before.
    ///
    /// # Errors
    /// No such stream; an on-demand stream; a target above double or below half while limits hold.
    pub fn update_shard_count(&self, now: Millis, stream: &StreamRef<'_>, target: u32) -> Result<u32, Error> {
        let limits = self.config.limits;
        self.change_shards(now, stream, |stream, state| {
            let current = state.open.len() as u32;
            if state.mode == Mode::OnDemand {
                return Err(Error::invalid(format!(
                    "Request is invalid. Stream {} under account {} is in On-Demand mode.",
                    stream.name,
                    names::ACCOUNT
                )));
            }
            if target == 0 {
                return Err(Error::constraint(
                    "'0'",
                    "targetShardCount",
                    "Member must have value greater than or equal to 1",
                ));
            }
            if limits {
                check_target(current, target)?;
            }
            rescale(state, now, target);
            Ok(current)
        })
    }

    fn change_shards<T>(
        &self,
        now: Millis,
        stream: &StreamRef<'_>,
        change: impl FnOnce(&Arc<Stream>, &mut StreamState) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let stream = self.stream(now, stream)?;
        let mut state = write(&stream.state);
        check_active(&stream, &state, now)?;
        let result = change(&stream, &mut state)?;
        state.transition = Some((Status::Updating, now + self.config.state_delay));
        self.note(&stream, &state)?;
        Ok(result)
    }
}

/// Refuses while the stream is being created, changed or deleted.
pub(crate) fn check_active(stream: &Stream, state: &StreamState, now: Millis) -> Result<(), Error> {
    match state.status(now) {
        Status::Active => Ok(()),
        status => Err(Error::in_use(format!(
            "Stream {} under account {} not ACTIVE, instead in state {}",
            stream.name,
            names::ACCOUNT,
            status.as_str()
        ))),
    }
}

fn check_open(stream: &Stream, state: &StreamState, index: u32) -> Result<(), Error> {
    if state.shards[index as usize].closed.is_none() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Shard {} in stream {} under account {} has already been merged or split, and thus is not eligible for merging or splitting.",
        names::shard_id(index),
        stream.name,
        names::ACCOUNT
    )))
}

fn check_target(current: u32, target: u32) -> Result<(), Error> {
    let bound = if target > current.saturating_mul(2) {
        "up over double"
    } else if target < current.div_ceil(2) {
        "down below half"
    } else if target > SHARDS_MAX {
        return Err(Error::limit(format!("the stream would have more than {SHARDS_MAX} shards")));
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "UpdateShardCount cannot scale {bound} your current open shard count. Current open shard count: {current} Target shard count: {target}"
    )))
}

fn follows(first: HashRange, second: HashRange) -> bool {
    first.end.checked_add(1) == Some(second.start)
}

fn split(state: &mut StreamState, now: Millis, parent: u32, key: u128) -> u32 {
    let range = state.shards[parent as usize].range;
    let at = state.end_of([parent], now);
    state.close_shard(at, parent);
    state.add_shard(at, HashRange { end: key - 1, ..range }, &[parent]);
    state.add_shard(at, HashRange { start: key, ..range }, &[parent])
}

fn merge(state: &mut StreamState, now: Millis, first: u32, second: u32) -> u32 {
    let (a, b) = (state.shards[first as usize].range, state.shards[second as usize].range);
    let at = state.end_of([first, second], now);
    state.close_shard(at, first);
    state.close_shard(at, second);
    let range = HashRange { start: a.start.min(b.start), end: a.end.max(b.end) };
    state.add_shard(at, range, &[first, second])
}

/// Splits at every border of the wanted ranges, then merges what lies in one of them: as Kinesis does it, with
/// shards on the way that are closed at once.
fn rescale(state: &mut StreamState, now: Millis, target: u32) {
    let wanted = uniform(target);
    for border in wanted.iter().skip(1).map(|range| range.start) {
        let shard = state.shard_of(border);
        if shard.range.start != border {
            let index = shard.index;
            split(state, now, index, border);
        }
    }
    for range in wanted {
        let mut merged = state.shard_of(range.start).index;
        while state.shards[merged as usize].range.end < range.end {
            let next = state.shard_of(state.shards[merged as usize].range.end + 1).index;
            merged = merge(state, now, merged, next);
        }
    }
}
