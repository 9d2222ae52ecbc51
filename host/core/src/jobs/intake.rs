//! What a job takes in: the events of the machine, one by one.

use super::job::{Job, PutOff, Rejection, Run, Wanted};
use super::message::{Cause, End, Event, Known, OnDelete, Recalled};
use crate::module::ModuleId;
use crate::time::Millis;

/// First and longest wait before a job that failed is started again.
pub(super) const RESTART_AFTER: Millis = 1_000;
const RESTART_AFTER_MAX: Millis = 60_000;
/// Wait before what this machine could not do for a module is tried again.
const AGAIN_AFTER: Millis = 10_000;
/// A job that ran for so long before it failed starts with the first wait again.
pub(super) const RAN_WELL: Millis = 300_000;
/// Rejected modules that are remembered of each job.
const REJECTIONS_MAX: usize = 32;

impl Job {
    pub(super) fn take_in(&mut self, now: Millis, event: Event) {
        match event {
            Event::Module { id, flaw, .. } => self.module(id, flaw),
            Event::ModuleAbsent { .. } => self.wanted = Wanted::Absent,
            Event::ModuleGone { on_delete, .. } => {
                self.wanted = Wanted::Absent;
                self.put_off = None;
                // What never ran is not kept.
                self.is_gone = on_delete == OnDelete::Stop || !self.has_run;
            }
            Event::Configuring { .. } => self.is_configuring = true,
            Event::Configured { version, .. } => self.configured(version),
            Event::Misconfigured { reason, .. } => {
                self.is_configuring = false;
                self.misconfigured = Some(reason);
            }
            Event::Recalled { recalled, .. } => self.recalled(recalled),
            Event::NotRecalled { reason, .. } => {
                self.asked = None;
                self.fail(now, reason);
            }
            // It is no longer wanted.
            Event::Admitted { id, .. } if self.admitting != Some(id) => {}
            Event::Admitted { id, .. } => {
                self.admitting = None;
                self.put_off = None;
                self.admitted = Some(id);
                self.rejections.remove(&id);
                self.failure = None;
            }
            Event::Rejected { id, reason, cause, .. } => self.reject(id, reason, cause),
            Event::NotAdmitted { reason, .. } => {
                self.admitting = None;
                self.put_off = Some(PutOff { reason, until: now + AGAIN_AFTER });
            }
            Event::Settled { id, .. } => {
                self.deploying.take_if(|deploying| *deploying == id);
                self.good = Some(id);
            }
            Event::NotDeployed { id, reason, .. } => {
                if self.deploying.take_if(|deploying| *deploying == id).is_some() {
                    self.deployed = None;
                    self.put_off = Some(PutOff { reason, until: now + AGAIN_AFTER });
                }
            }
            Event::DeploymentChanged { .. } => {
                self.failure = None;
                self.is_stale = true;
                self.asked = None;
            }
            Event::Ended { end, .. } => self.ended(now, end),
            Event::Drain { .. } => {
                self.is_drained = true;
                self.failure = None;
            }
            Event::Resume { .. } => self.resume(),
            Event::Tick | Event::Stop => {}
        }
    }

    fn module(&mut self, id: ModuleId, flaw: Option<String>) {
        // There is one file: what was said of it before is about another content.
        self.rejections.retain(|_, rejection| rejection.cause != Cause::File);
        if self.wanted != Wanted::Is(id) {
            self.put_off = None;
            // What was taken back is wanted when it is put there once more.
            if self.wanted != Wanted::Unknown {
                self.rejections.retain(|_, rejection| rejection.cause != Cause::Withdrawn);
            }
        }
        self.wanted = Wanted::Is(id);
        self.is_gone = false;
        if let Some(reason) = flaw {
            self.reject(id, reason, Cause::File);
        }
    }

    fn configured(&mut self, version: u64) {
        self.is_configuring = false;
        self.misconfigured = None;
        if self.config.replace(version) != Some(version) {
            self.failure = None;
            self.rejections.retain(|_, rejection| rejection.cause != Cause::Configuration);
        }
    }

    fn recalled(&mut self, recalled: Recalled) {
        self.asked.take_if(|asked| *asked == recalled.config);
        self.is_stale = false;
        for Known { id, reason, cause } in &recalled.rejected {
            // What was found out since is newer.
            if self.admitted != Some(*id) && !self.rejections.contains_key(id) {
                self.remember(*id, reason.clone(), *cause);
            }
        }
        self.recalled = Some(recalled);
    }

    fn reject(&mut self, id: ModuleId, reason: String, cause: Cause) {
        self.admitting.take_if(|admitting| *admitting == id);
        self.deploying.take_if(|deploying| *deploying == id);
        self.put_off = None;
        if cause != Cause::File {
            // Nobody keeps it ready: when it is tried again, it is checked again.
            self.admitted.take_if(|admitted| *admitted == id);
        }
        self.remember(id, reason, cause);
    }

    fn remember(&mut self, id: ModuleId, reason: String, cause: Cause) {
        if self.rejections.len() >= REJECTIONS_MAX {
            let is_of_use = |it: &ModuleId| self.wanted == Wanted::Is(*it) || self.admitted == Some(*it);
            let old = self.rejections.keys().find(|it| !is_of_use(it)).copied();
            old.map(|old| self.rejections.remove(&old));
        }
        self.rejections.insert(id, Rejection { reason, cause });
    }

    fn resume(&mut self) {
        self.is_drained = false;
        self.failure = None;
        self.put_off = None;
        if self.is_stuck()
            && let Some(id) = self.wanted().copied()
        {
            // Nothing else can run: it is looked at once more.
            self.rejections.remove(&id);
        }
    }

    fn fail(&mut self, now: Millis, reason: String) {
        self.waited = (self.waited * 2).clamp(RESTART_AFTER, RESTART_AFTER_MAX);
        self.failure = Some((reason, Some(now + self.waited)));
    }

    fn ended(&mut self, now: Millis, end: End) {
        if let Run::Up { since, .. } = self.run
            && now.saturating_sub(since) >= RAN_WELL
        {
            self.waited = 0;
        }
        // No operator asked, so the task did: it is done, until it is resumed.
        self.is_drained |= end == End::Stopped && matches!(self.run, Run::Up { .. });
        self.run = Run::Down;
        self.is_stale = true;
        self.deploying = None;
        match end {
            End::Stopped => self.failure = None,
            End::TaskFailed(reason) => self.failure = Some((reason, None)),
            End::Failed(reason) => self.fail(now, reason),
        }
    }
}
