//! Bytes in hexadecimal digits, as file names have them.

/// Two lowercase digits for each byte.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
