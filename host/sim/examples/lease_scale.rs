//! A fleet of many workers on one table of many shards, in simulated time with the real lease machine: how long it takes
//! to share them, what that costs in calls, and what the machine itself needs.
//!
//! `cargo run --release -p shardmill-sim --example lease_scale -- 10000 1000`

#![allow(clippy::print_stdout, reason = "it is what this is for")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use shardmill_core::kinesis::shard::{HashRange, Shard, ShardId};
use shardmill_core::leases::{Action, Cleanup, Event, Lease, Outcome, Scan, Settings, Worker, Write};
use shardmill_core::position::InitialPosition;
use shardmill_core::time::Millis;

const START: Millis = 1_700_000_000_000;
const FAILOVER: Millis = 10_000;
/// Workers start one after the other, as a roll-out starts them.
const STARTS_APART: Millis = 10;
/// A write to a row, a page of a scan and a page of a listing take so long.
const WRITE: Millis = 10;
const PAGE: Millis = 60;
/// Rows in a megabyte, which is a page.
const ROWS_A_PAGE: usize = 2_500;
const ROW_BYTES: usize = 400;
const SHARDS_A_PAGE: usize = 1_000;
/// Writes of a worker on their way at a time, as in the host.
const WRITES_MAX: usize = 20;
/// Nothing is measured for longer than that.
const PHASE_MAX: Millis = 1_200_000;
const STEADY: Millis = 60_000;

enum What {
    Tick,
    /// A write reaches the table.
    Write(Box<Write>),
    Answer(Box<Event>),
}

struct Node {
    worker: Worker,
    waiting: Vec<Write>,
    under_way: usize,
    wake_at: Millis,
}

#[derive(Default)]
struct Costs {
    calls: BTreeMap<&'static str, u64>,
    refused: u64,
    read_units: u64,
    machine: Duration,
    slowest: Duration,
    busiest_second: (Millis, u64, u64),
}

struct Fleet {
    now: Millis,
    queue: BinaryHeap<Reverse<(Millis, u64, usize)>>,
    items: HashMap<u64, What>,
    order: u64,
    rows: BTreeMap<ShardId, Lease>,
    shards: Vec<Shard>,
    nodes: Vec<Option<Node>>,
    loads: HashMap<String, usize>,
    costs: Costs,
}

fn main() {
    let mut numbers =
        std::env::args().skip(1).map(|text| text.parse::<usize>().expect("numbers of shards and workers"));
    let (shards, workers) = (numbers.next().unwrap_or(10_000), numbers.next().unwrap_or(1_000));
    let mut fleet = Fleet::of(shards);
    println!("{shards} shards, {workers} workers, failover time {FAILOVER} ms");
    for _ in 0..workers {
        fleet.join();
    }
    fleet.report("start on an empty table until every lease is held", |fleet| fleet.free() == 0);
    fleet.report("until nobody has more than one lease more than another", |fleet| fleet.spread() <= 1);
    fleet.settle(3 * FAILOVER);
    fleet.steady("steady state");
    let killed = workers / 10;
    (0..killed).for_each(|worker| fleet.nodes[worker] = None);
    let gone: Vec<String> = (0..killed).map(name).collect();
    let is_gone = |fleet: &Fleet| gone.iter().all(|worker| fleet.loads.get(worker).is_none_or(|load| *load == 0));
    fleet.report("after a tenth of the workers died, until their leases are held by others", is_gone);
    fleet.report("and shared", |fleet| fleet.spread() <= 1);
    (0..killed).for_each(|_| fleet.join());
    fleet.report("after as many joined, until all have a fair share", |fleet| fleet.spread() <= 1);
    fleet.steady("steady state again");
    println!("memory at most {} MB", peak_memory_kb() / 1_024);
}

fn name(worker: usize) -> String {
    format!("job-1-lines-{worker:04}-7f3c2a1e-0000-4000-8000-000000000000")
}

