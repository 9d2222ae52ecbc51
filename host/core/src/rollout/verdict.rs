//! What becomes of a version that does badly: the way back while there is one, or the end of the job.

use super::health::Health;
use super::{Action, Change, Rollout};
use crate::run_loop::InstanceId;
use crate::time::Millis;

impl Rollout {
    pub(super) fn gave_up(&mut self, instance: InstanceId, reason: String) {
        let Some(state) = self.instances.get_mut(&instance) else {
            // Its sources are on their way to another one already.
            return;
        };
        state.gave_up = Some(reason);
    }

    pub(super) fn health(&mut self, now: Millis, instance: InstanceId, health: Health) {
        let current = self.ready_instance(self.deployment.current);
        let before = match current.and_then(|current| self.instances.get(&current)) {
            Some(current) if self.deployment.candidate.is_some() => current.health,
            _ => self.baseline,
        };
        let Some(state) = self.instances.get_mut(&instance) else {
            return;
        };
        state.health = health;
        let is_bad = state.restarts.too_many(now, health.traps).or_else(|| health.worse_than(&before));
        let module = state.module;
        let is_candidate = self.deployment.candidate.as_ref().is_some_and(|candidate| candidate.module == module);
        if let Some(reason) = is_bad
            && (is_candidate || current == Some(instance) && self.is_on_probation(now))
        {
            self.propose(now, Change::RollBack { module, reason }, None);
        }
    }

    /// Its sources go to the version before; without one the job ends.
    pub(super) fn turned_out_bad(&mut self, now: Millis, instance: InstanceId, reason: String) {
        let Some(module) = self.instances.get(&instance).map(|instance| instance.module) else {
            return;
        };
        let is_candidate = self.deployment.candidate.as_ref().is_some_and(|candidate| candidate.module == module);
        if is_candidate || self.deployment.current == module && self.is_on_probation(now) {
            return self.propose(now, Change::RollBack { module, reason }, None);
        }
        if self.deployment.current != module {
            // Its sources wait for the instance of another version.
            return;
        }
        if let Some(state) = self.instances.get_mut(&instance) {
            // Asked once.
            state.gave_up = None;
        }
        self.actions.push(Action::GiveUp { instance });
    }

    pub(super) fn fail(&mut self, now: Millis, reason: String) {
        if self.is_on_probation(now) {
            let module = self.deployment.current;
            return self.propose(now, Change::RollBack { module, reason }, None);
        }
        self.actions.push(Action::Fail { reason });
    }

    /// Whether the version before is ready to come back.
    pub(super) fn is_on_probation(&self, now: Millis) -> bool {
        !self.is_cold && self.deployment.previous.is_some() && now < self.warm_until
    }
}
