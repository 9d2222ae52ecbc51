//! The lease machine of one worker and one stream: it bootstraps the table, takes, renews, checkpoints and releases
//! leases, and gates children behind their parents. Pure: `on(now, event)` returns what the shell must do next; the
//! shell answers each action with an event. Times are milliseconds since 1970-01-01 UTC on a clock that does not jump;
//! the only one that leaves a worker is that of a LATEST, with a margin, so clocks need not agree.
//!
//! It is composed of machines that own their fields; here is only which of them an event goes to, and what follows:
//!
//! | machine | decides |
//! |---|---|
//! | `Reads` | scans and listings: one at a time, and what their failures mean; when the next is due says `next_scan` |
//! | `Bootstrap` | which rows the table lacks, and their creation |
//! | `Assignment` | which leases this worker takes, and when |
//! | `Holdings` | renewals, checkpoints, shard ends, releases, losses |
//! | `CrossCheck` | which rows are not this stream's |
//! | `Leader` | as the fleet's leader: holes, missing hash ranges, rows of finished shards |
//!
//! | phase | leaves when |
//! |---|---|
//! | `Starting` | the table has been read (and filled, when it was empty or incomplete) |
//! | `Running` | `Event::Stop`, or a failure that no retry can mend |
//! | `Stopping` | every held lease is released (or was lost) |
//! | `Stopped` | never |

use super::assignment::Assignment;
use super::bootstrap::{Bootstrap, Synced};
use super::context::{Context, Phase};
use super::crosscheck::CrossCheck;
use super::holdings::Holdings;
use super::leader::Leader;
use super::message::{Action, Event, Settings};
use super::next_scan;
use super::notice::Unread;
use super::row::{Lease, Outcome, Scan, Write};
use super::scan::{Listing, Reads};
use super::standing::Standing;
use crate::kinesis::shard::{Shard, ShardFilter};
use crate::service::ServiceError;
use crate::time::Millis;

/// The machine; see the module documentation.
pub struct Worker {
    context: Context,
    reads: Reads,
    bootstrap: Bootstrap,
    assignment: Assignment,
    holdings: Holdings,
    crosscheck: CrossCheck,
    leader: Leader,
}

