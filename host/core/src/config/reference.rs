//! The reference page of all keys, rendered from the table that the checks use.

use super::keys::{self, Disposition, Family, Key};

const HEADER: &str = "# Configuration

<!-- Generated from the table of keys: do not edit. After a change of the table, write it anew with
     UPDATE_CONFIGURATION=1 cargo test -p shardmill-tests --test config reference -->

A job is configured by [Samza](https://samza.apache.org/)'s properties files: `--config-path FILE` (repeatable, a later
file wins) and `--config KEY=VALUE` (wins over files). The format is Java's: `key=value` lines, comments on lines of
their own that begin with `#`, long lines continued with `\\` at their end; files are UTF-8.

- `shardmill config check FILE...` tells everything that is wrong, with its place, and `shardmill config show` what holds
  in the end and where each value comes from.
- A key that is not on this page is an error; with `--lenient` it is ignored with a notice.
- Keys that begin with `sensitive.` hold secrets: their values are masked wherever they would be shown.
- `S` stands for the name of a system, `X` for that of a stream. A name with a dot in `task.inputs` is `system.stream`.
- In the tables, *no meaning* is accepted with a notice, *not yet* too, *refused* is an error.
";

/// `host/CONFIGURATION.md`; a test compares the two.
pub fn reference_markdown() -> String {
    let mut page = HEADER.to_owned();
    for family in &keys::FAMILIES {
        page.push_str(&section(family));
    }
    page
}

fn section(family: &Family) -> String {
    let (works, others): (Vec<&Key>, Vec<&Key>) =
        family.keys.iter().partition(|key| key.disposition == Disposition::Works);
    let mut text = format!("\n## {}\n\n{}\n", family.title, family.intro);
    text.push_str("\n| key | type | default | meaning | since |\n|---|---|---|---|---|\n");
    text.extend(works.iter().map(|key| {
        let default = match key.default {
            Some(default) => format!("`{default}`"),
            None if key.required => "required".to_owned(),
            None => String::new(),
        };
        let cells = [&names(key), &key.kind.name(), &default, key.meaning, key.since];
        row(&cells)
    }));
    if others.is_empty() {
        return text;
    }
    text.push_str("\nKnown, and without effect or refused:\n\n| key | type | meaning | here |\n|---|---|---|---|\n");
    text.extend(others.iter().map(|key| row(&[&names(key), &key.kind.name(), key.meaning, &fate(key)])));
    text
}

fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn fate(key: &Key) -> String {
    match key.disposition {
        Disposition::Works => String::new(),
        Disposition::NoMeaning(reason) => format!("no meaning: {reason}"),
        Disposition::NotYet(reason) => format!("not yet: {reason}"),
        Disposition::Only(value, reason) => format!("only `{value}`; otherwise refused: {reason}"),
        Disposition::Rejected(reason) => format!("refused: {reason}"),
    }
}

/// The full keys, with the short placeholders of the page.
fn names(key: &Key) -> String {
    let short = |pattern: String| {
        let pattern = pattern.replace("{system}", "S").replace("{stream}", "X").replace("{id}", "ID");
        let pattern = pattern.replace("{name}", "NAME").replace("{store}", "STORE").replace("{rest}", "*");
        format!("`{pattern}`")
    };
    key.patterns().into_iter().map(short).collect::<Vec<_>>().join("<br>")
}
