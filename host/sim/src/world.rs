//! One history: the services, the nodes, and everything that happens to them in the order of time.

use shardmill_core::coordinator::{self, TaskId};
use shardmill_core::grouper::Partition;
use shardmill_core::kinesis::polling;
use shardmill_core::leases::{self, Cleanup};
use shardmill_core::position::{InitialPosition, Latest};
use shardmill_core::rollout::{self, Wave};
use shardmill_core::run_loop::{self, Retry};
use shardmill_core::time::Millis;

use crate::audit::Audit;
use crate::chaos::CHAOS;
use crate::clock::Clock;
use crate::dice::Dice;
use crate::kinesis::{Kinesis, RETENTION};
use crate::network::Network;
use crate::node::{Node, Settings};
use crate::outside::Outside;
use crate::queue::{Item, Queue};
use crate::quiet::Quiet;
use crate::table::LeaseTable;
use crate::tasks::TaskFaults;
use crate::trace::Trace;
use crate::versions::Versions;

/// When the stream was created.
const CREATED: Millis = 1_700_000_000_000;
/// Between two looks whether all is done.
const LOOK: Millis = 500;
/// After the chaos everything is processed, committed and sealed within this time.
const DONE_WITHIN: Millis = 240_000;
/// Within this time every host of the job has seen a change of its deployment.
const FOLLOW: Millis = 1_500;
const EVENTS_AT_ONCE_MAX: u32 = 5_000;

/// What a node may do wrong on purpose, to show that the audit notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Outputs are called durable before they are.
    CheckpointsBeforeFlush,
    /// A reader drops a record now and then.
    SkipsRecords,
    /// A reader drops what it got with the end of a shard.
    EndsEarly,
    /// Leases are written whatever their counter is.
    WritesUnconditionally,
    /// Nothing is stolen from a worker that has too much.
    NeverSteals,
    /// The lease table is read all the time.
    ScansTooOften,
    /// A deleted row is put back at its shard's first record, whatever was committed.
    RestoresAtTheStart,
    /// A row that is for no shard is written to.
    TouchesForeignRows,
    /// The fleet may hold one lease less than there are open shards.
    LimitTooSmall,
    /// A deployment is written whatever another host wrote meanwhile.
    OverwritesDeployments,
}

/// Three tasks: the shards are dealt out by their numbers.
fn by_last_digit(partition: Partition<'_>) -> TaskId {
    TaskId(partition.shard.bytes().last().map_or(0, |digit| u32::from(digit) % 3))
}

/// What a history was made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Things that happened.
    pub events: u64,
    /// User records put.
    pub records: usize,
    /// Records that were processed more than once, counted each time.
    pub repeats: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Processes that ever were.
    pub nodes: usize,
    /// Shards that ever were.
    pub shards: usize,
    /// Versions that took over, began a wave, or were rolled back, as each node saw it.
    pub take_overs: u64,
    pub waves: u64,
    pub roll_backs: u64,
    /// How long it took, in simulated milliseconds.
    pub took: u64,
}

pub(crate) struct World {
    pub(crate) out: Outside,
    pub(crate) nodes: Vec<Node>,
    pub(crate) initial: InitialPosition,
    pub(crate) failover: Millis,
    /// How many leases a worker may hold, in a history of workers at their limits.
    pub(crate) limit: Option<usize>,
    pub(crate) flaw: Option<Flaw>,
    /// How many tasks the job has, on every host.
    tasks: u32,
    rollout: rollout::Settings,
    events: u64,
    /// From when on the fleet should be quiet; known once all is done.
    pub(crate) quiet: Option<Quiet>,
}

impl World {
    pub(crate) fn new(seed: u64, flaw: Option<Flaw>, trace: Trace) -> Self {
        let mut dice = Dice::new(seed);
        let iterator_ttl = [300_000, 300_000, 4_000][dice.index(3)];
        let kinesis = Kinesis::new(CREATED, 1 + u32::try_from(dice.below(4)).expect("small"), iterator_ttl);
        let out = Outside {
            now: CREATED,
            queue: Queue::default(),
            kinesis,
            table: LeaseTable::new([0, 100, 1_400][dice.index(3)]),
            network: Network::any(&mut dice, CREATED),
            task: TaskFaults::any(&mut dice),
            versions: Versions::default(),
            audit: Audit::default(),
            trace,
            dice,
        };
        let mut world = Self {
            out,
            nodes: Vec::new(),
            initial: InitialPosition::TrimHorizon,
            failover: 10_000,
            limit: None,
            flaw,
            tasks: 1,
            rollout: rollout::Settings { is_canary: false, waves: Vec::new(), bake: 5_000, keep_warm: 20_000 },
            events: 0,
            quiet: None,
        };
        world.begin();
        world
    }

