//! The scheduler: everything that happens is an entry of one queue, ordered by time.

use std::collections::BTreeMap;

use super::audit::Audit;
use super::node::{Life, Node};
use crate::dice::Dice;
use crate::leases::tests::model::{Services, Stream};
use crate::leases::tests::settings;
use crate::leases::tests::solo::failed;
use crate::leases::{Action, Cleanup, Event, Millis, Settings};
use crate::service::ErrorKind;
use crate::shard::ShardId;

/// Faults and reshards happen until here; then the world is calm.
const CALM_AT: Millis = 90_000;
/// By then everything is processed and sealed.
const DONE_BY: Millis = CALM_AT + 240_000;
/// And by then everybody has a fair share, at one stolen lease a cycle.
const BALANCED_WITHIN: Millis = 400_000;
const STEP: Millis = 700;
const EVENTS_AT_ONCE_MAX: u32 = 5_000;

enum Item {
    /// The time that a machine asked for.
    Wake(usize),
    /// A call reaches the service, and what becomes of it.
    Arrive {
        from: usize,
        call: Box<Action>,
        fate: Fate,
    },
    Answer {
        to: usize,
        event: Box<Event>,
    },
    /// A consumer looks for records.
    Step {
        node: usize,
        key: ShardId,
    },
    Chaos(Chaos),
}

#[derive(Clone, Copy)]
enum Fate {
    Served,
    /// The service refuses it.
    Refused(ErrorKind),
    /// Carried out, but the answer is lost.
    Lost,
}

#[derive(Clone, Copy)]
enum Chaos {
    Put,
    Reshard,
    Kill,
    /// A new worker; `true` for one that uses the name of one that is over.
    Join(bool),
    Pause,
    Stop,
    /// From here on nothing fails any more, and somebody is there to do the work.
    Calm,
}

pub(super) struct Sim {
    dice: Dice,
    now: Millis,
    queue: BTreeMap<(Millis, u64), Item>,
    queued: u64,
    services: Services,
    nodes: Vec<Node>,
    audit: Audit,
    fault_percent: u64,
    slow_percent: u64,
}

