//! Which jobs a host runs, as a pure machine: what the task directory holds, what is written down and what operators ask
//! comes in; what to look up, admit, start, replace, restart and stop goes out. A job is known by the name of its module;
//! jobs do not know of each other. It must not know files, WebAssembly or how a job does its work.
//!
//! | state | what it waits for |
//! |---|---|
//! | down | a valid configuration and what is written down; then something that may run, see below |
//! | up | changes: new bytes are admitted and then deployed, a new configuration restarts it |
//! | stopping | its end; then it is down |
//!
//! What a job that is down starts with:
//!
//! | module of the directory | the deployment names a current version | nothing was ever deployed |
//! |---|---|---|
//! | admitted | start, and offer it | start with it |
//! | being checked | wait for the outcome, at most [`Jobs::new`]'s patience; then start without it | wait |
//! | could not be checked now | start without it | wait, check again later |
//! | rejected, or missing | start without it | nothing runs |
//!
//! So a rejected module changes nothing but what is said of it: what ran goes on, also after a restart. A job of which
//! nothing is left, neither its module nor anything that runs or may run again, is forgotten. A job that failed by its
//! task stays down until its module, configuration or deployment changes or an operator resumes it, because a replay would
//! only repeat the outputs; after any other failure (a service that cannot be reached) it is started again, later and
//! later.

mod intake;
mod job;
mod message;
mod steps;

use std::collections::BTreeMap;

use crate::time::Millis;

pub use job::{Directory, Job, State};
pub use message::{Action, Cause, End, Event, Known, OnDelete, Recalled};

/// How long a job that has something to run waits for the check of a new module of the directory before it starts without
/// it. Enough for most compilations, short beside an outage.
pub const START_PATIENCE: Millis = 10_000;

/// The machine; see the module documentation.
#[derive(Debug)]
pub struct Jobs {
    jobs: BTreeMap<String, Job>,
    patience: Millis,
    is_stopping: bool,
}

impl Default for Jobs {
    fn default() -> Self {
        Self::new(START_PATIENCE)
    }
}

impl Jobs {
    /// `patience`: how long a job that has something to run waits for the check of a new module of the directory. A run
    /// that is about that module waits for as long as the check takes: `Millis::MAX`.
    #[must_use]
    pub fn new(patience: Millis) -> Self {
        Self { jobs: BTreeMap::new(), patience, is_stopping: false }
    }

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
            job.advance(now, name, self.patience, self.is_stopping, &mut actions);
        }
        self.jobs.retain(|_, job| !job.is_over());
        actions
    }

    /// When the next [`Event::Tick`] is due; `Millis::MAX` while another event must come first.
    #[must_use]
    pub fn wake_at(&self) -> Millis {
        if self.is_stopping {
            return Millis::MAX;
        }
        self.jobs.values().map(Job::wake_at).min().unwrap_or(Millis::MAX)
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
        self.is_stopping && self.jobs.values().all(Job::is_down)
    }
}

#[cfg(test)]
mod tests;
