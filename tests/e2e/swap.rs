//! A version of the task is replaced by another while the job runs: nothing is lost, nothing is done twice, every shard
//! keeps its order; and what is bad goes back by itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use shardmill::job::{Deployed, DeploymentStore, Refused};
use shardmill_core::leases::{Outcome, Write};
use shardmill_core::module::ModuleId;
use shardmill_core::rollout::{Deployment, WriteError};
use shardmill_local::{Fault, FaultAction, Kinesis};
use shardmill_runtime::Module;
use shardmill_tests::account::{Account, table_name};
use shardmill_tests::echoes::{
    self, Producer, assert_each_at_least_once, assert_each_once, assert_keys_in_order, assert_shards_in_order,
};
use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until;

use crate::job::{Job, version};
use crate::reshard::{assert_nothing_lost_or_swapped, reshard};

const SHARDS: u32 = 4;
const KEYS: usize = 40;

fn account() -> (Account, Producer) {
    let account = Account::new();
    account.stream("lines", SHARDS);
    (account, Producer::new(KEYS))
}

async fn start(properties: &Properties, first: &str) -> Job {
    Job::start_with(properties, Deployed::once(version(first))).await
}

/// A job of the version `v1` whose other versions get half of the shards first, until somebody promotes them.
fn canary(account: &Account) -> Properties {
    let properties = account.properties(&["lines"]).set("task.rollout", "canary");
    properties.set("task.rollout.waves", "50%").set("task.rollout.bake.ms", "3600000")
}

/// Which version each shard is on that is being read, by shard.
fn placed(job: &Job) -> Vec<(String, Option<ModuleId>)> {
    let open = |shard: &shardmill::status::Shard| (!shard.finished).then(|| (shard.shard.clone(), shard.module));
    let mut placed: Vec<_> = job.status().shards.values().filter_map(open).collect();
    placed.sort();
    placed
}

fn count_on(job: &Job, module: &Module) -> usize {
    placed(job).iter().filter(|(_, on)| *on == Some(module.id())).count()
}

fn current(job: &Job) -> Option<Deployment> {
    job.status().rollout.deployment
}

/// Waits until every shard that is read is processed by this version.
async fn all_on(job: &Job, module: &Module) {
    until("every shard is on the version", async || {
        let is_current = current(job)?.current == module.id();
        (is_current && count_on(job, module) == placed(job).len()).then_some(())
    })
    .await;
}

