//! Samza's own keys: those that mean the same here, those that mean nothing here, and those that cannot be honoured.

use super::Setter::{AtMost, Job, Operator, Words};
use super::{Family, Key};
use crate::config::value::Kind;

pub(super) const FAMILY: Family = Family {
    title: "Samza's keys",
    intro: "Names, defaults and meaning are those of [Samza](https://samza.apache.org/learn/documentation/latest/jobs/samza-configurations.html), where nothing else is said.",
    keys: KEYS,
};

const CLUSTER: &str = "processes are started by your platform, and share the shards through the lease table";
const LEASES: &str = "positions are kept in the lease table, as the KCL does";
const ONE_FORMAT: &str = "configuration is the given properties files and --config, nothing rewrites it";
const JVM: &str = "there is no JVM";
const SERDES: &str = "keys are text and messages are bytes; the task decodes them";
const STATE: &str = "tasks have no stores yet";
const COMMIT: &str = "a commit is part of the task loop and is never skipped";
const EVENT_DRIVEN: &str = "the task loop waits for events, it does not poll";
const METRICS: &str = "there are no metrics reporters yet";
const KINESIS_ONLY: &str = "only Kinesis streams can be read, and they know no such thing";
const NEVER_SKIP: &str = "an envelope is never dropped; a call that keeps failing stops the job";

/// The factories of the system that is the host's own standard output.
pub(in crate::config) const CONSOLE: &[&str] = &[
    "console",
    "org.apache.samza.system.console.ConsoleSystemFactory",
    "org.apache.samza.tools.ConsoleLoggingSystemFactory",
];

const COUNT: Kind = Kind::Int(1, i32::MAX as i64);
const FLAG: Kind = Kind::Bool;

