//! How a module is named: by the SHA-256 of its bytes. The one place that knows how many digits of it people see.

/// Hexadecimal digits that are shown: enough to tell any two files of a directory apart.
const SHOWN_DIGITS: usize = 12;

/// A hash as people and files write it.
#[must_use]
pub fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash that [`hex`] writes so; `None` when the text is none.
#[must_use]
pub fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digit).collect();
    bytes?.try_into().ok()
}

/// The first digits of a hash in hexadecimal, as `shardmill versions` shows them and `rollback --to` takes them.
#[must_use]
pub fn digits(module: &str) -> &str {
    module.get(..SHOWN_DIGITS).unwrap_or(module)
}

/// A version of a module as people see it: `orders@1a2b3c4d5e6f`.
#[must_use]
pub fn shown(name: &str, module: &str) -> String {
    format!("{name}@{}", digits(module))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_name_and_the_start_of_its_hash() {
        let hash = hex(&[0x1a, 0x2b, 0x3c, 0x4d, 0x5e, 0x0f, 0x77]);
        assert_eq!(shown("orders", &hash), "orders@1a2b3c4d5e0f");
        assert_eq!(shown("orders", "v1"), "orders@v1", "what is no hash is shown as it is");
    }

    #[test]
    fn a_hash_is_read_back_and_other_texts_are_none() {
        let hash = [0xa5; 32];
        assert_eq!(from_hex(&hex(&hash)), Some(hash));
        for text in ["", "a5", &hex(&hash)[1..], &"zz".repeat(32), &"\u{e9}".repeat(32)] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }
}
