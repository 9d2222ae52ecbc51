//! Admits modules, off the data path: takes bytes, and returns a compiled and validated module or the reason for the
//! rejection. Owns the compiler process and its limits; knows nothing of where modules come from or which of them runs.
//!
//! A module may take hours and gigabytes to compile, by malice or by accident, and a compiler may crash. So this program
//! starts a second process of itself to compile, within limits that the system enforces, and takes the result from the
//! store.

pub mod compiler;
mod confine;
mod queue;
mod usage;

pub use crate::settings::task_spec;

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shardmill_core::compile_queue::Lane;
use shardmill_core::module::VersionName;
use shardmill_core::text;
use shardmill_runtime::trial::{self, Recent, TrialError, TrialReport};
use shardmill_runtime::{AdmissionError, ArtifactStore, CompilerShare, Engine, Module, TaskSpec, module_id};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tracing::{info, warn};

use crate::tasks::blocking;
use compiler::{Caps, End};
use queue::{Compilations, Turn};

/// The most that a compiler process may print; its reasons are a few lines.
const SAID_MAX_BYTES: u64 = 64 << 10;
/// How often a compiler's resource usage is sampled.
const LOOK: Duration = Duration::from_millis(100);

/// Admits modules for one engine. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    engine: Engine,
    store: ArtifactStore,
    program: PathBuf,
    caps: Caps,
    compilations: Compilations,
}

/// An admitted module.
#[derive(Debug)]
pub struct Admitted {
    pub module: Module,
    /// How long it took to compile; `None` when the store had it.
    pub compiled_in: Option<Duration>,
}

/// Why a module was rejected, in words for its author.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    #[error(transparent)]
    Module(#[from] AdmissionError),
    #[error("compiling {name} takes more than {max_mb} MiB of memory")]
    Memory { name: String, max_mb: u64 },
    #[error("compiling {name} takes longer than {seconds} s")]
    Time { name: String, seconds: u64 },
    #[error("{name} compiles to more than {max_mb} MiB of machine code")]
    Size { name: String, max_mb: u64 },
    #[error("compiling {name} crashed the compiler ({status}): {said}")]
    Crash { name: String, status: ExitStatus, said: String },
    /// The module does not start with the job's configuration.
    #[error("{module}: {error}")]
    Trial { module: String, error: TrialError },
    /// The module performs worse than the running version.
    #[error("it performs worse than the running {running}:{}", list(problems))]
    Worse { running: String, problems: Vec<String> },
    /// Not the module's fault: the same bytes may be admitted later.
    #[error("cannot compile {name} on this machine: {reason}")]
    Machine { name: String, reason: String },
}

impl Rejected {
    /// All problems, one by one.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        match self {
            Self::Module(AdmissionError::Contract { problems, .. }) | Self::Worse { problems, .. } => problems.clone(),
            other => vec![other.to_string()],
        }
    }

    /// Whether the same bytes would be rejected again.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Machine { .. } => false,
            Self::Trial { error, .. } => !error.error.is_hosts(),
            _ => true,
        }
    }
}

impl Admission {
    /// `program`, a `shardmill` binary, compiles the modules; `store` keeps them.
    #[must_use]
    pub fn new(engine: Engine, store: ArtifactStore, program: PathBuf) -> Self {
        Self { engine, store, program, caps: Caps::default(), compilations: Compilations::default() }
    }

    /// The same with other limits for compiling.
    #[must_use]
    pub fn with_caps(self, caps: Caps) -> Self {
        Self { caps, ..self }
    }

    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The directory of the compiled modules.
    #[must_use]
    pub fn module_cache(&self) -> &std::path::Path {
        self.store.directory()
    }

    /// Compiles a module unless the store has it, and validates it against the contract. `name` is for people.
    ///
    /// # Errors
    /// All problems of the module.
    pub async fn admit(&self, name: &str, wasm: Vec<u8>) -> Result<Admitted, Rejected> {
        let looked_at = name.to_owned();
        let (version, wasm) = self
            .blocking(name, move |_| {
                Engine::check_header(&looked_at, &wasm)?;
                Ok((module_id(&wasm).of_job(&looked_at), wasm))
            })
            .await?;
        if let Some(module) = self.stored(&version).await? {
            return Ok(Admitted { module, compiled_in: None });
        }
        let began = Instant::now();
        self.compile(&version, &wasm).await?;
        let took = began.elapsed();
        info!(module = %version, ms = took.as_millis(), "compiled");
        let module = self.stored(&version).await?;
        let module = module.ok_or_else(|| machine(name, &"the compiled module could not be read back"))?;
        Ok(Admitted { module, compiled_in: Some(took) })
    }

    /// Runs a trial of a module with the task's own configuration: a start and, if a version is running, a shadow replay of
    /// the records that this version has received recently.
    ///
    /// # Errors
    /// When the module does not start, or performs worse than the running version.
    pub async fn try_out(
        &self,
        module: &Module,
        spec: &TaskSpec,
        running: Option<(Module, Vec<Recent>)>,
    ) -> Result<TrialReport, Rejected> {
        let (new, spec) = (module.clone(), spec.clone());
        self.blocking(module.version().name(), move |_| {
            let module = new.version().to_string();
            let report =
                trial::start(&new, &spec).map_err(|error| Rejected::Trial { module: module.clone(), error })?;
            let Some((old, recent)) = running else { return Ok(report) };
            if !spec.grants.http.is_empty() && (old.sends_requests() || new.sends_requests()) {
                info!(
                    module,
                    "recent records are not replayed: the task may send HTTP requests, which would be sent again"
                );
                return Ok(report);
            }
            let shadow = trial::shadow(&old, &new, &spec, &recent);
            info!(module, "replayed recent records:\n{shadow}");
            if let Some(reason) = shadow.host_failure() {
                return Err(machine(new.version().name(), &reason));
            }
            match shadow.problems() {
                problems if problems.is_empty() => Ok(report),
                problems => Err(Rejected::Worse { running: old.version().to_string(), problems }),
            }
        })
        .await
    }

