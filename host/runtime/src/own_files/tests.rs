//! Real directories: what the host keeps and what is granted, in both orders.

use std::os::unix::fs::symlink;

use super::*;

fn grant(directory: &Path) -> Result<(Claim, Place), NotGranted> {
    super::grant(directory, directory)
}

fn reason<T>(result: Result<T, impl std::fmt::Display>) -> String {
    result.map_or_else(|error| error.to_string(), |_| panic!("it is refused"))
}

#[test]
fn what_the_host_keeps_is_not_granted_by_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("host/state/orders")).unwrap();
    fs::create_dir(path("other")).unwrap();
    symlink("host/state", path("link")).unwrap();
    let kept = keep(Role::State, &path("host/state")).unwrap();
    for name in ["host/state", "host", "host/state/orders", "link", "link/orders", "", "other/../host"] {
        let told = reason(grant(&path(name)));
        assert!(told.contains("the state directory") && told.contains("host/state"), "{name}: {told}");
    }
    grant(&path("other")).unwrap();
    drop(kept);
    grant(&path("host/state")).unwrap();
}

#[test]
fn what_is_granted_is_not_kept_for_the_host_until_the_task_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (granted, _) = grant(dir.path()).unwrap();
    let output = || Role::Output { job: "b".into(), system: "out".into() };
    let told = reason(keep(output(), &dir.path().join("not-yet-there")));
    assert!(told.contains("where the output system out of job b has its file"), "{told}");
    drop(granted);
    let _kept = keep(output(), &dir.path().join("not-yet-there")).unwrap();
    reason(grant(dir.path()));
}

#[test]
fn file_systems_of_the_kernel_are_not_granted_wherever_they_are() {
    for path in ["/proc", "/proc/self", "/sys", "/dev", "/dev/shm", "/", "/sys/fs/cgroup"] {
        let told = reason(grant(Path::new(path)));
        assert!(told.contains("file system of the kernel"), "{path}: {told}");
    }
    // As if it were mounted at a place that has nothing to do with /proc.
    let opened = File::open("/proc/self").unwrap();
    let told = reason(verify(&look_up(Path::new("/proc/self")), &opened));
    assert!(told.contains("is proc, a file system of the kernel"), "{told}");
}

#[test]
fn what_was_opened_is_what_was_compared() {
    let dir = tempfile::tempdir().unwrap();
    let (_claim, place) = grant(dir.path()).unwrap();
    verify(&place, &File::open(dir.path()).unwrap()).unwrap();
    let told = reason(verify(&place, &File::open("/tmp").unwrap()));
    assert!(told.contains("was replaced"), "{told}");
}

#[test]
fn a_check_knows_what_is_planned() {
    let dir = tempfile::tempdir().unwrap();
    check(dir.path(), &[]).unwrap();
    let planned = [(Role::Output { job: "a".into(), system: "out".into() }, dir.path().to_owned())];
    reason(check(dir.path(), &planned));
}

#[test]
fn below_what_the_operator_named_no_link_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("real/sub")).unwrap();
    symlink("real", path("named")).unwrap();
    symlink("sub", path("real/link")).unwrap();
    super::grant(&path("named/sub"), &path("named")).unwrap();
    super::grant(&path("named/link"), &path("named/link")).unwrap();
    let told = reason(super::grant(&path("named/link"), &path("named")));
    assert!(told.contains("a link is on the way to it"), "{told}");
}
