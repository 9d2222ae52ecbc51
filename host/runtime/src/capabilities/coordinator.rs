//! `coordinator`: requests that are met if the call returns ok.

use crate::bindings::shardmill::task::coordinator::Host;
use crate::state::State;

/// Bytes of a reason that are kept; it goes into one line of the log.
const MAX_REASON_BYTES: usize = 1024;

impl Host for State {
    fn commit(&mut self) {
        self.call.commit = true;
    }

    fn shutdown(&mut self, mut reason: String) {
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        self.call.shutdown = Some(reason);
    }
}
