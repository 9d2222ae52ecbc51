//! From a change to its effect: written first, then carried out by making instances and routes what the deployment says.

use std::collections::BTreeSet;

use super::health::Health;
use super::{
    Action, Change, Deployment, Instance, Outcome, Proposal, Refusal, RequestId, Restarts, Rollout, Stage, WAITING_MAX,
    WRITE_PAUSE, WRITES_MAX, WriteError, Writing,
};
use crate::module::ModuleId;
use crate::run_loop::InstanceId;
use crate::time::Millis;

impl Rollout {
    pub(super) fn propose(&mut self, now: Millis, change: Change, request: Option<RequestId>) {
        let earlier = self.writing.iter().map(|writing| &writing.proposal).chain(&self.waiting);
        if request.is_none() && earlier.into_iter().any(|proposal| proposal.change == change) {
            return;
        }
        let proposal = Proposal { change, request };
        if self.writing.is_none() {
            self.write(now, proposal, 1);
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(proposal);
        } else if let Some(request) = request {
            let reason = "too many changes are waiting to be written".to_owned();
            self.answer(request, Err(Refusal::NotNow(reason)));
        }
    }

    fn write(&mut self, now: Millis, proposal: Proposal, attempts: u32) {
        let Some(next) = self.changed_by(now, &proposal.change) else {
            // It is so already, or what it was about is gone.
            return self.end(&proposal, Ok(()));
        };
        self.actions.push(Action::Write(next.clone()));
        self.writing = Some(Writing { proposal, next, attempts, retry_at: None });
    }

    fn end(&mut self, proposal: &Proposal, result: Result<(), Refusal>) {
        if let Some(request) = proposal.request {
            self.answer(request, result);
        }
    }

    /// The deployment after a change; none if it changes nothing.
    fn changed_by(&self, now: Millis, change: &Change) -> Option<Deployment> {
        let mut next = self.deployment.clone();
        match change {
            Change::Begin { module } => {
                if next.current != *module {
                    next.begin(now, *module);
                    self.select(&mut next);
                }
            }
            Change::Select => self.select(&mut next),
            Change::Inherit(children) => {
                if let Some(candidate) = &mut next.candidate {
                    children.iter().for_each(|(child, parents)| candidate.inherit(child, parents));
                }
            }
            Change::Wave { module, wave } => match &mut next.candidate {
                Some(candidate) if candidate.module == *module && candidate.wave < *wave => {
                    (candidate.wave, candidate.since) = (*wave, now);
                    if *wave >= self.settings.waves.len() {
                        next.take_over(*module, now + self.settings.keep_warm);
                    } else {
                        self.select(&mut next);
                    }
                }
                _ => {}
            },
            Change::TakeOver { module } => next.take_over(*module, now + self.settings.keep_warm),
            Change::RollBack { module, reason } => next.roll_back(*module, reason),
        }
        if next == self.deployment {
            return None;
        }
        next.revision += 1;
        Some(next)
    }

    /// Names the shards of this process, and gives the candidate as many of them as its wave wants: a share of all that
    /// are named, and no more than the same share of this process's own.
    fn select(&self, next: &mut Deployment) {
        let Some(candidate) = &mut next.candidate else {
            return;
        };
        let own: BTreeSet<&String> = self.sources.values().map(|source| &source.shard).collect();
        let (has, rest): (Vec<&String>, Vec<&String>) =
            own.into_iter().partition(|shard| candidate.shards.contains(*shard));
        candidate.others.extend(rest.iter().copied().cloned());
        let Some(wave) = self.settings.waves.get(candidate.wave) else {
            return;
        };
        let all = wave.of(candidate.shards.len() + candidate.others.len()).saturating_sub(candidate.shards.len());
        let own = wave.of(has.len() + rest.len()).saturating_sub(has.len());
        for shard in rest.into_iter().take(all.min(own)) {
            candidate.shards.extend(candidate.others.take(shard));
        }
    }

    pub(super) fn written(&mut self, now: Millis, result: Result<(), WriteError>) {
        let Some(mut writing) = self.writing.take() else {
            return;
        };
        match result {
            Ok(()) => self.take_effect(now, writing.next, &writing.proposal),
            Err(WriteError::Changed(other)) => {
                self.changed(now, *other);
                if writing.attempts < WRITES_MAX {
                    return self.write(now, writing.proposal, writing.attempts + 1);
                }
                let reason = "other hosts changed the deployment all the time".to_owned();
                self.end(&writing.proposal, Err(Refusal::NotNow(reason)));
            }
            Err(WriteError::Failed(_)) if writing.attempts < WRITES_MAX => {
                writing.retry_at = Some(now + WRITE_PAUSE);
                self.writing = Some(writing);
            }
            Err(WriteError::Failed(reason)) => self.unwritten(now, writing, reason),
        }
    }

