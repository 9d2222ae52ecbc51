//! One job of a host: what is known of it, and what follows from that.

use std::collections::BTreeMap;

use super::Hash;
use super::message::{Action, Cause, End, Event, Known, OnDelete, Recalled};
use crate::leases::Millis;
use crate::module::hex;
use crate::rollout::Deployment;

/// First and longest wait before a job that failed is started again.
pub(super) const RESTART_AFTER: Millis = 1_000;
const RESTART_AFTER_MAX: Millis = 60_000;
/// Wait before what this machine could not do for a module is tried again.
const AGAIN_AFTER: Millis = 10_000;
/// A job that ran for so long before it failed starts with the first wait again.
pub(super) const RAN_WELL: Millis = 300_000;
/// Rejected modules that are remembered of each job.
const REJECTIONS_MAX: usize = 32;

/// What can be said of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing can run yet: the module or the configuration is not there or not good.
    Waiting,
    Running,
    Stopping,
    /// An operator, or the task itself, wanted it to stop; it runs again when it is resumed.
    Drained,
    /// It stopped by itself.
    Failed {
        reason: String,
        /// `None`: only when something changes or an operator resumes it.
        restart_at: Option<Millis>,
    },
}

/// What became of the module in the task directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directory<'a> {
    /// There is none.
    Absent,
    /// It is on its way: being checked, tried out or started, or waiting for that.
    Pending,
    /// It processes every shard, or every shard that is not a candidate's.
    Current,
    /// It processes some shards.
    Candidate,
    /// It was not admitted, or failed its trial; the reason.
    Rejected(&'a str),
    /// It ran and was rolled back; the reason.
    RolledBack(&'a str),
    /// It had its chance, and another version was chosen since.
    Superseded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Down,
    Up { config: u64, since: Millis },
    Stopping,
}

/// The module of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Unknown,
    Absent,
    Is(Hash),
}

#[derive(Debug)]
struct Rejection {
    reason: String,
    cause: Cause,
}

/// What this machine could not do for the module of the directory.
#[derive(Debug)]
struct PutOff {
    reason: String,
    until: Millis,
}

/// One job.
#[derive(Debug)]
pub struct Job {
    run: Run,
    wanted: Wanted,
    admitting: Option<Hash>,
    put_off: Option<PutOff>,
    /// The newest module that was admitted.
    admitted: Option<Hash>,
    /// What the running job was given last.
    deployed: Option<Hash>,
    /// Of that, what it has not answered yet.
    deploying: Option<Hash>,
    /// What it took last. Started again where nothing is kept.
    good: Option<Hash>,
    rejections: BTreeMap<Hash, Rejection>,
    config: Option<u64>,
    is_configuring: bool,
    misconfigured: Option<String>,
    recalled: Option<Recalled>,
    /// For which configuration it was asked what is written down.
    asked: Option<u64>,
    /// What is written down may have changed since.
    is_stale: bool,
    /// It starts without the module of the directory if that is not checked by then.
    begin_by: Option<Millis>,
    failure: Option<(String, Option<Millis>)>,
    /// The wait before the last restart.
    waited: Millis,
    is_drained: bool,
    is_gone: bool,
    has_run: bool,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            run: Run::Down,
            wanted: Wanted::Unknown,
            admitting: None,
            put_off: None,
            admitted: None,
            deployed: None,
            deploying: None,
            good: None,
            rejections: BTreeMap::new(),
            config: None,
            is_configuring: false,
            misconfigured: None,
            recalled: None,
            asked: None,
            is_stale: false,
            begin_by: None,
            failure: None,
            waited: 0,
            is_drained: false,
            is_gone: false,
            has_run: false,
        }
    }
}

impl Job {
    #[must_use]
    pub fn state(&self) -> State {
        match self.run {
            Run::Up { .. } => State::Running,
            Run::Stopping => State::Stopping,
            Run::Down if self.is_drained => State::Drained,
            Run::Down => match &self.failure {
                Some((reason, restart_at)) => State::Failed { reason: reason.clone(), restart_at: *restart_at },
                None => State::Waiting,
            },
        }
    }

