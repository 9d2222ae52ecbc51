//! That what is configured reaches the part that acts on it: every key has a value of its own here, so that none can
//! stand for another.

use std::collections::BTreeMap;

use shardmill_core::config::{Input, RetrievalMode, Source, load, render_problems};
use shardmill_core::position::InitialPosition;

use super::*;

const JOB: &str = "\
job.name=orders
task.class=word-count
task.inputs=kinesis.lines
systems.kinesis.samza.factory=kinesis
";

/// The only input of the job with these lines, each after the system's prefix.
fn input(lines: &[&str]) -> KinesisInput {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| match line.strip_prefix("sensitive.") {
            Some(line) => format!("sensitive.systems.kinesis.aws.{line}"),
            None => format!("systems.kinesis.aws.{line}"),
        })
        .collect();
    let source = Source::File { name: "job.properties".to_owned(), text: format!("{JOB}{}", lines.join("\n")) };
    let loaded = load(&[source], &BTreeMap::new(), false);
    let mut job = loaded.unwrap_or_else(|errors| panic!("{}", render_problems(&errors))).job;
    let Input::Kinesis(input) = job.inputs.remove(0);
    input
}

#[test]
fn the_settings_of_the_kcl_reach_the_lease_machine() {
    let settings = leases(
        &input(&[
            "kcl.WorkerId=me",
            "kcl.FailoverTimeMillis=11",
            "kcl.TimestampAtInitialPositionInStream=1700000000",
            "kcl.MaxLeasesForWorker=12",
            "kcl.MaxLeasesToStealAtOneTime=13",
            "kcl.ParentShardPollIntervalMillis=14",
            "kcl.LeasesRecoveryAuditorExecutionFrequencyMillis=15",
            "kcl.LeasesRecoveryAuditorInconsistencyConfidenceThreshold=16",
            "kcl.ShardSyncStrategyType=PERIODIC",
            "kcl.ShardSyncIntervalMillis=17",
            "kcl.CompletedLeaseCleanupThresholdMillis=18",
            "kcl.GarbageLeaseCleanupThresholdMillis=19",
            "kcl.IgnoreUnexpectedChildShards=true",
        ]),
        Uuid::nil(),
    );
    let expected = leases::Settings {
        table: "orders-1-lines".to_owned(),
        worker: "me".to_owned(),
        failover: 11,
        initial_position: InitialPosition::AtTimestamp(1_700_000_000_000),
        max_leases: 12,
        max_leases_to_steal: 13,
        parent_poll: 14,
        audit_interval: 15,
        audit_confidence: 16,
        shard_sync_interval: Some(17),
        cleanup: Some(leases::Cleanup { completed: 18, garbage: 19 }),
        ignore_unexpected_children: true,
        seed: settings.seed,
    };
    assert_eq!(format!("{settings:?}"), format!("{expected:?}"));
    assert!(leases(&input(&["kcl.CleanupLeasesUponShardCompletion=false"]), Uuid::nil()).cleanup.is_none());
    let [first, second] = [1, 2].map(|run| leases(&input(&[]), Uuid::from_u128(run)).worker);
    assert!(first.starts_with("orders-1-lines-") && first != second, "{first} {second}");
}

#[test]
fn the_settings_of_the_kcl_reach_the_readers() {
    let input = input(&[
        "kcl.InitialPositionInStream=TRIM_HORIZON",
        "kcl.MaxRecords=21",
        "kcl.IdleTimeBetweenReadsInMillis=22",
        "kcl.MaxCacheByteSize=23",
        "kcl.MaxRecordsCount=24",
    ]);
    let RetrievalMode::Polling(polled) = input.retrieval.mode else { panic!("it is polled") };
    let reader = polling(&input.retrieval, polled, Latest::default());
    assert_eq!((reader.initial_position, reader.max_records, reader.idle), (InitialPosition::TrimHorizon, 21, 22));
    assert_eq!((reader.max_unprocessed_bytes, reader.max_unprocessed_records), (23, 24));
    let fan_out = fan_out(&input.retrieval, Latest::default());
    assert_eq!(fan_out.initial_position, InitialPosition::TrimHorizon);
    assert_eq!((fan_out.max_unprocessed_bytes, fan_out.max_unprocessed_records), (23, 24));
}
