//! Where a shard's reading begins, and begins anew as long as it has not fetched anything to go on after. What both
//! kinds of readers start by; knows nothing of calls.

use crate::position::{Checkpoint, InitialPosition, Latest, StartingPosition};
use crate::service::ErrorKind;
use crate::time::Millis;

pub(crate) struct StartPosition {
    position: StartingPosition,
    /// The moment of a LATEST that was read before, by the clock of the worker that did.
    is_latest_since: bool,
}

impl StartPosition {
    pub(crate) fn new(checkpoint: &Checkpoint, initial: InitialPosition, latest: Latest) -> Self {
        Self {
            position: StartingPosition::from_checkpoint(checkpoint, initial, latest),
            is_latest_since: *checkpoint == Checkpoint::Latest && latest != Latest::Next,
        }
    }

    pub(crate) fn position(&self) -> StartingPosition {
        self.position.clone()
    }

    /// The service took the position, in answer to a call of the time `called_at`. If that was "what arrives next",
    /// what arrives from here on must not be skipped by another attempt.
    pub(crate) fn accepted(&mut self, called_at: Millis) {
        if self.position == StartingPosition::Latest {
            let since = Latest::Since(called_at);
            self.position = StartingPosition::from_checkpoint(&Checkpoint::Latest, InitialPosition::Latest, since);
        }
    }

    /// The service refused the position. Whether there is another one that means the same: a moment that its clock has
    /// not reached yet, which it calls invalid, is what arrives next.
    pub(crate) fn refused(&mut self, kind: ErrorKind) -> bool {
        let is_future = std::mem::take(&mut self.is_latest_since) && kind == ErrorKind::Invalid;
        if is_future {
            self.position = StartingPosition::Latest;
        }
        is_future
    }
}
