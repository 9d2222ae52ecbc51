//! Runs a job in the test's process. Owns its start from a properties file; what it does is the test's business.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use shardmill::clock::Clock;
use shardmill::job::{Deployed, RunningJob};
use shardmill::status::Snapshot;
use shardmill_core::config::{self, Source};
use shardmill_runtime::{Engine, Module};
use shardmill_tests::guests::{self, rust_guest};
use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until;

/// A job under test.
pub(crate) struct Job(RunningJob);

impl Job {
    /// Starts the job that `properties` describe, with the Rust sample that `task.class` names.
    pub(crate) async fn start(properties: &Properties) -> Self {
        let job = configuration(properties);
        Self(RunningJob::start(&job, module(&job.task_class), Clock::start()).await.unwrap())
    }

    /// Starts the job where an earlier one left off.
    pub(crate) async fn start_with(properties: &Properties, deployed: Deployed) -> Self {
        Self(RunningJob::start_with(&configuration(properties), deployed, Clock::start()).await.unwrap())
    }

    pub(crate) fn running(&self) -> &RunningJob {
        &self.0
    }

    pub(crate) fn status(&self) -> Snapshot {
        self.0.status().snapshot()
    }

    /// Waits until so many envelopes are processed (those of a replay again).
    pub(crate) async fn processed(&self, envelopes: usize) {
        let done = async || (self.status().processed >= envelopes as u64).then_some(());
        until(&format!("{envelopes} envelopes are processed"), done).await;
    }

    pub(crate) fn is_caught_up(&self) -> bool {
        self.0.is_caught_up()
    }

    /// Waits until everything that is in the streams is processed.
    pub(crate) async fn caught_up(&self) {
        until("the job is caught up", async || self.is_caught_up().then_some(())).await;
    }

    /// Stops in good order.
    pub(crate) async fn stop(mut self) {
        self.0.stop();
        self.0.wait().await.unwrap();
    }

    /// Waits until the job stops by itself, in good order.
    pub(crate) async fn end(mut self) {
        self.0.wait().await.unwrap();
    }

    /// Waits until the job stops because it must; the reason.
    pub(crate) async fn failure(mut self) -> String {
        format!("{:#}", self.0.wait().await.unwrap_err())
    }
}

pub(crate) fn configuration(properties: &Properties) -> config::Job {
    let source = Source::File { name: "test.properties".to_owned(), text: properties.text() };
    let loaded = config::load(&[source], &BTreeMap::new(), false);
    loaded.unwrap_or_else(|errors| panic!("{}", config::render_problems(&errors))).job
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap())
}

pub(crate) fn module(name: &str) -> Module {
    engine().load(name, &std::fs::read(rust_guest(name)).unwrap()).unwrap()
}

/// A version of the echo task: `task.config.NAME.process` and the like tell what is wrong with it.
pub(crate) fn version(name: &str) -> Module {
    static VERSIONS: Mutex<BTreeMap<String, Module>> = Mutex::new(BTreeMap::new());
    let mut versions = VERSIONS.lock().unwrap();
    let load = || {
        let echo = std::fs::read(rust_guest("echo")).unwrap();
        engine().load(name, &guests::version(&echo, name)).unwrap()
    };
    versions.entry(name.to_owned()).or_insert_with(load).clone()
}
