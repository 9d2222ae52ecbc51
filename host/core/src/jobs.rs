//! Which jobs a host runs, as a pure machine: what the task directory holds and what people ask comes in; what to admit,
//! start, replace, restart and stop goes out. A job is known by the name of its module; jobs do not know of each other.
//! It must not know files, WebAssembly or how a job does its work.
//!
//! | state | what it waits for |
//! |---|---|
//! | down | an admitted module and a valid configuration, then it is started |
//! | up | changes: new bytes are admitted and then deployed, a new configuration restarts it |
//! | stopping | its end; then it is down |
//!
//! A rejected module changes nothing but what is said of it: what runs goes on. A job of which nothing is left, neither its
//! module nor anything that runs or may run again, is forgotten. A job that failed by its task stays down
//! until its module or configuration changes or somebody resumes it, because a replay would only repeat the outputs;
//! after any other failure (a service that cannot be reached) it is started again, later and later.

mod message;

use std::collections::BTreeMap;

use crate::leases::Millis;

pub use message::{Action, End, Event, OnDelete};

/// First and longest wait before a job that failed is started again.
const RESTART_AFTER: Millis = 1_000;
const RESTART_AFTER_MAX: Millis = 60_000;
/// Wait before a module is checked again that could not be checked.
const ADMIT_AGAIN_AFTER: Millis = 10_000;
/// A job that ran for so long before it failed starts with the first wait again.
const RAN_WELL: Millis = 300_000;

/// SHA-256 of a module's bytes.
pub type Hash = [u8; 32];

/// What can be said of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing can run yet: the module or the configuration is not there or not good.
    Waiting,
    Running,
    Stopping,
    /// Somebody, or the task itself, wanted it to stop; it runs again when somebody resumes it.
    Drained,
    /// It stopped by itself.
    Failed {
        reason: String,
        /// `None`: only when something changes or somebody resumes it.
        restart_at: Option<Millis>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Down,
    Up { config: u64, since: Millis },
    Stopping,
}

/// One job.
#[derive(Debug)]
pub struct Job {
    run: Run,
    /// What the directory holds.
    wanted: Option<Hash>,
    admitting: Option<Hash>,
    /// Why an admission was put off, and until when.
    put_off: Option<(String, Millis)>,
    admitted: Option<Hash>,
    deployed: Option<Hash>,
    rejected: Option<(Hash, String)>,
    /// What was rejected may go with another configuration.
    is_unfit: bool,
    config: Option<u64>,
    misconfigured: Option<String>,
    failure: Option<(String, Option<Millis>)>,
    /// The wait before the last restart.
    waited: Millis,
    is_drained: bool,
    is_gone: bool,
}

/// The machine; see the module documentation.
#[derive(Debug, Default)]
pub struct Jobs {
    jobs: BTreeMap<String, Job>,
    is_stopping: bool,
}

impl Jobs {
    /// Takes in one event and returns what to do now, in order.
    pub fn on(&mut self, now: Millis, event: Event) -> Vec<Action> {
        if event == Event::Stop {
            self.is_stopping = true;
        }
        if let Some(name) = event.name() {
            if event.begins_a_job() {
                self.jobs.entry(name.to_owned()).or_default();
            }
            // What is still said of a job that is forgotten is of no interest.
            if let Some(job) = self.jobs.get_mut(name) {
                job.take_in(now, event);
            }
        }
        let mut actions = Vec::new();
        for (name, job) in &mut self.jobs {
            job.advance(now, name, self.is_stopping, &mut actions);
        }
        self.jobs.retain(|_, job| !job.is_over());
        actions
    }

    /// When the next [`Event::Tick`] is due; `Millis::MAX` while another event must come first.
    #[must_use]
    pub fn wake_at(&self) -> Millis {
        let restarts = self.jobs.values().filter_map(|job| job.failure.as_ref()?.1);
        let admissions = self.jobs.values().filter_map(|job| Some(job.put_off.as_ref()?.1));
        restarts.chain(admissions).min().unwrap_or(Millis::MAX)
    }

    /// Every job by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Job)> {
        self.jobs.iter().map(|(name, job)| (name.as_str(), job))
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Job> {
        self.jobs.get(name)
    }

    /// Whether the host was asked to stop and nothing runs any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_stopping && self.jobs.values().all(|job| job.run == Run::Down)
    }
}

