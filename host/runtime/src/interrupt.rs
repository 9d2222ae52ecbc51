//! Ending a call: when its time is up, or earlier from another thread. Owns how often a computing call checks whether to
//! end, and how every wait in the host ends with the call. Knows nothing of why a call is interrupted, or of what it
//! waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use wasmtime::{Store, Trap, UpdateDeadline};
use wasmtime_wasi::runtime::in_tokio;

use crate::engine::TICK;
use crate::state::State;

/// Ticks of the engine between two checks.
const LOOK_TICKS: u64 = 4;

/// Ends the current call of an instance, as a time-out does, whether the call computes or waits in the host. This ends the
/// instance.
#[derive(Clone, Debug, Default)]
pub struct Interrupter(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    asked: AtomicBool,
    /// Wakes a call that waits.
    wake: Notify,
}

impl Interrupter {
    /// Ends the current call. Does nothing if there is none.
    pub fn interrupt(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
        self.0.wake.notify_waiters();
    }

    /// A call begins: earlier interrupts do not apply to it.
    fn clear(&self) {
        self.0.asked.store(false, Ordering::Relaxed);
    }

    fn is_interrupted(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    async fn interrupted(&self) {
        // Created before the check, so that an interrupt after the check is not missed.
        let woken = self.0.wake.notified();
        if !self.is_interrupted() {
            woken.await;
        }
    }
}

/// The number of elapsed ticks of an engine. Reading it is free; reading the clock costs a tenth of a short call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticker(Arc<AtomicU64>);

impl Ticker {
    pub(crate) fn set(&self, ticks: u64) {
        self.0.store(ticks, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The time limit and the interrupt flag of the current call.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallTime {
    ticker: Ticker,
    interrupter: Interrupter,
    /// The deadline, in ticks of the ticker.
    until: u64,
    /// Ticks of the engine that remain after the next check.
    left: u64,
}

impl CallTime {
    pub(crate) fn new(ticker: Ticker) -> Self {
        Self { ticker, ..Self::default() }
    }

    pub(crate) fn set_interrupter(&mut self, interrupter: Interrupter) {
        self.interrupter = interrupter;
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupter.is_interrupted()
    }

    /// The remaining time of the call.
    pub(crate) fn left(&self) -> Duration {
        TICK * u32::try_from(self.until.saturating_sub(self.ticker.now())).unwrap_or(u32::MAX)
    }

    /// Waits, on the guest's thread, for work that is done elsewhere. Everything that may block a guest in the host goes
    /// through here, because the engine's epochs cannot reach a call in the host.
    ///
    /// # Errors
    /// The trap of a time-out or an interrupt that comes before `done` finishes.
    pub(crate) fn wait<F: Future>(&self, done: F) -> wasmtime::Result<F::Output> {
        let left = self.left();
        in_tokio(async {
            // A finished result is returned even when the time is up: the guest's next step ends the call.
            tokio::select! {
                biased;
                done = done => Ok(done),
                () = self.interrupter.interrupted() => Err(Trap::Interrupt.into()),
                () = tokio::time::sleep(left) => Err(Trap::Interrupt.into()),
            }
        })
    }
}

/// Makes every call of the store check periodically whether to end. Called once.
pub(crate) fn watch(store: &mut Store<State>) {
    store.epoch_deadline_callback(|mut context| {
        let time = &mut context.data_mut().call.time;
        if time.left == 0 || time.is_interrupted() {
            return Err(Trap::Interrupt.into());
        }
        let step = time.left.min(LOOK_TICKS);
        time.left -= step;
        Ok(UpdateDeadline::Continue(step))
    });
}

/// Sets the time limit of the call that begins, in ticks.
pub(crate) fn begin(store: &mut Store<State>, ticks: u64) {
    let step = ticks.min(LOOK_TICKS);
    store.set_epoch_deadline(step);
    let time = &mut store.data_mut().call.time;
    time.left = ticks - step;
    time.until = time.ticker.now() + ticks;
    time.interrupter.clear();
}
