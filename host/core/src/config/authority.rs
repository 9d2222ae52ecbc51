//! Whose word stands above whose. In a task directory the properties file beside a module is the word of its author, who
//! need not be trusted with more than the job: it may set what is the job's own business, may lower limits, and may have of
//! the operator's what the operator opens by `host.allow.*`. What it may not is a problem with the line that would open
//! it. Where everything is the operator's, as in a single job, there is nothing to check.

mod refusal;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::host::Allow;
use super::job::Directory;
use super::keys::{self, Disposition, Hit, Key, Scope, Setter};
use super::problem::Report;
use super::resolve::is_file;
use super::source::{Entry, Speaker};
use super::value;
use crate::http_origin::HttpOrigin;
use refusal::{Beyond, Refusal};

const FILE_PATH: &str = "file.path";

/// What a stream's id stands for.
const STREAM_DEFINITIONS: [&str; 2] = ["streams.{id}.samza.system", "streams.{id}.samza.physical.name"];

/// Reports what the author of `job` set without being allowed to.
pub(super) fn check(entries: &BTreeMap<String, Entry>, allow: &Allow, job: &str, report: &mut Report) {
    let rules = Rules { entries, allow, configured: configured_streams(entries) };
    let jobs = entries.iter().filter(|(_, entry)| entry.speaker == Speaker::Job);
    let refusals = jobs.filter_map(|(key, entry)| {
        let beyond = rules.beyond(key, entry)?;
        Some(Refusal { key, entry, beyond })
    });
    refusal::tell(&refusals.collect::<Vec<_>>(), allow, job, report);
}

/// The directory of the operator's that a granted one is in.
pub(super) fn granted_directory(allow: &Allow, granted: &Directory) -> Option<PathBuf> {
    let allowed = allow.directories.iter().flatten();
    let mut covering = allowed.filter(|it| is_below(&granted.host, &it.path) && (it.writable || !granted.writable));
    covering.next().map(|it| it.path.clone())
}

/// The directory of the operator's that an output's file is in.
pub(super) fn file_directory(allow: &Allow, file: &Path) -> Option<PathBuf> {
    allow.files.iter().flatten().find(|directory| is_below(file, directory)).cloned()
}

