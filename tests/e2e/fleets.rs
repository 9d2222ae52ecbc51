//! Fleets of two to five processes whose members are killed, stopped, paused and started at random, while shards are
//! split and merged and both services make trouble. Whatever happens: every record is accounted for in the end.
//!
//! A seed is a plan; what comes of it depends on the machine too. A failure names its seed. More, or chosen ones:
//!
//! ```text
//! SEEDS=0..200 cargo test -p shardmill --test e2e fleets:: -- --nocapture
//! ```

use std::time::{Duration, Instant};

use shardmill_local::model::ErrorKind;
use shardmill_local::{Fault, FaultAction, Options};
use shardmill_tests::account::Account;
use shardmill_tests::dice::{Dice, chosen};
use shardmill_tests::process::Signal;
use shardmill_tests::properties::Properties;

use crate::fleet::{Fleet, side_by_side};

const FAILOVER: Duration = Duration::from_millis(800);
/// Seeds of a run that chooses none.
const SEEDS: std::ops::Range<u64> = 0..4;
/// Fleets at the same time.
const AT_ONCE: usize = 4;
/// Things that happen to one fleet.
const STEPS: usize = 25;
/// The longest time between two of them.
const REST_MAX: u64 = 500;
const MEMBERS_MAX: usize = 5;
const SHARDS_MAX: usize = 8;

/// A fleet and what is planned for it.
struct Chaos {
    fleet: Fleet,
    dice: Dice,
    /// Until when, and who.
    paused: Vec<(Instant, String)>,
}

impl Chaos {
    fn new(seed: u64, set: fn(Properties) -> Properties) -> Self {
        let mut dice = Dice::new(seed);
        let subscription_life = Duration::from_millis(700);
        let account = Account::with(Options { limits: false, subscription_life, ..Options::default() });
        let (shards, cleanup) = (1 + dice.index(4), dice.chance(50));
        let fleet = Fleet::new(&format!("SEEDS={seed}"), account, shards as u32, FAILOVER, |properties| {
            let properties = set(properties).kcl("CleanupLeasesUponShardCompletion", &cleanup.to_string());
            properties.kcl("CompletedLeaseCleanupThresholdMillis", "500")
        });
        Self { fleet, dice, paused: Vec::new() }
    }

    fn play(mut self) {
        self.start();
        self.start();
        for _ in 0..STEPS {
            let step = self.dice.below(100);
            match step {
                0..15 => self.kill(),
                15..25 => self.stop(),
                25..35 => self.pause(),
                35..55 => self.start(),
                55..65 => self.split(),
                65..75 => self.merge(),
                75..90 => self.trouble_dynamodb(),
                _ => self.trouble_kinesis(),
            }
            // Not a wait for anything: the next thing happens then.
            std::thread::sleep(Duration::from_millis(self.dice.below(REST_MAX)));
            self.go_on_with_paused(Instant::now());
        }
        if let Some(latest) = self.paused.iter().map(|(until, _)| *until).max() {
            std::thread::sleep(latest.saturating_duration_since(Instant::now()));
            self.go_on_with_paused(latest);
        }
        self.fleet.account.faults().clear();
        self.fleet.account.dynamodb_faults().clear();
        self.fleet.finish();
    }

    /// One that is not paused.
    fn any(&mut self) -> Option<String> {
        let mut living = self.fleet.living();
        living.retain(|run| self.paused.iter().all(|(_, paused)| paused != run));
        self.dice.pick(&living).cloned()
    }

    fn kill(&mut self) {
        let Some(run) = self.any() else { return };
        self.fleet.crash(&run);
        if self.dice.chance(30) {
            // A supervisor starts it again at once, under its name.
            let worker = self.fleet.worker(&run);
            self.fleet.start_as(&worker);
        }
    }

    fn stop(&mut self) {
        if let Some(run) = self.any() {
            self.fleet.stop(&run);
        }
    }

    /// For longer than anybody waits for a renewal.
    fn pause(&mut self) {
        let Some(run) = self.any() else { return };
        self.fleet.member(&run).signal(Signal::Stop);
        let until = Instant::now() + FAILOVER * 2 + Duration::from_millis(self.dice.below(1_000));
        self.paused.push((until, run));
    }

    fn go_on_with_paused(&mut self, now: Instant) {
        let (over, paused): (Vec<_>, Vec<_>) = self.paused.drain(..).partition(|(until, _)| *until <= now);
        self.paused = paused;
        for (_, run) in over {
            self.fleet.member(&run).signal(Signal::Continue);
        }
    }

    fn start(&mut self) {
        if self.fleet.living().len() < MEMBERS_MAX {
            self.fleet.start();
        }
    }

    fn split(&mut self) {
        let open = self.fleet.open_shards();
        if let Some(shard) = self.dice.pick(&open).filter(|_| open.len() < SHARDS_MAX) {
            self.fleet.kinesis().split_shard_evenly("lines", &shard.shard_id).unwrap();
        }
    }

    fn merge(&mut self) {
        let open = self.fleet.open_shards();
        let pairs: Vec<_> = open.windows(2).collect();
        if let Some([a, b]) = self.dice.pick(&pairs) {
            self.fleet.kinesis().merge_shards("lines", &a.shard_id, &b.shard_id).unwrap();
        }
    }

    fn trouble(&mut self, operations: &[&str], errors: &[ErrorKind]) -> Fault {
        let action = match self.dice.below(5) {
            0 | 1 => FaultAction::Error(*self.dice.pick(errors).expect("there are some")),
            2 => FaultAction::LoseRequest,
            3 => FaultAction::LoseReply,
            _ => FaultAction::Latency(Duration::from_millis(self.dice.below(1_500))),
        };
        let operation = self.dice.pick(operations).expect("there are some");
        let (skip, times) = (self.dice.below(10) as u32, 1 + self.dice.below(8) as u32);
        Fault::new(action).operation(operation).skip(skip).times(times)
    }

    fn trouble_dynamodb(&mut self) {
        let errors = [ErrorKind::ProvisionedThroughputExceeded, ErrorKind::InternalFailure];
        let fault = self.trouble(&["UpdateItem", "UpdateItem", "PutItem", "DeleteItem", "Scan"], &errors);
        self.fleet.account.dynamodb_faults().inject(fault);
    }

    fn trouble_kinesis(&mut self) {
        let errors = [ErrorKind::ProvisionedThroughputExceeded, ErrorKind::LimitExceeded, ErrorKind::InternalFailure];
        let operations = ["GetRecords", "GetShardIterator", "ListShards", "SubscribeToShard"];
        let fault = self.trouble(&operations, &errors);
        self.fleet.account.faults().inject(fault);
    }
}

fn play(default: std::ops::Range<u64>, set: fn(Properties) -> Properties) {
    let seeds = chosen().unwrap_or(default);
    side_by_side(AT_ONCE, seeds.collect(), |seed| Chaos::new(seed, set).play());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_in_trouble_loses_nothing() {
    play(SEEDS, |properties| properties);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_in_trouble_loses_nothing_by_fan_out() {
    play(SEEDS, |properties| properties.kcl("RetrievalMode", "FANOUT"));
}
