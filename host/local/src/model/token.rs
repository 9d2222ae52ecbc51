//! Opaque tokens: shard iterators and page tokens.
//!
//! A token carries all it needs, so the model keeps no table of them; a checksum tells a token of ours from noise.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Millis;

/// What a shard iterator stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IteratorToken {
    pub(crate) stream: String,
    /// Creation time of the stream: a stream deleted and created again is another one.
    pub(crate) stream_created: Millis,
    pub(crate) shard: u32,
    pub(crate) position: u64,
    pub(crate) issued: Millis,
}

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageToken {
    pub(crate) stream: String,
    pub(crate) stream_created: Millis,
    /// Listing specific: the last item of the page before.
    pub(crate) after: String,
    /// Listing specific: the filter, resolved.
    pub(crate) filter: String,
    pub(crate) issued: Millis,
}

impl IteratorToken {
    pub(crate) fn encode(&self) -> String {
        seal(&format!("i|{}|{}|{}|{}|{}", self.issued, self.stream_created, self.shard, self.position, self.stream))
    }

    pub(crate) fn decode(token: &str) -> Option<Self> {
        let text = open(token)?;
        let mut parts = text.strip_prefix("i|")?.splitn(5, '|');
        Some(Self {
            issued: parts.next()?.parse().ok()?,
            stream_created: parts.next()?.parse().ok()?,
            shard: parts.next()?.parse().ok()?,
            position: parts.next()?.parse().ok()?,
            stream: parts.next()?.to_owned(),
        })
    }
}

impl PageToken {
    pub(crate) fn encode(&self) -> String {
        seal(&format!("p|{}|{}|{}|{}|{}", self.issued, self.stream_created, self.filter, self.after, self.stream))
    }

    pub(crate) fn decode(token: &str) -> Option<Self> {
        let text = open(token)?;
        let mut parts = text.strip_prefix("p|")?.splitn(5, '|');
        Some(Self {
            issued: parts.next()?.parse().ok()?,
            stream_created: parts.next()?.parse().ok()?,
            filter: parts.next()?.to_owned(),
            after: parts.next()?.to_owned(),
            stream: parts.next()?.to_owned(),
        })
    }
}

/// The stream and shard an iterator reads, if it is one of ours.
pub(crate) fn iterator_target(iterator: &str) -> Option<(String, String)> {
    let token = IteratorToken::decode(iterator)?;
    Some((token.stream, super::names::shard_id(token.shard)))
}

fn seal(text: &str) -> String {
    let mut bytes = checksum(text.as_bytes()).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn open(token: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (sum, text) = bytes.split_first_chunk()?;
    (checksum(text) == u32::from_be_bytes(*sum)).then(|| String::from_utf8(text.to_vec()).ok())?
}

/// FNV-1a: noise must not pass, nothing more.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
