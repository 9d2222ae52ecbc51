//! A fleet of workers in simulated time: calls are delayed, fail before or after they happened, workers pause, die,
//! come back under their old name or stop, shards split and merge. An auditor sees every write and every action.

mod audit;
mod node;
mod sim;

use crate::dice::histories;
use sim::Sim;

#[test]
fn no_history_breaks_an_invariant_and_all_is_processed_in_the_end() {
    histories(0..2_000, |seed| Sim::new(seed).run());
}
