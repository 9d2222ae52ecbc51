//! Classifies failed SDK calls by what the caller can do. Owns the table from the services' error codes to core's kinds;
//! knows no operation.

use std::error::Error;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::event_stream::RawMessage;
use shardmill_core::service::{ErrorKind, ServiceError};
use shardmill_core::text;

/// How many bytes of a service's message an error contains.
const MESSAGE_MAX_BYTES: usize = 4 << 10;

/// The destination of a client's calls, for messages.
#[derive(Clone, Debug)]
pub(crate) struct Destination(Arc<str>);

impl Destination {
    pub(crate) fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Classifies a failed call.
    pub(crate) fn failure<E>(&self, operation: &'static str, error: &SdkError<E, HttpResponse>) -> ServiceError
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        match error {
            SdkError::ResponseError(answer) => self.answered_by_another(operation, answer.raw(), &chain(error)),
            // Every error of the service has a code.
            SdkError::ServiceError(answer) if answer.err().code().is_none() => {
                self.answered_by_another(operation, answer.raw(), "no error code")
            }
            _ => self.describe(operation, error, |answer| answer.status().as_u16()),
        }
    }

    /// Classifies the failure of an event stream.
    pub(crate) fn stream_failure<E>(&self, operation: &'static str, error: &SdkError<E, RawMessage>) -> ServiceError
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        // An event has no status: an unknown exception counts as a failure of the service.
        self.describe(operation, error, |_| 500)
    }

    fn describe<E, R>(
        &self,
        operation: &'static str,
        error: &SdkError<E, R>,
        status: impl Fn(&R) -> u16,
    ) -> ServiceError
    where
        E: Error + ProvideErrorMetadata + 'static,
        R: std::fmt::Debug + 'static,
    {
        let (kind, message) = match error {
            SdkError::ServiceError(answer) => {
                let code = answer.err().code();
                let status = status(answer.raw());
                let kind = code.and_then(by_code).unwrap_or_else(|| by_status(status));
                let message = answer.err().message().unwrap_or("no message");
                let code = code.map_or_else(|| format!("status {status}"), |code| text::shown(code).into_owned());
                (kind, format!("{code}: {}", text::line(message, MESSAGE_MAX_BYTES)))
            }
            SdkError::ConstructionFailure(_) => (ErrorKind::Invalid, chain(error)),
            other => match credentials_error(other) {
                Some(error) => (credentials_kind(error), format!("no credentials: {}", chain(error))),
                None => {
                    let why = chain(error);
                    let kind = if is_unknown_host(&why) { ErrorKind::UnknownHost } else { ErrorKind::Unavailable };
                    (kind, format!("no usable response from {}: {why}", self.0))
                }
            },
        };
        ServiceError { kind, operation, message }
    }

    /// A response that is not the service's, but that of a proxy, a gateway or a login page. What it calls invalid may be its
    /// own fault, and what it does not find may exist.
    fn answered_by_another(&self, operation: &'static str, answer: &HttpResponse, why: &str) -> ServiceError {
        let status = answer.status().as_u16();
        let kind = match by_status(status) {
            ErrorKind::Invalid => ErrorKind::Unavailable,
            kind => kind,
        };
        let content = answer.headers().get("content-type").map(|it| format!(" ({it})")).unwrap_or_default();
        let message = format!(
            "no usable response from {}: status {status}, and not in the service's format{content}: {why}",
            self.0
        );
        ServiceError { kind, operation, message }
    }
}

/// An error and its causes in one line. They may quote a response from any server, so the text is escaped.
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
    text::line(&line, MESSAGE_MAX_BYTES)
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

/// Whether no name server knows the host, by the messages of the C libraries of Linux and macOS. A name server that does
/// not answer is a different error.
fn is_unknown_host(chain: &str) -> bool {
    let texts = ["Name or service not known", "Name does not resolve", "nodename nor servname provided"];
    texts.iter().any(|text| chain.contains(text))
}

