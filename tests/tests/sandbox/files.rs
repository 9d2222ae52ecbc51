//! What a task can do to the directories that it is granted: no link out of them, so much in them, and none of those
//! that are the host's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use shardmill_core::config::{Directory, Grants};
use shardmill_core::own_files::Relation;
use shardmill_runtime::own_files::{Role, keep};
use shardmill_runtime::{CallError, Engine, Instance, Limit, Module, Outputs, TaskSpec};
use shardmill_tests::instances::{load, process, spec, texts};

fn module() -> Module {
    load(&Engine::new().unwrap(), "hostile")
}

/// A task with this directory at `/in`.
fn granted(directory: &Path, writable: bool) -> TaskSpec {
    let directory =
        Directory { host: directory.to_owned(), operators: directory.to_owned(), guest: "/in".into(), writable };
    let grants = Grants { directories: vec![directory], ..Grants::default() };
    TaskSpec { grants, ..spec(&std::sync::Arc::default(), &[]) }
}

fn answers(instance: &mut Instance, orders: &[&str]) -> Vec<String> {
    let mut outputs = Outputs::default();
    process(instance, orders, &mut outputs).unwrap();
    texts(&outputs)
}

fn instance(spec: &TaskSpec) -> Instance {
    Instance::new(&module(), spec).unwrap()
}

const OK: &str = "ok";
const REFUSED: &str = "not-permitted";
const FULL: &str = "insufficient-space";
const QUOTA: &str = "quota";

/// Every link below a directory that leads, from where it is, out of it.
fn leading_out(root: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                left.push(path.clone());
            }
            if let Ok(target) = fs::read_link(&path) {
                let mut depth = path.strip_prefix(root).unwrap().components().count() as i32 - 1;
                let climbs = target.components().any(|part| {
                    depth += if part == std::path::Component::ParentDir { -1 } else { 1 };
                    depth < 0
                });
                if climbs || target.is_absolute() {
                    out.push(format!("{} -> {}", path.display(), target.display()));
                }
            }
        }
    }
    out
}

#[test]
fn a_task_makes_no_link_that_leads_out_of_its_grant_by_any_way() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("grant");
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::create_dir_all(root.join("d")).unwrap();
    fs::write(dir.path().join("secret"), "beside it").unwrap();
    fs::write(root.join("file"), "").unwrap();
    // The operator's own, which stays inside.
    symlink("../../file", root.join("a/b/up")).unwrap();
    symlink("../d", root.join("a/b-up")).unwrap();

    let mut instance = instance(&granted(&root, true));
    for (order, expected) in [
        ("raw symlink ../secret out", REFUSED),
        ("raw symlink /etc/passwd out", REFUSED),
        ("raw symlink .. out", REFUSED),
        ("raw symlink a/../../secret out", REFUSED),
        ("raw symlink a/../file out", REFUSED),
        ("raw symlink ./../secret a/b/out", REFUSED),
        ("raw symlink ../file a/out", REFUSED),
        ("raw symlink file ../out", REFUSED),
        ("raw symlink file inside", OK),
        ("raw symlink b/c a/inside", OK),
        // Moved up, it would lead out; and with the directory that it is in.
        ("raw rename a/b/up up", REFUSED),
        ("raw rename a/b/up a/up", REFUSED),
        ("raw rename a/b b", REFUSED),
        ("raw rename-to a/b d b", REFUSED),
        ("raw rename-to a/b/up a up", REFUSED),
        ("raw rename a/b-up b-up", REFUSED),
        ("raw rename file ../file", REFUSED),
        // In its directory it leads where it led.
        ("raw rename a/b/up a/b/still-up", OK),
        ("raw rename a z", OK),
        ("raw rename z a", OK),
        ("raw rename a/b/c c", OK),
        ("raw rename inside a/inside-too", OK),
        // A second name of a file, and of a link.
        ("raw link file other", REFUSED),
        ("raw link a/b/still-up up", REFUSED),
        ("raw link ../secret secret", REFUSED),
    ] {
        let answer = answers(&mut instance, &[order]).concat();
        // The sandbox itself has another word for a path that leads out.
        let is_refused = expected == REFUSED && (answer == REFUSED || answer == "access");
        assert!(answer == expected || is_refused, "{order}: {answer}");
        assert_eq!(leading_out(&root), Vec::<String>::new(), "{order}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("secret")).unwrap(), "beside it");
}

fn limited(directory: &Path, bytes: u64, files: u64) -> TaskSpec {
    let mut spec = granted(directory, true);
    (spec.limits.files_total_max_bytes, spec.limits.files_max_count) = (bytes, files);
    spec
}

#[test]
fn a_file_with_holes_counts_by_its_length_however_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let spec = limited(dir.path(), 1 << 20, 100);
    let mut instance = instance(&spec);
    let terabyte = (1_u64 << 40).to_string();
    let stream = answers(&mut instance, &[&format!("raw stream-at c {terabyte}")]).concat();
    assert_eq!(stream, "io", "what the guest makes of a stream that failed");
    for how in ["set-size", "write-at"] {
        let answer = answers(&mut instance, &[&format!("raw {how} a {terabyte}")]).concat();
        assert_eq!(answer, FULL, "{how}");
    }
    assert_eq!(spec.hits.hit().collect::<Vec<_>>(), [(Limit::FileTotal, 3)]);
    let longest = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).max();
    assert_eq!(longest, Some(0));
    assert_eq!(answers(&mut instance, &["raw set-size a 1048576", "raw write-at a 5", "raw stream-at a 7"]), [OK; 3]);
    assert_eq!(answers(&mut instance, &["raw write-at a 1048576", "raw stream-on b 1"])[0], FULL);
}

