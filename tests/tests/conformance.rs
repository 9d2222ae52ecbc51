//! `tests/CONFORMANCE.md` against the sources: no number is missing, no test that it names is gone, and no test that
//! names an item is missing from its row. Likewise the files and tests that `host/ARCHITECTURE.md` names.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Cases of the Kinesis Client Library's shard syncer, at the version that the page names.
const SYNCER_CASES: usize = 101;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn page() -> String {
    fs::read_to_string(root().join("tests/CONFORMANCE.md")).unwrap()
}

/// The cells of every row of a table, without its head.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let row = |line: &'_ str| line.starts_with('|') && !line.starts_with("|---");
    let cells = |line| str::split(str::trim_matches(line, '|'), '|').map(str::trim).collect();
    page.lines().filter(|line| row(line)).map(cells).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The tests that a text names: short name of the file, and name.
fn tests_named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    quoted(text).filter_map(|name| name.split_once("::"))
}

/// The files by their short names.
fn files(page: &str) -> BTreeMap<&str, PathBuf> {
    let file = |row: &Vec<&'_ str>| Path::new(row.last().unwrap()).extension().is_some_and(|is| is == "rs");
    let named = rows(page).into_iter().filter(|row| file(row));
    named.map(|row| (row[0].trim_matches('`'), root().join(row[1]))).collect()
}

/// The names of the tests in a source file.
fn tests_in(source: &str) -> BTreeSet<&str> {
    let mut tests = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        if let Some((_, declaration)) = line.split_once("fn ").filter(|_| is_test) {
            tests.extend(declaration.split('(').next());
            is_test = false;
        }
    }
    tests
}

/// Words that begin like a Java test's name.
fn java_tests(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.strip_prefix("test").is_some_and(|rest| rest.starts_with(char::is_uppercase))).collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let page = page();
    let files = files(&page);
    let mut used = BTreeSet::new();
    let mut missing = Vec::new();
    for (file, test) in tests_named(&page) {
        used.insert(file);
        let Some(path) = files.get(file) else {
            missing.push(format!("{file}::{test}: the page does not say which file `{file}` is"));
            continue;
        };
        match fs::read_to_string(path) {
            Ok(source) if tests_in(&source).contains(test) => {}
            Ok(_) => missing.push(format!("{file}::{test}: no such test in {}", path.display())),
            Err(error) => missing.push(format!("{file}::{test}: {}: {error}", path.display())),
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    let unused: Vec<_> = files.keys().filter(|file| !used.contains(*file)).collect();
    assert!(unused.is_empty(), "files that nothing is named from: {unused:?}");
    assert!(used.len() > 30, "too few to be true: {used:?}");
}

/// What is opt-in is a script, and the suite that it is told to run.
#[test]
fn every_path_and_every_opt_in_suite_exists() {
    let page = page();
    let runner = fs::read_to_string(root().join("tests/compat/run")).unwrap();
    for words in quoted(&page).filter(|text| text.contains('/') && !text.contains("::")) {
        let (path, suite) = words.split_once(' ').unwrap_or((words, ""));
        assert!(root().join(path).exists(), "{words}: there is no {path}");
        assert!(runner.contains(&format!("  {suite}")), "{words}: {path} has no suite {suite}");
    }
}

/// A row has a test, or says why it has none.
#[test]
fn every_number_is_there_once_and_answered() {
    let page = page();
    let mut expected: Vec<String> = (1..=85).map(|item| item.to_string()).collect();
    for (prefix, last) in [("S", 28), ("C", 22), ("D", 10), ("T", 14)] {
        expected.extend((1..=last).map(|number| format!("{prefix}{number}")));
    }
    let is_number = |cell: &str| cell.ends_with(|c: char| c.is_ascii_digit()) && cell.len() <= 3;
    let rows: Vec<Vec<&str>> = rows(&page).into_iter().filter(|row| is_number(row[0])).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), expected);
    for row in rows {
        let [number, promise, held_by] = row[..] else { panic!("{row:?}") };
        assert!(promise.len() > 10, "{number}");
        let excused = ["Not here", "Follows from", "Opt-in"].iter().any(|begin| held_by.starts_with(begin));
        assert!(excused || tests_named(held_by).next().is_some(), "{number}: neither a test nor a reason");
    }
}

#[test]
fn a_test_that_names_an_item_stands_in_its_row() {
    let page = page();
    let rows: BTreeMap<&str, &str> = rows(&page).into_iter().map(|row| (row[0], *row.last().unwrap())).collect();
    let mut directories = vec![root().join("host"), root().join("tests")];
    let mut items = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                directories.push(path);
            } else if path.extension().is_some_and(|is| is == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                for test in tests_in(&source).into_iter().filter(|test| test.starts_with("item_")) {
                    items += 1;
                    let item = test.split('_').nth(1).unwrap();
                    let held_by = rows.get(item).unwrap_or_else(|| panic!("{test} of {}: no item", path.display()));
                    let named = tests_named(held_by).any(|(_, name)| name == test);
                    assert!(named, "{test} of {} is not in row {item}", path.display());
                }
            }
        }
    }
    assert!(items > 20, "{items} tests that name an item: too few to be true");
}

#[test]
fn every_case_of_the_shard_syncer_is_accounted_for() {
    let page = page();
    let syncer = fs::read_to_string(&files(&page)["syncer"]).unwrap();
    let (_, others) = page.split_once("\n## The KCL's shard syncer\n").unwrap();
    let (others, _) = others.split_once("\n## ").unwrap();
    let (held, others) = (java_tests(&syncer), java_tests(others));
    assert_eq!(held.intersection(&others).next(), None, "in both places");
    assert_eq!(held.len() + others.len(), SYNCER_CASES, "{} there, {} here", held.len(), others.len());
}

/// `a/{b,c}.rs` as two paths.
fn alternatives(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (inside, after) = rest.split_once('}').unwrap();
    inside.split(',').map(|one| format!("{before}{one}{after}")).collect()
}

#[test]
fn files_and_tests_of_the_architecture_exist() {
    let page = fs::read_to_string(root().join("host/ARCHITECTURE.md")).unwrap();
    let is_path = |text: &&str| text.contains('/') && text.contains(".rs");
    let mut missing = Vec::new();
    let mut named = 0;
    for quoted in quoted(&page).filter(is_path) {
        let (path, test) = quoted.split_once("::").map_or((quoted, None), |(path, test)| (path, Some(test)));
        for path in alternatives(path) {
            named += 1;
            // The table of shells names files of the binary.
            let source = ["host", ".", "host/app/src"]
                .iter()
                .find_map(|from| fs::read_to_string(root().join(from).join(&path)).ok());
            match (source, test) {
                (None, _) => missing.push(path),
                (Some(source), Some(test)) if !tests_in(&source).contains(test) => missing.push(quoted.to_owned()),
                _ => {}
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named > 30, "{named} paths: too few to be true");
}
