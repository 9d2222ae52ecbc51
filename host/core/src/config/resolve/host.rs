//! `host.*`: entries to the typed [`Host`].

use std::path::PathBuf;

use super::Settings;
use crate::config::authority;
use crate::config::host::{Allow, Host};
use crate::config::keys::{self, Key, Scope, Setter};
use crate::config::problem::{Code, Problem};
use crate::config::value;
use crate::http_origin::HttpOrigin;

pub(super) fn read(settings: &mut Settings<'_>) -> Host {
    const MIB: u64 = 1024 * 1024;
    let mut host = Host::default();
    let entries = settings.entries;
    for (key, entry) in entries.range("host.".to_owned()..).take_while(|(key, _)| key.starts_with("host.")) {
        let Some(hit) = keys::find(key) else { continue };
        settings.record(key, &entry.value, entry.origin.clone());
        // What has another type has been reported.
        if hit.key.kind.check(&entry.value).is_err() {
            continue;
        }
        let value = entry.value.trim();
        if hit.key.name == keys::host::ALLOW_KEYS.name {
            value::list(value).into_iter().for_each(|pattern| check_pattern(settings, key, pattern));
        }
        if hit.key.scope == Scope::HostOrJob {
            let allow = match hit.job {
                Some(job) => host.jobs.entry(job).or_default(),
                None => &mut host.allow,
            };
            set(allow, hit.key.name, value);
        } else if hit.key.name == keys::host::MEMORY_MAX_MB.name {
            host.memory_max = value::int(value).and_then(|mib| u64::try_from(mib).ok()).map(|mib| mib * MIB);
        }
    }
    host
}

/// A pattern that opens nothing is a slip.
fn check_pattern(settings: &mut Settings<'_>, key: &str, pattern: &str) {
    let opened = |row: &&Key| row.patterns().iter().any(|of_row| authority::opens(pattern, of_row));
    // A system or a stream may be named in it.
    let exact = keys::find(&pattern.replace('*', "x")).map(|hit| hit.key);
    let rows: Vec<&Key> = keys::all().filter(opened).chain(exact).collect();
    if rows.iter().any(|row| authority::is_opened_by_pattern(row)) {
        return;
    }
    let problem = Problem::new(Code::BadValue, format!("`{pattern}` in `{key}` opens nothing"));
    let problem = problem.expected("keys that are the operator's, as host/CONFIGURATION.md has them");
    let hint = match rows.first() {
        Some(row) if authority::has_own_allow(row) => format!("host.allow.{} opens it, up to a value", row.name),
        Some(row) if row.setter == Setter::OperatorAlone => "remove it: a job never sets a key of the host".to_owned(),
        Some(_) => "remove it: jobs may set it anyway".to_owned(),
        None => "correct the key; `*` stands for any characters".to_owned(),
    };
    settings.blame(problem.hint(hint), key);
}

fn set(allow: &mut Allow, name: &'static str, value: &str) {
    let list = value::list(value).into_iter();
    match name.strip_prefix("host.allow.").unwrap_or(name) {
        "task.grant.env" => allow.env = Some(list.map(str::to_owned).collect()),
        "task.grant.dir" => allow.directories = Some(list.filter_map(value::allowed_directory).collect()),
        "task.grant.http" => allow.http = Some(list.filter_map(|it| HttpOrigin::parse(it).ok()).collect()),
        "http.networks" => allow.http_networks = Some(list.filter_map(|it| it.parse().ok()).collect()),
        "file.path" => allow.files = Some(list.map(PathBuf::from).collect()),
        "keys" => allow.keys = Some(list.map(str::to_owned).collect()),
        limit => drop(value::int(value).map(|most| allow.limits.insert(limit, most))),
    }
}
