//! From a typed configuration to the settings of the machines, whose times are milliseconds, and to the task's.

use std::sync::Arc;
use std::time::Duration;

use shardmill_core::config::{self, Input, Job, LeaseCleanup};
use shardmill_core::coordinator;
use shardmill_core::grouper::TaskId;
use shardmill_core::kinesis::{fan_out, polling};
use shardmill_core::position::Latest;
use shardmill_core::{leases, rollout, run_loop};
use shardmill_runtime::{FileUsage, HttpClient, OutputStreams, TaskSpec, TracingLog};
use uuid::Uuid;

use crate::clock::millis;
use crate::http_client;
use crate::tasks::Executor;

/// What the input's lease machine is told. Without a configured name a worker is a new one at each start, but the same
/// one for all streams of a table: others count the workers in it.
#[must_use]
pub(crate) fn leases(input: &Input, run: Uuid) -> leases::Settings {
    let application = input.stream_identifier.as_ref().map_or(&input.application_name, |_| &input.table_name);
    let new_worker = || format!("{application}-{run}");
    leases::Settings {
        table: input.table_name.clone(),
        worker: input.worker_id.clone().unwrap_or_else(new_worker),
        failover: millis(input.failover),
        initial_position: input.initial_position,
        max_leases: input.max_leases_for_worker,
        max_leases_to_steal: input.max_leases_to_steal,
        parent_poll: millis(input.parent_shard_poll),
        seed: seed(),
        audit_interval: millis(input.audit_interval),
        audit_confidence: input.audit_confidence,
        shard_sync_interval: input.shard_sync_interval.map(millis),
        cleanup: input.lease_cleanup.map(cleanup),
        ignore_unexpected_children: input.ignore_unexpected_child_shards,
    }
}

fn cleanup(LeaseCleanup { completed, garbage }: LeaseCleanup) -> leases::Cleanup {
    leases::Cleanup { completed: millis(completed), garbage: millis(garbage) }
}

/// Randomness for a machine: another one for each.
pub(crate) fn seed() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}

/// What a reader of one of the input's shards is told.
#[must_use]
pub(crate) fn reader(input: &Input, latest: Latest) -> polling::Settings {
    polling::Settings {
        initial_position: input.initial_position,
        latest,
        max_records: input.max_records,
        idle: millis(input.idle_between_reads),
        max_unprocessed_bytes: input.max_cache_bytes,
        max_unprocessed_records: input.max_cache_records,
        seed: seed(),
    }
}

/// What a fan-out reader of one of the input's shards is told.
#[must_use]
pub(crate) fn fan_out(input: &Input, latest: Latest) -> fan_out::Settings {
    fan_out::Settings {
        initial_position: input.initial_position,
        latest,
        max_unprocessed_bytes: input.max_cache_bytes,
        max_unprocessed_records: input.max_cache_records,
        seed: seed(),
    }
}

/// What the job's run loop is told.
#[must_use]
pub(crate) fn run_loop(job: &Job) -> run_loop::Settings {
    run_loop::Settings {
        call_max_records: job.batch.max_records,
        call_max_bytes: job.batch.max_bytes,
        commit_interval: job.commit.map(millis),
        retry: run_loop::Retry {
            max_attempts: job.retry.max_attempts,
            backoff: millis(job.retry.backoff),
            backoff_max: millis(job.retry.backoff_max),
        },
    }
}

/// What the job's task instance is told and allowed; its shards come later.
#[must_use]
pub fn task_spec(job: &Job) -> TaskSpec {
    task_spec_with(job, Executor::new(CONNECTION).0)
}

/// What the tasks of a job's HTTP client are, for people.
pub(crate) const CONNECTION: &str = "an HTTP connection";

/// The same; `executor` runs the connections of its HTTP client.
pub(crate) fn task_spec_with(job: &Job, executor: Executor) -> TaskSpec {
    TaskSpec {
        job_name: job.name.clone(),
        job_id: job.id.clone(),
        task_name: TaskId::default().to_string(),
        sources: Vec::new(),
        outputs: Arc::new(OutputStreams::new(job.outputs.keys().cloned())),
        config: job.task_config.clone(),
        limits: job.limits.clone(),
        grants: job.grants.clone(),
        file_usage: FileUsage::default(),
        http_client: http_client(&job.grants, executor),
        log: Arc::new(TracingLog),
        hits: Arc::default(),
    }
}

fn http_client(grants: &config::Grants, executor: Executor) -> Option<Arc<dyn HttpClient>> {
    (!grants.http.is_empty()).then(|| http_client::of_job(&grants.http_networks, executor))
}

/// How long the previous version stays ready for a rollback after another took over.
const KEEP_WARM: Duration = Duration::from_mins(10);

/// What the rollout of the job's versions is told.
#[must_use]
pub(crate) fn rollout(job: &Job) -> rollout::Settings {
    let config::Rollout { is_canary, waves, bake, .. } = &job.rollout;
    let (bake, keep_warm) = (millis(*bake), millis(KEEP_WARM));
    rollout::Settings { is_canary: *is_canary, waves: waves.clone(), bake, keep_warm }
}

/// How the parts of a job work together.
#[must_use]
pub(crate) fn coordinator(job: &Job) -> coordinator::Settings {
    let inputs = job.inputs.iter().map(|Input { system, stream, .. }| (system.clone(), stream.clone()));
    coordinator::Settings {
        inputs: inputs.collect(),
        tasks: job.grouper.tasks(),
        task_of: job.grouper.group(),
        shutdown_timeout: millis(job.shutdown_timeout),
        drain: millis(job.rollout.drain),
        rollout: rollout(job),
    }
}

#[cfg(test)]
mod tests;
