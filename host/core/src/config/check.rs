//! Every entry against the table of known keys: unknown ones with the nearest known one, values of the wrong type, keys
//! that mean nothing here or cannot be honoured. One entry at a time; what concerns several is `resolve`'s.

mod nearest;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use nearest::nearest_name;

use super::keys::{self, Disposition, Hit};
use super::problem::{Code, Origin, Problem, Report};
use super::secret::{self, SENSITIVE};
use super::source::Entry;

pub(super) fn entries(entries: &BTreeMap<String, Entry>, lenient: bool, report: &mut Report) {
    let mut told = BTreeSet::new();
    for (key, entry) in entries {
        match keys::find(key) {
            Some(hit) => known(key, entry, &hit, &mut told, report),
            None => unknown(key, &entry.origin, lenient, report),
        }
    }
}

fn known(key: &str, entry: &Entry, hit: &Hit, told: &mut BTreeSet<&'static str>, report: &mut Report) {
    let Entry { value, origin } = entry;
    if let Disposition::Rejected(reason) = hit.key.disposition {
        let message = format!("`{key}` is not supported");
        report.problem(Problem::new(Code::NotSupported, message).at(key, origin).hint(reason));
        return;
    }
    if let Err(mismatch) = hit.key.kind.check(value) {
        let message = format!("`{key}` cannot have this value");
        let mut problem = Problem::new(Code::BadValue, message).at(key, origin).value(key, value);
        problem = problem.expected(mismatch.expected);
        problem.hint = mismatch.hint.filter(|_| !secret::is_secret(key));
        report.problem(problem);
        return;
    }
    match hit.key.disposition {
        Disposition::Works => placeholder(key, entry, report),
        Disposition::Only(only, _) if value.trim().eq_ignore_ascii_case(only) => {}
        Disposition::Only(only, reason) => {
            let message = format!("`{key}` is not supported with this value");
            let problem = Problem::new(Code::NotSupported, message).at(key, origin).value(key, value);
            report.problem(problem.expected(format!("`{only}`")).hint(reason));
        }
        Disposition::NoMeaning(reason) if told.insert(hit.key.name) => {
            report.notice(Code::NoMeaning, format!("`{key}` has no meaning here: {reason}"), Some(key), origin);
        }
        Disposition::NotYet(reason) if told.insert(hit.key.name) => {
            report.notice(Code::NotYet, format!("`{key}` has no effect yet: {reason}"), Some(key), origin);
        }
        Disposition::NoMeaning(_) | Disposition::NotYet(_) | Disposition::Rejected(_) => {}
    }
}

/// The seed documentation of Samza writes values to be replaced as `YOUR-...`.
fn placeholder(key: &str, entry: &Entry, report: &mut Report) {
    if entry.value.trim().starts_with("YOUR-") {
        let message = format!("the value of `{key}` still is the placeholder of the documentation");
        report.notice(Code::Placeholder, message, Some(key), &entry.origin);
    }
}

fn unknown(key: &str, origin: &Origin, lenient: bool, report: &mut Report) {
    let masked = format!("{SENSITIVE}{key}");
    if keys::find(&masked).is_some() {
        let message = format!("`{key}` holds a secret, so its name must say so");
        let problem = Problem::new(Code::SecretNotMarked, message).at(key, origin).nearest(Some(masked.clone()));
        report.problem(problem.hint(format!("write {masked}; values of `{SENSITIVE}` keys are masked everywhere")));
        return;
    }
    let nearest = nearest::nearest_key(key);
    if lenient {
        let guess = nearest.map(|nearest| format!("; the nearest known key is `{nearest}`")).unwrap_or_default();
        let message = format!("`{key}` is not a known key and is ignored{guess}");
        report.notice(Code::UnknownKey, message, Some(key), origin);
        return;
    }
    let hint = match &nearest {
        Some(nearest) => format!("write {nearest}, or remove the line; --lenient ignores unknown keys"),
        None => "remove the line; --lenient ignores unknown keys".to_owned(),
    };
    let problem = Problem::new(Code::UnknownKey, format!("`{key}` is not a known key"));
    report.problem(problem.at(key, origin).nearest(nearest).hint(hint));
}
