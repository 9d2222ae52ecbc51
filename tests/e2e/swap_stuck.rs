//! A version that is stuck in a call is replaced all the same, and what it was at is done by the next one.

use shardmill_tests::wait::until_blocking;

use crate::fleet::blocking;
use crate::swap_fleet::{SHARDS, SwapFleet, Version};

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_stuck_in_a_call_is_replaced() {
    blocking(|| {
        // A call may last ten minutes; a rollout does not wait for that.
        let mut swaps = SwapFleet::new("stuck in a call", |properties| properties.set("task.rollout.drain.ms", "500"));
        let run = swaps.start(&["call"]);
        swaps.processes(&Version::new("v1"), SHARDS as usize);
        swaps.put_record("stuck", "gate call");
        swaps.reached(&run, "call");
        swaps.put(&Version::new("v2"));
        swaps.alone(&Version::new("v2"));
        until_blocking("the call is ended", || swaps.fleet.log(&run).contains("a call failed").then_some(()));
        swaps.open(&run, "call");
        swaps.processes(&Version::new("v2"), SHARDS as usize);
        swaps.finish();
    });
}
