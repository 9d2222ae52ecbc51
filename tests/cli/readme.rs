//! The README's first own task, word by word: what a new user types works.

use std::fs;
use std::path::Path;
use std::process::Command;

use shardmill_tests::account::Account;
use shardmill_tests::guests::samples;

use crate::shell::{Said, command, directory, finished};

const SECTION: &str = "## Your own task in ten minutes";

#[test]
fn the_first_own_task_is_made_built_and_run_as_written() {
    let blocks = blocks();
    let block = |beginning: &str| blocks.iter().find(|block| block.starts_with(beginning)).unwrap().as_str();
    let repository = samples().parent().unwrap().to_owned();
    let account = Account::new();
    account.stream("orders", 4);
    let dir = directory(&[]);
    let (clone, task) = (dir.path().join("clone"), dir.path().join("big-orders"));
    fs::create_dir(&clone).unwrap();
    assert!(Command::new("cp").arg("-r").arg(repository.join("wit")).arg(&clone).status().unwrap().success());
    // The toolchain that is here, not whichever is the default.
    fs::copy(repository.join("rust-toolchain.toml"), dir.path().join("rust-toolchain.toml")).unwrap();

    typed(block("cargo new"), &clone, &account);
    fs::write(task.join("src/lib.rs"), block("use exports::")).unwrap();
    typed(block("shardmill build"), &task, &account);
    fs::write(task.join("orders.properties"), block("job.name=")).unwrap();
    account.kinesis().put_record("orders", "alice", b"1500").unwrap();
    let run = block("printf").lines().find(|line| line.starts_with("shardmill run")).unwrap();
    let said = typed(&format!("{run} --until-caught-up"), &task, &account);
    assert_eq!(said.stdout, block("{"));
}

/// What stands between fences in the section.
fn blocks() -> Vec<String> {
    let readme = fs::read_to_string(samples().join("../README.md")).unwrap();
    let section = readme.split_once(SECTION).unwrap().1.split("\n## ").next().unwrap();
    // Every other piece is between two fences; the rest of a fence's line names the language.
    let fenced = section.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap().1.to_owned()).collect()
}

/// Runs what is typed into a shell that has the binary on its path; it must succeed.
fn typed(lines: &str, at: &Path, account: &Account) -> Said {
    let shardmill = command(&[]);
    let directory = Path::new(shardmill.get_program()).parent().unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let [kinesis, dynamodb] = account.endpoints();
    let mut shell = Command::new("sh");
    shell.env_clear().envs(shardmill.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
        .args(["-ec", lines])
        .env("PATH", path)
        .env("AWS_ENDPOINT_URL_KINESIS", kinesis)
        .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb)
        // What the samples are built with is here already, and compiled.
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_BUILD_TARGET_DIR", samples().join("target"))
        .current_dir(at);
    let said = finished(&mut shell);
    assert_eq!(said.code, Some(0), "{lines}\n{}{}", said.stdout, said.stderr);
    said
}
