//! What must not be seen: the [`Secret`] text, and the rule that tells which keys hold one.

use std::fmt;

use super::garbled;

/// What is shown in place of a secret, as in Samza's sanitised configurations.
pub(super) const REDACTED: &str = "********";

/// Samza's prefix of keys whose values are masked.
pub(super) const SENSITIVE: &str = "sensitive.";

/// A text that no log, error or debug output may show; the only way to it is [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Whether the value of `key` must never be shown. Wider than the table of known keys on purpose: a misspelt key may
/// hold a secret too.
pub(super) fn is_secret(key: &str) -> bool {
    const MARKS: [&str; 7] = ["sensitive", "secret", "password", "passwd", "token", "credential", "header"];
    let key = key.to_ascii_lowercase();
    MARKS.iter().any(|mark| key.contains(mark))
}

/// `value` as it may be shown: masked when `key` holds a secret, when it is an address with a login in it, or when the
/// line of a secret has got into it, by a backslash at the end of the line before.
pub(super) fn shown(key: &str, value: &str) -> String {
    let login_in_address = value.contains("://") && value.contains('@');
    let has_line_of_secret = value.contains(SENSITIVE) || garbled::names_a_secret(value);
    match value {
        "" => "(empty)".to_owned(),
        _ if is_secret(key) || login_in_address || has_line_of_secret => REDACTED.to_owned(),
        _ => value.to_owned(),
    }
}
