//! What can be wrong with a configuration, and where: problems (it cannot be used), notices (it can, but know this),
//! and the report that gathers both. It must never hold the value of a secret: values are masked on the way in.

use std::fmt;

use super::secret;

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
            Self::Override => f.write_str("--config"),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Derived(from) => write!(f, "made of {from}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// Something to know about a configuration that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub code: Code,
    pub message: String,
    pub origin: Option<Origin>,
    pub key: Option<String>,
}

/// Why a configuration cannot be used: every problem of it, in the order of the sources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Errors {
    problems: Vec<Problem>,
    notices: Vec<Notice>,
}

impl Errors {
    /// Never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub fn notices(&self) -> &[Notice] {
        &self.notices
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
        }
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

/// Problems and notices as the stages find them.
#[derive(Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    notices: Vec<Notice>,
}

impl Report {
    /// One problem is told once, even if several inputs meet it.
    pub(super) fn problem(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    pub(super) fn notice(&mut self, code: Code, message: impl Into<String>, key: Option<&str>, origin: &Origin) {
        let notice =
            Notice { code, message: message.into(), origin: Some(origin.clone()), key: key.map(str::to_owned) };
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    /// The notices, or everything when something is wrong. What has no place comes last.
    pub(super) fn finish(mut self) -> Result<Vec<Notice>, Errors> {
        self.problems.sort_by_key(|problem| (problem.origin.is_none(), problem.origin.clone()));
        self.notices.sort_by_key(|notice| (notice.origin.is_none(), notice.origin.clone()));
        if self.problems.is_empty() {
            return Ok(self.notices);
        }
        Err(Errors { problems: self.problems, notices: self.notices })
    }
}
