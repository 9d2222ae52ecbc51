//! A version is replaced while outputs cannot be made durable. A process may write no byte more into its files, as on a
//! full disk: what the old version sent last cannot be flushed, so nothing of it is committed.

use std::fs;

use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until_blocking;

use crate::fleet::blocking;
use crate::process::run_on_full_disks;
use crate::swap_fleet::{SHARDS, SwapFleet, Version};

/// The old version stops at the gate `goodbye` in its `before-stop`.
fn settings(properties: Properties) -> Properties {
    Version::new("v1").order(properties, "before-stop", "gate goodbye")
}

/// Comes to the flush of a swap, and lets it fail.
fn swap_on_full_disk(swaps: &mut SwapFleet) -> String {
    swaps.launch = run_on_full_disks;
    let run = swaps.start(&["goodbye"]);
    until_blocking("more is written than a log has", || {
        (fs::metadata(swaps.fleet.account.path(&run)).ok()?.len() > 100_000).then_some(())
    });
    swaps.put(&Version::new("v2"));
    swaps.reached(&run, "goodbye");
    swaps.limit_files(&run, true);
    swaps.pass(&run, "goodbye");
    run
}

/// Each shard is committed up to a record that is in the file.
fn only_what_is_durable_is_committed(swaps: &SwapFleet, run: &str) {
    let written = swaps.fleet.output(run);
    for row in swaps.fleet.rows() {
        let at = row.checkpoint.sequence_text();
        let is_written = written.iter().any(|echo| echo.shard == row.key && echo.sequence == at);
        assert!(is_written, "{} is committed up to {at}, which is not in the file", row.key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_on_a_full_disk_stops_the_job_and_goes_on_after_a_restart() {
    blocking(|| {
        let mut swaps = SwapFleet::new("a swap on a full disk", settings);
        let run = swap_on_full_disk(&mut swaps);
        assert_eq!(swaps.died(&run), Some(1));
        let log = swaps.fleet.log(&run);
        assert!(log.contains("output system out") && log.contains("File too large"), "{log}");
        only_what_is_durable_is_committed(&swaps, &run);
        swaps.alone(&Version::new("v2"));
        swaps.start(&[]);
        swaps.processes(&Version::new("v2"), SHARDS as usize);
        swaps.finish();
    });
}

/// Every module of the directory is a job, and a job that failed is started again by its host.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_failed_in_a_swap_goes_on_with_it_when_there_is_room_again() {
    blocking(|| {
        let of_host = |properties| settings(properties).unset("task.class").set("host.allow.keys", "job.name");
        let mut swaps = SwapFleet::new("a disk that is full for a while", of_host);
        fs::write(swaps.fleet.account.tasks(&[]).join("echo.properties"), "job.name=test\n").unwrap();
        let run = swap_on_full_disk(&mut swaps);
        let failures = || swaps.fleet.log(&run).matches("File too large").count();
        until_blocking("the job fails", || (failures() > 0).then_some(()));
        only_what_is_durable_is_committed(&swaps, &run);
        swaps.limit_files(&run, false);
        swaps.alone(&Version::new("v2"));
        swaps.processes(&Version::new("v2"), SHARDS as usize);
        swaps.finish();
    });
}