/// Whether a pattern of `host.allow.keys` opens the key.
pub(super) fn opens(pattern: &str, key: &str) -> bool {
    let (pattern, key) = (pattern.as_bytes(), key.as_bytes());
    let (mut at, mut to) = (0, 0);
    // Where the last `*` is, and how much it stands for.
    let mut star = None;
    while to < key.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, to));
                at += 1;
            }
            Some(byte) if *byte == key[to] => (at, to) = (at + 1, to + 1),
            _ => {
                let Some((of_star, stood_for)) = star else { return false };
                star = Some((of_star, stood_for + 1));
                (at, to) = (of_star + 1, stood_for + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Whether the key is opened by a `host.allow` of its own, and not by `host.allow.keys`.
pub(super) fn has_own_allow(key: &Key) -> bool {
    keys::find(&format!("host.allow.{}", key.name)).is_some_and(|hit| hit.key.scope == Scope::HostOrJob)
}

/// Whether `host.allow.keys` can open the key.
pub(super) fn is_opened_by_pattern(key: &Key) -> bool {
    let is_restricted = matches!(key.setter, Setter::AtMost | Setter::AtLeast | Setter::Words(_) | Setter::Operator);
    let is_definition = STREAM_DEFINITIONS.contains(&key.name);
    (is_restricted || is_definition) && !has_own_allow(key)
}

struct Rules<'a> {
    entries: &'a BTreeMap<String, Entry>,
    allow: &'a Allow,
    /// Streams that the operator has settings for.
    configured: BTreeSet<String>,
}

impl Rules<'_> {
    /// In which way an entry of a job's is beyond what its author may set.
    fn beyond(&self, key: &str, entry: &Entry) -> Option<Beyond> {
        let hit = keys::find(key)?;
        if hit.key.setter == Setter::OperatorAlone {
            return Some(Beyond::OperatorAlone);
        }
        // What has no effect, or is reported already.
        if hit.key.disposition != Disposition::Works || hit.key.kind.check(&entry.value).is_err() {
            return None;
        }
        let (value, operators) = (entry.value.trim(), self.operators(key, &hit));
        let repeats = |operators: &str| {
            operators.trim() == value || hit.key.name == "task.class" && value == format!("{operators}.wasm")
        };
        if operators.is_some_and(repeats) {
            return None;
        }
        match hit.key.setter {
            Setter::Job => self.beyond_own_stream(key, &hit),
            Setter::AtMost => self.beyond_limit(key, value, &hit, operators),
            Setter::AtLeast => {
                let least = operators.and_then(value::int)?;
                (value::int(value)? < least && !self.is_opened(key)).then_some(Beyond::TooLow(least))
            }
            Setter::Words(words) if words.contains(&value) => None,
            Setter::Words(_) => self.beyond_systems(key, value, &hit),
            Setter::Operator => self.beyond_operators(key, value, &hit),
            Setter::OperatorAlone => Some(Beyond::OperatorAlone),
        }
    }

    fn beyond_limit(&self, key: &str, value: &str, hit: &Hit, operators: Option<&str>) -> Option<Beyond> {
        let opened = self.allow.limits.get(hit.key.name).copied();
        let most = opened.max(operators.and_then(value::int))?;
        let wanted = value::int(value)?;
        let opening = has_own_allow(hit.key).then_some((hit.key.name, wanted));
        (wanted > most && !self.is_opened(key)).then_some(Beyond::TooHigh { most, opening })
    }

    /// Another stream in the place of one that the operator has settings for would have these settings.
    fn beyond_own_stream(&self, key: &str, hit: &Hit) -> Option<Beyond> {
        let is_definition = STREAM_DEFINITIONS.contains(&hit.key.name);
        let id = key.strip_prefix("streams.")?.split('.').next()?;
        let is_beyond = is_definition && self.configured.contains(id) && !self.is_opened(key);
        is_beyond.then_some(Beyond::Key)
    }

    /// A system of another factory: an output to a file counts by where the file is.
    fn beyond_systems(&self, key: &str, value: &str, hit: &Hit) -> Option<Beyond> {
        if is_file(value)
            && let Some(system) = &hit.system
        {
            // Without a path, or with one that is refused, there is a problem already.
            let path = self.entries.get(&format!("systems.{system}.{FILE_PATH}"))?;
            if path.speaker == Speaker::Job {
                return None;
            }
        }
        (!self.is_opened(key)).then_some(Beyond::Key)
    }

    fn beyond_operators(&self, key: &str, value: &str, hit: &Hit) -> Option<Beyond> {
        match hit.key.name {
            "task.grant.env" => {
                let allowed = self.allow.env.as_deref().unwrap_or_default();
                let more = |name: &&str| !allowed.iter().any(|allowed| allowed == name);
                some_of(value::list(value).into_iter().filter(more).map(str::to_owned), Beyond::Env)
            }
            "task.grant.dir" => {
                let granted = value::list(value).into_iter().filter_map(value::directory);
                some_of(granted.filter(|it| granted_directory(self.allow, it).is_none()), Beyond::Directories)
            }
            "task.grant.http" => {
                let allowed = self.allow.http.as_deref().unwrap_or_default();
                let granted = value::list(value).into_iter().filter_map(|it| HttpOrigin::parse(it).ok());
                some_of(granted.filter(|it| !allowed.iter().any(|allowed| allowed.includes(it))), Beyond::Http)
            }
            FILE_PATH => file_directory(self.allow, Path::new(value)).is_none().then(|| Beyond::File(value.into())),
            _ => (!self.is_opened(key)).then_some(Beyond::Key),
        }
    }

    fn is_opened(&self, key: &str) -> bool {
        let is_other = || keys::find(key).is_some_and(|hit| is_opened_by_pattern(hit.key));
        self.allow.keys.iter().flatten().any(|pattern| opens(pattern, key)) && is_other()
    }

    /// What the operator says of the key, there or at its system, or the default.
    fn operators(&self, key: &str, hit: &Hit) -> Option<&str> {
        let own = self.entries.get(key).and_then(Entry::operators);
        let of_system = || {
            hit.stream.as_ref()?;
            let system = hit.system.as_ref()?;
            let patterns = hit.key.patterns().into_iter().filter(|pattern| !pattern.contains("{stream}"));
            let mut keys = patterns.map(|pattern| pattern.replace("{system}", system));
            keys.find_map(|key| self.entries.get(&key)?.operators())
        };
        own.or_else(of_system).or(hit.key.default)
    }
}

