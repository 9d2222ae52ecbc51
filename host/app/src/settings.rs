//! From a typed configuration to the settings of the machines, whose times are milliseconds, and to the task's.

use std::sync::Arc;
use std::time::Duration;

use shardmill_core::config::{
    self, BatchLimits, Job, KinesisInput, LeaseCleanup, LeaseTable, Leases, Polling, Retrieval, Retry,
};
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

/// The lease machine's. Without a configured name a worker is a new one at each start, but the same one for all streams of
/// a table: others count the workers in it.
#[must_use]
pub(crate) fn leases(input: &KinesisInput, run: Uuid) -> leases::Settings {
    let Leases {
        application_name,
        worker_id,
        failover,
        parent_shard_poll,
        shard_sync_interval,
        audit_interval,
        audit_confidence,
        cleanup,
        ignore_unexpected_child_shards,
        max_for_worker,
        max_to_steal,
    } = &input.leases;
    // The table itself is opened by its client, and made by the lease worker.
    let LeaseTable { name: table, stream_identifier, consistent_reads: _, new: _ } = &input.table;
    let application = stream_identifier.as_ref().map_or(application_name, |_| table);
    let cleanup = cleanup.map(|LeaseCleanup { completed, garbage }| leases::Cleanup {
        completed: millis(completed),
        garbage: millis(garbage),
    });
    leases::Settings {
        table: table.clone(),
        worker: worker_id.clone().unwrap_or_else(|| format!("{application}-{run}")),
        failover: millis(*failover),
        initial_position: input.retrieval.initial_position,
        max_leases: *max_for_worker,
        max_leases_to_steal: *max_to_steal,
        parent_poll: millis(*parent_shard_poll),
        seed: seed(),
        audit_interval: millis(*audit_interval),
        audit_confidence: *audit_confidence,
        shard_sync_interval: shard_sync_interval.map(millis),
        cleanup,
        ignore_unexpected_children: *ignore_unexpected_child_shards,
    }
}

/// Randomness for a machine: another one for each.
pub(crate) fn seed() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}

/// A polling reader's.
#[must_use]
pub(crate) fn polling(retrieval: &Retrieval, polling: Polling, latest: Latest) -> polling::Settings {
    let Retrieval { initial_position, mode: _, max_cache_bytes, max_cache_records } = *retrieval;
    let Polling { max_records, idle_between_reads } = polling;
    polling::Settings {
        initial_position,
        latest,
        max_records,
        idle: millis(idle_between_reads),
        max_unprocessed_bytes: max_cache_bytes,
        max_unprocessed_records: max_cache_records,
        seed: seed(),
    }
}

/// A fan-out reader's.
#[must_use]
pub(crate) fn fan_out(retrieval: &Retrieval, latest: Latest) -> fan_out::Settings {
    let Retrieval { initial_position, mode: _, max_cache_bytes, max_cache_records } = *retrieval;
    fan_out::Settings {
        initial_position,
        latest,
        max_unprocessed_bytes: max_cache_bytes,
        max_unprocessed_records: max_cache_records,
        seed: seed(),
    }
}

/// The run loop's.
#[must_use]
pub(crate) fn run_loop(job: &Job) -> run_loop::Settings {
    let BatchLimits { max_records, max_bytes } = job.batch;
    let Retry { max_attempts, backoff, backoff_max } = job.retry;
    run_loop::Settings {
        call_max_records: max_records,
        call_max_bytes: max_bytes,
        commit_interval: job.commit.map(millis),
        retry: run_loop::Retry { max_attempts, backoff: millis(backoff), backoff_max: millis(backoff_max) },
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
    // How long a call may hold up a move is the coordinator's.
    let config::Rollout { is_canary, waves, bake, drain: _ } = &job.rollout;
    let (bake, keep_warm) = (millis(*bake), millis(KEEP_WARM));
    rollout::Settings { is_canary: *is_canary, waves: waves.clone(), bake, keep_warm }
}

/// How the parts of a job work together.
#[must_use]
pub(crate) fn coordinator(job: &Job) -> coordinator::Settings {
    let inputs = job.inputs.iter().map(|input| (input.system().to_owned(), input.stream().to_owned()));
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
