//! Checked entries to the typed [`Job`]: defaults, precedence of scopes, and the rules that concern more than one key.
//! What `check` has reported is not reported again: a value of the wrong type counts as its default here, the result
//! is thrown away anyhow.

mod access;
mod client;
mod grants;
mod host;
mod identity;
mod input;
mod position;
mod retrieval;
mod stream;
mod systems;
mod unused;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::check::nearest_name;
use super::host::{Allow, Host};
use super::job::{BatchLimits, Job, Limits, Retry, Rollout};
use super::keys::{self, Key};
use super::problem::{Code, Origin, Problem, Report};
use super::secret::{self, SENSITIVE};
use super::source::Entry;
use super::value;
use crate::grouper::Grouper;
use crate::jobs::OnDelete;

pub(super) use systems::{is_file, unusable_systems};

const ALL_SSP_TO_SINGLE_TASK: &str = "AllSspToSingleTaskGrouperFactory";
const GROUP_BY_SSP: &str = "GroupBySystemStreamPartitionFactory";

/// A setting as it holds in the end, for `config show`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resolved {
    pub key: String,
    /// Masked when the key holds a secret.
    pub value: String,
    pub origin: Origin,
}

/// What is resolved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// A job that is to run.
    Job,
    /// The configuration of a host: that of any of its jobs, as far as it goes.
    Host,
}

/// The typed host: `host.*`.
pub(super) fn host(entries: &BTreeMap<String, Entry>, report: &mut Report) -> (Host, Vec<Resolved>) {
    let env = BTreeMap::new();
    let mut settings = Settings::new(entries, &env, Scene::Host, report);
    let host = host::read(&mut settings);
    (host, settings.resolved)
}

/// The typed job; `allow` is what the operator says of it in `host.allow.*`.
pub(super) fn job(
    entries: &BTreeMap<String, Entry>,
    env: &BTreeMap<String, String>,
    allow: Allow,
    scene: Scene,
    report: &mut Report,
) -> (Job, Vec<Resolved>) {
    let mut settings = Settings::new(entries, env, scene, report);
    settings.allow = allow;
    let name = settings.name_or(&keys::samza::APP_NAME, &keys::samza::JOB_NAME);
    let id = settings.name_or(&keys::samza::APP_ID, &keys::samza::JOB_ID);
    let task_class = settings.required(&keys::samza::TASK_CLASS);
    let task_class = task_class.strip_suffix(".wasm").unwrap_or(&task_class).to_owned();
    let grouper = grouper(&mut settings);
    let systems = systems::read(&mut settings);
    let job = Job {
        inputs: input::read(&mut settings, &systems, &name, &id),
        grouper,
        outputs: systems::outputs(&mut settings, &systems),
        commit: settings.maybe_millis(&keys::samza::TASK_COMMIT_MS),
        window: settings.maybe_millis(&keys::samza::TASK_WINDOW_MS),
        limits: limits(&mut settings),
        grants: grants::read(&mut settings),
        batch: BatchLimits {
            max_records: settings.size(&keys::shardmill::TASK_BATCH_MAX_RECORDS),
            max_bytes: settings.size(&keys::shardmill::TASK_BATCH_MAX_BYTES),
        },
        retry: retry(&mut settings),
        rollout: rollout(&mut settings),
        shutdown_timeout: settings.millis(&keys::samza::TASK_SHUTDOWN_MS),
        on_delete: on_delete(&mut settings),
        task_config: task_config(&mut settings),
        name,
        id,
        task_class,
    };
    if scene == Scene::Job {
        settings.tell_unused(&job);
    }
    (job, settings.resolved)
}

