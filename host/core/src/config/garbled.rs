//! Keys that may have a secret in them: where `=` or `:` was mistyped, what should be the value is a part of the key. Such
//! a key is put aside before anything can quote it; what is shown of it ends where the secret may begin.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::keys::{self, Hit, Masking};
use super::problem::Origin;
use super::secret::{self, REDACTED, SENSITIVE};

/// A line whose key may have a secret in it.
pub(super) struct Garbled {
    /// What may be shown of the key.
    pub(super) shown: String,
    /// The known key that was probably meant.
    pub(super) nearest: Option<String>,
    pub(super) origin: Origin,
}

/// Slips in a name that still is taken for it.
const SLIPS_MAX: usize = 2;

/// Returns nothing for a key that can be quoted.
pub(super) fn find(key: &str, value: &str, origin: &Origin) -> Option<Garbled> {
    let known = match keys::find(key) {
        Some(hit) => known_of_family(&hit, key, value)?,
        None => known_of_unknown(key, value)?,
    };
    let (beginning, end) = (key.get(..known).unwrap_or_default(), key.get(known..).unwrap_or_default());
    let nearest = leaves().find(|leaf| begins_like(end, leaf)).map(|leaf| format!("{beginning}{leaf}"));
    let nearest = nearest.filter(|key| keys::find(key).is_some());
    Some(Garbled { shown: format!("{beginning}{REDACTED}"), nearest, origin: origin.clone() })
}

/// The bytes that may be shown of a key of which a header, say, is named by the user: any name is known there.
fn known_of_family(hit: &Hit, key: &str, value: &str) -> Option<usize> {
    let rest = hit.rest.as_ref()?;
    let is_secret = hit.key.masking != Masking::None || key.starts_with(SENSITIVE);
    (is_secret && (!is_plain(rest) || is_nothing(value))).then(|| key.len() - rest.len())
}

/// The bytes that may be shown of a key that is not known, unless all of it may.
fn known_of_unknown(key: &str, value: &str) -> Option<usize> {
    let known = keys::known_beginning(key);
    let (beginning, end) = (key.get(..known)?, key.get(known..)?);
    let is_behind_a_secret =
        keys::find(beginning.trim_end_matches('.')).is_some_and(|it| it.key.masking != Masking::None);
    if is_behind_a_secret
        || begins_like_a_secret(end)
        || (secret::is_secret(key) && (!is_plain(key) || is_nothing(value)))
    {
        return Some(known);
    }
    // No slip in a name: probably one in the sign behind it.
    key.find(|c: char| !c.is_ascii() || !is_plain_byte(c as u8))
}

/// Whether a text has only what keys are made of.
fn is_plain(text: &str) -> bool {
    text.bytes().all(is_plain_byte)
}

fn is_plain_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"._-".contains(&b)
}

/// Whether there is no value, so that it may stand in the key. `=` may be the end of a secret in Base64.
fn is_nothing(value: &str) -> bool {
    value.trim().trim_matches('=').is_empty()
}

/// The last names of the keys that hold secrets.
static LEAVES: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let secrets = keys::all().filter(|key| key.masking != Masking::None && !key.name.ends_with('}'));
    secrets.map(|key| key.name.rsplit('.').next().unwrap_or(key.name)).collect()
});

fn leaves() -> impl Iterator<Item = &'static str> {
    LEAVES.iter().copied()
}

/// Whether the key of a secret, or the end of one, is in the text.
pub(super) fn names_a_secret(text: &str) -> bool {
    text.contains(".Headers.") || leaves().any(|leaf| text.contains(&format!(".{leaf}")))
}

/// Whether there is more behind the name of a secret, or behind what is nearly one.
fn begins_like_a_secret(text: &str) -> bool {
    leaves().any(|leaf| begins_like(text, leaf) && text.chars().count() > leaf.len() + SLIPS_MAX)
}

fn begins_like(text: &str, leaf: &str) -> bool {
    let leaf = leaf.to_ascii_lowercase();
    let begin: String = text.chars().take(leaf.len()).collect();
    strsim::osa_distance(&begin.to_lowercase(), &leaf) <= SLIPS_MAX
}
