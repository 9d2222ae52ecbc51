//! Ending a call: when its time is up, or before that from another thread. Owns how often a call looks whether it is to
//! end while it computes, and how every wait in the host ends with it. Knows nothing of who wants a call to end, or of
//! what is waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use wasmtime::{Store, Trap, UpdateDeadline};
use wasmtime_wasi::runtime::in_tokio;

use crate::engine::TICK;
use crate::state::State;

/// Ticks of the engine between two looks.
const LOOK_TICKS: u64 = 4;

/// Ends the call that an instance is in, as a time-out does, whether it computes or waits in the host: the instance has
/// ended then.
#[derive(Clone, Debug, Default)]
pub struct Interrupter(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    asked: AtomicBool,
    /// Wakes a call that waits.
    wake: Notify,
}

impl Interrupter {
    /// Ends the call that is going on. Without one, nothing happens.
    pub fn interrupt(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
        self.0.wake.notify_waiters();
    }

    /// A call begins: what was asked for before is not about it.
    fn clear(&self) {
        self.0.asked.store(false, Ordering::Relaxed);
    }

    fn is_interrupted(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    async fn interrupted(&self) {
        // Made before the look, so that whoever asks after it is heard.
        let woken = self.0.wake.notified();
        if !self.is_interrupted() {
            woken.await;
        }
    }
}

/// How many ticks of an engine have passed. A look at it costs a call nothing; one at the clock costs a tenth of a short
/// call.
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

/// The time of the call that is going on, and who may end it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallTime {
    ticker: Ticker,
    interrupter: Interrupter,
    /// When its time is up, in ticks of the ticker.
    until: u64,
    /// Ticks of the engine that it has when those until its next look are over.
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

    /// What is left of the call's time.
    pub(crate) fn left(&self) -> Duration {
        TICK * u32::try_from(self.until.saturating_sub(self.ticker.now())).unwrap_or(u32::MAX)
    }

    /// Waits, on the guest's thread, for something that is done elsewhere. Everything that may block a guest in the host
    /// goes through here, because there the engine's epochs cannot reach it.
    ///
    /// # Errors
    /// The trap of a time-out, when the call's time is up or somebody ends it before `done` is.
    pub(crate) fn wait<F: Future>(&self, done: F) -> wasmtime::Result<F::Output> {
        let left = self.left();
        in_tokio(async {
            // What is done is taken even when the time is up: the guest's next step ends the call.
            tokio::select! {
                biased;
                done = done => Ok(done),
                () = self.interrupter.interrupted() => Err(Trap::Interrupt.into()),
                () = tokio::time::sleep(left) => Err(Trap::Interrupt.into()),
            }
        })
    }
}

/// Has every call of the store look now and then whether it is to end. Done once.
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

/// Gives the call that begins so many ticks.
pub(crate) fn begin(store: &mut Store<State>, ticks: u64) {
    let step = ticks.min(LOOK_TICKS);
    store.set_epoch_deadline(step);
    let time = &mut store.data_mut().call.time;
    time.left = ticks - step;
    time.until = time.ticker.now() + ticks;
    time.interrupter.clear();
}
