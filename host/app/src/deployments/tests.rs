//! The directory as several hosts use it.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]

use std::time::SystemTime;

use super::*;

fn opened() -> (tempfile::TempDir, Deployments) {
    let directory = tempfile::tempdir().unwrap();
    let deployments = Deployments::open(directory.path(), "orders", &job("1")).unwrap();
    (directory, deployments)
}

fn job(id: &str) -> Identity {
    Identity { name: "orders".to_owned(), id: id.to_owned() }
}

/// A version that is known by a word.
fn id(word: &str) -> ModuleId {
    shardmill_runtime::module_id(word.as_bytes())
}

fn after(last: &Deployment, current: &str) -> Deployment {
    Deployment { revision: last.revision + 1, current: id(current), ..last.clone() }
}

#[test]
fn what_is_written_is_read() {
    let (_directory, deployments) = opened();
    assert_eq!(deployments.read().unwrap(), None);
    let first = Deployment::first(id("a"));
    deployments.write(&first).unwrap();
    let second = after(&first, "b");
    deployments.write(&second).unwrap();
    assert_eq!(deployments.read().unwrap(), Some(second));
}

#[test]
fn who_comes_second_is_told_what_the_first_wrote() {
    let (_directory, deployments) = opened();
    let first = Deployment::first(id("a"));
    deployments.write(&first).unwrap();
    deployments.write(&after(&first, "b")).unwrap();
    let refused = deployments.write(&after(&first, "c"));
    assert_eq!(refused, Err(WriteError::Changed(Box::new(after(&first, "b")))));
}

#[test]
fn of_many_hosts_that_write_at_once_one_wins_each_revision() {
    let (_directory, deployments) = opened();
    let first = Deployment::first(id("a"));
    deployments.write(&first).unwrap();
    let wins: usize = std::thread::scope(|scope| {
        let hosts: Vec<_> = (0..8)
            .map(|host| {
                let deployments = deployments.clone();
                let first = first.clone();
                scope.spawn(move || usize::from(deployments.write(&after(&first, &host.to_string())).is_ok()))
            })
            .collect();
        hosts.into_iter().map(|host| host.join().unwrap()).sum()
    });
    assert_eq!(wins, 1);
}

#[test]
fn a_damaged_file_is_an_error_and_not_a_fresh_start() {
    let (directory, deployments) = opened();
    fs::write(directory.path().join("orders/deployment.json"), "{").unwrap();
    let error = deployments.read().unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    let refused = deployments.write(&Deployment::first(id("a")));
    assert!(matches!(refused, Err(WriteError::Failed(_))), "{refused:?}");
}

#[test]
fn bytes_are_kept_by_their_content() {
    let (directory, deployments) = opened();
    let module = deployments.keep(b"one").unwrap();
    assert_eq!(deployments.keep(b"one").unwrap(), module);
    assert_eq!(deployments.module(module).unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(deployments.module(id("of another host")).unwrap(), None);
    fs::write(directory.path().join(format!("orders/modules/{module}.wasm")), "two").unwrap();
    assert!(deployments.module(module).is_err(), "damaged bytes do not run");
}

#[test]
fn a_version_is_proposed_once() {
    let (_directory, deployments) = opened();
    assert!(!deployments.is_proposed(id("a")).unwrap());
    for version in ["a", "b", "a"] {
        deployments.propose(id(version)).unwrap();
        assert!(deployments.is_proposed(id(version)).unwrap());
    }
    for number in 1..PROPOSED_MAX {
        deployments.propose(id(&number.to_string())).unwrap();
    }
    assert!(!deployments.is_proposed(id("a")).unwrap(), "what is long ago is forgotten");
    assert!(deployments.is_proposed(id("b")).unwrap());
}

#[test]
fn three_old_versions_are_kept_and_all_that_are_in_use() {
    let (_directory, deployments) = opened();
    let mut modules = Vec::new();
    for age in 0..6u8 {
        let module = deployments.keep(&[age]).unwrap();
        // The order of files that were made within one tick of the clock would be a matter of luck.
        let since = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(age));
        let path = deployments.modules().join(format!("{module}.wasm"));
        File::options().write(true).open(path).unwrap().set_modified(since).unwrap();
        modules.push(module);
    }
    deployments.write(&Deployment::first(modules[0])).unwrap();
    let mut kept: Vec<ModuleId> = deployments.versions().unwrap().into_iter().map(|version| version.module).collect();
    kept.reverse();
    assert_eq!(kept, [&modules[..1], &modules[3..]].concat(), "the oldest is the one that runs");
}

#[test]
fn nothing_half_written_is_left() {
    let (directory, deployments) = opened();
    deployments.keep(b"one").unwrap();
    deployments.write(&Deployment::first(id("a"))).unwrap();
    let files = fs::read_dir(directory.path().join("orders")).unwrap();
    let names: Vec<String> = files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.ends_with(".part")), "{names:?}");
}

/// Each would roll back to what the other ran.
#[test]
fn two_jobs_of_one_module_do_not_know_of_each_other() {
    let (directory, first) = opened();
    first.write(&Deployment::first(id("a"))).unwrap();
    let second = Deployments::open(directory.path(), "orders", &job("2")).unwrap();
    assert_eq!(second.read().unwrap(), None);
    second.write(&Deployment::first(id("b"))).unwrap();
    for (number, current) in [("1", "a"), ("2", "b")] {
        let again = Deployments::open(directory.path(), "orders", &job(number)).unwrap();
        assert_eq!(again.read().unwrap(), Some(Deployment::first(id(current))), "job {number}");
    }
    let all = Deployments::all(directory.path(), "orders").unwrap();
    let known: Vec<_> =
        all.iter().map(|(owner, kept)| (owner.clone().unwrap().id, kept.read().unwrap().unwrap().current)).collect();
    assert_eq!(known, [("1", "a"), ("2", "b")].map(|(number, current)| (number.to_owned(), id(current))));
}

