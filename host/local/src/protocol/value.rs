//! A value of a request or reply, between the wire and an operation. Borrows from the request where it can.

use std::borrow::Cow;

use crate::model::Millis;

/// What both encodings can say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Replies, and CBOR requests, where a tag marks it. In JSON a timestamp is a number.
    Timestamp(Millis),
    Str(Cow<'a, str>),
    /// CBOR only: in JSON a blob is a string in base64.
    Bytes(Cow<'a, [u8]>),
    List(Vec<Value<'a>>),
    Map(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl<'a> Value<'a> {
    pub(crate) fn map<const N: usize>(fields: [(&'a str, Value<'a>); N]) -> Self {
        Self::Map(fields.map(|(key, value)| (Cow::Borrowed(key), value)).into())
    }

    pub(crate) fn list(items: impl IntoIterator<Item = Value<'a>>) -> Self {
        Self::List(items.into_iter().collect())
    }

    /// Adds a field to a map, unless there is nothing to add.
    pub(crate) fn with(mut self, key: &'a str, value: Option<impl Into<Value<'a>>>) -> Self {
        if let (Self::Map(fields), Some(value)) = (&mut self, value) {
            fields.push((Cow::Borrowed(key), value.into()));
        }
        self
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Timestamp(_) => "a timestamp",
            Self::Str(_) => "a string",
            Self::Bytes(_) => "a blob",
            Self::List(_) => "a list",
            Self::Map(_) => "a structure",
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Str(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Str(Cow::Owned(text))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value<'_> {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}

impl<'a> From<Vec<Value<'a>>> for Value<'a> {
    fn from(items: Vec<Value<'a>>) -> Self {
        Self::List(items)
    }
}
