//! The table of known keys: what each is called, where it may stand, its type, its default, and what becomes of it
//! here. The tables themselves are one file per family; the checks, the defaults, `config show` and the reference page
//! all read them, so that they cannot differ. It must not know values.

/// The rows of a family, in the order of the reference page. A row that is read has a name, so that one which nobody reads
/// is a warning of the compiler; `_` stands before those that are only judged, or found by what a user wrote.
macro_rules! keys {
    ($($name:tt = $key:expr),* $(,)?) => {
        static KEYS: &[Key] = &[$($key),*];
        $(pub(in crate::config) const $name: Key = $key;)*
    };
}

pub(super) mod access;
pub(super) mod client;
pub(super) mod host;
mod index;
pub(super) mod kcl;
pub(super) mod samza;
pub(super) mod shardmill;

use std::sync::LazyLock;

use super::secret::SENSITIVE;
use super::value::Kind;
use index::Index;

/// Where a key may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The name is the whole key.
    Job,
    /// `systems.S.NAME`.
    System,
    /// `systems.S.streams.X.NAME`.
    Stream,
    /// Both; the stream's wins.
    SystemOrStream,
    /// The name is `host.REST`, and `host.jobs.JOB.REST` says it for one job, which wins.
    HostOrJob,
}

/// Who may set a key. In a task directory the properties file beside a module is its author's, and what the host is
/// started with is the operator's; see `authority`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Setter {
    /// The job's author: it concerns this job and what it has been given already.
    Job,
    /// The job's author, within what the operator sets (or the default, where the operator sets nothing): the number may
    /// be lower.
    AtMost,
    /// The same the other way round: the number may be higher.
    AtLeast,
    /// The job's author to one of these words, and the operator.
    Words(&'static [&'static str]),
    /// The operator, who can open it to jobs: it reaches beyond the job.
    Operator,
    /// The operator, always.
    OperatorAlone,
}

/// Whether the key is to be written with Samza's prefix of masked keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Masking {
    None,
    /// Only with the prefix.
    Required,
    /// With or without it.
    Optional,
}

/// What becomes of a known key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    Works,
    /// Accepted without effect, for this reason; told once.
    NoMeaning(&'static str),
    /// Accepted without effect until a later version; told once.
    NotYet(&'static str),
    /// Accepted with this one value, which asks for nothing; refused with any other, for this reason.
    Only(&'static str, &'static str),
    /// Refused, for this reason: going on would do something else than is asked for.
    Rejected(&'static str),
}

/// One row of the table.
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// May hold `{placeholders}`; `{rest}` and `{name}` match dots as well. Unique.
    pub(super) name: &'static str,
    pub(super) setter: Setter,
    pub(super) scope: Scope,
    pub(super) masking: Masking,
    pub(super) kind: Kind,
    /// As it would be written in a file.
    pub(super) default: Option<&'static str>,
    pub(super) required: bool,
    pub(super) meaning: &'static str,
    pub(super) disposition: Disposition,
}

/// A family of keys: a part of the reference page.
pub(super) struct Family {
    pub(super) title: &'static str,
    pub(super) intro: &'static str,
    pub(super) keys: &'static [Key],
}

pub(super) static FAMILIES: [Family; 6] =
    [samza::FAMILY, access::FAMILY, kcl::FAMILY, client::FAMILY, shardmill::FAMILY, host::FAMILY];

static INDEX: LazyLock<Index> = LazyLock::new(|| Index::new(all()));
/// A key of a configuration found in the table.
pub(super) struct Hit {
    pub(super) key: &'static Key,
    pub(super) system: Option<String>,
    pub(super) stream: Option<String>,
    /// The job of `host.jobs.JOB`.
    pub(super) job: Option<String>,
    /// What stands for a placeholder at the end of the name, as `NAME` of `task.config.NAME`.
    pub(super) rest: Option<String>,
}

pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    FAMILIES.iter().flat_map(|family| family.keys)
}

/// Finds what `text`, as written by a user, stands for. Exact rows win over families.
pub(super) fn find(text: &str) -> Option<Hit> {
    INDEX.find(text)
}