impl Sim {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let stream = Stream::with_past(&mut dice);
        let fault_percent = [0, 2, 10, 30][dice.index(4)];
        let slow_percent = [0, 0, 5][dice.index(3)];
        let mut sim = Self {
            dice,
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            services: Services::new(stream),
            nodes: Vec::new(),
            audit: Audit::default(),
            fault_percent,
            slow_percent,
        };
        sim.plan_chaos();
        sim
    }

    fn plan_chaos(&mut self) {
        self.push(0, Item::Chaos(Chaos::Join(false)));
        self.push(CALM_AT, Item::Chaos(Chaos::Calm));
        let kinds = [
            (30, Chaos::Put),
            (6, Chaos::Reshard),
            (2, Chaos::Kill),
            (2, Chaos::Join(false)),
            (2, Chaos::Join(true)),
            (2, Chaos::Pause),
            (1, Chaos::Stop),
        ];
        for (most, kind) in kinds {
            for _ in 0..=self.dice.below(most) {
                let when = self.dice.below(CALM_AT);
                self.push(when, Item::Chaos(kind));
            }
        }
    }

    pub(super) fn run(mut self) {
        let (mut instant, mut events) = (0, 0);
        while let Some(((when, _), item)) = self.queue.pop_first() {
            if when > CALM_AT && self.is_done() {
                self.push(when, item);
                return self.check_quiet();
            }
            assert!(when < DONE_BY, "not done: {}", self.describe());
            (instant, events) = if when == instant { (instant, events + 1) } else { (when, 0) };
            assert!(events < EVENTS_AT_ONCE_MAX, "time stands still");
            self.now = when;
            self.happen(item);
        }
        panic!("nothing is planned any more: {}", self.describe());
    }

    fn push(&mut self, when: Millis, item: Item) {
        self.queued += 1;
        self.queue.insert((when, self.queued), item);
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Wake(node) if self.is_paused(node) => {}
            Item::Wake(node) => {
                if !self.nodes[node].is_over() && self.nodes[node].next_wake <= self.now {
                    self.nodes[node].next_wake = Millis::MAX;
                    self.audit.ticked(node, self.now);
                    self.tell(node, Event::Tick);
                }
            }
            Item::Arrive { from, call, fate } => self.arrive(from, *call, fate),
            Item::Answer { to, event } if self.is_paused(to) => {
                self.push(self.nodes[to].paused_until, Item::Answer { to, event });
            }
            Item::Answer { to, event } => self.tell(to, *event),
            Item::Step { node, key } if self.is_paused(node) => {
                self.push(self.nodes[node].paused_until, Item::Step { node, key });
            }
            Item::Step { node, key } => self.step(node, key),
            Item::Chaos(chaos) => self.chaos(chaos),
        }
    }

    fn is_paused(&self, node: usize) -> bool {
        self.nodes[node].paused_until > self.now
    }

    /// Gives a machine an event and carries out what it wants.
    fn tell(&mut self, index: usize, event: Event) {
        if self.nodes[index].is_over() {
            return;
        }
        let actions = self.nodes[index].worker.on(self.now, event);
        for action in actions {
            self.act(index, action);
        }
        let node = &mut self.nodes[index];
        let wake = node.worker.wake_at().max(self.now);
        if !node.is_over() && wake < node.next_wake {
            node.next_wake = wake;
            self.push(wake, Item::Wake(index));
        }
    }

    fn act(&mut self, index: usize, action: Action) {
        let node = &mut self.nodes[index];
        let stream = &self.services.stream;
        match action {
            Action::Scan | Action::List(_) | Action::Write(_) => self.call(index, action),
            Action::Start { key, epoch, checkpoint, .. } => {
                self.audit.started(&self.services, &key, &checkpoint);
                node.start(stream, &key, epoch, &checkpoint);
                self.push(self.now, Item::Step { node: index, key });
            }
            Action::Revoke { key, epoch, .. } => node.revoke(&key, epoch),
            Action::Checkpointed { key, epoch, checkpoint, written } => {
                node.checkpointed(stream, &key, epoch, written.then_some(&checkpoint));
            }
            Action::ShardSealed { key, .. } => {
                assert!(self.services.table.is_at_end(&key), "{key} is called sealed");
                node.readings.remove(&key);
            }
            Action::Fail(reason) => panic!("{} gave up: {reason}", node.name),
            Action::Stopped => self.stopped(index),
        }
    }

    fn call(&mut self, from: usize, call: Action) {
        self.audit.called(from, self.now, self.services.stream.shards.len());
        let fate = match self.dice.below(100) {
            roll if roll >= self.fault_percent => Fate::Served,
            roll if roll % 3 == 0 => Fate::Refused(ErrorKind::Throttled),
            roll if roll % 3 == 1 => Fate::Refused(ErrorKind::Unavailable),
            _ => Fate::Lost,
        };
        let when = self.now + self.delay();
        self.push(when, Item::Arrive { from, call: Box::new(call), fate });
    }

    fn delay(&mut self) -> Millis {
        match self.dice.chance(self.slow_percent) {
            true => self.dice.below(15_000),
            false => self.dice.below(20),
        }
    }

    fn arrive(&mut self, from: usize, call: Action, fate: Fate) {
        let event = match fate {
            Fate::Refused(kind) => failed(call, kind),
            Fate::Served => self.serve(from, call),
            Fate::Lost => {
                self.serve(from, call.clone());
                failed(call, ErrorKind::Unavailable)
            }
        };
        let when = self.now + self.delay();
        self.push(when, Item::Answer { to: from, event: Box::new(event) });
    }

    fn serve(&mut self, from: usize, call: Action) -> Event {
        let Action::Write(write) = call else { return self.services.serve(&call) };
        let nodes = &self.nodes;
        let dead = |life: usize| nodes[life].is_over();
        let result = Ok(self.audit.write(&mut self.services, from, &nodes[from].name, dead, &write));
        Event::Written { write, result }
    }

    fn step(&mut self, index: usize, key: ShardId) {
        let node = &mut self.nodes[index];
        if node.life != Life::Alive || !node.readings.contains_key(&key) {
            return;
        }
        let (processed, events) = node.step(&self.services.stream, &key, &mut self.dice);
        self.audit.processed(&key, processed);
        for event in events {
            self.tell(index, event);
        }
        self.push(self.now + STEP, Item::Step { node: index, key });
    }

    /// A graceful stop leaves nothing behind, unless the machine said that it lost something meanwhile.
    fn stopped(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.life = Life::Over;
        if node.lost_while_stopping {
            return;
        }
        for key in &node.held {
            let owner = self.services.table.owner(key);
            assert_ne!(owner, Some(node.name.as_str()), "{} stopped and left {key} behind", node.name);
        }
        for (key, processed) in &node.left {
            let covered = self.services.stream.shards[key].covered_by(&self.services.table.row(key).checkpoint);
            assert!(covered >= *processed, "{} stopped and committed {covered} of {processed} of {key}", node.name);
        }
    }

    fn chaos(&mut self, chaos: Chaos) {
        let alive: Vec<usize> = (0..self.nodes.len()).filter(|&node| self.nodes[node].life == Life::Alive).collect();
        let victim = self.dice.pick(&alive).copied();
        let stream = &mut self.services.stream;
        match (chaos, victim) {
            (Chaos::Put, _) => {
                let open = stream.open_shards();
                let shard = self.dice.pick(&open).expect("a stream has open shards");
                stream.shards.get_mut(shard).unwrap().records += self.dice.below(100);
            }
            (Chaos::Reshard, _) => stream.reshard(&mut self.dice),
            (Chaos::Kill, Some(victim)) => self.nodes[victim].life = Life::Over,
            (Chaos::Pause, Some(victim)) => {
                self.nodes[victim].paused_until = self.now + self.dice.below(40_000);
                self.nodes[victim].next_wake = self.nodes[victim].paused_until;
                self.push(self.nodes[victim].paused_until, Item::Wake(victim));
            }
            (Chaos::Stop, Some(victim)) if !self.is_paused(victim) => {
                for event in self.nodes[victim].stop(&self.services.stream) {
                    self.tell(victim, event);
                }
            }
            (Chaos::Join(again), _) => self.join(again),
            (Chaos::Calm, victim) => {
                (self.fault_percent, self.slow_percent) = (0, 0);
                if victim.is_none() {
                    self.join(false);
                }
            }
            (Chaos::Kill | Chaos::Pause | Chaos::Stop, _) => {}
        }
    }

    fn join(&mut self, again: bool) {
        let running: Vec<&String> = self.nodes.iter().filter(|node| !node.is_over()).map(|node| &node.name).collect();
        let free = self.nodes.iter().filter(|node| !running.contains(&&node.name)).map(|node| node.name.clone());
        let names: Vec<String> = free.collect();
        let name = match self.dice.pick(&names) {
            Some(name) if again => name.clone(),
            _ => format!("w{}", self.nodes.len()),
        };
        let settings = Settings {
            max_leases_to_steal: 1 + self.dice.index(3),
            seed: self.dice.below(u64::MAX),
            audit_interval: 30_000,
            cleanup: self.dice.chance(80).then_some(Cleanup { completed: 30_000, garbage: 60_000 }),
            ..settings(&name)
        };
        self.nodes.push(Node::new(settings));
        self.tell(self.nodes.len() - 1, Event::Tick);
    }

    fn is_done(&self) -> bool {
        let Services { table, stream } = &self.services;
        stream.shards.values().all(|model| match table.rows.get(&model.shard.id) {
            Some(row) if model.shard.open => model.covered_by(&row.checkpoint) == model.records,
            Some(_) => table.is_at_end(&model.shard.id),
            None => self.audit.finished.contains(&model.shard.id),
        })
    }

    /// Once all is done and balanced, workers only renew, and look at the table at their pace.
    fn check_quiet(mut self) {
        let quiet_from = self.now + BALANCED_WITHIN;
        let until = quiet_from + 60_000;
        let mut calls: BTreeMap<(usize, &str), u64> = BTreeMap::new();
        while let Some(((when, _), item)) = self.queue.pop_first().filter(|((when, _), _)| *when < until) {
            self.now = when;
            if let (true, Item::Arrive { from, call, .. }) = (when > quiet_from, &item) {
                let kind = match call.as_ref() {
                    Action::Scan => "scan",
                    Action::List(_) => "list",
                    Action::Write(crate::leases::Write::Delete { .. }) => "delete",
                    Action::Write(crate::leases::Write::Renew { .. }) => "renew",
                    other => panic!("{other:?} in a quiet fleet"),
                };
                *calls.entry((*from, kind)).or_default() += 1;
            }
            self.happen(item);
        }
        for ((node, kind), count) in calls {
            let held = self.nodes[node].worker.held().count() as u64;
            let most = match kind {
                // Every 800 ms at most.
                "scan" => 76,
                // Children that nothing was written to keep their parents' rows, of which the leader asks the stream.
                "list" => 2,
                // A generation of finished shards a look.
                "delete" => 20,
                _ => 20 * held,
            };
            assert!(count <= most, "{count} {kind} calls a minute of a worker that holds {held} leases");
        }
        let alive = self.nodes.iter().filter(|node| node.life == Life::Alive);
        let loads: Vec<usize> = alive.map(|node| node.worker.held().count()).collect();
        let (least, most) = (loads.iter().min(), loads.iter().max());
        assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1), "out of balance: {loads:?}");
    }

    fn describe(&self) -> String {
        let rows = self.services.table.rows.values();
        let rows: Vec<String> =
            rows.map(|row| format!("{} {:?} {} {:?}", row.key, row.owner, row.checkpoint, row.parents)).collect();
        let shards = self.services.stream.shards.values();
        let shards: Vec<String> =
            shards.map(|model| format!("{} {} {:?}", model.shard.id, model.records, model.shard.parents)).collect();
        format!("rows {rows:#?}, shards {shards:#?}")
    }
}
