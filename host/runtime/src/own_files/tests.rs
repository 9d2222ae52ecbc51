//! Real directories: reservations of the host and grants to tasks, in both orders.

use std::os::unix::fs::symlink;

use super::*;

fn grant(directory: &Path) -> Result<(Claim, Place), NotGranted> {
    super::grant(directory, directory)
}

fn reason<T>(result: Result<T, impl std::fmt::Display>) -> String {
    result.map_or_else(|error| error.to_string(), |_| panic!("it is refused"))
}

#[test]
fn a_directory_of_the_host_cannot_be_granted_by_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("host/state/orders")).unwrap();
    fs::create_dir(path("other")).unwrap();
    symlink("host/state", path("link")).unwrap();
    let kept = keep(Role::State, &path("host/state")).unwrap();
    for name in ["host/state", "host", "host/state/orders", "link", "link/orders", "", "other/../host"] {
        let refused = reason(grant(&path(name)));
        assert!(refused.contains("the state directory") && refused.contains("host/state"), "{name}: {refused}");
    }
    grant(&path("other")).unwrap();
    drop(kept);
    grant(&path("host/state")).unwrap();
}

#[test]
fn a_granted_directory_cannot_be_reserved_for_the_host_until_the_task_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (granted, _) = grant(dir.path()).unwrap();
    let output = || Role::Output { job: "b".into(), system: "out".into() };
    let refused = reason(keep(output(), &dir.path().join("not-yet-there")));
    assert!(refused.contains("where the output system out of job b has its file"), "{refused}");
    drop(granted);
    let _kept = keep(output(), &dir.path().join("not-yet-there")).unwrap();
    reason(grant(dir.path()));
}

#[test]
fn file_systems_of_the_kernel_are_not_granted_wherever_they_are() {
    for path in ["/proc", "/proc/self", "/sys", "/dev", "/dev/shm", "/", "/sys/fs/cgroup"] {
        let refused = reason(grant(Path::new(path)));
        assert!(refused.contains("file system of the kernel"), "{path}: {refused}");
    }
    // As if it were mounted at a place that has nothing to do with /proc.
    let opened = File::open("/proc/self").unwrap();
    let refused = reason(verify(&look_up(Path::new("/proc/self")), &opened));
    assert!(refused.contains("is proc, a file system of the kernel"), "{refused}");
}

#[test]
fn a_directory_that_was_replaced_before_it_was_opened_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_claim, place) = grant(dir.path()).unwrap();
    verify(&place, &File::open(dir.path()).unwrap()).unwrap();
    let refused = reason(verify(&place, &File::open("/tmp").unwrap()));
    assert!(refused.contains("was replaced"), "{refused}");
}

#[test]
fn a_check_considers_planned_reservations() {
    let dir = tempfile::tempdir().unwrap();
    check(dir.path(), &[]).unwrap();
    let planned = [(Role::Output { job: "a".into(), system: "out".into() }, dir.path().to_owned())];
    reason(check(dir.path(), &planned));
}

#[test]
fn below_the_directory_of_the_operator_no_link_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("real/sub")).unwrap();
    symlink("real", path("named")).unwrap();
    symlink("sub", path("real/link")).unwrap();
    super::grant(&path("named/sub"), &path("named")).unwrap();
    super::grant(&path("named/link"), &path("named/link")).unwrap();
    let refused = reason(super::grant(&path("named/link"), &path("named")));
    assert!(refused.contains("its path contains a link"), "{refused}");
}
