//! The contract as data: what a component may import and what it must export, so that a component that does not fit can
//! be told everything that is wrong at once. The types themselves are in `wit/`; a test keeps both in step.

/// The version of our interfaces that is understood: any patch of it.
pub(crate) const VERSION: &str = "0.1";
/// The version of WASI that is linked: any patch of it.
pub(crate) const WASI_VERSION: &str = "0.2";

/// An interface of ours that a component may export.
pub(crate) struct Export {
    pub(crate) interface: &'static str,
    pub(crate) functions: &'static [(&'static str, &'static str)],
}

macro_rules! task_error {
    () => {
        "variant { retry(option<u32>), reject(string), fatal(string), other(string) }"
    };
}
macro_rules! envelope {
    () => {
        "record { source: u32, sequence: string, sub-sequence: u32, key: option<string>, message: list<u8>, \
         arrival-ms: u64 }"
    };
}

pub(crate) const PROCESSOR: Export = Export {
    interface: "shardmill:task/processor@0.1.0",
    functions: &[("process", concat!("func(envelope: ", envelope!(), ") -> result<_, ", task_error!(), ">"))],
};

pub(crate) const BATCH_PROCESSOR: Export = Export {
    interface: "shardmill:task/batch-processor@0.1.0",
    functions: &[(
        "process-batch",
        concat!(
            "func(envelopes: list<",
            envelope!(),
            ">) -> result<_, record { index: u32, error: ",
            task_error!(),
            " }>"
        ),
    )],
};

pub(crate) const LIFECYCLE: Export = Export {
    interface: "shardmill:task/lifecycle@0.1.0",
    functions: &[("init", "func() -> result<_, string>"), ("before-stop", "func() -> result<_, string>")],
};

pub(crate) const WINDOWING: Export = Export {
    interface: "shardmill:task/windowing@0.1.0",
    functions: &[("window", concat!("func(start-ms: u64, end-ms: u64) -> result<_, ", task_error!(), ">"))],
};

pub(crate) const EXPORTS: &[&Export] = &[&PROCESSOR, &BATCH_PROCESSOR, &LIFECYCLE, &WINDOWING];

/// Our interfaces that a component may import, with their functions and types.
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
