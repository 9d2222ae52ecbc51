//! Who goes on when a process dies, stops or freezes, and when. The times are printed, not judged: only what the
//! protocol itself promises is asserted.
//!
//! ```text
//! FAILOVER_MS=10000 cargo test -p shardmill --test e2e take_over:: -- --nocapture
//! ```

#![allow(clippy::print_stderr, reason = "measurements are told to whoever looks at them")]

use std::time::{Duration, Instant};

use shardmill_tests::account::Account;
use shardmill_tests::process::Signal;
use shardmill_tests::wait::until_blocking;

use crate::fleet::{Fleet, blocking};

/// As the environment says, to measure with; else short.
fn failover() -> Duration {
    let wanted = std::env::var("FAILOVER_MS").ok().map(|text| text.parse().expect("FAILOVER_MS is a number"));
    Duration::from_millis(wanted.unwrap_or(1_500))
}

/// The last renewal of a lease by its first holder, as far as can be told from outside, however seldom one looks.
#[derive(Default)]
struct Renewal {
    holder: Option<String>,
    counter: Option<u64>,
    looked: Option<Instant>,
    /// When it had not been yet.
    after: Option<Instant>,
}

impl Renewal {
    /// Whether a renewal has been seen so far.
    fn look(&mut self, fleet: &Fleet, shard: &str) -> bool {
        let now = Instant::now();
        let row = fleet.rows().into_iter().find(|row| row.key == shard).expect("the row of an open shard");
        let holder = self.holder.get_or_insert_with(|| row.owner.clone().expect("it is held"));
        if row.owner.as_ref() == Some(holder) {
            if self.counter.is_some_and(|counter| counter != row.counter) {
                self.after = self.looked;
            }
            self.counter = Some(row.counter);
            self.looked = Some(now);
        }
        self.after.is_some()
    }
}

/// Two processes with two shards each.
fn two_at_work(title: &str) -> Fleet {
    let mut fleet =
        Fleet::new(title, Account::new(), 4, failover(), |properties| properties.kcl("MaxLeasesToStealAtOneTime", "2"));
    fleet.start();
    fleet.start();
    until_blocking("each has its share", || {
        [0, 1].iter().all(|run| fleet.held(&format!("run-{run}")).len() == 2).then_some(())
    });
    fleet.all_at_work();
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_process_is_succeeded_when_its_time_is_over_and_not_before() {
    blocking(|| {
        let mut fleet = two_at_work("killed");
        let shard = fleet.held("run-0").swap_remove(0);
        let mut renewal = Renewal::default();
        until_blocking("it is renewed", || renewal.look(&fleet, &shard).then_some(()));
        fleet.crash("run-0");
        let begin = Instant::now();
        until_blocking("its lease is taken", || {
            renewal.look(&fleet, &shard);
            fleet.held("run-1").contains(&shard).then_some(())
        });
        // Whoever takes it has seen the last renewal, which was after this moment, and waited from then on.
        let since = renewal.after.expect("one was seen").elapsed();
        assert!(since >= failover(), "a lease was taken from its holder after {since:?}, before its time was over");
        fleet.taken_over_within("run-0", &shard);
        let took = begin.elapsed();
        eprintln!("kill -9 to the successor's first record: {took:?} at failoverTimeMillis={}", failover().as_millis());
        fleet.finish();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stops_is_succeeded_without_waiting_for_its_time() {
    blocking(|| {
        let mut fleet = two_at_work("stopped");
        let shard = fleet.held("run-0").swap_remove(0);
        let begin = Instant::now();
        fleet.member("run-0").signal(Signal::Terminate);
        fleet.taken_over_within("run-0", &shard);
        eprintln!("SIGTERM to the successor's first record: {:?}", begin.elapsed());
        fleet.stopped("run-0");
        fleet.finish();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_frozen_for_too_long_finds_its_leases_gone_and_goes_on() {
    blocking(|| {
        let mut fleet = two_at_work("frozen");
        fleet.member("run-0").signal(Signal::Stop);
        let all_by_the_other = || (fleet.held("run-1").len() == 4).then_some(());
        until_blocking("its leases are taken", all_by_the_other);
        fleet.member("run-0").signal(Signal::Continue);
        // Between the two takings of its leases it checkpointed nothing: the account at the end tells.
        until_blocking("it gets its share again", || (fleet.held("run-0").len() == 2).then_some(()));
        fleet.all_at_work();
        fleet.finish();
    });
}
