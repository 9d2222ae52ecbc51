//! The table of known keys: what each is called, where it may stand, its type, its default, and what becomes of it
//! here. The tables themselves are one file per family; the checks, the defaults, `config show` and the reference page
//! all read them, so that they cannot differ. It must not know values.

mod access;
mod client;
mod kcl;
mod samza;
mod shardmill;

use super::secret::SENSITIVE;
use super::value::Kind;

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

pub(super) static FAMILIES: [Family; 5] =
    [samza::FAMILY, access::FAMILY, kcl::FAMILY, client::FAMILY, shardmill::FAMILY];

/// A key of a configuration found in the table.
pub(super) struct Hit {
    pub(super) key: &'static Key,
    pub(super) system: Option<String>,
    pub(super) stream: Option<String>,
    /// What stands for a placeholder at the end of the name, as `NAME` of `task.config.NAME`.
    pub(super) rest: Option<String>,
}

pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    FAMILIES.iter().flat_map(|family| family.keys)
}

/// The row of that name.
pub(super) fn row(name: &str) -> &'static Key {
    all().find(|key| key.name == name).expect("only names of the table are asked for, a test asks for all of them")
}

/// Finds what `text`, as written by a user, stands for. Exact rows win over families.
pub(super) fn find(text: &str) -> Option<Hit> {
    let mut hits = all().flat_map(|key| key.patterns().into_iter().filter_map(move |p| matches(&p, text, key)));
    let first = hits.next()?;
    if first.rest.is_none() {
        return Some(first);
    }
    Some(hits.find(|hit| hit.rest.is_none()).unwrap_or(first))
}

fn matches(pattern: &str, text: &str, key: &'static Key) -> Option<Hit> {
    let mut hit = Hit { key, system: None, stream: None, rest: None };
    let (mut pattern, mut text) = (pattern, text);
    while let Some((literal, after)) = pattern.split_once('{') {
        let (placeholder, tail) = after.split_once('}')?;
        text = text.strip_prefix(literal)?;
        // A stream's name may hold dots; what stands behind it is literal, so the end decides.
        let bound = match placeholder {
            "stream" | "name" | "rest" if !tail.contains('{') => text.strip_suffix(tail)?,
            _ => text.split('.').next()?,
        };
        if bound.is_empty() {
            return None;
        }
        match placeholder {
            "system" => hit.system = Some(bound.to_owned()),
            "stream" => hit.stream = Some(bound.to_owned()),
            _ => hit.rest = Some(bound.to_owned()),
        }
        text = &text[bound.len()..];
        pattern = tail;
    }
    (pattern == text).then_some(hit)
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
        };
        let masked = plain.iter().map(|key| format!("{SENSITIVE}{key}")).collect::<Vec<_>>();
        match self.masking {
            Masking::None => plain,
            Masking::Required => masked,
            Masking::Optional => masked.into_iter().chain(plain).collect(),
        }
    }

    const fn new(name: &'static str, scope: Scope, kind: Kind, meaning: &'static str) -> Self {
        Self {
            name,
            scope,
            masking: Masking::None,
            kind,
            default: None,
            required: false,
            meaning,
            disposition: Disposition::Works,
        }
    }

    const fn job(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self::new(name, Scope::Job, kind, meaning)
    }

    const fn system(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self::new(name, Scope::System, kind, meaning)
    }

    const fn stream(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self::new(name, Scope::Stream, kind, meaning)
    }

    const fn either(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self::new(name, Scope::SystemOrStream, kind, meaning)
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
