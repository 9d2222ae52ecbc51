//! The direction of dependencies: what a crate must not know, it cannot use.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Names of everything that a package is built with, itself included.
fn dependencies(package: &str, features: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--locked", "--offline"])
        .args(features)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    names.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// Asserts that a package is built with exactly these of the workspace, and with nothing whose name begins like one of
/// `not`.
fn assert_built_with(package: &str, ours: &[&str], not: &[&str]) {
    let all = dependencies(package, &[]);
    let of_workspace: Vec<&str> =
        all.iter().map(String::as_str).filter(|name| name.starts_with("shardmill") && *name != package).collect();
    assert_eq!(of_workspace, ours, "the crates of the workspace that {package} knows");
    let foreign: Vec<&String> = all.iter().filter(|name| not.iter().any(|begin| name.starts_with(begin))).collect();
    assert!(foreign.is_empty(), "{package} must not be built with {foreign:?}");
}

#[test]
fn core_is_pure() {
    let impure = ["tokio", "async-", "futures", "mio", "aws-", "hyper", "http", "wasm", "rustls", "tracing", "libc"];
    assert_built_with("shardmill-core", &[], &impure);
}

#[test]
fn the_runtime_knows_neither_streams_nor_how_to_connect() {
    // The types of HTTP come with `wasi:http`; whoever sends a request is given to it.
    let not = ["aws-", "hyper-util", "hyper-rustls", "rustls", "tokio-rustls", "webpki", "dynoxide"];
    assert_built_with("shardmill-runtime", &["shardmill-core"], &not);
}

#[test]
fn the_aws_adapters_know_nothing_of_tasks() {
    assert_built_with("shardmill-aws", &["shardmill-core"], &["wasm", "wit-", "dynoxide", "axum"]);
}

#[test]
fn the_local_backend_shares_nothing_with_what_it_tests() {
    assert_built_with("shardmill-local", &[], &["aws-", "wasm", "wit-"]);
}

#[test]
fn the_simulation_runs_the_machines_and_nothing_around_them() {
    assert_built_with(
        "shardmill-sim",
        &["shardmill-core", "shardmill-local", "shardmill-testkit"],
        &["aws-", "wasm", "wit-"],
    );
}

/// Who runs it against AWS can leave the local backend out.
#[test]
fn without_its_local_feature_the_binary_has_no_emulator() {
    let of_emulator = |features: &[&str]| -> Vec<String> {
        let of_emulator = ["shardmill-local", "dynoxide", "axum", "rusqlite", "libsqlite3"];
        let all = dependencies("shardmill", features).into_iter();
        all.filter(|name| of_emulator.iter().any(|begin| name.starts_with(begin))).collect()
    };
    assert_eq!(of_emulator(&["--no-default-features"]), [""; 0]);
    assert!(!of_emulator(&[]).is_empty(), "it is a default feature, and these are names of what it brings");
}
