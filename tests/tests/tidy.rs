//! Rules about the source itself that no compiler checks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file before its unit tests. Files of tests alone may be longer: a table of cases is best in one piece.
const LINES_MAX: usize = 600;

/// Where source is; what is built or fetched is not.
const ROOTS: &[&str] = &["host", "sample-tasks", "tests", "wit"];
const NOT_OURS: &[&str] = &["target", "node_modules", ".git"];

fn files(extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    let mut directories: Vec<PathBuf> = ROOTS.iter().map(|name| root.join(name)).collect();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !NOT_OURS.contains(&name.as_str()) {
                directories.push(path);
            } else if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "nothing found under {}", root.display());
    found
}

/// The files, and lines in them, that contain a text.
fn lines_with(files: &[(PathBuf, String)], text: &str) -> Vec<String> {
    let hits = |(path, content): &(PathBuf, String)| -> Vec<String> {
        let hit = |(_, line): &(usize, &str)| line.contains(text);
        let place = |(index, line)| format!("{}:{}: {line}", path.display(), index + 1);
        content.lines().enumerate().filter(hit).map(place).collect()
    };
    files.iter().flat_map(hits).collect()
}

#[test]
fn each_rust_file_says_first_what_it_is() {
    let silent: Vec<_> = files(&["rs"]).into_iter().filter(|(_, text)| !text.starts_with("//!")).collect();
    let paths: Vec<_> = silent.iter().map(|(path, _)| path).collect();
    assert!(paths.is_empty(), "no module documentation at the top of {paths:#?}");
}

#[test]
fn no_rust_file_is_too_long() {
    let lines = |text: &str| text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
    let is_tests = |path: &Path| path.ends_with("tests.rs") || path.iter().skip(1).any(|part| part == "tests");
    let long: Vec<_> = files(&["rs"])
        .into_iter()
        .filter(|(path, _)| !is_tests(path))
        .map(|(path, text)| (path, lines(&text)))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines: {long:#?}");
}

#[test]
fn no_test_is_switched_off() {
    // In two parts, or this line would be a finding.
    let hits = lines_with(&files(&["rs"]), concat!("#[ig", "nore"));
    assert!(hits.is_empty(), "{hits:#?}");
}

#[test]
fn the_project_stands_alone() {
    let all = files(&["rs", "toml", "md", "wit", "sh", "py", "js", "json"]);
    let hits = lines_with(&all, concat!("../", "shared"));
    assert!(hits.is_empty(), "{hits:#?}");
}

/// Clippy reads the nearest `clippy.toml` only: one below must have all that the workspace's has.
#[test]
fn cores_lints_have_all_of_the_workspaces() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let core = read("host/core/clippy.toml");
    let core: Vec<&str> = core.lines().collect();
    let missing: Vec<String> =
        read(".clippy.toml").lines().filter(|line| !core.contains(line)).map(str::to_owned).collect();
    assert!(missing.is_empty(), "host/core/clippy.toml lacks {missing:#?}");
}

/// The fuzz targets are no part of the workspace, and call the functions that its tests call.
const APART: &str = "tests/fuzz";

#[test]
fn no_file_is_compiled_in_two_crates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let package = |path: &Path| path.ancestors().find(|above| above.join("Cargo.toml").is_file()).unwrap().to_owned();
    let mut foreign = Vec::new();
    for (path, text) in files(&["rs"]).iter().filter(|(path, _)| !path.starts_with(APART)) {
        let directory = root.join(path).parent().unwrap().to_owned();
        let paths =
            text.lines().filter_map(|line| line.trim().strip_prefix(concat!("#[pa", "th = \""))?.split('"').next());
        for file in paths {
            let target = directory.join(file).canonicalize().unwrap();
            if package(&target) != package(&directory.canonicalize().unwrap()) {
                foreign.push(format!("{}: {file}", path.display()));
            }
        }
    }
    assert!(foreign.is_empty(), "files of another crate: {foreign:#?}");
}
