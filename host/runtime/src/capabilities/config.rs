//! `config`: the configuration keys that the task may read.

use crate::bindings::shardmill::task::config::Host;
use crate::state::State;

impl Host for State {
    fn get(&mut self, key: String) -> Option<String> {
        self.spec.config.get(&key).cloned()
    }
}
