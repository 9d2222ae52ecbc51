//! Lets modules in, off the data path: bytes in, a compiled and checked module out, or the reason why not. Owns the
//! process that compiles them, and its bounds; knows nothing of where modules come from or which of them runs.
//!
//! A module may take hours and gigabytes to compile, by malice or by accident, and a compiler may crash. So this program
//! starts itself once more to compile, within limits that the system enforces, and takes the result from the store.

pub mod compiler;

pub use crate::settings::task_spec;

use std::path::PathBuf;
use std::process::{ExitStatus, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, os::unix::process::ExitStatusExt};

use shardmill_runtime::trial::{self, Recent, TrialError, TrialReport};
use shardmill_runtime::{AdmissionError, ArtifactStore, Engine, Module, ModuleId, TaskSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::Semaphore;
use tracing::info;

use compiler::Caps;

/// Compilations at a time: each uses all cores.
const COMPILERS: usize = 1;
/// What a compiler may say; its reasons are a few lines.
const SAID_MAX_BYTES: u64 = 64 << 10;

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

/// Lets modules in for one engine. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    engine: Engine,
    store: ArtifactStore,
    program: PathBuf,
    caps: Caps,
    compilers: Arc<Semaphore>,
}

/// A module that may run.
#[derive(Debug)]
pub struct Admitted {
    pub module: Module,
    /// How long it took to compile; none when the store had it.
    pub compiled_in: Option<Duration>,
}

/// Why a module is not let in, in words for its author.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    #[error(transparent)]
    Module(#[from] AdmissionError),
    /// As the compiling process put it.
    #[error("{0}")]
    Refused(String),
    #[error("compiling {name} takes more than {max_mb} MiB of memory")]
    Memory { name: String, max_mb: u64 },
    #[error("compiling {name} takes longer than {seconds} s")]
    Time { name: String, seconds: u64 },
    #[error("compiling {name} crashed the compiler ({status}): {said}")]
    Crash { name: String, status: ExitStatus, said: String },
    /// It does not start with the job's configuration.
    #[error("{module}: {error}")]
    Trial { module: String, error: TrialError },
    /// It is worse than the running version.
    #[error("it is worse than the running {running}:{}", list(problems))]
    Worse { running: String, problems: Vec<String> },
    /// Not the module's fault: the same bytes may be let in another time.
    #[error("cannot compile {name} on this machine: {reason}")]
    Machine { name: String, reason: String },
}

impl Rejected {
    /// Everything that is wrong, one by one.
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
        !matches!(self, Self::Machine { .. })
    }
}

impl Admission {
    /// Modules are compiled by `program`, which is a `shardmill`, and kept in `store`.
    #[must_use]
    pub fn new(engine: Engine, store: ArtifactStore, program: PathBuf) -> Self {
        Self { engine, store, program, caps: Caps::default(), compilers: Arc::new(Semaphore::new(COMPILERS)) }
    }

    /// The same with other bounds for compiling.
    #[must_use]
    pub fn with_caps(self, caps: Caps) -> Self {
        Self { caps, ..self }
    }

    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where compiled modules are kept.
    #[must_use]
    pub fn module_cache(&self) -> &std::path::Path {
        self.store.directory()
    }

    /// Compiles, unless the store has it, and checks against the contract. `name` is for people.
    ///
    /// # Errors
    /// Everything that is wrong with the module.
    pub async fn admit(&self, name: &str, wasm: Vec<u8>) -> Result<Admitted, Rejected> {
        let looked_at = name.to_owned();
        let (id, wasm) = self
            .blocking(name, move |_| {
                Engine::check_header(&looked_at, &wasm)?;
                Ok((ModuleId::of(&looked_at, &wasm), wasm))
            })
            .await?;
        if let Some(module) = self.stored(&id).await? {
            return Ok(Admitted { module, compiled_in: None });
        }
        let machine = |reason: &dyn std::fmt::Display| machine(name, reason);
        let _turn = self.compilers.acquire().await.map_err(|error| machine(&error))?;
        let began = Instant::now();
        self.compile(name, &wasm).await?;
        let took = began.elapsed();
        info!(module = %id, ms = took.as_millis(), "compiled");
        let module = self.stored(&id).await?;
        let module = module.ok_or_else(|| machine(&"the compiled module could not be read back"))?;
        Ok(Admitted { module, compiled_in: Some(took) })
    }