fn limits(settings: &mut Settings<'_>) -> Limits {
    const MIB: usize = 1024 * 1024;
    Limits {
        call_timeout: settings.millis(&keys::shardmill::TASK_CALL_TIMEOUT_MS),
        init_timeout: settings.millis(&keys::shardmill::TASK_INIT_TIMEOUT_MS),
        memory_max_bytes: settings.size(&keys::shardmill::TASK_MEMORY_MAX_MB).saturating_mul(MIB),
        output_max_bytes: settings.size(&keys::shardmill::TASK_OUTPUT_MAX_BYTES),
        output_max_count: settings.size(&keys::shardmill::TASK_OUTPUT_MAX_COUNT),
        log_max_bytes: settings.size(&keys::shardmill::TASK_LOG_MAX_BYTES),
        log_max_lines: settings.size(&keys::shardmill::TASK_LOG_MAX_LINES),
        files_max_bytes: settings.size(&keys::shardmill::TASK_FILES_MAX_BYTES),
        files_total_max_bytes: (settings.size(&keys::shardmill::TASK_FILES_TOTAL_MAX_MB) as u64)
            .saturating_mul(MIB as u64),
        files_max_count: settings.size(&keys::shardmill::TASK_FILES_MAX_COUNT) as u64,
        http_max_requests: settings.size(&keys::shardmill::TASK_HTTP_MAX_REQUESTS),
    }
}

fn on_delete(settings: &mut Settings<'_>) -> OnDelete {
    match settings.text(&keys::shardmill::TASK_ON_DELETE) {
        Some(word) if word.eq_ignore_ascii_case("stop") => OnDelete::Stop,
        _ => OnDelete::Keep,
    }
}

fn retry(settings: &mut Settings<'_>) -> Retry {
    let retry = Retry {
        max_attempts: settings.number(&keys::shardmill::TASK_RETRY_MAX_ATTEMPTS),
        backoff: settings.millis(&keys::shardmill::TASK_RETRY_BACKOFF_MS),
        backoff_max: settings.millis(&keys::shardmill::TASK_RETRY_BACKOFF_MAX_MS),
    };
    if retry.backoff > retry.backoff_max {
        let (key, most) =
            (keys::shardmill::TASK_RETRY_BACKOFF_MS.name, keys::shardmill::TASK_RETRY_BACKOFF_MAX_MS.name);
        let message = format!("`{key}` is longer than `{most}`");
        settings.conflict(message, key, "lower the one or raise the other");
    }
    retry
}

fn rollout(settings: &mut Settings<'_>) -> Rollout {
    let is_canary = settings.text(&keys::shardmill::TASK_ROLLOUT).is_some_and(|how| how.eq_ignore_ascii_case("canary"));
    let waves = settings.text(&keys::shardmill::TASK_ROLLOUT_WAVES).unwrap_or_default();
    Rollout {
        is_canary,
        waves: value::waves(&waves).unwrap_or_default(),
        bake: settings.millis(&keys::shardmill::TASK_ROLLOUT_BAKE_MS),
        drain: settings.millis(&keys::shardmill::TASK_ROLLOUT_DRAIN_MS),
    }
}

/// Samza refuses other groupers for Kinesis too: the lease table, not the job, decides who reads which shard.
fn grouper(settings: &mut Settings<'_>) -> Grouper {
    const KEY: &Key = &keys::samza::JOB_SYSTEMSTREAMPARTITION_GROUPER_FACTORY;
    let found = settings.text(KEY).unwrap_or_default();
    let class = found.rsplit('.').next().unwrap_or_default();
    if class == ALL_SSP_TO_SINGLE_TASK {
        return Grouper::AllToSingleTask;
    }
    let hint = if class == GROUP_BY_SSP {
        "one task instance for each shard is not supported yet; remove the key: one instance gets all shards of its process"
    } else {
        "Kinesis shards are read by whoever holds their lease, so every task must be able to take all; remove the key"
    };
    let message = "only the AllSspToSingleTaskGrouperFactory can group Kinesis streams";
    let expected = KEY.default.unwrap_or_default();
    let problem = Problem::new(Code::NotSupported, message).expected(expected).hint(hint);
    settings.blame(problem, KEY.name);
    Grouper::default()
}