/// Everything is out once, shard by shard in order.
fn assert_exact(account: &Account) {
    let (echoes, records) = (echoes::read(&account.output()), account.records("lines"));
    assert_each_once(&echoes, &records);
    assert_shards_in_order(&echoes);
    assert_keys_in_order(&echoes);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_replace_each_other_under_load_without_a_loss_or_a_repeat() {
    const SWAPS: usize = 100;
    let (account, mut producer) = account();
    let job = start(&account.properties(&["lines"]), "v0").await;
    producer.put(account.kinesis(), "lines", 200);
    job.processed(200).await;
    for swap in 1..=SWAPS {
        producer.put(account.kinesis(), "lines", 200);
        job.running().deploy(version(["v0", "v1", "v2"][swap % 3])).await.unwrap();
        until("it is carried out", async || (job.status().swaps.count >= swap as u64).then_some(())).await;
    }
    all_on(&job, &version(["v0", "v1", "v2"][SWAPS % 3])).await;
    let records = 200 * (SWAPS + 1);
    job.processed(records).await;
    assert_eq!((job.status().swaps.count, job.status().processed), (SWAPS as u64, records as u64), "no repeats");
    job.stop().await;
    assert_exact(&account);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_while_shards_split_and_merge_keeps_every_key_in_order() {
    let (account, mut producer) = account();
    let job = start(&canary(&account), "v1").await;
    let up = |kinesis: &Kinesis| kinesis.update_shard_count("lines", 8).unwrap();
    let down = |kinesis: &Kinesis| kinesis.update_shard_count("lines", 3).unwrap();
    let mut written = 0;
    for (change, next) in [(&up as &dyn Fn(&Kinesis), "v2"), (&down, "v3")] {
        job.running().deploy(version(next)).await.unwrap();
        written += reshard(&account, &mut producer, &[change]);
        job.running().promote().await.unwrap();
        job.processed(written).await;
        job.caught_up().await;
        all_on(&job, &version(next)).await;
    }
    job.stop().await;
    assert_nothing_lost_or_swapped(&account).await;
}

/// The children of a candidate's shard are the candidate's.
#[tokio::test(flavor = "multi_thread")]
async fn children_go_where_their_parents_were() {
    let (account, mut producer) = account();
    let job = start(&canary(&account), "v1").await;
    producer.put(account.kinesis(), "lines", 400);
    job.processed(400).await;
    job.running().deploy(version("v2")).await.unwrap();
    until("half of the shards are on the candidate", async || (count_on(&job, &version("v2")) == 2).then_some(()))
        .await;
    let (shard, _) = placed(&job).into_iter().find(|(_, on)| *on == Some(version("v2").id())).unwrap();
    account.kinesis().split_shard_evenly("lines", &shard).unwrap();
    until("the children are read", async || (placed(&job).len() == 5).then_some(())).await;
    until("they are on the candidate", async || (count_on(&job, &version("v2")) == 3).then_some(())).await;
    producer.put(account.kinesis(), "lines", 400);
    job.processed(800).await;
    job.stop().await;
    assert_exact(&account);
}

/// Two workers: one takes a shard from the other while versions change.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_lost_during_a_swap_is_let_go() {
    let (account, mut producer) = account();
    let job = start(&canary(&account), "v1").await;
    producer.put(account.kinesis(), "lines", 400);
    job.processed(400).await;
    job.running().deploy(version("v2")).await.unwrap();
    let table = account.lease_table(&table_name("lines")).await;
    let lost = "shardId-000000000000";
    until("the lease is taken", async || {
        let seen = account.leases("lines").await.into_iter().find(|row| row.key == lost)?;
        let write = Write::Take { seen, worker: "intruder".to_owned() };
        matches!(table.write(&write).await.unwrap(), Outcome::Done).then_some(())
    })
    .await;
    producer.put(account.kinesis(), "lines", 400);
    job.running().promote().await.unwrap();
    until("the job lets go", async || (!placed(&job).iter().any(|(shard, _)| shard == lost)).then_some(())).await;
    all_on(&job, &version("v2")).await;
    // Nobody renews it, so the job takes it back.
    until("the job reads it again", async || (placed(&job).len() == SHARDS as usize).then_some(())).await;
    job.caught_up().await;
    job.stop().await;
    assert_each_at_least_once(&echoes::read(&account.output()), &account.records("lines"));
}

/// The lease table hangs in the middle of a commit: the stream does not, nor does the swap.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_hangs_does_not_hold_up_a_swap_of_a_slow_task() {
    let (account, mut producer) = account();
    let job = start(&account.properties(&["lines"]).set("task.config.pause.ms", "2"), "v1").await;
    producer.put(account.kinesis(), "lines", 200);
    job.processed(200).await;
    let checkpoint =
        Fault::new(FaultAction::HoldRequest).operation("UpdateItem").containing("checkpointSubSequenceNumber = :sub");
    let held = account.dynamodb_faults().inject(checkpoint);
    producer.put(account.kinesis(), "lines", 200);
    until("a checkpoint is held", async || (!held.held().is_empty()).then_some(())).await;
    for next in ["v2", "v3"] {
        producer.put(account.kinesis(), "lines", 200);
        job.running().deploy(version(next)).await.unwrap();
        all_on(&job, &version(next)).await;
    }
    held.remove();
    // A checkpoint that is held long enough costs its lease, and what was read under it is read again.
    until("every record is out", async || {
        let out: BTreeSet<String> = echoes::read(&account.output()).into_iter().map(|echo| echo.text).collect();
        (out.len() == 800).then_some(())
    })
    .await;
    job.stop().await;
    assert_each_at_least_once(&echoes::read(&account.output()), &account.records("lines"));
}

