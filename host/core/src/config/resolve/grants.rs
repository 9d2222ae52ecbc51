//! `task.grant.*`: what the task is given of the machine. The values of environment variables are looked up here, so
//! that one that is missing is told before anything starts.

use super::Settings;
use crate::config::Secret;
use crate::config::authority;
use crate::config::job::Grants;
use crate::config::keys;
use crate::config::problem::{Code, Problem};
use crate::config::source::Speaker;
use crate::config::value;
use crate::http_origin::HttpOrigin;

pub(super) fn read(settings: &mut Settings<'_>) -> Grants {
    let mut grants = Grants::default();
    let names = settings.text(&keys::shardmill::TASK_GRANT_ENV).unwrap_or_default();
    for name in value::list(&names) {
        match settings.env.get(name) {
            Some(value) => drop(grants.env.insert(name.to_owned(), Secret::new(value))),
            None => {
                let message = format!("the environment variable `{name}` is granted and not set");
                let problem = Problem::new(Code::MissingKey, message).hint("set it where the host is started");
                settings.blame(problem, keys::shardmill::TASK_GRANT_ENV.name);
            }
        }
    }
    let directories = settings.text(&keys::shardmill::TASK_GRANT_DIR).unwrap_or_default();
    grants.directories = value::list(&directories).into_iter().filter_map(value::directory).collect();
    if settings.entries.get(keys::shardmill::TASK_GRANT_DIR.name).is_some_and(|entry| entry.speaker == Speaker::Job) {
        for directory in &mut grants.directories {
            let allowed = authority::granted_directory(&settings.allow, directory);
            directory.operators = allowed.unwrap_or_else(|| directory.host.clone());
        }
    }
    let origins = settings.text(&keys::shardmill::TASK_GRANT_HTTP).unwrap_or_default();
    grants.http = value::list(&origins).into_iter().filter_map(|origin| HttpOrigin::parse(origin).ok()).collect();
    grants.http_networks = settings.allow.http_networks.clone().unwrap_or_default();
    grants
}
