//! What a failed SDK call means to its caller. Owns the table from the services' error codes to core's kinds; knows no
//! operation.

use std::error::Error;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use shardmill_core::service::{ErrorKind, ServiceError};

/// Where a client's calls go, for messages.
#[derive(Clone, Debug)]
pub(crate) struct Destination(Arc<str>);

impl Destination {
    pub(crate) fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Names what the caller can do about a failed call.
    pub(crate) fn failure<E>(&self, operation: &'static str, error: &SdkError<E, HttpResponse>) -> ServiceError
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        let (kind, message) = match error {
            SdkError::ServiceError(answer) => {
                let code = answer.err().code();
                let status = answer.raw().status().as_u16();
                let kind = code.and_then(by_code).unwrap_or_else(|| by_status(status));
                let text = answer.err().message().unwrap_or("no message");
                (kind, format!("{}: {text}", code.map_or_else(|| format!("status {status}"), str::to_owned)))
            }
            SdkError::ConstructionFailure(_) => (ErrorKind::Invalid, chain(error)),
            other => match credentials_error(other) {
                Some(error) => (credentials_kind(error), format!("no credentials: {}", chain(error))),
                None => (ErrorKind::Unavailable, format!("no usable answer from {}: {}", self.0, chain(error))),
            },
        };
        ServiceError { kind, operation, message }
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors repeat their cause in their own text.
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

fn by_code(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException"
        | "RequestLimitExceeded" => ErrorKind::Throttled,
        "InternalFailure"
        | "InternalFailureException"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeoutException" => ErrorKind::Unavailable,
        "ExpiredIteratorException" => ErrorKind::ExpiredIterator,
        "ResourceNotFoundException" => ErrorKind::NotFound,
        "ResourceInUseException" => ErrorKind::InUse,
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "OptInRequired"
        | "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "KMSOptInRequired" => ErrorKind::Denied,
        _ => return None,
    })
}

fn by_status(status: u16) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::Denied,
        429 => ErrorKind::Throttled,
        500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

fn credentials_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CredentialsError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Missing credentials need a person; a provider that did not answer may answer later.
fn credentials_kind(error: &CredentialsError) -> ErrorKind {
    match error {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    }
}