impl Fleet {
    fn of(shards: usize) -> Self {
        let width = u128::MAX / shards as u128;
        let shard = |index: usize| Shard {
            id: format!("shardId-{index:012}"),
            parents: Vec::new(),
            hash_range: HashRange {
                start: width * index as u128,
                end: if index + 1 == shards { u128::MAX } else { width * (index as u128 + 1) - 1 },
            },
            starting_sequence: format!("4959{index:052}"),
            open: true,
        };
        Self {
            now: START,
            queue: BinaryHeap::new(),
            items: HashMap::new(),
            order: 0,
            rows: BTreeMap::new(),
            shards: (0..shards).map(shard).collect(),
            nodes: Vec::new(),
            loads: HashMap::new(),
            costs: Costs::default(),
        }
    }

    fn join(&mut self) {
        let index = self.nodes.len();
        let settings = Settings {
            table: "leases".to_owned(),
            worker: name(index),
            failover: FAILOVER,
            initial_position: InitialPosition::TrimHorizon,
            max_leases: usize::MAX,
            max_leases_to_steal: 1,
            parent_poll: 10_000,
            audit_interval: 120_000,
            audit_confidence: 3,
            shard_sync_interval: None,
            cleanup: Some(Cleanup { completed: 300_000, garbage: 1_800_000 }),
            ignore_unexpected_children: false,
            seed: index as u64,
        };
        let worker = Worker::new(settings);
        self.nodes.push(Some(Node { worker, waiting: Vec::new(), under_way: 0, wake_at: Millis::MAX }));
        self.loads.insert(name(index), 0);
        self.wake(index, self.now + STARTS_APART * (index as Millis % 1_000));
    }

    fn push(&mut self, when: Millis, node: usize, what: What) {
        self.order += 1;
        self.items.insert(self.order, what);
        self.queue.push(Reverse((when, self.order, node)));
    }

    fn wake(&mut self, node: usize, when: Millis) {
        if let Some(node_state) = self.nodes[node].as_mut().filter(|state| when < state.wake_at) {
            node_state.wake_at = when;
            self.push(when, node, What::Tick);
        }
    }

    /// Lets one thing happen.
    fn step(&mut self) {
        let Reverse((when, order, node)) = self.queue.pop().expect("a fleet never rests");
        self.now = when;
        match self.items.remove(&order).expect("each entry has its item") {
            What::Tick => {
                let Some(state) = self.nodes[node].as_mut().filter(|state| state.wake_at == when) else { return };
                state.wake_at = Millis::MAX;
                self.tell(node, Event::Tick);
            }
            What::Write(write) => {
                let outcome = self.write(&write);
                self.push(
                    when + WRITE / 2,
                    node,
                    What::Answer(Box::new(Event::Written { write: *write, result: Ok(outcome) })),
                );
            }
            What::Answer(event) => {
                if let (Event::Written { .. }, Some(state)) = (event.as_ref(), &mut self.nodes[node]) {
                    state.under_way -= 1;
                }
                self.tell(node, *event);
            }
        }
    }

