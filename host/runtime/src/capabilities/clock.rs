//! `wasi:clocks/monotonic-clock` with a bound on waiting. A guest that sleeps is in a host function, where the engine's
//! epochs cannot end its call; so no single wait is longer than the call's time-out.

use std::time::Duration;

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::clocks::{WasiClocksCtxView, WasiClocksView};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::{self, Host};

use crate::state::State;

struct BoundedClock<'a> {
    clock: WasiClocksCtxView<'a>,
    longest: Duration,
}

struct Bounded;

impl HasData for Bounded {
    type Data<'a> = BoundedClock<'a>;
}

/// Replaces the clock that is linked already.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<State, Bounded>(linker, |state| BoundedClock {
        longest: state.call.timeout,
        clock: state.clocks(),
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

impl Host for BoundedClock<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.clock.now()
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        self.clock.resolution()
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let wait = when.saturating_sub(self.now()?);
        self.subscribe_duration(wait)
    }

    fn subscribe_duration(&mut self, wait: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let longest = u64::try_from(self.longest.as_nanos()).unwrap_or(u64::MAX);
        self.clock.subscribe_duration(wait.min(longest))
    }
}