fn some_of<T>(items: impl Iterator<Item = T>, beyond: impl FnOnce(Vec<T>) -> Beyond) -> Option<Beyond> {
    let items: Vec<T> = items.collect();
    (!items.is_empty()).then(|| beyond(items))
}

fn configured_streams(entries: &BTreeMap<String, Entry>) -> BTreeSet<String> {
    let operators = entries.iter().filter(|(_, entry)| entry.operators().is_some());
    operators.filter_map(|(key, _)| keys::find(key)?.stream).collect()
}

/// Whether a path is a directory or below it, by their texts: links are the business of who opens it.
fn is_below(path: &Path, directory: &Path) -> bool {
    let leads_up = path.components().any(|part| part == Component::ParentDir);
    !leads_up && path.is_absolute() && path.starts_with(directory)
}

#[cfg(test)]
mod tests {
    use super::{Setter, opens};
    use crate::config::keys::{self, Disposition, Scope};
    use proptest::prelude::*;

    #[test]
    fn a_pattern_opens_what_it_stands_for() {
        for (pattern, key, is_opened) in [
            ("job.name", "job.name", true),
            ("job.name", "job.names", false),
            ("job.names", "job.name", false),
            ("systems.*.aws.kcl.TableName", "systems.k.aws.kcl.TableName", true),
            ("systems.*.aws.kcl.TableName", "systems.k.streams.s.aws.kcl.TableName", true),
            ("systems.*.aws.kcl.TableName", "systems.k.aws.kcl.TableNames", false),
            ("*", "", true),
            ("*a*b*", "xaxbx", true),
            ("*a*b", "xbxa", false),
            ("", "a", false),
        ] {
            assert_eq!(opens(pattern, key), is_opened, "{pattern} {key}");
        }
    }

    proptest! {
        #[test]
        fn patterns_are_what_a_recursive_reading_says(pattern in "[ab*]{0,8}", key in "[ab]{0,10}") {
            fn reference(pattern: &[u8], key: &[u8]) -> bool {
                match pattern.split_first() {
                    None => key.is_empty(),
                    Some((b'*', rest)) => (0..=key.len()).any(|from| reference(rest, &key[from..])),
                    Some((byte, rest)) => key.split_first().is_some_and(|(first, key)| first == byte && reference(rest, key)),
                }
            }
            prop_assert_eq!(opens(&pattern, &key), reference(pattern.as_bytes(), key.as_bytes()));
        }
    }

    /// Words in the names of keys by which a job would be another, or reach what is not its own.
    const REACHING: [&str; 19] = [
        "Endpoint",
        "accessKey",
        "secretKey",
        "sessionToken",
        "profile",
        "role",
        "Role",
        "external",
        "region",
        "Region",
        "Proxy",
        "Arn",
        "TableName",
        "WorkerId",
        "Identifier",
        "Consumer",
        "Headers",
        "UserAgent",
        "grant",
    ];

    #[test]
    fn what_reaches_beyond_a_job_is_the_operators() {
        let works = keys::all().filter(|key| key.disposition == Disposition::Works && key.scope != Scope::HostOrJob);
        for key in works.filter(|key| REACHING.iter().any(|word| key.name.contains(word))) {
            assert!(key.setter == Setter::Operator, "{}", key.name);
        }
        for name in ["job.name", "job.id", "app.name", "app.id", "task.class", "file.path", "aws.kcl.BillingMode"] {
            let row = keys::all().find(|key| key.name == name).expect("it is in the table");
            assert!(row.setter == Setter::Operator, "{name}");
        }
        for key in keys::all().filter(|key| key.name.starts_with("host.")) {
            assert!(key.setter == Setter::OperatorAlone, "{}", key.name);
        }
    }

    #[test]
    fn every_limit_of_a_job_has_its_opening_of_the_same_type() {
        for key in keys::all().filter(|key| key.scope == Scope::Job && key.setter == Setter::AtMost) {
            let opening = keys::find(&format!("host.allow.{}", key.name)).unwrap_or_else(|| panic!("{}", key.name));
            assert_eq!(opening.key.kind.name(), key.kind.name(), "{}", key.name);
        }
    }

    #[test]
    fn limits_are_numbers_with_something_to_compare_with() {
        let bounded = |setter| matches!(setter, Setter::AtMost | Setter::AtLeast);
        for key in keys::all().filter(|key| bounded(key.setter)) {
            let default = key.default.and_then(crate::config::value::int);
            assert!(default.is_some() && key.disposition == Disposition::Works, "{}", key.name);
        }
    }
}