fn by_status(status: u16) -> ErrorKind {
    match status {
        // 407: a proxy requires another login.
        401 | 403 | 407 => ErrorKind::Denied,
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

/// Missing credentials need an operator; a provider that did not answer may answer later.
fn credentials_kind(error: &CredentialsError) -> ErrorKind {
    match error {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::operation::get_records::GetRecordsError;
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;

    use super::*;

    type Failure = SdkError<GetRecordsError, HttpResponse>;

    fn kind(error: &Failure) -> ErrorKind {
        Destination::new("http://127.0.0.1:1").failure("GetRecords", error).kind
    }

    fn answered(status: u16, code: Option<&str>) -> Failure {
        let mut metadata = ErrorMetadata::builder();
        if let Some(code) = code {
            metadata = metadata.code(code).message("why");
        }
        let raw = HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
        SdkError::service_error(GetRecordsError::generic(metadata.build()), raw)
    }

    #[test]
    fn the_services_codes_are_classified_by_what_the_caller_can_do() {
        use ErrorKind::*;
        let cases = [
            ("ProvisionedThroughputExceededException", Throttled),
            ("LimitExceededException", Throttled),
            ("KMSThrottlingException", Throttled),
            ("ThrottlingException", Throttled),
            ("InternalServerError", Unavailable),
            ("ServiceUnavailable", Unavailable),
            ("ExpiredIteratorException", ExpiredIterator),
            ("ResourceNotFoundException", NotFound),
            ("ResourceInUseException", InUse),
            ("AccessDeniedException", Denied),
            ("UnrecognizedClientException", Denied),
            ("InvalidSignatureException", Denied),
            ("ExpiredTokenException", Denied),
            ("KMSDisabledException", Denied),
            ("ValidationException", Invalid),
            ("UnknownOperationException", Invalid),
        ];
        for (code, expected) in cases {
            assert_eq!(kind(&answered(400, Some(code))), expected, "{code}");
        }
    }

    #[test]
    fn without_a_known_code_the_status_decides() {
        let cases = [
            (500, None, ErrorKind::Unavailable),
            (503, Some("SomethingNew"), ErrorKind::Unavailable),
            (429, None, ErrorKind::Throttled),
            (403, None, ErrorKind::Denied),
            (407, None, ErrorKind::Denied),
            (400, Some("SomethingNew"), ErrorKind::Invalid),
            // Not a response of the service at all.
            (400, None, ErrorKind::Unavailable),
            (404, None, ErrorKind::Unavailable),
        ];
        for (status, code, expected) in cases {
            assert_eq!(kind(&answered(status, code)), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn a_message_quotes_the_service_or_names_the_unreachable_endpoint() {
        let failure = |error| Destination::new("http://127.0.0.1:1").failure("GetRecords", &error).to_string();
        assert_eq!(failure(answered(400, Some("SomeException"))), "GetRecords: SomeException: why");
        assert_eq!(
            failure(answered(404, None)),
            "GetRecords: no usable response from http://127.0.0.1:1: status 404, and not in the service's format: no error code"
        );
        assert_eq!(failure(answered(502, Some("Code"))), "GetRecords: Code: why");
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        assert_eq!(
            failure(SdkError::dispatch_failure(ConnectorError::io(refused.into()))),
            "GetRecords: no usable response from http://127.0.0.1:1: dispatch failure: io error: connection refused"
        );
    }

    #[test]
    fn the_message_of_a_service_stays_on_one_line_and_is_escaped() {
        let metadata = ErrorMetadata::builder().code("Some\u{202e}thing").message("a\n\u{1b}[2Jb\u{7}\u{2028}").build();
        let raw = HttpResponse::new(400.try_into().unwrap(), SdkBody::empty());
        let failure = SdkError::service_error(GetRecordsError::generic(metadata), raw);
        let text = Destination::new("http://127.0.0.1:1").failure("GetRecords", &failure).to_string();
        assert_eq!(text, r"GetRecords: Some\u{202e}thing: a\n\u{1b}[2Jb\u{7}\u{2028}");
        let refused = std::io::Error::other("x".repeat(100_000) + "\u{1b}");
        let failure: Failure = SdkError::dispatch_failure(ConnectorError::io(refused.into()));
        let text = Destination::new("http://127.0.0.1:1").failure("GetRecords", &failure).to_string();
        assert!(text.len() < 2 * MESSAGE_MAX_BYTES, "{}", text.len());
    }

    #[test]
    fn an_unknown_host_is_distinguished_from_an_unavailable_one() {
        let dns =
            |text: &str| kind(&SdkError::dispatch_failure(ConnectorError::io(std::io::Error::other(text).into())));
        let known = "failed to lookup address information: ";
        assert_eq!(dns(&format!("{known}Name or service not known")), ErrorKind::UnknownHost);
        assert_eq!(dns(&format!("{known}Temporary failure in name resolution")), ErrorKind::Unavailable);
    }

    #[test]
    fn missing_credentials_are_final_but_a_slow_provider_is_not() {
        let failure = |error: CredentialsError| SdkError::dispatch_failure(ConnectorError::other(error.into(), None));
        assert_eq!(kind(&failure(CredentialsError::not_loaded("none"))), ErrorKind::Denied);
        let slow = CredentialsError::provider_timed_out(std::time::Duration::from_secs(5));
        assert_eq!(kind(&failure(slow)), ErrorKind::Unavailable);
    }
}