    /// A stream with a past, of which retention may be about to forget the oldest records and shards.
    fn begin(&mut self) {
        let out = &mut self.out;
        self.failover = [10_000, 3_000][out.dice.index(2)];
        let is_limited = out.dice.chance(30) || self.flaw == Some(Flaw::LimitTooSmall);
        self.limit = is_limited.then(|| 1 + out.dice.index(4));
        self.tasks = [1, 3][out.dice.index(2)];
        self.rollout.is_canary = out.dice.chance(50);
        self.rollout.waves = vec![Wave::Shards(1), Wave::Percent(50)];
        out.note_shards();
        let began = out.now + out.dice.below(60_000);
        self.initial = match out.dice.below(10) {
            0..6 => InitialPosition::TrimHorizon,
            6..8 => InitialPosition::AtTimestamp(began),
            _ => InitialPosition::Latest,
        };
        if let InitialPosition::AtTimestamp(since) = self.initial {
            out.audit.truth.since = since;
        }
        for _ in 0..out.dice.below(7) {
            out.now += out.dice.below(20_000);
            out.put(40);
            out.now += 1 + out.dice.below(20_000);
            out.reshard();
        }
        out.put(40);
        let past = out.now - CREATED;
        out.now = CREATED
            + if out.dice.chance(20) { RETENTION + out.dice.below(past + 1) - CHAOS / 2 } else { 2 * past + 60_000 };
        out.trace.started = out.now;
        let takes_over = self.initial == InitialPosition::TrimHorizon && out.dice.chance(30);
        out.plan_chaos();
        if takes_over {
            self.take_over();
        }
        self.leave_foreign_rows();
    }

    /// Plays the history to its end. Says what went wrong, if anything did.
    pub(crate) fn run(&mut self) -> Result<Report, String> {
        let started = self.out.now;
        let (mut instant, mut at_once) = (0, 0);
        while let Some((when, item)) = self.out.queue.pop() {
            (instant, at_once) = if when == instant { (instant, at_once + 1) } else { (when, 0) };
            self.out.audit.require(at_once < EVENTS_AT_ONCE_MAX, || "time stands still".to_owned());
            self.out.now = when;
            self.events += 1;
            self.happen(item);
            if let Some(violation) = self.out.audit.violation() {
                return Err(violation.to_owned());
            }
            if self.quiet.as_ref().is_some_and(|quiet| quiet.is_over(when)) {
                self.check_quiet()?;
                return Ok(self.report(started));
            }
            if self.quiet.is_none() && when >= started + CHAOS + DONE_WITHIN {
                let missing = self.out.audit.unfinished(when, &self.out.table).or_else(|| self.unheld());
                return Err(format!("not done in time: {}", missing.unwrap_or_default()));
            }
        }
        Err("nothing is planned any more".to_owned())
    }