    /// The bytes in the directory.
    #[must_use]
    pub fn wanted(&self) -> Option<&Hash> {
        match &self.wanted {
            Wanted::Is(id) => Some(id),
            Wanted::Unknown | Wanted::Absent => None,
        }
    }

    /// The bytes in the directory that cannot run, and why; `None` when those that are there are good or not known yet.
    #[must_use]
    pub fn rejected(&self) -> Option<(&Hash, &str)> {
        let id = self.wanted()?;
        Some((id, &self.rejections.get(id)?.reason))
    }

    /// Why this machine could not check or roll out its module yet.
    #[must_use]
    pub fn put_off(&self) -> Option<&str> {
        Some(&self.put_off.as_ref()?.reason)
    }

    /// Why its configuration, as it is now, cannot be used.
    #[must_use]
    pub fn misconfigured(&self) -> Option<&str> {
        self.misconfigured.as_deref()
    }

    /// Whether its configuration is being read.
    #[must_use]
    pub fn is_configuring(&self) -> bool {
        self.is_configuring
    }

    /// The newest module that was found to be good.
    #[must_use]
    pub fn admitted(&self) -> Option<&Hash> {
        self.admitted.as_ref()
    }

    /// The module that is being checked.
    #[must_use]
    pub fn admitting(&self) -> Option<&Hash> {
        self.admitting.as_ref()
    }

    /// What became of the module in the directory, given what the job runs or ran last.
    #[must_use]
    pub fn directory<'a>(&'a self, deployment: Option<&'a Deployment>) -> Directory<'a> {
        let id = match &self.wanted {
            Wanted::Unknown => return Directory::Pending,
            Wanted::Absent => return Directory::Absent,
            Wanted::Is(id) => id,
        };
        let name = hex(id);
        if let Some(deployment) = deployment {
            if let Some(reason) = deployment.quarantine(&name) {
                return Directory::RolledBack(reason);
            }
            if deployment.current == name {
                return Directory::Current;
            }
            if deployment.candidate.as_ref().is_some_and(|candidate| candidate.module == name) {
                return Directory::Candidate;
            }
        }
        if let Some(Rejection { reason, .. }) = self.rejections.get(id) {
            return Directory::Rejected(reason);
        }
        let was_taken = self.good == Some(*id) && self.deploying != Some(*id) && self.put_off.is_none();
        if was_taken && deployment.is_some() { Directory::Superseded } else { Directory::Pending }
    }

