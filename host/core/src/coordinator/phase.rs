//! How a job ends; the table is in the documentation of the [coordinator](super).

use super::{Action, Coordinator, Failure, Notice, TaskId};
use crate::time::Millis;
use crate::{leases, run_loop};

/// How long the release of the leases may take after a stop was cut short; a healthy table answers within milliseconds.
pub const RELEASE_TIMEOUT: Millis = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Finishing,
    Releasing,
    Over,
}

impl Coordinator {
    /// Stops reading; the tasks finish what they are at, commit and say so.
    pub(super) fn finish(&mut self, now: Millis, failure: Option<Failure>) {
        if let Some(failure) = failure {
            self.notice(Notice::Stopping);
            self.failure.get_or_insert(failure);
        }
        if self.phase == Phase::Running {
            self.phase = Phase::Finishing;
            self.bound(now);
            self.stop_readers();
            self.every_task(&run_loop::Event::Stop);
        }
    }

    /// A task finished, or is gone. The others finish, too, and commit what they can.
    pub(super) fn on_task_finished(&mut self, now: Millis, task: TaskId, failure: Option<Failure>) {
        self.finished[task.0 as usize] = true;
        if let Some(failure) = failure {
            self.failure.get_or_insert(failure);
        }
        if self.finished.iter().all(|finished| *finished) {
            self.bound(now);
            self.release();
        } else {
            self.finish(now, None);
        }
    }

    /// All that can be committed is: release the leases, so that a successor starts at once.
    fn release(&mut self) {
        if matches!(self.phase, Phase::Running | Phase::Finishing) {
            self.phase = Phase::Releasing;
            self.stop_readers();
            let inputs = 0..self.settings.inputs.len();
            self.actions.extend(inputs.map(|input| Action::Lease { input, event: leases::Event::Stop }));
        }
    }

    /// Ends the stop: at first the leases are still released, within a bound; the second time they are not waited for.
    pub(super) fn cut_short(&mut self, now: Millis, why: Failure) {
        self.failure.get_or_insert(why);
        if self.phase == Phase::Releasing {
            self.phase = Phase::Over;
        } else {
            self.release();
            self.deadline = now + RELEASE_TIMEOUT;
        }
    }

    /// From its first moment on a stop has a bound.
    fn bound(&mut self, now: Millis) {
        if self.deadline == Millis::MAX {
            self.deadline = now.saturating_add(self.settings.shutdown_timeout);
        }
    }

    pub(super) fn end_if_over(&mut self) {
        let is_released = self.phase == Phase::Releasing && self.stopped.iter().all(|stopped| *stopped);
        if self.phase == Phase::Over || is_released {
            self.phase = Phase::Over;
            self.deadline = Millis::MAX;
            self.actions.push(Action::End(self.failure.clone().map_or(Ok(()), Err)));
        }
    }

    fn stop_readers(&mut self) {
        for (source, state) in (0..).zip(&mut self.sources) {
            if state.reading.take().is_some() {
                self.actions.push(Action::StopReader { source });
            }
        }
    }
}
