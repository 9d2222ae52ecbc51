//! `host.*`: what the operator says of a host as a whole, and what it opens to the authors of its jobs.

use super::Setter::OperatorAlone;
use super::{Family, Key};
use crate::config::value::Kind;

pub(super) const FAMILY: Family = Family {
    title: "Keys of the host",
    intro: "For the configuration that a host is started with; a job's `NAME.properties` cannot set any of them. `host.allow.X` opens X to the `NAME.properties` of all jobs, up to its value, and `host.jobs.NAME.allow.X` does so for the job of `NAME.wasm`, instead of `host.allow.X`: an empty value opens nothing. They say what jobs *may* set; what holds for every job is set by the key itself, without `host.allow.`. They have no effect on a single job (`task.class` in the operator's own files), where everything is the operator's.",
    keys: KEYS,
};

const COUNT: Kind = Kind::Int(1, i32::MAX as i64);
const SIZE: Kind = Kind::Int(0, i32::MAX as i64);
const MOST: &str = "the most that a job may set it to";

keys![
    MEMORY_MAX_MB = Key::job(
        OperatorAlone,
        "host.memory.max.mb",
        COUNT,
        "memory in MiB that the tasks of all jobs of the host, and the compilers of their modules, may have in use together. Default: 75 % of the memory of the machine, or of the container if that has less",
    ),
    _ = Key::allow(
        "host.allow.task.grant.env",
        Kind::Names,
        "environment variables that jobs may grant themselves by `task.grant.env`",
    ),
    _ = Key::allow(
        "host.allow.task.grant.dir",
        Kind::AllowedDirectories,
        "directories that jobs may grant themselves by `task.grant.dir`, with all below them: each as `/path[:ro|:rw]`, read-only unless it says `:rw`",
    ),
    _ = Key::allow(
        "host.allow.task.grant.http",
        Kind::HttpOrigins,
        "origins that jobs may grant themselves by `task.grant.http`; `https://*.example.com` allows every name below it",
    ),
    _ = Key::allow(
        "host.allow.http.networks",
        Kind::Networks,
        "networks of special purpose (private, loopback, shared and the like) that the names in `task.grant.http` may resolve to, each as `10.0.0.0/8` or `fd00::/8`; without it none. It holds for the grants of the operator, too, and in a single job",
    ),
    _ = Key::allow(
        "host.allow.file.path",
        Kind::Paths,
        "directories in which jobs may define outputs to files (`systems.S.samza.factory=file` with `systems.S.file.path`), with all below them",
    ),
    ALLOW_KEYS = Key::allow(
        "host.allow.keys",
        Kind::KeyPatterns,
        "other keys of the operator that jobs may set, to any value; `*` stands for any characters, as in `systems.*.aws.kcl.TableName`. Neither grants nor limits: those have their own `host.allow`",
    ),
    _ = Key::allow("host.allow.task.call.timeout.ms", Kind::Millis(1), MOST),
    _ = Key::allow("host.allow.task.init.timeout.ms", Kind::Millis(1), MOST),
    _ = Key::allow("host.allow.task.shutdown.ms", Kind::Millis(1), MOST),
    _ = Key::allow("host.allow.task.memory.max.mb", Kind::Int(1, 4096), MOST),
    _ = Key::allow("host.allow.task.output.max.bytes", COUNT, MOST),
    _ = Key::allow("host.allow.task.output.max.count", COUNT, MOST),
    _ = Key::allow("host.allow.task.log.max.bytes", SIZE, MOST),
    _ = Key::allow("host.allow.task.log.max.lines", SIZE, MOST),
    _ = Key::allow("host.allow.task.files.max.bytes", SIZE, MOST),
    _ = Key::allow("host.allow.task.files.total.max.mb", Kind::Int(0, 1 << 30), MOST),
    _ = Key::allow("host.allow.task.files.max.count", SIZE, MOST),
    _ = Key::allow("host.allow.task.http.max.requests", COUNT, MOST),
];
