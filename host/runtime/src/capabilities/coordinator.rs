//! `coordinator`: requests that are met if the call returns ok.

use crate::bindings::shardmill::task::coordinator::Host;
use crate::said;
use crate::state::State;

impl Host for State {
    fn commit(&mut self) {
        self.call.commit = true;
    }

    fn shutdown(&mut self, reason: String) {
        self.call.shutdown = Some(said::reason(&reason));
    }
}
