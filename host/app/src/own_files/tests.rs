//! A job's grants beside the places of a host.

use std::fs;

use shardmill_core::config::{Source, load};

use super::*;

fn job(properties: &str) -> Job {
    let text = format!(
        "job.name=orders\ntask.class=orders\ntask.inputs=kinesis.orders\nsystems.kinesis.samza.factory=kinesis\n\
         systems.kinesis.aws.region=eu-west-1\nsystems.kinesis.streams.orders.aws.kcl.TableName=orders\n{properties}"
    );
    let source = Source::File { name: "job".to_owned(), text };
    load(&[source], &std::collections::BTreeMap::new(), false).unwrap_or_else(|error| panic!("{error}")).job
}

#[test]
fn a_grant_keeps_apart_from_the_hosts_directories_and_from_the_jobs_outputs() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["tasks", "state", "cache", "data", "out/data"] {
        fs::create_dir_all(path(name)).unwrap();
    }
    let _kept = keep(&path("tasks"), &path("state"), &path("cache")).unwrap();
    let told = |grant: &str, output: &str| {
        let (grant, output) = (path(grant), path(output));
        check_grants(&job(&format!(
            "task.grant.dir={}:rw\nsystems.out.samza.factory=file\nsystems.out.file.path={}\n",
            grant.display(),
            output.display()
        )))
        .err()
        .unwrap_or_default()
    };
    for (grant, output, role) in [
        ("tasks", "out/a", "the task directory"),
        ("state", "out/a", "the state directory"),
        ("cache", "out/a", "compiled modules"),
        ("", "out/a", "the task directory"),
        ("data", "data/a", "where the output system out of job orders has its file"),
        ("data", "data/not/yet/there/a", "where the output system out of job orders has its file"),
        ("out", "out/a", "where the output system out of job orders has its file"),
    ] {
        let told = told(grant, output);
        assert!(told.contains(role) && told.ends_with("(task.grant.dir)"), "{grant} {output}: {told}");
    }
    for (grant, output) in [("data", "out/a"), ("out/data", "out/a"), ("data", "database")] {
        assert_eq!(told(grant, output), "", "{grant} {output}");
    }
}

#[test]
fn the_directory_of_the_control_socket_is_the_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let _kept = keep(dir.path(), dir.path(), dir.path()).unwrap();
    for path in admin::directories() {
        let told = check_grants(&job(&format!("task.grant.dir={}\n", path.display()))).unwrap_err();
        assert!(told.contains("the directory of the control socket"), "{told}");
    }
}