/// A call that takes too long for the rollout is ended, and what it was at is done by the new version.
#[tokio::test(flavor = "multi_thread")]
async fn an_endless_call_is_ended_by_the_next_version() {
    ended_by_the_next_version("spin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_sleeps_in_the_host_is_ended_by_the_next_version() {
    ended_by_the_next_version("sleep 600000").await;
}

async fn ended_by_the_next_version(order: &str) {
    let (account, mut producer) = account();
    let properties = account.properties(&["lines"]).set("task.config.v1.process", order);
    let properties = properties.set("task.call.timeout.ms", "600000").set("task.rollout.drain.ms", "200");
    let job = start(&properties, "v1").await;
    producer.put(account.kinesis(), "lines", 400);
    until("records are waiting", async || job.status().shards.values().any(|shard| shard.waiting > 0).then_some(()))
        .await;
    job.running().deploy(version("v2")).await.unwrap();
    job.processed(400).await;
    job.stop().await;
    assert_exact(&account);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_traps_in_before_stop_is_replayed_by_the_next() {
    let (account, mut producer) = account();
    let properties = account.properties(&["lines"]).set("task.commit.ms", "-1");
    let job = start(&properties.set("task.config.v1.before-stop", "trap"), "v1").await;
    producer.put(account.kinesis(), "lines", 400);
    job.processed(400).await;
    job.running().deploy(version("v2")).await.unwrap();
    job.processed(800).await;
    all_on(&job, &version("v2")).await;
    job.stop().await;
    let echoes = echoes::read(&account.output());
    assert_eq!(echoes.len(), 800, "nothing was committed: each shard is read again from its start");
    assert_each_at_least_once(&echoes, &account.records("lines"));
}

/// A version whose every call ends like this is taken back by itself.
async fn bad_version(order: &str) -> (Account, Deployment, String) {
    let (account, mut producer) = account();
    let properties = account.properties(&["lines"]).set("task.config.bad.process", order);
    let job = start(&properties, "v1").await;
    producer.put(account.kinesis(), "lines", 400);
    job.processed(400).await;
    job.running().deploy(version("bad")).await.unwrap();
    producer.put(account.kinesis(), "lines", 400);
    until("it is taken back", async || current(&job)?.quarantine(version("bad").id()).map(drop)).await;
    job.processed(800).await;
    all_on(&job, &version("v1")).await;
    let again = job.running().deploy(version("bad")).await;
    assert!(matches!(&again, Err(Refused::Because(why)) if why.contains("was rolled back before")), "{again:?}");
    let status = job.status().rollout;
    producer.put(account.kinesis(), "lines", 400);
    job.processed(1_200).await;
    job.stop().await;
    (account, status.deployment.unwrap(), status.last.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_rejects_goes_back_and_nothing_is_done_twice() {
    let (account, deployment, last) = bad_version("reject").await;
    assert!(last.starts_with("bad@") && last.contains("was rolled back: ") && last.contains("as told"), "{last}");
    assert_eq!((deployment.current, deployment.previous), (version("v1").id(), None));
    assert_exact(&account);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_traps_goes_back_and_nothing_is_lost() {
    let (account, deployment, last) = bad_version("trap").await;
    assert!(last.contains("trap"), "{last}");
    assert_eq!(deployment.quarantined.len(), 1);
    assert_each_at_least_once(&echoes::read(&account.output()), &account.records("lines"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_init_fails_changes_nothing() {
    let (account, mut producer) = account();
    let job = start(&account.properties(&["lines"]).set("task.config.bad.init", "reject"), "v1").await;
    producer.put(account.kinesis(), "lines", 400);
    let refused = job.running().deploy(version("bad")).await.unwrap_err();
    assert!(refused.to_string().contains("as told"), "{refused}");
    job.processed(400).await;
    assert_eq!(current(&job), Some(Deployment::first(version("v1").id())));
    job.stop().await;
    assert_exact(&account);
}

/// Two at once, and a rollback in between: whatever comes of it, one version has everything in the end.
#[tokio::test(flavor = "multi_thread")]
async fn deploys_and_a_rollback_that_arrive_together_end_in_order() {
    let (account, mut producer) = account();
    let job = start(&canary(&account), "v1").await;
    producer.put(account.kinesis(), "lines", 400);
    job.running().deploy(version("v2")).await.unwrap();
    let running = job.running();
    let (third, back, fourth) =
        tokio::join!(running.deploy(version("v3")), running.roll_back(None), running.deploy(version("v4")));
    producer.put(account.kinesis(), "lines", 400);
    // The third is replaced while it is built, or was quick.
    let replaced = Err(Refused::Because("a later version was deployed before this one ran".to_owned()));
    assert!(third == Ok(()) || third == replaced, "{third:?}");
    assert_eq!((back, fourth), (Ok(()), Ok(())));
    until("half is on the last one", async || (count_on(&job, &version("v4")) == 2).then_some(())).await;
    job.running().promote().await.unwrap();
    all_on(&job, &version("v4")).await;
    job.processed(800).await;
    job.stop().await;
    assert_exact(&account);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_paused_calls_nothing_and_goes_on_where_it_was() {
    let (account, mut producer) = account();
    let job = start(&account.properties(&["lines"]), "v1").await;
    producer.put(account.kinesis(), "lines", 200);
    job.processed(200).await;
    assert!(!job.running().lately().await.unwrap().recent.is_empty());
    job.running().pause().await;
    until("it is paused", async || job.status().rollout.paused.then_some(())).await;
    // An answer of the task thread: it has heard of the pause.
    job.running().lately().await.unwrap();
    producer.put(account.kinesis(), "lines", 200);
    until("records are waiting", async || {
        let waiting: u64 = job.status().shards.values().map(|shard| shard.waiting).sum();
        (waiting == 200).then_some(())
    })
    .await;
    // A swap works all the same.
    job.running().deploy(version("v2")).await.unwrap();
    all_on(&job, &version("v2")).await;
    assert_eq!(job.status().processed, 200);
    job.running().resume().await;
    job.processed(400).await;
    job.stop().await;
    assert_exact(&account);
}

/// Keeps the last deployment, as a file does.
#[derive(Default)]
struct Kept(Mutex<Option<Deployment>>);

impl DeploymentStore for Kept {
    fn write(&self, deployment: &Deployment) -> Result<(), WriteError> {
        *self.0.lock().unwrap() = Some(deployment.clone());
        Ok(())
    }

    fn module(&self, _: ModuleId) -> Result<Module, String> {
        Err("every version is at hand".to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_with_the_same_version_on_each_shard() {
    let (account, mut producer) = account();
    let store = Arc::new(Kept::default());
    let first = version("v1").id();
    let deployed = |deployment: Deployment| {
        let modules = vec![version("v1"), version("v2")];
        Deployed { deployment, modules, store: Arc::<Kept>::clone(&store) }
    };
    let properties = canary(&account);
    let job = Job::start_with(&properties, deployed(Deployment::first(first))).await;
    producer.put(account.kinesis(), "lines", 400);
    job.processed(400).await;
    job.running().deploy(version("v2")).await.unwrap();
    until("half of the shards are on the candidate", async || (count_on(&job, &version("v2")) == 2).then_some(()))
        .await;
    let before = placed(&job);
    job.stop().await;

    let kept = store.0.lock().unwrap().clone().unwrap();
    let job = Job::start_with(&properties, deployed(kept)).await;
    until("every shard is read", async || {
        (placed(&job).iter().all(|(_, on)| on.is_some()) && placed(&job).len() == 4).then_some(())
    })
    .await;
    assert_eq!(placed(&job), before);
    producer.put(account.kinesis(), "lines", 400);
    job.processed(400).await;
    job.stop().await;
    assert_exact(&account);
}
