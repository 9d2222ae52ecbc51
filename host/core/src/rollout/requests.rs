//! What people and the task directory ask of a rollout.

use super::{Change, Manner, RequestId, Rollout, Stage, Starting};
use crate::module::ModuleId;
use crate::time::Millis;

/// Why a version goes that an operator does not want.
pub(super) const BY_HAND: &str = "somebody asked for it";
pub(super) const NO_CANDIDATE: &str = "there is no candidate to promote";
pub(super) const NO_PREVIOUS: &str = "there is no version before it";
const REPLACED: &str = "a later version was deployed before this one ran";

impl Rollout {
    pub(super) fn deploy(&mut self, now: Millis, request: RequestId, module: ModuleId, how: Manner) {
        let forced = how == Manner::Forced;
        if let Some(reason) = self.deployment.quarantine(module).filter(|_| !forced) {
            let text = format!("it was rolled back before: {reason}");
            return self.refuse(request, text);
        }
        if let Some(earlier) = self.starting.take() {
            self.refuse(earlier.request, REPLACED);
        }
        let candidate = self.deployment.candidate.as_ref().map(|candidate| candidate.module);
        let at_once = match how {
            Manner::Configured => !self.settings.is_canary,
            Manner::Canary => false,
            Manner::All | Manner::Forced => true,
        };
        let is_promoted = matches!(how, Manner::All | Manner::Forced);
        if candidate == Some(module) && !is_promoted || candidate.is_none() && self.deployment.current == module {
            return self.answer(request, Ok(()));
        }
        if self.deployment.current == module {
            let reason = "the version before it was deployed again".to_owned();
            return self.roll_back_candidate(now, reason, Some(request));
        }
        let at_once = at_once || self.settings.waves.is_empty();
        let instance = self.ready_instance(module).unwrap_or_else(|| self.build(module));
        self.starting = Some(Starting { instance, module, at_once, request });
        self.start_when_ready(now);
    }

    /// Proposes the version that was being built, once it is.
    pub(super) fn start_when_ready(&mut self, now: Millis) {
        let ready = |starting: &mut Starting| {
            self.instances.get(&starting.instance).is_some_and(|instance| instance.stage == Stage::Ready)
        };
        let Some(Starting { module, at_once, request, .. }) = self.starting.take_if(ready) else {
            return;
        };
        let change = if at_once { Change::TakeOver { module } } else { Change::Begin { module } };
        self.propose(now, change, Some(request));
    }

    pub(super) fn promote(&mut self, now: Millis, request: RequestId) {
        match &self.deployment.candidate {
            Some(candidate) => {
                let module = candidate.module;
                self.propose(now, Change::TakeOver { module }, Some(request));
            }
            None => self.refuse(request, NO_CANDIDATE),
        }
    }

    /// `version` is what it was that somebody wants to be rid of: if it is gone by now, nothing is left to do.
    pub(super) fn roll_back_by_hand(&mut self, now: Millis, request: RequestId, version: Option<&str>) {
        let is_meant = |module: ModuleId| version.is_none_or(|version| module.starts_with(version));
        if let Some(candidate) = &self.deployment.candidate {
            return match is_meant(candidate.module) {
                true => self.roll_back_candidate(now, BY_HAND.to_owned(), Some(request)),
                false => self.answer(request, Ok(())),
            };
        }
        if let Some(starting) = self.starting.take() {
            self.refuse(starting.request, BY_HAND);
            return self.answer(request, Ok(()));
        }
        if !is_meant(self.deployment.current) {
            return self.answer(request, Ok(()));
        }
        if self.is_on_probation(now) {
            let (module, reason) = (self.deployment.current, BY_HAND.to_owned());
            return self.propose(now, Change::RollBack { module, reason }, Some(request));
        }
        let text = match &self.deployment.previous {
            Some(_) => "the version before it is not kept ready any more; name it with --to to go back to it",
            None => NO_PREVIOUS,
        };
        self.refuse(request, text);
    }

    pub(super) fn roll_back_candidate(&mut self, now: Millis, reason: String, request: Option<RequestId>) {
        if let Some(candidate) = &self.deployment.candidate {
            let module = candidate.module;
            self.propose(now, Change::RollBack { module, reason }, request);
        }
    }
}
