//! What is said of a setting that its job's author may not make: what is allowed, and the line by which the operator would
//! allow it.

use std::path::{Path, PathBuf};

use super::Entry;
use crate::config::host::{Allow, AllowedDirectory};
use crate::config::job::Directory;
use crate::config::keys;
use crate::config::problem::{Code, Problem, Report};
use crate::config::value;
use crate::http_origin::HttpOrigin;

/// Keys that one line of `host.allow.keys` is written out for.
const KEYS_IN_LINE_MAX: usize = 20;

/// A setting that its author may not make.
pub(super) struct Refusal<'a> {
    pub(super) key: &'a str,
    pub(super) entry: &'a Entry,
    pub(super) beyond: Beyond,
}

/// What is too much about it.
pub(super) enum Beyond {
    /// A key that nothing opens.
    OperatorAlone,
    /// A key of the operator.
    Key,
    /// A number above the most that is allowed; `opening` is the key that would allow it, if it has one of its own.
    TooHigh {
        most: i64,
        opening: Option<(&'static str, i64)>,
    },
    /// A number below the least that is allowed.
    TooLow(i64),
    Env(Vec<String>),
    Directories(Vec<Directory>),
    Http(Vec<HttpOrigin>),
    File(PathBuf),
}

pub(super) fn tell(refusals: &[Refusal<'_>], allow: &Allow, job: &str, report: &mut Report) {
    let lines = Lines { allow, job, of_keys: line_of_keys(refusals, allow, job) };
    for refusal in refusals {
        report.problem(lines.problem(refusal));
    }
}

struct Lines<'a> {
    allow: &'a Allow,
    job: &'a str,
    /// The line that opens all keys that are refused as such: one for all, as a second would take its place.
    of_keys: Option<String>,
}

impl Lines<'_> {
    fn problem(&self, Refusal { key, entry, beyond }: &Refusal<'_>) -> Problem {
        let job = self.job;
        let message = match beyond {
            Beyond::OperatorAlone => {
                format!("`{key}` belongs into the configuration of the host, not of the job `{job}`")
            }
            Beyond::Key => format!("`{key}` is the operator's to set, and not opened to the job `{job}`"),
            Beyond::TooHigh { .. } => format!("`{key}` is higher than the operator allows the job `{job}`"),
            Beyond::TooLow(_) => format!("`{key}` is lower than the operator allows the job `{job}`"),
            Beyond::Env(names) => {
                format!("`{key}` grants what the operator does not allow the job `{job}`: {}", names.join(", "))
            }
            Beyond::Directories(more) => {
                let more: Vec<String> = more.iter().map(shown).collect();
                format!("`{key}` grants what the operator does not allow the job `{job}`: {}", more.join(", "))
            }
            Beyond::Http(more) => {
                let more: Vec<String> = more.iter().map(ToString::to_string).collect();
                format!("`{key}` grants what the operator does not allow the job `{job}`: {}", more.join(", "))
            }
            Beyond::File(_) => {
                format!("`{key}` is not in a directory that the operator allows the job `{job}` to write to")
            }
        };
        let mut problem = Problem::new(Code::NotAllowed, message).at(key, &entry.origin).value(key, &entry.value);
        problem.expected = self.expected(beyond);
        problem.hint(match self.line(beyond) {
            Some(line) => format!("remove the line, or have the operator add to the configuration of the host: {line}"),
            None if matches!(beyond, Beyond::OperatorAlone) => {
                "remove the line; the operator writes `host.` keys into what `run --config-path` names".to_owned()
            }
            None => "remove the line, or have the operator write it into the configuration of the host".to_owned(),
        })
    }