    fn tell(&mut self, node: usize, event: Event) {
        let Some(state) = &mut self.nodes[node] else { return };
        let began = Instant::now();
        let actions = state.worker.on(self.now, event);
        let wake_at = state.worker.wake_at().max(self.now + 1);
        let took = began.elapsed();
        self.costs.machine += took;
        self.costs.slowest = self.costs.slowest.max(took);
        for action in actions {
            self.act(node, action);
        }
        self.send_writes(node);
        self.wake(node, wake_at);
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Scan | Action::ScanConsistently => {
                let leases: Vec<Lease> = self.rows.values().cloned().collect();
                self.costs.read_units += (leases.len() * ROW_BYTES).div_ceil(8_192) as u64;
                let took = PAGE * (leases.len() / ROWS_A_PAGE + 1) as Millis;
                self.count("scans");
                let scan = Scan { leases, ..Scan::default() };
                self.push(self.now + took, node, What::Answer(Box::new(Event::Scanned(Ok(scan)))));
            }
            Action::List(_) => {
                self.count("listings");
                let took = PAGE * (self.shards.len() / SHARDS_A_PAGE + 1) as Millis;
                let shards = self.shards.clone();
                self.push(self.now + took, node, What::Answer(Box::new(Event::Listed(Ok(shards)))));
            }
            Action::Write(write) => {
                if let Some(state) = &mut self.nodes[node] {
                    state.waiting.push(write);
                }
            }
            Action::Fail(reason) => println!("worker {node} gave up: {reason}"),
            _ => {}
        }
    }

    fn send_writes(&mut self, node: usize) {
        let Some(state) = &mut self.nodes[node] else { return };
        let sent = state.waiting.len().min(WRITES_MAX - state.under_way);
        state.under_way += sent;
        let writes: Vec<Write> = state.waiting.drain(..sent).collect();
        for write in writes {
            self.push(self.now + WRITE / 2, node, What::Write(Box::new(write)));
        }
    }

    fn write(&mut self, write: &Write) -> Outcome {
        self.count(match write {
            Write::Create(_) => "creations",
            Write::Take { .. } => "takes",
            Write::Renew { .. } => "renewals",
            _ => "other writes",
        });
        let before = self.rows.get(write.key());
        let Some(after) = write.applied_to(before) else {
            self.costs.refused += 1;
            return Outcome::ConditionFailed(before.cloned());
        };
        let old = before.and_then(|row| row.owner.clone());
        let new = after.as_ref().and_then(|row| row.owner.clone());
        if old != new {
            old.into_iter().for_each(|owner| *self.loads.entry(owner).or_default() -= 1);
            new.into_iter().for_each(|owner| *self.loads.entry(owner).or_default() += 1);
        }
        match after {
            Some(row) => drop(self.rows.insert(row.key.clone(), row)),
            None => drop(self.rows.remove(write.key())),
        }
        Outcome::Done
    }

    fn count(&mut self, what: &'static str) {
        *self.costs.calls.entry(what).or_default() += 1;
        let (second, count, most) = &mut self.costs.busiest_second;
        if *second != self.now / 1_000 {
            (*second, *count) = (self.now / 1_000, 0);
        }
        *count += 1;
        *most = (*most).max(*count);
    }

    /// Leases that nobody holds; all of them before the table is filled.
    fn free(&self) -> usize {
        self.shards.len() - self.loads.values().sum::<usize>()
    }

    fn spread(&self) -> usize {
        let living = (0..self.nodes.len()).filter(|&node| self.nodes[node].is_some());
        let loads: Vec<usize> = living.map(|node| self.loads[&name(node)]).collect();
        loads.iter().max().copied().unwrap_or_default() - loads.iter().min().copied().unwrap_or_default()
    }

    /// Runs until `done`, looking once in a simulated second, and tells what it took.
    fn report(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        self.costs = Costs::default();
        let (began, started) = (self.now, Instant::now());
        let mut look_at = self.now;
        while self.now < began + PHASE_MAX {
            self.step();
            if self.now >= look_at {
                look_at = self.now + 1_000;
                if done(self) {
                    break;
                }
            }
        }
        self.tell_costs(what, began, started);
    }

    fn settle(&mut self, time: Millis) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    fn steady(&mut self, what: &str) {
        self.costs = Costs::default();
        let (began, started) = (self.now, Instant::now());
        self.settle(STEADY);
        self.tell_costs(what, began, started);
    }

    fn tell_costs(&self, what: &str, began: Millis, started: Instant) {
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let seconds = (self.now - began).max(1) as f64 / 1_000.0;
        let Costs { calls, refused, read_units, machine, slowest, busiest_second } = &self.costs;
        println!("\n{what}: {seconds:.1} s, {:.1} cycles of the protocol", seconds * 1_000.0 / 20_050.0);
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let rates = calls.iter().map(|(kind, count)| format!("{kind} {count} ({:.1}/s)", *count as f64 / seconds));
        println!("  calls: {}", rates.collect::<Vec<_>>().join(", "));
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let units = *read_units as f64 / seconds;
        println!("  at most {} calls a second, {refused} writes refused, {units:.0} read units/s", busiest_second.2);
        println!("  loads spread by {}, {} free", self.spread(), self.free());
        println!(
            "  the machines took {:.1} s of {:.1} s, {:.1} ms at most at a time; memory {} MB",
            machine.as_secs_f64(),
            started.elapsed().as_secs_f64(),
            slowest.as_secs_f64() * 1_000.0,
            memory_kb("VmRSS") / 1_024
        );
    }
}

fn peak_memory_kb() -> u64 {
    memory_kb("VmHWM")
}

/// What the system says of this process's memory; 0 where it says nothing.
fn memory_kb(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}
