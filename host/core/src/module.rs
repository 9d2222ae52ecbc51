//! How a module is named: by the SHA-256 of its bytes. The one place that knows how many digits of it people see.

/// Hexadecimal digits that are shown: enough to tell any two files of a directory apart.
const SHOWN_DIGITS: usize = 12;

/// A hash as people and files write it.
#[must_use]
pub fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
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
}
