//! The keys that Samza does not have, in its style: limits of the sandbox, batches, retries, outputs.

use super::Setter::{AtMost, Job, Operator};
use super::{Family, Key};
use crate::config::value::Kind;

pub(super) const FAMILY: Family =
    Family { title: "Keys of shardmill", intro: "What Samza has no key for.", keys: KEYS };

keys![
    TASK_CALL_TIMEOUT_MS = Key::job(AtMost, "task.call.timeout.ms", Kind::Millis(1), "time for one call of the task (`process`, `process-batch`, a window); a call that takes longer is interrupted and counts as a trap").default("10000"),
    TASK_INIT_TIMEOUT_MS = Key::job(AtMost, "task.init.timeout.ms", Kind::Millis(1), "time for starting an instance, its `init` included").default("30000"),
    TASK_MEMORY_MAX_MB = Key::job(AtMost, "task.memory.max.mb", Kind::Int(1, 4096), "memory of one task instance in MiB; growing beyond it is a trap").default("256"),
    TASK_OUTPUT_MAX_BYTES = Key::job(AtMost, "task.output.max.bytes", Kind::Int(1, i32::MAX as i64), "keys and messages that one call may send, in bytes").default("33554432"),
    TASK_OUTPUT_MAX_COUNT = Key::job(AtMost, "task.output.max.count", Kind::Int(1, i32::MAX as i64), "envelopes that one call may send").default("100000"),
    TASK_LOG_MAX_BYTES = Key::job(AtMost, "task.log.max.bytes", Kind::Int(0, i32::MAX as i64), "log text of one call in bytes; what is over is cut and counted").default("65536"),
    TASK_LOG_MAX_LINES = Key::job(AtMost, "task.log.max.lines", Kind::Int(0, i32::MAX as i64), "log lines of one call; what is over is dropped and counted").default("1000"),
    TASK_FILES_MAX_BYTES = Key::job(AtMost, "task.files.max.bytes", Kind::Int(0, i32::MAX as i64), "bytes that one call may write to files of directories granted `:rw`; what is over fails").default("268435456"),
    TASK_FILES_TOTAL_MAX_MB = Key::job(AtMost, "task.files.total.max.mb", Kind::Int(0, 1 << 30), "bytes of all files together, by their lengths, in the directories granted `:rw`, in MiB; what is there at the start counts, what is over fails").default("1024"),
    TASK_FILES_MAX_COUNT = Key::job(AtMost, "task.files.max.count", Kind::Int(0, i32::MAX as i64), "files, directories and links in the directories granted `:rw`; what is there at the start counts, what is over fails").default("10000"),
    TASK_GRANT_ENV = Key::job(Operator, "task.grant.env", Kind::Names, "environment variables that the task is given; without it, or empty, none"),
    TASK_GRANT_DIR = Key::job(Operator, "task.grant.dir", Kind::Directories, "directories that the task may open files in, each as `/path[::/path/in/the/task][:ro|:rw]`; read-only unless it says `:rw`; without it, or empty, none"),
    TASK_GRANT_HTTP = Key::job(Operator, "task.grant.http", Kind::HttpOrigins, "origins that the task may send HTTP requests to by `wasi:http`, each as `http[s]://host[:port]`; `*.` in front of a host stands for every name below it; without it, or empty, none"),
    TASK_HTTP_MAX_REQUESTS = Key::job(AtMost, "task.http.max.requests", Kind::Int(1, i32::MAX as i64), "HTTP requests that one call may send; what is over fails").default("100"),
    TASK_BATCH_MAX_RECORDS = Key::job(Job, "task.batch.max.records", Kind::Int(1, 10_000), "envelopes given to one `process-batch` call").default("1000"),
    TASK_BATCH_MAX_BYTES = Key::job(Job, "task.batch.max.bytes", Kind::Int(1, i32::MAX as i64), "keys and messages given to one `process-batch` call, in bytes; a single larger record is a batch of its own").default("1048576"),
    TASK_RETRY_MAX_ATTEMPTS = Key::job(Job, "task.retry.max.attempts", Kind::Int(1, 1000), "calls for one envelope or batch before the job stops, the first included").default("3"),
    TASK_RETRY_BACKOFF_MS = Key::job(Job, "task.retry.backoff.ms", Kind::Millis(0), "pause before the second attempt; it doubles with each one after").default("200"),
    TASK_RETRY_BACKOFF_MAX_MS = Key::job(Job, "task.retry.backoff.max.ms", Kind::Millis(0), "the longest pause between attempts").default("10000"),
    TASK_ON_DELETE = Key::job(Job, "task.on.delete", Kind::OneOf(&["keep", "stop"]), "what a running job does when its module's file is removed from the task directory: `keep` running, as a file lost by mistake must not stop a stream, or `stop` gracefully").default("keep"),
    TASK_ROLLOUT = Key::job(Job, "task.rollout", Kind::OneOf(&["all", "canary"]), "how a new version of the module replaces the one that runs, unless `shardmill deploy` says otherwise for one: `all` shards at once, or as a `canary` that gets some shards first").default("all"),
    TASK_ROLLOUT_WAVES = Key::job(Job, "task.rollout.waves", Kind::Waves, "shards of the job that a canary gets, wave by wave: a number, or a share of them; several hosts take about the same share of their shards each. After the last wave, or at `100%`, it takes over").default("1,10%,50%,100%"),
    TASK_ROLLOUT_BAKE_MS = Key::job(Job, "task.rollout.bake.ms", Kind::Millis(0), "how long each wave of a canary is watched before the next").default("300000"),
    TASK_ROLLOUT_DRAIN_MS = Key::job(Job, "task.rollout.drain.ms", Kind::Millis(1), "how long a call may hold up the move of its shard to another version; then it is interrupted, and replayed by the other version").default("5000"),
    _ = Key::job(Job, "task.config.{name}", Kind::Verbatim, "given to the task as NAME through its `config` interface"),
    _ = Key::job(Job, "sensitive.task.config.{name}", Kind::Verbatim, "a secret for the task").rejected("tasks cannot be given secrets yet; there is no masked path to them"),
    FILE_PATH = Key::system(Operator, "file.path", Kind::Text, "the file that an output system with the factory `file` appends to; required there"),
    WIRE_PROTOCOL = Key::system(Job, "aws.wire.protocol", Kind::OneOf(&["cbor", "json"]), "encoding of the Kinesis calls; `json` for endpoints that cannot speak AWS CBOR").default("cbor"),
];
