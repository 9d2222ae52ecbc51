//! The inputs of a job: `task.inputs` to streams, and every stream's settings.

use std::collections::BTreeMap;
use std::time::Duration;

use super::systems::System;
use super::{Place, Settings, access, client, identity, position, retrieval, stream};
use crate::config::input::{
    BillingMode, Input, KinesisInput, LeaseCleanup, LeaseTable, Leases, NewTable, Polling, Retrieval, RetrievalMode,
};
use crate::config::keys;
use crate::config::problem::{Code, Origin, Problem};
use crate::config::value::{self, Kind};

/// Streams that one job may read: each has readers and settings of its own.
const INPUTS_MAX: usize = 1_000;

/// The ids of each stream, by its system and its name at AWS.
type Ids = BTreeMap<(String, String), Vec<String>>;

/// DynamoDB's bounds for the name of a table.
const TABLE_NAME_BYTES: std::ops::RangeInclusive<usize> = 3..=255;

/// A stream of `task.inputs`: its system, its name at AWS, and all names its settings may stand under.
struct Stream {
    system: String,
    name: String,
    aliases: Vec<String>,
}

pub(super) fn read(
    settings: &mut Settings<'_>,
    systems: &BTreeMap<String, System>,
    job_name: &str,
    job_id: &str,
) -> Vec<Input> {
    let text = settings.required(&keys::samza::TASK_INPUTS);
    let words = value::list(&text);
    if words.len() > INPUTS_MAX {
        let message = format!("`task.inputs` names {} streams", words.len());
        let problem = Problem::new(Code::TooLarge, message).expected(format!("at most {INPUTS_MAX}"));
        settings.blame(problem.hint("make several jobs of it"), keys::samza::TASK_INPUTS.name);
        return Vec::new();
    }
    let ids = ids(settings);
    let mut inputs: Vec<KinesisInput> = Vec::new();
    for word in words {
        let Some(stream) = stream(settings, &ids, word) else { continue };
        if !usable(settings, systems, &stream) {
            continue;
        }
        if inputs.iter().any(|input| input.system == stream.system && input.stream == stream.name) {
            let message = format!("`task.inputs` names `{word}` twice");
            settings.conflict(message, keys::samza::TASK_INPUTS.name, "name each stream once");
            continue;
        }
        let input = input(settings, stream, job_name, job_id);
        check_table(settings, &inputs, &input);
        retrieval::check(settings, &inputs, &input);
        inputs.push(input);
    }
    inputs.into_iter().map(Input::Kinesis).collect()
}

/// Samza's rule: a name with a dot is `system.stream`, one without is an id of `streams.ID.*`.
fn stream(settings: &mut Settings<'_>, ids: &Ids, word: &str) -> Option<Stream> {
    let (system, name) = match word.split_once('.') {
        Some((system, stream)) => (system.to_owned(), stream.to_owned()),
        None => (system_of_id(settings, word)?, physical_name(settings, word)),
    };
    if system.is_empty() || Kind::Name.check(&name).is_err() {
        let problem = Problem::new(Code::BadValue, format!("`{word}` in `task.inputs` names no stream"));
        let problem = problem.expected("`system.stream` with letters, digits, `.`, `-` and `_`");
        settings.blame(problem, keys::samza::TASK_INPUTS.name);
        return None;
    }
    let mut aliases = vec![name.clone()];
    let others = ids.get(&(system.clone(), name.clone())).into_iter().flatten();
    aliases.extend(others.filter(|id| **id != name).cloned());
    Some(Stream { system, name, aliases })
}

fn system_of_id(settings: &mut Settings<'_>, id: &str) -> Option<String> {
    let key = format!("streams.{id}.samza.system");
    if let Some(entry) = settings.entries.get(&key) {
        settings.record(&key, &entry.value, entry.origin.clone());
        return Some(entry.value.trim().to_owned());
    }
    if let Some(system) = settings.text(&keys::samza::JOB_DEFAULT_SYSTEM) {
        return Some(system);
    }
    let problem = Problem::new(Code::MissingKey, format!("`{id}` in `task.inputs` has no system")).key(&key);
    let problem = problem.expected("`system.stream`, or the id of a stream whose system is set");
    let hint = format!("write the system in front, as in kinesis.{id}, or add a line {key}=...");
    settings.report.problem(problem.hint(hint));
    None
}

fn physical_name(settings: &mut Settings<'_>, id: &str) -> String {
    let key = format!("streams.{id}.samza.physical.name");
    match settings.entries.get(&key) {
        Some(entry) => {
            settings.record(&key, &entry.value, entry.origin.clone());
            entry.value.trim().to_owned()
        }
        None => id.to_owned(),
    }
}

