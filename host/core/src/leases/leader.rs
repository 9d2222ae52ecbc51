//! What a worker does for the whole table while it is the fleet's leader: `election` says whether it is, `upkeep` what
//! is due.

mod cleanup;
mod election;
mod upkeep;

use super::context::Context;
use super::holdings::Holdings;
use super::message::{Action, Settings};
use super::row::{Outcome, Write};
use super::scan::Reads;
use crate::kinesis::shard::Shard;
use crate::service::ServiceError;
use crate::time::Millis;
use upkeep::Upkeep;

pub(super) struct Leader {
    upkeep: Upkeep,
}

impl Leader {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { upkeep: Upkeep::new(0, settings) }
    }

    /// After a scan. `is_clean` says that no row contradicts the stream: those of another one are for a person to see.
    /// Whether the table is to be filled again.
    pub(super) fn scanned(
        &mut self,
        context: &mut Context,
        now: Millis,
        holdings: &Holdings,
        reads: &Reads,
        is_clean: bool,
    ) -> bool {
        if !is_leader(context, now, holdings) {
            self.upkeep = Upkeep::new(now, &context.settings);
            return false;
        }
        let is_missed = !holdings.is_empty() || context.table.vanished().next().is_some();
        if context.table.is_empty() && !reads.is_listing() && !is_missed {
            // Somebody deleted everything, and no worker is left that would put it back.
            return true;
        }
        if is_clean {
            let writes = self.upkeep.look(now, &context.settings, &context.table);
            send(context, holdings, writes);
        }
        false
    }

    pub(super) fn needs_listing(&self) -> bool {
        self.upkeep.needs_listing()
    }

    pub(super) fn listing_asked(&mut self) {
        self.upkeep.listing_asked();
    }

    pub(super) fn listing_failed(&mut self) {
        self.upkeep.listing_failed();
    }

    /// Takes in a listing. Since when rows may be missing, if some are to be created now.
    pub(super) fn listed(
        &mut self,
        context: &mut Context,
        now: Millis,
        holdings: &Holdings,
        shards: &[Shard],
        is_clean: bool,
    ) -> Option<Millis> {
        let (writes, missing_since) = self.upkeep.listed(now, &context.settings, &context.table, shards);
        if is_clean {
            send(context, holdings, writes);
        }
        let is_fill_due = context.table.fill_at(&context.settings).is_some_and(|when| when <= now);
        missing_since.or(is_fill_due.then_some(now))
    }

    /// The answer to a deletion. One that failed is due again after a later scan.
    pub(super) fn deleted(context: &mut Context, key: &str, result: &Result<Outcome, ServiceError>) {
        if matches!(result, Ok(Outcome::Done | Outcome::ConditionFailed(None))) {
            context.table.forget(key);
        }
    }
}

/// Whether this worker leads. Only owners that were seen alive can be elected: the rows of finished shards may name one
/// that is gone for ever.
fn is_leader(context: &Context, now: Millis, holdings: &Holdings) -> bool {
    let me = context.settings.worker.as_str();
    let others = context.table.live_owners(now, &context.settings);
    election::is_leader(me, others.chain((!holdings.is_empty()).then_some(me)))
}

/// What this worker holds is written to by its holding only, one write after the other.
fn send(context: &mut Context, holdings: &Holdings, writes: Vec<Write>) {
    let is_mine = |write: &Write| matches!(write, Write::Delete { key, .. } if holdings.contains(key));
    writes.into_iter().filter(|write| !is_mine(write)).for_each(|write| context.send(Action::Write(write)));
}
