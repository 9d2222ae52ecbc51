//! Writes aggregated records as the Kinesis Producer Library does, and broken ones. Owns the format on the producer's
//! side; shares nothing with the code that reads it.

use std::fmt;

/// A record as a user gives it to the producer.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    pub key: String,
    /// Decimal, instead of the key's hash.
    pub explicit_hash_key: Option<String>,
    pub data: Vec<u8>,
}

impl UserRecord {
    #[must_use]
    pub fn new(key: &str, data: &[u8]) -> Self {
        Self { key: key.to_owned(), explicit_hash_key: None, data: data.to_owned() }
    }
}

impl fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}: {}", self.key, self.explicit_hash_key, String::from_utf8_lossy(&self.data))
    }
}

/// The body of one record that holds these.
#[must_use]
pub fn aggregate(records: &[UserRecord]) -> Vec<u8> {
    frame(&message(records))
}

/// Magic, message, digest.
#[must_use]
pub fn frame(message: &[u8]) -> Vec<u8> {
    [b"\xf3\x89\x9a\xc2", message, &md5::compute(message).0].concat()
}

/// The `AggregatedRecord` message. Equal keys share an entry of the tables.
#[must_use]
pub fn message(records: &[UserRecord]) -> Vec<u8> {
    let (mut keys, mut explicit_hash_keys) = (Vec::new(), Vec::new());
    let mut bodies = Vec::new();
    for UserRecord { key, explicit_hash_key, data } in records {
        let mut body = varint_field(1, index(&mut keys, key));
        if let Some(explicit) = explicit_hash_key {
            body.extend(varint_field(2, index(&mut explicit_hash_keys, explicit)));
        }
        body.extend(field(3, data));
        bodies.push(body);
    }
    let keys = keys.into_iter().map(|key| field(1, key.as_bytes()));
    let explicit_hash_keys = explicit_hash_keys.into_iter().map(|key| field(2, key.as_bytes()));
    keys.chain(explicit_hash_keys).chain(bodies.iter().map(|body| field(3, body))).flatten().collect()
}

/// A field of bytes, text or a message.
#[must_use]
pub fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = varint(number << 3 | 2);
    out.extend(varint(bytes.len() as u64));
    out.extend(bytes);
    out
}

/// A field with a number.
#[must_use]
pub fn varint_field(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn index<'a>(table: &mut Vec<&'a str>, entry: &'a str) -> u64 {
    let found = table.iter().position(|known| *known == entry);
    found.unwrap_or_else(|| {
        table.push(entry);
        table.len() - 1
    }) as u64
}
