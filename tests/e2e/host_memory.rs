//! The memory of all jobs together is bounded. A job that runs into that bound has done nothing wrong: it waits, is built
//! again, and gets on; others do not notice.

use shardmill::clock::Clock;
use shardmill::job::RunningJob;
use shardmill_runtime::{Engine, HostMemory, Instance};
use shardmill_tests::account::Account;
use shardmill_tests::echoes::Producer;
use shardmill_tests::wait::until;
use shardmill_tests::{instances, wat};

use crate::job::configuration;

/// Takes another MiB for each record, for ever.
fn greedy() -> Vec<u8> {
    wat::task("(drop (memory.grow (i32.const 16))) (i32.const 0)", "")
}

/// Far more often than a record may fail, and with the tightest of policies.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_uses_up_the_hosts_memory_is_built_again_and_gets_through() {
    let engine = Engine::new().unwrap().with_memory(HostMemory::new(16 << 20));
    let account = Account::new();
    account.stream("lines", 1);
    Producer::new(100).put(account.kinesis(), "lines", 100);
    let properties = account.properties(&["lines"]).set("task.class", "greedy").set("task.retry.max.attempts", "1");
    let properties = properties.set("task.retry.backoff.ms", "1");
    let job = configuration(&properties);
    let mut job = RunningJob::start(&job, engine.load("greedy", &greedy()).unwrap(), Clock::start()).await.unwrap();
    until("the host's memory was used up", async || (job.status().snapshot().failed_calls > 5).then_some(())).await;
    until("all is processed", async || job.is_caught_up().then_some(())).await;
    let status = job.status().snapshot();
    assert_eq!((status.traps, status.limits.hit().count()), (0, 0), "nothing of it is the task's");
    assert!(status.waits.is_empty(), "{:?}", status.waits);
    assert!(status.health.values().all(|health| health.failed_calls == 0), "{:?}", status.health);
    job.stop();
    job.wait().await.unwrap();
}

/// Somebody else has the memory: the job says what it waits for, and goes on by itself when there is some.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_for_memory_says_so_and_goes_on_when_there_is_some() {
    let memory = HostMemory::new(32 << 20);
    let engine = Engine::new().unwrap().with_memory(memory.clone());
    let account = Account::new();
    account.stream("lines", 1);
    let properties = account.properties(&["lines"]).set("task.class", "greedy").set("task.retry.max.attempts", "1");
    let job = configuration(&properties.set("task.retry.backoff.ms", "1").set("task.retry.backoff.max.ms", "20"));
    let mut job = RunningJob::start(&job, engine.load("greedy", &greedy()).unwrap(), Clock::start()).await.unwrap();
    let other = engine.load("other", &wat::task("(i32.const 0)", "(memory 380)")).unwrap();
    let other = Instance::new(
        &other,
        &shardmill_runtime::TaskSpec {
            job_name: "other".to_owned(),
            ..instances::spec(&std::sync::Arc::default(), &[])
        },
    );
    let other = other.unwrap();
    Producer::new(1).put(account.kinesis(), "lines", 10);
    let waits = until("it waits", async || job.status().snapshot().waits.values().next().cloned()).await;
    assert!(waits.contains("the host's memory is used up"), "{waits}");
    drop(other);
    until("all is processed", async || job.is_caught_up().then_some(())).await;
    until("it waits no more", async || job.status().snapshot().waits.is_empty().then_some(())).await;
    job.stop();
    job.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_does_not_fit_is_not_started_and_may_be_later() {
    let engine = Engine::new().unwrap().with_memory(HostMemory::new(20 << 20));
    let account = Account::new();
    account.stream("lines", 1);
    let job = configuration(&account.properties(&["lines"]).set("task.class", "large"));
    let large = engine.load("large", &wat::task("(i32.const 0)", "(memory 200)")).unwrap();
    let blocker = Instance::new(&large, &instances::spec(&std::sync::Arc::default(), &[])).unwrap();
    let started = RunningJob::start(&job, large.clone(), Clock::start()).await;
    let Err(error) = started else { panic!("it was started") };
    assert!(format!("{error:#}").contains("the host's memory is used up"), "{error:#}");
    assert!(!error.is::<shardmill::job::TaskFailed>(), "it is restarted, as after a failure of a service");
    drop(blocker);
    let mut job = RunningJob::start(&job, large, Clock::start()).await.unwrap();
    job.stop();
    job.wait().await.unwrap();
}
