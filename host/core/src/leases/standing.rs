//! How far this worker is: whether there is anything that it could still come to read, and which shards no worker reads.
//! A job that has read all of its own shards is not through with its stream while there are such. Only asks the machines.

use std::collections::BTreeSet;

use super::assignment::Assignment;
use super::context::Context;
use super::crosscheck::CrossCheck;
use super::holdings::Holdings;
use super::notice::{Unread, UnreadReason};
use super::table::Table;
use crate::kinesis::shard::ShardId;
use crate::time::Millis;

/// Failover times that a lease must have been left alone for: other workers may be about to take it until then.
const LEFT_FOR: Millis = 2;

pub(super) struct Standing<'a> {
    pub(super) context: &'a Context,
    pub(super) holdings: &'a Holdings,
    pub(super) assignment: &'a Assignment,
    pub(super) crosscheck: &'a CrossCheck,
}

impl<'a> Standing<'a> {
    /// See [`Worker::is_settled`](super::Worker::is_settled).
    pub(super) fn is_settled(&self) -> bool {
        self.is_steady() && self.unread().is_empty() && self.is_all_held(&BTreeSet::new())
    }

    /// See [`Worker::is_settled_but_unread`](super::Worker::is_settled_but_unread).
    pub(super) fn is_settled_but_unread(&self) -> bool {
        let unread: BTreeSet<String> = self.unread().into_iter().map(|unread| unread.key).collect();
        !unread.is_empty() && self.is_steady() && self.is_all_held(&unread)
    }

    /// Whether every free lease is held by this worker, is one of `except`, or waits for one of those.
    fn is_all_held(&self, except: &BTreeSet<String>) -> bool {
        let mut except = except.clone();
        let mut free = self.table().available(self.table().scanned_at(), &self.context.settings);
        free.retain(|lease| !self.holdings.contains(&lease.key));
        loop {
            let before = free.len();
            let excused = |key: &String| except.contains(key);
            let (waiting, left): (Vec<_>, Vec<_>) =
                free.into_iter().partition(|lease| excused(&lease.key) || lease.parents.iter().any(excused));
            except.extend(waiting.into_iter().map(|lease| lease.key.clone()));
            free = left;
            if free.is_empty() || free.len() == before {
                return free.is_empty();
            }
        }
    }

    fn is_steady(&self) -> bool {
        self.context.is_running()
            && self.assignment.pending() == 0
            && self.crosscheck.is_clean()
            && self.table().vanished().next().is_none()
            && self.holdings.are_all_reading()
            && !self.table().is_in_doubt(self.table().scanned_at(), &self.context.settings)
    }

    /// Whether this worker may take no more leases.
    pub(super) fn is_at_limit(&self) -> bool {
        self.holdings.places_taken() + self.assignment.pending() >= self.context.settings.max_leases
    }

    /// Whether this worker holds a lease, or is taking it.
    pub(super) fn is_mine(&self, key: &str) -> bool {
        self.holdings.contains(key) || self.assignment.is_pending(key)
    }

    /// See [`Worker::unread`](super::Worker::unread).
    pub(super) fn unread(&self) -> Vec<Unread> {
        if !self.context.is_running() {
            return Vec::new();
        }
        let why = || UnreadReason::Limit(self.context.settings.max_leases);
        let age = self.left_for();
        let is_old = |since: Millis| self.table().scanned_at().saturating_sub(since) > age;
        let left = self.left_alone().filter(|(_, since)| self.is_at_limit() && is_old(*since));
        let left = left.map(|(key, _)| Unread { key: key.clone(), why: why() });
        let unusable = self.table().unreadable().iter().filter(|(key, _)| self.crosscheck.is_listed(key));
        let unusable =
            unusable.map(|(key, reason)| Unread { key: key.clone(), why: UnreadReason::Row(reason.clone()) });
        left.chain(unusable).collect()
    }

    /// When the next shard is one that no worker reads, if this one does not get its lease.
    pub(super) fn next_unread(&self, now: Millis) -> Option<Millis> {
        if !self.is_at_limit() {
            return None;
        }
        let due = |(_, since): (&ShardId, Millis)| since.saturating_add(self.left_for()).saturating_add(1);
        self.left_alone().map(due).filter(|due| *due > now).min()
    }

    fn left_alone(&self) -> impl Iterator<Item = (&ShardId, Millis)> {
        let is_mine = |key: &ShardId| self.is_mine(key);
        let left = self.table().left_alone(self.table().scanned_at(), &self.context.settings, is_mine);
        left.map(|(lease, since)| (&lease.key, since))
    }

    fn left_for(&self) -> Millis {
        self.context.settings.failover.saturating_mul(LEFT_FOR)
    }

    fn table(&self) -> &'a Table {
        &self.context.table
    }
}