/// How many bytes at the beginning of `text` are whole segments of a known key, names of the user's own included.
pub(super) fn known_beginning(text: &str) -> usize {
    INDEX.known_beginning(text)
}

impl Key {
    /// The full keys with placeholders, the one that wins first.
    pub(super) fn patterns(&self) -> Vec<String> {
        let system = format!("systems.{{system}}.{}", self.name);
        let stream = format!("systems.{{system}}.streams.{{stream}}.{}", self.name);
        let plain = match self.scope {
            Scope::Job => vec![self.name.to_owned()],
            Scope::System => vec![system],
            Scope::Stream => vec![stream],
            Scope::SystemOrStream => vec![stream, system],
            Scope::HostOrJob => {
                let rest = self.name.strip_prefix("host.").unwrap_or(self.name);
                vec![format!("host.jobs.{{job}}.{rest}"), self.name.to_owned()]
            }
        };
        let masked = plain.iter().map(|key| format!("{SENSITIVE}{key}")).collect::<Vec<_>>();
        match self.masking {
            Masking::None => plain,
            Masking::Required => masked,
            Masking::Optional => masked.into_iter().chain(plain).collect(),
        }
    }

    const fn new(setter: Setter, name: &'static str, scope: Scope, kind: Kind, meaning: &'static str) -> Self {
        Self {
            name,
            setter,
            scope,
            masking: Masking::None,
            kind,
            default: None,
            required: false,
            meaning,
            disposition: Disposition::Works,
        }
    }

    const fn job(setter: Setter, name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self::new(setter, name, Scope::Job, kind, meaning)
    }

    const fn system(setter: Setter, name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self::new(setter, name, Scope::System, kind, meaning)
    }

    const fn stream(setter: Setter, name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self::new(setter, name, Scope::Stream, kind, meaning)
    }

    const fn either(setter: Setter, name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self::new(setter, name, Scope::SystemOrStream, kind, meaning)
    }

    /// A ceiling or an opening of the operator for all jobs, or for one.
    const fn allow(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self::new(Setter::OperatorAlone, name, Scope::HostOrJob, kind, meaning)
    }

    const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn masked(mut self, masking: Masking) -> Self {
        self.masking = masking;
        self
    }

    const fn no_meaning(mut self, reason: &'static str) -> Self {
        self.disposition = Disposition::NoMeaning(reason);
        self
    }

    const fn not_yet(mut self, reason: &'static str) -> Self {
        self.disposition = Disposition::NotYet(reason);
        self
    }

    const fn only(mut self, value: &'static str, reason: &'static str) -> Self {
        self.disposition = Disposition::Only(value, reason);
        self
    }

    const fn rejected(mut self, reason: &'static str) -> Self {
        self.disposition = Disposition::Rejected(reason);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Disposition, Scope, all, find};
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_every_default_is_a_value_of_its_kind() {
        let mut names = BTreeSet::new();
        for key in all() {
            assert!(names.insert(key.name), "{} twice", key.name);
            if let Some(default) = key.default {
                assert!(key.kind.check(default).is_ok(), "{} = {default}", key.name);
            }
            if let Disposition::Only(value, _) = key.disposition {
                assert!(key.kind.check(value).is_ok(), "{} = {value}", key.name);
            }
        }
    }

    #[test]
    fn every_pattern_finds_its_own_row() {
        for key in all() {
            for pattern in key.patterns() {
                let text = pattern.replace(['{', '}'], "");
                let hit = find(&text).unwrap_or_else(|| panic!("{text} is not found"));
                assert_eq!(hit.key.name, key.name, "{text}");
            }
        }
    }

    #[test]
    fn streams_may_have_dots_in_their_names() {
        let hit = find("systems.k.streams.a.b.c.aws.kcl.TableName").expect("found");
        assert_eq!((hit.system.as_deref(), hit.stream.as_deref()), (Some("k"), Some("a.b.c")));
        assert!(hit.key.scope == Scope::SystemOrStream);
    }

    #[test]
    fn no_row_is_found_for_what_is_nearly_one() {
        for text in
            ["job.names", "task.commit", "systems.k.streams..aws.region", "systems.k.aws.kcl.tableName", "", "."]
        {
            assert!(find(text).is_none(), "{text}");
        }
    }
}
