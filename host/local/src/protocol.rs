//! The wire: AWS JSON 1.1, AWS CBOR 1.1 and the event stream.
//!
//! Turns bytes into [`Params`] and replies into bytes. Knows the shapes of values, not what an operation means.

pub(crate) mod cbor;
pub(crate) mod event_stream;
pub(crate) mod json;
mod params;
pub(crate) mod records;
#[cfg(test)]
mod tests;
mod value;

use crate::model::Error;

pub(crate) use params::{HASH_KEY_DIGITS, Params, SEQUENCE_DIGITS};
pub(crate) use value::Value;

/// How deep a request may nest; the deepest that Kinesis has is four.
const DEPTH_MAX: usize = 16;

/// Which of the two encodings a request came in; its reply goes out in the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Json,
    Cbor,
}

impl Protocol {
    /// After a request's content type. Anything that does not say CBOR is JSON.
    pub(crate) fn of(content_type: &str) -> Self {
        if content_type.trim_start().starts_with("application/x-amz-cbor") { Self::Cbor } else { Self::Json }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/x-amz-cbor-1.1",
        }
    }

    /// Reads a request body. An empty one is an empty request.
    pub(crate) fn decode(self, body: &[u8]) -> Result<Params<'_>, Error> {
        if body.is_empty() {
            return Ok(Params::new(self, Vec::new()));
        }
        let value = match self {
            Self::Json => json::decode(body)?,
            Self::Cbor => cbor::decode(body)?,
        };
        match value {
            Value::Map(fields) => Ok(Params::new(self, fields)),
            other => Err(params::wrong_type("the request", "a structure", &other)),
        }
    }

    pub(crate) fn encode(self, value: &Value<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Json => json::encode(&mut out, value),
            Self::Cbor => cbor::encode(&mut out, value),
        }
        out
    }

    /// The body of an error reply.
    pub(crate) fn encode_error(self, error: &Error) -> Vec<u8> {
        self.encode(&Value::map([("__type", error.kind.code().into()), ("message", error.message.as_str().into())]))
    }
}