    /// Whether nothing can run before something changes: nothing is deployed, and the directory's module does not run.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        let has_nothing = self.recalled.as_ref().is_some_and(|recalled| recalled.current.is_none());
        let wanted = match self.wanted {
            Wanted::Unknown => return false,
            Wanted::Absent => None,
            Wanted::Is(id) => Some(id),
        };
        let waits = wanted.is_some_and(|id| !self.rejections.contains_key(&id)) && self.put_off.is_none();
        self.is_down() && !self.is_configuring && has_nothing && self.offer().is_none() && !waits
    }

    pub(super) fn is_down(&self) -> bool {
        self.run == Run::Down
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        self.is_down() && self.is_gone
    }

    pub(super) fn wake_at(&self) -> Millis {
        let restart = self.failure.as_ref().filter(|_| !self.is_configuring).and_then(|(_, restart_at)| *restart_at);
        let again = self.put_off.as_ref().map(|put_off| put_off.until);
        restart.into_iter().chain(again).chain(self.begin_by).min().unwrap_or(Millis::MAX)
    }

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

    fn module(&mut self, id: Hash, flaw: Option<String>) {
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

    fn reject(&mut self, id: Hash, reason: String, cause: Cause) {
        self.admitting.take_if(|admitting| *admitting == id);
        self.deploying.take_if(|deploying| *deploying == id);
        self.put_off = None;
        self.remember(id, reason, cause);
    }

    fn remember(&mut self, id: Hash, reason: String, cause: Cause) {
        if self.rejections.len() >= REJECTIONS_MAX {
            let is_of_use = |it: &Hash| self.wanted == Wanted::Is(*it) || self.admitted == Some(*it);
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

    pub(super) fn advance(
        &mut self,
        now: Millis,
        name: &str,
        patience: Millis,
        is_stopping: bool,
        actions: &mut Vec<Action>,
    ) {
        let begin_by = self.begin_by.take();
        self.put_off.take_if(|put_off| now >= put_off.until);
        if let Some(id) = self.to_admit()
            && !is_stopping
        {
            self.admitting = Some(id);
            actions.push(Action::Admit { name: name.to_owned(), id });
        }
        let may_run = !is_stopping && !self.is_drained && !self.is_gone;
        match self.run {
            Run::Up { config, .. } if !may_run || self.config != Some(config) && !self.is_configuring => {
                self.run = Run::Stopping;
                actions.push(Action::Stop { name: name.to_owned() });
            }
            Run::Up { .. } => {
                if let Some(id) = self.to_deploy() {
                    self.deployed = Some(id);
                    self.deploying = Some(id);
                    actions.push(Action::Deploy { name: name.to_owned(), id });
                }
            }
            Run::Down if may_run && !self.is_configuring => {
                self.begin_by = begin_by;
                actions.extend(self.begin(now, name, patience));
            }
            Run::Down | Run::Stopping => {}
        }
    }

    /// What to start with, if it is time; see the table in the machine's documentation.
    fn begin(&mut self, now: Millis, name: &str, patience: Millis) -> Option<Action> {
        self.failure.take_if(|(_, restart_at)| restart_at.is_some_and(|at| now >= at));
        let begin_by = self.begin_by.take();
        let config = self.config.filter(|_| self.failure.is_none() && self.wanted != Wanted::Unknown)?;
        let recalled = self.recalled.as_ref().filter(|recalled| recalled.config == config && !self.is_stale);
        let Some(recalled) = recalled else {
            let is_asked = self.asked.replace(config) == Some(config);
            return (!is_asked).then(|| Action::Recall { name: name.to_owned() });
        };
        let offer = match (self.offer(), recalled.current) {
            (Some(offer), _) => Some(offer),
            (None, Some(_)) if self.is_awaited() => {
                let by = begin_by.unwrap_or_else(|| now.saturating_add(patience));
                if now < by {
                    self.begin_by = Some(by);
                    return None;
                }
                None
            }
            (None, Some(_)) => None,
            (None, None) => return None,
        };
        self.run = Run::Up { config, since: now };
        self.has_run = true;
        (self.deployed, self.deploying) = (offer, offer);
        Some(Action::Start { name: name.to_owned(), offer })
    }

    /// The module to start with, or to offer to a job that has something to run.
    fn offer(&self) -> Option<Hash> {
        let keeps = self.recalled.as_ref().is_some_and(|recalled| recalled.current.is_some());
        let admitted = self.admitted.filter(|id| !self.rejections.contains_key(id));
        admitted.or_else(|| self.good.filter(|_| !keeps))
    }

    /// Whether the check of the directory's module is about to end.
    fn is_awaited(&self) -> bool {
        let is_new = |id: &Hash| self.admitted != Some(*id) && !self.rejections.contains_key(id);
        self.put_off.is_none() && self.wanted().is_some_and(is_new)
    }

    /// New bytes, one after the other: those that came while others were looked at are next. Not before it is known
    /// whether they were rejected earlier.
    fn to_admit(&self) -> Option<Hash> {
        let wanted = *self.wanted()?;
        let has_no_configuration = self.config.is_none() && !self.is_configuring;
        let is_recalled = self.recalled.is_some() || has_no_configuration || self.failure.is_some();
        (is_recalled && self.admitting.is_none() && self.is_awaited()).then_some(wanted)
    }

    fn to_deploy(&self) -> Option<Hash> {
        let is_held = self.is_configuring || self.put_off.is_some();
        let is_new = |id: &Hash| self.deployed != Some(*id) && !self.rejections.contains_key(id);
        self.admitted.filter(|id| !is_held && is_new(id))
    }
}