fn ids(settings: &Settings<'_>) -> Ids {
    let get = |key: &str| settings.entries.get(key).map(|entry| entry.value.trim());
    let mut ids: Vec<&str> =
        settings.entries.keys().filter_map(|key| key.strip_prefix("streams.")?.split('.').next()).collect();
    ids.dedup();
    let mut by_stream = Ids::new();
    for id in ids {
        let system = get(&format!("streams.{id}.samza.system")).or_else(|| get(keys::samza::JOB_DEFAULT_SYSTEM.name));
        let name = get(&format!("streams.{id}.samza.physical.name")).unwrap_or(id);
        if let Some(system) = system {
            by_stream.entry((system.to_owned(), name.to_owned())).or_default().push(id.to_owned());
        }
    }
    by_stream
}

fn usable(settings: &mut Settings<'_>, systems: &BTreeMap<String, System>, stream: &Stream) -> bool {
    let Stream { system, name, .. } = stream;
    match systems.get(system) {
        Some(System::Kinesis) => return true,
        Some(System::Unusable) => {}
        Some(System::Console | System::File) => {
            let message = format!("`{system}.{name}` cannot be read: the system `{system}` is an output");
            let problem = Problem::new(Code::BadValue, message).expected("streams of Kinesis systems");
            settings.blame(
                problem.hint("remove it; tasks send to outputs through their collector"),
                keys::samza::TASK_INPUTS.name,
            );
        }
        None => {
            let key = format!("systems.{system}.samza.factory");
            if settings.entries.contains_key(&key) {
                return false;
            }
            let nearest = settings.guess(system, systems.keys().map(String::as_str));
            let hint = match &nearest {
                Some(nearest) => format!("write {nearest}.{name} in `task.inputs`, or add a line {key}=kinesis"),
                None => format!("add a line {key}=kinesis"),
            };
            let message = format!("the system `{system}` of input `{system}.{name}` is not defined");
            let problem = Problem::new(Code::MissingKey, message).key(&key).nearest(nearest);
            settings.report.problem(problem.expected("a system with a line for its `samza.factory`").hint(hint));
        }
    }
    false
}

fn input(settings: &mut Settings<'_>, stream: Stream, job_name: &str, job_id: &str) -> KinesisInput {
    let Stream { system, name, aliases } = stream;
    let at = Place { system: &system, streams: &aliases };
    let application_name = format!("{job_name}-{job_id}-{name}");
    let identities = identity::read(settings, at, &format!("{job_name}-{job_id}"));
    let stream_arn = access::stream_arn(settings, at);
    let access = access::read(settings, at, stream_arn.as_deref(), identities);
    let client = client::read(settings, at, &access);
    let [kinesis, dynamodb] = access;
    let table = LeaseTable {
        name: table_name(settings, at, &application_name),
        stream_identifier: stream::identifier(settings, at, &name),
        new: NewTable {
            billing_mode: billing_mode(settings, at),
            deletion_protection: settings.is_set_in(&keys::kcl::LEASE_TABLE_DELETION_PROTECTION_ENABLED, at),
            point_in_time_recovery: settings.is_set_in(&keys::kcl::LEASE_TABLE_PITR_ENABLED, at),
        },
        consistent_reads: settings.is_set_in(&keys::kcl::CONSISTENT_READS, at),
    };
    let worker_id = settings.text_in(&keys::kcl::WORKER_ID, at);
    let initial_position = position::read(settings, at);
    let consumer = retrieval::consumer(settings, at, &application_name);
    let failover = settings.millis_in(&keys::kcl::FAILOVER_TIME_MILLIS, at);
    let polling = Polling {
        max_records: settings.number_in(&keys::kcl::MAX_RECORDS, at),
        idle_between_reads: settings.millis_in(&keys::kcl::IDLE_TIME_BETWEEN_READS_IN_MILLIS, at),
    };
    let leases = Leases {
        application_name,
        worker_id,
        failover,
        parent_shard_poll: settings.millis_in(&keys::kcl::PARENT_SHARD_POLL_INTERVAL_MILLIS, at),
        shard_sync_interval: shard_sync_interval(settings, at),
        audit_interval: settings.millis_in(&keys::kcl::LEASES_RECOVERY_AUDITOR_EXECUTION_FREQUENCY_MILLIS, at),
        audit_confidence: settings
            .number_in(&keys::kcl::LEASES_RECOVERY_AUDITOR_INCONSISTENCY_CONFIDENCE_THRESHOLD, at),
        cleanup: lease_cleanup(settings, at),
        ignore_unexpected_child_shards: settings.is_set_in(&keys::kcl::IGNORE_UNEXPECTED_CHILD_SHARDS, at),
        max_for_worker: settings.size_in(&keys::kcl::MAX_LEASES_FOR_WORKER, at),
        max_to_steal: settings.size_in(&keys::kcl::MAX_LEASES_TO_STEAL_AT_ONE_TIME, at),
    };
    let retrieval = Retrieval {
        initial_position,
        mode: consumer.map_or(RetrievalMode::Polling(polling), RetrievalMode::FanOut),
        max_cache_bytes: settings.size_in(&keys::kcl::MAX_CACHE_BYTE_SIZE, at),
        max_cache_records: settings.size_in(&keys::kcl::MAX_RECORDS_COUNT, at),
    };
    KinesisInput {
        system: system.clone(),
        stream: name,
        stream_arn,
        kinesis,
        dynamodb,
        client,
        table,
        leases,
        retrieval,
    }
}