    /// Tries a module out with what its task would be told: a start, and a replay of what the running version has had
    /// lately, if there is one.
    ///
    /// # Errors
    /// When it does not start, or is worse than the running version.
    pub async fn try_out(
        &self,
        module: &Module,
        spec: &TaskSpec,
        running: Option<(Module, Vec<Recent>)>,
    ) -> Result<TrialReport, Rejected> {
        let (new, spec) = (module.clone(), spec.clone());
        self.blocking(module.id().name(), move |_| {
            let module = new.id().to_string();
            let report =
                trial::start(&new, &spec).map_err(|error| Rejected::Trial { module: module.clone(), error })?;
            let Some((old, recent)) = running else { return Ok(report) };
            if spec.grants.http.is_some() && (old.sends_requests() || new.sends_requests()) {
                info!(
                    module,
                    "recent records are not replayed: the task may send HTTP requests, which would be sent again"
                );
                return Ok(report);
            }
            let shadow = trial::shadow(&old, &new, &spec, &recent);
            info!(module, "replayed recent records:\n{shadow}");
            match shadow.problems() {
                problems if problems.is_empty() => Ok(report),
                problems => Err(Rejected::Worse { running: old.id().to_string(), problems }),
            }
        })
        .await
    }

    async fn stored(&self, id: &ModuleId) -> Result<Option<Module>, Rejected> {
        let wanted = id.clone();
        self.blocking(id.name(), move |it| Ok(it.store.get(&it.engine, &wanted)?)).await
    }

    /// Hashing and mapping tens of megabytes is nothing for an async thread.
    async fn blocking<R: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Self) -> Result<R, Rejected> + Send + 'static,
    ) -> Result<R, Rejected> {
        let it = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&it)).await;
        done.map_err(|error| machine(name, &error))?
    }

    async fn compile(&self, name: &str, wasm: &[u8]) -> Result<(), Rejected> {
        let mut command = compiler::command(&self.program, self.store.directory(), name, self.caps);
        let child = command.kill_on_drop(true).spawn().map_err(|error| machine(name, &error))?;
        match tokio::time::timeout(self.caps.wall, converse(child, wasm)).await {
            Ok(Ok(output)) => self.judge(name, &output),
            Ok(Err(error)) => Err(machine(name, &error)),
            // Dropped, and so killed.
            Err(_) => Err(Rejected::Time { name: name.to_owned(), seconds: self.caps.wall.as_secs() }),
        }
    }

    fn judge(&self, name: &str, Output { status, stdout, stderr }: &Output) -> Result<(), Rejected> {
        let name = name.to_owned();
        let said = String::from_utf8_lossy(stderr).trim().to_owned();
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(compiler::EXIT_REFUSED) {
            return Err(Rejected::Refused(String::from_utf8_lossy(stdout).trim().to_owned()));
        }
        match status.signal() {
            Some(SIGXCPU) => Err(Rejected::Time { name, seconds: self.caps.cpu.as_secs() }),
            Some(SIGABRT) if said.contains(compiler::OUT_OF_MEMORY) => {
                Err(Rejected::Memory { name, max_mb: self.caps.memory_bytes >> 20 })
            }
            // Not by this process: by whoever looks after the machine's memory.
            Some(SIGKILL) => Err(machine(&name, &"the compiler was killed")),
            Some(_) => Err(Rejected::Crash { name, status: *status, said }),
            None => Err(machine(&name, &said)),
        }
    }
}

/// Gives the child the module and takes what it says.
async fn converse(mut child: Child, wasm: &[u8]) -> io::Result<Output> {
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin.take() {
            // A child that has ended says why by its end.
            drop(stdin.write_all(wasm).await);
        }
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut stdout = stdout.ok_or(io::ErrorKind::BrokenPipe)?.take(SAID_MAX_BYTES);
    let mut stderr = stderr.ok_or(io::ErrorKind::BrokenPipe)?.take(SAID_MAX_BYTES);
    let ((), out_read, err_read) = tokio::join!(write, stdout.read_to_end(&mut out), stderr.read_to_end(&mut err));
    out_read.and(err_read)?;
    drop((stdout, stderr));
    Ok(Output { status: child.wait().await?, stdout: out, stderr: err })
}

fn list(problems: &[String]) -> String {
    problems.iter().fold(String::new(), |text, problem| text + "\n  - " + problem)
}

fn machine(name: &str, reason: &dyn std::fmt::Display) -> Rejected {
    Rejected::Machine { name: name.to_owned(), reason: reason.to_string() }
}
