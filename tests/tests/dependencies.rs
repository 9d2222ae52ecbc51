//! What the project is built of: `deny.toml`, held without `cargo deny`. Licences are those of the packages for this
//! machine's system, for only these need be there; sources and bans are held for all systems.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The texts of a list in `deny.toml`: of `name = [...]` in a section, those after `name =` if its entries are tables.
fn list(section: &str, name: &str) -> BTreeSet<String> {
    let toml = fs::read_to_string(root().join("deny.toml")).unwrap();
    let section = toml.split(&format!("\n[{section}]\n")).nth(1).expect("the section is there");
    let section = section.split("\n[").next().unwrap();
    let list = section.split(&format!("\n{name} = [")).nth(1).expect("the list is there");
    let list = &list[..list.find("\n]").or(list.find(']')).unwrap()];
    let text = |entry: &str| entry.split('"').nth(1).map(str::to_owned);
    list.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(text).collect()
}

/// Packages with this machine's system as a target, by `cargo metadata`.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let version = Command::new("rustc").arg("-vV").current_dir(root()).output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let system = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let args = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", system];
    let output = Command::new(cargo).current_dir(root()).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether an SPDX expression offers a choice that is allowed. `/` is an old way to write OR.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut words = words.as_slice();
    let result = alternatives(&mut words, allowed);
    assert!(words.is_empty(), "not an expression: {expression}");
    result
}

fn alternatives(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut is = together(words, allowed);
    while take(words, "OR") {
        is |= together(words, allowed);
    }
    is
}

fn together(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut is = one(words, allowed);
    while take(words, "AND") {
        is &= one(words, allowed);
    }
    is
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    if take(words, "(") {
        let is = alternatives(words, allowed);
        assert!(take(words, ")"), "a bracket is open");
        return is;
    }
    let [licence, rest @ ..] = *words else { panic!("a licence is missing") };
    *words = rest;
    match *words {
        ["WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(&format!("{licence} WITH {exception}"))
        }
        _ => allowed.contains(*licence),
    }
}

fn take(words: &mut &[&str], word: &str) -> bool {
    match *words {
        [first, rest @ ..] if *first == word => {
            *words = rest;
            true
        }
        _ => false,
    }
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let allowed = list("licenses", "allow");
    let packages = packages();
    assert!(packages.len() > 100, "{} packages", packages.len());
    let bad: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(|licence| is_allowed(licence, &allowed)))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(bad.is_empty(), "not allowed by deny.toml: {bad:#?}");
    let needed = |licence: &String| {
        let mut others = allowed.clone();
        others.remove(licence);
        packages.iter().any(|package| !is_allowed(package["license"].as_str().unwrap(), &others))
    };
    let unused: Vec<&String> = allowed.iter().filter(|licence| !needed(licence)).collect();
    assert!(unused.is_empty(), "allowed and needed by no package: {unused:?}");
}

#[test]
fn every_package_is_from_crates_io_and_none_is_banned() {
    let (registries, banned) = (list("sources", "allow-registry"), list("bans", "deny"));
    assert!(banned.contains("openssl-sys") && registries.len() == 1);
    for lock in ["Cargo.lock", "sample-tasks/Cargo.lock", "tests/fuzz/Cargo.lock"] {
        let lock = fs::read_to_string(root().join(lock)).unwrap();
        for package in lock.split("\n[[package]]\n").skip(1) {
            let field = |name: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(&format!("{name} = \"")));
                line.map(|line| line.trim_end_matches('"').to_owned())
            };
            let name = field("name").unwrap();
            assert!(!banned.contains(&name), "{name} is banned by deny.toml");
            // One without a source is ours.
            if let Some(source) = field("source") {
                let registry = source.strip_prefix("registry+").unwrap_or(&source);
                assert!(registries.contains(registry), "{name} is from {source}");
            }
        }
    }
}

#[test]
fn an_expression_is_read_as_spdx_means_it() {
    let allowed: BTreeSet<String> = ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for good in
        ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "MIT AND Zlib", "(GPL-3.0 OR MIT) AND Zlib", "GPL-3.0 OR MIT AND Zlib"]
    {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "Apache-2.0", "MIT AND GPL-3.0", "GPL-3.0 AND MIT OR GPL-2.0", "MIT WITH LLVM-exception"] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
    assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR GPL-3.0", &allowed));
}

#[test]
fn the_reported_version_of_wasmtime_is_the_one_that_is_built() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let line = format!("name = \"wasmtime\"\nversion = \"{}\"\n", shardmill_runtime::WASMTIME_VERSION);
    assert!(lock.contains(&line), "{line}");
}