    fn report(&self, started: Millis) -> Report {
        let audit = &self.out.audit;
        Report {
            events: self.events,
            records: audit.truth.records.len(),
            repeats: audit.repeats,
            checkpoints: audit.checkpoints,
            nodes: self.nodes.len(),
            shards: audit.truth.shards.len(),
            take_overs: self.out.versions.take_overs,
            waves: self.out.versions.waves,
            roll_backs: self.out.versions.roll_backs,
            took: self.out.now - started,
        }
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Step(node, part) => match self.paused_until(node) {
                Some(until) => self.out.queue.push(until, Item::Step(node, part)),
                None => self.nodes[node].step(&mut self.out, part),
            },
            Item::Arrive(caller, call, fate) => self.arrive(caller, call, fate),
            Item::Answer(caller, answer) => match self.paused_until(caller.node) {
                Some(until) => self.out.queue.push(until, Item::Answer(caller, answer)),
                None => self.nodes[caller.node].answered(&mut self.out, caller, answer),
            },
            Item::Chaos(chaos) => self.befall(chaos),
            Item::DeploymentChanged => self.deployment_changed(),
            Item::Follow(node) => match self.paused_until(node) {
                Some(until) => self.out.queue.push(until, Item::Follow(node)),
                None if self.nodes[node].is_alive() => self.nodes[node].follow(&mut self.out),
                None => {}
            },
            Item::Look => self.look(),
        }
    }

    /// The other hosts of the job look at what they share once a second.
    fn deployment_changed(&mut self) {
        for node in 0..self.nodes.len() {
            let when = self.out.now + self.out.dice.below(FOLLOW);
            self.out.queue.push(when, Item::Follow(node));
        }
    }

    fn paused_until(&self, node: usize) -> Option<Millis> {
        Some(self.nodes[node].paused_until).filter(|until| *until > self.out.now)
    }

    /// Somebody is there to do the work, until it is done.
    fn look(&mut self) {
        if self.nodes.iter().all(Node::is_over) {
            self.join(false);
        }
        self.join_to_the_limit();
        let now = self.out.now;
        let is_steady = self.nodes.iter().all(|node| node.is_over() || node.is_alive());
        let is_done = self.out.audit.unfinished(now, &self.out.table).is_none() && self.unheld().is_none();
        if is_steady && is_done {
            self.quiet = Some(Quiet::after(now, self.failover));
        } else {
            self.out.queue.push(now + LOOK, Item::Look);
        }
    }

    /// An open shard that nobody reads, if there is one.
    fn unheld(&self) -> Option<String> {
        let is_alive = |name: &str| self.nodes.iter().any(|node| node.is_alive() && node.name == name);
        let is_held = |id: &str| {
            let owner = self.out.table.rows.get(id).and_then(|row| row.owner.as_deref());
            owner.is_some_and(is_alive)
        };
        let unheld = self.out.audit.truth.shards.iter().find(|shard| shard.open && !is_held(&shard.id))?;
        Some(format!("nobody reads {}", unheld.id))
    }

    pub(crate) fn join(&mut self, again: bool) {
        let is_running = |name: &String| self.nodes.iter().any(|node| !node.is_over() && node.name == *name);
        let free = self.nodes.iter().map(|node| &node.name).filter(|name| !is_running(name));
        let names: Vec<String> = free.cloned().collect();
        let name = match self.out.dice.pick(&names) {
            Some(name) if again => name.clone(),
            _ => format!("w{}", self.nodes.len()),
        };
        let id = self.nodes.len();
        let settings = self.settings(name);
        let dice = &mut self.out.dice;
        let most = if self.initial == InitialPosition::Latest { 2_000 } else { 600_000 };
        let ahead = i64::try_from(dice.below(2 * most)).expect("small") - i64::try_from(most).expect("small");
        let clock = Clock::new(self.out.now, ahead, dice.below(2_000));
        self.out.trace.say(self.out.now, || format!("{} joins as life {id}", settings.leases.worker));
        self.nodes.push(Node::start(&mut self.out, id, clock, settings));
    }

    /// In a history of workers at their limits there are as many of them that all open shards can be read, and not one
    /// lease more, unless more were there before.
    fn join_to_the_limit(&mut self) {
        while let Some(limit) = self.limit {
            let open = self.out.audit.truth.shards.iter().filter(|shard| shard.open).count();
            let open = open - usize::from(self.flaw == Some(Flaw::LimitTooSmall));
            let alive = self.nodes.iter().filter(|node| node.is_alive());
            let missing = open.saturating_sub(alive.map(|node| node.max_leases()).sum());
            if missing == 0 {
                return;
            }
            self.limit = Some(limit.min(missing));
            self.join(false);
            self.limit = Some(limit);
        }
    }

    fn settings(&mut self, worker: String) -> Settings {
        let dice = &mut self.out.dice;
        let initial_position = self.initial;
        let steals = 1 + dice.index(3);
        Settings {
            leases: leases::Settings {
                table: "table".to_owned(),
                worker,
                failover: self.failover,
                initial_position,
                max_leases: self.limit.unwrap_or(usize::MAX),
                max_leases_to_steal: if self.flaw == Some(Flaw::NeverSteals) { 0 } else { steals },
                parent_poll: 10_000,
                seed: dice.below(u64::MAX),
                audit_interval: 30_000,
                audit_confidence: 3,
                shard_sync_interval: None,
                cleanup: dice.chance(80).then_some(Cleanup { completed: 30_000, garbage: 60_000 }),
                ignore_unexpected_children: false,
            },
            reader: polling::Settings {
                initial_position,
                latest: Latest::Next,
                max_records: [3, 100][dice.index(2)],
                idle: [1_000, 5_000][dice.index(2)],
                max_unprocessed_bytes: 1 << 20,
                max_unprocessed_records: [5, 200][dice.index(2)],
                seed: 0,
            },
            is_fan_out: dice.chance(30),
            run_loop: run_loop::Settings {
                call_max_records: 1 + dice.index(40),
                call_max_bytes: 1 << 16,
                commit_interval: Some(200 + dice.below(5_000)),
                retry: Retry { max_attempts: 3, backoff: 100, backoff_max: 2_000 },
            },
            coordinator: coordinator::Settings {
                inputs: vec![("kinesis".to_owned(), "stream".to_owned())],
                tasks: self.tasks,
                task_of: if self.tasks == 1 { |_| TaskId(0) } else { by_last_digit },
                shutdown_timeout: 5_000 + dice.below(60_000),
                drain: 100 + dice.below(5_000),
                rollout: self.rollout.clone(),
            },
            is_batch_task: dice.chance(50),
            flaw: self.flaw,
        }
    }
}
