//! A stream among others: how the Kinesis Client Library names it in a lease table that several streams share. Knows no
//! stream.

use std::fmt;
use std::str::FromStr;

use crate::kinesis::shard::ShardId;

const SEPARATOR: char = ':';

/// `account:stream:epoch`, the library's `StreamIdentifier` of a multi-stream application. The epoch is when the stream
/// was created, or whatever the application chose to tell it from an earlier one of the same name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StreamIdentifier(Box<str>);

/// The text is not a [`StreamIdentifier`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no stream of a multi-stream application: expected `account:stream:epoch`, with digits at both ends"
)]
pub struct NotAStreamIdentifier(String);

impl StreamIdentifier {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the stream alone.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.0.split(SEPARATOR).nth(1).unwrap_or_default()
    }

    /// The key of the lease of a shard of this stream: `account:stream:epoch:shard`.
    #[must_use]
    pub fn lease_key(&self, shard: &str) -> String {
        format!("{self}{SEPARATOR}{shard}")
    }

    /// The shard that a lease with this key is for, if it is one of this stream: what follows the third colon.
    #[must_use]
    pub fn shard_of(&self, lease_key: &str) -> Option<ShardId> {
        let shard = lease_key.strip_prefix(self.as_str())?.strip_prefix(SEPARATOR)?;
        (!shard.is_empty()).then(|| shard.to_owned())
    }
}

impl FromStr for StreamIdentifier {
    type Err = NotAStreamIdentifier;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.split(SEPARATOR).collect::<Vec<_>>()[..] {
            [account, stream, epoch] if is_number(account) && !stream.is_empty() && is_number(epoch) => {
                Ok(Self(text.into()))
            }
            _ => Err(NotAStreamIdentifier(text.to_owned())),
        }
    }
}

impl fmt::Display for StreamIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (14) The key of a multi-stream lease is split at its first three colons.
    #[test]
    fn a_lease_key_is_the_identifier_and_the_shard() {
        let orders: StreamIdentifier = "111122223333:orders:1700000000".parse().unwrap();
        assert_eq!(orders.stream(), "orders");
        let key = orders.lease_key("shardId-000000000007");
        assert_eq!(key, "111122223333:orders:1700000000:shardId-000000000007");
        assert_eq!(orders.shard_of(&key).as_deref(), Some("shardId-000000000007"));
        assert_eq!(orders.shard_of("111122223333:orders:1700000000:a:b").as_deref(), Some("a:b"));
        let others = [
            "111122223333:orders:17000000001:shardId-0",
            "111122223333:orders-2:1700000000:shardId-0",
            "111122223333:orders:1700000000",
            "111122223333:orders:1700000000:",
            "shardId-000000000007",
        ];
        for other in others {
            assert_eq!(orders.shard_of(other), None, "{other}");
        }
    }

    #[test]
    fn what_names_no_stream_is_rejected() {
        for text in
            ["", "orders", "1:orders", "1::2", ":orders:2", "1:orders:", "1:orders:2:3", "a:orders:2", "1:orders:x"]
        {
            assert!(text.parse::<StreamIdentifier>().is_err(), "{text:?}");
        }
    }
}
