//! Where a stream starts: `InitialPositionInStream` and its timestamp, which may stand at the stream and at its system.

use super::{Level, Place, Settings};
use crate::config::keys;
use crate::config::problem::{Code, Origin, Problem};
use crate::config::value;
use crate::position::InitialPosition;

/// The first scope that says anything decides: a timestamp alone implies AT_TIMESTAMP, as in the KCL.
pub(super) fn read(settings: &mut Settings<'_>, at: Place<'_>) -> InitialPosition {
    for level in Level::ALL {
        let position = settings.find_at(&keys::kcl::INITIAL_POSITION_IN_STREAM, at, level);
        let moment = settings.find_at(&keys::kcl::TIMESTAMP_AT_INITIAL_POSITION_IN_STREAM, at, level);
        match (position, moment) {
            (None, None) => {}
            (None, Some(moment)) => {
                let position = moment.replace(
                    keys::kcl::TIMESTAMP_AT_INITIAL_POSITION_IN_STREAM.name,
                    keys::kcl::INITIAL_POSITION_IN_STREAM.name,
                );
                settings.record(&position, "AT_TIMESTAMP", Origin::Derived("the timestamp"));
                return at_timestamp(settings, at);
            }
            (Some(position), moment) => return word(settings, at, &position, moment.as_deref()),
        }
    }
    // Nothing is set: what is read here is the default.
    let default = settings.text_in(&keys::kcl::INITIAL_POSITION_IN_STREAM, at).unwrap_or_default();
    plain(&default)
}

fn word(settings: &mut Settings<'_>, at: Place<'_>, position: &str, moment: Option<&str>) -> InitialPosition {
    let word = settings.text_in(&keys::kcl::INITIAL_POSITION_IN_STREAM, at).unwrap_or_default();
    if word.eq_ignore_ascii_case("AT_TIMESTAMP") {
        return at_timestamp(settings, at);
    }
    if let Some(moment) = moment {
        settings.used.insert(moment.to_owned());
        let message = format!("`{moment}` is set, and the initial position is {word}");
        settings.conflict(message, position, "write AT_TIMESTAMP, or remove the timestamp");
    }
    plain(&word)
}

fn plain(word: &str) -> InitialPosition {
    if word.eq_ignore_ascii_case("TRIM_HORIZON") { InitialPosition::TrimHorizon } else { InitialPosition::Latest }
}

fn at_timestamp(settings: &mut Settings<'_>, at: Place<'_>) -> InitialPosition {
    if let Some(text) = settings.text_in(&keys::kcl::TIMESTAMP_AT_INITIAL_POSITION_IN_STREAM, at) {
        return InitialPosition::AtTimestamp(value::timestamp(&text).unwrap_or_default());
    }
    let key = at.own_key(&keys::kcl::TIMESTAMP_AT_INITIAL_POSITION_IN_STREAM);
    // A value of the wrong type has been reported.
    if settings.find(&keys::kcl::TIMESTAMP_AT_INITIAL_POSITION_IN_STREAM, at).is_none() {
        let message = format!("`{}.{}` starts AT_TIMESTAMP, and `{key}` is missing", at.system, at.streams[0]);
        let problem = Problem::new(Code::MissingKey, message).key(&key).expected("the moment to start at");
        settings.report.problem(problem.hint(format!("add a line {key}=2026-01-31T12:00:00Z")));
    }
    InitialPosition::Latest
}
