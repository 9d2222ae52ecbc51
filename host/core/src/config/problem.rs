//! What can be wrong with a configuration, and where: problems (it cannot be used), notices (it can, but know this),
//! and the report that gathers both. It must never hold the value of a secret: values are masked on the way in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::secret;
use crate::text;

/// Problems that are shown; what is over is counted.
const PROBLEMS_SHOWN_MAX: usize = 100;

/// Notices of one kind that are shown; what is over is counted.
const NOTICES_SHOWN_MAX: usize = 20;

/// The most bytes of one text of a problem or notice.
const TEXT_MAX_BYTES: usize = 4000;

/// The rule that a [`Problem`] or [`Notice`] is about. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// A text that the properties format cannot read.
    BadSyntax,
    /// No such key; in lenient mode a notice.
    UnknownKey,
    BadValue,
    MissingKey,
    /// Samza or the KCL have this, shardmill does not, and going on without it would do something else.
    NotSupported,
    /// A secret under a key that is not masked everywhere.
    SecretNotMarked,
    IncompleteCredentials,
    /// Two settings that cannot both hold.
    Conflict,
    /// A job's author sets what is the operator's, or more than the operator allows.
    NotAllowed,
    /// More than is looked at.
    TooLarge,
    /// Notice: a known key that means nothing here.
    NoMeaning,
    /// Notice: a known key that a later version will honour.
    NotYet,
    /// Notice: a line without `=` or `:` that is no key, taken for prose.
    ProseLine,
    /// Notice: one key twice in one file.
    DuplicateKey,
    /// Notice: a `YOUR-...` of the documentation is still there.
    Placeholder,
    /// Notice: a key of a system or stream that the job does not use, or a value that has no effect.
    NoEffect,
    /// Notice: a value that is probably not what is meant.
    Suspicious,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadSyntax => "bad-syntax",
            Self::UnknownKey => "unknown-key",
            Self::BadValue => "bad-value",
            Self::MissingKey => "missing-key",
            Self::NotSupported => "not-supported",
            Self::SecretNotMarked => "secret-not-marked",
            Self::IncompleteCredentials => "incomplete-credentials",
            Self::Conflict => "conflict",
            Self::NotAllowed => "not-allowed",
            Self::TooLarge => "too-large",
            Self::NoMeaning => "no-meaning",
            Self::NotYet => "not-yet",
            Self::ProseLine => "prose-line",
            Self::DuplicateKey => "duplicate-key",
            Self::Placeholder => "placeholder",
            Self::NoEffect => "no-effect",
            Self::Suspicious => "suspicious",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Line of the key, from 1.
    File {
        name: String,
        line: usize,
    },
    /// The name of a module, which is its job's.
    Module(String),
    /// `--config key=value`.
    Override,
    /// An environment variable.
    Environment(String),
    /// Made of other settings; says which.
    Derived(&'static str),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Module(name) => write!(f, "the name of {name}.wasm"),
            Self::Override => f.write_str("--config"),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Derived(from) => write!(f, "made of {from}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub code: Code,
    /// What is wrong, in one line.
    pub message: String,
    /// `None` for what is not there.
    pub origin: Option<Origin>,
    pub key: Option<String>,
    /// Masked when the key holds a secret, absent when the key is unknown (it may hold one).
    pub value: Option<String>,
    pub expected: Option<String>,
    /// The known key (or name) that was probably meant.
    pub nearest: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// How many problems this one stands for: 1, unless it says "and N more".
    pub count: usize,
}

/// Something to know about a configuration that can be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    pub code: Code,
    pub message: String,
    pub origin: Option<Origin>,
    pub key: Option<String>,
    /// How many notices this one stands for: 1, unless it says "and N more".
    pub count: usize,
}

/// Why a configuration cannot be used: every problem of it, in the order of the sources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Errors {
    problems: Vec<Problem>,
    notices: Vec<Notice>,
    /// How many problems there are, with those that are not shown.
    count: usize,
}

impl Errors {
    /// Never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// How many problems there are; of very many only the first are in [`Self::problems`].
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        let place = self.origin.as_ref().map(ToString::to_string);
        let lines = [
            ("at", &place),
            ("value", &self.value),
            ("expected", &self.expected),
            ("nearest", &self.nearest),
            ("hint", &self.hint),
        ];
        for (name, text) in lines {
            if let Some(text) = text {
                write!(f, "\n  {:<10}{text}", format!("{name}:"))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "notice[{}]: {}", self.code, self.message)?;
        match &self.origin {
            Some(origin) => write!(f, " ({origin})"),
            None => Ok(()),
        }
    }
}

