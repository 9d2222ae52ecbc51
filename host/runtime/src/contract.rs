//! The contract as data: what a component may import and what it must export, so that all problems of a component can be
//! reported at once. The types themselves are in `wit/`; a test compares the two.

/// The supported version of this project's interfaces: any patch of it.
pub(crate) const VERSION: &str = "0.1";
/// The linked version of WASI: any patch of it.
pub(crate) const WASI_VERSION: &str = "0.2";

/// An interface of this project that a component may export.
pub(crate) struct Export {
    pub(crate) interface: &'static str,
    pub(crate) functions: &'static [(&'static str, Function)],
}

/// The type of a function.
pub(crate) struct Function {
    pub(crate) parameters: &'static [(&'static str, Ty)],
    pub(crate) result: Ty,
}

/// A type that the contract uses. Names of records and variants are not part of a component's type.
pub(crate) enum Ty {
    U8,
    U32,
    U64,
    String,
    List(&'static Self),
    Option(&'static Self),
    Record(&'static [(&'static str, Self)]),
    Variant(&'static [(&'static str, Option<Self>)]),
    /// `result<_, E>`: nothing here returns a value.
    Failure(&'static Self),
}

const TASK_ERROR: Ty = Ty::Variant(&[
    ("retry", Some(Ty::Option(&Ty::U32))),
    ("reject", Some(Ty::String)),
    ("fatal", Some(Ty::String)),
    ("other", Some(Ty::String)),
]);

const BATCH_ERROR: Ty = Ty::Record(&[("index", Ty::U32), ("error", TASK_ERROR)]);

const ENVELOPE: Ty = Ty::Record(&[
    ("source", Ty::U32),
    ("sequence", Ty::String),
    ("sub-sequence", Ty::U32),
    ("key", Ty::Option(&Ty::String)),
    ("message", Ty::List(&Ty::U8)),
    ("arrival-ms", Ty::U64),
]);

pub(crate) const PROCESSOR: Export = Export {
    interface: "shardmill:task/processor@0.1.0",
    functions: &[("process", Function { parameters: &[("envelope", ENVELOPE)], result: Ty::Failure(&TASK_ERROR) })],
};

pub(crate) const BATCH_PROCESSOR: Export = Export {
    interface: "shardmill:task/batch-processor@0.1.0",
    functions: &[(
        "process-batch",
        Function { parameters: &[("envelopes", Ty::List(&ENVELOPE))], result: Ty::Failure(&BATCH_ERROR) },
    )],
};

const LIFECYCLE_CALL: Function = Function { parameters: &[], result: Ty::Failure(&Ty::String) };

pub(crate) const LIFECYCLE: Export = Export {
    interface: "shardmill:task/lifecycle@0.1.0",
    functions: &[("init", LIFECYCLE_CALL), ("before-stop", LIFECYCLE_CALL)],
};

pub(crate) const WINDOWING: Export = Export {
    interface: "shardmill:task/windowing@0.1.0",
    functions: &[(
        "window",
        Function { parameters: &[("start-ms", Ty::U64), ("end-ms", Ty::U64)], result: Ty::Failure(&TASK_ERROR) },
    )],
};

pub(crate) const EXPORTS: &[&Export] = &[&PROCESSOR, &BATCH_PROCESSOR, &LIFECYCLE, &WINDOWING];

/// This project's interfaces that a component may import, with their functions and types.
pub(crate) const IMPORTS: &[(&str, &[&str])] = &[
    ("types", &["envelope", "task-error", "batch-error"]),
    (
        "context",
        &["system-stream-partition", "job-name", "job-id", "task-name", "module-id", "source", "attempt", "attribute"],
    ),
    ("config", &["get"]),
    ("log", &["level", "log"]),
    ("collector", &["send-error", "output", "send"]),
    ("coordinator", &["commit", "shutdown"]),
];

/// The interfaces of WASI that a component may import.
pub(crate) const WASI_IMPORTS: &[&str] = &[
    "cli/environment",
    "cli/exit",
    "cli/stderr",
    "cli/stdin",
    "cli/stdout",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stderr",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "http/outgoing-handler",
    "http/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
    "sockets/instance-network",
    "sockets/ip-name-lookup",
    "sockets/network",
    "sockets/tcp",
    "sockets/tcp-create-socket",
    "sockets/udp",
    "sockets/udp-create-socket",
];