impl Worker {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            leader: Leader::new(&settings),
            context: Context::new(settings),
            reads: Reads::default(),
            bootstrap: Bootstrap::default(),
            assignment: Assignment::default(),
            holdings: Holdings::default(),
            crosscheck: CrossCheck::default(),
        }
    }

    /// Takes in one event and returns what to do now, in order.
    pub fn on(&mut self, now: Millis, event: Event) -> Vec<Action> {
        // First of all: whatever came in while this process was paused finds expired leases gone.
        self.holdings.drop_expired(&mut self.context, now);
        self.bootstrap.drop_outdated(&mut self.context, now);
        match event {
            Event::Tick => {}
            Event::Scanned(result) => self.on_scanned(now, result),
            Event::Listed(result) => self.on_listed(now, result),
            Event::Written { write, result } => self.on_written(now, write, result),
            Event::Checkpoint { key, epoch, checkpoint } => {
                self.holdings.checkpoint(&mut self.context, key, epoch, checkpoint);
            }
            Event::ShardEnded { key, epoch, children } => {
                if self.holdings.shard_ended(&self.context, &key, epoch, children) {
                    self.list_if_needed(self.holdings.needs_listing());
                }
            }
            Event::Stop if self.context.phase == Phase::Stopped => {}
            Event::Stop => self.context.phase = Phase::Stopping,
        }
        self.advance(now);
        self.context.take_actions()
    }

    /// When the next [`Event::Tick`] is due at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Millis {
        let held = self.holdings.wake_at(self.context.settings.failover);
        let held_or_renewal = held.min(self.holdings.renew_at());
        match self.context.phase {
            Phase::Stopped => Millis::MAX,
            Phase::Stopping => held,
            Phase::Starting | Phase::Running if self.may_scan() => held_or_renewal.min(self.context.scan_at()),
            Phase::Starting | Phase::Running => held_or_renewal.min(self.bootstrap.wake_at()),
        }
    }

    /// Whether this worker reads everything that it may hold now, and nothing is left that no worker reads: no lease is
    /// free, being taken, waiting for a parent or being sealed, what others hold they were seen to renew, and no row
    /// contradicts the stream; all as of the last scan of the table.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.standing().is_settled()
    }

    /// [`Worker::is_settled`], except for the shards that [`Worker::unread`] names, and for those that wait for them:
    /// there are some, and nothing that this worker does will change it.
    #[must_use]
    pub fn is_settled_but_unread(&self) -> bool {
        self.standing().is_settled_but_unread()
    }

    /// The shards that no worker reads, as of the last scan of the table: their leases can be read, but no live worker has
    /// held them for two failover times, and this one is at its limit; or their rows cannot be used. Empty before the
    /// worker is running.
    #[must_use]
    pub fn unread(&self) -> Vec<Unread> {
        self.standing().unread()
    }

    /// The shards held now.
    #[cfg(test)]
    pub(super) fn held(&self) -> impl Iterator<Item = &crate::kinesis::shard::ShardId> {
        self.holdings.keys()
    }

    fn standing(&self) -> Standing<'_> {
        let Self { context, holdings, assignment, crosscheck, .. } = self;
        Standing { context, holdings, assignment, crosscheck }
    }

    /// Everything that is due without an event asking for it.
    fn advance(&mut self, now: Millis) {
        match self.context.phase {
            Phase::Stopped => return,
            Phase::Stopping => {}
            Phase::Starting | Phase::Running => {
                if now >= self.context.scan_at() && self.may_scan() {
                    self.reads.scan(&mut self.context, now);
                }
                self.bootstrap.send_writes(&mut self.context, now);
                self.holdings.renew_if_due(&self.context, now);
            }
        }
        self.holdings.send_writes(&mut self.context, now);
        let is_done = self.holdings.is_empty() && self.assignment.pending() == 0;
        if self.context.phase == Phase::Stopping && is_done {
            self.context.phase = Phase::Stopped;
            self.context.send(Action::Stopped);
        }
    }

    fn may_scan(&self) -> bool {
        self.reads.are_idle() && self.bootstrap.is_idle()
    }

    fn on_scanned(&mut self, now: Millis, result: Result<Scan, ServiceError>) {
        let Some(asked_at) = self.reads.scanned(&mut self.context, now, result) else { return };
        self.crosscheck.scanned(&mut self.context, &self.holdings);
        self.holdings.scanned(&mut self.context, asked_at);
        self.context.scan_by(next_scan::after_scan(&self.standing(), now, asked_at));
        match self.context.phase {
            Phase::Starting => self.list_missing(now),
            Phase::Running => {
                self.assignment.take_or_steal(&mut self.context, now, &self.holdings);
                self.start_ready(now);
                let is_clean = self.crosscheck.is_clean();
                if self.leader.scanned(&mut self.context, now, &self.holdings, &self.reads, is_clean) {
                    self.list_missing(now);
                }
                self.crosscheck.want_listing(&self.context, now);
                self.list_if_needed(self.holdings.needs_listing() || self.holdings.needs_another_listing());
                self.holdings.look_for_own_rows(&self.context);
                if !self.reads.is_listing() {
                    self.reads.succeeded();
                }
            }
            Phase::Stopping | Phase::Stopped => {}
        }
    }

    fn on_listed(&mut self, now: Millis, result: Result<Vec<Shard>, ServiceError>) {
        let (why, shards) = self.reads.listed(&mut self.context, now, result);
        let Some(shards) = shards else {
            self.holdings.listing_failed();
            return self.leader.listing_failed();
        };
        let Self { context, holdings, assignment, crosscheck, .. } = self;
        let is_mine = |key: &String| holdings.contains(key) || assignment.is_pending(key);
        crosscheck.listed(context, now, &shards, why != Some(Listing::Bootstrap), is_mine);
        match (self.context.phase, why) {
            (Phase::Running, Some(Listing::Running)) => {
                self.reads.succeeded();
                self.holdings.listed(&mut self.context, now, &shards);
                self.list_if_needed(self.holdings.needs_listing());
                let is_clean = self.crosscheck.is_clean();
                let missing_since = self.leader.listed(&mut self.context, now, &self.holdings, &shards, is_clean);
                if let Some(since) = missing_since.filter(|_| self.bootstrap.is_idle()) {
                    self.create_missing(now, Listing::Running, &shards, since);
                }
            }
            (Phase::Starting | Phase::Running, Some(why)) => self.create_missing(now, why, &shards, now),
            _ => {}
        }
    }

    fn on_written(&mut self, now: Millis, write: Write, result: Result<Outcome, ServiceError>) {
        let result = result.map(Outcome::without_flawed_row);
        if let Ok(Outcome::ConditionFailed(Some(row))) = &result {
            self.context.table.learn(now, row.clone());
            self.context.scan_by(next_scan::after_refusal(&self.standing(), now, row.owner.as_deref()));
        }
        match write {
            Write::Create(lease) => self.on_created(now, lease, result),
            Write::Restore(lease) if lease.owner.is_none() => self.on_created(now, lease, result),
            Write::Take { seen, .. } if !self.holdings.contains(&seen.key) => self.on_taken(now, seen, result),
            Write::HashRange { .. } => {}
            Write::Delete { key, .. } => Leader::deleted(&mut self.context, &key, &result),
            write => {
                if self.holdings.written(&mut self.context, now, write, result) {
                    // The children are known by this worker's own writes; the scan finds those of other parents.
                    self.assignment.take(&mut self.context, now, &self.holdings);
                    self.start_ready(now);
                    self.context.scan_by(now);
                }
            }
        }
    }

    fn on_taken(&mut self, now: Millis, seen: Lease, result: Result<Outcome, ServiceError>) {
        let acquired = self.assignment.answered(&mut self.context, now, seen, result);
        if acquired.is_some_and(|acquired| self.holdings.acquire(&mut self.context, now, acquired)) {
            self.start_ready(now);
        }
        if self.assignment.goes_on(&mut self.context, now) {
            self.assignment.take(&mut self.context, now, &self.holdings);
        }
    }

    /// The answer to the creation of a row: one that the table lacked, or a child of an ended shard.
    fn on_created(&mut self, now: Millis, lease: Lease, result: Result<Outcome, ServiceError>) {
        let context = &mut self.context;
        match result {
            Ok(outcome) => {
                if self.bootstrap.row_exists(context, now, &lease, &outcome) {
                    self.assignment.created_at_latest(lease.key.clone());
                }
                self.holdings.row_exists(&lease.key);
                if self.bootstrap.is_complete_with(context, now, &lease.key, outcome == Outcome::Done) {
                    self.rows_complete(now);
                }
            }
            Err(error) if error.kind.is_transient() => {
                self.holdings.creation_failed(context, now, &lease.key);
                self.bootstrap.creation_failed(context, now, lease);
            }
            Err(error) => {
                context.fail_by_table(error);
                self.holdings.creation_refused(context, &lease.key);
            }
        }
    }

    /// Starts the held shards whose parents are done.
    fn start_ready(&mut self, now: Millis) {
        if self.context.is_running() {
            let needs_certainty = self.holdings.start_ready(&mut self.context, now);
            self.reads.set_certainty(&mut self.context, now, needs_certainty);
        }
    }

    fn list_missing(&mut self, now: Millis) {
        if let Some((why, filter)) = Bootstrap::to_list(&mut self.context, now, self.reads.is_legible()) {
            self.reads.list(&mut self.context, why, filter);
        }
    }

    /// Lists the stream's shards when some ended shard needs them, to learn its children or because a merge child may
    /// not start yet, or when another machine does.
    fn list_if_needed(&mut self, by_holdings: bool) {
        let is_needed = by_holdings || self.leader.needs_listing() || self.crosscheck.needs_listing();
        if is_needed && !self.reads.is_listing() && self.context.is_running() {
            self.holdings.listing_asked();
            self.leader.listing_asked();
            self.crosscheck.listing_asked();
            self.reads.list(&mut self.context, Listing::Running, ShardFilter::All);
        }
    }

    fn create_missing(&mut self, now: Millis, why: Listing, shards: &[Shard], seen_since: Millis) {
        let Self { context, bootstrap, holdings, reads, .. } = self;
        match bootstrap.create_missing(context, now, holdings, (why, shards), seen_since) {
            Synced::Creating => {}
            Synced::Complete => self.rows_complete(now),
            Synced::Unusable(error) => reads.failed(context, now, error.kind, error.to_string()),
            Synced::Hopeless(error) => reads.failed_for_good(context, now, error.kind, error.to_string()),
        }
    }

    /// Every row that was missing is there: start-up is over. What this worker knows of the table by then is enough to
    /// take the first leases without another scan, which may not even show the new rows yet.
    fn rows_complete(&mut self, now: Millis) {
        if self.context.phase == Phase::Starting {
            self.context.phase = Phase::Running;
            self.reads.succeeded();
            self.assignment.take_or_steal(&mut self.context, now, &self.holdings);
        } else {
            self.assignment.take(&mut self.context, now, &self.holdings);
        }
    }
}