impl Problem {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            origin: None,
            key: None,
            value: None,
            expected: None,
            nearest: None,
            hint: None,
            count: 1,
        }
    }

    /// Makes it stand for so many.
    pub(super) fn count(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    pub(super) fn at(mut self, key: &str, origin: &Origin) -> Self {
        self.key = Some(key.to_owned());
        self.origin = Some(origin.clone());
        self
    }

    /// A place where no key can be read.
    pub(super) fn place(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }

    pub(super) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The value of `key`, masked if it has to be.
    pub(super) fn value(mut self, key: &str, value: &str) -> Self {
        self.value = Some(secret::shown(key, value));
        self
    }

    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(super) fn nearest(mut self, nearest: Option<String>) -> Self {
        self.nearest = nearest;
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Problems and notices as the stages find them. Whatever text comes in is made fit for a terminal and has a bound.
#[derive(Default)]
pub(super) struct Report {
    problems: Unique<Problem>,
    notices: Unique<Notice>,
}

/// In the order of arrival, each once.
struct Unique<T> {
    list: Vec<T>,
    seen: BTreeSet<T>,
}

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self { list: Vec::new(), seen: BTreeSet::new() }
    }
}

impl<T: Clone + Ord> Unique<T> {
    fn push(&mut self, item: T) {
        if self.seen.insert(item.clone()) {
            self.list.push(item);
        }
    }
}

impl Report {
    /// One problem is told once, even if several inputs meet it.
    pub(super) fn problem(&mut self, problem: Problem) {
        let Problem { code, message, origin, key, value, expected, nearest, hint, count } = problem;
        let [key, value, expected, nearest, hint] = [key, value, expected, nearest, hint].map(|it| it.map(fit));
        self.problems.push(Problem { code, message: fit(message), origin, key, value, expected, nearest, hint, count });
    }

    pub(super) fn notice(&mut self, code: Code, message: impl Into<String>, key: Option<&str>, origin: &Origin) {
        self.notice_of(1, code, message, key, origin);
    }

    /// A notice that stands for so many keys.
    pub(super) fn notice_of(
        &mut self,
        count: usize,
        code: Code,
        message: impl Into<String>,
        key: Option<&str>,
        origin: &Origin,
    ) {
        let (message, key) = (fit(message.into()), key.map(|key| fit(key.to_owned())));
        self.notices.push(Notice { code, message, origin: Some(origin.clone()), key, count });
    }

    /// The notices, or everything when something is wrong. What has no place comes last.
    pub(super) fn finish(self) -> Result<Vec<Notice>, Errors> {
        let (mut problems, mut notices) = (self.problems.list, self.notices.list);
        problems.sort_by_key(|problem| (problem.origin.is_none(), problem.origin.clone()));
        notices.sort_by_key(|notice| (notice.origin.is_none(), notice.origin.clone()));
        let notices = shortened(notices);
        if problems.is_empty() {
            return Ok(notices);
        }
        let count = problems.iter().map(|problem| problem.count).sum();
        problems.truncate(PROBLEMS_SHOWN_MAX);
        Err(Errors { problems, notices, count })
    }
}

/// The first of each kind, and how many more there are.
fn shortened(notices: Vec<Notice>) -> Vec<Notice> {
    let mut shown: BTreeMap<Code, usize> = BTreeMap::new();
    let mut more: BTreeMap<Code, Notice> = BTreeMap::new();
    let mut kept = Vec::new();
    for notice in notices {
        let shown = shown.entry(notice.code).or_default();
        if *shown < NOTICES_SHOWN_MAX {
            *shown += 1;
            kept.push(notice);
        } else {
            more.entry(notice.code).and_modify(|first| first.count += notice.count).or_insert(notice);
        }
    }
    kept.extend(more.into_values().map(|first| {
        let plural = if first.count == 1 { "" } else { "s" };
        let message = format!("and {} more notice{plural} of this kind, from here on", first.count);
        Notice { message, key: None, ..first }
    }));
    kept
}

/// A text for one line, whatever is quoted in it.
fn fit(text: String) -> String {
    let mut shown = text::shown(&text).into_owned();
    if shown.len() > TEXT_MAX_BYTES {
        let kept = shown.floor_char_boundary(TEXT_MAX_BYTES);
        let more = shown.len() - kept;
        shown.truncate(kept);
        shown.push_str(&format!("... (and {more} more bytes)"));
    }
    shown
}
