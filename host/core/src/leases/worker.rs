//! The lease machine of one worker and one stream: it bootstraps the table, takes, renews, checkpoints and releases
//! leases, and gates children behind their parents. Pure: `on(now, event)` returns what the shell must do next; the
//! shell answers each action with an event. Times are milliseconds on any monotonic clock.
//!
//! | phase | leaves when |
//! |---|---|
//! | `Starting` | the table has been read (and filled, when it was empty or incomplete) |
//! | `Running` | `Event::Stop`, or a failure that no retry can mend |
//! | `Stopping` | every held lease is released (or was lost) |
//! | `Stopped` | never |

use std::collections::{BTreeMap, BTreeSet};

use super::held::{Held, Op};
use super::row::{Lease, Outcome, Scan, Write};
use super::sync;
use super::table::Table;
use crate::position::{Checkpoint, InitialPosition};
use crate::service::{ErrorKind, ServiceError};
use crate::shard::{ChildShard, Shard, ShardFilter, ShardId};

/// Milliseconds on a monotonic clock.
pub type Millis = u64;

/// Tells two holdings of the same lease apart: grows with every acquisition of this worker.
pub type Epoch = u64;

/// How often a start-up step is tried before the job fails (the Kinesis Client Library's `maxInitializationAttempts`).
pub const START_ATTEMPTS_MAX: u32 = 20;
/// Renewals start this long before a third of the failover time has passed (the Kinesis Client Library's epsilon).
const EPSILON: Millis = 25;
/// First and longest wait before a failed call is tried again.
const RETRY_MIN: Millis = 100;
const RETRY_MAX: Millis = 5_000;
/// How soon a merge child whose second parent has no lease yet is looked at again.
const AWAITED_PARENT_POLL: Millis = 1_000;

/// What a worker is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The value that goes into `leaseOwner`; unique among the workers of a table.
    pub worker: String,
    /// A lease whose counter did not change for this long is anybody's.
    pub failover: Millis,
    pub initial_position: InitialPosition,
    pub max_leases: usize,
    /// How often a child looks whether its parents are done.
    pub parent_poll: Millis,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passed; see [`Worker::wake_at`].
    Tick,
    Scanned(Result<Scan, ServiceError>),
    Listed(Result<Vec<Shard>, ServiceError>),
    Written {
        write: Write,
        result: Result<Outcome, ServiceError>,
    },
    /// Everything up to `checkpoint` is committed.
    Checkpoint {
        key: ShardId,
        epoch: Epoch,
        checkpoint: Checkpoint,
    },
    /// The shard is read and committed to its end. No children means that the reader was not told of any.
    ShardEnded {
        key: ShardId,
        epoch: Epoch,
        children: Vec<ChildShard>,
    },
    /// Release everything. All that can be committed has been.
    Stop,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Scan,
    List(ShardFilter),
    Write(Write),
    /// Read the shard from its checkpoint on.
    Start {
        key: ShardId,
        epoch: Epoch,
        checkpoint: Checkpoint,
    },
    /// Stop reading the shard and drop what is in flight: somebody else may own it now.
    Revoke {
        key: ShardId,
        epoch: Epoch,
    },
    /// The answer to [`Event::Checkpoint`]; `false` when the lease was lost before.
    Checkpointed {
        key: ShardId,
        epoch: Epoch,
        checkpoint: Checkpoint,
        written: bool,
    },
    /// The answer to [`Event::ShardEnded`]: the children's leases exist and the shard's is at SHARD_END.
    ShardSealed {
        key: ShardId,
        epoch: Epoch,
    },
    /// The job cannot go on.
    Fail(String),
    /// Nothing is held any more.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping,
    Stopped,
}

/// Why shards are being listed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Listing {
    Bootstrap,
    Complete,
    Children,
}

/// The machine; see the module documentation.
pub struct Worker {
    settings: Settings,
    phase: Phase,
    table: Table,
    held: BTreeMap<ShardId, Held>,
    /// Rows on their way into the table at start-up.
    creating: BTreeSet<ShardId>,
    /// Take and create writes on their way, by key.
    taking: BTreeSet<ShardId>,
    scanning: bool,
    listing: Option<Listing>,
    failures: u32,
    epochs: Epoch,
    scan_at: Millis,
    renew_at: Millis,
    actions: Vec<Action>,
}

