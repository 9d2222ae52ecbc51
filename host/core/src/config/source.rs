//! Sources to entries: reads every source, lets the later one win, and remembers where each value stands and whose word
//! it is. It knows no key; a key that may have a secret in it is put aside before anybody can quote it.

use std::collections::{BTreeMap, BTreeSet};

use super::garbled::{self, Garbled};
use super::parse::{self, Line};
use super::problem::{Code, Origin, Problem, Report};
use crate::text;

/// Keys that one file may have: more than anybody writes, and few enough to be looked at in no time.
const KEYS_MAX: usize = 20_000;

/// Where settings come from; of two that set one key, the later in the list wins. It has no `Debug`: its texts may
/// hold secrets.
#[derive(Clone)]
pub enum Source {
    /// A properties text of the operator and the name it is to be called by in messages, usually its path.
    File { name: String, text: String },
    /// The argument of one `--config key=value`, the operator's.
    Override(String),
    /// The module `NAME.wasm` of a task directory: it names its job.
    Module(String),
    /// The properties text beside the module, the job author's: it may set what is the job's own business.
    Job { name: String, text: String },
}

/// Whose word a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// Who starts the host.
    Operator,
    /// Who may put files into the task directory.
    Job,
}

impl Source {
    #[must_use]
    pub fn speaker(&self) -> Speaker {
        match self {
            Self::File { .. } | Self::Override(_) | Self::Module(_) => Speaker::Operator,
            Self::Job { .. } => Speaker::Job,
        }
    }
}

/// A key as it was set. It has no `Debug`: its value may be a secret.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) value: String,
    pub(super) origin: Origin,
    pub(super) speaker: Speaker,
    /// What the operator set the key to, if a job's author set it after.
    pub(super) beneath: Option<String>,
}

impl Entry {
    /// What the operator set the key to.
    pub(super) fn operators(&self) -> Option<&str> {
        match self.speaker {
            Speaker::Operator => Some(&self.value),
            Speaker::Job => self.beneath.as_deref(),
        }
    }
}

/// All sources as one.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) entries: BTreeMap<String, Entry>,
    /// What was put aside.
    pub(super) garbled: Vec<Garbled>,
    /// The job's name in its task directory.
    pub(super) module: Option<String>,
}

impl Merged {
    fn set(&mut self, key: String, value: String, origin: Origin, speaker: Speaker) {
        if let Some(garbled) = garbled::find(&key, &value, &origin) {
            self.garbled.push(garbled);
            return;
        }
        let before = self.entries.remove(&key);
        let beneath = before.filter(|_| speaker == Speaker::Job).and_then(|before| match before.speaker {
            Speaker::Operator => Some(before.value),
            Speaker::Job => before.beneath,
        });
        self.entries.insert(key, Entry { value, origin, speaker, beneath });
    }
}

pub(super) fn merge(sources: &[Source], report: &mut Report) -> Merged {
    let mut merged = Merged::default();
    for source in sources {
        let speaker = source.speaker();
        match source {
            Source::File { name, text } | Source::Job { name, text } => {
                read_file(name, text, speaker, &mut merged, report);
            }
            Source::Override(argument) => read_override(argument, &mut merged, report),
            Source::Module(name) => {
                for key in ["job.name", "task.class"] {
                    merged.set(key.to_owned(), name.clone(), Origin::Module(text::shown(name).into_owned()), speaker);
                }
                merged.module = Some(name.clone());
            }
        }
    }
    merged
}

fn read_file(name: &str, text: &str, speaker: Speaker, merged: &mut Merged, report: &mut Report) {
    let name = text::shown(name);
    let at = |line| Origin::File { name: name.clone().into_owned(), line };
    let mut seen = BTreeSet::new();
    for line in parse::lines(text) {
        match line {
            Line::Pair { number, .. } if seen.len() == KEYS_MAX => {
                let problem =
                    Problem::new(Code::TooLarge, "there are too many keys, and those from here on are not read");
                report.problem(problem.place(&at(number)).expected(format!("at most {KEYS_MAX} keys in one file")));
                return;
            }
            Line::Pair { number, key, .. } if key.is_empty() => {
                let problem = Problem::new(Code::BadSyntax, "a value without a key").expected("key=value");
                report.problem(problem.place(&at(number)).hint("write the key, or start the line with `#`"));
            }
            Line::Pair { number, key, value } => {
                let origin = at(number);
                if !seen.insert(key.clone())
                    && let Some(Entry { origin: Origin::File { line, .. }, .. }) = merged.entries.get(&key)
                {
                    let message = format!("`{key}` stands on line {line} as well; the later line wins, as in Java");
                    report.notice(Code::DuplicateKey, message, Some(&key), &origin);
                }
                merged.set(key, value, origin, speaker);
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

fn read_override(argument: &str, merged: &mut Merged, report: &mut Report) {
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
    merged.set(key.to_owned(), value.to_owned(), Origin::Override, Speaker::Operator);
}