    /// A version that is known to be bad must go even so: a restart finds it again, and rolls it back again.
    fn unwritten(&mut self, now: Millis, writing: Writing, reason: String) {
        self.quiet_until = now + self.settings.bake.max(WRITE_PAUSE);
        if matches!(writing.proposal.change, Change::RollBack { .. }) {
            self.actions.push(Action::Tell(Outcome::Unwritten { reason }));
            // The next change takes it along.
            let next = Deployment { revision: self.deployment.revision, ..writing.next };
            self.take_effect(now, next, &writing.proposal);
        } else {
            self.end(&writing.proposal, Err(Refusal::NotNow(format!("it cannot be written down: {reason}"))));
        }
    }

    pub(super) fn retry_write(&mut self, now: Millis) {
        if let Some(writing) = &mut self.writing
            && writing.retry_at.is_some_and(|at| now >= at)
        {
            writing.retry_at = None;
            writing.attempts += 1;
            self.actions.push(Action::Write(writing.next.clone()));
        }
    }

    fn take_effect(&mut self, now: Millis, next: Deployment, proposal: &Proposal) {
        let outcome = match &proposal.change {
            Change::RollBack { module, reason } => {
                Some(Outcome::RolledBack { module: *module, reason: reason.clone() })
            }
            Change::Begin { .. } | Change::Wave { .. } | Change::TakeOver { .. } => Some(match &next.candidate {
                Some(candidate) => Outcome::Wave { module: candidate.module, wave: candidate.wave + 1 },
                None => Outcome::TookOver { module: next.current },
            }),
            Change::Select | Change::Inherit(_) => None,
        };
        self.adopt(now, next);
        self.actions.extend(outcome.map(Action::Tell));
        self.end(proposal, Ok(()));
    }

    pub(super) fn changed(&mut self, now: Millis, other: Deployment) {
        if other.revision <= self.deployment.revision {
            return;
        }
        let wave =
            |deployment: &Deployment| deployment.candidate.as_ref().map(|candidate| (candidate.module, candidate.wave));
        let is_new = wave(&other).is_some() && wave(&other) != wave(&self.deployment);
        self.adopt(now, other);
        // A wave that began elsewhere has shards of this process, too.
        if is_new && self.writing.is_none() {
            self.propose(now, Change::Select, None);
        }
    }

    fn adopt(&mut self, now: Millis, next: Deployment) {
        if next.current != self.deployment.current {
            let old =
                self.instances.values().find(|instance| instance.used && instance.module == self.deployment.current);
            self.baseline = old.map(|instance| instance.health).unwrap_or_default();
            self.is_cold = false;
        }
        let wave = |deployment: &Deployment| deployment.candidate.as_ref().map(|it| (it.module, it.wave));
        if wave(&next) != wave(&self.deployment) {
            self.wave_since = now;
        }
        if next.previous != self.deployment.previous {
            self.warm_until = now + self.settings.keep_warm;
        }
        self.deployment = next;
    }

    /// Whatever is due, then what the deployment says.
    pub(super) fn advance(&mut self, now: Millis) {
        while self.writing.is_none() {
            let Some(proposal) = self.waiting.pop_front() else {
                break;
            };
            self.write(now, proposal, 1);
        }
        if self.writing.is_none() && now >= self.quiet_until {
            self.advance_candidate(now);
        }
        self.reconcile(now);
        self.settle_failures(now);
    }

    fn advance_candidate(&mut self, now: Millis) {
        let Some(candidate) = &self.deployment.candidate else {
            return;
        };
        let (module, wave) = (candidate.module, candidate.wave + 1);
        if self.baked_at().is_some_and(|at| now >= at) {
            self.propose(now, Change::Wave { module, wave }, None);
        }
    }

    /// When the candidate's wave has been watched for long enough.
    pub(super) fn baked_at(&self) -> Option<Millis> {
        let candidate = self.deployment.candidate.as_ref()?;
        self.ready_instance(candidate.module)?;
        Some((self.wave_since + self.settings.bake).max(self.quiet_until))
    }

    /// Instances that gave up get a successor, or the job ends.
    fn settle_failures(&mut self, now: Millis) {
        // A version on its way may take over.
        if self.writing.is_some() || self.starting.is_some() {
            return;
        }
        let failed = |(&id, instance): (&InstanceId, &Instance)| Some((id, instance.gave_up.clone()?));
        let failed: Vec<(InstanceId, String)> = self.instances.iter().filter_map(failed).collect();
        for (id, reason) in failed {
            self.turned_out_bad(now, id, reason);
        }
    }