keys![
    // What works.
    JOB_NAME = Key::job(Operator, "job.name", Kind::Name, "name of the job; part of the lease table's name").required(),
    JOB_ID = Key::job(Operator, "job.id", Kind::Name, "tells instances of one job apart").default("1"),
    APP_NAME = Key::job(Operator, "app.name", Kind::Name, "the same as `job.name`, and wins over it"),
    APP_ID = Key::job(Operator, "app.id", Kind::Name, "the same as `job.id`, and wins over it"),
    TASK_CLASS = Key::job(Operator, "task.class", Kind::Module, "the module: `word-count` is `word-count.wasm` in the task directory").required(),
    TASK_INPUTS = Key::job(Job, "task.inputs", Kind::List, "the streams to read: `system.stream`, or ids of `streams.ID.*`, with commas between").required(),
    JOB_DEFAULT_SYSTEM = Key::job(Job, "job.default.system", Kind::Name, "the system of stream ids that name none"),
    JOB_SYSTEMSTREAMPARTITION_GROUPER_FACTORY = Key::job(Job, "job.systemstreampartition.grouper.factory", Kind::Text, "which task instance gets which shards; one instance for all is the only choice for now").default("org.apache.samza.container.grouper.stream.AllSspToSingleTaskGrouperFactory"),
    TASK_COMMIT_MS = Key::job(Job, "task.commit.ms", Kind::MillisOrNever, "time between commits; the job also commits when it stops, at the end of a shard and when the task asks").default("60000"),
    TASK_WINDOW_MS = Key::job(Job, "task.window.ms", Kind::MillisOrNever, "time between calls of the task's window").default("-1").not_yet("the task's window is not called"),
    TASK_SHUTDOWN_MS = Key::job(AtMost, "task.shutdown.ms", Kind::Millis(1), "time for a graceful stop").default("30000"),
    SAMZA_FACTORY = Key::system(Words(CONSOLE), "samza.factory", Kind::Text, "what the system is: Kinesis for inputs (`org.apache.samza.system.kinesis.KinesisSystemFactory`, `org.apache.samza.system.eventhub.KinesisSystemFactory` or `kinesis`), `console` or `file` for outputs").required(),
    _ = Key::job(Job, "streams.{id}.samza.system", Kind::Name, "system of the stream id"),
    _ = Key::job(Job, "streams.{id}.samza.physical.name", Kind::Name, "name of the stream at AWS. Default: the id"),
    // What cannot be honoured, and must not be ignored.
    _ = Key::job(Job, "task.broadcast.inputs", Kind::List, "streams that every task instance reads").rejected("Kinesis streams cannot be configured as broadcast streams: a shard has one reader; move the stream to `task.inputs`"),
    _ = Key::stream(Job, "samza.bootstrap", FLAG, "read the stream to its end first").only("false", "Kinesis streams cannot be configured as bootstrap streams: a shard's end is not known in advance; remove the key"),
    _ = Key::job(Job, "streams.{id}.samza.bootstrap", FLAG, "read the stream to its end first").only("false", "Kinesis streams cannot be configured as bootstrap streams: a shard's end is not known in advance; remove the key"),
    _ = Key::stream(Job, "samza.broadcast", FLAG, "every task instance reads the stream").only("false", "Kinesis streams cannot be configured as broadcast streams: a shard has one reader; remove the key"),
    _ = Key::job(Job, "streams.{id}.samza.broadcast", FLAG, "every task instance reads the stream").only("false", "Kinesis streams cannot be configured as broadcast streams: a shard has one reader; remove the key"),
    _ = Key::job(Job, "task.drop.deserialization.errors", FLAG, "drop envelopes that cannot be decoded").only("false", NEVER_SKIP),
    _ = Key::job(Job, "task.drop.serialization.errors", FLAG, "drop outputs that cannot be encoded").only("false", NEVER_SKIP),
    _ = Key::job(Job, "task.drop.producer.errors", FLAG, "drop outputs that cannot be sent").only("false", NEVER_SKIP),
    _ = Key::job(Job, "task.ignored.exceptions", Kind::Text, "exceptions that do not stop the job").rejected("an envelope is never dropped; return ok from the task for what is to be ignored"),
    _ = Key::job(Job, "stores.{store}.factory", Kind::Text, "a key-value store").rejected("tasks have no stores yet; without one the task would not do what it is written for"),
    // What has no meaning here.
    _ = Key::job(Job, "app.class", Kind::Text, "a high-level application").no_meaning("a task is a module: `task.class` names it"),
    _ = Key::job(Job, "app.runner.class", Kind::Text, "how an application is run").no_meaning(CLUSTER),
    _ = Key::job(Job, "app.mode", Kind::Text, "stream or batch").no_meaning("streams are read without end"),
    _ = Key::job(Job, "app.processor.id", Kind::Text, "id of the process").no_meaning("`aws.kcl.WorkerId` names the process in the lease table"),
    _ = Key::job(Job, "processor.id", Kind::Text, "id of the process").no_meaning("`aws.kcl.WorkerId` names the process in the lease table"),
    _ = Key::job(Job, "app.processor-id-generator.class", Kind::Text, "id of the process").no_meaning("`aws.kcl.WorkerId` names the process in the lease table"),
    _ = Key::job(Job, "processor.list", Kind::Text, "ids of all processes").no_meaning(CLUSTER),
    _ = Key::job(Job, "job.factory.class", Kind::Text, "YARN, thread or process").no_meaning(CLUSTER),
    _ = Key::job(Job, "job.container.count", COUNT, "processes").no_meaning(CLUSTER),
    _ = Key::job(Job, "job.container.single.thread.mode", FLAG, "old task loop").no_meaning(EVENT_DRIVEN),
    _ = Key::job(Job, "job.container.thread.pool.size", Kind::Int(0, i32::MAX as i64), "threads of a process").no_meaning("a task instance has a thread of its own"),
    _ = Key::job(Job, "job.container.commit.thread.pool.{rest}", Kind::Any, "threads of commits").no_meaning(COMMIT),
    _ = Key::job(Job, "job.changelog.system", Kind::Text, "changelogs of stores").no_meaning(STATE),
    _ = Key::job(Job, "job.coordinator.{rest}", Kind::Any, "coordination of processes").no_meaning(CLUSTER),
    _ = Key::job(Job, "job.checkpoint.validation.enabled", FLAG, "check of Samza's checkpoints").no_meaning(LEASES),
    _ = Key::job(Job, "job.config.rewriters", Kind::Any, "plug-ins that change the configuration").no_meaning(ONE_FORMAT),
    _ = Key::job(Job, "job.config.rewriter.{rest}", Kind::Any, "plug-ins that change the configuration").no_meaning(ONE_FORMAT),
    _ = Key::job(Job, "job.config.loader.{rest}", Kind::Any, "where the configuration is read from").no_meaning(ONE_FORMAT),
    _ = Key::job(Job, "job.systemstreampartition.matcher.{rest}", Kind::Any, "fixed subset of partitions").no_meaning("leases decide which process reads which shard"),
    _ = Key::job(Job, "job.systemstreampartition.input.expansion.enabled", FLAG, "tasks after more partitions").no_meaning("new shards are followed without a restart"),
    _ = Key::job(Job, "job.taskname.{rest}", Kind::Any, "tasks to processes").no_meaning(CLUSTER),
    _ = Key::job(Job, "job.jmx.enabled", FLAG, "JMX").no_meaning(JVM),
    _ = Key::job(Job, "job.security.{rest}", Kind::Any, "Kerberos").no_meaning(CLUSTER),
    _ = Key::job(Job, "job.host-affinity.enabled", FLAG, "state stays on its machine").no_meaning(STATE),
    _ = Key::job(Job, "job.standbytasks.replication.factor", COUNT, "stand-by copies of state").no_meaning(STATE),
    _ = Key::job(Job, "job.logged.store.base.dir", Kind::Text, "directory of stores").no_meaning(STATE),
    _ = Key::job(Job, "job.non-logged.store.base.dir", Kind::Text, "directory of stores").no_meaning(STATE),
    _ = Key::job(Job, "job.startpoint.enabled", FLAG, "startpoints").no_meaning("`aws.kcl.InitialPositionInStream` is where a job starts"),
    _ = Key::job(Job, "job.drain-monitor.{rest}", Kind::Any, "drain requests").no_meaning("SIGTERM and SIGINT drain the job"),
    _ = Key::job(Job, "job.diagnostics.enabled", FLAG, "diagnostics stream").no_meaning(METRICS),
    _ = Key::job(Job, "job.diagnostics.{rest}", Kind::Any, "diagnostics stream").no_meaning(METRICS),
    _ = Key::job(Job, "job.autosizing.{rest}", Kind::Any, "sizes of processes").no_meaning(CLUSTER),
    _ = Key::job(Job, "job.elasticity.factor", COUNT, "parts of a partition").no_meaning("a shard is one ordered stream"),
    _ = Key::job(Job, "job.debug.delay.ms", Kind::Any, "start delay").no_meaning(JVM),
    _ = Key::job(Job, "job.classpath.{rest}", Kind::Any, "class path").no_meaning(JVM),
    _ = Key::job(Job, "task.commit.max.delay.ms", Kind::Any, "bound of a slow commit").no_meaning(COMMIT),
    _ = Key::job(Job, "task.commit.timeout.ms", Kind::Any, "bound of a slow commit").no_meaning(COMMIT),
    _ = Key::job(Job, "task.commit.skip.commit.during.failures.enabled", FLAG, "skip failing commits").no_meaning(COMMIT),
    _ = Key::job(Job, "task.commit.skip.commit.exception.max.limit", Kind::Any, "skip failing commits").no_meaning(COMMIT),
    _ = Key::job(Job, "task.commit.skip.commit.timeout.max.limit", Kind::Any, "skip failing commits").no_meaning(COMMIT),
    _ = Key::job(Job, "task.async.commit", FLAG, "process during a commit").no_meaning(COMMIT),
    _ = Key::job(Job, "task.max.concurrency", COUNT, "envelopes of a task in flight").no_meaning("envelopes of a shard are processed one after the other"),
    _ = Key::job(Job, "task.callback.timeout.ms", Kind::MillisOrNever, "bound of an asynchronous call").no_meaning("`task.call.timeout.ms` bounds every call"),
    _ = Key::job(Job, "task.callback.watermark.timeout.ms", Kind::Any, "bound of a watermark call").no_meaning("`task.call.timeout.ms` bounds every call"),
    _ = Key::job(Job, "task.callback.drain.timeout.ms", Kind::Any, "bound of a drain call").no_meaning("`task.call.timeout.ms` bounds every call"),
    _ = Key::job(Job, "task.poll.interval.ms", Kind::Any, "polling").no_meaning(EVENT_DRIVEN),
    _ = Key::job(Job, "task.max.idle.ms", Kind::Any, "polling").no_meaning(EVENT_DRIVEN),
    _ = Key::job(Job, "task.consumer.batch.size", Kind::Any, "envelopes of one partition in a row").no_meaning("`task.batch.max.records` bounds a batch"),
    _ = Key::job(Job, "task.chooser.{rest}", Kind::Any, "which stream comes next").no_meaning("streams take turns"),
    _ = Key::job(Job, "task.checkpoint.{rest}", Kind::Any, "Samza's checkpoints").no_meaning(LEASES),
    _ = Key::job(Job, "task.transactional.state.{rest}", Kind::Any, "state and position as one").no_meaning(STATE),
    _ = Key::job(Job, "task.opts", Kind::Any, "JVM options").no_meaning("there is no JVM; `task.memory.max.mb` and `task.call.timeout.ms` limit a task"),
    _ = Key::job(Job, "task.java.home", Kind::Any, "the JVM").no_meaning(JVM),
    _ = Key::job(Job, "task.execute", Kind::Any, "the start script").no_meaning(JVM),
    _ = Key::job(Job, "task.command.class", Kind::Any, "the start script").no_meaning(JVM),
    _ = Key::job(Job, "task.subtask.class", Kind::Any, "wrapped task class").no_meaning(JVM),
    _ = Key::job(Job, "task.log4j.{rest}", Kind::Any, "log4j").no_meaning(JVM),
    _ = Key::system(Job, "samza.key.serde", Kind::Text, "decoding of keys").no_meaning(SERDES),
    _ = Key::system(Job, "samza.msg.serde", Kind::Text, "decoding of messages").no_meaning(SERDES),
    _ = Key::stream(Job, "samza.{rest}", Kind::Any, "decoding and start of a stream").no_meaning("keys are text and messages are bytes, and `aws.kcl.InitialPositionInStream` is where a stream starts"),
    _ = Key::system(Job, "samza.offset.default", Kind::OneOf(&["upcoming", "oldest"]), "start position").no_meaning("ignored for Kinesis as in Samza: `aws.kcl.InitialPositionInStream` is where a stream starts"),
    _ = Key::system(Job, "default.stream.{rest}", Kind::Any, "defaults of a system's streams").no_meaning(SERDES),
    _ = Key::job(Job, "streams.{id}.samza.{rest}", Kind::Any, "other settings of a stream id").no_meaning(KINESIS_ONLY),
    _ = Key::job(Job, "serializers.registry.{rest}", Kind::Any, "decoders").no_meaning(SERDES),
    _ = Key::job(Job, "stores.{store}.{rest}", Kind::Any, "settings of a store").no_meaning(STATE),
    _ = Key::job(Job, "metrics.{rest}", Kind::Any, "metrics reporters").no_meaning(METRICS),
    _ = Key::job(Job, "cluster-manager.{rest}", Kind::Any, "cluster manager").no_meaning(CLUSTER),
    _ = Key::job(Job, "yarn.{rest}", Kind::Any, "YARN").no_meaning(CLUSTER),
    _ = Key::job(Job, "container.disk.quota.{rest}", Kind::Any, "disk quota").no_meaning(STATE),
    _ = Key::job(Job, "disk.quota.{rest}", Kind::Any, "disk quota").no_meaning(STATE),
];
