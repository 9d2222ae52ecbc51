//! Whatever panics in a host takes down what it worked for, with its reason, and nothing else; a host that has nothing
//! else to do ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use shardmill_core::config;
use shardmill_runtime::{ArtifactStore, Engine, module_id};
use shardmill_tests::account::Account;
use shardmill_tests::wat;
use tempfile::TempDir;

use super::*;
use crate::tasks::injected;

const LIMIT: Duration = Duration::from_secs(30);

/// A task directory and what a host needs beside it. The modules in it are compiled already: there is no compiler.
struct Place {
    directory: TempDir,
    account: Account,
    admission: Admission,
}

impl Place {
    fn with(modules: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let account = Account::new();
        account.stream("lines", 1);
        account.kinesis().put_record("lines", "key", b"message").unwrap();
        let tasks = directory.path().join("tasks");
        std::fs::create_dir(&tasks).unwrap();
        let engine = Engine::new().unwrap();
        let store = ArtifactStore::open(&directory.path().join("cache")).unwrap();
        let wasm = wat::task("(i32.const 0)", "");
        for name in modules {
            std::fs::write(tasks.join(format!("{name}.wasm")), &wasm).unwrap();
            store.put(&engine, &module_id(&wasm).of_job(name), &engine.precompile(name, &wasm).unwrap()).unwrap();
        }
        let admission = Admission::new(engine, store, "/no/such/compiler".into());
        Self { directory, account, admission }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::join(self.directory.path(), name)
    }

    fn host(&self, only: Option<&str>) -> Host {
        let mut properties = self.account.properties(&["lines"]);
        if only.is_none() {
            properties = properties.unset("job.name").unset("task.class").unset("systems.out.file.path");
            properties = properties.set("systems.out.samza.factory", "console");
        }
        let text = properties.text();
        Host::new(Settings {
            tasks: self.path("tasks"),
            only: only.map(str::to_owned),
            state: self.path("state"),
            load_job: Arc::new(move |directory: &[Source]| {
                let host = Source::File { name: "host.properties".to_owned(), text: text.clone() };
                let sources: Vec<Source> = std::iter::once(host).chain(directory.iter().cloned()).collect();
                let loaded = config::load(&sources, &BTreeMap::new(), false);
                loaded.map(|loaded| loaded.job).map_err(|errors| config::render_problems(&errors))
            }),
            admission: self.admission.clone(),
            clock: Clock::start(),
            until_caught_up: false,
        })
    }
}

#[tokio::test]
async fn a_panic_of_anything_ends_a_host_of_one_job_with_its_reason() {
    let wasm = wat::task("(i32.const 0)", "");
    let check = format!("the check of {}", module_id(&wasm).of_job("echo"));
    let parts = [
        "the listing of the task directory",
        "the reading of echo.wasm",
        check.as_str(),
        "the look at a module",
        "job echo",
        "a look at the state directory",
        "the task thread",
        "the look at what other hosts run",
    ];
    for part in parts {
        let place = Place::with(&["echo"]);
        injected::want(Some(part));
        let mut host = place.host(Some("echo"));
        let (_sender, mut requests) = mpsc::channel(1);
        let ended = tokio::time::timeout(LIMIT, host.run(&mut requests)).await;
        injected::want(None);
        let failure = format!("{:#}", ended.expect(part).expect_err(part));
        assert!(failure.contains(part) && failure.contains("panicked"), "{part}: {failure}");
    }
}

/// Waits until a host says this of itself.
async fn until_reported(host: &mut Host, what: &str, is_so: impl Fn(&HostReport) -> bool) -> HostReport {
    let (_sender, mut requests) = mpsc::channel(1);
    let deadline = Instant::now() + LIMIT;
    loop {
        let report = host.report();
        if is_so(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "{what}: {report:#?}");
        // Cancel-safe: what the host waits for is still there the next time.
        let a_while = tokio::time::timeout(Duration::from_millis(20), host.run(&mut requests)).await;
        assert!(a_while.is_err(), "{what}: the host ended");
    }
}

fn job<'r>(report: &'r HostReport, name: &str) -> Option<&'r JobReport> {
    report.jobs.iter().find(|job| job.name == name)
}

#[tokio::test]
async fn a_panic_makes_one_job_fail_and_the_others_run() {
    let wasm = wat::task("(i32.const 0)", "");
    let check = format!("the check of {}", module_id(&wasm).of_job("bad"));
    // A module that cannot be checked now may be good: it is checked again, and nothing runs until then.
    for (part, state) in [(check.as_str(), JobState::Waiting), ("job bad", JobState::Failed)] {
        let place = Place::with(&["bad", "good"]);
        injected::want(Some(part));
        let mut host = place.host(None);
        let failed = |report: &HostReport| {
            let bad = job(report, "bad").is_some_and(|bad| {
                bad.state == state && bad.problems.iter().any(|it| it.contains(&format!("{part} panicked")))
            });
            bad && job(report, "good").is_some_and(|good| good.state == JobState::Running)
        };
        until_reported(&mut host, part, failed).await;
        injected::want(None);
        // A failure that is no fault of the task's is tried again.
        until_reported(&mut host, part, |report| job(report, "bad").is_some_and(|bad| bad.state == JobState::Running))
            .await;
    }
}

#[tokio::test]
async fn a_directory_whose_look_panics_is_a_problem_of_the_host() {
    let place = Place::with(&["good"]);
    injected::want(Some("the listing of the task directory"));
    let mut host = place.host(None);
    let said = |report: &HostReport| report.problems.iter().any(|it| it.contains("panicked"));
    until_reported(&mut host, "it is said", said).await;
    injected::want(Some("the reading of good.wasm"));
    let rejected = |report: &HostReport| {
        job(report, "good")
            .is_some_and(|it| it.problems.iter().any(|it| it.contains("the reading of good.wasm panicked")))
    };
    until_reported(&mut host, "it is said", rejected).await;
    injected::want(None);
    assert!(host.report().problems.is_empty());
}
