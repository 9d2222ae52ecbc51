//! How a call to Kinesis or DynamoDB failed, named by what the caller should do about it. Adapters map the service's
//! errors to it, the state machines decide by it.

use std::fmt;

/// What the caller can do about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The service asks for fewer calls: back off and retry.
    Throttled,
    /// Time-outs, connection failures, 5xx and what a gateway answers in the service's place: retry.
    Unavailable,
    /// No host of the service's name: the region or the endpoint is wrong, if it never was found before; else retry.
    UnknownHost,
    /// The shard iterator is older than five minutes, or no longer understood: ask for a new one.
    ExpiredIterator,
    /// The stream, shard or table does not exist (any more).
    NotFound,
    /// Something else uses the resource right now: retry later.
    InUse,
    /// Credentials are missing, wrong or not allowed to do this: a person must act.
    Denied,
    /// The request is wrong in a way that a retry does not change.
    Invalid,
}

/// A failed call: its kind and the service's own words (never a secret).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct ServiceError {
    pub kind: ErrorKind,
    /// The operation's name, such as `GetRecords`.
    pub operation: &'static str,
    pub message: String,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anybody acting.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::UnknownHost | Self::InUse)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::UnknownHost => "unknown host",
            Self::ExpiredIterator => "expired iterator",
            Self::NotFound => "not found",
            Self::InUse => "in use",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
        })
    }
}
