//! The versions of the simulated job: what the hosts share of their deployment, and what is wrong with a version.

use shardmill_core::module::ModuleId;
use shardmill_core::rollout::{Deployment, Outcome, WriteError};
use shardmill_core::run_loop::FailureClass;

use crate::dice::Dice;

/// What is wrong with a version, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Its `init` fails.
    DoesNotStart,
    /// Many of its calls trap.
    Traps,
}

pub(crate) struct Versions {
    /// What is written down.
    pub(crate) deployment: Deployment,
    newest: u64,
    /// Nothing is wrong with any version any more.
    pub(crate) is_calm: bool,
    pub(crate) take_overs: u64,
    pub(crate) roll_backs: u64,
    pub(crate) waves: u64,
}

fn module(number: u64) -> ModuleId {
    let mut sha256 = [0; 32];
    sha256[..8].copy_from_slice(&number.to_be_bytes());
    ModuleId::of_sha256(sha256)
}

fn fault(module: ModuleId) -> Fault {
    let number = module.sha256()[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    match number % 6 {
        2 => Fault::DoesNotStart,
        4 => Fault::Traps,
        _ => Fault::None,
    }
}

impl Default for Versions {
    fn default() -> Self {
        let deployment = Deployment::first(module(0));
        Self { deployment, newest: 0, is_calm: false, take_overs: 0, roll_backs: 0, waves: 0 }
    }
}

impl Versions {
    /// A version to deploy: mostly a new one, now and then one that was there before.
    pub(crate) fn pick(&mut self, dice: &mut Dice) -> ModuleId {
        if dice.chance(30) {
            return module(dice.below(self.newest + 1));
        }
        self.newest += 1;
        module(self.newest)
    }

    pub(crate) fn start(&self, dice: &mut Dice, module: ModuleId) -> Result<(), String> {
        let fails = !self.is_calm && fault(module) == Fault::DoesNotStart && dice.chance(70);
        if fails { Err("simulated".to_owned()) } else { Ok(()) }
    }

    pub(crate) fn fails(&self, dice: &mut Dice, module: ModuleId) -> Option<FailureClass> {
        (!self.is_calm && fault(module) == Fault::Traps && dice.chance(30)).then_some(FailureClass::Trap)
    }

    /// Writes what comes after what is written.
    pub(crate) fn write(&mut self, dice: &mut Dice, next: Deployment, by_force: bool) -> Result<(), WriteError> {
        if !self.is_calm && dice.chance(10) {
            return Err(WriteError::Failed("simulated".to_owned()));
        }
        if next.revision != self.deployment.revision + 1 && !by_force {
            return Err(WriteError::Changed(Box::new(self.deployment.clone())));
        }
        self.deployment = next;
        Ok(())
    }

    pub(crate) fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Wave { .. } => self.waves += 1,
            Outcome::TookOver { .. } => self.take_overs += 1,
            Outcome::RolledBack { .. } => self.roll_backs += 1,
            Outcome::NotWarm { .. } | Outcome::Unwritten { .. } => {}
        }
    }
}
