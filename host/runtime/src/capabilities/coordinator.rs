//! `coordinator`: requests of the task that take effect if the call returns ok.

use shardmill_core::text;

use crate::bindings::shardmill::task::coordinator::Host;
use crate::state::State;

impl Host for State {
    fn commit(&mut self) {
        self.call.commit = true;
    }

    fn shutdown(&mut self, reason: String) {
        self.call.shutdown = Some(text::reason(&reason));
    }
}
