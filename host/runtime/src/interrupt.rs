//! Ending a call from another thread, before its time is up. Owns how often a call looks whether it is to end; knows
//! nothing of who wants that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::{Store, Trap, UpdateDeadline};

use crate::state::State;

/// Ticks of the engine between two looks.
const LOOK_TICKS: u64 = 4;

/// Ends the call that an instance is in, as a time-out does: the instance has ended then. A call that waits in the host
/// (a sleep) ends when the wait does.
#[derive(Clone, Debug, Default)]
pub struct Interrupter(Arc<AtomicBool>);

impl Interrupter {
    /// Ends the call that is going on. Without one, nothing happens.
    pub fn interrupt(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// A call begins: what was asked for before is not about it.
    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Has every call of the store look now and then whether it is to end. Done once.
pub(crate) fn watch(store: &mut Store<State>) {
    store.epoch_deadline_callback(|mut context| {
        let call = &mut context.data_mut().call;
        if call.ticks_left == 0 || call.interrupter.is_interrupted() {
            return Err(Trap::Interrupt.into());
        }
        let step = call.ticks_left.min(LOOK_TICKS);
        call.ticks_left -= step;
        Ok(UpdateDeadline::Continue(step))
    });
}

/// Gives the call that begins so many ticks.
pub(crate) fn begin(store: &mut Store<State>, ticks: u64) {
    let step = ticks.min(LOOK_TICKS);
    store.set_epoch_deadline(step);
    let call = &mut store.data_mut().call;
    call.ticks_left = ticks - step;
    call.interrupter.clear();
}
