//! Whatever panics in a job ends it, with the reason; and a job's part that is gone keeps nobody waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shardmill_core::config::{self, Source as Properties};
use shardmill_core::rollout::WriteError;
use shardmill_runtime::Engine;
use shardmill_tests::account::Account;
use shardmill_tests::{guests, wat};

use super::*;
use crate::tasks::injected;

/// Far longer than it takes, and far shorter than a job that waits for a part that is gone.
const LIMIT: Duration = Duration::from_secs(20);

fn job(account: &Account, more: &[(&str, &str)]) -> Job {
    let mut properties = account.properties(&["lines"]).set("task.shutdown.ms", "60000");
    for (key, value) in more {
        properties = properties.set(key, value);
    }
    let source = Properties::File { name: "test.properties".to_owned(), text: properties.text() };
    config::load(&[source], &BTreeMap::new(), false).unwrap().job
}

fn versions() -> [Module; 2] {
    let engine = Engine::new().unwrap();
    let wasm = wat::task("(i32.const 0)", "");
    [engine.load("echo", &wasm).unwrap(), engine.load("echo", &guests::version(&wasm, "2")).unwrap()]
}

fn account() -> Account {
    let account = Account::new();
    account.stream("lines", 1);
    account.kinesis().put_record("lines", "key", b"message").unwrap();
    account
}

/// Why the job ended.
async fn failure(running: &mut RunningJob) -> String {
    let ended = tokio::time::timeout(LIMIT, running.wait()).await.expect("the job ends");
    format!("{:#}", ended.expect_err("it is a failure"))
}

/// Starts a job one part of which panics, and returns how it ended.
async fn run_with_a_panic_of(part: &str, account: &Account, more: &[(&str, &str)]) -> String {
    injected::want(Some(part));
    let [module, _] = versions();
    let mut running = RunningJob::start(&job(account, more), module, Clock::start()).await.unwrap();
    let failure = failure(&mut running).await;
    injected::want(None);
    failure
}

#[tokio::test]
async fn a_panic_of_any_part_ends_the_job_with_its_reason() {
    let fan_out = [("systems.kinesis.aws.kcl.RetrievalMode", "FANOUT")];
    let cases: [(&str, &[(&str, &str)]); 6] = [
        ("the task thread", &[]),
        ("the lease worker of input kinesis.lines", &[]),
        ("the reader of shard shardId-000000000000 of kinesis.lines", &[]),
        ("the reader of shard shardId-000000000000 of kinesis.lines", &fan_out),
        ("the registration of the consumer of input kinesis.lines", &fan_out),
        ("the job", &[]),
    ];
    for (part, more) in cases {
        let failure = run_with_a_panic_of(part, &account(), more).await;
        assert_eq!(failure, format!("{part} panicked, which is a bug in shardmill: as the test wants"));
    }
}

/// The calls of a lease worker are tasks, too; without their answers it would wait for ever.
#[tokio::test]
async fn a_panic_of_a_lease_workers_call_ends_the_job() {
    for call in ["a scan of the lease table", "a listing of the shards", "a write to the lease table"] {
        let failure = run_with_a_panic_of(call, &account(), &[]).await;
        assert!(failure.starts_with("the lease worker of input kinesis.lines panicked"), "{failure}");
        assert!(failure.contains(&format!("{call} panicked")), "{failure}");
    }
}

#[tokio::test]
async fn a_panic_while_the_first_instance_is_built_fails_the_start() {
    let account = account();
    let [module, _] = versions();
    let part = format!("the start of an instance of {}", module.version());
    injected::want(Some(&part));
    let started = RunningJob::start(&job(&account, &[]), module, Clock::start()).await;
    injected::want(None);
    let failure = started.err().expect("it does not start");
    assert_eq!(failure.to_string(), format!("{part} panicked, which is a bug in shardmill: as the test wants"));
}

/// Of the start of another version, and of the writing of its deployment.
#[tokio::test]
async fn a_panic_of_a_deployments_work_ends_the_job() {
    let [first, second] = versions();
    let start = format!("the start of an instance of {}", second.version());
    for part in [start.as_str(), "the writing of the deployment"] {
        let account = account();
        let mut running = RunningJob::start(&job(&account, &[]), first.clone(), Clock::start()).await.unwrap();
        injected::want(Some(part));
        let handle = running.handle();
        let (deployed, failure) = tokio::join!(handle.deploy_later(second.clone()), failure(&mut running));
        injected::want(None);
        assert_eq!(failure, format!("{part} panicked, which is a bug in shardmill: as the test wants"));
        // Whoever asked is not left without an answer.
        assert!(matches!(deployed, Ok(()) | Err(Refused::Stopping)), "{deployed:?}");
    }
}

impl JobHandle {
    /// Deploys when a shard is read: before, there is nothing to be moved.
    async fn deploy_later(&self, module: Module) -> Result<(), Refused> {
        while self.status().processed() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.deploy(module).await
    }
}

/// A store whose writing panics by itself: the coordinator must not wait for the answer.
struct Hostile;

impl DeploymentStore for Hostile {
    fn write(&self, _: &Deployment) -> Result<(), WriteError> {
        panic!("no such disk")
    }

    fn module(&self, _: shardmill_core::module::ModuleId) -> Result<Module, String> {
        Err("it is not here".to_owned())
    }
}

#[tokio::test]
async fn a_store_that_panics_ends_the_job() {
    let [first, second] = versions();
    let account = account();
    let deployed = Deployed { store: Arc::new(Hostile), ..Deployed::once(first) };
    let mut running = RunningJob::start_with(&job(&account, &[]), deployed, Clock::start()).await.unwrap();
    let handle = running.handle();
    let (_, failure) = tokio::join!(handle.deploy_later(second), failure(&mut running));
    assert!(
        failure.ends_with("the writing of the deployment panicked, which is a bug in shardmill: no such disk"),
        "{failure}"
    );
}

/// What is left of the job finishes: the leases of another input are given back.
#[tokio::test]
async fn the_other_inputs_leases_are_released_when_one_lease_worker_panics() {
    let account = account();
    account.stream("more", 1);
    let inputs = account.properties(&["lines", "more"]).text();
    let source = Properties::File { name: "test.properties".to_owned(), text: inputs };
    let job = config::load(&[source], &BTreeMap::new(), false).unwrap().job;
    let tables = [
        account.lease_table(job.inputs[0].progress_table()).await,
        account.lease_table(job.inputs[1].progress_table()).await,
    ];
    let owners = async || {
        let mut owners = Vec::new();
        for table in &tables {
            owners.push(table.scan().await.ok()?.leases.first()?.owner.clone());
        }
        Some(owners)
    };
    let [module, _] = versions();
    let mut running = RunningJob::start(&job, module, Clock::start()).await.unwrap();
    let both = async || owners().await.filter(|owners| owners.iter().all(Option::is_some));
    shardmill_tests::wait::until("both inputs are held", both).await;

    // Of a renewal, by whichever comes first.
    injected::want_once("a write to the lease table");
    let failure = failure(&mut running).await;
    assert!(failure.contains("a write to the lease table panicked"), "{failure}");
    let released = owners().await.unwrap().iter().filter(|owner| owner.is_none()).count();
    assert_eq!(released, 1, "the one whose worker lives");
}