fn table_name(settings: &mut Settings<'_>, at: Place<'_>, application_name: &str) -> String {
    if let Some(name) = settings.text_in(&keys::kcl::TABLE_NAME, at) {
        return name;
    }
    let key = at.own_key(&keys::kcl::TABLE_NAME);
    settings.record(&key, application_name, Origin::Derived("job.name, job.id and the stream"));
    application_name.to_owned()
}

/// Two streams in one lease table would take each other's shards for their own, as both have a shardId-000000000000,
/// unless both are named in their rows.
fn check_table(settings: &mut Settings<'_>, others: &[KinesisInput], input: &KinesisInput) {
    let at = Place { system: &input.system, streams: std::slice::from_ref(&input.stream) };
    let own = at.own_key(&keys::kcl::TABLE_NAME);
    let key = settings.find(&keys::kcl::TABLE_NAME, at).unwrap_or_else(|| own.clone());
    if let Some(other) = others.iter().find(|other| other.shares_leases_with(input)) {
        let names = [(&other.system, &other.stream), (&input.system, &input.stream)];
        let [a, b] = names.map(|(system, stream)| format!("`{system}.{stream}`"));
        let message = format!("the inputs {a} and {b} would share the lease table `{}`", input.table.name);
        let hint = format!(
            "a table holds the leases of one stream, unless each has a {}: set {own}",
            keys::kcl::STREAM_IDENTIFIER.name
        );
        settings.conflict(message, &key, &hint);
    }
    if !TABLE_NAME_BYTES.contains(&input.table.name.len()) {
        let problem = Problem::new(Code::BadValue, format!("`{}` cannot be the name of a table", input.table.name));
        let problem = problem.expected("3 to 255 characters, a rule of DynamoDB");
        settings.blame(problem.hint(format!("set {own} to another name")), &key);
    }
}

fn shard_sync_interval(settings: &mut Settings<'_>, at: Place<'_>) -> Option<Duration> {
    let interval = settings.millis_in(&keys::kcl::SHARD_SYNC_INTERVAL_MILLIS, at);
    let strategy = settings.text_in(&keys::kcl::SHARD_SYNC_STRATEGY_TYPE, at).unwrap_or_default();
    if strategy.eq_ignore_ascii_case("PERIODIC") {
        return Some(interval);
    }
    if let Some(key) = settings.find(&keys::kcl::SHARD_SYNC_INTERVAL_MILLIS, at) {
        let message = format!("`{key}` has an effect with ShardSyncStrategyType=PERIODIC only");
        settings.remark(Code::NoEffect, message, &key);
    }
    None
}

fn lease_cleanup(settings: &mut Settings<'_>, at: Place<'_>) -> Option<LeaseCleanup> {
    let cleanup = LeaseCleanup {
        completed: settings.millis_in(&keys::kcl::COMPLETED_LEASE_CLEANUP_THRESHOLD_MILLIS, at),
        garbage: settings.millis_in(&keys::kcl::GARBAGE_LEASE_CLEANUP_THRESHOLD_MILLIS, at),
    };
    settings.is_set_in(&keys::kcl::CLEANUP_LEASES_UPON_SHARD_COMPLETION, at).then_some(cleanup)
}

fn billing_mode(settings: &mut Settings<'_>, at: Place<'_>) -> BillingMode {
    let read = settings.number_in(&keys::kcl::INITIAL_LEASE_TABLE_READ_CAPACITY, at);
    let write = settings.number_in(&keys::kcl::INITIAL_LEASE_TABLE_WRITE_CAPACITY, at);
    let mode = settings.text_in(&keys::kcl::BILLING_MODE, at).unwrap_or_default();
    if mode.eq_ignore_ascii_case("PROVISIONED") {
        return BillingMode::Provisioned { read, write };
    }
    for name in [&keys::kcl::INITIAL_LEASE_TABLE_READ_CAPACITY, &keys::kcl::INITIAL_LEASE_TABLE_WRITE_CAPACITY] {
        let Some(key) = settings.find(name, at) else { continue };
        let message = format!("`{key}` has an effect with BillingMode=PROVISIONED only");
        settings.remark(Code::NoEffect, message, &key);
    }
    BillingMode::PayPerRequest
}
