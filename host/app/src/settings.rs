//! From a typed configuration to what the parts of the host are given: client settings, machine settings, limits.

use std::sync::Arc;
use std::time::Duration;

use shardmill_aws::{
    Billing, ClientSettings, Connections, ConsumerId, Credentials, Headers, NewTable, Proxy, ProxyLogin, RetryBudget,
    RetryMode, Role, StaticCredentials, Wire,
};
use shardmill_core::config::{self, Access, BillingMode, Consumer, Input, Job, Retrieval};
use shardmill_core::coordinator::{self, TaskId};
use shardmill_core::kinesis::{fan_out, polling};
use shardmill_core::position::Latest;
use shardmill_core::{leases, rollout, run_loop};
use shardmill_runtime::{Directory, FileUsage, Grants, HttpGrant, Limits, OutputStreams, TaskSpec, TracingLog};
use uuid::Uuid;

use crate::clock::millis;
use crate::http_client;
use crate::tasks::Executor;

/// How the input's stream is reached.
#[must_use]
pub(crate) fn kinesis_client(input: &Input) -> ClientSettings {
    client(input, &input.kinesis)
}

/// How the input's lease table is reached.
#[must_use]
pub(crate) fn dynamodb_client(input: &Input) -> ClientSettings {
    client(input, &input.dynamodb)
}

fn client(input: &Input, access: &Access) -> ClientSettings {
    let defaults = ClientSettings::default();
    let given = &input.client;
    ClientSettings {
        region: access.region.clone(),
        endpoint: access.endpoint.clone(),
        credentials: credentials(&access.credentials),
        role: access.role.as_ref().map(role),
        wire: match input.wire {
            config::Wire::Cbor => Wire::Cbor,
            config::Wire::Json => Wire::Json,
        },
        connect_timeout: given.connection_timeout.unwrap_or(defaults.connect_timeout),
        read_timeout: given.socket_timeout.unwrap_or(defaults.read_timeout),
        attempt_timeout: given.request_timeout.unwrap_or(defaults.attempt_timeout),
        call_timeout: given.execution_timeout,
        max_attempts: given.max_error_retry.map_or(defaults.max_attempts, |retries| retries + 1),
        retry_mode: match given.retry_mode {
            config::RetryMode::Standard => RetryMode::Standard,
            config::RetryMode::Adaptive => RetryMode::Adaptive,
        },
        retry_budget: match given.retry_budget {
            config::RetryBudget::Default => RetryBudget::Shared,
            config::RetryBudget::Retries(retries) => RetryBudget::Retries(retries),
            config::RetryBudget::Unlimited => RetryBudget::Unlimited,
        },
        proxy: given.proxy.as_ref().map(proxy),
        connections: Connections {
            max: given.max_connections,
            max_idle: given.connection_max_idle,
            max_age: given.connection_ttl,
            keep_alive: given.tcp_keep_alive,
        },
        headers: Headers {
            user_agent_prefix: given.user_agent_prefix.clone(),
            user_agent_suffix: given.user_agent_suffix.clone(),
            more: given.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
        },
    }
}

fn credentials(given: &config::Credentials) -> Credentials {
    match given {
        config::Credentials::Chain => Credentials::Chain,
        config::Credentials::Profile(name) => Credentials::Profile(name.clone()),
        config::Credentials::Static(given) => Credentials::Static(StaticCredentials {
            access_key_id: given.access_key.clone(),
            secret_access_key: given.secret_key.expose().to_owned(),
            session_token: given.session_token.as_ref().map(|token| token.expose().to_owned()),
        }),
    }
}

fn role(given: &config::Role) -> Role {
    Role {
        arn: given.arn.clone(),
        external_id: given.external_id.clone(),
        session_name: given.session_name.clone(),
        endpoint: given.sts_endpoint.clone(),
    }
}

fn proxy(given: &config::Proxy) -> Proxy {
    Proxy {
        host: given.host.clone(),
        port: given.port,
        login: given
            .login
            .as_ref()
            .map(|login| ProxyLogin { username: login.username.clone(), password: login.password.expose().to_owned() }),
        non_proxy_hosts: given.non_proxy_hosts.clone(),
    }
}

/// How the lease table is created when it does not exist.
#[must_use]
pub(crate) fn new_table(input: &Input) -> NewTable {
    let given = input.new_table;
    NewTable {
        billing: match given.billing_mode {
            BillingMode::PayPerRequest => Billing::PayPerRequest,
            BillingMode::Provisioned { read, write } => Billing::Provisioned { read, write },
        },
        deletion_protection: given.deletion_protection,
        point_in_time_recovery: given.point_in_time_recovery,
    }
}

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
        cleanup: input
            .lease_cleanup
            .map(|cleanup| leases::Cleanup { completed: millis(cleanup.completed), garbage: millis(cleanup.garbage) }),
        ignore_unexpected_children: input.ignore_unexpected_child_shards,
    }
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

/// The consumer that the input's shards are read as; `None` when they are polled.
#[must_use]
pub(crate) fn consumer(input: &Input) -> Option<ConsumerId> {
    match &input.retrieval {
        Retrieval::Polling => None,
        Retrieval::FanOut(Consumer::Name(name)) => Some(ConsumerId::Name(name.clone())),
        Retrieval::FanOut(Consumer::Arn(arn)) => Some(ConsumerId::Arn(arn.clone())),
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
        task_name: "Task-0".to_owned(),
        sources: Vec::new(),
        outputs: Arc::new(OutputStreams::new(job.outputs.keys().cloned())),
        config: job.task_config.clone(),
        limits: limits(job),
        grants: grants(job, executor),
        log: Arc::new(TracingLog),
        hits: Arc::default(),
    }
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
        // All shards are processed by one task.
        tasks: 1,
        task_of: |_| TaskId(0),
        shutdown_timeout: millis(job.shutdown_timeout),
        drain: millis(job.rollout.drain),
        rollout: rollout(job),
    }
}

/// What the job's task instance may use.
#[must_use]
pub(crate) fn limits(job: &Job) -> Limits {
    let config::Limits { call_timeout, init_timeout, memory_max_bytes, .. } = job.limits;
    Limits {
        call_timeout,
        init_timeout,
        memory_max_bytes,
        output_max_bytes: job.limits.output_max_bytes,
        output_max_count: job.limits.output_max_count,
        log_max_bytes: job.limits.log_max_bytes,
        log_max_lines: job.limits.log_max_lines,
        files_max_bytes: job.limits.files_max_bytes,
        files_total_max_bytes: job.limits.files_total_max_bytes,
        files_max_count: job.limits.files_max_count,
        http_max_requests: job.limits.http_max_requests,
    }
}

/// What the job's task instance is given.
fn grants(job: &Job, executor: Executor) -> Grants {
    let config::Grants { env, directories, http, http_networks } = &job.grants;
    let directory = |given: &config::Directory| Directory {
        host: given.host.clone(),
        operators: given.operators.clone(),
        guest: given.guest.clone(),
        writable: given.writable,
    };
    Grants {
        env: env.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
        directories: directories.iter().map(directory).collect(),
        usage: FileUsage::default(),
        http: (!http.is_empty())
            .then(|| HttpGrant { origins: http.clone(), client: http_client::of_job(http_networks, executor) }),
    }
}

#[cfg(test)]
mod tests;
