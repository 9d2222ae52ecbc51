//! `host.*`: entries to the typed [`Host`].

use std::path::PathBuf;

use super::Settings;
use crate::config::host::{Allow, Host};
use crate::config::keys::{self, Scope};
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
        if hit.key.scope == Scope::HostOrJob {
            let allow = match hit.job {
                Some(job) => host.jobs.entry(job).or_default(),
                None => &mut host.allow,
            };
            set(allow, hit.key.name, value);
        } else if hit.key.name == "host.memory.max.mb" {
            host.memory_max = value::int(value).and_then(|mib| u64::try_from(mib).ok()).map(|mib| mib * MIB);
        }
    }
    host
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
