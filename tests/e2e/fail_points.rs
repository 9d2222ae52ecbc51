//! A process dies at every named point of its life, and another one finishes its work. What can be seen of a process is
//! its calls: each point is one call, held by the local backend while the process is killed. Nothing in the binary
//! knows of it. `FAIL_POINT=merge` in the environment tries only the points with this text in their names.

use std::time::Duration;

use shardmill_local::{Fault, FaultAction, Options};
use shardmill_tests::account::Account;
use shardmill_tests::process::Signal;
use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until_blocking;

use crate::fleet::{Fleet, side_by_side};

const FAILOVER: Duration = Duration::from_millis(800);
/// Points that are tried at the same time: most of the time everybody waits.
const AT_ONCE: usize = 8;
/// The first shard of the stream, which some points split.
const FIRST: &str = "shardId-000000000000";
const SECOND: &str = "shardId-000000000001";

/// What becomes of the call that the process died in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It never arrives.
    Lost,
    /// It is carried out; only the process does not learn of it.
    Done,
    /// It is carried out long after, when another process has taken over.
    Late,
}

/// What makes a process come to the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Two processes start on an empty table.
    Start,
    /// One does; the second comes when it is dead. All its calls of this kind are held.
    Alone,
    /// Nothing: both processes are at work.
    Work,
    /// A third process joins.
    Join,
    /// A shard is split.
    Split,
    /// Two shards are merged.
    Merge,
    /// A process is told to stop.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    DynamoDb,
    Kinesis,
}

struct FailPoint {
    name: &'static str,
    when: When,
    service: Service,
    operation: &'static str,
    /// Texts in the request that tell the point from others of this operation.
    marks: &'static [&'static str],
    /// Such calls before it.
    skip: u32,
    fates: &'static [Fate],
}

const WRITE: &[Fate] = &[Fate::Lost, Fate::Done, Fate::Late];
const READ: &[Fate] = &[Fate::Done];

const TAKE: &str = "leaseOwner = :worker";
const CHECKPOINT: &str = "checkpoint = :sequence";
const STEAL: &str = "ADD ownerSwitchesSinceCheckpoint";

const fn write(name: &'static str, when: When, operation: &'static str, marks: &'static [&'static str]) -> FailPoint {
    FailPoint { name, when, service: Service::DynamoDb, operation, marks, skip: 0, fates: WRITE }
}

const fn read(name: &'static str, when: When, operation: &'static str) -> FailPoint {
    FailPoint { name, when, service: Service::Kinesis, operation, marks: &[], skip: 0, fates: READ }
}

const FAIL_POINTS: &[FailPoint] = &[
    write("table created", When::Start, "CreateTable", &[]),
    FailPoint { service: Service::DynamoDb, ..read("table scanned", When::Start, "Scan") },
    read("shards listed", When::Start, "ListShards"),
    FailPoint { skip: 1, ..write("first of some rows created", When::Alone, "PutItem", &[]) },
    write("lease taken", When::Start, "UpdateItem", &[TAKE]),
    FailPoint { skip: 1, ..write("first of some leases taken", When::Alone, "UpdateItem", &[TAKE]) },
    read("iterator asked for", When::Start, "GetShardIterator"),
    FailPoint { skip: 5, ..read("records read", When::Work, "GetRecords") },
    write("lease renewed", When::Work, "UpdateItem", &["\"SET leaseCounter = :next\""]),
    // The outputs are durable by now.
    write("checkpointed", When::Work, "UpdateItem", &[CHECKPOINT]),
    FailPoint { skip: 3, ..write("checkpointed again", When::Work, "UpdateItem", &[CHECKPOINT]) },
    write("lease stolen", When::Join, "UpdateItem", &[TAKE, STEAL]),
    write("first child created", When::Split, "PutItem", &[]),
    FailPoint { skip: 1, ..write("second child created", When::Split, "PutItem", &[]) },
    write("children named on their parent", When::Split, "UpdateItem", &["childShardIds = :children", FIRST]),
    write("shard end written", When::Split, "UpdateItem", &[CHECKPOINT, "SHARD_END"]),
    write("finished lease released", When::Split, "UpdateItem", &["REMOVE leaseOwner", FIRST]),
    write("child taken", When::Split, "UpdateItem", &[TAKE, "shardId-000000000004"]),
    write("finished lease deleted", When::Split, "DeleteItem", &[FIRST]),
    write("child of a merge created", When::Merge, "PutItem", &[]),
    write("first parent of a merge at its end", When::Merge, "UpdateItem", &[CHECKPOINT, "SHARD_END"]),
    FailPoint {
        skip: 1,
        ..write("second parent of a merge at its end", When::Merge, "UpdateItem", &[CHECKPOINT, "SHARD_END"])
    },
    write("last checkpoint of a graceful stop", When::Stop, "UpdateItem", &[CHECKPOINT]),
    write("lease released by a graceful stop", When::Stop, "UpdateItem", &["REMOVE leaseOwner"]),
    FailPoint {
        skip: 1,
        ..write("second lease released by a graceful stop", When::Stop, "UpdateItem", &["REMOVE leaseOwner"])
    },
];

