//! Which stream of a multi-stream application an input is, if it is one.

use super::{Place, Settings};
use crate::config::keys;
use crate::config::problem::{Code, Problem};
use crate::kinesis::stream::StreamIdentifier;

pub(super) fn identifier(settings: &mut Settings<'_>, at: Place<'_>, stream: &str) -> Option<StreamIdentifier> {
    let text = settings.text_in(&keys::kcl::STREAM_IDENTIFIER, at)?;
    let key = settings.find(&keys::kcl::STREAM_IDENTIFIER, at)?;
    match text.parse::<StreamIdentifier>() {
        Ok(identifier) if identifier.stream() == stream => Some(identifier),
        Ok(identifier) => {
            let message = format!("`{key}` names the stream `{}`, and the input is `{stream}`", identifier.stream());
            settings.conflict(message, &key, "take the identifier of this stream");
            None
        }
        Err(_) => {
            let problem = Problem::new(Code::BadValue, format!("`{key}` cannot have this value"));
            let problem = problem.expected("`account:stream:epoch`, with digits at both ends");
            settings.blame(problem.hint("it is the `streamName` of the stream's rows in the lease table"), &key);
            None
        }
    }
}
