//! The engine, one per process. Owns wasmtime's configuration, the linker, and the thread whose ticks end calls that take
//! too long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shardmill_core::module::VersionName;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, EngineWeak, OptLevel};

use crate::admission;
use crate::capabilities;
use crate::description::Description;
use crate::host_memory::HostMemory;
use crate::interrupt::Ticker;
use crate::module::Module;
use crate::state::State;

/// How often time-outs are checked. Calls have time-outs of a second and more, so a delay of a few milliseconds does not
/// matter, while a shorter tick would wake an idle process a thousand times a second.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// A number of ticks that never passes, and can be added to any number of elapsed ticks.
const FOREVER: u64 = u64::MAX / 2;

/// Stack of a call, in bytes; interpreters recurse deeply. The calling thread needs about twice as much, which Rust's
/// threads have.
const MAX_STACK_BYTES: usize = 1 << 20;

/// Compiles modules and runs instances. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Arc<Linker<State>>,
    ticker: Ticker,
    memory: HostMemory,
}

/// The engine cannot be set up on this machine.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the WebAssembly engine: {0}")]
pub struct EngineError(String);

impl Engine {
    /// Sets up the engine and starts its ticker thread, which ends with the last user of the engine.
    #[expect(clippy::disallowed_methods, reason = "the ticker only counts and sleeps, so it cannot panic")]
    pub fn new() -> Result<Self, EngineError> {
        let fail = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let engine = wasmtime::Engine::new(&config()).map_err(fail)?;
        let mut linker = Linker::new(&engine);
        capabilities::link(&mut linker).map_err(fail)?;
        let (weak, ticker) = (engine.weak(), Ticker::default());
        let ticking = ticker.clone();
        std::thread::Builder::new()
            .name("epoch-ticker".to_owned())
            .spawn(move || tick(&weak, &ticking))
            .map_err(|error| EngineError(format!("no thread for time-outs: {error}")))?;
        Ok(Self { engine, linker: Arc::new(linker), ticker, memory: HostMemory::default() })
    }

    /// The same with a budget for the memory of all its instances together; the default is unlimited.
    #[must_use]
    pub fn with_memory(self, memory: HostMemory) -> Self {
        Self { memory, ..self }
    }

    /// The memory budget of this engine.
    #[must_use]
    pub fn memory(&self) -> &HostMemory {
        &self.memory
    }

    /// Compiles a component and checks it against the contract. `name` is for people: the file's name without `.wasm`.
    ///
    /// Takes from 0.1 s (Rust) to 10 s and more (Python, JavaScript) on all cores, and as much memory as the component
    /// demands. So use this only for trusted components; compile others by [`Engine::precompile`] in a separate process.
    pub fn load(&self, name: &str, wasm: &[u8]) -> Result<Module, admission::Error> {
        admission::load(&self.engine, &self.linker, &self.ticker, &self.memory, name, wasm)
    }

    /// Compiles a component and checks it against the contract, for [`ArtifactStore`](crate::ArtifactStore). Run it in a
    /// process with limits of time and memory: some components take hours and gigabytes to compile.
    pub fn precompile(&self, name: &str, wasm: &[u8]) -> Result<Vec<u8>, admission::Error> {
        admission::compile(&self.engine, &self.linker, name, wasm)
    }

    /// Checks a file without compiling it: whether it is a component at all, and not too large.
    pub fn check_header(name: &str, wasm: &[u8]) -> Result<(), admission::Error> {
        admission::check_header(name, wasm)
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// Makes a module of a compiled component that was found to keep the contract.
    pub(crate) fn admit(
        &self,
        version: VersionName,
        component: &Component,
        description: Description,
    ) -> Result<Module, admission::Error> {
        admission::admit(&self.linker, &self.ticker, &self.memory, version, component, description)
    }
}

/// The epoch deadline that lets at least `timeout` pass.
pub(crate) fn ticks(timeout: Duration) -> u64 {
    // One tick for rounding up and one for the tick that may come immediately.
    let ticks = timeout.as_nanos() / TICK.as_nanos() + 2;
    u64::try_from(ticks).unwrap_or(u64::MAX).min(FOREVER)
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // No component has async exports; without support for them a call costs a third.
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(MAX_STACK_BYTES)
        .memory_init_cow(true);
    config
}

/// Counts ticks by the clock, not by its own wake-ups, so that a busy machine does not stretch time-outs.
fn tick(engine: &EngineWeak, ticker: &Ticker) {
    let began = Instant::now();
    let mut ticks: u64 = 0;
    while let Some(engine) = engine.upgrade() {
        let due = began.elapsed().as_nanos() / TICK.as_nanos();
        while u128::from(ticks) < due {
            engine.increment_epoch();
            ticks += 1;
        }
        drop(engine);
        ticker.set(ticks);
        std::thread::sleep(TICK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early() {
        assert_eq!(ticks(Duration::ZERO), 2);
        assert_eq!(ticks(TICK), 3);
        assert_eq!(ticks(TICK + Duration::from_nanos(1)), 3);
        assert_eq!(ticks(TICK * 2 - Duration::from_nanos(1)), 3);
        assert_eq!(ticks(Duration::MAX), FOREVER);
    }
}