impl Default for Job {
    fn default() -> Self {
        Self {
            run: Run::Down,
            wanted: None,
            admitting: None,
            put_off: None,
            admitted: None,
            deployed: None,
            rejected: None,
            is_unfit: false,
            config: None,
            misconfigured: None,
            failure: None,
            waited: 0,
            is_drained: false,
            is_gone: false,
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
        self.wanted.as_ref()
    }

    /// The bytes in the directory that cannot run, and why; `None` when those that are there are good or not known yet.
    #[must_use]
    pub fn rejected(&self) -> Option<(&Hash, &str)> {
        let (id, reason) = self.rejected.as_ref()?;
        (self.wanted.as_ref() == Some(id)).then_some((id, reason))
    }

    /// Why its module could not be checked yet.
    #[must_use]
    pub fn put_off(&self) -> Option<&str> {
        Some(&self.put_off.as_ref()?.0)
    }

    /// Why its configuration, as it is now, cannot be used.
    #[must_use]
    pub fn misconfigured(&self) -> Option<&str> {
        self.misconfigured.as_deref()
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

    fn take_in(&mut self, now: Millis, event: Event) {
        match event {
            Event::Module { id, .. } => {
                self.wanted = Some(id);
                self.is_gone = false;
            }
            Event::ModuleGone { on_delete, .. } => {
                self.wanted = None;
                // What never ran is not kept.
                self.is_gone = on_delete == OnDelete::Stop || self.deployed.is_none();
            }
            Event::Configured { version, .. } => {
                self.misconfigured = None;
                if self.config.replace(version) != Some(version) {
                    self.failure = None;
                    self.rejected.take_if(|_| self.is_unfit);
                }
            }
            Event::Misconfigured { reason, .. } => self.misconfigured = Some(reason),
            // Somebody did not want it any more.
            Event::Admitted { id, .. } if self.admitting != Some(id) => {}
            Event::Admitted { id, .. } => {
                self.admitting = None;
                self.put_off = None;
                self.admitted = Some(id);
                self.rejected = None;
                self.is_unfit = false;
                self.failure = None;
            }
            Event::Rejected { id, reason, .. } => {
                self.admitting.take_if(|admitting| *admitting == id);
                self.put_off = None;
                self.rejected = Some((id, reason));
                self.is_unfit = false;
            }
            Event::Unfit { id, reason, .. } => {
                self.rejected = Some((id, reason));
                self.is_unfit = true;
            }
            Event::NotAdmitted { reason, .. } => {
                self.admitting = None;
                self.put_off = Some((reason, now + ADMIT_AGAIN_AFTER));
            }
            Event::Ended { end, .. } => self.ended(now, end),
            Event::Drain { .. } => self.is_drained = true,
            Event::Resume { .. } => {
                self.is_drained = false;
                self.failure = None;
            }
            Event::Tick | Event::Stop => {}
        }
    }

    fn ended(&mut self, now: Millis, end: End) {
        if let Run::Up { since, .. } = self.run
            && now.saturating_sub(since) >= RAN_WELL
        {
            self.waited = 0;
        }
        // Nobody asked, so the task did: it is done, until somebody wants it again.
        self.is_drained |= end == End::Stopped && matches!(self.run, Run::Up { .. });
        self.run = Run::Down;
        self.failure = match end {
            End::Stopped => None,
            End::TaskFailed(reason) => Some((reason, None)),
            End::Failed(reason) => {
                self.waited = (self.waited * 2).clamp(RESTART_AFTER, RESTART_AFTER_MAX);
                Some((reason, Some(now + self.waited)))
            }
        };
    }

    fn advance(&mut self, now: Millis, name: &str, is_stopping: bool, actions: &mut Vec<Action>) {
        let name = || name.to_owned();
        if let Some(id) = self.to_admit(now)
            && !is_stopping
        {
            self.admitting = Some(id);
            self.put_off = None;
            actions.push(Action::Admit { name: name(), id });
        }
        let may_run = !is_stopping && !self.is_drained && !self.is_gone;
        match self.run {
            Run::Up { config, .. } if !may_run || self.config != Some(config) => {
                self.run = Run::Stopping;
                actions.push(Action::Stop { name: name() });
            }
            Run::Up { .. } => {
                if let Some(id) = self.admitted.filter(|id| self.deployed != Some(*id)) {
                    self.deployed = Some(id);
                    actions.push(Action::Deploy { name: name(), id });
                }
            }
            Run::Down if may_run => {
                self.failure.take_if(|(_, restart_at)| restart_at.is_some_and(|at| now >= at));
                if let (Some(id), Some(config), None) = (self.admitted, self.config, &self.failure) {
                    self.run = Run::Up { config, since: now };
                    self.deployed = Some(id);
                    actions.push(Action::Start { name: name(), id });
                    // Sent back under another configuration.
                    if self.rejected.is_none() && std::mem::take(&mut self.is_unfit) {
                        actions.push(Action::Deploy { name: name(), id });
                    }
                }
            }
            Run::Down | Run::Stopping => {}
        }
    }

    /// Whether nothing is left of it.
    fn is_over(&self) -> bool {
        self.run == Run::Down && self.is_gone
    }

    /// New bytes, one after the other: those that came while others were looked at are next.
    fn to_admit(&self, now: Millis) -> Option<Hash> {
        let wanted = self.wanted.filter(|id| self.admitted != Some(*id))?;
        let is_rejected = self.rejected.as_ref().is_some_and(|(id, _)| *id == wanted);
        let is_put_off = self.put_off.as_ref().is_some_and(|(_, until)| now < *until);
        (self.admitting.is_none() && !is_rejected && !is_put_off).then_some(wanted)
    }
}

#[cfg(test)]
mod tests;