    fn expected(&self, beyond: &Beyond) -> Option<String> {
        let Allow { env, directories, http, files, .. } = self.allow;
        match beyond {
            Beyond::OperatorAlone | Beyond::Key => None,
            Beyond::TooHigh { most, .. } => Some(format!("at most {most}")),
            Beyond::TooLow(least) => Some(format!("at least {least}")),
            Beyond::Env(_) => Some(one_of(env.iter().flatten())),
            Beyond::Directories(_) => Some(one_of(directories.iter().flatten().map(allowed))),
            Beyond::Http(_) => Some(one_of(http.iter().flatten())),
            Beyond::File(_) => Some(match one_of(files.iter().flatten().map(|it| it.display())) {
                nothing if files.iter().flatten().next().is_none() => nothing,
                directories => format!("an absolute path without `..` below {directories}"),
            }),
        }
    }

    /// The line that opens it, with what is open already; `None` if there is none, as for a path with a comma in it.
    fn line(&self, beyond: &Beyond) -> Option<String> {
        let Allow { env, directories, http, files, .. } = self.allow;
        let (what, values) = match beyond {
            Beyond::OperatorAlone => return None,
            Beyond::TooHigh { opening: Some((limit, wanted)), .. } => (*limit, vec![wanted.to_string()]),
            Beyond::Key | Beyond::TooLow(_) | Beyond::TooHigh { opening: None, .. } => return self.of_keys.clone(),
            Beyond::Env(names) => ("task.grant.env", all(env.iter().flatten().chain(names))),
            Beyond::Directories(more) => {
                let open = directories.iter().flatten().map(allowed);
                ("task.grant.dir", all(open.chain(more.iter().map(shown))))
            }
            Beyond::Http(more) => ("task.grant.http", all(http.iter().flatten().chain(more))),
            Beyond::File(path) => {
                let open = files.iter().flatten().map(PathBuf::as_path).chain([narrowest(path)]);
                ("file.path", all(open.map(Path::display)))
            }
        };
        line(self.job, what, &values)
    }
}

/// `host.jobs.JOB.allow.WHAT=VALUES`, if it can be written so.
fn line(job: &str, what: &str, values: &[String]) -> Option<String> {
    let name = format!("host.allow.{what}");
    let value = values.join(",");
    let is_good = keys::find(&name).is_some_and(|hit| hit.key.kind.check(&value).is_ok())
        && value::list(&value).len() == values.len();
    (is_good && value::is_name(job)).then(|| format!("host.jobs.{job}.allow.{what}={value}"))
}

fn line_of_keys(refusals: &[Refusal<'_>], allow: &Allow, job: &str) -> Option<String> {
    let is_key = |it: &&Refusal<'_>| {
        matches!(it.beyond, Beyond::Key | Beyond::TooLow(_) | Beyond::TooHigh { opening: None, .. })
    };
    let refused = refusals.iter().filter(is_key).map(|it| it.key);
    let open = allow.keys.iter().flatten().map(String::as_str);
    let mut keys = all(open.chain(refused));
    let more = keys.len().saturating_sub(KEYS_IN_LINE_MAX);
    keys.truncate(KEYS_IN_LINE_MAX);
    let line = line(job, "keys", &keys)?;
    Some(if more == 0 { line } else { format!("{line} (and {more} more)") })
}

/// The directory of a file, which is all that has to be opened for it.
fn narrowest(file: &Path) -> &Path {
    file.parent().filter(|directory| directory.parent().is_some()).unwrap_or(file)
}

fn all(items: impl Iterator<Item: ToString>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for item in items.map(|item| item.to_string()) {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    all
}

fn one_of(items: impl Iterator<Item: ToString>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    if items.is_empty() { "nothing: none is allowed".to_owned() } else { items.join(", ") }
}

/// A granted directory as the operator would allow it.
fn shown(Directory { host, writable, .. }: &Directory) -> String {
    allowed(&AllowedDirectory { path: host.clone(), writable: *writable })
}

fn allowed(AllowedDirectory { path, writable }: &AllowedDirectory) -> String {
    format!("{}:{}", path.display(), if *writable { "rw" } else { "ro" })
}