impl Worker {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Starting,
            table: Table::default(),
            held: BTreeMap::new(),
            creating: BTreeSet::new(),
            taking: BTreeSet::new(),
            scanning: false,
            listing: None,
            failures: 0,
            epochs: 0,
            scan_at: 0,
            renew_at: 0,
            actions: Vec::new(),
        }
    }

    /// Takes in one event and returns what to do now, in order.
    pub fn on(&mut self, now: Millis, event: Event) -> Vec<Action> {
        match event {
            Event::Tick => {}
            Event::Scanned(result) => self.scanned(now, result),
            Event::Listed(result) => self.listed(now, result),
            Event::Written { write, result } => self.written(now, write, result),
            Event::Checkpoint { key, epoch, checkpoint } => self.checkpoint(key, epoch, checkpoint),
            Event::ShardEnded { key, epoch, children } => self.shard_ended(&key, epoch, children),
            Event::Stop => self.stop(),
        }
        self.advance(now);
        std::mem::take(&mut self.actions)
    }

    /// When the next [`Event::Tick`] is due at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Millis {
        let retries = self.held.values().filter_map(|held| held.retry_at);
        let timers = match self.phase {
            Phase::Stopped => return Millis::MAX,
            Phase::Stopping => Some(self.renew_at),
            Phase::Starting | Phase::Running if self.may_scan() => Some(self.renew_at.min(self.scan_at)),
            Phase::Starting | Phase::Running => Some(self.renew_at),
        };
        retries.chain(timers).min().unwrap_or(Millis::MAX)
    }

    /// The shards held now and what is committed of each; for status output.
    pub fn held(&self) -> impl Iterator<Item = (&ShardId, &Checkpoint)> {
        self.held.iter().map(|(key, held)| (key, &held.lease.checkpoint))
    }

    /// Whether this worker reads everything that it may hold now: nothing is free, being taken, waiting for a parent or
    /// being sealed.
    #[must_use]
    pub fn is_settled(&self, now: Millis) -> bool {
        let reading = |held: &Held| held.started && !held.is_ending();
        let free = self.table.available(now, &self.settings);
        let all_taken = free.iter().all(|lease| self.held.contains_key(&lease.key));
        self.phase == Phase::Running
            && self.taking.is_empty()
            && self.held.values().all(reading)
            && (all_taken || self.held.len() >= self.settings.max_leases)
    }

    fn may_scan(&self) -> bool {
        !self.scanning && self.listing.is_none() && self.creating.is_empty()
    }

    fn renew_interval(&self) -> Millis {
        (self.settings.failover / 3).saturating_sub(EPSILON).max(1)
    }

    fn take_interval(&self) -> Millis {
        2 * (self.settings.failover + EPSILON)
    }

    /// Everything that is due without an event asking for it.
    fn advance(&mut self, now: Millis) {
        match self.phase {
            Phase::Stopped => return,
            Phase::Starting | Phase::Running => {
                if now >= self.scan_at && self.may_scan() {
                    self.scanning = true;
                    self.actions.push(Action::Scan);
                }
            }
            Phase::Stopping => {}
        }
        self.drop_expired(now);
        let renew = now >= self.renew_at;
        if renew {
            self.renew_at = now + self.renew_interval();
        }
        for held in self.held.values_mut() {
            held.renew_due |= renew;
            if let Some(write) = held.next_write(now, self.phase == Phase::Stopping, &self.settings.worker) {
                self.actions.push(Action::Write(write));
            }
        }
        if self.phase == Phase::Stopping && self.held.is_empty() && self.taking.is_empty() {
            self.phase = Phase::Stopped;
            self.actions.push(Action::Stopped);
        }
    }

    fn scanned(&mut self, now: Millis, result: Result<Scan, ServiceError>) {
        self.scanning = false;
        let scan = match result {
            Ok(scan) => scan,
            Err(error) => return self.call_failed(now, &error),
        };
        self.table.replace(now, scan.leases);
        self.scan_at = now + self.take_interval();
        match self.phase {
            Phase::Starting if self.table.is_empty() => {
                self.list(Listing::Bootstrap, sync::bootstrap_filter(self.settings.initial_position));
            }
            Phase::Starting => self.list(Listing::Complete, ShardFilter::All),
            Phase::Running => {
                self.failures = 0;
                self.take(now);
                self.start_ready(now);
                self.list_for_children();
            }
            Phase::Stopping | Phase::Stopped => {}
        }
    }

    fn list(&mut self, why: Listing, filter: ShardFilter) {
        self.listing = Some(why);
        self.actions.push(Action::List(filter));
    }

    /// Some ended shard needs the stream's shards: to learn its children, or because a merge child may not start yet.
    fn list_for_children(&mut self) {
        if self.listing.is_none() && self.held.values().any(Held::needs_listing) {
            self.list(Listing::Children, ShardFilter::All);
        }
    }

    fn listed(&mut self, now: Millis, result: Result<Vec<Shard>, ServiceError>) {
        let why = self.listing.take();
        let shards = match result {
            Ok(shards) => shards,
            Err(error) => return self.call_failed(now, &error),
        };
        match why {
            Some(Listing::Bootstrap) => self.bootstrap(now, &shards),
            Some(Listing::Complete) => {
                let initial = self.settings.initial_position;
                let missing = sync::missing_leases(&shards, &self.table.leases(), initial);
                self.create(now, missing);
            }
            Some(Listing::Children) => {
                let known = self.table.keys();
                for held in self.held.values_mut() {
                    held.listed(now + AWAITED_PARENT_POLL, &known, &shards);
                }
                if self.held.values().any(Held::awaits_parent) {
                    self.scan_at = self.scan_at.min(now + AWAITED_PARENT_POLL);
                }
            }
            None => {}
        }
    }

    fn bootstrap(&mut self, now: Millis, shards: &[Shard]) {
        if let Some(hole) = sync::hash_range_hole(shards) {
            let message =
                format!("the {} shards listed leave hash keys {}..={} uncovered", shards.len(), hole.start, hole.end);
            let error = ServiceError { kind: ErrorKind::Unavailable, operation: "ListShards", message };
            return self.call_failed(now, &error);
        }
        let checkpoint = self.settings.initial_position.checkpoint();
        let leases = shards.iter().map(|shard| sync::new_lease(shard, checkpoint.clone())).collect();
        self.create(now, leases);
    }

    fn create(&mut self, now: Millis, leases: Vec<Lease>) {
        self.creating = leases.iter().map(|lease| lease.key.clone()).collect();
        self.actions.extend(leases.into_iter().map(|lease| Action::Write(Write::Create(lease))));
        self.finish_start(now);
    }

    /// Start-up is over once every missing row is there; then the first leases are taken from a fresh scan.
    fn finish_start(&mut self, now: Millis) {
        if self.phase == Phase::Starting && self.creating.is_empty() {
            self.phase = Phase::Running;
            self.failures = 0;
            self.scan_at = now;
        }
    }

    /// A scan or a listing failed: try again later, give up when a person must act or start-up does not get anywhere.
    fn call_failed(&mut self, now: Millis, error: &ServiceError) {
        self.failures += 1;
        let give_up = self.phase == Phase::Starting && self.failures >= START_ATTEMPTS_MAX;
        if give_up || !error.kind.is_transient() {
            return self.fail(error.to_string());
        }
        self.scan_at = now + backoff(self.failures);
    }

    fn fail(&mut self, reason: String) {
        if matches!(self.phase, Phase::Starting | Phase::Running) {
            self.actions.push(Action::Fail(reason));
        }
    }

    /// Takes what nobody holds, up to a fair share of all leases.
    fn take(&mut self, now: Millis) {
        let mine = self.held.len() + self.taking.len();
        let wanted = self.table.fair_share(now, &self.settings, mine).saturating_sub(mine);
        let free = self.table.available(now, &self.settings);
        let candidates = free.into_iter().filter(|lease| !self.held.contains_key(&lease.key));
        let chosen: Vec<Lease> =
            candidates.filter(|lease| !self.taking.contains(&lease.key)).take(wanted).cloned().collect();
        for seen in chosen {
            self.taking.insert(seen.key.clone());
            self.actions.push(Action::Write(Write::Take { seen, worker: self.settings.worker.clone() }));
        }
    }

    fn written(&mut self, now: Millis, write: Write, result: Result<Outcome, ServiceError>) {
        match write {
            Write::Create(lease) => self.created(now, lease, result),
            Write::Take { seen, .. } => self.taken(now, seen, result),
            Write::Renew { ref key, .. }
            | Write::Evict { ref key, .. }
            | Write::Checkpoint { ref key, .. }
            | Write::Children { ref key, .. } => {
                let key = key.clone();
                let Some(held) = self.held.get_mut(&key) else {
                    return;
                };
                match held.settle(now, write, result, &self.settings.worker) {
                    Op::Kept => {}
                    Op::Checkpointed(checkpoint) => {
                        let epoch = held.epoch;
                        self.actions.push(Action::Checkpointed { key, epoch, checkpoint, written: true });
                    }
                    Op::Sealed => {
                        self.table.set_checkpoint(&key, Checkpoint::ShardEnd);
                        self.actions.push(Action::ShardSealed { key, epoch: held.epoch });
                        self.start_ready(now);
                        self.scan_at = now;
                    }
                    Op::Released => drop(self.held.remove(&key)),
                    Op::Lost => self.lose(&key),
                    Op::Broken(reason) => self.fail(format!("lease {key}: {reason}")),
                }
            }
        }
    }

    fn created(&mut self, now: Millis, lease: Lease, result: Result<Outcome, ServiceError>) {
        match result {
            Ok(_) => {
                self.creating.remove(&lease.key);
                self.table.insert_new(lease.clone());
                for held in self.held.values_mut() {
                    held.child_exists(&lease.key);
                }
                self.finish_start(now);
            }
            Err(error) if error.kind.is_transient() => {
                let parent = self.held.values_mut().find(|held| held.is_creating(&lease.key));
                self.failures += 1;
                if let Some(held) = parent {
                    held.child_failed(&lease.key, now + backoff(self.failures));
                } else if self.failures >= START_ATTEMPTS_MAX {
                    self.fail(error.to_string());
                } else {
                    self.actions.push(Action::Write(Write::Create(lease)));
                }
            }
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn taken(&mut self, now: Millis, seen: Lease, result: Result<Outcome, ServiceError>) {
        self.taking.remove(&seen.key);
        let lost_reply =
            |row: &Lease| row.owner.as_ref() == Some(&self.settings.worker) && row.counter == seen.counter + 1;
        let mine = match &result {
            Ok(Outcome::Done) => true,
            Ok(Outcome::ConditionFailed(row)) => row.as_ref().is_some_and(lost_reply),
            Err(_) => false,
        };
        match result {
            _ if mine => {
                self.epochs += 1;
                let lease = Lease {
                    owner: Some(self.settings.worker.clone()),
                    counter: seen.counter + 1,
                    checkpoint_owner: None,
                    ..seen
                };
                self.table.insert(now, lease.clone());
                self.held.insert(lease.key.clone(), Held::new(lease, self.epochs, now));
                self.start_ready(now);
            }
            Err(error) if error.kind.is_transient() => self.scan_at = self.scan_at.min(now + RETRY_MIN),
            Err(error) => self.fail(error.to_string()),
            // Another worker was faster; the next cycle sees who.
            Ok(_) => {}
        }
    }

    /// Starts the held shards whose parents are done.
    fn start_ready(&mut self, now: Millis) {
        if self.phase != Phase::Running {
            return;
        }
        for held in self.held.values_mut().filter(|held| held.waits_to_start()) {
            if self.table.unfinished_parents(&held.lease).next().is_some() {
                self.scan_at = self.scan_at.min(now + self.settings.parent_poll);
                continue;
            }
            held.started = true;
            self.actions.push(Action::Start {
                key: held.lease.key.clone(),
                epoch: held.epoch,
                checkpoint: held.lease.checkpoint.clone(),
            });
        }
    }

    fn checkpoint(&mut self, key: ShardId, epoch: Epoch, checkpoint: Checkpoint) {
        match self.held.get_mut(&key).filter(|held| held.epoch == epoch) {
            Some(held) => held.want_checkpoint(checkpoint),
            None => self.actions.push(Action::Checkpointed { key, epoch, checkpoint, written: false }),
        }
    }

    fn shard_ended(&mut self, key: &ShardId, epoch: Epoch, children: Vec<ChildShard>) {
        let known = self.table.keys();
        if let Some(held) = self.held.get_mut(key).filter(|held| held.epoch == epoch) {
            held.end(children, &known);
            self.list_for_children();
        }
    }

    fn stop(&mut self) {
        if self.phase != Phase::Stopped {
            self.phase = Phase::Stopping;
        }
    }

    fn drop_expired(&mut self, now: Millis) {
        let failover = self.settings.failover;
        let expired = |held: &&Held| now.saturating_sub(held.renewed_at) > failover;
        let keys: Vec<ShardId> = self.held.values().filter(expired).map(|held| held.lease.key.clone()).collect();
        keys.iter().for_each(|key| self.lose(key));
    }

    fn lose(&mut self, key: &ShardId) {
        let Some(held) = self.held.remove(key) else {
            return;
        };
        let (key, epoch) = (key.clone(), held.epoch);
        if let Some(checkpoint) = held.wanted_checkpoint() {
            self.actions.push(Action::Checkpointed { key: key.clone(), epoch, checkpoint, written: false });
        }
        self.actions.push(Action::Revoke { key, epoch });
    }
}

/// The wait before attempt `failures + 1`: doubling, bounded.
pub(super) fn backoff(failures: u32) -> Millis {
    (RETRY_MIN << failures.saturating_sub(1).min(10)).min(RETRY_MAX)
}
