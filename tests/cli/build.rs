//! `shardmill build`: from a Rust crate to a checked module.

use serde_json::Value;
use shardmill_tests::guests::{rust_guest, samples};

use crate::shell::{below, command, directory, finished};

/// The log is off, but cargo talks too: what it says is of no interest here.
fn build(args: &[&str]) -> crate::shell::Said {
    finished(command(&["build"]).args(args).env("RUST_LOG", "off").env("CARGO_TERM_QUIET", "true"))
}

#[test]
fn a_sample_is_built_checked_and_put_into_a_task_directory() {
    // Built by then, with the same flags into the same directory: no second build.
    let built = std::fs::read(rust_guest("word-count")).unwrap();
    let dir = directory(&[]);
    let sample = samples().join("word-count");
    let said = build(&[sample.to_str().unwrap(), "--tasks", &below(&dir, "tasks"), "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    let installed = dir.path().join("tasks/word-count.wasm");
    assert_eq!(json["path"], installed.to_str().unwrap());
    assert_eq!(json["shape"], "task");
    assert_eq!(json["size_bytes"], built.len());
    let id = json["id"].as_str().unwrap();
    let digits = id.strip_prefix("word_count@").or_else(|| id.strip_prefix("word-count@")).unwrap();
    assert!(digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    for (list, wanted) in [("imports", "shardmill:task/collector@0.1.0"), ("exports", "shardmill:task/processor@0.1.0")]
    {
        assert!(json[list].as_array().unwrap().iter().any(|name| name == wanted), "{list}: {json}");
    }
    assert_eq!(std::fs::read(installed).unwrap(), built);
    let others: Vec<_> = std::fs::read_dir(dir.path().join("tasks")).unwrap().collect();
    assert_eq!(others.len(), 1, "something is left behind: {others:?}");
}

#[test]
fn a_failed_build_reports_what_to_do() {
    let dir = directory(&[("notes.txt", b"nothing to build")]);
    let said = build(&[&below(&dir, "")]);
    assert_eq!(said.code, Some(64));
    insta::assert_snapshot!("build_no_crate", said.text(dir.path()));

    let manifest = "[package]\nname = \"plain\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    let dir = directory(&[("Cargo.toml", manifest.as_bytes()), ("src/lib.rs", b"")]);
    let said = build(&[&below(&dir, "")]);
    assert_eq!(said.code, Some(1));
    insta::assert_snapshot!("build_no_cdylib", said.text(dir.path()));

    let manifest = format!("{manifest}[lib]\ncrate-type = [\"cdylib\"]\n");
    let dir = directory(&[("Cargo.toml", manifest.as_bytes()), ("src/lib.rs", b"")]);
    let said = build(&[&below(&dir, "")]);
    assert_eq!(said.code, Some(64));
    insta::assert_snapshot!("build_no_task", said.text(dir.path()));
}
