//! `wasi:clocks/monotonic-clock` with a bound on waiting. A guest that sleeps is in a host function, where the engine's
//! epochs cannot end its call. So no single wait is longer than the call's time-out, and a call that has waited that long
//! has timed out, whatever it returns.

use std::time::Instant;

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::clocks::WasiClocksView;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::{self, Host};

use crate::state::State;

struct BoundedClock<'a>(&'a mut State);

struct Bounded;

impl HasData for Bounded {
    type Data<'a> = BoundedClock<'a>;
}

/// Replaces the clock that is linked already.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<State, Bounded>(linker, |state| BoundedClock(state))?;
    linker.allow_shadowing(false);
    Ok(())
}

impl Host for BoundedClock<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.0.clocks().now()
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        self.0.clocks().resolution()
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let wait = when.saturating_sub(self.now()?);
        self.subscribe_duration(wait)
    }

    fn subscribe_duration(&mut self, wait: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let call = &mut self.0.call;
        let longest = u64::try_from(call.timeout.as_nanos()).unwrap_or(u64::MAX);
        if wait > longest && call.gives_up_at.is_none() {
            call.gives_up_at = Instant::now().checked_add(call.timeout);
        }
        self.0.clocks().subscribe_duration(wait.min(longest))
    }
}