fn task_config(settings: &mut Settings<'_>) -> BTreeMap<String, String> {
    const PREFIX: &str = "task.config.";
    let entries = settings.entries;
    let own = entries.iter().filter_map(|(key, entry)| Some((key.strip_prefix(PREFIX)?, key, entry)));
    own.map(|(name, key, entry)| {
        settings.record(key, &entry.value, entry.origin.clone());
        (name.to_owned(), entry.value.clone())
    })
    .collect()
}

/// The place of a key: its system, and the names under which settings of its stream may stand.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    system: &'a str,
    streams: &'a [String],
}

impl Place<'_> {
    /// The full name of a key of the stream itself.
    fn own_key(self, key: &Key) -> String {
        format!("systems.{}.streams.{}.{}", self.system, self.streams[0], key.name)
    }
}

/// Where in its place a setting stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Stream,
    System,
}

impl Level {
    /// The one that wins first.
    const ALL: [Self; 2] = [Self::Stream, Self::System];
}

/// Reads entries by the table's names and remembers what was read.
struct Settings<'a> {
    entries: &'a BTreeMap<String, Entry>,
    env: &'a BTreeMap<String, String>,
    report: &'a mut Report,
    allow: Allow,
    scene: Scene,
    resolved: Vec<Resolved>,
    recorded: BTreeSet<Resolved>,
    used: BTreeSet<String>,
    /// How often what was meant is still looked for: it is dear, and after some it helps nobody.
    guesses: usize,
}

/// Guesses at what was meant, in one configuration.
const GUESSES_MAX: usize = 20;

impl<'a> Settings<'a> {
    fn new(
        entries: &'a BTreeMap<String, Entry>,
        env: &'a BTreeMap<String, String>,
        scene: Scene,
        report: &'a mut Report,
    ) -> Self {
        let (resolved, recorded, used) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let (allow, guesses) = (Allow::default(), GUESSES_MAX);
        Self { entries, env, report, allow, scene, resolved, recorded, used, guesses }
    }

