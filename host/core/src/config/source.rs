//! Sources to entries: reads every source, lets the later one win, and remembers where each value stands. It must not
//! know any key.

use std::collections::{BTreeMap, BTreeSet};

use super::parse::{self, Line};
use super::problem::{Code, Origin, Problem, Report};

/// Where settings come from; of two that set one key, the later in the list wins. It has no `Debug`: its texts may
/// hold secrets.
#[derive(Clone)]
pub enum Source {
    /// A properties text and the name it is to be called by in messages, usually its path.
    File { name: String, text: String },
    /// The argument of one `--config key=value`.
    Override(String),
}

/// A key as it was set. It has no `Debug`: its value may be a secret.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) value: String,
    pub(super) origin: Origin,
}

pub(super) fn merge(sources: &[Source], report: &mut Report) -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    for source in sources {
        match source {
            Source::File { name, text } => read_file(name, text, &mut entries, report),
            Source::Override(argument) => read_override(argument, &mut entries, report),
        }
    }
    entries
}

fn read_file(name: &str, text: &str, entries: &mut BTreeMap<String, Entry>, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for line in parse::lines(text) {
        let at = |line| Origin::File { name: name.to_owned(), line };
        match line {
            Line::Pair { number, key, .. } if key.is_empty() => {
                let problem = Problem::new(Code::BadSyntax, "a value without a key").expected("key=value");
                report.problem(problem.place(&at(number)).hint("write the key, or start the line with `#`"));
            }
            Line::Pair { number, key, value } => {
                let origin = at(number);
                if !seen.insert(key.clone())
                    && let Some(Entry { origin: Origin::File { line, .. }, .. }) = entries.get(&key)
                {
                    let message = format!("`{key}` stands on line {line} as well; the later line wins, as in Java");
                    report.notice(Code::DuplicateKey, message, Some(&key), &origin);
                }
                entries.insert(key, Entry { value, origin });
            }
            Line::Prose { number } => {
                let message = "a line without `=` or `:` is taken for prose and ignored; start it with `#`";
                report.notice(Code::ProseLine, message, None, &at(number));
            }
            Line::Malformed { number } => {
                let problem = Problem::new(Code::BadSyntax, "a broken `\\u` escape")
                    .expected("`\\u` and four hexadecimal digits of a character")
                    .hint("write the character itself (files are UTF-8), or `\\\\` for a backslash");
                report.problem(problem.place(&at(number)));
            }
        }
    }
}

fn read_override(argument: &str, entries: &mut BTreeMap<String, Entry>, report: &mut Report) {
    // The argument itself is not shown: without a key nobody knows whether it is a secret.
    let Some((key, value)) = argument.split_once('=') else {
        let problem = Problem::new(Code::BadSyntax, "an argument of --config without `=`");
        report.problem(problem.place(&Origin::Override).expected("--config key=value"));
        return;
    };
    let key = key.trim();
    if key.is_empty() {
        let problem = Problem::new(Code::BadSyntax, "an argument of --config without a key");
        report.problem(problem.place(&Origin::Override).expected("--config key=value"));
        return;
    }
    entries.insert(key.to_owned(), Entry { value: value.to_owned(), origin: Origin::Override });
}