#[test]
fn all_files_together_have_so_many_bytes_whatever_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("below")).unwrap();
    fs::write(dir.path().join("below/there"), vec![0; 60_000]).unwrap();
    let spec = limited(dir.path(), 100_000, 100);
    let mut instance = instance(&spec);
    // What is there counts, over all calls and all files.
    let filled = answers(&mut instance, &["fill /in/a", "fill /in/b"]);
    assert_eq!(filled[0], "40000 I/O error (os error 29)");
    assert_eq!(filled[1], "0 I/O error (os error 29)");
    assert_eq!(answers(&mut instance, &["raw stream-on c 1"]), ["io"]);
    // What is deleted, by the task or by anybody, is given back.
    assert_eq!(answers(&mut instance, &["raw unlink a", "fill /in/b"])[1], "40000 I/O error (os error 29)");
    fs::remove_file(dir.path().join("below/there")).unwrap();
    assert_eq!(answers(&mut instance, &["raw set-size a 60000", "raw set-size c 1"]), [OK, FULL]);
    assert_eq!(answers(&mut instance, &["raw truncate a", "raw set-size c 60000"]), [OK, OK]);
    assert!(spec.hits.of(Limit::FileTotal) > 0);
}

#[test]
fn a_file_without_a_name_takes_its_room_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut instance = instance(&limited(dir.path(), 100_000, 100));
    assert_eq!(answers(&mut instance, &["raw hoard 2 50000", "raw set-size a 1"]), [OK, FULL]);
    assert_eq!(answers(&mut instance, &["raw let-go", "raw set-size a 100000"]), [OK, OK]);
}

#[test]
fn there_are_so_many_names_and_what_is_removed_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("there"), "").unwrap();
    let spec = limited(dir.path(), 1 << 20, 50);
    let mut instance = instance(&spec);
    assert_eq!(answers(&mut instance, &["make-files /in"]), ["49 files"]);
    let more = ["raw mkdir directory", "raw symlink there link", "raw write-at more 0"];
    assert_eq!(answers(&mut instance, &more), [QUOTA; 3]);
    assert_eq!(
        answers(&mut instance, &["write /in/there", "raw unlink 0", more[0], more[1]]),
        ["Ok(())", OK, OK, QUOTA]
    );
    assert_eq!(answers(&mut instance, &["raw rmdir directory", "raw rename 1 2", more[1], more[2]]), [OK; 4]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 50);
    assert!(spec.hits.of(Limit::FileCount) > 0);
    let names: Vec<_> = spec.hits.hit().map(|(limit, _)| limit.name()).collect();
    assert_eq!(names, ["file-count"]);
}

#[test]
fn the_instances_of_a_job_share_its_room() {
    let dir = tempfile::tempdir().unwrap();
    let spec = limited(dir.path(), 100_000, 100);
    let (mut first, mut second) = (instance(&spec), instance(&spec));
    assert_eq!(answers(&mut first, &["raw set-size a 60000"]), [OK]);
    assert_eq!(answers(&mut second, &["raw set-size b 60000", "raw set-size b 40000"]), [FULL, OK]);
}

fn refused(directory: &Path) -> String {
    match Instance::new(&module(), &granted(directory, false)) {
        Err(error @ CallError::Grant(_)) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{} is granted", directory.display()),
    }
}

#[test]
fn file_systems_of_the_kernel_are_not_granted() {
    for path in ["/proc", "/proc/self", "/sys", "/dev", "/"] {
        let told = refused(Path::new(path));
        assert!(told.contains("file system of the kernel") && told.ends_with("(task.grant.dir)"), "{told}");
    }
    let dir = tempfile::tempdir().unwrap();
    symlink("/proc/self", dir.path().join("link")).unwrap();
    assert!(refused(&dir.path().join("link")).contains("/proc"));
}

#[test]
fn the_hosts_own_directories_are_not_granted_and_what_a_task_has_does_not_become_the_hosts() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("host/tasks")).unwrap();
    let kept = keep(Role::Tasks, &dir.path().join("host")).unwrap();
    for name in ["host", "host/tasks", ""] {
        let told = refused(&dir.path().join(name));
        assert!(told.contains("the task directory"), "{name}: {told}");
    }
    drop(kept);
    let running = instance(&granted(&dir.path().join("host/tasks"), true));
    let overlap = keep(Role::State, &dir.path().join("host")).unwrap_err();
    assert_eq!(overlap.relation, Relation::Below);
    drop(running);
    keep(Role::State, &dir.path().join("host")).unwrap();
}