    /// The nearest of `names`, or nothing when none is near.
    fn guess<'n>(&mut self, unknown: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
        self.guesses = self.guesses.checked_sub(1)?;
        nearest_name(unknown, names)
    }

    /// The value of a key of the whole job, or its default.
    fn text(&mut self, key: &'static Key) -> Option<String> {
        self.text_in(key, Place::default())
    }

    fn text_in(&mut self, key: &'static Key, place: Place<'_>) -> Option<String> {
        let candidates = candidates(key, place);
        if let Some(found) = candidates.iter().find(|candidate| self.entries.contains_key(*candidate)) {
            let found = found.clone();
            self.used.extend(candidates);
            return self.value(key, &found);
        }
        let default = key.default?;
        self.record(candidates.first()?, default, Origin::Default);
        Some(default.to_owned())
    }

    /// The value that is set at one level of `place`, whatever the other one says.
    fn text_at(&mut self, key: &'static Key, place: Place<'_>, level: Level) -> Option<String> {
        let found = self.find_at(key, place, level)?;
        self.used.extend(candidates(key, place));
        self.value(key, &found)
    }

    fn value(&mut self, key: &Key, found: &str) -> Option<String> {
        let entry = self.entries.get(found)?;
        self.record(found, &entry.value, entry.origin.clone());
        let good = key.kind.check(&entry.value).is_ok();
        if good { Some(entry.value.trim().to_owned()) } else { key.default.map(str::to_owned) }
    }

    fn record(&mut self, key: &str, value: &str, origin: Origin) {
        let resolved = Resolved { key: key.to_owned(), value: secret::shown(key, value), origin };
        if self.recorded.insert(resolved.clone()) {
            self.resolved.push(resolved);
        }
    }

    fn required(&mut self, key: &'static Key) -> String {
        if let Some(text) = self.text(key) {
            return text;
        }
        let name = key.name;
        // A host's configuration leaves it to the jobs.
        if !self.entries.contains_key(name) && self.scene == Scene::Job {
            let problem = Problem::new(Code::MissingKey, format!("`{name}` is missing")).key(name);
            self.report.problem(problem.expected(key.meaning).hint(format!("add a line {name}=...")));
        }
        String::new()
    }

    /// Samza's `app.` keys win over the `job.` keys of old.
    fn name_or(&mut self, app: &'static Key, job: &'static Key) -> String {
        if self.entries.contains_key(app.name) { self.text(app).unwrap_or_default() } else { self.required(job) }
    }

    fn int_in(&mut self, key: &'static Key, place: Place<'_>) -> Option<i64> {
        self.text_in(key, place).as_deref().and_then(value::int)
    }

    fn millis(&mut self, key: &'static Key) -> Duration {
        self.millis_in(key, Place::default())
    }

    fn millis_in(&mut self, key: &'static Key, place: Place<'_>) -> Duration {
        self.maybe_millis_in(key, place).unwrap_or_default()
    }

    fn maybe_millis(&mut self, key: &'static Key) -> Option<Duration> {
        self.maybe_millis_in(key, Place::default())
    }

    fn maybe_millis_in(&mut self, key: &'static Key, place: Place<'_>) -> Option<Duration> {
        self.int_in(key, place).and_then(value::millis)
    }

    fn size(&mut self, key: &'static Key) -> usize {
        self.size_in(key, Place::default())
    }

    fn size_in(&mut self, key: &'static Key, place: Place<'_>) -> usize {
        self.int_in(key, place).and_then(|n| usize::try_from(n).ok()).unwrap_or_default()
    }

    fn number(&mut self, key: &'static Key) -> u32 {
        self.number_in(key, Place::default())
    }

    fn number_in(&mut self, key: &'static Key, place: Place<'_>) -> u32 {
        self.int_in(key, place).and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
    }

    fn is_set_in(&mut self, key: &'static Key, place: Place<'_>) -> bool {
        self.text_in(key, place).as_deref().and_then(value::boolean).unwrap_or_default()
    }

    /// The key under which `name` is set at `place`.
    fn find(&self, key: &'static Key, place: Place<'_>) -> Option<String> {
        candidates(key, place).into_iter().find(|key| self.entries.contains_key(key))
    }

    /// The key under which `name` is set at one level of `place`.
    fn find_at(&self, key: &'static Key, place: Place<'_>, level: Level) -> Option<String> {
        let mut keys = keys_at(key, place, level);
        keys.find(|key| self.entries.contains_key(key))
    }

    /// A notice at the entry of `key`.
    fn remark(&mut self, code: Code, message: String, key: &str) {
        if let Some(entry) = self.entries.get(key) {
            self.report.notice(code, message, Some(key), &entry.origin);
        }
    }

    /// Reports `problem` at the entry of `key`, if it was set, with its value.
    fn blame(&mut self, problem: Problem, key: &str) {
        let problem = match self.entries.get(key) {
            Some(entry) => problem.at(key, &entry.origin).value(key, &entry.value),
            None => problem.key(key),
        };
        self.report.problem(problem);
    }

    fn conflict(&mut self, message: String, key: &str, hint: &str) {
        self.blame(Problem::new(Code::Conflict, message).hint(hint), key);
    }
}

/// The full keys under which `name` may stand at one level of `place`, the one that wins first.
fn keys_at(key: &'static Key, place: Place<'_>, level: Level) -> impl Iterator<Item = String> {
    let of_streams = format!("systems.{}.streams.", place.system);
    let is_of_stream = move |key: &str| key.strip_prefix(SENSITIVE).unwrap_or(key).starts_with(&of_streams);
    candidates(key, place).into_iter().filter(move |key| is_of_stream(key) == (level == Level::Stream))
}

/// The full keys under which `key` may stand at `place`, the one that wins first.
fn candidates(key: &Key, place: Place<'_>) -> Vec<String> {
    let mut candidates = Vec::new();
    for pattern in key.patterns() {
        let pattern = pattern.replace("{system}", place.system);
        if pattern.contains("{stream}") {
            candidates.extend(place.streams.iter().map(|stream| pattern.replace("{stream}", stream)));
        } else {
            candidates.push(pattern);
        }
    }
    candidates
}

#[cfg(test)]
mod tests;
