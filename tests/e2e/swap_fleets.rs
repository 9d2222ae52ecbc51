//! Fleets of one to three hosts that share what they know of a rollout. At random, hosts are killed, stopped and started,
//! versions are put into the task directory, promoted and rolled back, and one of them turns out bad. Whatever happens:
//! every record is accounted for, every shard was processed by the version that was written down, and the version that is
//! put there last runs alone in the end.
//!
//! A seed is a plan; what comes of it depends on the machine too. A failure names its seed. More, or chosen ones:
//!
//! ```text
//! SEEDS=0..200 cargo test -p shardmill --test e2e swap_fleets -- --nocapture
//! ```

use std::time::Duration;

use shardmill_tests::dice::{Dice, chosen};
use shardmill_tests::properties::Properties;

use crate::fleet::side_by_side;
use crate::swap_fleet::{SHARDS, SwapFleet, Version};

/// Seeds of a run that chooses none.
const SEEDS: std::ops::Range<u64> = 0..6;
/// Fleets at the same time.
const AT_ONCE: usize = 3;
/// Things that happen to one fleet.
const STEPS: usize = 20;
/// The longest time between two of them.
const REST_MAX: u64 = 600;
const HOSTS_MAX: usize = 3;
/// Turns out bad where the file of that name is.
const BAD: &str = "v3";

/// A fleet and what is planned for it.
struct Chaos {
    swaps: SwapFleet,
    dice: Dice,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let is_canary = dice.chance(60);
        let bake = dice.below(800).to_string();
        let set = |properties: Properties| {
            let properties = Version::new(BAD).order(properties, "process", "if bad trap");
            if !is_canary {
                return properties;
            }
            let properties = properties.set("task.rollout", "canary").set("task.rollout.waves", "1,50%");
            properties.set("task.rollout.bake.ms", &bake)
        };
        Self { swaps: SwapFleet::new(&format!("SEEDS={seed}"), set), dice }
    }

    fn play(mut self) {
        let first = self.swaps.start(&[]);
        self.swaps.processes_of(&first, &Version::new("v1"), SHARDS as usize);
        self.swaps.start(&[]);
        for _ in 0..STEPS {
            match self.dice.below(100) {
                0..20 => self.kill(),
                20..28 => self.stop(),
                28..45 => self.start(),
                45..75 => self.put(),
                75..83 => self.tell(&["promote", "echo"]),
                83..91 => self.tell(&["rollback", "echo"]),
                _ => self.turn_bad(),
            }
            // Not a wait for anything: the next thing happens then.
            std::thread::sleep(Duration::from_millis(self.dice.below(REST_MAX)));
        }
        let last = Version::new("v5");
        self.swaps.put(&last);
        if self.swaps.fleet.living().is_empty() {
            self.swaps.start(&[]);
        }
        self.swaps.alone(&last);
        self.swaps.processes(&last, SHARDS as usize);
        self.swaps.finish();
    }

    fn any(&mut self) -> Option<String> {
        let living = self.swaps.fleet.living();
        self.dice.pick(&living).cloned()
    }

    fn kill(&mut self) {
        let Some(run) = self.any() else { return };
        self.swaps.crash(&run);
        if self.dice.chance(50) {
            // A supervisor starts it again at once, under its name.
            let worker = self.swaps.fleet.worker(&run);
            self.swaps.start_with(&worker, &[], &[]);
        }
    }

    fn stop(&mut self) {
        if let Some(run) = self.any() {
            self.swaps.stop(&run);
        }
    }

    fn start(&mut self) {
        if self.swaps.fleet.living().len() < HOSTS_MAX {
            self.swaps.start(&[]);
        }
    }

    fn put(&mut self) {
        let name = ["v1", "v2", BAD, "v4"][self.dice.index(4)];
        self.swaps.put(&Version::new(name));
    }

    fn tell(&self, args: &[&str]) {
        // There may be nobody to hear it, or nothing to do.
        drop(self.swaps.tell(args));
    }

    /// While it is on its way: there is a version before it.
    fn turn_bad(&mut self) {
        let deployment = self.swaps.deployment();
        if deployment.and_then(|deployment| deployment.candidate).is_some_and(|it| it.module == Version::new(BAD).id) {
            self.swaps.fleet.living().iter().for_each(|run| self.swaps.shut(run, "bad"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_versions_change_loses_nothing_and_runs_what_is_written() {
    side_by_side(AT_ONCE, chosen().unwrap_or(SEEDS).collect(), |seed| Chaos::new(seed).play());
}