const FAN_OUT_POINTS: &[FailPoint] = &[
    read("consumer described", When::Start, "DescribeStreamConsumer"),
    FailPoint { fates: WRITE, ..read("consumer registered", When::Start, "RegisterStreamConsumer") },
    read("subscribed", When::Start, "SubscribeToShard"),
    write("checkpointed by fan-out", When::Work, "UpdateItem", &[CHECKPOINT]),
    write("shard end written by fan-out", When::Split, "UpdateItem", &[CHECKPOINT, "SHARD_END"]),
];

impl FailPoint {
    fn fault(&self, fate: Fate) -> Fault {
        let action = match fate {
            Fate::Lost | Fate::Late => FaultAction::HoldRequest,
            Fate::Done => FaultAction::HoldReply,
        };
        let fault = self.marks.iter().fold(Fault::new(action), |fault, mark| fault.containing(mark));
        let fault = fault.operation(self.operation).skip(self.skip);
        if self.when == When::Alone { fault.caller("run-0") } else { fault.times(1) }
    }

    fn settings(&self, properties: Properties) -> Properties {
        let properties = properties.kcl("MaxLeasesToStealAtOneTime", "2");
        if self.operation == "DeleteItem" {
            let cleanup = properties.kcl("CleanupLeasesUponShardCompletion", "true");
            return cleanup.kcl("CompletedLeaseCleanupThresholdMillis", "100");
        }
        properties
    }

    /// Kills a process at this point. Another one goes on, and all is accounted for.
    fn kill(&self, fate: Fate, set: fn(Properties) -> Properties) {
        let title = format!("{}, {fate:?}", self.name);
        let account =
            Account::with(Options { limits: false, subscription_life: Duration::from_secs(2), ..Options::default() });
        let mut fleet = Fleet::new(&title, account, 4, FAILOVER, |properties| set(self.settings(properties)));
        let faults = match self.service {
            Service::DynamoDb => fleet.account.dynamodb_faults().clone(),
            Service::Kinesis => fleet.account.faults().clone(),
        };
        if !matches!(self.when, When::Start | When::Alone) {
            fleet.start();
            fleet.start();
            fleet.all_at_work();
        }
        let hold = faults.inject(self.fault(fate));
        let stopping = bring_about(self.when, &mut fleet);
        let victim =
            until_blocking("the fail point is reached", || hold.held().first().map(|call| call.caller.clone()));
        fleet.crash(&victim);
        match fate {
            Fate::Lost => hold.cut(),
            Fate::Done => hold.remove(),
            Fate::Late => {}
        }
        if let Some(run) = stopping.filter(|run| *run != victim) {
            fleet.stopped(&run);
        }
        if fleet.living().is_empty() {
            fleet.start();
        }
        if fate == Fate::Late {
            fleet.all_at_work();
            hold.remove();
        }
        fleet.finish();
    }
}

/// Makes the point come; the run that was told to stop.
fn bring_about(when: When, fleet: &mut Fleet) -> Option<String> {
    match when {
        When::Start => {
            fleet.start();
            fleet.start();
        }
        When::Alone | When::Join => drop(fleet.start()),
        When::Work => {}
        When::Split => fleet.kinesis().split_shard_evenly("lines", FIRST).unwrap(),
        When::Merge => fleet.kinesis().merge_shards("lines", FIRST, SECOND).unwrap(),
        When::Stop => {
            let run = fleet.busiest();
            fleet.member(&run).signal(Signal::Terminate);
            return Some(run);
        }
    }
    None
}

/// Every fate at every point, some of them at the same time.
fn kill_at_each(points: &'static [FailPoint], set: fn(Properties) -> Properties) {
    let all = points.iter().flat_map(|point| point.fates.iter().map(move |fate| (point, *fate)));
    let wanted = std::env::var("FAIL_POINT").unwrap_or_default();
    let all: Vec<_> = all.filter(|(point, _)| point.name.contains(&wanted)).collect();
    side_by_side(AT_ONCE, all, |(point, fate)| point.kill(fate, set));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_at_any_point_has_a_successor_that_finishes() {
    kill_at_each(FAIL_POINTS, |properties| properties);
}

#[tokio::test(flavor = "multi_thread")]
async fn likewise_by_fan_out() {
    kill_at_each(FAN_OUT_POINTS, |properties| properties.kcl("RetrievalMode", "FANOUT"));
}
