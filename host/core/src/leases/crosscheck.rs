//! Compares the rows with what the stream says of its own shards: rows that are for no shard are left alone, those of
//! another stream end the job.

mod contradiction;
mod names;

use super::context::Context;
use super::holdings::Holdings;
use super::notice::Notice;
use crate::kinesis::shard::{Shard, ShardId};
use crate::time::Millis;
use contradiction::{Contradictions, Verdict};
use names::Names;

#[derive(Default)]
pub(super) struct CrossCheck {
    /// The names in the last listing.
    names: Names,
    contradictions: Contradictions,
    /// A listing is needed to confirm a contradiction, or to fill a hole.
    needs_listing: bool,
}

impl CrossCheck {
    /// After a scan: leaves rows alone that no shard of the stream can have.
    pub(super) fn scanned(&self, context: &mut Context, holdings: &Holdings) {
        let foreign = context.table.usable_keys().filter(|key| self.names.is_foreign(key));
        let foreign: Vec<ShardId> = foreign.filter(|key| !holdings.contains(key)).cloned().collect();
        for key in foreign {
            ignore(context, key, "no shard of the stream has such a name".to_owned());
        }
    }

    /// After a scan: notes whether a listing is due to see what a suspicious row is, or to fill a hole.
    pub(super) fn want_listing(&mut self, context: &Context, now: Millis) {
        let is_due = |when: Option<Millis>| when.is_some_and(|when| when <= now);
        self.needs_listing |= is_due(self.confirm_at()) || is_due(context.table.fill_at(&context.settings));
    }

    pub(super) fn needs_listing(&self) -> bool {
        self.needs_listing
    }

    pub(super) fn listing_asked(&mut self) {
        self.needs_listing = false;
    }

    /// Takes in a listing; `is_all` says whether it was of all shards. `is_mine` says which leases this worker holds, or
    /// is taking.
    pub(super) fn listed(
        &mut self,
        context: &mut Context,
        now: Millis,
        shards: &[Shard],
        is_all: bool,
        is_mine: impl Fn(&ShardId) -> bool,
    ) {
        self.names = Names::of(shards, is_all);
        if !is_all {
            return;
        }
        context.table.heed(|key| self.names.is_listed(key));
        match self.contradictions.listed(now, &context.table, &self.names, shards, is_mine) {
            Verdict::Ignored(rows) => rows.into_iter().for_each(|(key, reason)| ignore(context, key, reason)),
            Verdict::Foreign(reason) => context.fail_by_table(of_another_stream(&reason)),
        }
        context.table.suspect(self.contradictions.keys().cloned().collect());
        if let Some(when) = self.confirm_at() {
            context.scan_by(when.max(now));
        }
    }

    /// Whether no row contradicts the stream.
    pub(super) fn is_clean(&self) -> bool {
        self.contradictions.is_empty()
    }

    /// When the stream is to be listed to confirm a contradiction.
    pub(super) fn confirm_at(&self) -> Option<Millis> {
        self.contradictions.confirm_at()
    }

    /// Whether the last listing had this shard.
    pub(super) fn is_listed(&self, key: &str) -> bool {
        self.names.is_listed(key)
    }
}

/// Leaves a row alone that is for no shard.
fn ignore(context: &mut Context, key: ShardId, reason: String) {
    if context.table.ignore(key.clone()) {
        context.notice(Notice::RowIgnored { key, reason });
    }
}

/// What a person must know who gave this worker the table of another stream.
fn of_another_stream(reason: &str) -> String {
    format!(
        "it holds positions that did not come from this stream: {reason}. Either the stream was deleted and created again \
         under the same name, or the table belongs to another stream. Set TableName to a new table; or stop every worker \
         of this job and delete the rows of the table, to begin at the initial position"
    )
}
