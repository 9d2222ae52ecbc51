//! Histories of the whole consumer. `SEEDS=17` or `SEEDS=0..5000` plays chosen ones.

use shardmill_sim::play;
use shardmill_testkit::dice::histories;

#[test]
fn no_history_loses_reorders_or_overtakes_anything() {
    histories(0..3_000, |seed| {
        if let Err(what) = play(seed, None) {
            panic!("{what}");
        }
    });
}
