//! How a module is identified: by the SHA-256 of its bytes. The one place that knows how an identity is written and shown.
//!
//! | form | for |
//! |---|---|
//! | 64 digits ([`ModuleId`]'s `Display`, `FromStr` and serde) | files, file names, JSON |
//! | `orders@1a2b3c4d5e6f` ([`VersionName`]) | people |
//! | any first digits ([`ModuleId::starts_with`]) | what people type |

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Hexadecimal digits that are shown: enough to tell any two files of a directory apart.
const SHOWN_DIGITS: usize = 12;

/// SHA-256 of a module's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId([u8; 32]);

/// A text is not the 64 lowercase hexadecimal digits of a module's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the SHA-256 of a module: expected 64 lowercase hexadecimal digits")]
pub struct NotAModuleId;

impl ModuleId {
    /// The module whose bytes have this SHA-256.
    #[must_use]
    pub const fn of_sha256(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first digits, as `shardmill versions` shows them and `rollback --to` takes them.
    #[must_use]
    pub fn digits(&self) -> String {
        let mut digits = self.to_string();
        digits.truncate(SHOWN_DIGITS);
        digits
    }

    /// Whether these are its first digits, as people type them.
    #[must_use]
    pub fn starts_with(&self, digits: &str) -> bool {
        self.to_string().starts_with(&digits.to_ascii_lowercase())
    }

    /// This version of the module with that name.
    #[must_use]
    pub fn of_job(self, name: &str) -> VersionName {
        VersionName { name: name.into(), module: self }
    }
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModuleId({})", self.digits())
    }
}

impl FromStr for ModuleId {
    type Err = NotAModuleId;

    fn from_str(text: &str) -> Result<Self, NotAModuleId> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NotAModuleId),
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(NotAModuleId) };
        let bytes: Result<Vec<u8>, _> = pairs.iter().map(|[high, low]| Ok(digit(*high)? << 4 | digit(*low)?)).collect();
        Ok(Self(bytes?.try_into().map_err(|_| NotAModuleId)?))
    }
}

impl Serialize for ModuleId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModuleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A version of a module as people see it: `orders@1a2b3c4d5e6f`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VersionName {
    name: Arc<str>,
    module: ModuleId,
}

impl VersionName {
    /// The name of the module, and so of its job.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn module(&self) -> ModuleId {
        self.module
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.module.digits())
    }
}

/// Modules of tests: identified by a short text in the place of a hash.
#[cfg(test)]
impl ModuleId {
    pub(crate) fn labelled(label: &str) -> Self {
        let mut id = [0; 32];
        id[..label.len()].copy_from_slice(label.as_bytes());
        Self(id)
    }

    pub(crate) fn label(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a label").trim_end_matches('\0')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_name_and_the_start_of_its_hash() {
        let mut hash = [0xff; 32];
        hash[..6].copy_from_slice(&[0x1a, 0x2b, 0x3c, 0x4d, 0x5e, 0x0f]);
        let version = ModuleId::of_sha256(hash).of_job("orders");
        assert_eq!(version.to_string(), "orders@1a2b3c4d5e0f");
    }

    #[test]
    fn an_identity_is_read_back_and_other_texts_are_none() {
        let id = ModuleId::of_sha256([0xa5; 32]);
        let text = id.to_string();
        assert_eq!((text.len(), text.parse()), (64, Ok(id)));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<ModuleId>(&format!("\"{text}\"")).unwrap(), id);
        let bad =
            ["", "a5", &text[1..], &"zz".repeat(32), &"\u{e9}".repeat(32), &"+5".repeat(32), &text.to_uppercase()];
        for text in bad {
            assert_eq!(text.parse::<ModuleId>(), Err(NotAModuleId), "{text}");
        }
    }

    #[test]
    fn people_name_a_version_by_its_first_digits() {
        let id = ModuleId::of_sha256([0xa5; 32]);
        assert!(["", "a", "a5a5", "A5A", &id.digits(), &id.to_string()].iter().all(|digits| id.starts_with(digits)));
        assert!(!id.starts_with("5a") && !id.starts_with(&format!("{id}0")));
    }
}