/// Hosts of both releases go on with one file.
#[test]
fn what_an_older_release_wrote_is_taken_over_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("orders/modules")).unwrap();
    let older = Deployments::at(directory.path(), "orders");
    older.write(&Deployment::first(id("a"))).unwrap();
    assert_eq!(older.owner().unwrap(), None);
    let newer = Deployments::open(directory.path(), "orders", &job("1")).unwrap();
    assert_eq!(newer.read().unwrap(), Some(Deployment::first(id("a"))));
    newer.write(&after(&newer.read().unwrap().unwrap(), "b")).unwrap();
    let refused = older.write(&after(&Deployment::first(id("a")), "c"));
    assert!(
        matches!(refused, Err(WriteError::Changed(_))),
        "the older release sees what the newer one wrote: {refused:?}"
    );
}

#[test]
fn of_many_jobs_that_come_first_one_gets_the_directory_of_the_module() {
    let directory = tempfile::tempdir().unwrap();
    let opened: Vec<Deployments> = std::thread::scope(|scope| {
        let open = |id: usize| Deployments::open(directory.path(), "orders", &job(&id.to_string())).unwrap();
        let threads: Vec<_> = (0..8).map(|id| scope.spawn(move || open(id))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let directories: std::collections::BTreeSet<_> = opened.iter().map(|it| it.directory.clone()).collect();
    assert_eq!(directories.len(), 8);
    assert!(directories.contains(&directory.path().join("orders")));
}

#[test]
fn a_directory_that_is_gone_is_made_again_with_what_runs() {
    let (directory, deployments) = opened();
    let module = deployments.keep(b"one").unwrap();
    let runs = Deployment { revision: 7, ..Deployment::first(module) };
    deployments.write(&runs).unwrap();
    assert!(!deployments.restore(&runs).unwrap(), "nothing is lost");
    fs::remove_dir_all(directory.path().join("orders")).unwrap();
    assert!(deployments.restore(&runs).unwrap());
    assert_eq!(deployments.read().unwrap(), Some(runs.clone()));
    assert_eq!(deployments.owner().unwrap(), Some(job("1")));
    let again = Deployments::open(directory.path(), "orders", &job("1")).unwrap();
    assert_eq!(again.module(module).unwrap().as_deref(), Some(&b"one"[..]), "the bytes were held open");
    // What is written next makes it, too.
    fs::remove_dir_all(directory.path().join("orders")).unwrap();
    deployments.keep(b"two").unwrap();
    deployments.write(&after(&runs, "b")).unwrap();
}

/// Who moved it away may be about to put a link in its place.
#[test]
fn the_directory_around_the_state_is_never_made() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = directory.path().join("tasks");
    fs::create_dir(&tasks).unwrap();
    let deployments = Deployments::open(&tasks.join(".shardmill"), "orders", &job("1")).unwrap();
    let runs = Deployment::first(id("a"));
    deployments.write(&runs).unwrap();
    fs::rename(&tasks, directory.path().join("release1")).unwrap();
    let error = deployments.restore(&runs).unwrap_err();
    assert!(error.to_string().contains("failed to make"), "{error}");
    assert!(deployments.keep(b"one").is_err());
    assert!(!tasks.exists());
    fs::create_dir(directory.path().join("release2")).unwrap();
    std::os::unix::fs::symlink("release2", &tasks).unwrap();
    assert!(deployments.restore(&runs).unwrap());
    assert!(directory.path().join("release2/.shardmill/orders/deployment.json").exists());
}

#[test]
fn what_was_rejected_is_remembered_within_bounds() {
    let (directory, deployments) = opened();
    let rejected = |module: &str, reason: &str| RejectedModule {
        module: id(module),
        reason: reason.to_owned(),
        release: "0.1.0".to_owned(),
        configuration: None,
        is_withdrawn: false,
    };
    assert_eq!(deployments.rejected().unwrap(), []);
    deployments.reject(rejected("a", "first")).unwrap();
    deployments.reject(rejected("a", "second")).unwrap();
    assert_eq!(deployments.rejected().unwrap(), [rejected("a", "second")]);
    for number in 0..40 {
        deployments.reject(rejected(&number.to_string(), &"\u{1b}é".repeat(100_000))).unwrap();
    }
    let all = deployments.rejected().unwrap();
    assert_eq!((all.len(), all.last().unwrap().module), (32, id("39")));
    deployments.forgive(id("39")).unwrap();
    assert_eq!(deployments.rejected().unwrap().len(), 31);
    fs::write(directory.path().join("orders/rejected.json"), "{").unwrap();
    assert_eq!(deployments.rejected().unwrap(), [], "it costs another look, and no more");
    deployments.reject(rejected("a", "again")).unwrap();
    assert_eq!(deployments.rejected().unwrap().len(), 1);
}

/// Neither blocks nor fills the memory.
#[test]
fn files_that_are_none_are_errors() {
    let (directory, deployments) = opened();
    let file = directory.path().join("orders/deployment.json");
    std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
    assert!(deployments.read().unwrap_err().to_string().contains("it is a device, not a regular file"));
    fs::remove_file(&file).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).unwrap();
    assert!(deployments.read().unwrap_err().to_string().contains("it is a pipe"));
    std::os::unix::fs::symlink("/dev/zero", directory.path().join("orders/proposed")).unwrap();
    assert!(deployments.is_proposed(id("a")).is_err());
}
