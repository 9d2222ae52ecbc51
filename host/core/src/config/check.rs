//! Every entry against the table of known keys: unknown ones with the nearest known one, values of the wrong type, keys
//! that mean nothing here or cannot be honoured. One entry at a time; what concerns several is `resolve`'s.

mod nearest;

use std::collections::BTreeMap;

pub(super) use nearest::nearest_name;

use super::garbled::Garbled;
use super::keys::{self, Disposition, Hit};
use super::problem::{Code, Origin, Problem, Report};
use super::resolve::unusable_systems;
use super::secret::{self, SENSITIVE};
use super::source::{Entry, Merged};

/// Unknown keys that are told one by one, with the key that was probably meant: looking for it is dear.
const UNKNOWN_TOLD_MAX: usize = 20;

/// Checks all entries; returns how many of them have no effect.
pub(super) fn entries(merged: &Merged, lenient: bool, report: &mut Report) -> usize {
    let mut idle = Idle::default();
    let mut unknown = Vec::new();
    let unusable = unusable_systems(&merged.entries);
    let mut unread: BTreeMap<&str, usize> = BTreeMap::new();
    for (key, entry) in &merged.entries {
        match keys::find(key) {
            Some(hit) => known(key, entry, &hit, &mut idle, report),
            // What else is set for a system that there is not here is known to nobody.
            None => match system_of(key).filter(|system| unusable.contains(system)) {
                Some(system) => *unread.entry(system).or_default() += 1,
                None => unknown.push((key.as_str(), &entry.origin)),
            },
        }
    }
    let without_effect = idle.tell(report) + if lenient { unknown.len() } else { 0 };
    merged.garbled.iter().for_each(|it| garbled(it, lenient, report));
    tell_unknown(unknown, lenient, report);
    for (system, count) in unread {
        let key = format!("systems.{system}.samza.factory");
        if let Some(entry) = merged.entries.get(&key) {
            let plural = if count == 1 { "key is" } else { "keys are" };
            let message = format!(
                "{count} more {plural} set for the system `{system}`, and not looked at without a factory that is known"
            );
            report.notice_of(count, Code::NoEffect, message, Some(&key), &entry.origin);
        }
    }
    without_effect
}

fn known<'a>(key: &'a str, entry: &'a Entry, hit: &Hit, idle: &mut Idle<'a>, report: &mut Report) {
    let Entry { value, origin, .. } = entry;
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
        if let Origin::Module(name) = origin {
            problem = problem.hint(format!("rename {name}.wasm: a job is called as its module"));
        }
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
        Disposition::NoMeaning(reason) => idle.add(Code::NoMeaning, hit, reason, key, origin),
        Disposition::NotYet(reason) => idle.add(Code::NotYet, hit, reason, key, origin),
        Disposition::Rejected(_) => {}
    }
}

/// Keys that are known and have no effect, by their row of the table.
#[derive(Default)]
struct Idle<'a>(BTreeMap<&'static str, IdleRow<'a>>);

/// The keys of one row, and why they have no effect.
struct IdleRow<'a> {
    code: Code,
    reason: &'static str,
    keys: Vec<(&'a Origin, &'a str)>,
}

impl<'a> Idle<'a> {
    fn add(&mut self, code: Code, hit: &Hit, reason: &'static str, key: &'a str, origin: &'a Origin) {
        let row = self.0.entry(hit.key.name).or_insert_with(|| IdleRow { code, reason, keys: Vec::new() });
        row.keys.push((origin, key));
    }

    /// One notice for each row, which counts its keys; returns how many there are of all.
    fn tell(self, report: &mut Report) -> usize {
        let mut count = 0;
        for IdleRow { code, reason, mut keys } in self.0.into_values() {
            keys.sort();
            let Some(((origin, first), more)) = keys.split_first() else { continue };
            count += keys.len();
            let (more, has) = match more.len() {
                0 => (String::new(), "has"),
                more => (format!(" and {more} more"), "have"),
            };
            let what = if code == Code::NotYet { "no effect yet" } else { "no meaning here" };
            let message = format!("`{first}`{more} {has} {what}: {reason}");
            report.notice_of(keys.len(), code, message, Some(first), origin);
        }
        count
    }
}

/// The seed documentation of Samza writes values to be replaced as `YOUR-...`.
fn placeholder(key: &str, entry: &Entry, report: &mut Report) {
    if entry.value.trim().starts_with("YOUR-") {
        let message = format!("the value of `{key}` still is the placeholder of the documentation");
        report.notice(Code::Placeholder, message, Some(key), &entry.origin);
    }
}

fn garbled(Garbled { shown, nearest, origin }: &Garbled, lenient: bool, report: &mut Report) {
    let message = format!("`{shown}` is not a known key");
    if lenient {
        report.notice(Code::UnknownKey, format!("{message} and is ignored"), Some(shown), origin);
        return;
    }
    let hint = "a key ends at `=`, `:` or a blank; what stands behind it here may be a secret and is not shown";
    report.problem(Problem::new(Code::UnknownKey, message).at(shown, origin).nearest(nearest.clone()).hint(hint));
}

fn tell_unknown(mut unknown: Vec<(&str, &Origin)>, lenient: bool, report: &mut Report) {
    unknown.sort_by_key(|(_, origin)| *origin);
    let (told, more) = unknown.split_at(unknown.len().min(UNKNOWN_TOLD_MAX));
    told.iter().for_each(|(key, origin)| tell_one_unknown(key, origin, lenient, report));
    let Some((_, origin)) = more.first() else { return };
    let message = format!("and {} more unknown keys", more.len());
    if lenient {
        report.notice_of(more.len(), Code::UnknownKey, format!("{message}, which are ignored"), None, origin);
    } else {
        report.problem(Problem::new(Code::UnknownKey, message).place(origin).count(more.len()));
    }
}

fn tell_one_unknown(key: &str, origin: &Origin, lenient: bool, report: &mut Report) {
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
        None if is_own(key) => {
            format!(
                "keys for the task are written task.config.NAME, as task.config.{key}; --lenient ignores unknown keys"
            )
        }
        None => "remove the line; --lenient ignores unknown keys".to_owned(),
    };
    let problem = Problem::new(Code::UnknownKey, format!("`{key}` is not a known key"));
    report.problem(problem.at(key, origin).nearest(nearest).hint(hint));
}

/// Whether the key is like none of Samza's from its first name on: probably the task's own.
fn is_own(key: &str) -> bool {
    key.contains('.') && keys::known_beginning(key) == 0
}

/// The system that a key is set for.
fn system_of(key: &str) -> Option<&str> {
    let key = key.strip_prefix(SENSITIVE).unwrap_or(key);
    key.strip_prefix("systems.")?.split('.').next()
}
