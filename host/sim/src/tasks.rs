//! How the simulated tasks behave: how long a call and a flush take, and what goes wrong in them.

use shardmill_core::run_loop::FailureClass;
use shardmill_core::time::Millis;

use crate::dice::Dice;

/// A very slow call: longer than a lease lasts.
const STUCK_MAX: Millis = 25_000;

#[derive(Clone, Copy, Default)]
pub(crate) struct TaskFaults {
    /// Calls of a thousand that fail by themselves.
    fails: u64,
    traps: u64,
    stuck: u64,
    flush_fails: u64,
    slow: Millis,
}

impl TaskFaults {
    pub(crate) fn any(dice: &mut Dice) -> Self {
        Self {
            fails: [0, 5, 50][dice.index(3)],
            traps: [0, 0, 5][dice.index(3)],
            stuck: [0, 0, 4][dice.index(3)],
            flush_fails: [0, 0, 10][dice.index(3)],
            slow: [0, 20, 500][dice.index(3)],
        }
    }

    pub(crate) fn call(&self, dice: &mut Dice) -> Millis {
        if dice.below(1_000) < self.stuck {
            return 1 + dice.below(STUCK_MAX);
        }
        1 + dice.below(3 + self.slow)
    }

    pub(crate) fn flush(&self, dice: &mut Dice) -> Millis {
        if dice.below(1_000) < self.stuck {
            return 1 + dice.below(STUCK_MAX);
        }
        1 + dice.below(10 + self.slow)
    }

    pub(crate) fn fails(&self, dice: &mut Dice) -> Option<FailureClass> {
        match dice.below(1_000) {
            roll if roll < self.traps => Some(FailureClass::Trap),
            roll if roll < self.traps + self.fails => Some(FailureClass::Other),
            _ => None,
        }
    }

    pub(crate) fn flush_fails(&self, dice: &mut Dice) -> bool {
        dice.below(1_000) < self.flush_fails
    }

    pub(crate) fn commits(&self, dice: &mut Dice) -> bool {
        dice.chance(5)
    }
}