    async fn stored(&self, version: &VersionName) -> Result<Option<Module>, Rejected> {
        let wanted = version.clone();
        self.blocking(version.name(), move |it| Ok(it.store.get(&it.engine, &wanted)?)).await
    }

    /// Hashing and mapping tens of megabytes would block an async thread.
    async fn blocking<R: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Self) -> Result<R, Rejected> + Send + 'static,
    ) -> Result<R, Rejected> {
        let it = self.clone();
        let done = blocking("the look at a module", move || work(&it)).await;
        done.map_err(|error| machine(name, &error))?
    }

    /// Compiles a module into the store when its turn comes.
    async fn compile(&self, version: &VersionName, wasm: &[u8]) -> Result<(), Rejected> {
        let mut turn = self.compilations.queue(version.name());
        loop {
            turn.started().await;
            if let Some(end) = self.compile_in(&turn, version, wasm).await? {
                return end.judge(version.name(), &self.caps);
            }
            info!(module = %version, "compiling takes long; restarting it once no other slow module is being compiled");
        }
    }

    /// Runs one compiler and keeps its result. `None` when it was stopped to make room for another job's module.
    async fn compile_in(&self, turn: &Turn, version: &VersionName, wasm: &[u8]) -> Result<Option<End>, Rejected> {
        let name = version.name();
        let share = self.engine.memory().compiler().map_err(|short| machine(name, &short))?;
        let mut partial = self.store.begin().map_err(|error| machine(name, &error))?;
        let output = partial.writer().map_err(|error| machine(name, &error))?;
        let mut command = compiler::command(&self.program, name, output, self.caps);
        let child = command.kill_on_drop(true).spawn().map_err(|error| machine(name, &error))?;
        let pid = child.id().unwrap_or_default();
        // The future that does not finish is dropped, which kills the process.
        let (status, said) = tokio::select! {
            ended = converse(child, wasm) => ended.map_err(|error| machine(name, &error))?,
            stopped = watch(turn, pid, self.caps, &share) => return stopped.map_or(Ok(None), |why| Err(why.rejected(name))),
            () = share.evicted() => return Err(machine(name, &"a running job needs the compiler's memory")),
            () = tokio::time::sleep(self.caps.wall) => {
                return Err(Rejected::Time { name: name.to_owned(), seconds: self.caps.wall.as_secs() });
            }
        };
        drop(share);
        let (it, of) = (self.clone(), version.clone());
        let end = self.blocking(name, move |_| {
            let fail = |error: &dyn std::fmt::Display| machine(of.name(), error);
            if !status.success() {
                let output = partial.text(SAID_MAX_BYTES).map_err(|error| fail(&error))?;
                return Ok(End { status, said, output });
            }
            it.store.keep(&it.engine, &of, partial).map_err(|error| fail(&error))?;
            Ok(End { status, said, output: String::new() })
        });
        let end = end.await?;
        warn_unconfined(&end);
        Ok(Some(end))
    }
}

/// Why a compiler was killed and will not be restarted.
struct Stopped(shardmill_core::memory_budget::Short);

impl Stopped {
    fn rejected(&self, name: &str) -> Rejected {
        machine(name, &self.0)
    }
}

/// Samples a compiler's usage until it has to stop: to make room for another job's module, or for lack of memory.
async fn watch(turn: &Turn, pid: u32, caps: Caps, share: &CompilerShare) -> Option<Stopped> {
    loop {
        tokio::time::sleep(LOOK).await;
        // The process has just exited; its exit is handled by the caller.
        let Ok(usage) = usage::of(pid) else { continue };
        if let Err(short) = share.set(usage.resident_bytes) {
            return Some(Stopped(short));
        }
        if turn.lane() == Some(Lane::Short) && usage.cpu >= caps.first_cpu && !turn.overran() {
            return None;
        }
    }
}

/// Warns once per process of the restrictions that this machine cannot impose on a compiler.
fn warn_unconfined(end: &End) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    let missing = end.unconfined();
    if !missing.is_empty() && !WARNED.swap(true, Ordering::Relaxed) {
        warn!("the compiler process is less confined than it should be: {}", missing.join("; "));
    }
}

/// Writes the module to the child and reads its output; returns its exit status.
async fn converse(mut child: Child, wasm: &[u8]) -> io::Result<(ExitStatus, String)> {
    let (mut stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin.take() {
            // A child that has exited explains itself by its exit status.
            drop(stdin.write_all(wasm).await);
        }
    };
    let mut said = Vec::new();
    let mut stderr = stderr.ok_or(io::ErrorKind::BrokenPipe)?.take(SAID_MAX_BYTES);
    let ((), read) = tokio::join!(write, stderr.read_to_end(&mut said));
    read?;
    drop(stderr);
    Ok((child.wait().await?, String::from_utf8_lossy(&said).into_owned()))
}

fn list(problems: &[String]) -> String {
    problems.iter().fold(String::new(), |text, problem| text + "\n  - " + problem)
}

fn machine(name: &str, reason: &dyn std::fmt::Display) -> Rejected {
    Rejected::Machine { name: name.to_owned(), reason: text::reason(&reason.to_string()) }
}
