//! The rollout and the run loop together, with a store of deployments and a lease table: versions are deployed, promoted
//! and taken back at any moment, bad ones reject, trap or do not start, and the process is killed at every step. What
//! holds all the time: a shard is processed by the version that is written down for it; its records are processed in
//! order; nothing is lost; and without kills and traps nothing is done twice.

mod process;
mod shard;

use std::collections::BTreeSet;

use crate::dice::{Dice, histories};
use crate::module::ModuleId;
use crate::rollout::{Deployment, Event, Manner, Settings, Wave};
use crate::time::Millis;
use process::{Ended, Process};
use shard::Shard;

const STEPS: u64 = 300;
/// Far more than any history needs to end.
const STEPS_MAX: u32 = 20_000;

#[test]
fn whenever_the_process_dies_each_shard_goes_on_with_its_version_and_nothing_is_lost() {
    histories(0..1_500, |seed| World::new(seed).play());
}

/// What outlives a process.
struct World {
    dice: Dice,
    now: Millis,
    stored: Deployment,
    shards: Vec<Shard>,
    /// A kill or a trap happened: what was not committed is done again.
    may_repeat: bool,
    settings: Settings,
    log: Vec<String>,
    versions: u64,
}

/// What is wrong with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Rejects,
    Traps,
    DoesNotStart,
}

fn fault(module: ModuleId) -> Fault {
    match module.label().strip_prefix('v').and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) % 6 {
        1 => Fault::Rejects,
        2 => Fault::Traps,
        3 => Fault::DoesNotStart,
        _ => Fault::None,
    }
}

/// What every history ends with.
fn last() -> Event {
    Event::Deploy { request: 0, module: ModuleId::labelled("v600"), how: Manner::Forced }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("stored {:#?}, last {:#?}", self.stored, &self.log[self.log.len().saturating_sub(60)..]);
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let waves = match dice.below(3) {
            0 => Vec::new(),
            1 => vec![Wave::Shards(1), Wave::Percent(50)],
            _ => vec![Wave::Percent(30)],
        };
        let shards = (0..=dice.below(4)).map(|index| Shard::new(index, 20 + dice.below(80))).collect();
        Self {
            dice,
            now: 1,
            stored: Deployment::first(ModuleId::labelled("v0")),
            shards,
            may_repeat: false,
            settings: Settings { is_canary: true, waves, bake: 500, keep_warm: 5_000 },
            log: Vec::new(),
            versions: 0,
        }
    }

    fn say(&mut self, text: String) {
        self.log.push(format!("{} {}", self.now, text.chars().take(200).collect::<String>()));
    }

    fn play(mut self) {
        let mut process = Process::start(&mut self);
        for _ in 0..self.dice.below(STEPS) {
            if self.dice.chance(2) {
                process = self.kill(process);
            }
            self.step(&mut process);
            if process.ended.is_some() {
                process = self.kill(process);
            }
        }
        self.wind_down(process);
        for shard in &self.shards {
            shard.assert_complete(self.may_repeat);
        }
    }

    /// The process dies; what it was writing may be written, or not. Another one takes its place.
    fn kill(&mut self, mut process: Process) -> Process {
        self.say("killed".to_owned());
        self.may_repeat |= process.ended != Some(Ended::Well);
        process.die(self);
        Process::start(self)
    }

    fn step(&mut self, process: &mut Process) {
        match self.dice.below(100) {
            0..90 => drop(process.progress(self)),
            90..93 => {
                self.versions += 1;
                let module = ModuleId::labelled(&format!("v{}", self.versions));
                let how = match self.dice.below(10) {
                    0 | 1 => Manner::Forced,
                    2 => Manner::All,
                    _ => Manner::Configured,
                };
                process.ask(self, Event::Deploy { request: self.versions, module, how });
            }
            93 => process.ask(self, Event::Promote { request: 0 }),
            94 => process.ask(self, Event::RollBack { request: 0, version: None }),
            95 => process.pause(self),
            96 => {
                let shard = self.dice.index(self.shards.len());
                process.lose(self, shard);
            }
            _ => {
                self.now += self.dice.below(300);
                process.tick(self);
            }
        }
    }

    /// A good version takes over, and everything is processed.
    fn wind_down(&mut self, mut process: Process) {
        process.resume(self);
        process.refused = false;
        process.ask(self, last());
        for _ in 0..STEPS_MAX {
            if process.ended.is_some() {
                process = self.kill(process);
                process.ask(self, last());
            }
            // A store that fails for long refuses.
            if std::mem::take(&mut process.refused) {
                process.ask(self, last());
            }
            if process.progress(self) {
                continue;
            }
            if self.shards.iter().all(Shard::is_complete) && self.stored.current.label() == "v600" {
                return process.assert_all_on("v600", self);
            }
            self.now = process.wake_at().min(self.now + 1_000);
            process.tick(self);
        }
        panic!("no end in sight");
    }

    /// Versions that may process a shard: the one that is written down.
    fn written_for(&self, shard: usize) -> BTreeSet<ModuleId> {
        BTreeSet::from([self.stored.module_of(&self.shards[shard].name)])
    }
}
