//! The errors of the model: Kinesis's own exception names and wording.
//!
//! Knows nothing of a wire format; the protocol layer turns these into bodies.

/// Which Kinesis exception an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such stream, shard or consumer.
    ResourceNotFound,
    /// The resource exists already, or its state does not allow the call.
    ResourceInUse,
    /// A well-formed value that is invalid here.
    InvalidArgument,
    /// A value that breaks a constraint of the service's model.
    Validation,
    /// An account or stream limit.
    LimitExceeded,
    /// A shard's rate limit.
    ProvisionedThroughputExceeded,
    /// The shard iterator is older than its life.
    ExpiredIterator,
    /// The page token is older than its life.
    ExpiredNextToken,
    /// A `DryRun` that would have succeeded.
    DryRunOperation,
    /// No operation of that name.
    UnknownOperation,
    /// The request body cannot be read.
    Serialization,
    /// Injected: the service failed (HTTP 500).
    InternalFailure,
    /// Injected: the service is unavailable (HTTP 503).
    ServiceUnavailable,
}

impl ErrorKind {
    /// The exception's name on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::InvalidArgument => "InvalidArgumentException",
            Self::Validation => "ValidationException",
            Self::LimitExceeded => "LimitExceededException",
            Self::ProvisionedThroughputExceeded => "ProvisionedThroughputExceededException",
            Self::ExpiredIterator => "ExpiredIteratorException",
            Self::ExpiredNextToken => "ExpiredNextTokenException",
            Self::DryRunOperation => "DryRunOperationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::Serialization => "SerializationException",
            Self::InternalFailure => "InternalFailure",
            Self::ServiceUnavailable => "ServiceUnavailable",
        }
    }

    /// The HTTP status that carries it.
    pub fn status(self) -> u16 {
        match self {
            Self::InternalFailure => 500,
            Self::ServiceUnavailable => 503,
            _ => 400,
        }
    }
}

/// The error of a rejected call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", kind.code())]
pub struct Error {
    /// Which exception.
    pub kind: ErrorKind,
    /// Kinesis's message.
    pub message: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ResourceNotFound, message)
    }

    pub(crate) fn in_use(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ResourceInUse, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::LimitExceeded, message)
    }

    /// One broken constraint, in the words every AWS service uses.
    pub(crate) fn constraint(value: &str, member: &str, constraint: &str) -> Self {
        Self::new(
            ErrorKind::Validation,
            format!(
                "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: {constraint}"
            ),
        )
    }

    pub(crate) fn missing(member: &str) -> Self {
        Self::constraint("null", member, "Member must not be null")
    }
}
