//! The directory as several hosts use it.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]

use super::*;

fn opened() -> (tempfile::TempDir, Deployments) {
    let directory = tempfile::tempdir().unwrap();
    let deployments = Deployments::open(directory.path(), "orders").unwrap();
    (directory, deployments)
}

fn after(last: &Deployment, current: &str) -> Deployment {
    Deployment { revision: last.revision + 1, current: current.to_owned(), ..last.clone() }
}

#[test]
fn what_is_written_is_read() {
    let (_directory, deployments) = opened();
    assert_eq!(deployments.read().unwrap(), None);
    let first = Deployment::first("a".to_owned());
    deployments.write(&first).unwrap();
    let second = after(&first, "b");
    deployments.write(&second).unwrap();
    assert_eq!(deployments.read().unwrap(), Some(second));
}

#[test]
fn who_comes_second_is_told_what_the_first_wrote() {
    let (_directory, deployments) = opened();
    let first = Deployment::first("a".to_owned());
    deployments.write(&first).unwrap();
    deployments.write(&after(&first, "b")).unwrap();
    let refused = deployments.write(&after(&first, "c"));
    assert_eq!(refused, Err(WriteError::Changed(Box::new(after(&first, "b")))));
}

#[test]
fn of_many_hosts_that_write_at_once_one_wins_each_revision() {
    let (_directory, deployments) = opened();
    let first = Deployment::first("a".to_owned());
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
    let refused = deployments.write(&Deployment::first("a".to_owned()));
    assert!(matches!(refused, Err(WriteError::Failed(_))), "{refused:?}");
}

#[test]
fn bytes_are_kept_by_their_content() {
    let (directory, deployments) = opened();
    let module = deployments.keep(b"one").unwrap();
    assert_eq!(deployments.keep(b"one").unwrap(), module);
    assert_eq!(deployments.module(&module).unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(deployments.module("of another host").unwrap(), None);
    fs::write(directory.path().join(format!("orders/modules/{module}.wasm")), "two").unwrap();
    assert!(deployments.module(&module).is_err(), "damaged bytes do not run");
}

#[test]
fn a_version_is_proposed_once() {
    let (_directory, deployments) = opened();
    assert!(!deployments.is_proposed("a").unwrap());
    for version in ["a", "b", "a"] {
        deployments.propose(version).unwrap();
        assert!(deployments.is_proposed(version).unwrap());
    }
    for number in 1..PROPOSED_MAX {
        deployments.propose(&number.to_string()).unwrap();
    }
    assert!(!deployments.is_proposed("a").unwrap(), "what is long ago is forgotten");
    assert!(deployments.is_proposed("b").unwrap());
}

#[test]
fn three_old_versions_are_kept_and_all_that_are_in_use() {
    let (_directory, deployments) = opened();
    let mut modules = Vec::new();
    for age in 0..6u8 {
        let module = deployments.keep(&[age]).unwrap();
        // The order of files that were made within one tick of the clock would be a matter of luck.
        let since = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(age));
        File::options().write(true).open(deployments.module_file(&module)).unwrap().set_modified(since).unwrap();
        modules.push(module);
    }
    deployments.write(&Deployment::first(modules[0].clone())).unwrap();
    let mut kept: Vec<ModuleId> = deployments.versions().unwrap().into_iter().map(|version| version.module).collect();
    kept.reverse();
    assert_eq!(kept, [&modules[..1], &modules[3..]].concat(), "the oldest is the one that runs");
}

#[test]
fn nothing_half_written_is_left() {
    let (directory, deployments) = opened();
    deployments.keep(b"one").unwrap();
    deployments.write(&Deployment::first("a".to_owned())).unwrap();
    let files = fs::read_dir(directory.path().join("orders")).unwrap();
    let names: Vec<String> = files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.ends_with(".part")), "{names:?}");
}