    pub(super) fn add_instance(&mut self, module: ModuleId, stage: Stage) -> InstanceId {
        let id = self.next_instance;
        self.next_instance += 1;
        let (restarts, health) = (Restarts::default(), Health::default());
        self.instances.insert(id, Instance { module, stage, used: false, restarts, health, gave_up: None });
        id
    }

    pub(super) fn build(&mut self, module: ModuleId) -> InstanceId {
        let instance = self.add_instance(module, Stage::Building);
        self.actions.push(Action::Build { instance, module });
        instance
    }

    /// An instance of a version that is ready, one that is in use first.
    pub(super) fn ready_instance(&self, module: ModuleId) -> Option<InstanceId> {
        self.instance(module).filter(|id| self.instances[id].stage == Stage::Ready)
    }

    fn instance(&self, module: ModuleId) -> Option<InstanceId> {
        let of = self.instances.iter().filter(|(_, instance)| instance.module == module);
        of.max_by_key(|(_, instance)| (instance.used, instance.stage == Stage::Ready)).map(|(&id, _)| id)
    }

    /// The instance that is kept for a rollback: one that had no source yet.
    pub(super) fn spare(&self) -> Option<InstanceId> {
        let previous = self.deployment.previous.as_ref()?;
        let unused = |instance: &Instance| !instance.used && instance.module == previous.module;
        self.instances.iter().find(|(_, instance)| unused(instance)).map(|(&id, _)| id)
    }

    /// Makes instances and routes what the deployment says.
    fn reconcile(&mut self, now: Millis) {
        let Deployment { current, candidate, .. } = self.deployment.clone();
        let mut missing = Vec::new();
        let mut needed: BTreeSet<InstanceId> = self.starting.iter().map(|starting| starting.instance).collect();
        for module in std::iter::once(current).chain(candidate.map(|candidate| candidate.module)) {
            match self.instance(module) {
                Some(instance) => drop(needed.insert(instance)),
                None => missing.push(module),
            }
        }
        if let Some(previous) = self.deployment.previous.as_ref().filter(|_| self.is_on_probation(now)) {
            match self.spare() {
                Some(spare) => drop(needed.insert(spare)),
                None => missing.push(previous.module),
            }
        }
        needed.extend(self.coming().into_iter().filter_map(|module| self.instance(module)));
        self.route(&needed);
        for module in missing {
            self.build(module);
        }
    }

    /// Versions that are about to be needed: a change to them is being written.
    pub(super) fn coming(&self) -> Vec<ModuleId> {
        let proposals = self.writing.iter().map(|writing| &writing.proposal).chain(&self.waiting);
        let module = |proposal: &Proposal| match &proposal.change {
            Change::Begin { module } | Change::TakeOver { module } => Some(*module),
            _ => None,
        };
        proposals.filter_map(module).collect()
    }

    fn route(&mut self, needed: &BTreeSet<InstanceId>) {
        let mut moves = Vec::new();
        let wanted: Vec<_> = self.sources.iter().map(|(&id, source)| (id, self.wanted(&source.shard))).collect();
        for (id, wanted) in wanted {
            let (Some(source), Some(to)) = (self.sources.get_mut(&id), wanted) else {
                continue;
            };
            match source.instance.replace(to) {
                None => self.actions.push(Action::Assign { source: id, instance: to }),
                Some(from) if from != to => moves.push((id, to)),
                Some(_) => {}
            }
            if let Some(instance) = self.instances.get_mut(&to) {
                instance.used = true;
            }
        }
        let busy: BTreeSet<InstanceId> = self.sources.values().filter_map(|source| source.instance).collect();
        let gone: Vec<InstanceId> =
            self.instances.keys().copied().filter(|id| !needed.contains(id) && !busy.contains(id)).collect();
        let mut retire = Vec::new();
        for id in gone {
            // One that is being built is dropped when it is there.
            if self.instances.remove(&id).is_some_and(|instance| instance.stage == Stage::Ready) {
                retire.push(id);
            }
        }
        if !moves.is_empty() || !retire.is_empty() {
            self.actions.push(Action::Route { moves, retire });
        }
    }

    /// The instance that is to process a shard, if it is ready.
    fn wanted(&self, shard: &str) -> Option<InstanceId> {
        self.ready_instance(self.deployment.module_of(shard))
    }
}
