//! Names: streams, ARNs, shard ids.

use std::borrow::Cow;

use super::{Error, Millis};

/// The account every ARN carries, as emulators do.
pub const ACCOUNT: &str = "000000000000";

const SHARD_PREFIX: &str = "shardId-";
const NAME_MAX: usize = 128;

/// A stream, said by name or by ARN. Region and account of an ARN are not looked at: there is one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRef<'a>(Cow<'a, str>);

impl<'a> StreamRef<'a> {
    /// The stream's name.
    pub fn name(&self) -> &str {
        match self.0.strip_prefix("arn:") {
            Some(arn) => {
                arn.split_once(":stream/").map_or("", |(_, resource)| resource.split('/').next().unwrap_or_default())
            }
            None => &self.0,
        }
    }
}

impl<'a> From<&'a str> for StreamRef<'a> {
    fn from(name_or_arn: &'a str) -> Self {
        Self(Cow::Borrowed(name_or_arn))
    }
}

impl<'a> From<&'a String> for StreamRef<'a> {
    fn from(name_or_arn: &'a String) -> Self {
        Self(Cow::Borrowed(name_or_arn))
    }
}

pub(crate) fn stream_arn(region: &str, name: &str) -> String {
    format!("arn:aws:kinesis:{region}:{ACCOUNT}:stream/{name}")
}

pub(crate) fn consumer_arn(stream_arn: &str, name: &str, created: Millis) -> String {
    format!("{stream_arn}/consumer/{name}:{}", created / 1000)
}

/// `shardId-000000000007` for 7.
pub(crate) fn shard_id(index: u32) -> String {
    format!("{SHARD_PREFIX}{index:012}")
}

/// The index in a shard id. Kinesis takes short forms ("0", "shardId-0") as well; so does this.
pub(crate) fn shard_index(id: &str) -> Option<u32> {
    let digits = id.strip_prefix(SHARD_PREFIX).unwrap_or(id);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Checks the name of a stream or consumer.
pub(crate) fn check_name(member: &str, name: &str) -> Result<(), Error> {
    let quoted = format!("'{name}'");
    if name.is_empty() {
        return Err(Error::constraint(&quoted, member, "Member must have length greater than or equal to 1"));
    }
    if name.len() > NAME_MAX {
        return Err(Error::constraint(&quoted, member, "Member must have length less than or equal to 128"));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if !name.bytes().all(legal) {
        return Err(Error::constraint(
            &quoted,
            member,
            "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
        ));
    }
    Ok(())
}
